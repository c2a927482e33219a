"""Priority and preemption, made exact by a resource that only this run's nodes offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import container
from kops_toolkit.demos.scheduling import Placements, able_nodes, all_of, no_able_node
from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import POD, POD_DISRUPTION_BUDGET, PRIORITY_CLASS
from kops_toolkit.kube.temporal import Before, Verdict
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.watch import Seen

UNITS = 3  # of the resource on the node; each pod asks for one
PRIORITIES = {"low": 100, "medium": 500, "high": 1000, "patient": 1000}
SHORT_OF = "Insufficient"  # how the scheduler says that a resource is used up
STILL = 2.0  # seconds in which nobody must be evicted

EQUAL = Act(
    "A full node, and a pod of equal priority",
    "Three pods use up a resource that this node alone offers: one of low priority, two of medium. "
    "Another of low priority waits: nobody is evicted for an equal.",
)
HIGHER = Act(
    "A pod of higher priority",
    "The scheduler finds the node where evicting the lowest helps, names it in "
    "status.nominatedNodeName, and evicts one pod, the one of low priority. The others are "
    "untouched, and the newcomer is bound once the victim has gone.",
)
NEVER = Act(
    "High priority without preemption",
    "A PriorityClass with preemptionPolicy Never puts its pods ahead in the queue and evicts "
    "nobody: such a pod waits, and is placed once there is room.",
)
BUDGET = Act(
    "A PodDisruptionBudget",
    "Of two victims of equal priority, the one that no budget protects is taken. A budget is "
    "respected where there is a choice; it is no guarantee.",
)


class Room:
    """The node's one resource, and pods that ask for it.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.node = able_nodes(scene.api)[-1]
        self.resource = scene.outside.key("seat")
        self.placements = Placements(scene)
        self.classes = {name: self._priority_class(name) for name in PRIORITIES}
        scene.outside.resource(self.node, self.resource, UNITS)
        scene.tell(f"Node/{self.node}", f"offers {UNITS} of {self.resource}")

    def _priority_class(self, name: str) -> str:
        flat = self.scene.sabotage == "flat"
        body: Json = {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": PRIORITIES["medium"] if flat else PRIORITIES[name],
        }
        if name == "patient" and self.scene.sabotage != "impatient":
            body["preemptionPolicy"] = "Never"
        return self.scene.outside.create(PRIORITY_CLASS, body)

    def pod(self, name: str, priority: str, labels: Mapping[str, str] | None = None) -> Json:
        """Create a pod of a priority that takes one seat."""
        seat = {self.resource: "1"}
        sitting = container(self.scene.image, resources={"requests": seat, "limits": seat})
        return self.placements.create(
            name, labels, priorityClassName=self.classes[priority], containers=[sitting]
        )

    def uids(self, *names: str) -> dict[str, str]:
        """UIDs of pods by name."""
        return {name: views.uid(self.placements.current(name)) for name in names}

    def waits(self, name: str, others: Mapping[str, str]) -> Verdict:
        """A pod finds no room, and for a while nobody has to go for it.

        A preempting pod is called unschedulable too, while its victims end: that word alone does
        not tell the two apart.
        """
        told = self.placements.waits(name, (SHORT_OF,))

        def moved() -> bool | None:
            return True if self.placements.node(name) or not self.untouched(others).held else None

        self.placements.await_or_none(moved, STILL)
        node = self.placements.node(name)
        unbound = Verdict(
            held=not node, observed=f"{name} on {node}" if node else told.observed, source=name
        )
        return all_of((told, unbound, self.untouched(others)))

    def untouched(self, before: Mapping[str, str]) -> Verdict:
        """The same pods, none ever told to end, over the whole history."""
        touched = sorted(
            seen.name
            for seen in self.placements.pods.history()
            if seen.name in before
            and views.uid(seen.object) == before[seen.name]
            and (views.terminating(seen.object) or seen.type == "DELETED")
        )
        words = f"{touched[0]} was told to end" if touched else f"{', '.join(before)} untouched"
        return Verdict(held=bool(before) and not touched, observed=words, source=self.node)

    def first_told_to_end(self, name: str) -> Seen | None:
        """The event in which a pod was first seen to be on its way out."""
        for seen in self.placements.pods.history():
            leaving = views.terminating(seen.object) or seen.type == "DELETED"
            if seen.name == name and leaving:
                return seen
        return None


def play(scene: Scene) -> None:
    """Play all acts."""
    room = Room(scene)
    _equal(scene, room)
    _higher(scene, room)
    _never(scene, room)
    _budget(scene, room)


def _equal(scene: Scene, room: Room) -> None:
    scene.stage(EQUAL)
    for name, priority in (("low", "low"), ("medium-1", "medium"), ("medium-2", "medium")):
        room.pod(name, priority)
        room.placements.ready(name)
    before = room.uids("low", "medium-1", "medium-2")
    room.pod("equal", "high" if scene.sabotage == "favoured" else "low")
    waits = room.waits("equal", before)
    scene.judge(
        "equal-waits",
        "A pod evicts nobody for an equal: it waits for room",
        f"equal unbound ({SHORT_OF}), nobody told to end",
        waits,
    )
    scene.api.delete(POD, "equal", scene.namespace)


def _higher(scene: Scene, room: Room) -> None:
    scene.stage(HIGHER)
    others = room.uids("medium-1", "medium-2")
    made = room.pod("high", "high")
    bound = room.placements.bound("high", {room.node}, views.uid(made))
    scene.judge("high-is-placed", "It is placed, where the victim was", f"on {room.node}", bound)
    victim = room.first_told_to_end("low")
    if scene.sabotage == "collateral":
        scene.api.delete(POD, "medium-1", scene.namespace)
        room.placements.await_or_none(lambda: room.first_told_to_end("medium-1"), 5.0)
    scene.judge(
        "lowest-goes",
        "The victim is the pod of the lowest priority, and it is told why",
        "low: DisruptionTarget, PreemptionByScheduler",
        _preempted(victim),
    )
    scene.judge(
        "others-untouched",
        "The pods of medium priority are left alone",
        "medium-1, medium-2: the same by UID, never told to end",
        room.untouched(others),
    )

    def nominated(seen: Seen) -> bool:
        told = seen.object.get("status", {}).get("nominatedNodeName")
        return bool(seen.name == "high" and told == room.node)

    def placed(seen: Seen) -> bool:
        return seen.name == "high" and "nodeName" in seen.object["spec"]

    scene.judge(
        "nominated-first",
        "Its node is named as nominatedNodeName before it is bound there",
        f"nominated to {room.node}, then bound",
        Before(nominated, placed).judge(room.placements.pods.history()),
    )

    def gone(seen: Seen) -> bool:
        return seen.name == "low" and seen.type == "DELETED"

    scene.judge(
        "bound-after-the-end",
        "It is bound only after the victim has gone",
        "low deleted, then high bound",
        Before(gone, placed).judge(room.placements.pods.history()),
    )


def _preempted(victim: Seen | None) -> Verdict:
    if victim is None:
        return Verdict(held=False, observed="low was not told to end", source="Pod/low")
    told = views.condition(victim.object, "DisruptionTarget") or {}
    words = f"{told.get('reason', 'no DisruptionTarget')}: {told.get('message', '')}"
    held = told.get("status") == "True" and told.get("reason") == "PreemptionByScheduler"
    return Verdict(held=held, observed=words, source=victim.source, at=victim.wall)


def _never(scene: Scene, room: Room) -> None:
    scene.stage(NEVER)
    present = [name for name in ("medium-1", "medium-2") if room.placements.node(name)]
    before = room.uids(*present)
    made = room.pod("patient", "patient")
    waits = room.waits("patient", before)
    scene.judge(
        "never-waits",
        "preemptionPolicy Never: higher priority, and nobody is evicted",
        f"patient unbound ({SHORT_OF}), the medium ones untouched",
        waits,
    )
    scene.api.delete(POD, present[0] if present else "high", scene.namespace)
    uid = views.uid(made)
    if scene.sabotage == "replaced":
        scene.api.delete(POD, "patient", scene.namespace)
        room.placements.await_or_none(lambda: room.first_told_to_end("patient"), 10.0)
        room.pod("patient", "patient")
    scene.judge(
        "never-is-placed-then",
        "Once there is room the same pod is placed",
        f"patient on {room.node}",
        room.placements.bound("patient", {room.node}, uid),
    )


def _budget(scene: Scene, room: Room) -> None:
    scene.stage(BUDGET)
    for found in list(room.placements.pods.current().values()):
        name = found["metadata"]["name"]
        if not views.terminating(found):
            scene.api.delete(POD, name, scene.namespace)
    room.placements.await_or_none(lambda: None if room.placements.pods.current() else True, 30.0)
    guarded = "open" if scene.sabotage == "unguarded" else "guarded"
    selector = {"matchLabels": {"app": guarded}}
    scene.api.create(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "guard"},
            "spec": {"minAvailable": 1, "selector": selector},
        },
        scene.namespace,
    )
    # The protected one is the younger: without a budget it would be the victim.
    for name in ("open", "guarded", "bystander"):
        room.pod(name, "medium" if name == "bystander" else "low", {"app": name})
        room.placements.ready(name)
    budgets = scene.watches.of(POD_DISRUPTION_BUDGET, scene.namespace).ready()
    try:
        budgets.wait(
            lambda: True if _counted(budgets.current().get("guard", {})) else None,
            timeout=20,
            what="the budget's count",
        )
    except TimedOutError:
        scene.tell("PodDisruptionBudget/guard", "has not counted its pods")
    safe = room.uids("guarded", "bystander")
    room.pod("newcomer", "high")
    bound = room.placements.bound("newcomer", {room.node})
    scene.judge(
        "budget-is-respected",
        "Of two equals the one without a budget is the victim",
        "newcomer bound, open told to end, guarded untouched",
        all_of((bound, _ended(room, "open"), room.untouched(safe))),
    )


def _counted(budget: Json) -> bool:
    return bool(budget.get("status", {}).get("currentHealthy"))


def _ended(room: Room, name: str) -> Verdict:
    seen = room.first_told_to_end(name)
    if seen is None:
        found = room.placements.current(name)
        return Verdict(held=False, observed=f"{name} stays", source=source(found))
    return Verdict(held=True, observed=f"{name} went", source=seen.source, at=seen.wall)


DEMO = Demo(
    name="preemption",
    title="Make room for what matters more",
    idea=(
        "A pod's PriorityClass orders the scheduler's queue. When a pod of higher priority fits "
        "nowhere, the scheduler looks for a node where evicting pods of lower priority makes "
        "room, takes as few and as low ones as it can, and respects PodDisruptionBudgets where it "
        "has the choice. An extended resource on one node makes all of this exact."
    ),
    acts=(EQUAL, HIGHER, NEVER, BUDGET),
    needs=(Need("one node that takes pods", no_able_node),),
    sabotages={
        "flat": Sabotage(
            "all classes have the same value",
            (
                *("high-is-placed", "lowest-goes", "nominated-first", "bound-after-the-end"),
                "budget-is-respected",
            ),
        ),
        "favoured": Sabotage("the equal pod is of higher priority", ("equal-waits",)),
        "collateral": Sabotage("a pod of medium priority is deleted", ("others-untouched",)),
        "impatient": Sabotage("the class without preemption preempts", ("never-waits",)),
        "replaced": Sabotage(
            "another pod takes the waiting one's place", ("never-is-placed-then",)
        ),
        "unguarded": Sabotage("the budget protects the other pod", ("budget-is-respected",)),
    },
    play=play,
    page="concepts/scheduling-eviction/pod-priority-preemption/",
    breaks=True,
    smoke=True,
)
