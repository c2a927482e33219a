"""Every judge is shown a history that is right, and one that is wrong for each reason it knows."""

from __future__ import annotations

import pytest

from kops_toolkit.demos import rollout_checks as checks
from kops_toolkit.demos.load import Tally, tally
from tests.fakes.rollouts import endpoint_slice, pod, replica_set, requests, seen, states


def test_surge_holds_over_a_whole_rollout() -> None:
    events = [seen(replica_set("old", 3)), seen(replica_set("new", 1)), seen(replica_set("old", 2))]
    verdict = checks.never_more_wanted(states(*events), 4)
    assert verdict.held
    assert verdict.observed == "at most 4 pods asked for in each of 3 states"


def test_surge_breached_for_a_single_event_fails() -> None:
    breach = seen(replica_set("new", 2), 1)
    events = [seen(replica_set("old", 3)), breach, seen(replica_set("old", 2), 1.001)]
    verdict = checks.never_more_wanted(states(*events), 4)
    assert not verdict.held
    assert verdict.observed == "5 pods asked for, 4 allowed"
    assert verdict.at == breach.wall


def test_fewer_serving_for_a_single_event_fails() -> None:
    up = [seen(pod(name, ready=1), 0, "ADDED") for name in ("a", "b", "c")]
    dip = [seen(pod("a"), 1), seen(pod("a", ready=2), 1.001)]
    serving = (state for state in states(*up, *dip) if state.seen.at > 0)
    verdict = checks.never_fewer_serving(serving, 3)
    assert not verdict.held
    assert verdict.observed == "only 2 pods serving, 3 needed"


def test_a_pod_that_is_to_end_does_not_serve() -> None:
    up = [seen(pod(name, ready=1)) for name in ("a", "b")]
    ending = seen(pod("b", ready=1, ending=True), 1)
    serving = (state for state in states(*up, ending) if state.seen.at > 0)
    verdict = checks.never_fewer_serving(serving, 2)
    assert not verdict.held


def test_bounds_of_nothing_have_not_held() -> None:
    assert not checks.never_more_wanted([], 4).held
    assert not checks.never_fewer_serving([], 0).held
    assert not checks.pods_follow([], 4).held


@pytest.mark.parametrize(
    ("until", "held"), [(0.5, True), (checks.MOMENT + 0.5, False), (None, False)]
)
def test_pods_may_exceed_the_surge_for_a_moment_only(until: float | None, held: bool) -> None:
    events = [seen(pod(name), 0, "ADDED") for name in ("a", "b")]
    if until is not None:
        events.append(seen(pod("a", ending=True), until))
    verdict = checks.pods_follow(states(*events), 1)
    assert verdict.held is held
    assert "at most 2" in verdict.observed


def test_pods_that_have_ended_do_not_count() -> None:
    events = [seen(pod("a", phase="Failed")), seen(pod("b"))]
    assert checks.pods_follow(states(*events), 1).held


def test_nothing_lost() -> None:
    assert checks.nothing_lost(tally(requests("a", 0, 100))).held


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (
            requests("a", 0, 100) + requests("a", 5, 3, failure="refused"),
            "3 of 103 requests lost (3 refused)",
        ),
        (requests("a", 0, 19), "too few"),
        ([], "too few"),
        (requests("a", 0, 30, every=1.0), "not steady"),
        (requests("a", 0, 100) + requests("a", 9, 100), "not steady"),
    ],
)
def test_a_loss_a_slow_load_and_a_silent_load_all_fail(seen: list[object], why: str) -> None:
    verdict = checks.nothing_lost(tally(seen))  # type: ignore[arg-type]  # requests, built above
    assert not verdict.held
    assert why in verdict.observed


def gated(first: float, *, ready: float | None = 3, started: float = 0) -> tuple[bool, str]:
    history = [seen(pod("n", started=started)), seen(pod("n", started=started, ready=ready), 3)]
    verdict = checks.readiness_gates(history, requests("n", first, 5), 2)
    return verdict.held, verdict.observed


def test_readiness_gates_what_answers_later() -> None:
    held, words = gated(3.4)
    assert held
    assert (
        words
        == "1 pods, ready 3 s or more after their start, first answer 0.4 s or more after that"
    )


def test_an_answer_before_readiness_fails() -> None:
    assert gated(1.5) == (False, "n answered 1.5 s before it was ready")


def test_a_pod_called_ready_at_once_fails() -> None:
    assert gated(4, started=3) == (False, "n was called ready 0 s after its start")


def test_a_pod_never_ready_or_never_asked_fails() -> None:
    assert gated(4, ready=None) == (False, "n never became ready")
    assert not checks.readiness_gates([seen(pod("n", ready=3))], [], 2).held
    assert not checks.readiness_gates([], requests("n", 0), 2).held


def test_readiness_lost_and_found_again_is_judged_by_the_first() -> None:
    history = [seen(pod("n", ready=at), at) for at in (3, 9)]
    assert checks.readiness_gates(history, requests("n", 4), 2).held


def test_a_failed_request_is_no_answer() -> None:
    asked = requests("n", 0.5, failure="refused") + requests("n", 3.5)
    assert checks.readiness_gates([seen(pod("n", ready=3))], asked, 2).held


def leaving(*, out_at: float | None, gone_at: float | None) -> tuple[bool, str]:
    history = [seen(endpoint_slice("a", "b"), 0), seen(pod("a"), 0)]
    if out_at is not None:
        history.append(seen(endpoint_slice("b", unready=["a"]), out_at))
    if gone_at is not None:
        history.append(seen(pod("a"), gone_at, "DELETED"))
    verdict = checks.leaves_first(sorted(history, key=lambda item: item.at), ["a"], 3)
    return verdict.held, verdict.observed


def test_leaving_first() -> None:
    assert leaving(out_at=1, gone_at=5) == (True, "1 pods, gone 4.0 s or more after they left")


def test_ending_too_soon_or_first_or_not_at_all_fails() -> None:
    assert leaving(out_at=1, gone_at=3) == (False, "1 pods, gone 2.0 s or more after they left")
    assert leaving(out_at=5, gone_at=1) == (False, "a: the later came first")
    assert leaving(out_at=None, gone_at=4) == (False, "a: the later came first")
    assert leaving(out_at=1, gone_at=None) == (False, "a: the later never came")
    assert not checks.leaves_first([], [], 3).held


def of(who: dict[str, int]) -> Tally:
    return tally([item for name, count in who.items() for item in requests(name, 0, count)])


@pytest.mark.parametrize(
    ("during", "after", "held"),
    [
        ({"o": 5, "n": 5}, {"n": 5}, True),
        ({"o": 5, "n": 5}, {"n": 5, "o": 1}, False),
        ({"n": 5}, {"n": 5}, False),
        ({"o": 5}, {"n": 5}, False),
        ({"o": 5, "n": 5}, {}, False),
        ({"o": 5, "n": 5}, {"n": 5, "stranger": 1}, False),
    ],
)
def test_handing_over(during: dict[str, int], after: dict[str, int], held: bool) -> None:
    assert checks.handed_over(of(during), of(after), ["o"], ["n"]).held is held


def test_the_old_replica_set_is_kept_empty() -> None:
    assert checks.history_kept(replica_set("old", 0), replica_set("new", 3), 3).held
    assert not checks.history_kept(replica_set("old", 1), replica_set("new", 3), 3).held


def test_waiting_for_an_image() -> None:
    stuck = [seen(pod("x", waiting=why)) for why in ("ContainerCreating", "ImagePullBackOff")]
    assert checks.waits_for_image(stuck, 1).held
    assert not checks.waits_for_image(stuck[:1], 1).held
    assert not checks.waits_for_image([*stuck, seen(pod("y", waiting="ErrImagePull"))], 1).held
    assert not checks.waits_for_image([*stuck, seen(pod("x", ready=3))], 1).held
    assert not checks.waits_for_image([], 1).held
    assert not checks.waits_for_image([], 0).held


def test_pods_left_alone() -> None:
    two = [pod("a"), pod("b")]
    assert checks.untouched(two, [*two, pod("bad")]).held
    assert not checks.untouched(two, two[:1]).held
    assert not checks.untouched(two, [pod("a"), pod("b", uid="another")]).held
    assert not checks.untouched(two, [pod("a", restarts=1), pod("b")]).held
    assert not checks.untouched([], two).held


def test_an_undo_restores_everything() -> None:
    template: dict[str, object] = {"spec": {"containers": []}}
    found = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": template}}
    old, other = replica_set("old", 3), replica_set("other", 3)

    def held(**change: object) -> bool:
        given = {"template": template, "sets": (old, old), "pods": ({"a"}, {"a"})} | change
        return checks.restored(found=found, **given).held  # type: ignore[arg-type]  # as above

    assert held()
    assert not held(template={"spec": {}})
    assert not held(sets=(old, other))
    assert not held(pods=({"a"}, {"b"}))
    assert not held(pods=({"a"}, {"a", "b"}))
    assert not held(pods=(set(), set()))


def test_recreate_must_be_seen_to_refuse_and_to_leave_a_gap() -> None:
    around = requests("a", 0, 20) + requests("b", 6, 20)
    refused = requests("", 2, 5, failure="refused")
    assert checks.nobody_answers(tally(around + refused), 2).held
    assert not checks.nobody_answers(tally(around), 2).held
    assert not checks.nobody_answers(tally(requests("a", 0, 200) + refused), 2).held


def test_recreate_ends_the_old_before_the_new() -> None:
    end_a, end_b = seen(pod("a"), 1, "DELETED"), seen(pod("b", phase="Failed"), 2)
    early, late = (seen(pod("n", version="v2"), at, "ADDED") for at in (1.5, 3))
    assert checks.ends_before_begins([end_a, end_b, late], ["a", "b"], "v2").held
    assert not checks.ends_before_begins([end_a, early, end_b], ["a", "b"], "v2").held
    assert not checks.ends_before_begins([end_a, end_b], ["a", "b"], "v2").held
