from __future__ import annotations

import pytest

from kops_toolkit.demos.load import Load, Tally, parse, tally
from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube.api import POD
from kops_toolkit.system.clock import SystemClock
from tests.fakes.kube import FakeKube

STAMP = "2026-01-01T00:00:{:06.3f}123456Z"


def line(second: float, number: int, who: str = "web-1", code: str = "200", ended: int = 0) -> str:
    stamp = STAMP.format(second)
    return f"{stamp} {who} http://10.0.0.1:80/hostname?n={number} {code} {ended} 0.002 "


def said(number: int, who: str = "web-1", code: str = "200", ended: int = 0) -> str:
    """The line as curl writes it: the API server puts the stamp in front."""
    return line(0, number, who, code, ended).partition(" ")[2]


def of(*lines: str) -> Tally:
    return tally([found for each in lines if (found := parse(each))])


def test_an_answer_has_its_pod_and_no_failure() -> None:
    found = parse(line(1, 7))
    assert found
    assert (found.who, found.number, found.failure, found.seconds) == ("web-1", 7, "", 0.002)


@pytest.mark.parametrize(
    ("code", "ended", "failure"),
    [
        ("000", 7, "refused"),
        ("000", 28, "timed out"),
        ("000", 56, "reset"),
        ("503", 0, "HTTP 503"),
        ("200", 18, "curl 18"),
    ],
)
def test_each_failure_has_its_name(code: str, ended: int, failure: str) -> None:
    found = parse(line(1, 1, "", code, ended))
    assert found
    assert found.failure == failure


@pytest.mark.parametrize("end", range(10, 70, 7))
def test_a_torn_line_is_no_request(end: int) -> None:
    assert parse(line(1, 1)[:end]) is None


def test_a_tally_counts_kinds_answers_and_the_longest_gap() -> None:
    found = of(line(0, 1), line(1, 2, "web-2"), line(2, 3, "", "000", 7), line(4.5, 4), line(5, 5))
    assert (found.total, found.lost) == (5, 1)
    assert found.answers == {"web-1": 3, "web-2": 1}
    assert found.longest_gap == 3.5
    assert str(found) == "1 of 5 requests lost (1 refused)"


def test_lines_are_followed_and_marked() -> None:
    kube = FakeKube()
    kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}}, "default")
    load = Load(kube, SystemClock(), "default", "load")
    try:
        kube.says("default", "load", *(said(n) for n in range(1, 21)))
        load.steady(20, timeout=5)
        mark = load.mark()
        kube.says("default", "load", said(21, "", "000", 7), said(22))
        kube.cut()  # the stream is taken up again from the start, and nothing is told twice
        kube.says("default", "load", said(23))
        with pytest.raises(TimedOutError, match="50 more requests"):
            load.more(50, timeout=1.5)
        seen = load.since(mark)
        assert (seen.total, seen.lost) == (6, 2)  # two lanes read the same log here
    finally:
        load.close()
        kube.delete(POD, "load", "default")
        kube.cut()
