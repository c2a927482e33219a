"""Finds out everything that a restore must know, and refuses what cannot end well."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from kops_toolkit.errors import (
    ArtefactInvalidError,
    NoSpaceError,
    RefusedError,
    WrongClusterError,
)
from kops_toolkit.etcd import access
from kops_toolkit.etcd import member as members
from kops_toolkit.etcd.backup import default_name
from kops_toolkit.etcd.restore.plan import Place, Plan, bump, run_folder
from kops_toolkit.etcd.verify import verify
from kops_toolkit.kube.api import NAMESPACE

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.clusters import Cluster
    from kops_toolkit.cluster.node import Node
    from kops_toolkit.etcd.facts import SnapshotFacts
    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.system.clock import Clock
    from kops_toolkit.system.progress import Progress

WAL = 64_000_000  # bytes that etcd allocates beforehand for its write-ahead log
SPARE = 256 << 20  # bytes that must stay free for what else the node writes

# $1: the data directory. Its file system's free bytes, and whether a rename to beside it can work.
DISK = """
beside="$(dirname "$1")"
df -B1 --output=avail "$1" | tail -1
stat -c %d "$1" "$beside"
[ -d "$1/member" ] && echo member
"""


def survey(
    path: Path,
    cluster: Cluster,
    api: KubeApi,
    state: Path,
    clock: Clock,
    progress: Progress,
) -> Plan:
    """Read the snapshot, look at the cluster, and make the plan; nothing is changed.

    Raises:
        NotFoundError: there is no such file, or no etcd on the node.
        ArtefactInvalidError: the snapshot is not sound.
        WrongClusterError: it was taken from another cluster.
        RefusedError: it is of another etcd version, or the cluster is not one we can restore.
        UnreachableError: the API server or etcd does not answer.
        NoSpaceError: a node's disk is too small.
    """
    facts = verify(path, clock=clock, progress=progress).require()
    progress.step(f"looking at the cluster {cluster.name}")
    _same_cluster(facts, cluster, api)
    node = _only_plane(cluster)
    now = clock.now()
    with access.to_node(node, progress) as reached:
        status = reached.client.status()
    _same_version(facts, status.version)
    run = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    place = _place(node, run)
    room = _room(node, place, facts)
    return Plan(
        cluster=cluster.name,
        ours=cluster.ours,
        path=path,
        facts=facts,
        run=run,
        places=(place,),
        others=tuple(other.name for other in cluster.nodes if other.name != node.name),
        live_revision=status.revision,
        bump=bump(status.revision, facts.revision),
        room=room,
        safety=state / "safety" / default_name(cluster.name, now),
    )


def _same_cluster(facts: SnapshotFacts, cluster: Cluster, api: KubeApi) -> None:
    """A Kubernetes cluster is known for life by the uid of its Namespace kube-system."""
    uid = api.get(NAMESPACE, "kube-system")["metadata"]["uid"]
    if facts.kube_system_uid is None:
        raise WrongClusterError(
            "the snapshot does not tell which Kubernetes cluster it is of: its Namespace"
            " kube-system is not there, or is encrypted"
        )
    if facts.kube_system_uid != uid:
        raise WrongClusterError(
            f"the snapshot is of another cluster: its kube-system has uid {facts.kube_system_uid},"
            f" that of {cluster.name} has {uid}",
            "choose a snapshot that was taken from this cluster",
        )


def _only_plane(cluster: Cluster) -> Node:
    planes = cluster.control_planes
    if len(planes) != 1:
        raise RefusedError(
            f"the cluster {cluster.name} has {len(planes)} control planes; kt restores one as yet"
        )
    return planes[0]


def _same_version(facts: SnapshotFacts, server: str) -> None:
    """Etcd promises to read a file of its own minor version; its etcdutl restores no other."""
    said = facts.storage_version or facts.cluster_version
    if said and said.split(".")[:2] != server.split(".")[:2]:
        raise RefusedError(
            f"the snapshot is of etcd {said}, the cluster runs etcd {server}: the minor versions"
            " differ",
            "restore it into a cluster of the version that it was taken from",
        )


def _place(node: Node, run: str) -> Place:
    member = members.find(node)
    if member.flags.get("wal-dir"):
        raise RefusedError(f"the etcd of {node.name} keeps its log apart (--wal-dir)")
    try:
        return Place(
            node=node.name,
            member=member.name,
            image=member.image,
            data_dir=member.data_dir.rstrip("/"),
            peer_urls=member.flags["initial-advertise-peer-urls"],
            initial_cluster=member.flags["initial-cluster"],
            run=run_folder(member.data_dir, run),
        )
    except KeyError as cause:
        raise ArtefactInvalidError(
            f"the etcd manifest of {node.name} has no --{cause.args[0]}"
        ) from cause


def _room(node: Node, place: Place, facts: SnapshotFacts) -> tuple[int, int]:
    """Bytes needed (the copy, the restored database, its log) and free."""
    words = node.run(["sh", "-c", DISK, "kt-disk", place.data_dir], check=False).text.split()
    if len(words) != 4 or words[3] != "member":
        raise RefusedError(f"on {node.name} there is no etcd data in {place.data_dir}")
    free, device, beside = map(int, words[:3])
    if device != beside:
        raise RefusedError(
            f"on {node.name} {place.data_dir} is a file system of its own, so its data cannot be"
            " swapped by renaming"
        )
    need = facts.file_size + facts.db_size + WAL + SPARE
    if free < need:
        raise NoSpaceError(
            f"the disk of {node.name} has {free} bytes free; restoring this snapshot beside the old"
            f" data takes {need}",
            "`kt etcd cleanup` removes what earlier restores kept",
        )
    return need, free
