"""A node dies: noticed after a grace period, tainted, its pods replaced; and then it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import Pods, container, service, workload
from kops_toolkit.demos.scheduling import LOST, fewer_than_two_workers, workers
from kops_toolkit.kube import views
from kops_toolkit.kube.api import ENDPOINT_SLICE, NODE, POD
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.watch import Seen

REPLICAS = 2
TOLERATED = 3  # seconds that the pods tolerate an unreachable node; 300 by default
SLACK = 10.0  # seconds that an eviction may come late on a busy machine
WITHDRAWN_WITHIN = 10.0  # seconds from NotReady until the endpoints must be out
REPLACED_WITHIN = 30.0  # seconds until another pod must be ready
RETURNS_WITHIN = 60.0  # seconds until a thawed node must be ready and its pods settled
UNREACHABLE = "node.kubernetes.io/unreachable"

DIES = Act(
    "A node stops answering",
    "Everything on it stands still, as if the machine hung. Nobody is told: the Lease is renewed "
    "no more, and only after the grace period does the node controller call the node unknown and "
    "taint it. Until then its pods still count as ready.",
)
REPLACED = Act(
    "Its pods are replaced",
    "Their addresses leave the EndpointSlice. The taint evicts them after as many seconds as they "
    "tolerate, and their controller makes others elsewhere. The old ones stay Terminating: nobody "
    "can confirm their end. A DaemonSet's pod tolerates all this and is not moved.",
)
RETURNS = Act(
    "The node returns",
    "The kubelet runs again: the node is ready, the taints go, the old pods really end. Nothing is "
    "moved back. The DaemonSet's pod is the same as before.",
)


class Site:
    """The node that dies, and what runs on it.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.pods = Pods(scene)
        self.nodes = scene.watches.of(NODE).ready()
        self.slices = scene.watches.of(ENDPOINT_SLICE, scene.namespace).ready()
        self.victim = workers(scene.api)[0]

    def create(self) -> None:
        """Create a Deployment of one pod a node, a DaemonSet, and a Service in front of both."""
        soon = [
            {
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": TOLERATED,
            }
            for key in (UNREACHABLE, "node.kubernetes.io/not-ready")
        ]
        apart = {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }
        self._workload(
            "Deployment",
            "web",
            replicas=REPLICAS,
            tolerations=soon,
            topologySpreadConstraints=[apart],
        )
        self._workload("DaemonSet", "agent")
        self.scene.api.create(service("web", {"app": "web"}), self.scene.namespace)
        self.pods.watch.wait(
            lambda: True if self.victim in self.where() and self.agent() else None,
            timeout=60,
            what=f"pods on {self.victim}",
        )

    def _workload(self, kind: str, app: str, **spec: object) -> None:
        # With a grace period of none a pod would be gone from the API without its node's word.
        spec["terminationGracePeriodSeconds"] = 1
        body = workload(kind, app, [container(self.scene.image)], **spec)
        self.scene.api.create(body, self.scene.namespace)

    def of(self, app: str) -> list[Json]:
        """Its pods, those on their way out as well."""
        found = self.pods.watch.current().values()
        return [pod for pod in found if pod["metadata"]["labels"].get("app") == app]

    def where(self) -> list[str]:
        """Nodes of the Deployment's pods that are ready and stay; [] until there are enough."""
        ready = [
            pod["spec"]["nodeName"]
            for pod in self.of("web")
            if views.ready(pod) and not views.terminating(pod)
        ]
        return sorted(ready) if len(ready) == REPLICAS else []

    def agent(self) -> Json | None:
        """The DaemonSet's pod on the node that dies."""
        mine = (pod for pod in self.of("agent") if pod["spec"].get("nodeName") == self.victim)
        return next((pod for pod in mine if views.ready(pod)), None)

    def node(self) -> Json:
        """The node that dies, as the API tells it."""
        return self.nodes.current()[self.victim]

    def taints(self) -> set[str]:
        """The effects of its unreachable taints."""
        taints = self.node()["spec"].get("taints") or ()
        return {taint["effect"] for taint in taints if taint["key"] == UNREACHABLE}

    def serves(self, name: str) -> bool:
        """Whether the EndpointSlice sends requests to a pod."""
        return any(
            endpoint["targetRef"]["name"] == name and endpoint["conditions"].get("ready")
            for found in self.slices.current().values()
            for endpoint in found.get("endpoints") or ()
        )

    def first_evicted(self, name: str) -> Seen | None:
        """The event in which a pod was told to end."""
        history = self.pods.history(name)
        return next((seen for seen in history if views.terminating(seen.object)), None)


def play(scene: Scene) -> None:
    """Play all acts."""
    site = Site(scene)
    site.create()
    old = next(pod for pod in site.of("web") if pod["spec"]["nodeName"] == site.victim)
    agent = site.agent() or {}
    debt = _dies(scene, site, old)
    _replaced(scene, site, old, agent)
    _returns(scene, site, old, agent, debt)


def _dies(scene: Scene, site: Site, old: Json) -> int:
    scene.stage(DIES)
    name = old["metadata"]["name"]
    debt, began = 0, site.pods.now()
    if scene.sabotage != "lives":
        debt = scene.faults.freeze_node(site.victim)
    scene.tell(f"Node/{site.victim}", "stands still")
    bounds = LOST

    def lost() -> bool | None:
        return None if views.ready(site.node()) else True

    early = site.pods.until(lost, bounds.earliest)
    scene.judge(
        "nobody-knows-at-first",
        "Before the grace period is over the node still counts as ready, and its pod as serving",
        f"Ready, and {name} in the EndpointSlice, {bounds.earliest:g} s after",
        Verdict(
            held=early is None and site.serves(name) and debt > 0,
            observed=f"{'Ready' if views.ready(site.node()) else 'not ready'}, {name} "
            f"{'in' if site.serves(name) else 'not in'} the EndpointSlice"
            f"{'' if debt else '; nothing stands still'}",
            source=source(site.node()),
        ),
    )
    found = site.pods.until(lost, bounds.latest - bounds.earliest)
    seconds = site.pods.now() - began if found else None
    told = views.condition(site.node(), "Ready") or {}
    verdict = bounds.judge(seconds, source(site.node()))
    scene.facts["not_ready_seconds"] = seconds
    scene.judge(
        "unknown-after-grace",
        "The node controller then calls it unknown: its kubelet has stopped telling",
        f"Unknown, NodeStatusUnknown, {bounds}",
        Verdict(
            held=verdict.held and told.get("reason") == "NodeStatusUnknown",
            observed=f"{told.get('status')}, {told.get('reason')}, {verdict.observed}",
            source=verdict.source,
        ),
    )
    effects = {"NoSchedule", "NoExecute"}
    if found:
        site.pods.until(lambda: True if site.taints() == effects else None, WITHDRAWN_WITHIN)
    scene.judge(
        "tainted-unreachable",
        "It is tainted: no new pods, and those that do not tolerate it must go",
        f"{UNREACHABLE} with {' and '.join(sorted(effects))}",
        Verdict(
            held=site.taints() == effects,
            observed=", ".join(sorted(site.taints())) or "no such taint",
            source=source(site.node()),
        ),
    )
    return debt


def _replaced(scene: Scene, site: Site, old: Json, agent: Json) -> None:
    scene.stage(REPLACED)
    name, began = old["metadata"]["name"], site.pods.now()
    alive = views.ready(site.node())
    patience = 1.0 if alive else WITHDRAWN_WITHIN
    site.pods.until(lambda: None if site.serves(name) else True, patience)
    took = site.pods.now() - began
    scene.judge(
        "endpoints-withdrawn",
        "The address of its pod leaves the EndpointSlice",
        f"{name} not in the EndpointSlice within {WITHDRAWN_WITHIN:g} s",
        Verdict(
            held=not site.serves(name),
            observed=f"{'in' if site.serves(name) else 'out'} after {took:.1f} s",
            source="EndpointSlice/web",
        ),
    )
    patience = 1.0 if alive else TOLERATED + SLACK
    seen = site.pods.until(lambda: site.first_evicted(name), patience)
    bounds = Within(TOLERATED - 1.0, TOLERATED + SLACK)
    scene.judge(
        "evicted-when-tolerated-no-more",
        "Its pod is told to end after the seconds that it tolerates the taint",
        f"{bounds} of the taint",
        bounds.judge(_since_taint(site, seen), seen.source if seen else f"Pod/{name}"),
    )
    patience = 1.0 if alive else REPLACED_WITHIN

    def replaced() -> bool | None:
        return True if site.where() and site.victim not in site.where() else None

    site.pods.until(replaced, patience)
    scene.judge(
        "replaced-elsewhere",
        "The Deployment has another pod ready on a node that lives",
        f"{REPLICAS} ready pods, none on {site.victim}",
        Verdict(
            held=replaced() is True,
            observed=f"ready on {', '.join(site.where()) or 'too few nodes'}",
            source=f"Pods in {scene.namespace}",
        ),
    )
    if scene.sabotage == "forced":
        scene.api.delete(POD, name, scene.namespace, grace=0)
        site.pods.gone(name, WITHDRAWN_WITHIN)
    lingers = site.pods.current(name)
    scene.judge(
        "old-one-lingers",
        "The old pod stays, Terminating: nobody can confirm that it has ended",
        f"{name}, the same by UID, Terminating",
        Verdict(
            held=bool(lingers)
            and views.uid(lingers) == views.uid(old)
            and views.terminating(lingers),
            observed=views.phase(lingers) if lingers else "it is gone",
            source=source(lingers or old),
        ),
    )
    if scene.sabotage == "agent-moved":
        scene.api.delete(POD, agent["metadata"]["name"], scene.namespace, grace=0)
        site.pods.gone(agent["metadata"]["name"], WITHDRAWN_WITHIN)
    now = site.pods.current(agent["metadata"]["name"])
    stays = bool(now) and views.uid(now) == views.uid(agent) and not views.terminating(now)
    scene.judge(
        "daemonset-not-moved",
        "The DaemonSet's pod is neither evicted nor replaced: it belongs to that node",
        "the same by UID, not told to end",
        Verdict(
            held=stays and not alive,
            observed=f"{'the same' if stays else 'not the same'}, "
            f"its node {'lives' if alive else 'is lost'}",
            source=source(now or agent),
        ),
    )


def _since_taint(site: Site, seen: Seen | None) -> float | None:
    """Seconds from the NoExecute taint to an event; None if either is missing."""
    for event in site.nodes.history():
        taints = event.object["spec"].get("taints") or ()
        keys = {(taint["key"], taint["effect"]) for taint in taints}
        if event.name == site.victim and (UNREACHABLE, "NoExecute") in keys:
            return seen.at - event.at if seen else None
    return None


def _returns(scene: Scene, site: Site, old: Json, agent: Json, debt: int) -> None:
    scene.stage(RETURNS)
    name, was_lost = old["metadata"]["name"], not views.ready(site.node())
    away = scene.sabotage == "stays-away"
    if not away:
        scene.faults.undo(debt)
    scene.tell(f"Node/{site.victim}", "goes on")
    patience = 5.0 if away or not was_lost else RETURNS_WITHIN

    def well() -> bool | None:
        return True if views.ready(site.node()) and not site.taints() else None

    site.pods.until(well, patience)
    scene.judge(
        "node-is-back",
        "The node is ready again, and the taints are gone",
        f"Ready and untainted within {RETURNS_WITHIN:g} s, after it was lost",
        Verdict(
            held=was_lost and well() is True,
            observed=f"{'Ready' if views.ready(site.node()) else 'not ready'}, "
            f"{len(site.taints())} taints; it was {'lost' if was_lost else 'never lost'}",
            source=source(site.node()),
        ),
    )
    gone = site.pods.gone(name, patience)
    kept = {views.uid(pod) for pod in site.of("web") if not views.terminating(pod)}
    scene.judge(
        "old-one-ends",
        "The old pod really ends now, and the Deployment has as many as it wants",
        f"{name} gone, {REPLICAS} pods",
        Verdict(
            held=gone is not None and len(kept) == REPLICAS,
            observed=f"{name} {'gone' if gone else 'still there'}, {len(kept)} pods",
            source=gone.source if gone else source(old),
        ),
    )
    site.pods.until(lambda: True if site.agent() else None, patience)
    now = site.agent()
    same = bool(now) and views.uid(now or {}) == views.uid(agent)
    scene.judge(
        "daemonset-pod-is-the-same",
        "The DaemonSet's pod is ready again, and it is the same one",
        "Ready, the same by UID, after it was lost",
        Verdict(
            held=same and was_lost,
            observed=f"{'the same' if same else 'not the same'}, "
            f"{views.phase(now) if now else 'not ready'}",
            source=source(now or agent),
        ),
    )


DEMO = Demo(
    name="node-failure",
    title="A node dies, and returns",
    idea=(
        "A node that dies tells nobody. Its Lease is not renewed, and after a grace period the "
        "node controller calls it unknown and taints it; its pods are then evicted as the taint "
        "says, and replaced elsewhere. Until then traffic goes astray: only the seconds set for "
        "grace and toleration decide for how long."
    ),
    acts=(DIES, REPLACED, RETURNS),
    needs=(Need("two workers that take pods, which kt can stop", fewer_than_two_workers),),
    sabotages={
        "lives": Sabotage(
            "the node lives on",
            (
                *("nobody-knows-at-first", "unknown-after-grace", "tainted-unreachable"),
                *("endpoints-withdrawn", "evicted-when-tolerated-no-more", "replaced-elsewhere"),
            ),
        ),
        "forced": Sabotage("the old pod is deleted by force", ("old-one-lingers",)),
        "agent-moved": Sabotage(
            "the DaemonSet's pod is deleted by force",
            ("daemonset-not-moved", "daemonset-pod-is-the-same"),
        ),
        "stays-away": Sabotage("the node stays away", ("node-is-back", "old-one-ends")),
    },
    play=play,
    page="concepts/architecture/nodes/#heartbeats",
    breaks=True,
    alone=True,
    reaches_nodes=True,
)
