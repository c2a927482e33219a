"""Whether the checks can fail: every sabotage is played, and its checks must not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.suite import Part
from kops_toolkit.outcome import Check, Evidence, Report, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kops_toolkit.demos.model import Demo


def parts(demos: Iterable[Demo]) -> list[Part]:
    """Each demo in earnest, which tells what checks there are, then with each sabotage."""
    return [Part(demo, sabotage) for demo in demos for sabotage in (None, *sorted(demo.sabotages))]


def judge(played: Sequence[Part], reports: Sequence[Report]) -> tuple[Report, ...]:
    """One report a demo, one check for each of its checks: caught, or missed and by what."""
    by_demo: dict[str, dict[str | None, Report]] = {}
    for part, report in zip(played, reports, strict=True):
        by_demo.setdefault(part.demo.name, {})[part.sabotage] = report
    demos = {part.demo.name: part.demo for part in played}
    return tuple(_of_demo(demos[name], found) for name, found in by_demo.items())


def missed(part: Part, report: Report) -> list[str]:
    """Checks that must not hold under a part's sabotage and were not found to fail."""
    wanted = part.demo.sabotages[part.sabotage].fails if part.sabotage else ()
    failed = {check.name for check in report.checks if check.status is Status.FAILED}
    return [name for name in wanted if name not in failed]


def _of_demo(demo: Demo, reports: dict[str | None, Report]) -> Report:
    earnest = reports[None]
    known = {check.name: check for check in earnest.checks}
    checks = [_of_check(demo, check, reports) for check in earnest.checks]
    for name, sabotage in demo.sabotages.items():
        for stranger in (check for check in sabotage.fails if check not in known):
            reason = f"the sabotage {name} names {stranger}, which is no check of the demo"
            checks.append(Check(stranger, "It is a check", Status.ABORTED, reason=reason))
    seconds = sum(report.seconds for report in reports.values())
    return Report(demo.name, tuple(checks), earnest.started, seconds)


def _of_check(demo: Demo, check: Check, reports: dict[str | None, Report]) -> Check:
    title = f"It can fail: {check.title}"
    if check.status is Status.SKIPPED:
        return Check(check.name, title, Status.SKIPPED, reason=check.reason)
    if check.status is not Status.PASSED:
        reason = f"it does not even hold in earnest: {check.reason}"
        return Check(check.name, title, Status.ABORTED, reason=reason)
    against = [name for name, sabotage in demo.sabotages.items() if check.name in sabotage.fails]
    seen = tuple(
        Evidence(f"it fails when {demo.sabotages[name].text}", _ending(reports[name], check), name)
        for name in against
    )
    unseen = [n for n in against if check.name in missed(Part(demo, n), reports[n])]
    if not against:
        return Check(check.name, title, Status.ABORTED, reason="no sabotage is named for it")
    status = Status.FAILED if unseen else Status.PASSED
    reason = f"missed under {', '.join(unseen)}" if unseen else ""
    return Check(check.name, title, status, seen, reason)


def _ending(report: Report, check: Check) -> str:
    for found in report.checks:
        if found.name == check.name:
            return f"{found.status.value}: {found.reason or 'it held'}"
    others = "; ".join(c.reason for c in report.checks if c.status is Status.FAILED)
    return f"never judged: {others}"
