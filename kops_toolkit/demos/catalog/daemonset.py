"""DaemonSet and Deployment: one pod on every node that qualifies, and a number of pods anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import container, workload
from kops_toolkit.demos.scheduling import able_nodes, fewer_than_two, let_it_be_seen
from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import DAEMON_SET, DEPLOYMENT, NODE, POD
from kops_toolkit.kube.temporal import Verdict
from kops_toolkit.kube.watch import source
from kops_toolkit.outcome import Picture, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

FOLLOWS_WITHIN = 20.0  # seconds until a controller must have acted, on a busy machine
STILL = 2.0  # seconds in which nothing may move
HOSTNAME = "kubernetes.io/hostname"

LABEL = Act(
    "A pod for every node that qualifies",
    "The DaemonSet asks for a label. The first node gets it, then the second, then the first loses "
    "it: each time there is exactly one pod on each node that has it. A Deployment of the same "
    "size does not care.",
)
TAINT = Act(
    "A taint, and who tolerates it",
    "A NoExecute taint drives off the pods of the DaemonSet that does not tolerate it; a twin that "
    "tolerates it stays. When the taint goes the pod is back.",
)
CORDON = Act(
    "A cordoned node",
    "A node is marked unschedulable. A DaemonSet's pod tolerates that, so a deleted one comes back "
    "on the cordoned node; a Deployment's pod, although it would rather be there, goes elsewhere.",
)
JOIN = Act(
    "A node joins, and leaves",
    "A Node that qualifies is registered: the DaemonSet wants one pod more, bound to that very "
    "node by name. The Node goes, and one pod fewer is wanted. The Deployment never changes.",
)


class Agents:
    """The DaemonSets and the Deployment under test.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.able = able_nodes(scene.api)
        self.first, self.second = self.able[0], self.able[-1]
        self.key, self.taint = (scene.outside.key(word) for word in ("agent", "kept-off"))
        self.pods = scene.watches.of(POD, scene.namespace).ready()
        self.sets = scene.watches.of(DAEMON_SET, scene.namespace).ready()
        self.deployments = scene.watches.of(DEPLOYMENT, scene.namespace).ready()
        scene.picture = self.picture

    def create(self, kind: str, app: str, **spec: object) -> None:
        """Create a DaemonSet or a Deployment whose pods have these fields in their spec."""
        body = workload(kind, app, [container(self.scene.image)], **spec)
        self.scene.api.create(body, self.scene.namespace)

    def of(self, app: str) -> list[Json]:
        """Its pods that stay."""
        return [
            pod
            for pod in self.pods.current().values()
            if pod["metadata"].get("labels", {}).get("app") == app and not views.terminating(pod)
        ]

    def where(self, app: str) -> list[str]:
        """The nodes of its pods, sorted; a node twice if it has two."""
        return sorted(pod["spec"].get("nodeName", "") for pod in self.of(app))

    def exactly(self, app: str, nodes: Collection[str]) -> Verdict:
        """Wait until there is one pod on each of these nodes, and no other."""
        wanted = sorted(nodes)
        self.until(lambda: self.where(app) == wanted and self._status(app) == len(wanted))
        words = f"on {', '.join(node or 'no node' for node in self.where(app)) or 'no node'}"
        number = self._status(app)
        return Verdict(
            held=self.where(app) == wanted and number == len(wanted),
            observed=f"{words}; {number} wanted",
            source=source(self.sets.current()[app]),
        )

    def until(self, condition: Callable[[], bool], seconds: float = FOLLOWS_WITHIN) -> None:
        """Wait for something, for a while."""
        try:
            self.pods.wait(lambda: True if condition() else None, timeout=seconds, what="it")
        except TimedOutError:
            return

    def deployed(self, expected: Collection[str]) -> Verdict:
        """Whether the Deployment's pods are still those by UID."""
        now = {views.uid(pod) for pod in self.of("crowd")}
        words = f"{len(now & set(expected))} of {len(expected)} the same, {len(now)} pods"
        return Verdict(held=bool(now) and now == set(expected), observed=words, source="crowd")

    def picture(self) -> Picture:
        """DaemonSets and the Deployment, each with its pods and their nodes."""
        rows = []
        owners = [("DaemonSet", self.sets), ("Deployment", self.deployments)]
        for kind, watch in owners:
            for app in watch.current():
                rows.append(Row(0, f"{kind}/{app}", "Active", None, f"{len(self.of(app))} pods"))
                rows += [_row(pod) for pod in self.of(app)]
        return Picture(tuple(rows))

    def _status(self, app: str) -> int:
        found = self.sets.current().get(app, {}).get("status", {})
        return int(found.get("desiredNumberScheduled", -1))


def _row(pod: Json) -> Row:
    name, node = pod["metadata"]["name"], pod["spec"].get("nodeName", "")
    return Row(1, f"Pod/{name}", views.phase(pod), views.ready(pod) or None, node)


def play(scene: Scene) -> None:
    """Play all acts."""
    agents = Agents(scene)
    crowd = _label(scene, agents)
    _taint(scene, agents)
    crowd = _cordon(scene, agents, crowd)
    _join(scene, agents, crowd)


def _label(scene: Scene, agents: Agents) -> set[str]:
    scene.stage(LABEL)
    debt = scene.outside.label(agents.first, agents.key, "yes")
    selector = {} if scene.sabotage == "anywhere" else {agents.key: "yes"}
    tolerated = {"key": agents.taint, "operator": "Exists"}
    tolerations = [] if scene.sabotage == "intolerant" else [tolerated]
    agents.create("DaemonSet", "plain", nodeSelector=selector)
    agents.create("DaemonSet", "tough", nodeSelector=selector, tolerations=tolerations)
    # The Deployment has the same size, no selector, and would rather be on the first node.
    wish = {"key": HOSTNAME, "operator": "In", "values": [agents.first]}
    preference = {"weight": 100, "preference": {"matchExpressions": [wish]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
    # It tolerates the taint of the next act: nothing but its own count decides about its pods.
    agents.create("Deployment", "crowd", affinity=affinity, tolerations=[tolerated])
    agents.until(lambda: len(agents.where("crowd")) == 1 and "" not in agents.where("crowd"))
    crowd = {views.uid(pod) for pod in agents.of("crowd")}
    scene.judge(
        "only-where-labelled",
        "There is exactly one pod on the node with the label, none elsewhere",
        f"on {agents.first}; 1 wanted",
        agents.exactly("plain", [agents.first]),
    )
    if scene.sabotage != "unlabelled":
        scene.outside.label(agents.second, agents.key, "yes")
    scene.tell(f"Node/{agents.second}", "is labelled")
    both = sorted({agents.first, agents.second})
    scene.judge(
        "follows-the-label",
        "A node that gets the label gets a pod",
        f"on {', '.join(both)}; {len(both)} wanted",
        agents.exactly("plain", both),
    )
    if scene.sabotage != "keeps-label":
        scene.outside.undo(debt)
    scene.tell(f"Node/{agents.first}", "has lost the label")
    scene.judge(
        "leaves-with-the-label",
        "A node that loses the label loses its pod: a DaemonSet asks again and again",
        f"on {agents.second}; 1 wanted",
        agents.exactly("plain", [agents.second]),
    )
    if scene.sabotage == "scaled":
        scene.api.patch(DEPLOYMENT, "crowd", scene.namespace, {"spec": {"replicas": 2}})
        agents.until(lambda: len(agents.where("crowd")) == 2)
    scene.judge(
        "deployment-does-not-follow",
        "The Deployment keeps its one pod meanwhile",
        "the same pod by UID, no other",
        agents.deployed(crowd),
    )
    scene.outside.label(agents.first, agents.key, "yes")
    agents.exactly("plain", both)
    agents.exactly("tough", both)
    return {views.uid(pod) for pod in agents.of("crowd")}


def _taint(scene: Scene, agents: Agents) -> None:
    scene.stage(TAINT)
    tough = {views.uid(pod) for pod in agents.of("tough")}
    debt = 0
    if scene.sabotage != "untainted":
        debt = scene.outside.taint(agents.first, agents.taint, "NoExecute")
    scene.tell(f"Node/{agents.first}", f"is tainted {agents.taint}:NoExecute")
    scene.judge(
        "taint-drives-it-off",
        "A NoExecute taint takes the node away from the DaemonSet that does not tolerate it",
        f"plain on {agents.second}; 1 wanted",
        agents.exactly("plain", [agents.second]),
    )
    # Evictions for the same taint come together: what has not come by now does not come.
    agents.until(lambda: {views.uid(pod) for pod in agents.of("tough")} != tough, STILL)
    now = {views.uid(pod) for pod in agents.of("tough")}
    scene.judge(
        "tolerating-twin-stays",
        "Its twin that tolerates the taint keeps its pods",
        "the same pods by UID on both nodes",
        Verdict(
            held=len(tough) > 1 and tough == now,
            observed=f"{len(tough & now)} of {len(tough)} the same, {len(now)} pods",
            source=source(agents.sets.current()["tough"]),
        ),
    )
    if debt and scene.sabotage != "taint-stays":
        scene.outside.undo(debt)
    both = {agents.first, agents.second}
    scene.judge(
        "back-without-the-taint",
        "When the taint goes the pod is back",
        f"plain on {', '.join(sorted(both))}; {len(both)} wanted",
        agents.exactly("plain", both),
    )
    scene.outside.undo(debt)


def _cordon(scene: Scene, agents: Agents, crowd: set[str]) -> set[str]:
    scene.stage(CORDON)
    debt = 0
    if scene.sabotage != "uncordoned":
        debt = scene.outside.cordon(agents.first)
    scene.tell(f"Node/{agents.first}", "is cordoned")
    let_it_be_seen(scene)
    victims = [pod for pod in agents.of("plain") if pod["spec"]["nodeName"] == agents.first]
    gone = {views.uid(pod) for pod in [*victims, *agents.of("crowd")]}
    for pod in [*victims, *agents.of("crowd")]:
        scene.api.delete(POD, pod["metadata"]["name"], scene.namespace)

    def back() -> bool:
        both = [*agents.of("plain"), *agents.of("crowd")]
        return (
            len(agents.of("plain")) == len({agents.first, agents.second})
            and len(agents.of("crowd")) == len(crowd)
            and all(pod["spec"].get("nodeName") for pod in both)
            and not gone & {views.uid(pod) for pod in both}
        )

    agents.until(back)
    node = scene.api.get(NODE, agents.first)
    closed = bool(node["spec"].get("unschedulable"))
    words = f"{agents.first} {'is' if closed else 'is not'} unschedulable; "
    fresh = agents.first in agents.where("plain") and back()
    scene.judge(
        "tolerates-unschedulable",
        "A DaemonSet's pod comes back on the cordoned node",
        f"{agents.first} is unschedulable; plain there again, another pod by UID",
        Verdict(
            held=closed and fresh,
            observed=f"{words}plain on {', '.join(agents.where('plain')) or 'no node'}",
            source=source(node),
        ),
    )
    elsewhere = agents.where("crowd")
    scene.judge(
        "deployment-avoids-it",
        "A Deployment's pod goes elsewhere, against its preference",
        f"crowd anywhere but on {agents.first}",
        Verdict(
            held=closed and bool(elsewhere) and not {"", agents.first} & set(elsewhere),
            observed=f"{words}crowd on {', '.join(elsewhere) or 'no node'}",
            source=source(node),
        ),
    )
    scene.outside.undo(debt)
    return {views.uid(pod) for pod in agents.of("crowd")}


def _join(scene: Scene, agents: Agents, crowd: set[str]) -> None:
    scene.stage(JOIN)
    label = "no" if scene.sabotage == "unfit" else "yes"
    name, debt = scene.outside.node(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "newcomer", "labels": {agents.key: label}},
            # Nobody else's pods are to wait on a node that no machine stands behind.
            "spec": {"taints": [{"key": agents.taint, "effect": "NoSchedule"}]},
        }
    )
    room = {"pods": "10", "cpu": "1", "memory": "1Gi"}
    status = {"status": {"capacity": room, "allocatable": room}}
    scene.api.patch(NODE, name, None, status, subresource="status")
    scene.tell(f"Node/{name}", "joins")
    before = {agents.first, agents.second}
    scene.judge(
        "joins",
        "A node that joins and qualifies gets its pod, bound to it by name",
        f"tough on {', '.join(sorted(before))} and {name}; {len(before) + 1} wanted",
        agents.exactly("tough", {*before, name}),
    )
    if scene.sabotage != "never-leaves":
        scene.outside.undo(debt)
    scene.tell(f"Node/{name}", "leaves")
    scene.judge(
        "leaves",
        "When the node has left, one pod fewer is wanted",
        f"tough on {', '.join(sorted(before))}; {len(before)} wanted",
        agents.exactly("tough", before),
    )
    if scene.sabotage == "restarted":
        for pod in agents.of("crowd"):
            scene.api.delete(POD, pod["metadata"]["name"], scene.namespace)
        agents.until(lambda: not crowd & {views.uid(pod) for pod in agents.of("crowd")})
    scene.judge(
        "deployment-unmoved",
        "The Deployment was not concerned by nodes coming and going",
        "the same pod by UID, no other",
        agents.deployed(crowd),
    )


DEMO = Demo(
    name="daemonset",
    title="One on every node, or so many anywhere",
    idea=(
        "A Deployment wants a number of pods, wherever they fit. A DaemonSet wants one pod on "
        "every node that qualifies by labels and taints, and goes on asking: when labels, taints "
        "or nodes change, its pods come and go. It also runs where a node is closed for others."
    ),
    acts=(LABEL, TAINT, CORDON, JOIN),
    needs=(Need("two nodes that take pods", fewer_than_two),),
    sabotages={
        "anywhere": Sabotage("it asks for no label", ("only-where-labelled",)),
        "unlabelled": Sabotage("the second node gets no label", ("follows-the-label",)),
        "keeps-label": Sabotage("the first node keeps the label", ("leaves-with-the-label",)),
        "scaled": Sabotage("the Deployment is scaled", ("deployment-does-not-follow",)),
        "untainted": Sabotage("no taint is put", ("taint-drives-it-off",)),
        "intolerant": Sabotage("the twin tolerates nothing", ("tolerating-twin-stays",)),
        "taint-stays": Sabotage("the taint stays", ("back-without-the-taint",)),
        "uncordoned": Sabotage(
            "the node is not cordoned", ("tolerates-unschedulable", "deployment-avoids-it")
        ),
        "unfit": Sabotage("the node that joins has another label", ("joins",)),
        "never-leaves": Sabotage("the node does not leave", ("leaves",)),
        "restarted": Sabotage("the Deployment's pod is deleted", ("deployment-unmoved",)),
    },
    play=play,
    page="concepts/workloads/controllers/daemonset/",
    breaks=True,
    alone=True,
)
