"""Lists and removes what restores keep on nodes."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.etcd import member as members
from kops_toolkit.etcd.restore.plan import run_folder
from kops_toolkit.etcd.restore.restore import busy, lock_path
from kops_toolkit.system.lock import alone

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.clusters import Cluster, Clusters
    from kops_toolkit.cluster.node import Node
    from kops_toolkit.system.progress import Progress

# $1: the folder of all restores. One line each: name, bytes, words for what is in it.
LIST = """
cd "$1" 2>/dev/null || exit 0
for run in */; do
  [ -d "$run" ] || continue
  run="${run%/}" holds=""
  for part in old/member undone staged/member snapshot.db settled; do
    [ -e "$run/$part" ] && holds="$holds $part"
  done
  echo "$run $(du -sB1 "$run" | cut -f1)$holds"
done
"""
# $1: the folder of all restores, $2: the one to remove. The last one takes the folder with it.
REMOVE = """
set -e
rm -rf -- "$1/$2"; sync "$1"
[ -n "$(ls "$1")" ] || rm -rf -- "$1"
"""
SAYS = {
    "old/member": "the data before the restore",
    "undone": "restored data that was taken out again",
    "staged/member": "data restored into staging only",
    "snapshot.db": "a copy of the snapshot",
}


@dataclass(frozen=True)
class Leftover:
    """A restore's folder on a node.

    Attributes:
        node: the node's name.
        path: the folder.
        size: bytes on its disk.
        holds: what is in it, in words.
        settled: whether it may go; else a restore was cut short and `kt recover` needs it.
    """

    node: str
    path: str
    size: int
    holds: str
    settled: bool


class Cleanup:
    """Lists and removes restores' leftovers of one cluster.

    Args:
        clusters: asked for consent.
        state: kt's state folder, for the lock.
        progress: hears of every removal.
    """

    def __init__(self, clusters: Clusters, state: Path, progress: Progress) -> None:
        self._clusters = clusters
        self._state = state
        self._progress = progress

    def found(self, cluster: Cluster) -> tuple[Leftover, ...]:
        """What lies on the control-plane nodes, oldest first."""
        return tuple(
            leftover for node in cluster.control_planes for leftover in _listed(node, _folder(node))
        )

    def remove(self, cluster: Cluster, *, consent: str | None) -> tuple[Leftover, ...]:
        """Remove what is settled; returns that.

        Raises:
            RefusedError: no consent, or a restore of this cluster is running.
        """
        self._clusters.require_ours(cluster.name, consent, ours=cluster.ours)
        with alone(lock_path(self._state, cluster.name), busy(cluster.name)):
            removed = tuple(item for item in self.found(cluster) if item.settled)
            for item in removed:
                self._progress.step(f"removing {item.node}:{item.path}")
                folder, name = posixpath.split(item.path)
                cluster.node(item.node).run(["sh", "-c", REMOVE, "kt-cleanup", folder, name])
        return removed


def _folder(node: Node) -> str:
    return run_folder(members.find(node).data_dir, "")


def _listed(node: Node, folder: str) -> list[Leftover]:
    found = []
    for line in node.run(["sh", "-c", LIST, "kt-list", folder], timeout=300.0).text.splitlines():
        name, size, *holds = line.split()
        told = [SAYS[part] for part in holds if part in SAYS]
        # Without old data nothing has been swapped: what is there is only in the way.
        settled = "settled" in holds or "old/member" not in holds
        found.append(
            Leftover(
                node=node.name,
                path=f"{folder}/{name}",
                size=int(size),
                holds=", ".join(told) or "nothing",
                settled=settled,
            )
        )
    return found
