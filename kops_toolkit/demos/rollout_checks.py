"""Judges a rollout: histories and requests in, verdicts out; nothing here asks a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.rollout import in_service, serving_pods, standing_pods, wanted_pods
from kops_toolkit.kube import views
from kops_toolkit.kube.temporal import Before, Never, Verdict
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from kops_toolkit.demos.load import Request, Tally
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.temporal import State
    from kops_toolkit.kube.watch import Seen

LOG = "Pod/load's log"
ENOUGH = 20  # requests: fewer would prove nothing
SLOWEST = 10.0  # requests a second: with fewer the load was not on
MOMENT = 2.0  # seconds in which two ReplicaSets, worked on side by side, must have settled
LONGEST_GAP = 3.0  # seconds without an answer: longer, and the load stood still


def never_more_wanted(states: Iterable[State], most: int) -> Verdict:
    """The ReplicaSets together never ask for more than `most` pods."""
    return _bound(states, wanted_pods, "asked for", most=most)


def pods_follow(states: Iterable[State], most: int) -> Verdict:
    """There are more than `most` pods, those ending not counted, for moments only.

    The Deployment controller counts what ReplicaSets ask for. Each ReplicaSet is then worked on by
    its own, so a new pod can come just before the old one whose place it takes is told to end.
    """
    peak, longest, at, count = 0, 0.0, None, 0
    over_since: float | None = None
    last = 0.0
    for state in states:
        count += 1
        last = state.seen.at
        standing = standing_pods(state)
        if standing > peak:
            peak, at = standing, state.seen
        if standing > most:
            over_since = last if over_since is None else over_since
        elif over_since is not None:
            longest, over_since = max(longest, last - over_since), None
    if at is None:
        return Verdict(held=False, observed="nothing was observed", source="Pods")
    held = over_since is None and longest <= MOMENT
    words = f"at most {peak} in each of {count} states"
    if over_since is not None:
        words += f", more than {most} to the end"
    elif longest:
        words += f", more than {most} for {longest:.3f} s at most"
    return Verdict(held=held, observed=words, source=at.source, at=at.wall)


def never_fewer_serving(states: Iterable[State], fewest: int) -> Verdict:
    """There are never fewer than `fewest` pods that are ready and stay."""
    return _bound(states, serving_pods, "serving", fewest=fewest)


def _bound(
    states: Iterable[State],
    count: Callable[[State], int],
    what: str,
    *,
    most: int | None = None,
    fewest: int | None = None,
) -> Verdict:
    seen: list[int] = []

    def breach(state: State) -> str | None:
        seen.append(count(state))
        if most is not None and seen[-1] > most:
            return f"{seen[-1]} pods {what}, {most} allowed"
        if fewest is not None and seen[-1] < fewest:
            return f"only {seen[-1]} pods {what}, {fewest} needed"
        return None

    def tell(states: int) -> str:
        edge = f"at most {max(seen)}" if most is not None else f"at least {min(seen)}"
        return f"{edge} pods {what} in each of {states} states"

    return Never(breach, tell).judge(states)


def nothing_lost(seen: Tally) -> Verdict:
    """Every request was answered, by a load that was on all the time."""
    trouble = ""
    if seen.total < ENOUGH:
        trouble = ": too few to prove anything"
    elif seen.rate < SLOWEST or seen.longest_gap > LONGEST_GAP:
        trouble = f": the load was not steady, no answer for {seen.longest_gap:.1f} s"
    words = f"{seen}, {seen.rate:.0f}/s{trouble}"
    return Verdict(held=not trouble and not seen.lost, observed=words, source=LOG)


def readiness_gates(
    history: Iterable[Seen], requests: Iterable[Request], soonest: float
) -> Verdict:
    """No pod answers a request before the kubelet called it ready, `soonest` s after its start.

    All stamps are the nodes' own, those of the API in whole seconds, rounded down: a request that
    came up to a second too early is not caught, one before the server even listened is.

    Args:
        history: of the pods in question.
        requests: any, of these pods or others.
        soonest: seconds that a pod needs from its start until it can serve.
    """
    first: dict[str, float] = {}
    for request in requests:
        stamp = request.at.timestamp()
        if not request.failure:
            first[request.who] = min(stamp, first.get(request.who, stamp))
    names: set[str] = set()
    gates: dict[str, tuple[float, float]] = {}
    for seen in history:
        names.add(seen.name)
        if seen.name not in gates and (gate := _gate(seen.object)) is not None:
            gates[seen.name] = gate
    wrong = [f"{name} never became ready" for name in sorted(names - gates.keys())]
    for name, (started, ready) in gates.items():
        if name not in first:
            wrong.append(f"{name} never answered")
        elif first[name] < ready:
            wrong.append(f"{name} answered {ready - first[name]:.1f} s before it was ready")
        if ready - started < soonest - 1:
            wrong.append(f"{name} was called ready {ready - started:.0f} s after its start")
    least = min((ready - started for started, ready in gates.values()), default=0.0)
    waits = [first[name] - ready for name, (_, ready) in gates.items() if name in first]
    words = "; ".join(wrong) or (
        f"{len(gates)} pods, ready {least:.0f} s or more after their start, "
        f"first answer {min(waits, default=0.0):.1f} s or more after that"
    )
    return Verdict(held=bool(gates) and not wrong, observed=words, source=f"Pods, and {LOG}")


def _gate(pod: Json) -> tuple[float, float] | None:
    """When a pod's container started and when the pod was called ready; None if it is not."""
    told = views.condition(pod, "Ready")
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    started = [status["state"].get("running", {}).get("startedAt") for status in statuses]
    if told is None or told["status"] != "True" or not all(started) or not started:
        return None
    stamps = [views.moment(stamp).timestamp() for stamp in (started[0], told["lastTransitionTime"])]
    return stamps[0], stamps[1]


def leaves_first(history: Sequence[Seen], names: Collection[str], least: float) -> Verdict:
    """Each pod is out of the EndpointSlice at least `least` s before it is gone.

    Args:
        history: of the pods and of the Service's EndpointSlices, by time of arrival.
        names: the pods.
        least: seconds.
    """
    shortest: tuple[float, Verdict] | None = None
    for name in sorted(names):
        verdict, seconds = _left(history, name)
        if not verdict.held or seconds is None:
            return Verdict(
                held=False, observed=f"{name}: {verdict.observed}", source=verdict.source
            )
        if shortest is None or seconds < shortest[0]:
            shortest = (seconds, verdict)
    if shortest is None:
        return Verdict(held=False, observed="no pod was to end", source="Pods")
    seconds, verdict = shortest
    words = f"{len(names)} pods, gone {seconds:.1f} s or more after they left"
    return Verdict(held=seconds >= least, observed=words, source=verdict.source, at=verdict.at)


def _left(history: Sequence[Seen], name: str) -> tuple[Verdict, float | None]:
    marks: dict[str, float] = {}

    def out(seen: Seen) -> bool:
        if "endpoints" not in seen.object:
            return False
        if in_service(seen.object, name):
            marks.setdefault("in", seen.at)
            return False
        if "in" in marks:
            marks.setdefault("out", seen.at)
        return "in" in marks

    def gone(seen: Seen) -> bool:
        if seen.object["kind"] == "Pod" and seen.name == name and seen.type == "DELETED":
            marks["gone"] = seen.at
        return "gone" in marks

    verdict = Before(out, gone).judge(history)
    seconds = marks["gone"] - marks["out"] if verdict.held else None
    return verdict, seconds


def handed_over(during: Tally, after: Tally, old: Collection[str], new: Collection[str]) -> Verdict:
    """Pods of both versions answer during an update, and only new ones after it."""
    by_old = sum(during.answers[name] for name in old)
    by_new = sum(during.answers[name] for name in new)
    others = after.answers.total() - sum(after.answers[name] for name in new)
    words = f"during: {by_old} old, {by_new} new; after: {others} of {after.total} not new"
    held = by_old > 0 and by_new > 0 and others == 0 and after.total > 0
    return Verdict(held=held, observed=words, source=LOG)


def history_kept(old: Json, new: Json, replicas: int) -> Verdict:
    """The old ReplicaSet is still there with no pods, the new one has them all."""
    counts = (old["spec"]["replicas"], new["spec"]["replicas"])
    words = f"the old one wants {counts[0]} pods, the new one {counts[1]}"
    return Verdict(held=counts == (0, replicas), observed=words, source=source(old))


def waits_for_image(history: Iterable[Seen], allowed: int) -> Verdict:
    """Exactly `allowed` pods were made, none was ever ready, each waits for its image."""
    reasons: dict[str, set[str]] = {}
    ready: set[str] = set()
    where = "Pods"
    for seen in history:
        told = reasons.setdefault(seen.name, set())
        where = seen.source
        if reason := views.waiting_reason(seen.object):
            told.add(reason)
        if views.ready(seen.object):
            ready.add(seen.name)
    pulling = all({"ErrImagePull", "ImagePullBackOff"} & told for told in reasons.values())
    every = sorted(set().union(*reasons.values())) if reasons else []
    words = f"{len(reasons)} made, {len(ready)} ever ready, waiting with {', '.join(every) or '-'}"
    held = bool(reasons) and len(reasons) == allowed and not ready and pulling
    return Verdict(held=held, observed=words, source=where)


def untouched(before: Iterable[Json], after: Iterable[Json]) -> Verdict:
    """The same pods by UID, none restarted meanwhile, and there were some."""
    was = {views.uid(pod): restarts(pod) for pod in before}
    now = {views.uid(pod): restarts(pod) for pod in after}
    same = was.keys() & now.keys()
    again = sum(now[uid] - was[uid] for uid in same)
    words = f"{len(same)} of {len(was)} the same, {again} restarts"
    return Verdict(
        held=bool(was) and len(same) == len(was) and not again, observed=words, source="Pods"
    )


def restarts(pod: Json) -> int:
    """How often containers of a pod were restarted."""
    return sum(s["restartCount"] for s in pod.get("status", {}).get("containerStatuses") or ())


def restored(
    template: Json, found: Json, sets: tuple[Json, Json], pods: tuple[set[str], set[str]]
) -> Verdict:
    """After an undo everything is as it was before the change that was undone.

    Args:
        template: the one that was put back.
        found: the Deployment afterwards.
        sets: the ReplicaSet that had the pods before, and the one that has them now.
        pods: UIDs of the pods before and now.
    """
    back = found["spec"]["template"] == template
    same = views.uid(sets[0]) == views.uid(sets[1])
    both = pods[0] & pods[1]
    words = (
        f"template {'equal' if back else 'differs'}, ReplicaSet {'the same' if same else 'another'}"
        f", {len(both)} of {len(pods[0])} pods the same, {len(pods[1] - both)} others"
    )
    held = back and same and bool(both) and pods[0] == pods[1]
    return Verdict(held=held, observed=words, source=source(sets[1]))


def nobody_answers(seen: Tally, least: float) -> Verdict:
    """Requests were refused, and for `least` s or more none was answered."""
    words = f"{seen}, {seen.longest_gap:.1f} s without an answer"
    held = seen.failures["refused"] > 0 and seen.longest_gap >= least
    return Verdict(held=held, observed=words, source=LOG)


def ends_before_begins(history: Iterable[Seen], old: Collection[str], new: str) -> Verdict:
    """The containers of all `old` pods have ended before the first pod of version `new` is made."""
    left = set(old)

    def last_ended(event: Seen) -> bool:
        phase = event.object.get("status", {}).get("phase")
        if event.type == "DELETED" or phase in {"Succeeded", "Failed"}:
            left.discard(event.name)
        return not left

    def new_one(event: Seen) -> bool:
        return event.type == "ADDED" and event.object["metadata"]["labels"]["version"] == new

    return Before(last_ended, new_one).judge(history)
