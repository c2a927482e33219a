"""`kt verify` and `kt selftest`: demos as a suite."""

from __future__ import annotations

import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kops_toolkit.cli import exits
from kops_toolkit.cli.context import kt
from kops_toolkit.cli.options import (
    ClusterOption,
    ConsentOption,
    ContextOption,
    Format,
    FormatOption,
    KubeconfigOption,
)
from kops_toolkit.demos import registry, selftest
from kops_toolkit.demos.model import AGNHOST, Nobody
from kops_toolkit.demos.suite import Part, Suite
from kops_toolkit.errors import EnvironmentNotReadyError, KtError
from kops_toolkit.kube.watches import Streams
from kops_toolkit.outcome import Status, fold
from kops_toolkit.report import as_json, as_junit, as_table, console, critical
from kops_toolkit.system import files
from kops_toolkit.wiring import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kops_toolkit.demos.model import Demo
    from kops_toolkit.outcome import Report
    from kops_toolkit.wiring import Kt

JOBS = 4  # demos wait more than they work


class Profile(StrEnum):
    """Which demos a run plays if none is named."""

    smoke = "smoke"
    standard = "standard"
    all = "all"


NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Which demos; see `kt demo --list`.")
]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=1, max=16, help="How many run side by side, at most.")
]


def verify(
    ctx: typer.Context,
    names: NamesArgument = None,
    *,
    profile: Annotated[
        Profile,
        typer.Option(
            help="smoke: the quick ones, for every push. standard: all that break nothing. all."
        ),
    ] = Profile.standard,
    jobs: JobsOption = JOBS,
    strict: Annotated[
        bool, typer.Option("--strict", help="An unmet need is a failure, not a skip.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Begin no other demo once one has failed.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the verdicts as JUnit XML.")
    ] = None,
    cluster: ClusterOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    consent: ConsentOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Prove many concepts in one run: demos as a test suite, for CI.

    Example: kt verify --profile smoke --junit verify.xml

    Demos that only touch their own namespace run side by side, those that would disturb others
    alone. Exit 0 only if every check held; with --junit the file is written in any case.
    """
    chosen = _chosen(names, profile)
    wired = kt(ctx)
    target = Target(cluster, context, kubeconfig, consent)
    try:
        began = wired.clock.monotonic()
        parts = [Part(demo) for demo in chosen]
        found = _played(wired, target, parts, jobs, fail_fast=fail_fast, strict=strict)
    except KtError as error:
        if junit:
            _write(junit, as_junit.failure(error.message))
        raise
    if junit:
        _write(junit, as_junit.document(found))
    _tell("verify", found, wired.clock.monotonic() - began, output)
    raise typer.Exit(exits.CHECK_FAILED if _status(found) is Status.FAILED else 0)


def self_test(
    ctx: typer.Context,
    names: NamesArgument = None,
    *,
    jobs: JobsOption = JOBS,
    cluster: ClusterOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    consent: ConsentOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Prove that the checks can fail: break each demo on purpose and see it caught.

    Example: kt selftest taints

    Every check has a sabotage under which it must fail. All of them are played. Exit 0 only if each
    was caught.
    """
    chosen = _chosen(names, Profile.all)
    wired = kt(ctx)
    began = wired.clock.monotonic()
    parts = selftest.parts(chosen)
    target = Target(cluster, context, kubeconfig, consent)
    found = selftest.judge(parts, _played(wired, target, parts, jobs))
    _tell("selftest", found, wired.clock.monotonic() - began, output)
    raise typer.Exit(exits.CHECK_FAILED if _status(found) is Status.FAILED else 0)


def _chosen(names: Sequence[str] | None, profile: Profile) -> list[Demo]:
    if names:
        return [registry.find(name) for name in dict.fromkeys(names)]
    return [
        demo
        for demo in registry.DEMOS
        if profile is Profile.all
        or (profile is Profile.standard and not demo.breaks)
        or (profile is Profile.smoke and demo.smoke)
    ]


def _played(
    wired: Kt,
    target: Target,
    parts: Sequence[Part],
    jobs: int,
    *,
    fail_fast: bool = False,
    strict: bool = False,
) -> tuple[Report, ...]:
    reached = wired.reach(target)
    image = os.environ.get("KT_AGNHOST_IMAGE", AGNHOST)
    people = console.people()

    def ends(part: Part, report: Report) -> None:
        told = report.status
        passed = sum(check.status is Status.PASSED for check in report.checks)
        text = f"{part.name}: {passed} of {len(report.checks)} checks in {report.seconds:.1f} s"
        if part.sabotage:
            missed = selftest.missed(part, report)
            told = Status.FAILED if missed else Status.PASSED
            words = f"missed by {', '.join(missed)}" if missed else "caught"
            text = f"{part.name}: {words}"
        people.print(as_table.verdict(told), text, markup=False, highlight=False)

    with Streams(reached.api, wired.clock, wide=True) as streams:
        runner = wired.runner(reached, Nobody(), image, streams)

        def play(part: Part) -> Report:
            return runner.run(part.demo, sabotage=part.sabotage, strict=strict)

        suite = Suite(play, wired.clock, jobs, fail_fast, partial(_begins, wired), ends)
        found = suite.run(parts)
    played = zip(parts, found, strict=True)
    wired.ledger(reached).add(report for part, report in played if part.sabotage is None)
    return found


def _begins(wired: Kt, part: Part) -> None:
    wired.progress.note(f"{part.name} begins")


def _tell(name: str, found: Sequence[Report], seconds: float, output: Format) -> None:
    if output is Format.json:
        console.emit(as_json.reports(name, found, _status(found), seconds))
        return
    data = console.data()
    data.print(as_table.reports(found))
    data.print("what the time was spent on, one after the other:", markup=False)
    for line in critical.told(found):
        data.print(f"  {line}", markup=False, highlight=False)
    checks = [check for report in found for check in report.checks]
    passed = sum(check.status is Status.PASSED for check in checks)
    words = f"{name}: {_status(found).value}, {passed} of {len(checks)} checks in {seconds:.1f} s"
    data.print(words, markup=False, highlight=False)


def _status(found: Sequence[Report]) -> Status:
    return fold(report.status for report in found)


def _write(file: Path, text: str) -> None:
    try:
        files.write(file, text.encode(), mode=0o644, overwrite=True)
    except OSError as cause:
        raise EnvironmentNotReadyError(f"{file} cannot be written: {cause.strerror}") from cause
