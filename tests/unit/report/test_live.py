from __future__ import annotations

import io

import pytest
from rich.console import Console

from kops_toolkit.outcome import Check, Evidence, Moment, Picture, Row, Status
from kops_toolkit.report.lines import Lines
from kops_toolkit.report.live import GONE_AFTER, Live, Strips
from tests.fakes.clock import START

CHECK = Check("held", "It [held]", Status.PASSED, (Evidence("1", "1 of [1]", "test", START),))
POD = Row(2, "Pod/web-1", "Ready", True, "v1")
PICTURE = Picture(
    (
        Row(0, "Deployment/web", "Active", True, "3 of 3 ready"),
        Row(1, "ReplicaSet/web-abc", "Scaled", None, "revision 1, 3 wanted"),
        POD,
    ),
    "100 requests, 0 lost",
)


def frame(live: Live, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    with console.capture() as shown:
        console.print(live.frame(width, height))
    return shown.get().splitlines()


@pytest.fixture
def live() -> Live:
    live = Live(Console(file=io.StringIO(), markup=False, highlight=False))
    live._look = lambda: PICTURE
    live._title = "A demo"
    live.stage("An act", "It shows [something] that takes " + "very " * 30 + "long to tell.")
    return live


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 45), (60, 20)])
def test_a_frame_fits_the_terminal_and_drops_the_oldest_checks(
    live: Live, width: int, height: int
) -> None:
    for _ in range(40):
        live.judged(CHECK)
    live.judged(Check("last", "The last one", Status.FAILED, CHECK.evidence, "no"))
    live.happened(Moment(START, "load", "is [steady] " + "x" * 200))
    lines = frame(live, width, height)
    assert len(lines) <= height - 1
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for part in ("An act", "[something]", "web-1", "100 requests, 0 lost", "40 of 41 checks"):
        assert part in text
    assert "✗ failed  The last one" in lines[-1]


def test_an_object_that_is_gone_is_seen_for_a_moment_and_then_not() -> None:
    strips = Strips()
    strips.take((POD,), 10.0)
    strips.take((), 11.0)
    assert [(row.name, row.state) for row in strips.rows()] == [("Pod/web-1", "Gone")]
    strips.take((), 10.0 + GONE_AFTER + 0.1)
    assert strips.rows() == []


def test_a_strip_has_a_cell_a_second() -> None:
    strips = Strips()
    for tenth in range(35):
        strips.take((POD,), 10.0 + tenth / 10)
    assert len(strips.strip("Pod/web-1").plain) == 4


def test_new_objects_appear_below_their_owners() -> None:
    strips = Strips()
    strips.take(PICTURE.rows, 1.0)
    newer = Row(2, "Pod/web-0", "Pending", None, "v1")
    strips.take((*PICTURE.rows[:2], newer, POD), 2.0)
    assert [row.name for row in strips.rows()][1:] == [
        "ReplicaSet/web-abc",
        "Pod/web-0",
        "Pod/web-1",
    ]


def test_lines_are_plain_and_stamped() -> None:
    file = io.StringIO()
    lines = Lines(Console(file=file, width=300, markup=False, highlight=False))
    lines.begins("A demo", lambda: PICTURE)
    lines.stage("An act", "why")
    lines.happened(Moment(START, "act", "An act"))
    lines.happened(Moment(START, "load", "is [steady]"))
    lines.judged(CHECK)
    lines.ends()
    assert file.getvalue().splitlines() == [
        "A demo",
        "",
        "== An act",
        "   why",
        "00:00:00.000  load: is [steady]",
        "✓ passed  It [held]: 1 of [1]",
    ]


def test_teaching_waits_for_enter_but_not_past_the_end_of_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdin = io.StringIO("\n")
    monkeypatch.setattr("sys.stdin", stdin)
    file = io.StringIO()
    lines = Lines(Console(file=file, markup=False, highlight=False), pause=True)
    for act in range(4):
        lines.stage(f"act {act}", "")
    assert file.getvalue().count("press Enter") == 2
