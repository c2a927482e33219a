"""Pods that are placed or have to wait, and the questions to how that came.

Whether a pod is placed is read from `spec.nodeName`, not from Running: that is the kubelet's doing.
Why it waits is read from its own condition PodScheduled, not from events, which are compacted and
may be dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kops_toolkit.demos.props import READY_WITHIN, container, pod_body
from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import NODE, POD
from kops_toolkit.kube.temporal import Eventually, Verdict, Within
from kops_toolkit.kube.watch import source
from kops_toolkit.outcome import Picture, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json, KubeApi
    from kops_toolkit.kube.watch import Watch

T = TypeVar("T")
SEEN_WITHIN = 1.0  # seconds; a watch event takes milliseconds on an idle machine
PLACED_WITHIN = 15.0  # seconds until the scheduler must have decided
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
# Seconds from a node's death until it must count as lost: the node controller's grace period, 50 by
# default, counted from the last heartbeat, which was up to 10 s ago, and looked at every 5.
LOST = Within(25.0, 75.0)
SELECTOR_WORDS = "didn't match Pod's node affinity/selector"  # how the scheduler says it


def able_nodes(api: KubeApi) -> list[str]:
    """Names of the nodes that take any pod: ready, not cordoned, no taint that keeps pods off."""
    return [node["metadata"]["name"] for node in api.list(NODE).items if takes_pods(node)]


def takes_pods(node: Json) -> bool:
    """Whether a node takes pods that tolerate nothing."""
    taints = node["spec"].get("taints") or ()
    kept_off = any(taint["effect"] != "PreferNoSchedule" for taint in taints)
    return views.ready(node) and not node["spec"].get("unschedulable") and not kept_off


def workers(api: KubeApi) -> list[str]:
    """Names of the nodes that take pods and run no control plane."""
    return [
        node["metadata"]["name"]
        for node in api.list(NODE).items
        if takes_pods(node) and CONTROL_PLANE not in node["metadata"]["labels"]
    ]


def fewer_than_two_workers(api: KubeApi) -> str | None:
    """The reason why no worker can be lost here, or None."""
    found = workers(api)
    return None if len(found) > 1 else f"{len(found)} workers take pods, so none can be lost"


def fewer_than_two(api: KubeApi) -> str | None:
    """The reason why nothing can be chosen here, or None."""
    able = able_nodes(api)
    return None if len(able) > 1 else f"{len(able)} of the nodes takes pods, so there is no choice"


def no_able_node(api: KubeApi) -> str | None:
    """The reason why no pod can be placed here, or None."""
    return None if able_nodes(api) else "no node takes pods"


def let_it_be_seen(scene: Scene) -> None:
    """Let the scheduler's own watch catch up with a node that has just lost or gained something.

    It sees nodes and pods by two streams and tells nobody how far it has read, so a pod made right
    after the change may still be judged by the node as it was.
    """
    scene.clock.sleep(SEEN_WITHIN)


class Placements:
    """The pods of a scene, and where they went.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.pods: Watch = scene.watches.of(POD, scene.namespace).ready()
        scene.picture = self.picture

    def create(self, name: str, labels: Mapping[str, str] | None = None, **spec: object) -> Json:
        """Create a pod with these fields in its spec."""
        scene = self._scene
        chosen = {"containers": [container(scene.image)], **spec}
        return scene.api.create(pod_body(name, labels, **chosen), scene.namespace)

    def current(self, name: str) -> Json:
        """A pod as last seen, {} if it is not there."""
        return self.pods.current().get(name, {})

    def node(self, name: str) -> str:
        """Where a pod is bound, "" if nowhere."""
        return str(self.current(name).get("spec", {}).get("nodeName", ""))

    def bound(self, name: str, among: Collection[str], uid: str = "") -> Verdict:
        """Wait until a pod is bound; it has to be to one of these nodes, and the same pod."""
        found = Eventually(PLACED_WITHIN).judge(
            self.pods, lambda: self.node(name) or None, f"the binding of {name}"
        )
        if not found.held:
            return Verdict(held=False, observed=f"{name} waits: {self.why(name)}", source=name)
        now = self.current(name)
        same = not uid or views.uid(now) == uid
        words = f"{name} on {found.observed}" + ("" if same else ", but it is another pod")
        return Verdict(held=same and found.observed in among, observed=words, source=source(now))

    def waits(self, name: str, words: Collection[str]) -> Verdict:
        """Wait until the scheduler says why it cannot place a pod; the words must be among it."""

        def decided() -> str | None:
            return self.node(name) or self.why(name) or None

        told = Eventually(PLACED_WITHIN).judge(self.pods, decided, f"a word on {name}")
        now = self.current(name)
        if not now:
            return told
        node = self.node(name)
        if node:
            words_told = f"{name} is bound to {node}"
            return Verdict(held=False, observed=words_told, source=source(now))
        held = told.held and all(word in told.observed for word in words)
        return Verdict(held=held, observed=told.observed, source=source(now))

    def await_or_none(self, condition: Callable[[], T | None], seconds: float) -> T | None:
        """What a condition gives within some seconds, or None if it gives nothing."""
        try:
            return self.pods.wait(condition, timeout=max(seconds, 0.0), what="it")
        except TimedOutError:
            return None

    def ready(self, name: str) -> Json:
        """Wait until a pod is ready.

        Raises:
            TimedOutError: it does not get ready.
        """

        def found() -> Json | None:
            now = self.current(name)
            return now if views.ready(now) else None

        return self.pods.wait(found, timeout=READY_WITHIN, what=f"the ready pod {name}")

    def why(self, name: str) -> str:
        """Why the scheduler leaves a pod unbound, in its own words, "" if it has not said."""
        told = views.condition(self.current(name), "PodScheduled") or {}
        return str(told.get("message", "")) if told.get("reason") == "Unschedulable" else ""

    def picture(self) -> Picture:
        """Each pod, where it is or why it waits."""
        return Picture(tuple(self._row(pod) for pod in self.pods.current().values()))

    def _row(self, found: Json) -> Row:
        name, node = found["metadata"]["name"], found["spec"].get("nodeName", "")
        well = True if node and not views.terminating(found) else None
        return Row(0, f"Pod/{name}", views.phase(found), well, node or self.why(name))


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Several verdicts as one: it holds if each does; those that do not are told first."""
    told = sorted(verdicts, key=lambda verdict: verdict.held)
    if not told:
        return Verdict(held=False, observed="nothing was observed", source="none")
    observed = "; ".join(verdict.observed for verdict in told)
    held = all(verdict.held for verdict in told)
    return Verdict(held=held, observed=observed, source=told[0].source, at=told[0].at)
