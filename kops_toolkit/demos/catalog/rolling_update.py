"""The rolling update: maxSurge and maxUnavailable, readiness, rollback, pause, and its contrast."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kops_toolkit.demos.load import Load, client_pod
from kops_toolkit.demos.model import Act, Demo, Need
from kops_toolkit.demos.rollout import (
    DRAIN,
    REVISION,
    START_TAKES,
    Rollout,
    Version,
    in_service,
    picture,
    serving_pods,
    template_of,
    wanted_pods,
)
from kops_toolkit.kube import views
from kops_toolkit.kube.api import NODE
from kops_toolkit.kube.temporal import (
    Before,
    Consistently,
    Eventually,
    Never,
    Verdict,
    Within,
    replay,
)
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kops_toolkit.demos.load import Tally
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json, KubeApi
    from kops_toolkit.kube.temporal import State
    from kops_toolkit.kube.watch import Seen

REPLICAS = 3
SURGE = 1  # pods more than that while updating
UNAVAILABLE = 0  # pods fewer than that while updating
DEADLINE = 8  # seconds without progress until a rollout counts as stuck
ROLLING = {
    "type": "RollingUpdate",
    "rollingUpdate": {"maxSurge": SURGE, "maxUnavailable": UNAVAILABLE},
}
RECREATE: dict[str, object] = {"type": "Recreate", "rollingUpdate": None}
NO_IMAGE = "localhost:1/no-such-image:v3"  # refused at once, on the node itself
STILL = 3.0  # seconds that a paused rollout must not move
ENOUGH = 20  # requests a lane: fewer would prove nothing

HEALTHY = Act(
    "A healthy update from v1 to v2",
    "Pods are replaced one by one: at most one more than asked for, never one fewer that serves. A "
    "new pod gets requests only once its readiness probe says so; an old one leaves the Service "
    "first and ends later. So no request is lost.",
)
STUCK = Act(
    "A version whose image does not exist",
    "The one surge pod cannot start, so no old pod is taken away and all requests are still "
    "answered. After progressDeadlineSeconds the Deployment says that it is stuck; it does not "
    "roll back by itself.",
)
UNDO = Act(
    "Undo",
    "The template of the revision before is put back. Its ReplicaSet is still there and is used "
    "again, so nothing that serves is restarted.",
)
PAUSED = Act(
    "Pause, change, resume",
    "While a Deployment is paused a change of its template starts nothing. Resumed, it rolls out.",
)
CONTRAST = Act(
    "The contrast: Recreate",
    "All old pods end before the first new one starts. In between nobody answers: the same load "
    "loses requests, and the same counter sees it.",
)


def play(scene: Scene) -> None:
    """Play all acts."""
    web = Rollout(scene, "web")
    broken = scene.sabotage
    first = Version("v1", scene.image)
    second = Version(
        "v2", scene.image, readiness=broken != "readiness", pre_stop=broken != "prestop"
    )
    third = Version("v3", scene.image)
    load = _serve(scene, web, first)
    try:
        _healthy(scene, web, load, second)
        _stuck(scene, web, load)
        _undo(scene, web, load)
        _paused(scene, web, load, third)
        load = _contrast(scene, web, load, Version("v4", scene.image))
    finally:
        load.close()
    scene.facts["requests"] = load.since({}).total


def _serve(scene: Scene, web: Rollout, version: Version) -> Load:
    address = web.create(REPLICAS, version, ROLLING)
    scene.tell("Service/web", f"answers at {address}")
    scene.api.create(client_pod("load", scene.image, address), scene.namespace)
    web.complete(None)
    scene.tell("Deployment/web", f"{version.name} is available with {REPLICAS} replicas")
    load = Load(scene.api, scene.clock, scene.namespace, "load")
    scene.picture = lambda: picture(web, load)
    load.steady()
    scene.tell("load", "is steady")
    return load


def _healthy(scene: Scene, web: Rollout, load: Load, version: Version) -> None:
    scene.stage(HEALTHY)
    before = set(web.pods.current())
    began = scene.clock.monotonic()
    mark = load.mark()
    web.complete(web.update(version))
    _drained(scene, web, before)
    finished = load.mark()
    load.more(ENOUGH)
    _invariants(scene, web, began)
    _no_loss(scene, "update-loses-nothing", "The update loses no request", load.since(mark))
    _readiness(scene, web, load, version)
    _leaves_first(scene, web, before)
    _handed_over(scene, web, load.since(mark), load.since(finished))
    _history_kept(scene, web)


def _invariants(scene: Scene, web: Rollout, began: float) -> None:
    most, fewest = REPLICAS + SURGE, REPLICAS - UNAVAILABLE

    def states() -> Iterator[State]:
        both = replay([web.pods, web.replica_sets])
        return (state for state in both if state.seen.at >= began)

    def too_many(state: State) -> str | None:
        return f"{count} pods were asked for" if (count := wanted_pods(state)) > most else None

    def too_few(state: State) -> str | None:
        return f"only {count} pods served" if (count := serving_pods(state)) < fewest else None

    peak = max((wanted_pods(state) for state in states()), default=0)
    low = min((serving_pods(state) for state in states()), default=0)
    scene.judge(
        "max-surge",
        "Never more pods than replicas + maxSurge",
        f"at most {most} pods asked for by all ReplicaSets, at every event",
        Never(too_many, lambda count: f"at most {peak} in each of {count} states").judge(states()),
    )
    scene.judge(
        "max-unavailable",
        "Never fewer serving pods than replicas - maxUnavailable",
        f"at least {fewest} pods ready and not ending, at every event",
        Never(too_few, lambda count: f"at least {low} in each of {count} states").judge(states()),
    )


def _no_loss(scene: Scene, name: str, title: str, seen: Tally) -> None:
    enough = seen.total >= ENOUGH
    words = str(seen) + ("" if enough else ": too few to prove anything")
    verdict = Verdict(held=enough and not seen.lost, observed=words, source="Pod/load's log")
    scene.facts[name] = {"requests": seen.total, "lost": seen.lost}
    scene.judge(name, title, f"0 lost of at least {ENOUGH} requests", verdict)


def _readiness(scene: Scene, web: Rollout, load: Load, version: Version) -> None:
    answered: dict[str, float] = {}
    for request in load.requests():
        stamp = request.at.timestamp()
        if request.who and stamp < answered.get(request.who, float("inf")):
            answered[request.who] = stamp
    pods = web.pods_of(version.name)
    early: list[str] = []
    waits: list[float] = []
    for name, pod in pods.items():
        told = views.condition(pod, "Ready")
        started = _started(pod)
        if told is None or started is None:
            early.append(f"{name} never became ready")
            continue
        ready = views.moment(told["lastTransitionTime"]).timestamp()  # whole seconds, rounded down
        waits.append(ready - started)
        if answered.get(name, float("inf")) < ready:
            early.append(f"{name} answered before it was ready")
        if ready - started < START_TAKES - 1:
            early.append(f"{name} was called ready {ready - started:.0f} s after its start")
    least = min(waits, default=0.0)
    words = "; ".join(early) or f"{len(pods)} pods ready {least:.0f} s or more after their start"
    scene.judge(
        "readiness-gates",
        "A new pod gets requests only once it is ready",
        f"ready no sooner than the {START_TAKES} s it needs to start, and no answer before that",
        Verdict(held=bool(pods) and not early, observed=words, source="Pods, and Pod/load's log"),
    )


def _started(pod: Json) -> float | None:
    for status in pod.get("status", {}).get("containerStatuses") or ():
        running = status["state"].get("running") or status["state"].get("terminated")
        if running and running.get("startedAt"):
            return views.moment(running["startedAt"]).timestamp()
    return None


def _drained(scene: Scene, web: Rollout, names: set[str]) -> None:
    """Wait until the old pods are gone: only then has the update ended for their clients."""
    web.pods.wait(
        lambda: None if names & set(web.pods.current()) else True,
        timeout=60,
        what="the end of the old pods",
        last=web.last_words,
    )
    scene.tell("Pods", "all old pods are gone")


def _leaves_first(scene: Scene, web: Rollout, names: set[str]) -> None:
    history = sorted(web.slices.history() + web.pods.history(), key=lambda seen: seen.at)
    verdicts = [_left_before_end(history, name) for name in sorted(names)]
    wrong = [verdict for verdict in verdicts if not verdict.held]
    shown = wrong[0] if wrong else verdicts[0]
    words = (
        shown.observed if wrong else f"{len(verdicts)} pods; the first was gone {shown.observed}"
    )
    scene.judge(
        "leaves-before-it-ends",
        "An old pod leaves the Service before it ends",
        f"out of the EndpointSlice first, gone {DRAIN - 1} s or more later",
        Verdict(held=not wrong, observed=words, source=shown.source, at=shown.at),
    )


def _left_before_end(history: list[Seen], name: str) -> Verdict:
    def in_it(seen: Seen) -> bool:
        return "endpoints" in seen.object and in_service(seen.object, name)

    def left(seen: Seen) -> bool:
        return "endpoints" in seen.object and not in_service(seen.object, name)

    def gone(seen: Seen) -> bool:
        return seen.object["kind"] == "Pod" and seen.name == name and seen.type == "DELETED"

    entered = next((i for i, seen in enumerate(history) if in_it(seen)), len(history))
    verdict = Before(left, gone).judge(history[entered:])
    if verdict.held and float(verdict.observed.split()[0]) < DRAIN - 1:
        return replace(verdict, held=False, observed=f"{name} was gone {verdict.observed}")
    return verdict


def _handed_over(scene: Scene, web: Rollout, during: Tally, after: Tally) -> None:
    old, new = web.pods_of("v1"), web.pods_of("v2")
    by_old = sum(during.answers[name] for name in old)
    by_new = sum(during.answers[name] for name in new)
    stale = sum(after.answers[name] for name in old)
    held = by_old > 0 and by_new > 0 and stale == 0 and after.total > 0
    scene.judge(
        "both-then-new",
        "Both versions answer during the update, only the new one after it",
        "answers of v1 and of v2 during, of v2 alone after",
        Verdict(
            held=held,
            observed=f"during: v1 {by_old}, v2 {by_new}; after: v1 {stale} of {after.total}",
            source="Pod/load's log",
        ),
    )


def _history_kept(scene: Scene, web: Rollout) -> None:
    old, new = web.revision(1), web.revision(2)
    counts = (old["spec"]["replicas"], new["spec"]["replicas"])
    scene.judge(
        "history-kept",
        "The old ReplicaSet stays, with no pods, as the way back",
        f"revision 1 with 0 replicas, revision 2 with {REPLICAS}",
        Verdict(
            held=counts == (0, REPLICAS),
            observed=f"revision 1 with {counts[0]}, revision 2 with {counts[1]}",
            source=source(old),
        ),
    )


def _stuck(scene: Scene, web: Rollout, load: Load) -> None:
    scene.stage(STUCK)
    mark = load.mark()
    serving = {name: views.uid(pod) for name, pod in web.pods.current().items()}
    began = scene.clock.monotonic()
    patched = web.update(Version("bad", NO_IMAGE), progressDeadlineSeconds=DEADLINE)
    generation = patched["metadata"]["generation"]

    def stuck() -> float | None:
        found = web.current()
        told = views.condition(found, "Progressing") or {}
        looked = found.get("status", {}).get("observedGeneration", 0) >= generation
        if looked and told.get("reason") == "ProgressDeadlineExceeded":
            return scene.clock.monotonic() - began
        return None

    verdict = Eventually(DEADLINE + 20.0).judge(
        web.deployments,
        lambda: None if (after := stuck()) is None else f"{after:.1f}",
        "ProgressDeadlineExceeded",
    )
    seconds = float(verdict.observed) if verdict.held else None
    bounds = Within(DEADLINE - 0.5, DEADLINE + 7.0)
    scene.judge(
        "stuck-is-told",
        "A rollout without progress is called stuck after progressDeadlineSeconds",
        f"ProgressDeadlineExceeded {bounds}",
        bounds.judge(seconds, source(web.current())),
    )
    _why_stuck(scene, web)
    kept = {name: views.uid(pod) for name, pod in web.pods.current().items() if name in serving}
    restarts = sum(_restarts(pod) for pod in web.pods.current().values())
    scene.judge(
        "old-pods-keep-serving",
        "While it is stuck the old pods are left alone",
        "the same pods by UID, none restarted",
        Verdict(
            held=kept == serving and not restarts,
            observed=f"{len(kept)} of {len(serving)} the same, {restarts} restarts",
            source="Pods of web",
        ),
    )
    _no_loss(scene, "stuck-loses-nothing", "The stuck rollout loses no request", load.since(mark))


def _why_stuck(scene: Scene, web: Rollout) -> None:
    bad = web.pods_of("bad")
    reasons = sorted(
        {
            views.waiting_reason(seen.object)
            for seen in web.pods.history()
            if seen.name in bad and views.waiting_reason(seen.object)
        }
    )
    pulled = {"ErrImagePull", "ImagePullBackOff"} & set(reasons)
    scene.judge(
        "stuck-for-its-image",
        "One surge pod waits, and says why",
        f"{SURGE} pod of the bad version, waiting with ErrImagePull or ImagePullBackOff",
        Verdict(
            held=len(bad) == SURGE and bool(pulled),
            observed=f"{len(bad)} pod, waiting with {', '.join(reasons) or 'no reason'}",
            source=next((source(pod) for pod in bad.values()), "Pods of web"),
        ),
    )


def _restarts(pod: Json) -> int:
    return sum(s["restartCount"] for s in pod.get("status", {}).get("containerStatuses") or ())


def _undo(scene: Scene, web: Rollout, load: Load) -> None:
    scene.stage(UNDO)
    mark = load.mark()
    wanted = web.revision(2)
    template = template_of(wanted)
    serving = {views.uid(pod) for pod in web.pods_of("v2").values() if not views.terminating(pod)}
    found = web.complete(web.restore_template(template))
    load.more(ENOUGH)
    back = found["spec"]["template"] == template
    now = web.revision(int(found["metadata"]["annotations"][REVISION]))
    same_set = views.uid(now) == views.uid(wanted)
    pods = {views.uid(pod) for pod in web.pods.current().values() if not views.terminating(pod)}
    scene.judge(
        "undo-restores",
        "Undo brings the old template back, in its own ReplicaSet, with its own pods",
        "template equal field by field, the ReplicaSet and the pods the same by UID",
        Verdict(
            held=back and same_set and pods == serving and len(pods) == REPLICAS,
            observed=f"template {'equal' if back else 'differs'}, ReplicaSet "
            f"{'the same' if same_set else 'another'}, {len(pods & serving)} of {REPLICAS} pods "
            "the same",
            source=source(now),
        ),
    )
    _no_loss(scene, "undo-loses-nothing", "The undo loses no request", load.since(mark))


def _paused(scene: Scene, web: Rollout, load: Load, version: Version) -> None:
    scene.stage(PAUSED)
    mark = load.mark()
    sets = len(web.replica_sets.current())
    web.patch({"paused": True})
    web.update(version)

    def moved() -> str | None:
        more = len(web.replica_sets.current()) - sets
        if web.pods_of(version.name) or more:
            return f"{more} new ReplicaSets, {len(web.pods_of(version.name))} new pods"
        return None

    scene.judge(
        "paused-stands-still",
        "A paused Deployment starts nothing",
        f"no new ReplicaSet and no new pod for {STILL:g} s after the change",
        Consistently(STILL).judge(web.pods, moved, "a move of the paused rollout"),
    )
    before = set(web.pods.current())
    found = web.complete(web.patch({"paused": False}))
    _drained(scene, web, before)
    load.more(ENOUGH)
    updated = found["status"]["updatedReplicas"]
    scene.judge(
        "resumed-rolls-out",
        "Resumed, it rolls out what was changed meanwhile",
        f"{REPLICAS} pods of {version.name}",
        Verdict(
            held=len(web.pods_of(version.name)) == updated == REPLICAS,
            observed=f"{updated} updated, {len(web.pods_of(version.name))} pods of {version.name}",
            source=source(found),
        ),
    )
    _no_loss(scene, "resume-loses-nothing", "The resumed update loses no request", load.since(mark))


def _contrast(scene: Scene, web: Rollout, load: Load, version: Version) -> Load:
    scene.stage(CONTRAST)
    mark = load.mark()
    before = set(web.pods.current())
    web.complete(web.update(version, strategy=RECREATE))
    load.steady()
    seen = load.since(mark)
    refused = seen.failures["refused"]
    scene.facts["recreate"] = {"requests": seen.total, "lost": seen.lost}
    scene.judge(
        "recreate-loses",
        "Recreate loses requests: nobody answers in between",
        f"requests refused, and a gap of {START_TAKES} s or more without an answer",
        Verdict(
            held=refused > 0 and seen.longest_gap >= START_TAKES,
            observed=f"{seen}, longest gap {seen.longest_gap:.1f} s",
            source="Pod/load's log",
        ),
    )
    left = set(before)

    def last_ended(event: Seen) -> bool:
        phase = event.object.get("status", {}).get("phase")
        if event.type == "DELETED" or phase in {"Succeeded", "Failed"}:
            left.discard(event.name)
        return not left

    def new_one(event: Seen) -> bool:
        return event.type == "ADDED" and event.object["metadata"]["labels"]["version"] == "v4"

    scene.judge(
        "recreate-order",
        "Recreate ends all old pods before it makes a new one",
        "the containers of the last old pod ended, then the first new one created",
        Before(last_ended, new_one).judge(web.pods.history()),
    )
    return load


def _few_nodes(api: KubeApi) -> str | None:
    nodes = api.list(NODE).items
    able = [node for node in nodes if views.ready(node) and not node["spec"].get("unschedulable")]
    return None if able else f"none of {len(nodes)} nodes is ready"


DEMO = Demo(
    name="rolling-update",
    title="Replace every pod of a Deployment without losing a request",
    idea=(
        "A Deployment changes its pods by making a second ReplicaSet and moving replicas over, one "
        "step at a time, within two bounds: maxSurge and maxUnavailable. Whether clients notice "
        "depends on the pods: readiness decides when a new one gets requests, and preStop with the "
        "grace period lets an old one finish. All of it is shown under steady load through the "
        "Service, and judged on every event that the API server sent."
    ),
    acts=(HEALTHY, STUCK, UNDO, PAUSED, CONTRAST),
    needs=(Need("one ready node", _few_nodes),),
    sabotages={
        "readiness": "v2 has no readiness probe, so it gets requests before it listens",
        "prestop": "v2 has no preStop, so it ends while requests still come",
    },
    play=play,
)
