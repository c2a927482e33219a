"""From an open bbolt image to everything a snapshot says about itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kops_toolkit.etcd import mvcc, objects
from kops_toolkit.etcd.facts import SnapshotFacts, SnapshotMember

if TYPE_CHECKING:
    from kops_toolkit.etcd.bolt import Bolt
    from kops_toolkit.system.progress import Progress

BUCKETS = (b"key", b"meta", b"members", b"cluster")  # etcd makes them at its first start


def facts(bolt: Bolt, progress: Progress, *, sha256: str = "") -> SnapshotFacts:
    """Read the whole image once.

    Args:
        bolt: freshly opened.
        progress: hears of bytes.
        sha256: hex, of the image, where it is known already.

    Raises:
        PageDamageError: the pages do not form a tree.
        RecordDamageError: what they hold is not etcd's.
    """
    history = mvcc.read(bolt, wanted=(objects.KUBE_SYSTEM,), progress=progress)
    free = bolt.check_free()
    missing = [name.decode() for name in BUCKETS if name not in history.names]
    if missing:
        raise mvcc.RecordDamageError(
            f"it is a bbolt file, but not etcd's: it has no bucket {', '.join(missing)}"
        )
    meta, cluster = history.buckets[b"meta"], history.buckets[b"cluster"]
    kube_system = history.values.get(objects.KUBE_SYSTEM)
    return SnapshotFacts(
        file_size=bolt.size,
        db_size=bolt.image,
        page_size=bolt.meta.page_size,
        free_pages=free,
        txid=bolt.meta.txid,
        sha256=sha256,
        sealed=bolt.trailer is not None,
        revision=history.revision,
        compact_revision=history.compact_revision,
        hash=history.hash,
        hash_kv=history.hash_kv,
        keys=len(history.live) - (b"" in history.live),
        placeholders=int(b"" in history.live),
        tombstones=history.tombstones,
        revisions=history.revisions,
        resources=objects.per_resource(key for key in history.live if key),
        members=tuple(_member(value) for value in history.buckets[b"members"].values()),
        kube_system_uid=objects.uid(kube_system) if kube_system else None,
        cluster_version=cluster.get(b"clusterVersion", b"").decode("utf-8", "replace"),
        storage_version=meta.get(b"storageVersion", b"").decode("utf-8", "replace"),
        consistent_index=int.from_bytes(meta.get(b"consistent_index", b"")[:8], "big"),
        term=int.from_bytes(meta.get(b"term", b"")[:8], "big"),
    )


def _member(value: bytes) -> SnapshotMember:
    try:
        found = json.loads(value)
        return SnapshotMember(
            id=int(found["id"]),
            name=str(found.get("name", "")),
            peer_urls=tuple(map(str, found.get("peerURLs") or ())),
            client_urls=tuple(map(str, found.get("clientURLs") or ())),
            learner=bool(found.get("isLearner", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise mvcc.RecordDamageError("what it says of a member is no member") from cause
