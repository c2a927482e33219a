"""The messages of etcd's API that kt speaks (field numbers: `api/etcdserverpb/rpc.proto`)."""

from __future__ import annotations

from dataclasses import dataclass

from kops_toolkit.etcd import wire


@dataclass(frozen=True)
class MemberStatus:
    """What a member says of itself (StatusResponse).

    Attributes:
        cluster_id: of the cluster it belongs to.
        member_id: its own.
        revision: of its key space.
        version: of its binary, e.g. "3.7.0".
        db_size: bytes of its file that are allocated: what a snapshot of it takes.
        db_size_in_use: bytes of it that hold data.
        leader: member id of the leader as it knows it; 0: none, i.e. no quorum.
        raft_term: raft's term.
        raft_index: last entry committed.
        raft_applied_index: last entry applied.
        learner: it does not vote.
        storage_version: of its file's schema; "" before etcd 3.6.
        errors: what is wrong in its own words: alarms, no leader.
    """

    cluster_id: int
    member_id: int
    revision: int
    version: str
    db_size: int
    db_size_in_use: int
    leader: int
    raft_term: int
    raft_index: int
    raft_applied_index: int
    learner: bool
    storage_version: str
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """A member as the cluster knows it (MemberListResponse)."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool


@dataclass(frozen=True)
class KvHash:
    """A member's own HashKV.

    Attributes:
        hash: CRC-32C over the history at `revision`.
        revision: that it was computed at.
        compact_revision: that it was computed above; hashes of different ones do not compare.
        member_id: who computed it.
        current_revision: of the member's key space when it answered.
    """

    hash: int
    revision: int
    compact_revision: int
    member_id: int
    current_revision: int


@dataclass(frozen=True)
class KeyValue:
    """One key's last revision (mvccpb.KeyValue)."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int


def status(message: bytes) -> MemberStatus:
    """Read a StatusResponse."""
    found = wire.fields(message)
    header = wire.fields(wire.blob(found, 1))
    return MemberStatus(
        cluster_id=wire.number(header, 1),
        member_id=wire.number(header, 2),
        revision=wire.number(header, 3),
        version=wire.text(found, 2),
        db_size=wire.number(found, 3),
        db_size_in_use=wire.number(found, 9),
        leader=wire.number(found, 4),
        raft_term=wire.number(found, 6),
        raft_index=wire.number(found, 5),
        raft_applied_index=wire.number(found, 7),
        learner=bool(wire.number(found, 10)),
        storage_version=wire.text(found, 11),
        errors=tuple(item.decode("utf-8", "replace") for item in wire.blobs(found, 8)),
    )


def members(message: bytes) -> tuple[Member, ...]:
    """Read a MemberListResponse, sorted by member id."""
    listed = [wire.fields(item) for item in wire.blobs(wire.fields(message), 2)]
    return tuple(
        sorted(
            (
                Member(
                    id=wire.number(item, 1),
                    name=wire.text(item, 2),
                    peer_urls=tuple(url.decode() for url in wire.blobs(item, 3)),
                    client_urls=tuple(url.decode() for url in wire.blobs(item, 4)),
                    learner=bool(wire.number(item, 5)),
                )
                for item in listed
            ),
            key=lambda member: member.id,
        )
    )


def kv_hash(message: bytes, asked: int) -> KvHash:
    """Read a HashKVResponse; etcd before 3.6 does not repeat the revision, so `asked` fills in."""
    found = wire.fields(message)
    header = wire.fields(wire.blob(found, 1))
    current = wire.number(header, 3)
    return KvHash(
        hash=wire.number(found, 2),
        revision=wire.number(found, 4) or asked or current,
        compact_revision=_signed(wire.number(found, 3)),
        member_id=wire.number(header, 2),
        current_revision=current,
    )


def range_one(message: bytes) -> KeyValue | None:
    """Read a RangeResponse of at most one key."""
    found = wire.blobs(wire.fields(message), 2)
    if not found:
        return None
    item = wire.fields(found[0])
    return KeyValue(
        key=wire.blob(item, 1),
        value=wire.blob(item, 5),
        create_revision=wire.number(item, 2),
        mod_revision=wire.number(item, 3),
        version=wire.number(item, 4),
    )


def blob(message: bytes) -> tuple[int, bytes]:
    """Read a SnapshotResponse: bytes that are still to come, and bytes."""
    found = wire.fields(message)
    return wire.number(found, 2), wire.blob(found, 3)


def _signed(value: int) -> int:
    """An int64: a store that was never compacted says -1."""
    return value - (1 << 64) if value >> 63 else value
