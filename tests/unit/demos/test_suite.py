"""A suite plays what may be played side by side, tells the rest apart, and loses no verdict."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kops_toolkit.demos import selftest
from kops_toolkit.demos.model import Demo, Sabotage
from kops_toolkit.demos.suite import Part, Suite
from kops_toolkit.errors import ApiError
from kops_toolkit.outcome import Check, Evidence, Report, Status
from tests.fakes.clock import START, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

SEEN = Evidence("that", "this", "here")


def demo(name: str, *, alone: bool = False, **fails: tuple[str, ...]) -> Demo:
    sabotages = {word: Sabotage(f"{word} is done", checks) for word, checks in fails.items()}
    return Demo(name, name, name, (), (), sabotages, lambda _: None, "page/", alone=alone)


def report(name: str, **statuses: Status) -> Report:
    checks = [
        Check(check, check, status, (SEEN,), "" if status is Status.PASSED else f"no {check}")
        for check, status in statuses.items()
    ]
    return Report(name, tuple(checks), START, 1.0)


def suite(
    play: Callable[[Part], Report], *, jobs: int = 2, fail_fast: bool = False
) -> tuple[Suite, list[str]]:
    told: list[str] = []
    made = Suite(
        play,
        FakeClock(),
        jobs,
        fail_fast,
        lambda part: told.append(f"+{part.name}"),
        lambda part, _: told.append(f"-{part.name}"),
    )
    return made, told


def test_those_that_disturb_nobody_are_played_side_by_side() -> None:
    both = threading.Barrier(2, timeout=10)

    def play(part: Part) -> Report:
        both.wait()
        return report(part.name, it=Status.PASSED)

    made, _ = suite(play)
    reports = made.run([Part(demo("a")), Part(demo("b"))])
    assert [found.name for found in reports] == ["a", "b"]


def test_those_that_need_the_cluster_come_after_all_others_one_by_one() -> None:
    made, told = suite(lambda part: report(part.name, it=Status.PASSED), jobs=3)
    parts = [Part(demo("x", alone=True)), Part(demo("a")), Part(demo("y", alone=True))]
    reports = made.run(parts)
    assert told == ["+a", "-a", "+x", "-x", "+y", "-y"]
    assert [found.name for found in reports] == ["x", "a", "y"]


def test_an_error_is_the_failure_of_its_own_demo_alone() -> None:
    def play(part: Part) -> Report:
        if part.name == "bad":
            raise ApiError(500, "InternalError", "etcd is away")
        return report(part.name, it=Status.PASSED)

    made, _ = suite(play)
    bad, good = made.run([Part(demo("bad")), Part(demo("good"))])
    assert (bad.status, good.status) == (Status.FAILED, Status.PASSED)
    assert "etcd is away" in bad.checks[0].reason


def test_fail_fast_begins_no_other_and_says_why() -> None:
    made, told = suite(lambda part: report(part.name, it=Status.FAILED), jobs=1, fail_fast=True)
    first, second = made.run([Part(demo("a")), Part(demo("b"))])
    assert told == ["+a", "-a"]
    assert first.status is Status.FAILED
    assert second.checks[0].status is Status.ABORTED
    assert "--fail-fast" in second.checks[0].reason


def judged(target: Demo, *reports: Report) -> dict[str, Check]:
    played = selftest.parts([target])
    (found,) = selftest.judge(played, reports)
    return {check.name: check for check in found.checks}


def test_every_sabotage_is_played_after_the_demo_in_earnest() -> None:
    target = demo("d", cut=("one",), bend=("two",))
    assert [part.sabotage for part in selftest.parts([target])] == [None, "bend", "cut"]


def test_a_check_that_fails_under_its_sabotage_is_caught() -> None:
    earnest, broken = report("d", one=Status.PASSED), report("d", one=Status.FAILED)
    found = judged(demo("d", cut=("one",)), earnest, broken)["one"]
    assert found.status is Status.PASSED
    assert "cut is done" in found.evidence[0].expected


def test_a_check_that_holds_all_the_same_or_is_never_judged_is_missed() -> None:
    earnest = report("d", one=Status.PASSED)
    target = demo("d", cut=("one",))
    for broken in (earnest, report("d", other=Status.FAILED)):
        found = judged(target, earnest, broken)["one"]
        assert (found.status, found.reason) == (Status.FAILED, "missed under cut")


def test_a_check_without_a_sabotage_or_one_that_does_not_hold_proves_nothing() -> None:
    earnest = report("d", bare=Status.PASSED, weak=Status.FAILED, cannot=Status.SKIPPED)
    found = judged(demo("d"), earnest)
    assert [found[name].status for name in ("bare", "weak", "cannot")] == [
        Status.ABORTED,
        Status.ABORTED,
        Status.SKIPPED,
    ]
    assert "no sabotage" in found["bare"].reason
    assert "in earnest" in found["weak"].reason


def test_a_sabotage_for_a_check_that_is_none_is_told() -> None:
    earnest = report("d", one=Status.PASSED)
    found = judged(demo("d", cut=("gone",)), earnest, earnest)
    assert found["gone"].status is Status.ABORTED
