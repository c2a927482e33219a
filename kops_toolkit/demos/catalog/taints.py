"""Taints and tolerations: every effect against every toleration, and eviction within its window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.scheduling import (
    Placements,
    able_nodes,
    all_of,
    fewer_than_two,
    let_it_be_seen,
)
from kops_toolkit.kube import views
from kops_toolkit.kube.api import NODE, POD
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

TOLERATED = 4  # tolerationSeconds of the pod that is to be evicted
CANCELLED = 7  # of the pod whose taint goes before they are over
SLACK = 4.0  # seconds that an eviction may come late on a busy machine
EARLY = 0.5  # seconds: our clock starts after the server's, so an eviction may look early
HOSTNAME = "kubernetes.io/hostname"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
UNTOLERATED = "untolerated taint"  # how the scheduler says it

MATRIX = Act(
    "Every effect against every toleration",
    "A taint keeps pods off a node unless they tolerate it, by its key, its value and its effect. "
    "Pods that are pinned to the tainted node show which tolerations match. Those without a "
    "match wait; PreferNoSchedule keeps nobody off who has nowhere else to go.",
)
REMOVED = Act(
    "The taint goes",
    "The same pods that waited are placed at once: nothing but the taint kept them off.",
)
EVICT = Act(
    "NoExecute, and how long it is tolerated",
    f"This effect also evicts pods that run. Without a toleration at once; with tolerationSeconds "
    f"{TOLERATED} after that time, no sooner and not much later; with one for ever not at all. "
    "And if the taint goes in time, the eviction is cancelled.",
)
BUILT_IN = Act(
    "Taints that Kubernetes sets itself",
    "The control plane carries one, so that workloads stay off it. Nodes that are not ready get "
    "NoExecute taints, which is how pods leave dead nodes: every pod tolerates those for 300 s, "
    "put into it on admission.",
)


@dataclass(frozen=True)
class Case:
    """A pod pinned to the tainted node: its toleration, and whether it fits.

    Attributes:
        name: the pod's name.
        effect: of the taint in force.
        toleration: its only one, without the key; None for no toleration.
        fits: whether it is placed.
    """

    name: str
    effect: str
    toleration: Json | None
    fits: bool


CASES = (
    Case("bare", "NoSchedule", None, fits=False),
    Case("by-value", "NoSchedule", {"operator": "Equal", "value": "a"}, fits=True),
    Case("wrong-value", "NoSchedule", {"operator": "Equal", "value": "b"}, fits=False),
    Case("exists", "NoSchedule", {"operator": "Exists"}, fits=True),
    Case("right-effect", "NoSchedule", {"operator": "Exists", "effect": "NoSchedule"}, fits=True),
    Case("wrong-effect", "NoSchedule", {"operator": "Exists", "effect": "NoExecute"}, fits=False),
    Case("prefer-bare", "PreferNoSchedule", None, fits=True),
)


def play(scene: Scene) -> None:
    """Play all acts."""
    target = able_nodes(scene.api)[-1]
    placements = Placements(scene)
    _matrix(scene, placements, target)
    _evict(scene, placements, target)
    _built_in(scene, placements)


def tolerations(key: str, case: Case, sabotage: str | None) -> list[Json]:
    """The tolerations of a case's pod."""
    if sabotage == "tolerant":
        return [{"operator": "Exists"}]
    if case.toleration is None or sabotage == "intolerant":
        return []
    return [{"key": key, **case.toleration}]


def _matrix(scene: Scene, placements: Placements, target: str) -> None:
    scene.stage(MATRIX)
    debts = []
    for effect in ("PreferNoSchedule", "NoSchedule"):
        key = scene.outside.key(effect.lower())
        in_force = "NoSchedule" if scene.sabotage == "strict" else effect
        debts.append(scene.outside.taint(target, key, in_force, "a"))
        scene.tell(f"Node/{target}", f"is tainted {key}=a:{effect}")
        let_it_be_seen(scene)
        for case in CASES:
            if case.effect == effect:
                tolerated = tolerations(key, case, scene.sabotage)
                pin = {HOSTNAME: target}
                placements.create(case.name, nodeSelector=pin, tolerations=tolerated)
        # Judged before the next taint: PreferNoSchedule is to be seen alone.
        if effect == "PreferNoSchedule":
            _prefer(scene, placements, target)
    fit = [case.name for case in CASES if case.fits and case.effect == "NoSchedule"]
    wait = [case.name for case in CASES if not case.fits]
    scene.judge(
        "tolerating-fit",
        "A toleration that matches key, value and effect lets a pod onto the node",
        f"{', '.join(fit)} on {target}",
        all_of(placements.bound(name, {target}) for name in fit),
    )
    scene.judge(
        "others-wait",
        "No toleration, another value or another effect: the pod waits, for that reason",
        f"{', '.join(wait)} unbound: {UNTOLERATED}",
        all_of(placements.waits(name, (UNTOLERATED,)) for name in wait),
    )
    scene.stage(REMOVED)
    uids = {name: views.uid(placements.current(name)) for name in wait}
    for debt in debts:
        if scene.sabotage != "taint-stays":
            scene.outside.undo(debt)
    scene.judge(
        "removal-frees-them",
        "Once the taint is gone the same pods are placed",
        f"{', '.join(wait)}, the same by UID, on {target}",
        all_of(placements.bound(name, {target}, uid) for name, uid in uids.items()),
    )
    for debt in debts:
        scene.outside.undo(debt)


def _prefer(scene: Scene, placements: Placements, target: str) -> None:
    others = set(able_nodes(scene.api)) - {target}
    pin = {"nodeSelector": {HOSTNAME: target}} if scene.sabotage == "pinned" else {}
    placements.create("free", **pin)
    scene.judge(
        "prefer-is-avoided",
        "PreferNoSchedule: a pod that has the choice goes elsewhere",
        f"free on one of {', '.join(sorted(others))}",
        placements.bound("free", others),
    )
    scene.judge(
        "prefer-is-no-rule",
        "PreferNoSchedule: a pod that has no choice is placed all the same",
        f"prefer-bare on {target}",
        placements.bound("prefer-bare", {target}),
    )


def _evict(scene: Scene, placements: Placements, target: str) -> None:
    scene.stage(EVICT)
    key, spare = scene.outside.key("noexecute"), scene.outside.key("cancelled")
    runs: Mapping[str, list[Json]] = {
        "evict-now": [],
        "evict-later": [_toleration(key, TOLERATED), _toleration(spare)],
        "stay": [_toleration(key), _toleration(spare)],
        "cancelled": [_toleration(key), _toleration(spare, CANCELLED)],
    }
    every: list[Json] = [{"operator": "Exists"}]
    for name, tolerated in runs.items():
        wanted = every if scene.sabotage == "tolerant" else tolerated
        placements.create(name, nodeSelector={HOSTNAME: target}, tolerations=wanted)
    for name in runs:
        placements.ready(name)
    began = scene.clock.monotonic()
    second = scene.outside.taint(target, spare, "NoExecute")
    scene.outside.taint(target, key, "NoExecute")
    scene.tell(f"Node/{target}", f"is tainted {key}:NoExecute")
    scene.judge(
        "evicted-at-once",
        "NoExecute evicts a running pod that does not tolerate it, at once",
        f"evict-now gone within {SLACK:g} s",
        _told_to_end(scene, placements, "evict-now", began, Within(0.0, SLACK)),
    )
    later = Within(TOLERATED - EARLY, TOLERATED + SLACK)
    if scene.sabotage == "impatient":
        scene.api.delete(POD, "evict-later", scene.namespace)
    scene.judge(
        "evicted-in-time",
        "tolerationSeconds puts the eviction off by just that time",
        f"evict-later gone {later}",
        _told_to_end(scene, placements, "evict-later", began, later),
    )
    scene.outside.undo(second)
    scene.tell(f"Node/{target}", "has lost the second taint")
    if scene.sabotage == "impatient":
        for name in ("stay", "cancelled"):
            scene.api.delete(POD, name, scene.namespace)
    # Past the time at which the eviction was due, by a margin.
    due = began + CANCELLED + 1.5 - scene.clock.monotonic()
    scene.judge(
        "removal-cancels",
        "A taint that goes in time cancels the eviction",
        f"cancelled still there {CANCELLED + 1.5:g} s after the taint came",
        _stays(placements, "cancelled", due),
    )
    scene.judge(
        "tolerating-stays",
        "A toleration without an end is never evicted",
        "stay, the same, not on its way out",
        _stays(placements, "stay", 0.1),
    )


def _toleration(key: str, seconds: int | None = None) -> Json:
    found: Json = {"key": key, "operator": "Exists", "effect": "NoExecute"}
    return found if seconds is None else {**found, "tolerationSeconds": seconds}


def _told_to_end(
    scene: Scene, placements: Placements, name: str, began: float, within: Within
) -> Verdict:
    """When deletion of a pod was asked for, as the watch saw it."""

    def asked() -> float | None:
        for seen in placements.pods.history():
            if seen.name == name and (views.terminating(seen.object) or seen.type == "DELETED"):
                return seen.at - began
        return None

    patience = began + within.latest + 1.0 - scene.clock.monotonic()
    found = placements.await_or_none(asked, patience)
    return within.judge(found, f"Pod/{scene.namespace}/{name}")


def _stays(placements: Placements, name: str, seconds: float) -> Verdict:
    """A pod that is there, and is not told to end for some seconds."""

    def leaving() -> bool | None:
        found = placements.current(name)
        return True if not found or views.terminating(found) else None

    gone = placements.await_or_none(leaving, max(seconds, 0.1))
    found = placements.current(name)
    words = f"{name} is {views.phase(found) if found else 'gone'}"
    return Verdict(held=not gone, observed=words, source=source(found) if found else name)


def _built_in(scene: Scene, placements: Placements) -> None:
    scene.stage(BUILT_IN)
    found = placements.current("stay") or placements.current("free")
    defaults = {
        item["key"].rpartition("/")[2]: item.get("tolerationSeconds")
        for item in found["spec"].get("tolerations") or ()
        if item.get("effect") == "NoExecute" and "key" in item
    }
    if scene.sabotage == "no-defaults":
        defaults = {}
    wanted = {"not-ready": 300, "unreachable": 300}
    scene.judge(
        "default-tolerations",
        "Every pod tolerates a node that is not ready or not reachable for 300 s",
        str(wanted),
        Verdict(
            held=wanted.items() <= defaults.items(), observed=str(defaults), source=source(found)
        ),
    )
    tainted = [node for node in scene.api.list(NODE).items if _control_plane(node)]
    if not tainted:
        scene.skip(
            "control-plane-keeps-off",
            "The control plane's own taint keeps workloads off it",
            "no node carries that taint",
        )
        return
    name = tainted[0]["metadata"]["name"]
    pinned = {"nodeSelector": {HOSTNAME: name}}
    tolerated = [{"key": CONTROL_PLANE, "operator": "Exists"}]
    placements.create(
        "workload", **pinned, tolerations=tolerated if scene.sabotage == "tolerant" else []
    )
    placements.create("system", **pinned, tolerations=tolerated)
    scene.judge(
        "control-plane-keeps-off",
        "The control plane's own taint keeps workloads off it, unless they tolerate it",
        f"system on {name}, workload waits: {UNTOLERATED}",
        all_of((placements.bound("system", {name}), placements.waits("workload", (UNTOLERATED,)))),
    )


def _control_plane(node: Json) -> bool:
    taints = node["spec"].get("taints") or ()
    return any(taint["key"] == CONTROL_PLANE for taint in taints)


DEMO = Demo(
    name="taints",
    title="Keep pods off nodes, or drive them away",
    idea=(
        "A taint is a node's way of refusing pods; a toleration is a pod's way of not minding. "
        "NoSchedule keeps new pods off, PreferNoSchedule only if there is somewhere else, and "
        "NoExecute also evicts those that run, at once or after tolerationSeconds. A toleration "
        "only permits: it draws no pod to the node."
    ),
    acts=(MATRIX, REMOVED, EVICT, BUILT_IN),
    needs=(Need("two nodes that take pods", fewer_than_two),),
    sabotages={
        "tolerant": Sabotage(
            "every pod tolerates everything",
            ("others-wait", "evicted-at-once", "evicted-in-time", "control-plane-keeps-off"),
        ),
        "intolerant": Sabotage("no pod of the matrix tolerates anything", ("tolerating-fit",)),
        "taint-stays": Sabotage("the taint is not taken away", ("removal-frees-them",)),
        "strict": Sabotage("NoSchedule stands in for PreferNoSchedule", ("prefer-is-no-rule",)),
        "pinned": Sabotage("the pod with the choice has none", ("prefer-is-avoided",)),
        "impatient": Sabotage(
            "pods are deleted before their time",
            ("evicted-in-time", "removal-cancels", "tolerating-stays"),
        ),
        "no-defaults": Sabotage("the defaults are overlooked", ("default-tolerations",)),
    },
    play=play,
    page="concepts/scheduling-eviction/taint-and-toleration/",
    breaks=True,
    alone=True,
)
