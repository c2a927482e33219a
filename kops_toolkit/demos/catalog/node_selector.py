"""nodeSelector: labels that a node must have, asked once, when the pod is placed."""

from __future__ import annotations

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
from kops_toolkit.errors import ApiError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import NODE, POD
from kops_toolkit.kube.temporal import Consistently, Verdict
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

STILL = 2.0  # seconds in which a pod must not move; the scheduler decides within milliseconds

NOBODY = Act(
    "A label that no node has",
    "The pod asks for a node with that label. It stays Pending, and its condition PodScheduled "
    "says for how many nodes this was the reason. A twin that asks for nothing is placed.",
)
APPEARS = Act(
    "A node gets the label",
    "The scheduler looks again by itself: the very same pod is now bound, to that node and no "
    "other. A pod that asks for a second label as well still waits, for all of them must be there.",
)
GOES = Act(
    "The label goes again",
    "A selector is asked only when a pod is placed. Those that run stay; a new one waits. The "
    "selector of a placed pod cannot be changed either.",
)


def play(scene: Scene) -> None:
    """Play all acts."""
    key, more = scene.outside.key("disk"), scene.outside.key("gpu")
    nodes = able_nodes(scene.api)
    target = nodes[-1]
    selector = {} if scene.sabotage == "no-selector" else {key: "ssd"}
    placements = Placements(scene)
    waiting = _nobody(scene, placements, selector)
    debt = _appears(scene, placements, (key, more, target, nodes[0]), selector, waiting)
    _goes(scene, placements, debt, selector)


def _nobody(scene: Scene, placements: Placements, selector: Json) -> Json:
    scene.stage(NOBODY)
    count = len(scene.api.list(NODE).items)
    waiting = placements.create("early", nodeSelector=selector)
    choosy = {"nodeSelector": {"kubernetes.io/os": "none"}} if scene.sabotage == "choosy" else {}
    placements.create("twin", **choosy)
    # The twin comes later in the queue: once it is bound, the other has had its chance.
    scene.judge(
        "twin-is-placed",
        "A pod that asks for no label is placed",
        "twin bound to a node",
        placements.bound("twin", able_nodes(scene.api)),
    )
    scene.judge(
        "no-match-waits",
        "A pod whose label no node has waits, for that very reason",
        f"unbound, 0/{count} nodes, {SELECTOR_WORDS}",
        placements.waits("early", (f"0/{count} nodes are available", SELECTOR_WORDS)),
    )
    return waiting


def _appears(
    scene: Scene,
    placements: Placements,
    names: tuple[str, str, str, str],
    selector: Json,
    waiting: Json,
) -> int:
    key, more, target, other = names
    scene.stage(APPEARS)
    debt = scene.outside.label(other if scene.sabotage == "elsewhere" else target, key, "ssd")
    scene.tell(f"Node/{target}", f"is labelled {key}=ssd")
    scene.judge(
        "label-frees-it",
        "The label alone lets the same waiting pod be placed, on that node",
        f"early, the same by UID, on {target}",
        placements.bound("early", {target}, views.uid(waiting)),
    )
    both = selector if scene.sabotage == "any-label" else {**selector, more: "yes"}
    placements.create("both", nodeSelector=both)
    late = [f"late-{number}" for number in range(4)]
    for name in late:
        placements.create(name, nodeSelector=selector)
    scene.judge(
        "only-there",
        "Every pod with that selector is bound to that node",
        f"{len(late)} more on {target}",
        all_of(placements.bound(name, {target}) for name in late),
    )
    scene.judge(
        "all-labels-needed",
        "A pod that asks for two labels is not placed on a node that has one",
        f"unbound, {SELECTOR_WORDS}",
        placements.waits("both", (SELECTOR_WORDS,)),
    )
    return debt


def _goes(scene: Scene, placements: Placements, debt: int, selector: Json) -> None:
    scene.stage(GOES)
    before = {name: views.uid(pod) for name, pod in placements.pods.current().items()}
    scene.outside.undo(debt)
    scene.tell("Node", "has lost the label")
    let_it_be_seen(scene)
    placements.create("newcomer", nodeSelector=selector)
    scene.judge(
        "newcomer-waits",
        "A new pod with the same selector waits: the label really is gone",
        f"unbound, {SELECTOR_WORDS}",
        placements.waits("newcomer", (SELECTOR_WORDS,)),
    )
    if scene.sabotage == "evicting":
        scene.api.delete(POD, "early", scene.namespace)

    def moved() -> str | None:
        now = placements.pods.current()
        gone = [
            name
            for name, uid in before.items()
            if name not in now or views.uid(now[name]) != uid or views.terminating(now[name])
        ]
        return f"{', '.join(gone)} had to go" if gone else None

    scene.judge(
        "placed-ones-stay",
        "Pods that were placed stay where they are",
        f"all {len(before)} the same by UID for {STILL:g} s",
        Consistently(STILL).judge(placements.pods, moved, "an eviction"),
    )
    scene.judge(
        "selector-is-fixed",
        "The selector of a placed pod cannot be changed",
        "422 Invalid",
        _refused(scene, placements, selector),
    )


def _refused(scene: Scene, placements: Placements, selector: Json) -> Verdict:
    changed = dict(selector) if scene.sabotage == "no-change" else {**selector, "more": "yes"}
    found = source(placements.current("early"))
    try:
        scene.api.patch(POD, "early", scene.namespace, {"spec": {"nodeSelector": changed}})
    except ApiError as error:
        words = f"{error.status} {error.message}"
        return Verdict(held=error.status == 422, observed=words[:160], source=found)
    return Verdict(held=False, observed="the change was accepted", source=found)


DEMO = Demo(
    name="node-selector",
    title="Place pods only on nodes that carry a label",
    idea=(
        "nodeSelector is a set of labels that a node must carry, all of them, for the scheduler to "
        "consider it. It is a filter, so a pod that no node fits waits and says why; and it is "
        "asked only when the pod is placed, so nothing moves when labels change later."
    ),
    acts=(NOBODY, APPEARS, GOES),
    needs=(Need("two nodes that take pods", fewer_than_two),),
    sabotages={
        "no-selector": Sabotage("the pods carry no selector", ("no-match-waits", "newcomer-waits")),
        "elsewhere": Sabotage("another node gets the label", ("label-frees-it", "only-there")),
        "any-label": Sabotage("one label of two is asked for", ("all-labels-needed",)),
        "evicting": Sabotage("a placed pod is deleted as the label goes", ("placed-ones-stay",)),
        "no-change": Sabotage("the selector is set to what it is", ("selector-is-fixed",)),
        "choosy": Sabotage("the twin asks for a system that no node runs", ("twin-is-placed",)),
    },
    play=play,
    page="concepts/scheduling-eviction/assign-pod-node/#nodeselector",
    breaks=True,
    smoke=True,
)
