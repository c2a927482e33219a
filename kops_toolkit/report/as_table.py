"""A report as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from rich.table import Table
from rich.text import Text

from kops_toolkit.outcome import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kops_toolkit.outcome import Check, Report


def report(found: Report) -> Table:
    """One row a check: verdict, statement, what was observed (or why not)."""
    table = Table(title=Text(_summary(found)), title_justify="left", show_lines=True, expand=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("check", ratio=2, overflow="fold")
    table.add_column("evidence", ratio=3, overflow="fold")
    for check in found.checks:
        table.add_row(verdict(check.status), Text(check.title), Text(_why(check)))
    return table


def reports(found: Sequence[Report]) -> Table:
    """One row a report, and under it each check that did not hold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("VERDICT", "NAME", "CHECKS", "SECONDS", "WHY"):
        table.add_column(column, overflow="fold", no_wrap=column != "WHY")
    for one in found:
        passed = sum(check.status is Status.PASSED for check in one.checks)
        counts, seconds = f"{passed}/{len(one.checks)}", f"{one.seconds:.1f}"
        table.add_row(verdict(one.status), Text(one.name), Text(counts), Text(seconds), Text(""))
        for check in one.checks:
            if check.status is not Status.PASSED:
                name, why = Text(f"  {check.name}"), Text(check.reason)
                table.add_row(verdict(check.status), name, Text(""), Text(""), why)
    return table


def rows(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    """A plain table of strings without borders, good for eyes and `awk` alike."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    return table


def ledger(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    """A table of long texts, ruled so that the eye keeps its line."""
    table = Table(show_lines=True, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    return table


def verdict(status: Status) -> Text:
    """The verdict as a word with its colour; the colour never carries it alone."""
    match status:
        case Status.PASSED:
            return Text("✓ passed", style="green")
        case Status.FAILED:
            return Text("✗ failed", style="bold red")
        case Status.SKIPPED:
            return Text("- skipped", style="yellow")
        case Status.ABORTED:
            return Text("! aborted", style="bold magenta")
    assert_never(status)


def _summary(found: Report) -> str:
    passed = sum(check.status is Status.PASSED for check in found.checks)
    return (
        f"{found.name}: {found.status.value}, "
        f"{passed} of {len(found.checks)} checks passed in {found.seconds:.1f} s"
    )


def _why(check: Check) -> str:
    told = {item.observed for item in check.evidence}
    lines = [check.reason] if check.reason and check.reason not in told else []
    lines += [f"{item.observed}  [{item.source}]" for item in check.evidence]
    if check.status is Status.FAILED:
        lines += [f"expected: {item.expected}" for item in check.evidence if item.expected]
    return "\n".join(lines)
