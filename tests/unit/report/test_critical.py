"""The critical path is the chain that, made shorter, would have ended the run sooner."""

from __future__ import annotations

from datetime import timedelta

from kops_toolkit.outcome import Check, Evidence, Moment, Report, Status
from kops_toolkit.report import critical
from tests.fakes.clock import START

CHECK = Check("it", "It", Status.PASSED, (Evidence("that", "this", "here"),))


def report(name: str, begin: float, seconds: float, **acts: float) -> Report:
    started = START + timedelta(seconds=begin)
    timeline = tuple(
        Moment(started + timedelta(seconds=after), "act", act) for act, after in acts.items()
    )
    return Report(name, (CHECK,), started, seconds, timeline=timeline)


def test_the_longest_of_those_side_by_side_and_then_those_alone() -> None:
    reports = [report("short", 0, 5), report("long", 0, 60), report("alone", 60, 7)]
    assert [found.name for found in critical.path(reports)] == ["long", "alone"]


def test_one_that_began_when_another_ended_waited_for_it() -> None:
    reports = [report("a", 0, 10), report("b", 0, 30), report("c", 10, 40), report("d", 50, 1)]
    assert [found.name for found in critical.path(reports)] == ["a", "c", "d"]


def test_what_was_never_begun_is_on_no_path() -> None:
    assert critical.path([report("never", 0, 0)]) == []


def test_the_time_of_a_demo_is_told_by_act() -> None:
    found = report("flow", 0, 70, made=2, lost=10)
    assert critical.acts(found) == [("lost", 60.0), ("made", 8.0), ("getting ready", 2.0)]
    assert critical.told([found]) == ["flow 70.0 s: lost 60.0 s, made 8.0 s"]
