"""Breaking a node or a control-plane process on purpose: owed before, taken back after.

Every fault also mends itself or is mended by the kubelet if nobody takes it back: a stopped process
fails its liveness probe and is started anew, a process started anew has its verbosity back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kops_toolkit.cluster.clusters import Clusters
    from kops_toolkit.cluster.docker_node import DockerNode
    from kops_toolkit.cluster.node import Node
    from kops_toolkit.system.journal import Handler, Journal

THAW_NODE = "thaw-node"
RESUME_PROCESS = "resume-process"
REMOVE_NODE_FILE = "remove-node-file"
SET_VERBOSITY = "set-verbosity"

# Where a component serves itself, and so can be asked to log more or less without a restart.
SECURE_PORTS = {"kube-scheduler": 10259, "kube-controller-manager": 10257}
ADMIN = "/etc/kubernetes/admin.conf"


def handlers(clusters: Clusters) -> dict[str, Handler]:
    """Undo names of this module; the args of each name the cluster and the node."""

    def on_node(act: Callable[[DockerNode, Mapping[str, Any]], None]) -> Handler:
        def handler(args: Mapping[str, Any]) -> None:
            try:
                node = clusters.find(args["cluster"]).node(args["node"])
            except NotFoundError:
                return  # deleted meanwhile
            act(node, args)

        return handler

    return {
        THAW_NODE: on_node(lambda node, _: node.thaw()),
        RESUME_PROCESS: on_node(lambda node, args: _signal(node, "CONT", args["process"])),
        REMOVE_NODE_FILE: on_node(lambda node, args: _remove(node, args["path"])),
        SET_VERBOSITY: on_node(lambda node, args: _set_verbosity(node, args["process"], 0)),
    }


class Faults:
    """What a run breaks on the nodes of one cluster.

    Args:
        cluster: the cluster's name, by which another process finds its nodes.
        nodes: its nodes by name.
        journal: the run's.
    """

    def __init__(self, cluster: str, nodes: Mapping[str, Node], journal: Journal) -> None:
        self._cluster = cluster
        self.nodes = nodes
        self._journal = journal

    @property
    def control_planes(self) -> tuple[Node, ...]:
        """Nodes where the API server and etcd run."""
        return tuple(node for node in self.nodes.values() if node.control_plane)

    def freeze_node(self, name: str) -> int:
        """Let nothing on a node run any more, as if the machine hung; gives the debt."""
        debt = self._owe(THAW_NODE, f"the frozen node {name}", name)
        self.nodes[name].freeze()
        return debt

    def stop_process(self, process: str) -> list[int]:
        """Stop a process on every control plane (SIGSTOP: at once, and it keeps its state)."""
        debts = []
        for node in self.control_planes:
            says = f"the stopped {process} on {node.name}"
            debts.append(self._owe(RESUME_PROCESS, says, node.name, process=process))
            _signal(node, "STOP", process)
        return debts

    def put_file(self, node: str, path: str, data: bytes) -> int:
        """Write a file that was not there; gives the debt."""
        debt = self._owe(REMOVE_NODE_FILE, f"{path} on {node}", node, path=path)
        self.nodes[node].write(path, data)
        return debt

    def raise_verbosity(self, process: str, level: int) -> list[int]:
        """Let a control-plane process log more, without a restart; gives the debts."""
        debts = []
        for node in self.control_planes:
            says = f"the log verbosity of {process} on {node.name}"
            debts.append(self._owe(SET_VERBOSITY, says, node.name, process=process))
            _set_verbosity(node, process, level)
        return debts

    def undo(self, *debts: int) -> None:
        """Take these back now, the latest first; at the run's end the rest is."""
        for debt in reversed(debts):
            self._journal.undo(debt)

    def _owe(self, undo: str, says: str, node: str, **args: Any) -> int:  # noqa: ANN401 - JSON
        return self._journal.owe(undo, says, cluster=self._cluster, node=node, **args)


def _signal(node: Node, signal: str, process: str) -> None:
    # -x: the whole name, cut by the kernel at 15 characters, as `comm` is.
    argv = ["pkill", f"-{signal}", "-x", process[:15]]
    node.run(argv, check=signal == "STOP")  # one that is away has nothing to resume


def _remove(node: Node, path: str) -> None:
    node.run(["rm", "-f", "--", path])


def _set_verbosity(node: Node, process: str, level: int) -> None:
    """Through `/debug/flags/v` of the component (k8s.io/apiserver, server/routes/flags.go)."""
    argv = [
        *(
            "kubectl",
            f"--kubeconfig={ADMIN}",
            f"--server=https://127.0.0.1:{SECURE_PORTS[process]}",
        ),
        *("--insecure-skip-tls-verify", "replace", "--raw=/debug/flags/v", "--filename=-"),
    ]
    # One that was started anew meanwhile has its own verbosity already.
    node.run(argv, stdin=str(level).encode(), check=level != 0)
