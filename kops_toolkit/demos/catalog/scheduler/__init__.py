"""The scheduler: filter, score, bind, each shown for itself, and nothing bound without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.demos.catalog.scheduler.score import HOSTNAME, SCHEDULER, SCORE, score
from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import container
from kops_toolkit.demos.scheduling import (
    SELECTOR_WORDS,
    Placements,
    able_nodes,
    all_of,
    fewer_than_two,
    let_it_be_seen,
)
from kops_toolkit.kube import views
from kops_toolkit.kube.api import EVENT, PERSISTENT_VOLUME, POD
from kops_toolkit.kube.temporal import Verdict
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

STOPPED_FOR = 4.0  # seconds; well below the 15 of its lease, so that it keeps leading
TELLS_WITHIN = 15.0  # seconds until an event or a log line must be there
HUGE = "100000"  # processors: more than any node has
FILTER = Act(
    "Filter: who is out, and why",
    "For each filter a pod that no node passes, and a twin without that one cause. The pod waits, "
    "and its condition and its event name the filter; the twin is placed.",
)
BIND = Act(
    "Bind: written down",
    "The decision becomes spec.nodeName through the Binding subresource, and an event says who "
    "decided. A pod made with a node name of its own never meets the scheduler.",
)
DOWN = Act(
    "Without the scheduler",
    "The scheduler's process is stopped. A new pod stays without a node and without a word why; "
    "a kubelet only looks at pods that have one. It goes on, and the same pod is bound.",
)


@dataclass(frozen=True)
class Case:
    """A pod that one filter rejects everywhere, and its twin.

    Attributes:
        name: of the filter, as part of the pods' names.
        words: how the scheduler names the reason.
        cause: fields of the spec that no node fulfils.
        twin: the same fields, fulfilled by some node.
    """

    name: str
    words: str
    cause: Json
    twin: Json


def play(scene: Scene) -> None:
    """Play all acts."""
    placements = Placements(scene)
    scene.watches.of(EVENT, scene.namespace).ready()
    _filter(scene, placements)
    score(scene, placements)
    _bind(scene, placements)
    _down(scene, placements)


def _cases(scene: Scene, here: str) -> list[Case]:
    key = scene.outside.key("kept-off")
    pinned = {"nodeSelector": {HOSTNAME: here}}

    def asks(cpu: str) -> Json:
        wanted = {"requests": {"cpu": cpu}}
        return {"containers": [container(scene.image, resources=wanted)]}

    def near(label: str) -> Json:
        rule = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"app": label}}}
        return {
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [rule]}}
        }

    def claims(name: str) -> Json:
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": name}}
        return {"volumes": [volume]}

    _volume(scene, "nowhere", "no-such-node")
    _volume(scene, "somewhere", able_nodes(scene.api)[0])
    tolerates = {"tolerations": [{"key": key, "operator": "Exists"}]}
    return [
        Case("resources", "Insufficient cpu", asks(HUGE), asks("1m")),
        Case(
            "selector",
            SELECTOR_WORDS,
            {"nodeSelector": {HOSTNAME: "no-such-node"}},
            {"nodeSelector": {"kubernetes.io/os": "linux"}},
        ),
        Case("affinity", "didn't match pod affinity rules", near("nobody"), near("anchor")),
        Case("volume", "PersistentVolume's node affinity", claims("nowhere"), claims("somewhere")),
        Case("taint", "untolerated taint", pinned, {**pinned, **tolerates}),
    ]


def _volume(scene: Scene, name: str, node: str) -> None:
    """A claim that is bound to a volume which only one node can reach."""
    here = {"key": HOSTNAME, "operator": "In", "values": [node]}
    size = {"storage": "1Mi"}
    volume = scene.outside.create(
        PERSISTENT_VOLUME,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": size,
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "hostPath": {"path": "/tmp"},  # noqa: S108 - a folder that every node has
                "claimRef": {"namespace": scene.namespace, "name": name},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        },
    )
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "volumeName": volume,
            "resources": {"requests": size},
        },
    }
    scene.api.create(claim, scene.namespace)


def _filter(scene: Scene, placements: Placements) -> None:
    scene.stage(FILTER)
    able = able_nodes(scene.api)
    placements.create("anchor", {"app": "anchor"})
    placements.bound("anchor", able)
    cases = _cases(scene, able[-1])
    for case in cases:
        # The taint comes last and alone: it would take a node away from the others.
        debt = 0
        if case.name == "taint":
            debt = scene.outside.taint(able[-1], scene.outside.key("kept-off"), "NoSchedule")
            let_it_be_seen(scene)
        cause = case.twin if scene.sabotage == "all-twins" else case.cause
        placements.create(f"{case.name}-out", **cause)
        placements.create(f"{case.name}-twin", **case.twin)
        name = f"{case.name}-out"
        told = placements.waits(name, (case.words,))
        twin = placements.bound(f"{case.name}-twin", able)
        scene.judge(
            f"filter-{case.name}",
            f"The {case.name} filter rejects a pod by its name; the twin is placed",
            f"{name} unbound: {case.words}; its twin bound",
            all_of((told, twin)),
        )
        if debt:
            scene.outside.undo(debt)
            placements.bound(name, able)  # lest it comes while the nodes are being made equal
    name = f"{cases[0].name}-out"
    scene.judge(
        "event-names-the-filter",
        "The same words are told as an event, for people",
        f"FailedScheduling of {name}: {cases[0].words}",
        _event(scene, placements, name, "FailedScheduling", cases[0].words),
    )


def _event(scene: Scene, placements: Placements, pod: str, reason: str, words: str) -> Verdict:
    """Wait for an event about a pod."""
    events = scene.watches.of(EVENT, scene.namespace)

    def found() -> Json | None:
        for event in events.current().values():
            if event["involvedObject"]["name"] == pod and event["reason"] == reason:
                return event
        return None

    event = placements.await_or_none(found, TELLS_WITHIN)
    if event is None:
        return Verdict(held=False, observed=f"no {reason} of {pod}", source=f"Pod/{pod}")
    by = event.get("reportingComponent") or event.get("source", {}).get("component")
    told = f"{by}: {event['message']}"
    held = words in event["message"] and by == "default-scheduler"
    return Verdict(held=held, observed=told[:240], source=source(event))


def _bind(scene: Scene, placements: Placements) -> None:
    scene.stage(BIND)
    able = able_nodes(scene.api)
    by_hand: Json = {"nodeName": able[0]} if scene.sabotage == "by-hand" else {}
    placements.create("written", **by_hand)
    bound = placements.bound("written", able)
    node = placements.node("written")
    event = _event(scene, placements, "written", "Scheduled", f" to {node}")
    scene.judge(
        "scheduled-event",
        "The binding is told as an event of the scheduler, naming the node of the pod",
        "default-scheduler: Successfully assigned … to the node in spec.nodeName",
        all_of((bound, event)),
    )


def _down(scene: Scene, placements: Placements) -> None:
    scene.stage(DOWN)
    checks = {
        "nothing-is-bound": "While the scheduler is stopped nothing is bound, and nobody says why",
        "bound-when-it-is-back": "When it goes on the same pod is bound",
    }
    if not scene.faults.control_planes:
        for name, title in checks.items():
            scene.skip(name, title, "kt cannot stop the scheduler of this cluster")
        return
    debts = []
    if scene.sabotage != "never-stopped":
        debts = scene.faults.stop_process(SCHEDULER)
    scene.tell(SCHEDULER, "is stopped")
    made = placements.create("patient")

    def moved() -> bool | None:
        conditions = placements.current("patient").get("status", {}).get("conditions")
        return True if placements.node("patient") or conditions else None

    moved_on = placements.await_or_none(moved, STOPPED_FOR)
    node = placements.node("patient")
    told = f"on {node}" if node else "no node, no condition" if not moved_on else "a condition"
    scene.judge(
        "nothing-is-bound",
        checks["nothing-is-bound"],
        f"no node and no condition for {STOPPED_FOR:g} s",
        Verdict(
            held=not moved_on and bool(placements.current("patient")),
            observed=told,
            source=source(placements.current("patient") or made),
        ),
    )
    if scene.sabotage == "replaced":
        scene.api.delete(POD, "patient", scene.namespace)
        placements.await_or_none(
            lambda: None if placements.current("patient") else True, TELLS_WITHIN
        )
        placements.create("patient")
    scene.faults.undo(*debts)
    scene.tell(SCHEDULER, "goes on")
    scene.judge(
        "bound-when-it-is-back",
        checks["bound-when-it-is-back"],
        "patient, the same by UID, bound to a node",
        placements.bound("patient", able_nodes(scene.api), views.uid(made)),
    )


FILTERS = ("resources", "selector", "affinity", "taint", "volume")
DEMO = Demo(
    name="scheduler",
    title="Filter, score, bind",
    idea=(
        "For every pod without a node the scheduler filters out the nodes that cannot take it, "
        "scores those that can, and binds the pod to the best. Each step leaves its own evidence: "
        "words that name the filter, weighted scores in its log, a Binding and an event."
    ),
    acts=(FILTER, SCORE, BIND, DOWN),
    needs=(Need("two nodes that take pods", fewer_than_two),),
    sabotages={
        "all-twins": Sabotage(
            "no pod has a cause to be rejected",
            (*(f"filter-{name}" for name in FILTERS), "event-names-the-filter"),
        ),
        "uneven": Sabotage("one node has more to do", ("only-affinity-differs",)),
        "no-wish": Sabotage("the pod prefers no node", ("only-affinity-differs", "highest-wins")),
        "lying-log": Sabotage("the log tells a wrong sum", ("scores-add-up",)),
        "by-hand": Sabotage("the pod is made with a node name", ("scheduled-event",)),
        "never-stopped": Sabotage("the scheduler is not stopped", ("nothing-is-bound",)),
        "replaced": Sabotage("another pod takes its place", ("bound-when-it-is-back",)),
    },
    play=play,
    page="concepts/scheduling-eviction/kube-scheduler/",
    breaks=True,
    alone=True,
)
