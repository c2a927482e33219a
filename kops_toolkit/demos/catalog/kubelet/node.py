"""Static pods and heartbeats: what a kubelet does for its node."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import yaml

from kops_toolkit.demos.model import Act
from kops_toolkit.demos.props import SETTLES_WITHIN, Pods, container, exec_probe, pod_body, script
from kops_toolkit.demos.scheduling import able_nodes
from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.temporal import Verdict, Within
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.watch import Seen, Watch

HEARTBEAT = Within(3.0, 25.0)  # seconds between two renewals of a node's Lease; 10 by default
STATIC_FOLDER = "/etc/kubernetes/manifests"
HEARTBEATS = "kube-node-lease"
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


def static(scene: Scene, pods: Pods) -> None:
    """Play STATIC."""
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


def hearts(scene: Scene, leases: Watch, nodes: list[str]) -> None:
    """Play HEARTS."""
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
