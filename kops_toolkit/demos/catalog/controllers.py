"""Controllers: a drift for each loop and its repair, who leads, and what happens without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import Pods, container, service
from kops_toolkit.demos.scheduling import able_nodes, no_able_node
from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    LEASE,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    SERVICE_ACCOUNT,
)
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Callable

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json, Kind

MANAGER = "kube-controller-manager"
REPLICAS = 2
REPAIR = Within(0.0, 15.0)  # seconds from the drift to its repair, on a busy machine
STOPPED_FOR = 4.0  # seconds; well below the 15 of the lease, so that the leader stays
RENEWED_WITHIN = 10.0  # seconds; by default the leader renews every 2
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

LOOPS = Act(
    "A drift for each loop",
    "A pod, a ReplicaSet, a ServiceAccount and an EndpointSlice are deleted, a namespace is told "
    "to end, an owner goes, a node is cordoned. Each time another controller sees the difference "
    "and repairs it, and each time what it made is another object.",
)
LOOKED = Act(
    "Proof that the loop has looked",
    "Owner references tell who made what. generation counts changes of the spec, and "
    "observedGeneration tells which of them the controller has acted on: until then a status is "
    "old news.",
)
LEADER = Act(
    "One leads",
    "Of several controller managers one holds the Lease and works; it renews it every two seconds.",
)
STOPPED = Act(
    "Without the controller manager",
    "Its process is stopped. What is deleted now stays deleted: the API server stores objects and "
    "repairs nothing. It goes on, and the repair comes.",
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


class Loops:
    """What the controllers look after, and the watches that see them do it.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.pods = Pods(scene)
        of, namespace = scene.watches.of, scene.namespace
        self.replica_sets = of(REPLICA_SET, namespace).ready()
        self.deployments = of(DEPLOYMENT, namespace).ready()
        self.accounts = of(SERVICE_ACCOUNT, namespace).ready()
        self.slices = of(ENDPOINT_SLICE, namespace).ready()
        self.maps = of(CONFIG_MAP, namespace).ready()
        self.nodes = of(NODE).ready()
        self.namespaces = of(NAMESPACE).ready()
        self.leases = of(LEASE, "kube-system").ready()

    def create(self) -> None:
        """Create a Deployment and its Service, and wait until all is as it should be."""
        labels = {"app": "web"}
        idle = container(self.scene.image)
        pod = {"terminationGracePeriodSeconds": 0, "containers": [idle]}
        body: Json = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": REPLICAS,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        self.scene.api.create(body, self.scene.namespace)
        self.scene.api.create(service("web", labels), self.scene.namespace)
        self.pods.watch.wait(
            lambda: True if self.whole() else None, timeout=60, what="the ready Deployment web"
        )

    def whole(self) -> bool:
        """Whether there are as many ready pods, all in the Service's EndpointSlice, as wanted."""
        ready = {name for name, pod in self.standing().items() if views.ready(pod)}
        return len(ready) == REPLICAS and self.endpoints() == ready and bool(self.account())

    def standing(self) -> dict[str, Json]:
        """The Deployment's pods that stay."""
        found = self.pods.watch.current().items()
        return {name: pod for name, pod in found if not views.terminating(pod)}

    def endpoints(self) -> set[str]:
        """Pods that the EndpointSlices name."""
        return {
            endpoint["targetRef"]["name"]
            for found in self.slices.current().values()
            for endpoint in found.get("endpoints") or ()
        }

    def account(self) -> str:
        """UID of the ServiceAccount `default`, "" if there is none."""
        found = self.accounts.current().get("default")
        return views.uid(found) if found else ""

    def renewed(self, name: str = MANAGER) -> str:
        """When the leader last renewed its Lease, as it says itself."""
        return str(self.leases.current().get(name, {}).get("spec", {}).get("renewTime", ""))

    def when(self, condition: Callable[[], bool], within: float) -> float | None:
        """Seconds until something is so; None if it does not come."""
        began = self.pods.now()
        came = self.pods.until(lambda: True if condition() else None, within)
        return self.pods.now() - began if came else None

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object of the scene's namespace."""
        self.scene.api.delete(kind, name, self.scene.namespace)


def play(scene: Scene) -> None:
    """Play all acts."""
    loops = Loops(scene)
    loops.create()
    _loops(scene, loops)
    _looked(scene, loops)
    _leader(scene, loops)
    _stopped(scene, loops)


def _loops(scene: Scene, loops: Loops) -> None:
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


def _looked(scene: Scene, loops: Loops) -> None:
    scene.stage(LOOKED)
    if scene.sabotage == "orphan":
        loops.pods.create("orphan", labels={"app": "other"})
        loops.pods.ready("orphan")
    chain = []
    for name, pod in sorted(loops.standing().items()):
        owners = [
            found
            for found in loops.replica_sets.current().values()
            if views.uid(found) == views.owner_uid(pod)
        ]
        tops = {views.owner_uid(found) for found in owners}
        chain.append((name, tops == {views.uid(loops.deployments.current()["web"])}))
    broken = [name for name, whole in chain if not whole]
    scene.judge(
        "owner-references",
        "Owner references lead from every pod over the ReplicaSet to the Deployment, by UID",
        f"{REPLICAS} pods → ReplicaSet → Deployment web",
        Verdict(
            held=bool(chain) and not broken,
            observed=f"{len(chain)} pods; without: {', '.join(broken) or 'none'}",
            source=source(loops.deployments.current()["web"]),
        ),
    )
    if scene.sabotage == "orphan":
        loops.delete(POD, "orphan")
    before = loops.deployments.current()["web"]["metadata"]["generation"]
    change: Json = {"spec": {"minReadySeconds": 1}}
    if scene.sabotage == "no-change":
        change = {"metadata": {"labels": {"more": "yes"}}}
    scene.api.patch(DEPLOYMENT, "web", scene.namespace, change)

    def generations() -> tuple[int, int]:
        found = loops.deployments.current()["web"]
        return found["metadata"]["generation"], found["status"].get("observedGeneration", 0)

    loops.when(lambda: before < generations()[0] <= generations()[1], REPAIR.latest)
    wanted, observed = generations()
    scene.judge(
        "observed-generation",
        "A change of the spec is a new generation, and the controller tells that it has seen it",
        f"generation over {before}, and observed",
        Verdict(
            held=before < wanted <= observed,
            observed=f"generation {wanted}, observed {observed}",
            source=source(loops.deployments.current()["web"]),
        ),
    )


def _leader(scene: Scene, loops: Loops) -> None:
    scene.stage(LEADER)
    name = "no-such-lease" if scene.sabotage == "no-leader" else MANAGER
    before = loops.renewed(name)
    try:
        loops.leases.wait(
            lambda: True if loops.renewed(name) > before else None,
            timeout=RENEWED_WITHIN,
            what=f"a renewal of the Lease {name}",
        )
    except TimedOutError as error:
        scene.tell(f"Lease/{name}", error.message)
    found = loops.leases.current().get(name)
    holder = (found or {}).get("spec", {}).get("holderIdentity", "")
    after = loops.renewed(name)
    scene.judge(
        "leader-renews",
        "One controller manager leads: it holds the Lease and renews it",
        f"a holder, and a renewal within {RENEWED_WITHIN:g} s",
        Verdict(
            held=bool(holder) and after > before,
            observed=f"held by {holder or 'nobody'}, renewed {after or 'never'}",
            source=source(found) if found else f"Lease/{name}",
        ),
    )


def _stopped(scene: Scene, loops: Loops) -> None:
    scene.stage(STOPPED)
    titles = {
        "nothing-is-repaired": "While it is stopped nothing is repaired, no Lease renewed",
        "repaired-when-back": "When it goes on the repair comes",
    }
    if not scene.faults.control_planes:
        for check, title in titles.items():
            scene.skip(check, title, "kt cannot stop the controller manager of this cluster")
        return
    loops.pods.until(lambda: True if loops.whole() else None, 60.0)
    debts = []
    if scene.sabotage != "never-stopped":
        debts = scene.faults.stop_process(MANAGER)
    scene.tell(MANAGER, "is stopped")
    renewed, before = loops.renewed(), set(loops.standing())
    account, victim = loops.account(), min(before)
    if scene.sabotage != "untouched":
        loops.delete(POD, victim)
        loops.delete(SERVICE_ACCOUNT, "default")

    def repaired() -> bool:
        pods, again = set(loops.standing()), loops.account()
        return victim not in pods and len(pods) == REPLICAS and again not in {"", account}

    moved = loops.when(lambda: repaired() or loops.renewed() != renewed, STOPPED_FOR)
    left = set(loops.standing())
    words = f"{len(left)} of {REPLICAS} pods, account {'there' if loops.account() else 'gone'}"
    words += f", Lease {'stands still' if loops.renewed() == renewed else 'renewed'}"
    scene.judge(
        "nothing-is-repaired",
        titles["nothing-is-repaired"],
        f"{REPLICAS - 1} of {REPLICAS} pods, account gone, Lease stands still, "
        f"for {STOPPED_FOR:g} s",
        Verdict(
            held=moved is None and left == before - {victim} and not loops.account(),
            observed=words,
            source=f"Lease/kube-system/{MANAGER}",
        ),
    )
    scene.faults.undo(*debts)
    scene.tell(MANAGER, "goes on")
    seconds = loops.when(repaired, 2 * REPAIR.latest)
    bounds = Within(0.0, 2 * REPAIR.latest)
    scene.judge(
        "repaired-when-back",
        titles["repaired-when-back"],
        f"{REPLICAS} pods and another ServiceAccount default, {bounds}",
        bounds.judge(seconds, f"Pods in {scene.namespace}"),
    )


DRIFTS = (
    *("replica-set", "deployment", "service-account", "endpoint-slice"),
    *("namespace", "garbage-collector", "node"),
)

DEMO = Demo(
    name="controllers",
    title="Loops that make it so",
    idea=(
        "A controller watches the API server, compares what is there with what is wanted, and acts "
        "on the difference: over and over, each for its own sort of object. None of them talks to "
        "another or to etcd. They run in one process, of which one instance leads."
    ),
    acts=(LOOPS, LOOKED, LEADER, STOPPED),
    needs=(Need("one node that takes pods", no_able_node),),
    sabotages={
        "no-drift": Sabotage("nothing drifts", DRIFTS),
        "both-owned": Sabotage("the owner owns the other one too", ("unowned-stays",)),
        "orphan": Sabotage("one pod has no owner", ("owner-references",)),
        "no-change": Sabotage("only a label changes", ("observed-generation",)),
        "no-leader": Sabotage("a Lease is looked at that nobody holds", ("leader-renews",)),
        "never-stopped": Sabotage("it is not stopped", ("nothing-is-repaired",)),
        "untouched": Sabotage(
            "nothing is deleted meanwhile", ("nothing-is-repaired", "repaired-when-back")
        ),
    },
    play=play,
    page="concepts/architecture/controller/",
    breaks=True,
    alone=True,
)
