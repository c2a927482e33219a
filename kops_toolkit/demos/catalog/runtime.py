"""The container runtime behind the CRI: identities, sandboxes, namespaces, cgroups, handlers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import SETTLES_WITHIN, Pods, container
from kops_toolkit.demos.scheduling import able_nodes, no_able_node
from kops_toolkit.kube import views
from kops_toolkit.kube.api import EVENT, NODE, RUNTIME_CLASS
from kops_toolkit.kube.temporal import Verdict
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kops_toolkit.cluster.node import Node
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json, KubeApi

HOSTNAME = "kubernetes.io/hostname"
CPU, MEMORY = 250, 64  # millicores and MiB of the limited container
HANDLER = "test-handler"  # kind configures containerd with it, for tests like this
NO_IMAGE = "localhost:1/no-such-image:v1"
SHARED, OWN = ("net", "ipc", "uts"), ("pid", "mnt")  # namespaces of a pod, and of a container

# $1: a process. Its limits as the kernel has them: quota and period in microseconds, bytes.
LIMITS = """
set -e
of() { grep -E "^[0-9]+:([^:]*,)?$1(,[^:]*)?:" "/proc/$2/cgroup" | cut -d: -f3; }
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  at="/sys/fs/cgroup$(awk -F: '$1 == 0 { print $3 }' "/proc/$1/cgroup")"
  cat "$at/cpu.max" "$at/memory.max"
else
  cpu="/sys/fs/cgroup/cpu$(of cpu "$1")"
  echo "$(cat "$cpu/cpu.cfs_quota_us") $(cat "$cpu/cpu.cfs_period_us")"
  cat "/sys/fs/cgroup/memory$(of memory "$1")/memory.limit_in_bytes"
fi
"""

IDENTITY = Act(
    "The same container, asked from both sides",
    "The API's status and the runtime on the node, asked with ctr, name the same containers by the "
    "same IDs, in a sandbox that carries the pod's UID.",
)
SANDBOX = Act(
    "What the containers of a pod share",
    "A pause process holds the pod's network namespace; every container of the pod is in it. "
    "Processes and file systems are each container's own.",
)
CGROUPS = Act(
    "Limits are cgroups",
    "What the spec allows is what the kernel enforces: quota and bytes are read from the cgroup "
    "that the container's process is in.",
)
KILLED = Act(
    "A process killed behind the kubelet's back",
    "The process is killed on the node. The kubelet hears of it from the runtime and has another "
    "container made: new ID, same pod and sandbox.",
)
HANDLERS = Act(
    "A RuntimeClass picks the handler",
    "One names a handler that containerd has, and the sandbox runs with it. One names a handler "
    "that nobody has: no sandbox is made, and the event says why.",
)
IMAGES = Act(
    "An image that is not there",
    "imagePullPolicy Never takes what the node has. With the image the container runs; without it "
    "the kubelet does not even ask a registry.",
)


class Runtime:
    """The runtime of one node, asked there with containerd's own `ctr`.

    Every kind node has it; `crictl`, which would ask over the CRI as the kubelet does, not every.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def ids(self, uid: str, kind: str = "container") -> set[str]:
        """IDs of what runs of a pod, by the pod's UID: its containers, or its `sandbox`."""
        labels = {"io.kubernetes.pod.uid": uid, "io.cri-containerd.kind": kind}
        wanted = ",".join(f'labels."{key}"=={value}' for key, value in labels.items())
        known = set(self._ctr("containers", "ls", "-q", wanted).split())
        return known & set(self.processes())

    def processes(self) -> dict[str, int]:
        """The first process of everything that runs, by ID."""
        rows = (line.split() for line in self._ctr("tasks", "ls").splitlines()[1:])
        return {row[0]: int(row[1]) for row in rows if row[2] == "RUNNING"}

    def handler(self, sandbox: str) -> str:
        """The handler that a sandbox was asked to run with, "" for the default one.

        The CRI plugin keeps its own record beside the container, base64 of JSON
        (containerd, internal/cri/store/sandbox/metadata.go).
        """
        found = json.loads(self._ctr("containers", "info", sandbox))
        kept = found["Extensions"]["io.cri-containerd.sandbox.metadata"]
        record = json.loads(base64.b64decode(kept["value"]))
        return str(record["Metadata"].get("RuntimeHandler", ""))

    def _ctr(self, *argv: str) -> str:
        return self._node.run(["ctr", "-n", "k8s.io", *argv]).text

    def namespaces(self, pid: int) -> dict[str, str]:
        """The kernel's namespaces of a process, by kind."""
        kinds = (*SHARED, *OWN)
        told = self._node.run(["readlink", *(f"/proc/{pid}/ns/{kind}" for kind in kinds)])
        return dict(zip(kinds, told.text.split(), strict=True))

    def command(self, pid: int) -> str:
        """The name of a process."""
        return self._node.run(["cat", f"/proc/{pid}/comm"]).text.strip()

    def limits(self, pid: int) -> tuple[float, int]:
        """What the kernel allows a process: processors, and bytes of memory; 0 for no limit."""
        told = self._node.run(["sh", "-c", LIMITS, "kt-limits", str(pid)]).text.split()
        quota, period, memory = told
        cpus = 0.0 if quota in {"max", "-1"} else int(quota) / int(period)
        return cpus, 0 if memory == "max" else int(memory)

    def kill(self, pid: int) -> None:
        """Kill a process."""
        self._node.run(["kill", "-KILL", str(pid)])


def play(scene: Scene) -> None:
    """Play all acts."""
    pods = Pods(scene)
    chosen = next(name for name in able_nodes(scene.api) if name in scene.faults.nodes)
    runtime = Runtime(scene.faults.nodes[chosen])
    here: Json = {"nodeSelector": {HOSTNAME: chosen}}
    limits = {"cpu": f"{CPU}m", "memory": f"{MEMORY}Mi"}
    capped: Json = {} if scene.sabotage == "unlimited" else {"resources": {"limits": limits}}
    side = container(scene.image, "side")
    shared: Json = {"shareProcessNamespace": scene.sabotage == "one-pid-space"}
    pods.create("pair", container(scene.image, **capped), side, **here, **shared)
    pods.create("stranger", side, **here)
    classes = _classes(scene)
    for name, given in classes.items():
        handled: Json = {"runtimeClassName": given} if given else {}
        pods.create(name, **here, **handled)
    for name, image in (("absent", NO_IMAGE), ("present", scene.image)):
        wanted = scene.image if scene.sabotage == "image-there" else image
        pods.create(name, container(wanted, imagePullPolicy="Never"), **here)
    pods.ready("pair", "stranger")
    _identity(scene, pods, runtime)
    pids = _sandbox(scene, pods, runtime)
    _cgroups(scene, runtime, pids)
    _killed(scene, pods, runtime, pids)
    _handlers(scene, pods, runtime, classes)
    _images(scene, pods)


def _classes(scene: Scene) -> dict[str, str]:
    """RuntimeClasses for two pods; "" where sabotage leaves one out."""
    made = {}
    for name, handler in (("handled", HANDLER), ("unhandled", "no-such-handler")):
        known = scene.sabotage == "known-handler" and name == "unhandled"
        body = {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": name},
            "handler": HANDLER if known else handler,
        }
        made[name] = scene.outside.create(RUNTIME_CLASS, body)
    if scene.sabotage == "no-class":
        made["handled"] = ""
    return made


def _identity(scene: Scene, pods: Pods, runtime: Runtime) -> None:
    scene.stage(IDENTITY)
    pod = pods.current("pair")
    told = {_bare(pods.status("pair", name)) for name in ("main", "side")}
    asked = "stranger" if scene.sabotage == "another-pod" else "pair"
    found = runtime.ids(views.uid(pods.current(asked)))
    name, _, version = _runtime_of(scene.api, pod).partition("://")
    scene.facts["runtime"] = f"{name} {version}"
    scene.judge(
        "ids-agree",
        "The runtime runs exactly the containers that the API tells, by the same IDs",
        ", ".join(sorted(short[:12] for short in told)),
        Verdict(
            held=len(told) == 2 and told == found,
            observed=", ".join(sorted(short[:12] for short in found)) or "none",
            source=f"ctr on {pod['spec']['nodeName']}",
        ),
    )


def _runtime_of(api: KubeApi, pod: Json) -> str:
    """Name and version of the runtime of a pod's node, `name://version`."""
    node = api.get(NODE, pod["spec"]["nodeName"])
    return str(node["status"]["nodeInfo"]["containerRuntimeVersion"])


def _bare(status: Mapping[str, object]) -> str:
    return str(status["containerID"]).partition("://")[2]


def _sandbox(scene: Scene, pods: Pods, runtime: Runtime) -> dict[str, int]:
    scene.stage(SANDBOX)
    running = runtime.processes()
    pids = {name: running[_bare(pods.status("pair", name))] for name in ("main", "side")}
    (sandbox,) = runtime.ids(views.uid(pods.current("pair")), "sandbox")
    pids["pause"] = running[sandbox]
    if scene.sabotage == "strangers":
        pids["side"] = running[_bare(pods.status("stranger", "side"))]
    spaces = {name: runtime.namespaces(pid) for name, pid in pids.items()}
    where = f"/proc on {pods.current('pair')['spec']['nodeName']}"
    same = [kind for kind in SHARED if len({of[kind] for of in spaces.values()}) == 1]
    comm = runtime.command(pids["pause"])
    scene.judge(
        "pause-holds-the-network",
        "The pause process and all containers of the pod share one network namespace",
        f"{comm}, main and side share {', '.join(SHARED)}",
        Verdict(
            held=tuple(same) == SHARED and comm == "pause",
            observed=f"{comm}, main and side share {', '.join(same) or 'nothing'}: "
            f"{spaces['pause']['net']}, {spaces['side']['net']}",
            source=where,
        ),
    )
    own = [kind for kind in OWN if len({of[kind] for of in spaces.values()}) == len(spaces)]
    scene.judge(
        "processes-and-files-are-own",
        "Each container has processes and a file system of its own",
        f"three different namespaces for {' and '.join(OWN)}",
        Verdict(
            held=tuple(own) == OWN,
            observed=f"different for {' and '.join(own) or 'none'}",
            source=where,
        ),
    )
    return pids


def _cgroups(scene: Scene, runtime: Runtime, pids: Mapping[str, int]) -> None:
    scene.stage(CGROUPS)
    cpus, memory = runtime.limits(pids["main"])
    wanted = (CPU / 1000, MEMORY * 2**20)
    scene.judge(
        "limits-are-cgroups",
        "The kernel's limits of the container are those of the spec",
        f"{wanted[0]:g} processors, {wanted[1]} bytes",
        Verdict(
            held=(cpus, memory) == wanted,
            observed=f"{cpus:g} processors, {memory} bytes",
            source=f"cgroup of process {pids['main']} on its node",
        ),
    )


def _killed(scene: Scene, pods: Pods, runtime: Runtime, pids: Mapping[str, int]) -> None:
    scene.stage(KILLED)
    before, status = pods.current("pair"), pods.status("pair")
    if scene.sabotage != "spared":
        runtime.kill(pids["main"])

    def again() -> bool | None:
        now = pods.status("pair")
        fresh = now.get("containerID") not in {None, status["containerID"]}
        return True if fresh and now.get("ready") else None

    pods.until(again, SETTLES_WITHIN)
    now, after = pods.current("pair"), pods.status("pair")
    code = after.get("lastState", {}).get("terminated", {}).get("exitCode")
    fresh = after["containerID"] != status["containerID"]
    held = fresh and code == 137 and views.uid(now) == views.uid(before)
    found = runtime.ids(views.uid(now))
    words = f"{'another' if fresh else 'the same'} ID, last exit code {code}"
    scene.judge(
        "killed-is-made-anew",
        "A container killed on the node is made anew, with another ID, in the same pod",
        "another ID, known to the runtime too, last exit code 137",
        Verdict(
            held=held and _bare(after) in found,
            observed=f"{words}, {'known' if _bare(after) in found else 'unknown'} to the runtime",
            source=source(now),
        ),
    )


def _handlers(scene: Scene, pods: Pods, runtime: Runtime, classes: Mapping[str, str]) -> None:
    scene.stage(HANDLERS)
    pods.ready("handled")
    (sandbox,) = runtime.ids(views.uid(pods.current("handled")), "sandbox")
    handler = runtime.handler(sandbox)
    scene.judge(
        "class-picks-the-handler",
        "The sandbox runs with the handler that the RuntimeClass names",
        HANDLER,
        Verdict(
            held=handler == HANDLER,
            observed=handler or "the default one",
            source=source(pods.current("handled")),
        ),
    )
    events = scene.watches.of(EVENT, scene.namespace)

    def refused() -> Json | None:
        for found in events.current().values():
            about = found["involvedObject"]["name"] == "unhandled"
            if about and found["reason"] == "FailedCreatePodSandBox":
                return found
        return None

    found = pods.until(lambda: refused() or (_started(pods, "unhandled")), SETTLES_WITHIN) or {}
    message = str(found.get("message", ""))
    scene.judge(
        "unknown-handler-fails",
        "With a handler that nobody has no sandbox is made, and the event names it",
        "FailedCreatePodSandBox: no runtime for no-such-handler",
        Verdict(
            held="no-such-handler" in message and "no runtime for" in message,
            observed=f"{found.get('reason', 'it runs')}: {message}"[:200],
            source=source(found) if found else f"Pod/unhandled of class {classes['unhandled']}",
        ),
    )


def _started(pods: Pods, name: str) -> Json | None:
    return {"metadata": {"name": name}} if views.ready(pods.current(name)) else None


def _images(scene: Scene, pods: Pods) -> None:
    scene.stage(IMAGES)

    def told() -> str | None:
        now = pods.current("absent")
        return views.waiting_reason(now) or ("Ready" if views.ready(now) else None)

    def named() -> str | None:
        found = told()
        return found if found in {"ErrImageNeverPull", "Ready"} else None

    reason = pods.until(named, SETTLES_WITHIN) or told() or "nothing"
    pods.ready("present")
    scene.judge(
        "absent-image-is-told",
        "With policy Never an absent image is no reason to ask a registry; a present one runs",
        "absent: ErrImageNeverPull; present: Ready",
        Verdict(
            held=reason == "ErrImageNeverPull",
            observed=f"absent: {reason}; present: {views.phase(pods.current('present'))}",
            source=source(pods.current("absent")),
        ),
    )


DEMO = Demo(
    name="runtime",
    title="What runs behind the CRI",
    idea=(
        "The kubelet does not run containers. It asks the node's runtime for them over the CRI: a "
        "sandbox for the pod, held by a pause process, and containers in it. What the API tells is "
        "compared here with what the runtime and the kernel of that node say."
    ),
    acts=(IDENTITY, SANDBOX, CGROUPS, KILLED, HANDLERS, IMAGES),
    needs=(Need("a node that takes pods and can be reached into", no_able_node),),
    sabotages={
        "another-pod": Sabotage("the runtime is asked about another pod", ("ids-agree",)),
        "strangers": Sabotage(
            "a container of another pod is looked at", ("pause-holds-the-network",)
        ),
        "one-pid-space": Sabotage(
            "the pod shares its process namespace", ("processes-and-files-are-own",)
        ),
        "unlimited": Sabotage("the container has no limits", ("limits-are-cgroups",)),
        "spared": Sabotage("nothing is killed", ("killed-is-made-anew",)),
        "no-class": Sabotage("the pod names no RuntimeClass", ("class-picks-the-handler",)),
        "known-handler": Sabotage("the handler exists", ("unknown-handler-fails",)),
        "image-there": Sabotage("the image is there", ("absent-image-is-told",)),
    },
    play=play,
    page="concepts/containers/cri/",
    breaks=True,
    reaches_nodes=True,
)
