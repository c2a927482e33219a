from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kops_toolkit.kube.api import CONFIG_MAP
from kops_toolkit.kube.temporal import (
    Before,
    Consistently,
    Eventually,
    Never,
    State,
    Within,
    replay,
)
from kops_toolkit.kube.watch import Seen
from kops_toolkit.kube.watches import Watches
from kops_toolkit.outcome import Status
from kops_toolkit.system.clock import SystemClock
from tests.fakes.clock import START
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from kops_toolkit.kube.api import Json

HERE = "default"


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def seen(at: float, name: str) -> Seen:
    meta = {"name": name, "namespace": HERE, "resourceVersion": str(int(at * 10))}
    return Seen(at, START, "ADDED", {"kind": "ConfigMap", "metadata": meta})


def states(*counts: int) -> list[State]:
    return [
        State(seen(at, "x"), {CONFIG_MAP: {str(n): {} for n in range(count)}})
        for at, count in enumerate(counts)
    ]


MOST = Never(
    lambda state: f"{n} of them" if (n := len(state.of(CONFIG_MAP))) > 3 else None,
)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_never_is_broken_by_a_single_event(counts: list[int]) -> None:
    assert MOST.judge(states(*counts)).held is all(count <= 3 for count in counts)


def test_never_tells_the_first_breach_and_where() -> None:
    verdict = MOST.judge(states(1, 5, 1, 6))
    assert (verdict.held, verdict.observed) == (False, "5 of them")
    assert verdict.source == "ConfigMap/default/x@10"
    check = verdict.check("most", "Never more than 3", "at most 3")
    assert (check.status, check.reason) == (Status.FAILED, "5 of them")


def test_never_over_nothing_has_not_held() -> None:
    assert not MOST.judge([]).held


@given(st.lists(st.sampled_from("abx"), max_size=12))
def test_before_needs_both_in_order(names: list[str]) -> None:
    history = [seen(at, name) for at, name in enumerate(names)]
    verdict = Before(lambda s: s.name == "a", lambda s: s.name == "b").judge(history)
    expected = "a" in names and "b" in names and names.index("a") < names.index("b")
    assert verdict.held is expected


def test_before_says_how_far_apart() -> None:
    verdict = Before(lambda s: s.name == "a", lambda s: s.name == "b").judge(
        [seen(1.0, "a"), seen(3.5, "b")]
    )
    assert verdict.observed == "2.500 s after ConfigMap/default/a@10"


@pytest.mark.parametrize(
    ("seconds", "held"), [(None, False), (4.9, False), (5.0, True), (8.0, True), (8.1, False)]
)
def test_within_has_two_bounds(seconds: float | None, held: bool) -> None:
    assert Within(5, 8).judge(seconds, "test").held is held


def test_eventually_comes_or_tells_what_was_last_seen() -> None:
    kube = FakeKube()
    with Watches(kube, SystemClock()) as watches:
        maps = watches.of(CONFIG_MAP, HERE)
        kube.create(config_map("a"), HERE)
        came = Eventually(5).judge(maps, lambda: "there" if "a" in maps.current() else None, "a")
        assert (came.held, came.observed) == (True, "there")
        missed = Eventually(0.05).judge(maps, lambda: None, "the impossible")
        assert not missed.held
        assert "the impossible" in missed.observed
        assert "ConfigMap/default/a@" in missed.observed


def test_consistently_needs_something_to_look_at_and_sees_a_breach() -> None:
    kube = FakeKube()
    with Watches(kube, SystemClock()) as watches:
        maps = watches.of(CONFIG_MAP, HERE)
        assert not Consistently(0.05).judge(maps, lambda: None, "x").held
        kube.create(config_map("a"), HERE)
        held = Consistently(0.1).judge(maps, lambda: None, "x")
        assert (held.held, held.observed) == (True, "held for 0.1 s over 1 events")
        broken = Consistently(5).judge(
            maps, lambda: "it is there" if "a" in maps.current() else None, "x"
        )
        assert (broken.held, broken.observed) == (False, "it is there")


def test_consistently_proves_nothing_while_the_server_is_away() -> None:
    kube = FakeKube()
    kube.create(config_map("a"), HERE)
    with Watches(kube, SystemClock()) as watches:
        maps = watches.of(CONFIG_MAP, HERE).ready()
        with kube.away():
            verdict = Consistently(0.3).judge(maps, lambda: None, "x")
    assert not verdict.held
    assert "does not answer" in verdict.observed


def test_replay_goes_through_every_state() -> None:
    kube = FakeKube()
    with Watches(kube, SystemClock()) as watches:
        maps = watches.of(CONFIG_MAP, HERE).ready()
        kube.create(config_map("a"), HERE)
        kube.create(config_map("b"), HERE)
        kube.delete(CONFIG_MAP, "a", HERE)
        maps.wait(lambda: True if set(maps.current()) == {"b"} else None, timeout=5, what="b alone")
        assert [sorted(state.of(CONFIG_MAP)) for state in replay([maps])] == [
            ["a"],
            ["a", "b"],
            ["b"],
        ]
