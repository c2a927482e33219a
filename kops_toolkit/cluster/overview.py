"""How clusters stand, as far as can be seen; what is down is said, not raised."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kops_toolkit.cluster.lifecycle import ADMIN
from kops_toolkit.errors import KtError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kops_toolkit.cluster.clusters import Clusters
    from kops_toolkit.cluster.docker_node import DockerNode
    from kops_toolkit.cluster.engine import Container

API_WITHIN = 5  # seconds an API server gets to answer


@dataclass(frozen=True)
class Overview:
    """One line of `kt cluster list`.

    Attributes:
        name: kind's name of the cluster.
        ours: whether it carries kt's mark.
        profile: what kt made it from, "" if unknown.
        nodes: how many Kubernetes nodes.
        state: `running` if all containers are, else what they are.
        version: of Kubernetes, "" if no node runs.
    """

    name: str
    ours: bool
    profile: str
    nodes: int
    state: str
    version: str

    def facts(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class NodeStatus:
    """One node.

    Attributes:
        name: its name.
        role: `control-plane` or `worker`.
        state: its container's: `running`, `paused`, `exited`, …
        address: IPv4 on the kind network, "" while stopped.
        version: of the kubelet, "" if unknown.
        ready: `yes`, `no` or `unknown`, as the API server has it; `unknown` too if it is down.
    """

    name: str
    role: str
    state: str
    address: str
    version: str
    ready: str


@dataclass(frozen=True)
class ClusterStatus:
    """One cluster.

    Attributes:
        name: kind's name of it.
        ours: whether it carries kt's mark.
        healthy: whether the API server says it is ready.
        api: what it said, in words.
        version: of Kubernetes, "" if unknown.
        nodes: control planes first.
    """

    name: str
    ours: bool
    healthy: bool
    api: str
    version: str
    nodes: tuple[NodeStatus, ...]

    def facts(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def overview(clusters: Clusters) -> tuple[Overview, ...]:
    """All kind clusters, sorted by name."""
    by_name: dict[str, list[Container]] = {}
    for item in clusters.engine.containers():
        by_name.setdefault(item.cluster, []).append(item)
    return tuple(_overview(clusters, name, items) for name, items in sorted(by_name.items()))


def status(clusters: Clusters, name: str | None) -> ClusterStatus:
    """How one cluster stands.

    Raises:
        NotFoundError: there is no such cluster.
    """
    name = clusters.choose(name)
    containers = clusters.containers(name)
    nodes = clusters.nodes(containers)
    api, known = _ask_api(nodes)
    return ClusterStatus(
        name=name,
        ours=clusters.marked(name, containers),
        healthy=api == "ready",
        api=api,
        version=_version(nodes),
        nodes=tuple(_node(node, known.get(node.name)) for node in nodes),
    )


def _overview(clusters: Clusters, name: str, containers: Sequence[Container]) -> Overview:
    nodes = clusters.nodes(containers)
    states = sorted({item.state for item in containers})
    return Overview(
        name,
        clusters.marked(name, containers),
        clusters.profile(name, containers),
        len(nodes),
        "+".join(states),
        _version(nodes),
    )


def _version(nodes: Sequence[DockerNode]) -> str:
    """Version of Kubernetes, as the node image tells it."""
    for node in nodes:
        if node.container.state == "running":
            try:
                return node.read("/kind/version").decode().strip()
            except KtError:
                continue
    return ""


def _ask_api(nodes: Sequence[DockerNode]) -> tuple[str, dict[str, dict[str, Any]]]:
    """What the API server says of itself, and of its nodes by name.

    Asked with the node's own kubectl: kt's client may have no way to the API just when it matters.
    """
    running = [node for node in nodes if node.control_plane and node.container.state == "running"]
    said = "no control plane runs"
    for node in running:
        base = ["kubectl", ADMIN, f"--request-timeout={API_WITHIN}s"]
        try:
            ready = node.run([*base, "get", "--raw=/readyz"], timeout=2 * API_WITHIN, check=False)
            if ready.code != 0:
                lines = ready.err.decode("utf-8", "replace").strip().splitlines()
                said = f"down ({lines[-1] if lines else 'no answer'})"
                continue
            listing = node.run([*base, "get", "nodes", "-o", "json"], timeout=2 * API_WITHIN)
            items = json.loads(listing.out)["items"]
            return "ready", {item["metadata"]["name"]: item for item in items}
        except KtError as error:
            said = f"down ({error.message})"
    return said, {}


def _node(node: DockerNode, known: dict[str, Any] | None) -> NodeStatus:
    ready, version = "unknown", ""
    if known is not None:
        version = known["status"]["nodeInfo"]["kubeletVersion"]
        conditions = {item["type"]: item["status"] for item in known["status"]["conditions"]}
        ready = {"True": "yes", "False": "no"}.get(conditions.get("Ready", ""), "unknown")
    container = node.container
    return NodeStatus(node.name, container.role, container.state, container.address, version, ready)
