"""The rolling update: maxSurge and maxUnavailable, readiness, rollback, pause, and its contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos import rollout_checks as checks
from kops_toolkit.demos.load import Load, client_pod
from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.rollout import (
    DRAIN,
    REVISION,
    START_TAKES,
    Rollout,
    Version,
    picture,
    rolling,
    template_of,
)
from kops_toolkit.demos.scheduling import no_able_node
from kops_toolkit.kube import views
from kops_toolkit.kube.api import SERVICE
from kops_toolkit.kube.temporal import Consistently, Eventually, Verdict, Within, replay
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.temporal import State
    from kops_toolkit.kube.watch import Watch

REPLICAS = 3
DEADLINE = 8  # seconds without progress until a rollout counts as stuck
UP_FIRST = (1, 0)  # maxSurge, maxUnavailable: one more, never one fewer
DOWN_FIRST = (0, 1)  # never one more, one fewer: for when there is no room
RECREATE: dict[str, object] = {"type": "Recreate", "rollingUpdate": None}
NO_IMAGE = "localhost:1/no-such-image:v3"  # refused at once, on the node itself
STILL = 3.0  # seconds that a paused rollout must not move
MORE = 20  # requests a lane that are awaited after an act, so that its last loss is seen

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
    "While a Deployment is paused a change of its template starts nothing. Resumed, it rolls out: "
    "this time with maxSurge 0 and maxUnavailable 1, so an old pod goes before a new one comes. "
    "There is never one more than asked for, and still no request is lost.",
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
    drains = broken != "prestop"
    first = Version("v1", scene.image, pre_stop=drains)
    second = Version("v2", scene.image, readiness=broken != "readiness", pre_stop=drains)
    load = _serve(scene, web, first)
    try:
        _healthy(scene, web, load, second)
        _stuck(scene, web, load)
        _undo(scene, web, load)
        _paused(scene, web, load, Version("v3", scene.image))
        _contrast(scene, web, load, Version("v4", scene.image))
    finally:
        load.close()
    scene.facts["requests"] = load.since({}).total


def _serve(scene: Scene, web: Rollout, version: Version) -> Load:
    address = web.create(REPLICAS, version, _strategy(scene, UP_FIRST))
    if scene.sabotage == "no-history":
        web.patch({"revisionHistoryLimit": 0})
    scene.tell("Service/web", f"answers at {address}")
    scene.api.create(client_pod("load", scene.image, address), scene.namespace)
    web.complete(None)
    scene.tell("Deployment/web", f"{version.name} is available with {REPLICAS} replicas")
    load = Load(scene.api, scene.clock, scene.namespace, "load")
    load.steady()
    steady = load.mark()
    scene.picture = lambda: picture(web, load, steady)
    scene.tell("load", "is steady")
    return load


def _healthy(scene: Scene, web: Rollout, load: Load, version: Version) -> None:
    scene.stage(HEALTHY)
    before = set(web.pods.current())
    began = scene.clock.monotonic()
    mark = load.mark()
    web.complete(web.update(version))
    _drained(scene, web, before)
    if scene.sabotage == "stray":
        web.stray()
        load.more(MORE)
    finished = load.mark()
    load.more(MORE)
    _bounds(scene, web, began, UP_FIRST)
    _no_loss(scene, load, mark, "update-loses-nothing", "The update loses no request")
    new = web.pods_of(version.name)
    scene.judge(
        "readiness-gates",
        "A new pod gets requests only once it is ready",
        f"ready no sooner than the {START_TAKES} s it needs to start, and no answer before that",
        checks.readiness_gates(
            (seen for seen in web.pods.history() if seen.name in new), load.requests(), START_TAKES
        ),
    )
    scene.judge(
        "leaves-before-it-ends",
        "An old pod leaves the Service before it ends",
        f"out of the EndpointSlice first, gone {DRAIN - 1} s or more later",
        checks.leaves_first(web.history(), before, DRAIN - 1),
    )
    scene.judge(
        "both-then-new",
        "Both versions answer during the update, only the new one after it",
        "answers of old and new pods during, of new ones alone after",
        checks.handed_over(load.since(mark), load.since(finished), before, new),
    )
    scene.judge(
        "history-kept",
        "The old ReplicaSet stays, with no pods, as the way back",
        f"revision 1 with 0 replicas, revision 2 with {REPLICAS}",
        checks.history_kept(web.revision(1), web.revision(2), REPLICAS)
        if web.has_revision(1)
        else Verdict(held=False, observed="revision 1 is gone", source=source(web.current())),
    )


def _bounds(
    scene: Scene, web: Rollout, began: float, knobs: tuple[int, int], prefix: str = ""
) -> None:
    surge, unavailable = knobs
    most, fewest = REPLICAS + surge, REPLICAS - unavailable

    def since(watch: Watch) -> Iterator[State]:
        return (state for state in replay([watch]) if state.seen.at >= began)

    scene.judge(
        f"{prefix}max-surge",
        f"The controller never asks for more pods than replicas + maxSurge ({surge})",
        f"at most {most} by the sum of all ReplicaSets, at every event",
        checks.never_more_wanted(since(web.replica_sets), most),
    )
    scene.judge(
        f"{prefix}max-surge-pods",
        "The pods follow what the controller asks for",
        f"more than {most} that are not on their way out for {checks.MOMENT:g} s at most",
        checks.pods_follow(since(web.pods), most),
    )
    scene.judge(
        f"{prefix}max-unavailable",
        f"Never fewer pods serve than replicas - maxUnavailable ({unavailable})",
        f"at least {fewest} ready and not on their way out, at every event",
        checks.never_fewer_serving(since(web.pods), fewest),
    )


def _no_loss(scene: Scene, load: Load, mark: dict[str, int], name: str, title: str) -> None:
    seen = load.since(mark)
    scene.facts[name] = {
        "requests": seen.total,
        "lost": seen.lost,
        "per_second": round(seen.rate, 1),
        "longest_gap_seconds": round(seen.longest_gap, 3),
    }
    scene.judge(name, title, f"0 lost of {checks.ENOUGH} or more", checks.nothing_lost(seen))


def _drained(scene: Scene, web: Rollout, names: set[str]) -> None:
    """Wait until the old pods are gone: only then has the update ended for their clients."""
    web.pods.wait(
        lambda: None if names & set(web.pods.current()) else True,
        timeout=60,
        what="the end of the old pods",
        last=web.last_words,
    )
    scene.tell("Pods", "all old pods are gone")


def _stuck(scene: Scene, web: Rollout, load: Load) -> None:
    scene.stage(STUCK)
    mark = load.mark()
    serving = list(web.pods.current().values())
    began = scene.clock.monotonic()
    if scene.sabotage == "blackout":
        _blackout(scene, load)
    image = scene.image if scene.sabotage == "image-there" else NO_IMAGE
    patched = web.update(Version("bad", image), progressDeadlineSeconds=DEADLINE)
    told: list[float] = []

    def stuck() -> str | None:
        found = web.current()
        condition = views.condition(found, "Progressing") or {}
        looked = found.get("status", {}).get("observedGeneration", 0)
        if looked < patched["metadata"]["generation"]:
            return None
        if condition.get("reason") != "ProgressDeadlineExceeded":
            return None
        told.append(scene.clock.monotonic() - began)
        return str(condition["message"])

    Eventually(DEADLINE + 20.0).judge(web.deployments, stuck, "ProgressDeadlineExceeded")
    # The controller compares stamps of whole seconds, so it may be a second early.
    bounds = Within(DEADLINE - 1.0, DEADLINE + 7.0)
    scene.judge(
        "stuck-is-told",
        "A rollout without progress is called stuck after progressDeadlineSeconds",
        f"ProgressDeadlineExceeded {bounds}",
        bounds.judge(told[0] if told else None, source(web.current())),
    )
    scene.judge(
        "stuck-for-its-image",
        "One surge pod waits, and says why",
        "1 pod of the bad version, never ready, waiting with ErrImagePull or ImagePullBackOff",
        checks.waits_for_image(web.history_of("bad"), UP_FIRST[0]),
    )
    bad = web.pods_of("bad")
    now = [pod for name, pod in web.pods.current().items() if name not in bad]
    scene.judge(
        "old-pods-keep-serving",
        "While it is stuck the old pods are left alone",
        "the same pods by UID, none restarted",
        checks.untouched(serving, now),
    )
    _no_loss(scene, load, mark, "stuck-loses-nothing", "The stuck rollout loses no request")


def _undo(scene: Scene, web: Rollout, load: Load) -> None:
    scene.stage(UNDO)
    mark = load.mark()
    wanted = web.revision(2)
    template = template_of(wanted)
    before = web.standing("v2")
    if scene.sabotage == "blackout":
        _blackout(scene, load)
    found = web.complete(web.restore_template(template))
    load.more(MORE)
    now = web.revision(int(found["metadata"]["annotations"][REVISION]))
    scene.judge(
        "undo-restores",
        "Undo brings the old template back, in its own ReplicaSet, with its own pods",
        "template equal field by field, the ReplicaSet and the pods the same by UID",
        checks.restored(template, found, (wanted, now), (before, web.standing())),
    )
    _no_loss(scene, load, mark, "undo-loses-nothing", "The undo loses no request")


def _paused(scene: Scene, web: Rollout, load: Load, version: Version) -> None:
    scene.stage(PAUSED)
    mark = load.mark()
    sets = len(web.replica_sets.current())
    if scene.sabotage == "same-again":
        version = Version("v2", scene.image)
    web.patch({"paused": scene.sabotage != "unpaused"})
    web.update(version, strategy=_strategy(scene, DOWN_FIRST))

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
    began = scene.clock.monotonic()
    found = web.complete(web.patch({"paused": False}))
    fresh = web.pods_of(version.name).keys() - before
    updated, made = found["status"]["updatedReplicas"], len(fresh)
    words = f"{updated} updated, {made} new pods of {version.name}"
    scene.judge(
        "resumed-rolls-out",
        "Resumed, it rolls out what was changed meanwhile",
        f"{REPLICAS} new pods of {version.name}",
        Verdict(held=made == updated == REPLICAS, observed=words, source=source(found)),
    )
    _drained(scene, web, before)
    load.more(MORE)
    _bounds(scene, web, began, DOWN_FIRST, "resumed-")
    _no_loss(scene, load, mark, "resume-loses-nothing", "The resumed update loses no request")


def _contrast(scene: Scene, web: Rollout, load: Load, version: Version) -> None:
    scene.stage(CONTRAST)
    mark = load.mark()
    before = set(web.pods.current())
    strategy = rolling(UP_FIRST) if scene.sabotage == "no-contrast" else RECREATE
    web.complete(web.update(version, strategy=strategy))
    load.steady()
    seen = load.since(mark)
    scene.facts["recreate"] = {
        "requests": seen.total,
        "lost": seen.lost,
        "kinds": dict(seen.failures),
        "longest_gap_seconds": round(seen.longest_gap, 3),
    }
    scene.judge(
        "recreate-loses",
        "Recreate loses requests: nobody answers in between",
        f"requests refused, and {START_TAKES} s or more without an answer",
        checks.nobody_answers(seen, START_TAKES),
    )
    scene.judge(
        "recreate-order",
        "Recreate ends all old pods before it makes a new one",
        "the containers of the last old pod ended, then the first new one created",
        checks.ends_before_begins(web.pods.history(), before, version.name),
    )


def _strategy(scene: Scene, knobs: tuple[int, int]) -> Json:
    if scene.sabotage == "at-once":
        return RECREATE
    return rolling((REPLICAS, 0) if scene.sabotage == "all-beside" else knobs)


def _blackout(scene: Scene, load: Load) -> None:
    """For a moment the Service selects nobody."""
    for app, wait in (("nobody", load.failing), ("web", load.steady)):
        selector = {"spec": {"selector": {"app": app}}}
        scene.api.patch(SERVICE, "web", scene.namespace, selector)
        wait()


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
    needs=(Need("one node that takes pods", no_able_node),),
    sabotages={
        "readiness": Sabotage(
            "v2 has no readiness probe, so it gets requests before it listens",
            ("update-loses-nothing", "readiness-gates"),
        ),
        "prestop": Sabotage(
            "neither version has a preStop, so they end while requests still come",
            ("leaves-before-it-ends", "resume-loses-nothing"),
        ),
        "at-once": Sabotage(
            "the updates end all pods first", ("max-unavailable", "resumed-max-unavailable")
        ),
        "all-beside": Sabotage(
            "the updates make all new pods first",
            ("max-surge", "max-surge-pods", "resumed-max-surge", "resumed-max-surge-pods"),
        ),
        "no-history": Sabotage("no old revision is kept", ("history-kept",)),
        "stray": Sabotage("a pod of the old version goes on answering", ("both-then-new",)),
        "image-there": Sabotage(
            "the image exists",
            ("stuck-is-told", "stuck-for-its-image", "old-pods-keep-serving", "undo-restores"),
        ),
        "blackout": Sabotage(
            "the Service selects nobody for a moment",
            ("stuck-loses-nothing", "undo-loses-nothing"),
        ),
        "unpaused": Sabotage("it is not paused", ("paused-stands-still",)),
        "same-again": Sabotage("the change is none", ("resumed-rolls-out",)),
        "no-contrast": Sabotage(
            "the contrast is another rolling update", ("recreate-loses", "recreate-order")
        ),
    },
    play=play,
    page="concepts/workloads/controllers/deployment/#rolling-update-deployment",
)
