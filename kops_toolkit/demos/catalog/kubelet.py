"""The kubelet: order of containers, probes, hooks, grace, static pods, heartbeats."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import yaml

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import (
    PORT,
    Pods,
    container,
    exec_probe,
    pod_body,
    script,
    service,
    spread_requests,
)
from kops_toolkit.demos.scheduling import able_nodes, no_able_node
from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import ENDPOINT_SLICE, LEASE, NODE
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.watch import Seen, Watch

SETTLES_WITHIN = 40.0  # seconds until the kubelet must have acted, on a busy machine
STARTS_AFTER = 4  # seconds until the slow container has started
GRACE = 4  # seconds of grace of the pod that will not end
SLACK = 8.0  # seconds that an end may come late on a busy machine
REQUESTS = 20  # through the Service: with two pods all by one is less likely than one in 500 000
RULES_WITHIN = 5.0  # seconds until kube-proxy must have followed the EndpointSlice
HEARTBEAT = Within(3.0, 25.0)  # seconds between two renewals of a node's Lease; 10 by default
STATIC_FOLDER = "/etc/kubernetes/manifests"
HEARTBEATS = "kube-node-lease"

ORDER = Act(
    "Init containers, a sidecar, the main container",
    "Init containers run one after the other, each to its end. A sidecar, an init container that "
    "restarts always, starts in their order and stays; it ends after the main container has.",
)
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
HOOKS = Act(
    "Hooks, told by a witness",
    "postStart, preStop and the TERM signal each ask another pod over HTTP. That witness's log, "
    "not any status, proves that they ran and in which order.",
)
ENDING = Act(
    "The grace period",
    "A pod that ignores TERM has its grace period, no more and no less, and is killed then. One "
    "that obeys is gone at once.",
)
STATIC = Act(
    "A static pod",
    "A manifest on the node's disk is a pod that the kubelet runs by itself. The API shows a "
    "mirror of it: delete that and it returns, the container untouched. Only the file decides.",
)
HEARTS = Act(
    "Heartbeats",
    "Every kubelet renews the Lease of its node every ten seconds. That is how the control plane "
    "knows that it lives.",
)


def play(scene: Scene) -> None:
    """Play all acts; those that take time begin first and are judged when it has come."""
    leases = scene.watches.of(LEASE, HEARTBEATS).ready()
    nodes = [node["metadata"]["name"] for node in scene.api.list(NODE).items]
    if scene.sabotage == "lifeless":
        name, _ = scene.outside.node(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "lifeless"}}
        )
        nodes.append(name)
    pods = Pods(scene)
    _begin(scene, pods)
    _readiness(scene, pods)
    _liveness(scene, pods)
    _startup(scene, pods)
    _order(scene, pods)
    _hooks(scene, pods)
    _ending(scene, pods)
    _static(scene, pods)
    _hearts(scene, leases, nodes)
    _twin(scene, pods)


def _begin(scene: Scene, pods: Pods) -> None:
    image, broken = scene.image, scene.sabotage

    def says(name: str, seconds: str, **fields: object) -> Json:
        text = f"echo begin; sleep {seconds}; echo end"
        return container(image, name, command=script(text), **fields)

    tells = "trap 'echo end; exit 0' TERM; echo begin; : > /tmp/up; while :; do sleep 0.1; done"
    up = exec_probe("test -e /tmp/up", failureThreshold=60)
    stays: Json = {} if broken == "all-alike" else {"restartPolicy": "Always", "startupProbe": up}
    sidecar = container(image, "sidecar", command=script(tells), **stays)
    before = [says("first", "0.3"), sidecar, says("second", "0.3")]
    main = says("main", "1")
    if broken == "all-alike":
        pods.create("ordered", main, *before, restartPolicy="Never")
    else:
        pods.create("ordered", main, initContainers=before, restartPolicy="Never")

    slow = f"trap 'exit 0' TERM; sleep {STARTS_AFTER}; : > /tmp/up; while :; do sleep 0.2; done"
    never = exec_probe("test -e /tmp/never", failureThreshold=1)
    for name, gated in (("slow", broken != "ungated"), ("hasty", broken == "patient")):
        gate: Json = {"startupProbe": up} if gated else {}
        pods.create(name, container(image, command=script(slow), livenessProbe=never, **gate))

    ready = exec_probe("test ! -e /tmp/unready", failureThreshold=1)
    pods.server("here", {"app": "web"}, readinessProbe=ready)
    pods.server("there", {"app": "none" if broken == "half" else "web"}, readinessProbe=ready)
    alive = exec_probe("test ! -e /tmp/ill", failureThreshold=1)
    pods.server("ill", livenessProbe=alive)
    pods.server("well", livenessProbe=alive)
    pods.server("witness")


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


def _readiness(scene: Scene, pods: Pods) -> None:
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


def _liveness(scene: Scene, pods: Pods) -> None:
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


def _twin(scene: Scene, pods: Pods) -> None:
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


def _startup(scene: Scene, pods: Pods) -> None:
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
            Within(0.0, STARTS_AFTER - 1),
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


def _order(scene: Scene, pods: Pods) -> None:
    scene.stage(ORDER)

    def over() -> bool | None:
        phase = pods.current("ordered").get("status", {}).get("phase")
        return True if phase in {"Succeeded", "Failed"} else None

    ended = pods.until(over, SETTLES_WITHIN / 2)
    marks = {name: _marks(scene, name) for name in ("first", "sidecar", "second", "main")}
    steps = [
        "first begin",
        "first end",
        "sidecar begin",
        "second begin",
        "second end",
        "main begin",
    ]
    last = ["main begin", "main end", "sidecar end"]
    for check, title, wanted in (
        ("init-in-order", "Init containers run one by one, before the main container", steps),
        ("sidecar-ends-last", "The sidecar stays until the main container has ended", last),
    ):
        stamped = [(_stamp(marks, step), step) for step in wanted]
        known = [stamp for stamp, _ in stamped if stamp]
        held = len(known) == len(wanted) and known == sorted(known) and ended is not None
        found = " → ".join(step for stamp, step in sorted(stamped) if stamp)
        words = found + ("" if ended else "; it did not end")
        where = f"Pod/{scene.namespace}/ordered's logs"
        scene.judge(check, title, " → ".join(wanted), Verdict(held, words, where))


def _marks(scene: Scene, name: str) -> dict[str, str]:
    """What a container printed, each word with the stamp of its node's runtime."""
    lines = scene.api.logs(scene.namespace, "ordered", name)
    return {word: stamp for stamp, _, word in (line.strip().partition(" ") for line in lines)}


def _stamp(marks: dict[str, dict[str, str]], step: str) -> str:
    name, word = step.split()
    return marks[name].get(word, "")


def _hooks(scene: Scene, pods: Pods) -> None:
    scene.stage(HOOKS)
    address = pods.current("witness")["status"]["podIP"]

    def tell(word: str) -> str:
        return f"curl -s -m 5 http://{address}:{PORT}/echo?msg={scene.namespace}-{word}"

    lifecycle: Json = {
        "postStart": {"exec": {"command": script(tell("post-start"))}},
        "preStop": {"exec": {"command": script(tell("pre-stop"))}},
    }
    if scene.sabotage == "unhooked":
        lifecycle = {}
    runs = f"trap '{tell('term')}; exit 0' TERM; while :; do sleep 0.1; done"
    hooked = container(scene.image, command=script(runs), lifecycle=lifecycle)
    pods.create("hooked", hooked, terminationGracePeriodSeconds=20)
    pods.ready("hooked")
    pods.delete("hooked")
    pods.gone("hooked", SETTLES_WITHIN)
    wanted = ["post-start", "pre-stop", "term"]
    heard = [
        word
        for line in scene.api.logs(scene.namespace, "witness")
        for word in wanted
        if f"{scene.namespace}-{word}" in line
    ]
    found = list(dict.fromkeys(heard))  # a request may be logged in two lines
    scene.judge(
        "hooks-in-order",
        "postStart, preStop and TERM each reached the witness, in this order",
        " → ".join(wanted),
        Verdict(
            held=found == wanted,
            observed=" → ".join(found) or "nothing was heard",
            source=f"Pod/{scene.namespace}/witness's log",
        ),
    )


def _ending(scene: Scene, pods: Pods) -> None:
    scene.stage(ENDING)
    deaf, obeys = "trap '' TERM", "trap 'exit 0' TERM"
    stubborn = obeys if scene.sabotage == "gentle" else deaf
    obedient = deaf if scene.sabotage == "deaf" else obeys
    for name, trap in (("stubborn", stubborn), ("obedient", obedient)):
        runs = container(scene.image, command=script(f"{trap}; while :; do sleep 0.1; done"))
        pods.create(name, runs, terminationGracePeriodSeconds=GRACE)
    pods.ready("stubborn", "obedient")
    began = {}
    for name in ("stubborn", "obedient"):
        began[name] = pods.now()
        pods.delete(name)
    for name, check, title, bounds in (
        (
            "stubborn",
            "grace-is-given",
            "A pod that ignores TERM is killed when its grace period is over",
            Within(GRACE - 0.5, GRACE + SLACK),
        ),
        (
            "obedient",
            "obedient-goes-at-once",
            "A pod that obeys TERM is gone before that",
            Within(0.0, GRACE - 0.5),
        ),
    ):
        seen = pods.gone(name, GRACE + 2 * SLACK)
        seconds = seen.at - began[name] if seen else None
        where = seen.source if seen else f"Pod/{name}"
        scene.judge(check, title, f"gone {bounds}", bounds.judge(seconds, where))


def _static(scene: Scene, pods: Pods) -> None:
    scene.stage(STATIC)
    able = [name for name in able_nodes(scene.api) if name in scene.faults.nodes]
    titles = {
        "mirror-returns": "A deleted mirror returns, the container untouched",
        "file-decides": "With the file the pod goes",
    }
    if not able:
        for check, title in titles.items():
            scene.skip(check, title, "kt cannot reach into this cluster's nodes")
        return
    node = able[0]
    # A kubelet looks at a pod when its state changes, else once a minute: this one's changes.
    restless = "while :; do : > /tmp/up; sleep 2; rm /tmp/up; sleep 2; done"
    probe = exec_probe("test -e /tmp/up", failureThreshold=1)
    changing = container(scene.image, command=script(restless), readinessProbe=probe)
    body = pod_body("static", containers=[changing])
    body["metadata"]["namespace"] = scene.namespace
    path = f"{STATIC_FOLDER}/{scene.namespace}.yaml"
    debt = scene.faults.put_file(node, path, yaml.safe_dump(body).encode())
    scene.tell(f"Node/{node}", f"has a file {path}")
    name = f"static-{node}"

    def runs() -> bool | None:
        return True if pods.status(name).get("started") else None

    pods.until(runs, SETTLES_WITHIN)
    before, status = pods.current(name), pods.status(name)
    if scene.sabotage == "no-file":
        scene.faults.undo(debt)
    elif before:
        pods.delete(name)

    def returned() -> bool | None:
        now = pods.current(name)
        return True if now and views.uid(now) != views.uid(before) and runs() else None

    back = bool(before) and pods.until(returned, SETTLES_WITHIN) is not None
    now, after = pods.current(name), pods.status(name)
    same = bool(status) and after.get("containerID") == status.get("containerID")
    words = f"{'another' if back else 'no other'} mirror, "
    words += f"{'the same' if same else 'no such'} container, {after.get('restartCount')} restarts"
    scene.judge(
        "mirror-returns",
        titles["mirror-returns"],
        "another mirror by UID, the same container ID, 0 restarts",
        Verdict(
            held=back and same and after.get("restartCount") == 0,
            observed=words,
            source=source(now) if now else f"Pod/{name}",
        ),
    )
    if scene.sabotage != "file-stays":
        scene.faults.undo(debt)
    gone = pods.until(lambda: None if pods.current(name) else True, SETTLES_WITHIN)
    scene.judge(
        "file-decides",
        titles["file-decides"],
        f"{name} was there, and is gone",
        Verdict(
            held=bool(now) and gone is not None,
            observed=f"{name} {'was' if now else 'was not'} there, "
            f"{'is gone' if gone else 'still is'}",
            source=f"Pod/{scene.namespace}/{name}",
        ),
    )
    scene.faults.undo(debt)


def _hearts(scene: Scene, leases: Watch, nodes: list[str]) -> None:
    scene.stage(HEARTS)

    def beaten() -> bool | None:
        return True if all(len(_beats(leases.history(), node)) > 1 for node in nodes) else None

    try:
        leases.wait(beaten, timeout=HEARTBEAT.latest, what="two heartbeats of every node")
    except TimedOutError as error:
        scene.tell("Lease", error.message)
    gaps = {
        node: [later - earlier for earlier, later in pairwise(_beats(leases.history(), node))]
        for node in nodes
    }
    every = [gap for found in gaps.values() for gap in found]
    silent = [node for node, found in gaps.items() if not found]
    held = not silent and all(HEARTBEAT.earliest <= gap <= HEARTBEAT.latest for gap in every)
    span = f"{min(every):.1f} to {max(every):.1f} s apart" if every else "none"
    words = f"{span}; silent: {', '.join(silent) or 'no node'}"
    scene.judge(
        "leases-are-renewed",
        "Every node's Lease is renewed again and again",
        f"each {HEARTBEAT}",
        Verdict(held=held, observed=words, source=f"Leases in {HEARTBEATS}"),
    )


def _beats(history: tuple[Seen, ...], node: str) -> list[float]:
    """When a node's Lease was renewed, seconds since the epoch, as it says itself."""
    stamps = {
        seen.object["spec"]["renewTime"]
        for seen in history
        if seen.name == node and seen.object["spec"].get("renewTime")
    }
    return sorted(views.moment(stamp).timestamp() for stamp in stamps)


DEMO = Demo(
    name="kubelet",
    title="What the node's agent does for a pod",
    idea=(
        "The kubelet watches for pods bound to its node and makes them so: containers in their "
        "order, probes that gate, take out and restart, hooks around start and end, a grace period "
        "at the end. It tells the API what it sees, renews its node's Lease, and runs the static "
        "pods on its disk even without an API server."
    ),
    acts=(READINESS, LIVENESS, STARTUP, ORDER, HOOKS, ENDING, STATIC, HEARTS),
    needs=(Need("one node that takes pods", no_able_node),),
    sabotages={
        "all-alike": Sabotage(
            "all of them are ordinary containers", ("init-in-order", "sidecar-ends-last")
        ),
        "ungated": Sabotage("there is no startup probe", ("startup-gates-liveness",)),
        "patient": Sabotage(
            "the control arm has a startup probe too", ("without-it-killed-early",)
        ),
        "half": Sabotage(
            "the Service selects only one of them", ("ready-ones-answer", "back-when-ready")
        ),
        "always-ready": Sabotage("the pod stays ready", ("unready-gets-nothing",)),
        "stays-unready": Sabotage("the pod stays unready", ("back-when-ready",)),
        "in-health": Sabotage("the probe goes on succeeding", ("liveness-restarts",)),
        "both-ill": Sabotage("the twin falls ill as well", ("healthy-twin-untouched",)),
        "unhooked": Sabotage("the pod has no hooks", ("hooks-in-order",)),
        "gentle": Sabotage("the stubborn pod obeys", ("grace-is-given",)),
        "deaf": Sabotage("the obedient pod ignores TERM", ("obedient-goes-at-once",)),
        "no-file": Sabotage("the file goes with the mirror", ("mirror-returns",)),
        "file-stays": Sabotage("the file stays", ("file-decides",)),
        "lifeless": Sabotage("a Node joins without a kubelet", ("leases-are-renewed",)),
    },
    play=play,
    page="concepts/architecture/#kubelet",
    breaks=True,
)
