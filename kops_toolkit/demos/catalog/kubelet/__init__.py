"""The kubelet: order of containers, probes, hooks, grace, static pods, heartbeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.catalog.kubelet.lifecycle import ENDING, HOOKS, ORDER, ending, hooks, order
from kops_toolkit.demos.catalog.kubelet.node import HEARTBEATS, HEARTS, STATIC, hearts, static
from kops_toolkit.demos.catalog.kubelet.probes import (
    LIVENESS,
    READINESS,
    STARTS_AFTER,
    STARTUP,
    liveness,
    readiness,
    startup,
    twin,
)
from kops_toolkit.demos.model import Demo, Need, Sabotage
from kops_toolkit.demos.props import (
    Pods,
    container,
    exec_probe,
    script,
)
from kops_toolkit.demos.scheduling import no_able_node
from kops_toolkit.kube.api import LEASE, NODE

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json


def play(scene: Scene) -> None:
    """Play all acts; those that take time begin first and are judged when it has come."""
    leases = scene.watches.of(LEASE, HEARTBEATS).ready()
    nodes = [node["metadata"]["name"] for node in scene.api.list(NODE).items]
    if scene.sabotage == "lifeless":
        name, _ = scene.outside.node(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "lifeless"}}
        )
        nodes.append(name)
    pods = Pods(scene)
    _begin(scene, pods)
    readiness(scene, pods)
    liveness(scene, pods)
    startup(scene, pods)
    order(scene, pods)
    hooks(scene, pods)
    ending(scene, pods)
    static(scene, pods)
    hearts(scene, leases, nodes)
    twin(scene, pods)


def _begin(scene: Scene, pods: Pods) -> None:
    image, broken = scene.image, scene.sabotage

    def says(name: str, seconds: str, **fields: object) -> Json:
        text = f"echo begin; sleep {seconds}; echo end"
        return container(image, name, command=script(text), **fields)

    tells = "trap 'echo end; exit 0' TERM; echo begin; : > /tmp/up; while :; do sleep 0.1; done"
    up = exec_probe("test -e /tmp/up", failureThreshold=60)
    stays: Json = {} if broken == "all-alike" else {"restartPolicy": "Always", "startupProbe": up}
    sidecar = container(image, "sidecar", command=script(tells), **stays)
    before = [says("first", "0.3"), sidecar, says("second", "0.3")]
    main = says("main", "1")
    if broken == "all-alike":
        pods.create("ordered", main, *before, restartPolicy="Never")
    else:
        pods.create("ordered", main, initContainers=before, restartPolicy="Never")

    slow = f"trap 'exit 0' TERM; sleep {STARTS_AFTER}; : > /tmp/up; while :; do sleep 0.2; done"
    never = exec_probe("test -e /tmp/never", failureThreshold=1)
    for name, gated in (("slow", broken != "ungated"), ("hasty", broken == "patient")):
        gate: Json = {"startupProbe": up} if gated else {}
        pods.create(name, container(image, command=script(slow), livenessProbe=never, **gate))

    ready = exec_probe("test ! -e /tmp/unready", failureThreshold=1)
    pods.server("here", {"app": "web"}, readinessProbe=ready)
    pods.server("there", {"app": "none" if broken == "half" else "web"}, readinessProbe=ready)
    alive = exec_probe("test ! -e /tmp/ill", failureThreshold=1)
    pods.server("ill", livenessProbe=alive)
    pods.server("well", livenessProbe=alive)
    pods.server("witness")


DEMO = Demo(
    name="kubelet",
    title="What the node's agent does for a pod",
    idea=(
        "The kubelet watches for pods bound to its node and makes them so: containers in their "
        "order, probes that gate, take out and restart, hooks around start and end, a grace period "
        "at the end. It tells the API what it sees, renews its node's Lease, and runs the static "
        "pods on its disk even without an API server."
    ),
    acts=(READINESS, LIVENESS, STARTUP, ORDER, HOOKS, ENDING, STATIC, HEARTS),
    needs=(Need("one node that takes pods", no_able_node),),
    sabotages={
        "all-alike": Sabotage(
            "all of them are ordinary containers", ("init-in-order", "sidecar-ends-last")
        ),
        "ungated": Sabotage("there is no startup probe", ("startup-gates-liveness",)),
        "patient": Sabotage(
            "the control arm has a startup probe too", ("without-it-killed-early",)
        ),
        "half": Sabotage(
            "the Service selects only one of them", ("ready-ones-answer", "back-when-ready")
        ),
        "always-ready": Sabotage("the pod stays ready", ("unready-gets-nothing",)),
        "stays-unready": Sabotage("the pod stays unready", ("back-when-ready",)),
        "in-health": Sabotage("the probe goes on succeeding", ("liveness-restarts",)),
        "both-ill": Sabotage("the twin falls ill as well", ("healthy-twin-untouched",)),
        "unhooked": Sabotage("the pod has no hooks", ("hooks-in-order",)),
        "gentle": Sabotage("the stubborn pod obeys", ("grace-is-given",)),
        "deaf": Sabotage("the obedient pod ignores TERM", ("obedient-goes-at-once",)),
        "no-file": Sabotage("the file goes with the mirror", ("mirror-returns",)),
        "file-stays": Sabotage("the file stays", ("file-decides",)),
        "lifeless": Sabotage("a Node joins without a kubelet", ("leases-are-renewed",)),
    },
    play=play,
    page="concepts/architecture/#kubelet",
    breaks=True,
)
