"""Controllers: a drift for each loop and its repair, who leads, and what happens without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.catalog.controllers.drifts import LOOPS, drift_all
from kops_toolkit.demos.catalog.controllers.loops import MANAGER, REPAIR, REPLICAS, Loops
from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.scheduling import no_able_node
from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import (
    DEPLOYMENT,
    POD,
    SERVICE_ACCOUNT,
)
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

STOPPED_FOR = 4.0  # seconds; well below the 15 of the lease, so that the leader stays
RENEWED_WITHIN = 10.0  # seconds; by default the leader renews every 2
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


def play(scene: Scene) -> None:
    """Play all acts."""
    loops = Loops(scene)
    loops.create()
    drift_all(scene, loops)
    _looked(scene, loops)
    _leader(scene, loops)
    _stopped(scene, loops)


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
