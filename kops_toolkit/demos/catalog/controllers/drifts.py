"""A drift for each controller, and how its repair is recognised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.demos.catalog.controllers.loops import REPAIR, REPLICAS, UNSCHEDULABLE, Loops
from kops_toolkit.demos.model import Act
from kops_toolkit.demos.scheduling import able_nodes
from kops_toolkit.kube import views
from kops_toolkit.kube.api import (
    CONFIG_MAP,
    ENDPOINT_SLICE,
    NAMESPACE,
    POD,
    REPLICA_SET,
    SERVICE_ACCOUNT,
)
from kops_toolkit.kube.temporal import Verdict
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Callable

    from kops_toolkit.demos.model import Scene

LOOPS = Act(
    "A drift for each loop",
    "A pod, a ReplicaSet, a ServiceAccount and an EndpointSlice are deleted, a namespace is told "
    "to end, an owner goes, a node is cordoned. Each time another controller sees the difference "
    "and repairs it, and each time what it made is another object.",
)


@dataclass(frozen=True)
class Drift:
    """Something that a controller has to repair.

    Attributes:
        name: of the check.
        title: the statement.
        expected: what is seen once it is repaired.
        cause: makes the drift.
        mended: whether it is repaired, by something that was not there before.
        where: what the evidence was read from.
    """

    name: str
    title: str
    expected: str
    cause: Callable[[], None]
    mended: Callable[[], bool]
    where: str


def drift_all(scene: Scene, loops: Loops) -> None:
    """Play LOOPS."""
    scene.stage(LOOPS)
    for drift in (_of_replica_set, _of_deployment, _of_accounts, _of_slices):
        _judge(scene, loops, drift(loops))
        loops.pods.until(lambda: True if loops.whole() else None, 60.0)
    _judge(scene, loops, _of_namespaces(scene, loops))
    _judge(scene, loops, _of_garbage(scene, loops))
    twin = loops.maps.current().get("unowned")
    scene.judge(
        "unowned-stays",
        "What the owner does not own stays",
        "ConfigMap unowned is there",
        Verdict(
            held=twin is not None,
            observed="it is there" if twin else "it is gone",
            source=source(twin) if twin else "ConfigMap/unowned",
        ),
    )
    _judge(scene, loops, _of_nodes(scene, loops))


def _judge(scene: Scene, loops: Loops, drift: Drift) -> None:
    if scene.sabotage != "no-drift":
        drift.cause()
    seconds = loops.when(drift.mended, REPAIR.latest)
    if seconds is not None:
        scene.facts[f"{drift.name}_seconds"] = round(seconds, 3)
    expected = f"{drift.expected}, {REPAIR}"
    scene.judge(drift.name, drift.title, expected, REPAIR.judge(seconds, drift.where))


def _of_replica_set(loops: Loops) -> Drift:
    victim = min(loops.standing())
    return Drift(
        "replica-set",
        "The ReplicaSet controller makes another pod for a deleted one",
        f"{REPLICAS} pods, none of them {victim}",
        lambda: loops.delete(POD, victim),
        lambda: len(loops.standing()) == REPLICAS and victim not in loops.standing(),
        f"Pods in {loops.scene.namespace}",
    )


def _of_deployment(loops: Loops) -> Drift:
    name, found = next(iter(loops.replica_sets.current().items()))
    uid = views.uid(found)

    def mended() -> bool:
        now = {views.uid(found) for found in loops.replica_sets.current().values()}
        owners = {views.owner_uid(pod) for pod in loops.standing().values()}
        return bool(now) and uid not in now and owners == now

    return Drift(
        "deployment",
        "The Deployment controller makes another ReplicaSet, and that its pods",
        "another ReplicaSet by UID, which owns all pods",
        lambda: loops.delete(REPLICA_SET, name),
        mended,
        source(found),
    )


def _of_accounts(loops: Loops) -> Drift:
    uid = loops.account()
    return Drift(
        "service-account",
        "The ServiceAccount controller makes the namespace's default account again",
        "another ServiceAccount default by UID",
        lambda: loops.delete(SERVICE_ACCOUNT, "default"),
        lambda: loops.account() not in {"", uid},
        f"ServiceAccount/{loops.scene.namespace}/default",
    )


def _of_slices(loops: Loops) -> Drift:
    name, found = next(iter(loops.slices.current().items()))
    uid, pods = views.uid(found), set(loops.standing())

    def mended() -> bool:
        now = {views.uid(found) for found in loops.slices.current().values()}
        return bool(now) and uid not in now and loops.endpoints() == pods

    return Drift(
        "endpoint-slice",
        "The EndpointSlice controller makes the Service's slice again, with the same pods",
        f"another slice by UID, naming {REPLICAS} pods",
        lambda: loops.delete(ENDPOINT_SLICE, name),
        mended,
        source(found),
    )


def _of_namespaces(scene: Scene, loops: Loops) -> Drift:
    name = scene.outside.create(
        NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ending"}}
    )
    scene.api.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "inside"}}, name
    )
    inside = scene.watches.of(CONFIG_MAP, name).ready()

    def mended() -> bool:
        emptied = any(seen.type == "DELETED" for seen in inside.history())
        return emptied and name not in loops.namespaces.current()

    return Drift(
        "namespace",
        "The namespace controller deletes what is in an ending namespace, then the namespace",
        "its ConfigMap gone, then the namespace gone",
        lambda: scene.api.delete(NAMESPACE, name),
        mended,
        f"Namespace/{name}",
    )


def _of_garbage(scene: Scene, loops: Loops) -> Drift:
    owner = scene.api.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}, scene.namespace
    )
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": views.uid(owner),
    }
    both = scene.sabotage == "both-owned"
    for name, owners in (("owned", [reference]), ("unowned", [reference] if both else [])):
        meta = {"name": name, "ownerReferences": owners}
        scene.api.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}, scene.namespace
        )

    def gone(name: str) -> bool:
        history = loops.maps.history()
        return any(seen.name == name and seen.type == "DELETED" for seen in history)

    wanted = ("owner", "owned", "unowned") if both else ("owner", "owned")
    return Drift(
        "garbage-collector",
        "The garbage collector deletes what a deleted owner has owned",
        "ConfigMap owned gone after its owner",
        lambda: loops.delete(CONFIG_MAP, "owner"),
        lambda: all(gone(name) for name in wanted),
        f"ConfigMap/{scene.namespace}/owned",
    )


def _of_nodes(scene: Scene, loops: Loops) -> Drift:
    name = able_nodes(scene.api)[-1]

    def tainted() -> bool:
        taints = loops.nodes.current()[name]["spec"].get("taints") or ()
        return any(taint["key"] == UNSCHEDULABLE for taint in taints)

    def turn() -> None:
        debt = scene.outside.cordon(name)
        loops.when(tainted, REPAIR.latest)
        scene.outside.undo(debt)

    def mended() -> bool:
        seen = any(
            taint["key"] == UNSCHEDULABLE
            for event in loops.nodes.history()
            if event.name == name
            for taint in event.object["spec"].get("taints") or ()
        )
        return seen and not tainted()

    return Drift(
        "node",
        "The node controller turns the state of a node into taints, and takes them back",
        f"{UNSCHEDULABLE} while cordoned, not after",
        turn,
        mended,
        f"Node/{name}",
    )
