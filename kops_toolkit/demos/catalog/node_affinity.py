"""Node affinity, pod anti-affinity and topology spread: rules and wishes on where pods go."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.scheduling import (
    SELECTOR_WORDS,
    Placements,
    able_nodes,
    all_of,
    fewer_than_two,
    let_it_be_seen,
)
from kops_toolkit.kube import views
from kops_toolkit.kube.api import POD
from kops_toolkit.kube.temporal import Consistently, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

STILL = 2.0  # seconds in which a pod must not move; the scheduler decides within milliseconds
EACH = 2  # pods per operator: one alone could be where it should be by chance
HOSTNAME = "kubernetes.io/hostname"
ANTI_WORDS = "didn't match pod anti-affinity rules"  # how the scheduler says it

REQUIRED = Act(
    "What a node must be",
    "Every operator is asked: In, NotIn, Exists, DoesNotExist, Gt and Lt. Expressions of one term "
    "must all hold; of several terms one is enough. A pod that no node satisfies waits.",
)
IGNORED = Act(
    "Ignored during execution",
    "A label changes after pods were placed by it. They stay: the rule was asked when they were "
    "placed. A newcomer with the same rule meets the changed label.",
)
PREFERRED = Act(
    "What a node should rather be",
    "A preference adds to a node's score and never excludes one. Opposite preferences, on nodes "
    "that are equal otherwise, end up on opposite nodes; a wish that no node fulfils harms nobody.",
)
APART = Act(
    "Not where one of us is already",
    "Pods that all prefer the same node, and must not share one: there is a node for each of them, "
    "and the one too many waits until one of them goes.",
)
SPREAD = Act(
    "As many here as there",
    "maxSkew 1 bounds by how many pods the fullest and the emptiest node may differ, even against "
    "a preference. Without the constraint the preference alone has them all on one node.",
)


class Labelled:
    """Two nodes with labels of this run's own, and pods that ask for them.

    One has disk=ssd and rank=10, the other disk=hdd, rank=20 and gpu=yes.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.able = able_nodes(scene.api)
        self.first, self.second = self.able[0], self.able[-1]
        self.placements = Placements(scene)
        outside = scene.outside
        self.disk, self.rank, self.gpu = (outside.key(word) for word in ("disk", "rank", "gpu"))
        self.debt = outside.label(self.first, self.disk, "ssd")
        outside.label(self.first, self.rank, "10")
        outside.label(self.second, self.disk, "hdd")
        outside.label(self.second, self.rank, "20")
        outside.label(self.second, self.gpu, "yes")
        let_it_be_seen(scene)

    def must(self, *terms: Sequence[Json]) -> Json:
        """An affinity to nodes for which all expressions of at least one term hold."""
        wanted = [{"matchExpressions": list(term)} for term in terms]
        return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": wanted}}

    def would(self, *expressions: Json) -> Json:
        """A preference, as strong as one can be."""
        preference = {"weight": 100, "preference": {"matchExpressions": list(expressions)}}
        return {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}

    def to_first(self) -> Json:
        """A preference for the first node."""
        return {"nodeAffinity": self.would(_asks(self.disk, "In", "ssd"))}

    def where(self, names: Iterable[str]) -> Counter[str]:
        """How many of these pods are on each node, "" for nowhere."""
        return Counter(self.placements.node(name) for name in names)


def _asks(key: str, operator: str, *values: str) -> Json:
    return {"key": key, "operator": operator} | ({"values": list(values)} if values else {})


def play(scene: Scene) -> None:
    """Play all acts."""
    nodes = Labelled(scene)
    _required(scene, nodes)
    _ignored(scene, nodes)
    _preferred(scene, nodes)
    _apart(scene, nodes)
    _spread(scene, nodes)


def _required(scene: Scene, nodes: Labelled) -> None:
    scene.stage(REQUIRED)
    disk, rank, gpu = nodes.disk, nodes.rank, nodes.gpu
    first, second, able = {nodes.first}, {nodes.second}, set(nodes.able)
    rules = {
        "in": (_asks(disk, "In", "ssd", "nvme"), first),
        "not-in": (_asks(disk, "NotIn", "ssd"), able - first),
        "exists": (_asks(gpu, "Exists"), second),
        "does-not-exist": (_asks(gpu, "DoesNotExist"), able - second),
        "gt": (_asks(rank, "Gt", "15"), second),
        "lt": (_asks(rank, "Lt", "15"), first),
    }
    careless = scene.sabotage == "careless"
    for word, (rule, _) in rules.items():
        for number in range(EACH):
            affinity = {} if careless else {"nodeAffinity": nodes.must([rule])}
            nodes.placements.create(f"{word}-{number}", affinity=affinity)
    scene.judge(
        "operators",
        "Each operator lets a pod on exactly the nodes it names",
        "; ".join(f"{word}: {', '.join(sorted(there))}" for word, (_, there) in rules.items()),
        all_of(
            nodes.placements.bound(f"{word}-{number}", there)
            for word, (_, there) in rules.items()
            for number in range(EACH)
        ),
    )
    one, other = _asks(disk, "In", "ssd"), _asks(gpu, "Exists")
    together, apart = nodes.must([one, other]), nodes.must([one], [other])
    if scene.sabotage == "muddled":
        together, apart = apart, together
    nodes.placements.create("both", affinity={"nodeAffinity": together})
    nodes.placements.create("either", affinity={"nodeAffinity": apart})
    scene.judge(
        "terms-are-ored",
        "Of several terms one is enough",
        f"either on {nodes.first} or {nodes.second}",
        nodes.placements.bound("either", first | second),
    )
    scene.judge(
        "expressions-are-anded",
        "The expressions of one term must all hold, and no node has both",
        f"unbound, {SELECTOR_WORDS}",
        nodes.placements.waits("both", (SELECTOR_WORDS,)),
    )


def _ignored(scene: Scene, nodes: Labelled) -> None:
    scene.stage(IGNORED)
    placed = {name: views.uid(nodes.placements.current(name)) for name in ("in-0", "in-1")}
    if scene.sabotage != "unchanged":
        scene.outside.undo(nodes.debt)
        nodes.debt = scene.outside.label(nodes.first, nodes.disk, "hdd")
    scene.tell(f"Node/{nodes.first}", f"is labelled {nodes.disk}=hdd")
    let_it_be_seen(scene)
    rule = nodes.must([_asks(nodes.disk, "In", "ssd", "nvme")])
    nodes.placements.create("newcomer", affinity={"nodeAffinity": rule})
    scene.judge(
        "newcomer-waits",
        "A newcomer with the same rule waits: the label really has changed",
        f"unbound, {SELECTOR_WORDS}",
        nodes.placements.waits("newcomer", (SELECTOR_WORDS,)),
    )
    if scene.sabotage == "evicting":
        scene.api.delete(POD, "in-0", scene.namespace)

    def moved() -> str | None:
        gone = [
            name
            for name, uid in placed.items()
            if not (now := nodes.placements.current(name))
            or views.uid(now) != uid
            or views.terminating(now)
        ]
        return f"{', '.join(gone)} had to go" if gone else None

    scene.judge(
        "placed-ones-stay",
        "Pods that were placed by the rule stay",
        f"{', '.join(placed)} the same by UID for {STILL:g} s",
        Consistently(STILL).judge(nodes.placements.pods, moved, "an eviction"),
    )
    scene.outside.undo(nodes.debt)
    nodes.debt = scene.outside.label(nodes.first, nodes.disk, "ssd")
    let_it_be_seen(scene)


def _preferred(scene: Scene, nodes: Labelled) -> None:
    scene.stage(PREFERRED)
    wishes = {"ssd": nodes.first, "hdd": nodes.second}
    for disk in wishes:
        wanted = "ssd" if scene.sabotage == "one-taste" else disk
        for number in range(EACH):
            affinity = {"nodeAffinity": nodes.would(_asks(nodes.disk, "In", wanted))}
            nodes.placements.create(f"rather-{disk}-{number}", affinity=affinity)
    scene.judge(
        "preference-decides",
        "Opposite preferences end up on opposite nodes",
        "; ".join(f"{disk} on {node}" for disk, node in wishes.items()),
        all_of(
            nodes.placements.bound(f"rather-{disk}-{number}", {node})
            for disk, node in wishes.items()
            for number in range(EACH)
        ),
    )
    tape = _asks(nodes.disk, "In", "tape")
    hard = scene.sabotage == "hard-wish"
    wish = nodes.must([tape]) if hard else nodes.would(tape)
    nodes.placements.create("dreamer", affinity={"nodeAffinity": wish})
    scene.judge(
        "wish-is-no-must",
        "A preference that no node fulfils keeps nobody from being placed",
        "dreamer bound to a node",
        nodes.placements.bound("dreamer", nodes.able),
    )


def _apart(scene: Scene, nodes: Labelled) -> None:
    scene.stage(APART)
    labels = {"app": "single"}
    rule = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": labels}}
    affinity = nodes.to_first()
    if scene.sabotage != "sociable":
        affinity["podAntiAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [rule]}
    names = [f"single-{number}" for number in range(len(nodes.able))]
    for name in names:
        nodes.placements.create(name, labels, affinity=affinity)
        nodes.placements.bound(name, nodes.able)
    made = nodes.placements.create("one-too-many", labels, affinity=affinity)
    there = nodes.where(names)
    scene.judge(
        "one-a-node",
        "Each has a node of its own, although all would rather have the same",
        f"one on each of {len(nodes.able)} nodes",
        Verdict(
            held=there == Counter(nodes.able), observed=_counted(there), source=scene.namespace
        ),
    )
    scene.judge(
        "one-more-waits",
        "One more than there are nodes waits, for that very reason",
        f"unbound, {ANTI_WORDS}",
        nodes.placements.waits("one-too-many", (ANTI_WORDS,)),
    )
    leaver = names[-1]
    place = nodes.placements.node(leaver)
    if scene.sabotage != "stuck":
        scene.api.delete(POD, leaver, scene.namespace)
    scene.judge(
        "takes-the-place",
        "When one of them goes, the waiting pod takes its place",
        f"one-too-many, the same by UID, on {place}",
        nodes.placements.bound("one-too-many", {place}, views.uid(made)),
    )


def _spread(scene: Scene, nodes: Labelled) -> None:
    scene.stage(SPREAD)
    affinity = nodes.to_first()
    free = {} if scene.sabotage == "no-wish" else affinity
    count = 2 * len(nodes.able)
    crowd, even = ([f"{word}-{number}" for number in range(count)] for word in ("crowd", "even"))
    rule = {
        "maxSkew": 1,
        "topologyKey": HOSTNAME,
        "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor",  # the control plane is no place for them, so it is not counted
        "labelSelector": {"matchLabels": {"app": "even"}},
    }
    rules = [] if scene.sabotage == "unspread" else [rule]
    for name in even:
        nodes.placements.create(
            name, {"app": "even"}, affinity=affinity, topologySpreadConstraints=rules
        )
    for name in crowd:
        nodes.placements.create(name, {"app": "crowd"}, affinity=free)
    for name in even + crowd:
        nodes.placements.bound(name, nodes.able)
    there = nodes.where(even)
    scene.judge(
        "evenly",
        "With maxSkew 1 they are spread evenly, against their preference",
        f"2 on each of {len(nodes.able)} nodes",
        Verdict(
            held=set(there.values()) == {2} and set(there) == set(nodes.able),
            observed=_counted(there),
            source=scene.namespace,
        ),
    )
    together = nodes.where(crowd)
    scene.judge(
        "else-together",
        "The same pods without the constraint are all where they prefer to be",
        f"{count} on {nodes.first}",
        Verdict(
            held=together == Counter({nodes.first: count}),
            observed=_counted(together),
            source=scene.namespace,
        ),
    )


def _counted(there: Counter[str]) -> str:
    return ", ".join(f"{count} on {node or 'no node'}" for node, count in sorted(there.items()))


DEMO = Demo(
    name="node-affinity",
    title="Rules and wishes on where a pod goes",
    idea=(
        "Affinity says more than nodeSelector: sets, absence and order of label values, one of "
        "several terms, and wishes beside rules. Pod anti-affinity and topology spread look at "
        "the pods that are there already. All of it is asked when a pod is placed, and not again."
    ),
    acts=(REQUIRED, IGNORED, PREFERRED, APART, SPREAD),
    needs=(Need("two nodes that take pods", fewer_than_two),),
    sabotages={
        "careless": Sabotage("the operators' pods carry no affinity", ("operators",)),
        "muddled": Sabotage(
            "terms and expressions are exchanged", ("terms-are-ored", "expressions-are-anded")
        ),
        "unchanged": Sabotage("the label does not change", ("newcomer-waits",)),
        "evicting": Sabotage("a placed pod is deleted", ("placed-ones-stay",)),
        "one-taste": Sabotage("all prefer the same node", ("preference-decides",)),
        "hard-wish": Sabotage("the wish is made a rule", ("wish-is-no-must",)),
        "sociable": Sabotage("nobody minds the others", ("one-a-node", "one-more-waits")),
        "stuck": Sabotage("none of them goes", ("takes-the-place",)),
        "unspread": Sabotage("the constraint is left out", ("evenly",)),
        "no-wish": Sabotage("the control arm prefers no node", ("else-together",)),
    },
    play=play,
    page="concepts/scheduling-eviction/assign-pod-node/#affinity-and-anti-affinity",
    breaks=True,
)
