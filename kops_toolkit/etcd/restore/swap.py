"""The moment of the swap, and the roll-back: what `scripts` does, told step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.errors import ToolFailedError
from kops_toolkit.etcd.restore import scripts
from kops_toolkit.system.process import close_pipes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kops_toolkit.cluster.node import Node
    from kops_toolkit.system.progress import Progress

SAYS: Mapping[str, str] = {
    "kubelet-stopped": "the kubelet is stopped",
    "halted": "the API server and etcd are stopped",
    "aside": "the old data is moved aside",
    "in-place": "the restored data is in its place",
    "started": "the kubelet is started again",
    "rolled-back": "the old data is in its place again",
    "settled": "nothing more is owed",
}
TIMEOUT = 180.0  # seconds: the lock's patience and more


def swap(node: Node, run: str, data_dir: str, progress: Progress) -> None:
    """Stop the control plane, rename twice, start it again.

    Raises:
        ToolFailedError: it stopped half-way; `roll_back` brings the node back from anywhere.
    """
    _told(node, scripts.SWAP, run, data_dir, progress)


def roll_back(node: Node, run: str, data_dir: str, progress: Progress) -> None:
    """Put the old data back, whatever the swap came to, and start the control plane."""
    _told(node, scripts.ROLL_BACK, run, data_dir, progress)


def state(node: Node, run: str, data_dir: str) -> str:
    """Where a swap stands: `settled`, `untouched`, `moving`, `restored` or `lost`."""
    argv = ["sh", "-c", scripts.STATE, "kt-state", run, data_dir]
    return node.run(argv, timeout=TIMEOUT).text.strip()


def settle(node: Node, run: str, data_dir: str) -> None:
    """The restore held: only its old data is left, for `kt etcd cleanup`."""
    node.run(["sh", "-c", scripts.SETTLE, "kt-settle", run, data_dir], timeout=TIMEOUT)


def _told(node: Node, script: str, run: str, data_dir: str, progress: Progress) -> None:
    running = node.start(["sh", "-c", script, "kt-swap", run, data_dir])
    try:
        for line in running.stdout or ():
            word = line.decode("utf-8", "replace").strip()
            progress.step(f"{node.name}: {SAYS.get(word, word)}")
        said = running.stderr.read().decode("utf-8", "replace").strip() if running.stderr else ""
        if running.wait() != 0:
            raise ToolFailedError(f"on {node.name} the swap stopped: {said or 'it said nothing'}")
    finally:
        close_pipes(running)
