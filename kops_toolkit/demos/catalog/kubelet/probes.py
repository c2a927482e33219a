"""Startup, readiness and liveness probes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act
from kops_toolkit.demos.props import SETTLES_WITHIN, Pods, service, spread_requests
from kops_toolkit.kube import views
from kops_toolkit.kube.api import ENDPOINT_SLICE
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

# Seconds until the slow container has started: far more than an early kill takes on a busy machine.
STARTS_AFTER = 10
REQUESTS = 20  # through the Service: with two pods all by one is less likely than one in 500 000
RULES_WITHIN = 5.0  # seconds until kube-proxy must have followed the EndpointSlice
STARTUP = Act(
    "A startup probe holds liveness back",
    "Both pods need some seconds to start, and a liveness probe that never succeeds. With a "
    "startup probe the container is left alone until it has started; without, it is killed early.",
)
READINESS = Act(
    "Readiness decides about traffic",
    "A pod says that it is not ready: its address leaves the EndpointSlice and it gets no more "
    "requests. It is not restarted, and is back as soon as it is ready again.",
)
LIVENESS = Act(
    "Liveness restarts",
    "A liveness probe fails: the container is started anew in the same pod. Its healthy twin is "
    "left alone all the time.",
)


class Service:
    """The Service in front of two pods, and who answers through it.

    Args:
        scene: where it plays.
        pods: the witness among them asks.
    """

    def __init__(self, scene: Scene, pods: Pods) -> None:
        self._pods = pods
        made = scene.api.create(service("web", {"app": "web"}), scene.namespace)
        self._address = f"{made['spec']['clusterIP']}:80"
        self.slices = scene.watches.of(
            ENDPOINT_SLICE, scene.namespace, "kubernetes.io/service-name=web"
        ).ready()

    def endpoints(self) -> set[str]:
        """Names of the pods that the EndpointSlices send requests to."""
        return {
            endpoint["targetRef"]["name"]
            for found in self.slices.current().values()
            for endpoint in found.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        }

    def answers(self) -> Counter[str]:
        """Who answered how many of some requests."""
        said = self._pods.shell("witness", spread_requests(self._address, REQUESTS))
        return Counter(said.split())

    def settles(self, expected: set[str]) -> Verdict:
        """Wait until exactly these are endpoints, then until exactly these answer."""
        at = "EndpointSlice/web"
        self._pods.until(lambda: True if self.endpoints() == expected else None, SETTLES_WITHIN)
        if self.endpoints() != expected:
            told = f"endpoints: {', '.join(sorted(self.endpoints())) or 'none'}"
            return Verdict(held=False, observed=told, source=at)
        began = self._pods.now()
        found = self.answers()
        # The rules follow the slice a moment later; how much later is told.
        while set(found) != expected and self._pods.now() - began < RULES_WITHIN:
            found = self.answers()
        took = self._pods.now() - began
        told = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
        words = f"{told} of {REQUESTS}, {took:.1f} s after the endpoints changed"
        return Verdict(held=set(found) == expected, observed=words, source=at)


def readiness(scene: Scene, pods: Pods) -> None:
    """Play READINESS."""
    scene.stage(READINESS)
    web = Service(scene, pods)
    pods.ready("here", "there", "witness")
    scene.judge(
        "ready-ones-answer",
        "Both ready pods get requests through the Service",
        "answers by here and there",
        web.settles({"here", "there"}),
    )
    if scene.sabotage != "always-ready":
        pods.shell("here", ": > /tmp/unready")
    scene.tell("Pod/here", "is told not to be ready")
    verdict = web.settles({"there"})
    restarts = pods.status("here").get("restartCount")
    scene.judge(
        "unready-gets-nothing",
        "A pod that is not ready gets no request, and is not restarted",
        "answers by there alone; here has 0 restarts",
        Verdict(
            held=verdict.held and restarts == 0 and not views.ready(pods.current("here")),
            observed=f"{verdict.observed}; here has {restarts} restarts",
            source=verdict.source,
        ),
    )
    if scene.sabotage == "stays-unready":
        pods.shell("here", ": > /tmp/unready")
    else:
        pods.shell("here", "rm -f /tmp/unready")
    scene.judge(
        "back-when-ready",
        "Ready again, it gets requests again",
        "answers by here and there",
        web.settles({"here", "there"}),
    )


def liveness(scene: Scene, pods: Pods) -> None:
    """Play LIVENESS."""
    scene.stage(LIVENESS)
    pods.ready("ill", "well")
    before, status = pods.current("ill"), pods.status("ill")
    if scene.sabotage != "in-health":
        pods.shell("ill", ": > /tmp/ill")
    if scene.sabotage == "both-ill":
        pods.shell("well", ": > /tmp/ill")

    def restarted() -> bool | None:
        now = pods.status("ill")
        again = now.get("restartCount", 0) > 0 and now.get("ready")
        return True if again else None

    pods.until(restarted, SETTLES_WITHIN)
    now, after = pods.current("ill"), pods.status("ill")
    same = views.uid(now) == views.uid(before)
    fresh = after.get("containerID") != status["containerID"]
    words = (
        f"{after.get('restartCount')} restarts, {'another' if fresh else 'the same'} container ID, "
        f"{'the same' if same else 'another'} pod"
    )
    scene.judge(
        "liveness-restarts",
        "A failing liveness probe restarts the container, in the same pod, once",
        "1 restarts, another container ID, the same pod",
        Verdict(
            held=same and fresh and after.get("restartCount") == 1,
            observed=words,
            source=source(now),
        ),
    )


def twin(scene: Scene, pods: Pods) -> None:
    """Judged at the very end: the twin was watched all the time."""
    history = pods.history("well")
    counts = [
        views.container_status(seen.object, "main").get("restartCount", 0) for seen in history
    ]
    span = pods.now() - history[0].at if history else 0.0
    words = f"{max(counts, default=0)} restarts in {span:.0f} s, {len(history)} events"
    scene.judge(
        "healthy-twin-untouched",
        "The healthy twin with the same probe is never restarted",
        "0 restarts to the end of the demo",
        Verdict(
            held=bool(counts) and max(counts) == 0 and views.ready(pods.current("well")),
            observed=words,
            source=history[-1].source if history else "Pod/well",
        ),
    )


def startup(scene: Scene, pods: Pods) -> None:
    """Play STARTUP."""
    scene.stage(STARTUP)
    for name, check, title, bounds in (
        (
            "slow",
            "startup-gates-liveness",
            "With a startup probe the container is left alone until it has started",
            Within(STARTS_AFTER, SETTLES_WITHIN),
        ),
        (
            "hasty",
            "without-it-killed-early",
            "The same container without a startup probe is killed before it has started",
            Within(0.0, STARTS_AFTER - 2),
        ),
    ):
        seconds = _first_life(pods, name)
        where = source(pods.current(name))
        expected = f"killed {bounds} of its start"
        scene.judge(check, title, expected, bounds.judge(seconds, where))
        pods.delete(name)


def _first_life(pods: Pods, name: str) -> float | None:
    """Seconds from a container's first start to its end, by the kubelet's whole seconds."""

    def ended(pod: Json) -> bool:
        return bool(views.container_status(pod, "main").get("lastState"))

    seen = pods.first(name, ended, SETTLES_WITHIN)
    if seen is None:
        return None
    told = views.container_status(seen.object, "main")["lastState"]["terminated"]
    began, over = (views.moment(told[key]).timestamp() for key in ("startedAt", "finishedAt"))
    return over - began
