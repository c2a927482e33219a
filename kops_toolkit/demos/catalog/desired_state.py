"""Desired and actual state: drift of every sort, repaired by a loop that knows no history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import container, workload
from kops_toolkit.demos.scheduling import no_able_node
from kops_toolkit.errors import ConflictError, TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import DEPLOYMENT, POD, REPLICA_SET
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source
from kops_toolkit.outcome import Picture, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.watch import Seen

REPLICAS = 3
REPAIRED_WITHIN = 10.0  # seconds until the controller must have acted, on a busy machine
MANAGER = "kt-desired-state"  # the field manager that applies the Deployment

LOST = Act(
    "A pod is deleted",
    "The ReplicaSet wants three and sees two, so it makes one: a new pod with a new name and a new "
    "UID. It repairs the number, not the pod.",
)
ORPHAN = Act(
    "A pod loses its label, and gets it back",
    "A pod that the selector no longer selects is released: it runs on without an owner, and "
    "another is made in its place. With its label back it is adopted again by the same "
    "ReplicaSet, now one too many, so one has to go.",
)
BY_HAND = Act(
    "Somebody scales by hand",
    "The ReplicaSet's own count is changed behind the Deployment's back. The Deployment, one loop "
    "above, puts it back. A change of the Deployment itself is obeyed: that is the desired state.",
)
FIELDS = Act(
    "Two who want different things",
    "Server-side apply records who owns which field. Whoever applies another value for a field "
    "that someone else owns is refused with a conflict that names the owner.",
)


class Web:
    """The Deployment under test, and what its pods have been through.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        namespace = scene.namespace
        self.pods = scene.watches.of(POD, namespace).ready()
        self.replica_sets = scene.watches.of(REPLICA_SET, namespace).ready()
        self.deployments = scene.watches.of(DEPLOYMENT, namespace).ready()
        scene.picture = self.picture

    def apply(self, replicas: int = REPLICAS, manager: str = MANAGER) -> Json:
        """Apply the Deployment, as its owner."""
        body = workload("Deployment", "web", [container(self.scene.image)], replicas=replicas)
        return self.scene.api.apply(body, self.scene.namespace, manager=manager)

    def owned(self) -> dict[str, Json]:
        """Pods that the ReplicaSet owns and that stay, by name."""
        owners = {views.uid(found) for found in self.replica_sets.current().values()}
        return {
            name: pod
            for name, pod in self.pods.current().items()
            if views.owner_uid(pod) in owners and not views.terminating(pod)
        }

    def replica_set(self) -> Json:
        """The only ReplicaSet."""
        return next(iter(self.replica_sets.current().values()))

    def settled(self, count: int = REPLICAS) -> Json | None:
        """The Deployment, once as many pods are ready as are wanted and its loop has looked."""
        found = self.deployments.current().get("web", {})
        status = found.get("status", {})
        looked = status.get("observedGeneration", 0) >= found.get("metadata", {}).get(
            "generation", 1
        )
        ready = status.get("readyReplicas", 0) == status.get("replicas", 0) == count
        return found if looked and ready and len(self.owned()) == count else None

    def settle(self, count: int = REPLICAS) -> Json:
        """Wait for `settled`."""
        return self.deployments.wait(
            lambda: self.settled(count), timeout=60, what=f"{count} ready pods"
        )

    def when(self, condition: Callable[[], bool]) -> float | None:
        """Seconds from now until something is so, None if it does not come."""
        began = self.scene.clock.monotonic()
        try:
            self.pods.wait(
                lambda: True if condition() else None, timeout=REPAIRED_WITHIN + 1, what="it"
            )
        except TimedOutError:
            return None
        return self.scene.clock.monotonic() - began

    def picture(self) -> Picture:
        """Deployment, ReplicaSet, and pods with and without an owner."""
        rows = []
        for found in self.deployments.current().values():
            wanted = found["spec"]["replicas"]
            rows.append(Row(0, "Deployment/web", "Active", None, f"{wanted} wanted"))
        for found in self.replica_sets.current().values():
            name, wanted = found["metadata"]["name"], found["spec"]["replicas"]
            rows.append(Row(1, f"ReplicaSet/{name}", "Active", None, f"{wanted} wanted"))
        for name, pod in self.pods.current().items():
            note = "" if views.owner_uid(pod) else "nobody's"
            rows.append(Row(2, f"Pod/{name}", views.phase(pod), views.ready(pod) or None, note))
        return Picture(tuple(rows))


def play(scene: Scene) -> None:
    """Play all acts."""
    web = Web(scene)
    web.apply()
    web.settle()
    _lost(scene, web)
    _orphan(scene, web)
    _by_hand(scene, web)
    _fields(scene, web)


def _repair(scene: Scene, name: str, title: str, expected: str, seconds: float | None) -> None:
    bounds = Within(0.0, REPAIRED_WITHIN)
    if seconds is not None:
        scene.facts[f"{name}_seconds"] = round(seconds, 3)
    scene.judge(name, title, expected, bounds.judge(seconds, f"ReplicaSet in {scene.namespace}"))


def _lost(scene: Scene, web: Web) -> None:
    scene.stage(LOST)
    before = set(web.owned())
    victim = min(before)
    if scene.sabotage == "orphaned":
        web.scene.api.delete(DEPLOYMENT, "web", scene.namespace)
        web.when(lambda: not web.owned())
    else:
        scene.api.delete(POD, victim, scene.namespace)
    seconds = web.when(lambda: len(web.owned()) == REPLICAS and victim not in web.owned())
    _repair(
        scene,
        "lost-is-replaced",
        "A deleted pod is replaced by the ReplicaSet",
        f"{REPLICAS} pods again, without {victim}, within {REPAIRED_WITHIN:g} s",
        seconds,
    )
    if scene.sabotage == "orphaned":
        web.apply()
    web.settle()
    new = set(web.owned()) - before
    others = before - {victim}
    left = set(web.owned()) & others
    words = f"{len(new)} new, {len(left)} of {len(others)} others the same"
    scene.judge(
        "only-that-one",
        "Only the missing one is made anew; the others are left alone",
        "1 new, the others the same",
        Verdict(
            held=len(new) == 1 and left == others, observed=words, source=source(web.replica_set())
        ),
    )


def _orphan(scene: Scene, web: Web) -> None:
    scene.stage(ORPHAN)
    uid_before = views.uid(web.replica_set())
    name = min(web.owned())
    uid = views.uid(web.pods.current()[name])
    label = "tier" if scene.sabotage == "other-label" else "app"
    _relabel(scene, name, label, "elsewhere")
    seconds = web.when(lambda: name not in web.owned() and len(web.owned()) == REPLICAS)
    _repair(
        scene,
        "released-and-replaced",
        "A pod that loses the label is released, and another is made",
        f"{name} without an owner, {REPLICAS} others, within {REPAIRED_WITHIN:g} s",
        seconds,
    )
    if scene.sabotage == "orphan-dies":
        scene.api.delete(POD, name, scene.namespace)
        web.when(lambda: name not in web.pods.current())
    web.settle()
    found = web.pods.current().get(name)
    if found is None:
        verdict = Verdict(held=False, observed=f"{name} is gone", source=f"Pod/{name}")
    else:
        same = views.uid(found) == uid and views.ready(found)
        words = f"{views.phase(found)}, owner {views.owner_uid(found) or 'none'}"
        verdict = Verdict(
            held=same and not views.owner_uid(found), observed=words, source=source(found)
        )
    scene.judge("orphan-runs-on", "The released pod runs on, nobody's", "Ready, no owner", verdict)
    if found is not None:
        _relabel(scene, name, label, "nowhere" if scene.sabotage == "no-return" else "web")

    web.when(lambda: _adoption(web, name, uid_before) is not None)
    seen = _adoption(web, name, uid_before)
    if seen is None:
        verdict = Verdict(held=False, observed="it was not adopted", source=f"Pod/{name}")
    else:
        words = f"owned by ReplicaSet/{web.replica_set()['metadata']['name']} again"
        verdict = Verdict(held=True, observed=words, source=seen.source, at=seen.wall)
    scene.judge(
        "adopted-again",
        "With its label back it is adopted by the same ReplicaSet",
        f"its owner is {uid_before}",
        verdict,
    )
    web.settle()


def _adoption(web: Web, name: str, owner: str) -> Seen | None:
    """The event, after the pod's release, in which it belongs to that owner again.

    Read from the history: the adopted pod may be the very one that is then one too many.
    """
    released = False
    for seen in web.pods.history():
        if seen.name == name:
            released = released or not views.owner_uid(seen.object)
            if released and views.owner_uid(seen.object) == owner:
                return seen
    return None


def _relabel(scene: Scene, name: str, label: str, value: str) -> None:
    body = {"metadata": {"labels": {label: value}}}
    scene.api.patch(POD, name, scene.namespace, body)
    scene.tell(f"Pod/{name}", f"is labelled {label}={value}")


def _by_hand(scene: Scene, web: Web) -> None:
    scene.stage(BY_HAND)
    name = web.replica_set()["metadata"]["name"]
    began = scene.clock.monotonic()
    if scene.sabotage == "agrees":
        web.apply(1)
    scene.api.patch(REPLICA_SET, name, scene.namespace, {"spec": {"replicas": 1}})
    scene.tell(f"ReplicaSet/{name}", "is scaled to 1 by hand")

    def drifted() -> bool:
        events = [seen for seen in web.replica_sets.history() if seen.at >= began]
        return any(seen.object["spec"]["replicas"] == 1 for seen in events)

    def back() -> bool:
        return drifted() and web.replica_set()["spec"]["replicas"] == REPLICAS

    _repair(
        scene,
        "deployment-puts-it-back",
        "The Deployment puts the ReplicaSet's count back",
        f"{REPLICAS} wanted again within {REPAIRED_WITHIN:g} s",
        web.when(back),
    )
    if scene.sabotage == "agrees":
        web.apply()
    web.settle()
    web.apply(REPLICAS + (0 if scene.sabotage == "no-change" else 1))
    seconds = web.when(lambda: len(web.owned()) == REPLICAS + 1)
    _repair(
        scene,
        "change-is-obeyed",
        "A change of the Deployment is the new desired state",
        f"{REPLICAS + 1} pods within {REPAIRED_WITHIN:g} s",
        seconds,
    )
    web.apply()
    web.settle()


def _fields(scene: Scene, web: Web) -> None:
    scene.stage(FIELDS)
    found = web.deployments.current()["web"]
    rival = MANAGER if scene.sabotage == "same-manager" else "a-rival"
    try:
        web.apply(REPLICAS + 1, manager=rival)
    except ConflictError as error:
        held = MANAGER in error.message and ".spec.replicas" in error.message
        verdict = Verdict(held=held, observed=error.message, source=source(found))
    else:
        verdict = Verdict(held=False, observed="it was accepted", source=source(found))
    scene.judge(
        "conflict-names-the-owner",
        "Applying another value for a field that someone else owns is refused",
        f"409, naming {MANAGER} and .spec.replicas",
        verdict,
    )
    now = scene.api.get(DEPLOYMENT, "web", scene.namespace)
    replicas = now["spec"]["replicas"]
    scene.judge(
        "refused-changes-nothing",
        "What was refused changed nothing",
        f"{REPLICAS} replicas",
        Verdict(held=replicas == REPLICAS, observed=f"{replicas} replicas", source=source(now)),
    )


DEMO = Demo(
    name="desired-state",
    title="Drift, and the loops that repair it",
    idea=(
        "Objects say what is wanted, not what to do. Controllers compare that with what is there "
        "and act on the difference, again and again, whoever caused it: a deleted pod, a label "
        "taken away, a count changed by hand. What they repair is the state, not the object that "
        "was lost."
    ),
    acts=(LOST, ORPHAN, BY_HAND, FIELDS),
    needs=(Need("one node that takes pods", no_able_node),),
    sabotages={
        "orphaned": Sabotage(
            "the Deployment goes instead of a pod", ("lost-is-replaced", "only-that-one")
        ),
        "other-label": Sabotage(
            "a label changes that the selector does not ask for",
            ("released-and-replaced", "orphan-runs-on", "adopted-again"),
        ),
        "orphan-dies": Sabotage("the released pod is deleted", ("orphan-runs-on", "adopted-again")),
        "no-return": Sabotage("the label does not come back", ("adopted-again",)),
        "agrees": Sabotage("the Deployment wants one as well", ("deployment-puts-it-back",)),
        "no-change": Sabotage("the count is applied as it was", ("change-is-obeyed",)),
        "same-manager": Sabotage(
            "the owner itself applies the other value",
            ("conflict-names-the-owner", "refused-changes-nothing"),
        ),
    },
    play=play,
    page="concepts/architecture/controller/",
    smoke=True,
)
