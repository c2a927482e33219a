"""The complete flow: from one request to three running pods, and what makes up for losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import Pods, container, pod_body, workload
from kops_toolkit.demos.scheduling import LOST, fewer_than_two_workers, workers
from kops_toolkit.kube import views
from kops_toolkit.kube.api import DEPLOYMENT, EVENT, NODE, POD, REPLICA_SET
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Callable

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.watch import Seen, Watch

REPLICAS = 3
LABELS = {"app": "web"}
RUNS_WITHIN = 30.0  # seconds; what is judged is the objective below
# Kubernetes' own objective: 99 % of stateless pods run within 5 s of their creation, images being
# there (kubernetes/community, sig-scalability/slos/pod_startup_latency.md).
OBJECTIVE = Within(0.0, 5.0)
REPLACED = Within(0.0, 15.0)  # seconds from a pod's end to its ready successor, on a busy machine
TOLERATED = 2  # seconds that the pods tolerate a lost node; 300 by default
LOST_AND_REPLACED = Within(LOST.earliest, LOST.latest + 20)
MANAGER = "kube-controller-manager"
NO_IMAGE = "localhost:1/no-such-image:v1"

CREATED = Act(
    "From a Deployment to running pods",
    "Nobody is told what to do. The Deployment controller sees a Deployment and makes a "
    "ReplicaSet; the ReplicaSet controller sees that and makes three pods without a node; the "
    "scheduler sees those and binds them; each node's kubelet sees its own and runs them.",
)
DELETED = Act(
    "A pod is deleted",
    "The same loop closes the gap: one pod more is made, bound and run.",
)
NODE_DIES = Act(
    "A node dies",
    "After its grace period the node controller taints it, its pods are evicted, and the same flow "
    "makes others elsewhere. No pod is called lost: they are told to end.",
)


class Flow:
    """The Deployment, and what its objects went through.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.pods = Pods(scene)
        self.deployments = scene.watches.of(DEPLOYMENT, scene.namespace).ready()
        self.replica_sets = scene.watches.of(REPLICA_SET, scene.namespace).ready()
        self.events = scene.watches.of(EVENT, scene.namespace).ready()
        self.nodes = scene.watches.of(NODE).ready()

    def create(self) -> None:
        """Create the Deployment."""
        image = NO_IMAGE if self.scene.sabotage == "no-image" else self.scene.image
        soon = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED}
        keys = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
        spread = {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": LABELS},
        }
        placed: Json = {}
        if self.scene.sabotage == "placed":
            placed["nodeName"] = workers(self.scene.api)[0]
        body = workload(
            "Deployment",
            "web",
            [container(image)],
            replicas=REPLICAS,
            tolerations=[{"key": key, **soon} for key in keys],
            topologySpreadConstraints=[spread],
            **placed,
        )
        if self.scene.sabotage == "pods-first":
            stray = pod_body("stray", {"app": "web"}, containers=[container(image)])
            self.scene.api.create(stray, self.scene.namespace)
        self.scene.api.create(body, self.scene.namespace)

    def standing(self) -> dict[str, Json]:
        """Pods that are there and stay."""
        found = self.pods.watch.current().items()
        return {name: pod for name, pod in found if not views.terminating(pod)}

    def ready(self) -> set[str]:
        """Names of the pods that are ready and stay."""
        return {name for name, pod in self.standing().items() if views.ready(pod)}

    def seconds_until(self, condition: Callable[[], bool], within: float) -> float | None:
        """Seconds until something is so; None if it does not come."""
        began = self.pods.now()
        came = self.pods.until(lambda: True if condition() else None, within)
        return self.pods.now() - began if came else None


def play(scene: Scene) -> None:
    """Play all acts."""
    flow = Flow(scene)
    _created(scene, flow)
    _deleted(scene, flow)
    _node_dies(scene, flow)


def _first(watch: Watch, matches: Callable[[Json], bool] = lambda _: True) -> Seen | None:
    """The first event whose object is like that."""
    return next((seen for seen in watch.history() if matches(seen.object)), None)


def _version(seen: Seen | None) -> int:
    """The revision of etcd at an event; 0 for none.

    etcd counts one revision for all keys, so this orders events of different types, which come in
    separate streams. It holds where all types are in one etcd, as on kind.
    """
    return int(seen.object["metadata"]["resourceVersion"]) if seen else 0


def _created(scene: Scene, flow: Flow) -> None:
    scene.stage(CREATED)
    flow.create()
    patience = 8.0 if scene.sabotage == "no-image" else RUNS_WITHIN
    flow.seconds_until(lambda: len(flow.ready()) == REPLICAS, patience)
    names = sorted(flow.standing())
    _in_order(scene, flow, names)
    _steps(scene, flow, names)
    _actors(scene, flow, names)
    _latency(scene, flow, names)


def _in_order(scene: Scene, flow: Flow, names: list[str]) -> None:
    deployment, replica_set = _first(flow.deployments), _first(flow.replica_sets)
    pods = [flow.pods.history(name)[0] for name in names]
    versions = [_version(deployment), _version(replica_set), *map(_version, pods)]
    told = (("Deployment", deployment), ("ReplicaSet", replica_set))
    for kind, seen in told:
        if seen:
            scene.tell(kind, f"{seen.name} is made at revision {_version(seen)}")
    for seen in pods:
        scene.tell("Pod", f"{seen.name} is made at revision {_version(seen)}")
    first_two, rest = versions[:2], versions[2:]
    held = 0 < first_two[0] < first_two[1] and all(first_two[1] < each for each in rest)
    scene.judge(
        "made-in-order",
        "First the Deployment, then its ReplicaSet, then three pods",
        f"revisions in this order, {REPLICAS} pods",
        Verdict(
            held=held and len(rest) == REPLICAS,
            observed=f"{versions[0]} < {versions[1]} < {', '.join(map(str, rest)) or 'no pods'}",
            source=deployment.source if deployment else "Deployment/web",
        ),
    )


def _steps(scene: Scene, flow: Flow, names: list[str]) -> None:
    """Each pod: made without a node, bound while Pending, then Running."""
    wrong = []
    for name in names:
        history = [seen.object for seen in flow.pods.history(name)]
        born = history[0]
        bound = next((pod for pod in history if pod["spec"].get("nodeName")), None)
        phases = [pod.get("status", {}).get("phase", "") for pod in history]
        if born["spec"].get("nodeName"):
            wrong.append(f"{name} was made with a node")
        elif bound is None or bound["status"].get("phase") != "Pending":
            wrong.append(f"{name} was not bound while Pending")
        elif "Running" not in phases or "Pending" in phases[phases.index("Running") :]:
            wrong.append(f"{name} went {' → '.join(dict.fromkeys(phases))}")
    scene.judge(
        "bound-then-run",
        "Every pod is made without a node, bound while Pending, and then Running",
        "no node → a node, Pending → Running",
        Verdict(
            held=len(names) == REPLICAS and not wrong,
            observed="; ".join(wrong) or f"so it was with {len(names)} pods",
            source=f"Pods in {scene.namespace}",
        ),
    )


def _actors(scene: Scene, flow: Flow, names: list[str]) -> None:
    """Who did each step, from managedFields and events: kt only ever made the Deployment."""
    by: dict[str, set[str]] = {"Deployment": set(), "ReplicaSet": set(), "Pod": set()}
    for seen in (*flow.deployments.history()[:1], *flow.replica_sets.history()[:1]):
        by[seen.object["kind"]] |= _makers(seen.object)
    for name in names:
        by["Pod"] |= _makers(flow.pods.history(name)[0].object)

    def assigned() -> dict[str, str]:
        return {
            event["involvedObject"]["name"]: str(event.get("reportingComponent"))
            for event in flow.events.current().values()
            if event["reason"] == "Scheduled"
        }

    flow.seconds_until(lambda: set(names) <= set(assigned()), 5.0)
    by["binding"] = {assigned().get(name, "nobody") for name in names}
    by["status"] = {
        field["manager"]
        for name in names
        for field in flow.pods.current(name)["metadata"].get("managedFields") or ()
        if field.get("subresource") == "status"
    }
    wanted = {
        "Deployment": {"kt"},
        "ReplicaSet": {MANAGER},
        "Pod": {MANAGER},
        "binding": {"default-scheduler"},
        "status": {"kubelet"},
    }
    told = "; ".join(f"{step}: {', '.join(sorted(who)) or 'nobody'}" for step, who in by.items())
    scene.judge(
        "each-step-has-its-actor",
        "Each step is taken by another component, none of which was told to",
        "; ".join(f"{step}: {', '.join(who)}" for step, who in wanted.items()),
        Verdict(
            held=by == wanted, observed=told, source="managedFields, and events named Scheduled"
        ),
    )


def _makers(found: Json) -> set[str]:
    """Who owned fields of an object's spec when it was first seen."""
    fields = found["metadata"].get("managedFields") or ()
    return {field["manager"] for field in fields if not field.get("subresource")}


def _latency(scene: Scene, flow: Flow, names: list[str]) -> None:
    took: list[float | None] = []
    for name in names:
        history = flow.pods.history(name)
        ran = next(
            (s for s in history if s.object.get("status", {}).get("phase") == "Running"), None
        )
        took.append(ran.at - history[0].at if ran else None)
    known = [seconds for seconds in took if seconds is not None]
    slowest = max(known) if known and len(known) == len(took) else None
    scene.facts["created_to_running_seconds"] = [round(seconds, 3) for seconds in known]
    scene.judge(
        "within-the-objective",
        "From creation to running, each pod is within Kubernetes' own objective",
        f"the slowest {OBJECTIVE}",
        OBJECTIVE.judge(slowest, "watch events of the pods"),
    )


def _deleted(scene: Scene, flow: Flow) -> None:
    scene.stage(DELETED)
    before = set(flow.standing())
    victim = min(before)
    if scene.sabotage != "spared":
        scene.api.delete(POD, victim, scene.namespace)

    def replaced() -> bool:
        now = flow.ready()
        return victim not in now and len(now) == REPLICAS and len(now - before) == 1

    patience = 5.0 if scene.sabotage == "no-image" else REPLACED.latest
    scene.judge(
        "deleted-is-replaced",
        "A deleted pod has a ready successor, the others are left alone",
        f"{REPLICAS} ready, {REPLICAS - 1} of them as before, {REPLACED}",
        REPLACED.judge(flow.seconds_until(replaced, patience), f"Pods in {scene.namespace}"),
    )


def _node_dies(scene: Scene, flow: Flow) -> None:
    scene.stage(NODE_DIES)
    title = "Pods of a node that dies are told to end, and have ready successors elsewhere"
    if not scene.faults.nodes:
        scene.skip("lost-node-is-replaced", title, "kt cannot stop a node of this cluster")
        return
    there = [pod["spec"].get("nodeName", "") for pod in flow.standing().values()]
    victim = next((node for node in workers(scene.api) if node in there), there[0])
    lost = {name for name, pod in flow.standing().items() if pod["spec"]["nodeName"] == victim}
    debt = 0
    if scene.sabotage in {None, "lives"}:  # any other has been seen by now, and need not wait
        debt = scene.faults.freeze_node(victim) if scene.sabotage is None else 0
        scene.tell(f"Node/{victim}", "stands still")

    def replaced() -> bool:
        now = flow.standing()
        elsewhere = {pod["spec"].get("nodeName") for pod in now.values()}
        told = not lost & set(now)
        return told and victim not in elsewhere and len(flow.ready()) == REPLICAS

    patience = LOST_AND_REPLACED.latest if debt else 5.0
    seconds = flow.seconds_until(replaced, patience)
    scene.facts["node_lost_to_replaced_seconds"] = seconds
    where = source(flow.nodes.current()[victim])
    scene.judge(
        "lost-node-is-replaced",
        title,
        f"{len(lost)} told to end, {REPLICAS} ready elsewhere, {LOST_AND_REPLACED}",
        LOST_AND_REPLACED.judge(seconds, where),
    )
    scene.faults.undo(debt)
    flow.seconds_until(lambda: views.ready(flow.nodes.current()[victim]), 60.0)


DEMO = Demo(
    name="flow",
    title="From one request to running pods",
    idea=(
        "One request stores a Deployment. Everything after that is done by components that watch "
        "the API server and act on what they see: two controllers, the scheduler, the kubelets. "
        "Nobody calls anybody. The same loop that makes the pods replaces those that are lost."
    ),
    acts=(CREATED, DELETED, NODE_DIES),
    needs=(Need("two workers that take pods", fewer_than_two_workers),),
    sabotages={
        "pods-first": Sabotage(
            "one pod is made by hand before", ("made-in-order", "each-step-has-its-actor")
        ),
        "placed": Sabotage("the template names a node", ("bound-then-run",)),
        "no-image": Sabotage("the image does not exist", ("within-the-objective",)),
        "spared": Sabotage("no pod is deleted", ("deleted-is-replaced",)),
        "lives": Sabotage("the node lives on", ("lost-node-is-replaced",)),
    },
    play=play,
    page="concepts/overview/components/",
    breaks=True,
    alone=True,
)
