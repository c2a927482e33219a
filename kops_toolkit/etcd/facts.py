"""What a snapshot file says about itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SnapshotMember:
    """A member of the cluster that the snapshot came from.

    Attributes:
        id: member id.
        name: its `--name`; "" if it never started.
        peer_urls: where its peers reach it.
        client_urls: where clients reach it.
        learner: it does not vote.
    """

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...] = ()
    learner: bool = False


@dataclass(frozen=True)
class SnapshotFacts:
    """Everything that reading a whole snapshot tells.

    Attributes:
        file_size: bytes on disk.
        db_size: bytes of the bbolt image, `etcdutl snapshot status` calls it totalSize.
        page_size: bytes.
        free_pages: pages in no use; they still hold what was deleted from them.
        txid: bbolt transaction that the image shows.
        sha256: of the image, hex: what the trailer says if `sealed`, else computed.
        sealed: the file ends in that trailer.
        revision: last revision in it; 0 if it never held a key.
        compact_revision: history below it is gone, or about to be; 0 if never compacted.
        hash: CRC-32C over every bucket, as `etcdutl snapshot status` computes it. It covers the
            member's own records, so it differs from member to member.
        hash_kv: CRC-32C over the history at `revision`, as `etcdctl endpoint hashkv` computes it.
            Equal on all members at equal revision and compact_revision.
        keys: live keys.
        placeholders: 1 if a revision bump left its empty record (etcdutl counts it as a key).
        tombstones: records of deletions.
        revisions: records of the key bucket, tombstones and history included.
        resources: live keys per Kubernetes resource, most first.
        members: of the cluster it came from.
        kube_system_uid: uid of the Namespace kube-system, which names a Kubernetes cluster for
            life; None if there is none or it is encrypted.
        cluster_version: etcd's cluster version, e.g. "3.7.0"; "" if not set.
        storage_version: of the file's schema, e.g. "3.7.0"; "" before etcd 3.6.
        consistent_index: last raft index applied.
        term: raft term of it.
    """

    file_size: int
    db_size: int
    page_size: int
    free_pages: int
    txid: int
    sha256: str
    sealed: bool
    revision: int
    compact_revision: int
    hash: int
    hash_kv: int
    keys: int
    placeholders: int
    tombstones: int
    revisions: int
    resources: dict[str, int]
    members: tuple[SnapshotMember, ...]
    kube_system_uid: str | None
    cluster_version: str
    storage_version: str
    consistent_index: int
    term: int

    def as_json(self) -> dict[str, Any]:
        """JSON-ready; ids of members as hex strings, as etcdctl prints them."""
        found = asdict(self)
        for member in found["members"]:
            member["id"] = f"{member['id']:x}"
        return found
