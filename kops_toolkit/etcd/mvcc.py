"""Reads etcd's key history out of a bbolt image: hashes, live keys, all in one pass.

The `key` bucket maps a revision (17 bytes: main, `_`, sub, big-endian; an 18th byte `t` marks a
tombstone) to an mvccpb.KeyValue (`server/storage/mvcc/revision.go`, `api/mvccpb/kv.proto`). Two
hashes are etcd's own, CRC-32C both: HASH over every bucket (`etcdutl/snapshot`, Status) and HashKV
over the history that compaction leaves at a revision (`server/storage/mvcc/hash.go`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import google_crc32c

from kops_toolkit.errors import ArtefactInvalidError
from kops_toolkit.etcd import wire
from kops_toolkit.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Collection

    from kops_toolkit.etcd.bolt import Bolt, Bucket
    from kops_toolkit.etcd.pages import Leaf
    from kops_toolkit.system.progress import Progress

REVISION, TOMBSTONE = 17, 18  # bytes of a key of the key bucket


class RecordDamageError(ArtefactInvalidError):
    """The pages are sound, but what they hold is not etcd's; the message says `it` to the file."""


@dataclass
class History:
    """The key bucket, read.

    Attributes:
        hash: see SnapshotFacts.hash.
        hash_kv: HashKV at `at`.
        revision: last one in the file; 0 if there is none.
        at: the revision that `live`, `values` and `hash_kv` are of.
        compact_revision: see SnapshotFacts.
        revisions: records in the bucket.
        tombstones: those of them that record a deletion.
        live: each live key at `at`, with its last revision's main number.
        values: the values of those wanted keys that are live at `at`.
        names: of all buckets.
        buckets: content of all buckets but `key`.
    """

    hash: int = 0
    hash_kv: int = 0
    revision: int = 0
    at: int = 0
    compact_revision: int = 0
    revisions: int = 0
    tombstones: int = 0
    live: dict[bytes, int] = field(default_factory=dict)
    values: dict[bytes, bytes] = field(default_factory=dict)
    names: tuple[bytes, ...] = ()
    buckets: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)


def read(
    bolt: Bolt,
    *,
    at: int | None = None,
    bumped: int | None = None,
    wanted: Collection[bytes] = (),
    progress: Progress | None = None,
) -> History:
    """Read every bucket once.

    Args:
        bolt: a freshly opened image; it can be read once.
        at: the revision to compute the state and HashKV at; None means the last one.
        bumped: HashKV is to be what a member says at this revision that was restored from the
            image with its revision raised to this one and marked compacted there.
        wanted: keys whose values to return.
        progress: hears of bytes.

    Raises:
        PageDamageError: the pages do not form a tree.
        RecordDamageError: a record is not what etcd writes.
    """
    buckets = bolt.buckets()
    history = History(names=tuple(bucket.name for bucket in buckets))
    for bucket in buckets:
        if bucket.name != b"key":
            leaves = bolt.leaves(bucket)
            history.buckets[bucket.name] = {
                key: leaf.page[start:end] for leaf in leaves for _, key, start, end in leaf.entries
            }
    history.compact_revision = _compact_revision(history.buckets.get(b"meta", {}))
    for bucket in buckets:  # in name order, which is HASH's
        history.hash = _extend(history.hash, bucket.name)
        if bucket.name == b"key":
            reader = _Reader(bolt, history, at, bumped, frozenset(wanted), progress or Silent())
            reader.read(bucket)
        else:
            content = history.buckets[bucket.name]
            history.hash = _extend(
                history.hash, b"".join(part for pair in content.items() for part in pair)
            )
    return history


class _Reader:
    """The pass over the key bucket, and what it keeps meanwhile.

    HashKV leaves out records up to the compact revision that are not the last live one of their
    key. Which those are is known only at the end, so the first pass remembers each page's place
    and collects the few records to leave out; then whole pages are hashed, except around those.
    """

    def __init__(
        self,
        bolt: Bolt,
        history: History,
        at: int | None,
        bumped: int | None,
        wanted: frozenset[bytes],
        progress: Progress,
    ) -> None:
        self._bolt = bolt
        self._history = history
        self._upto = at if at is not None else 1 << 63
        self._bumped = bumped
        self._compact = history.compact_revision if bumped is None else bumped
        self._wanted = wanted
        self._progress = progress
        self._latest: dict[bytes, tuple[bytes, int]] = {}  # key: its last revision, page's offset
        self._pages: list[tuple[int, int, int]] = []  # offset, start and end of its content
        self._left_out: dict[int, set[bytes]] = {}  # page's offset: revisions
        self._inline: Leaf | None = None

    def read(self, bucket: Bucket) -> None:
        total, page_size = self._bolt.image, self._bolt.meta.page_size
        done = 0
        for leaf in self._bolt.leaves(bucket):
            if leaf.offset < 0:
                self._inline = leaf
            self._history.hash = _extend(self._history.hash, leaf.page[leaf.start : leaf.end])
            self._pages.append((leaf.offset, leaf.start, leaf.end))
            self._records(leaf)
            done += len(leaf.page)
            if not len(self._pages) % 256:
                self._progress.amount(min(done, total), total, "bytes")
        self._progress.amount(self._bolt.reached * page_size, total, "bytes")
        history = self._history
        history.at = min(self._upto, history.revision)
        history.live = {
            key: int.from_bytes(revision[:8], "big") for key, (revision, _) in self._latest.items()
        }
        history.values = {
            key: _value_of(record) for key, record in history.values.items() if record
        }
        history.hash_kv = self._hash_kv() if self._bumped is None else self._bumped_hash_kv()

    def _records(self, leaf: Leaf) -> None:
        history, latest, page, offset = self._history, self._latest, leaf.page, leaf.offset
        compact, upto, wanted = self._compact, self._upto, self._wanted
        main = history.revision
        for _, revision, start, end in leaf.entries:
            main = _main_of(revision)
            deleted = len(revision) == TOMBSTONE
            history.tombstones += deleted
            key = _key_of(page, start, end, main, deleted=deleted)
            if main > upto:
                self._leave_out(offset, revision)
                continue
            before = latest.pop(key, None)
            if before is not None and int.from_bytes(before[0][:8], "big") <= compact:
                self._leave_out(before[1], before[0])
            if not deleted:
                latest[key] = (revision, offset)
            elif main <= compact:
                self._leave_out(offset, revision)
            if key in wanted:
                history.values[key] = b"" if deleted else page[start:end]
        history.revision = main
        history.revisions += len(leaf.entries)

    def _leave_out(self, offset: int, revision: bytes) -> None:
        self._left_out.setdefault(offset, set()).add(revision)

    def _hash_kv(self) -> int:
        if not self._latest:  # etcd: "don't skip if there isn't one" to keep
            self._left_out = {
                offset: {revision for revision in revisions if self._always_out(revision)}
                for offset, revisions in self._left_out.items()
            }
        return self._hash_live()

    def _hash_live(self) -> int:
        found = _extend(0, b"key")
        for offset, start, end in self._pages:
            out = self._left_out.get(offset)
            content = (
                self._inline.page[start:end]
                if self._inline is not None
                else self._bolt.read(offset + start, offset + end)
            )
            found = _extend(found, self._kept(offset, content, start, out) if out else content)
        return found

    def _bumped_hash_kv(self) -> int:
        """As if the bump's empty record were the last one; that of an earlier bump is then old."""
        if before := self._latest.pop(b"", None):
            self._leave_out(before[1], before[0])
        placeholder = struct.pack(">QcQ", self._bumped, b"_", 0)
        return _extend(self._hash_live(), placeholder)

    def _always_out(self, revision: bytes) -> bool:
        main = int.from_bytes(revision[:8], "big")
        return main > self._upto or (main == self._compact and len(revision) == TOMBSTONE)

    def _kept(self, offset: int, content: bytes, start: int, out: set[bytes]) -> bytes:
        leaf = self._inline or self._bolt.leaf_again(offset)
        pieces = []
        at = start
        for _, revision, _, end in leaf.entries:
            if revision not in out:
                pieces.append(content[at - start : end - start])
            at = end
        return b"".join(pieces)


def _main_of(revision: bytes) -> int:
    """The main number of a record's name, after a look at its form."""
    main = int.from_bytes(revision[:8], "big")
    well_formed = len(revision) == REVISION or (len(revision) == TOMBSTONE and revision[17] == 0x74)
    if not well_formed or revision[8] != 0x5F or not main:
        raise RecordDamageError(f"the record {revision.hex()} is named by no revision")
    return main


def _key_of(page: bytes, start: int, end: int, main: int, *, deleted: bool) -> bytes:
    """The key of a record, after a look at whether the record agrees with its revision."""
    if start == end and not deleted:
        return b""  # what `--bump-revision` leaves at the revision that it moves to
    try:
        at = _expect(page, start, 0x0A)  # etcd writes the fields in order, so the key comes first
        size, at = wire.read_varint(page, at)
        key = page[at : at + size]
        at += size
        if not deleted:
            created, at = wire.read_varint(page, _expect(page, at, 0x10))
            modified, at = wire.read_varint(page, _expect(page, at, 0x18))
    except (wire.WireError, IndexError) as cause:
        raise RecordDamageError(f"the record of revision {main} is no key and value") from cause
    agrees = at == end if deleted else modified == main >= created and at <= end
    if not agrees or not key:
        raise RecordDamageError(f"the record of revision {main} disagrees with its own name")
    return key


def _expect(page: bytes, at: int, tag: int) -> int:
    if page[at] != tag:
        raise wire.WireError(f"there is no field {tag >> 3}")
    return at + 1


def _value_of(record: bytes) -> bytes:
    try:
        return wire.blob(wire.fields(record), 5)
    except wire.WireError as cause:
        raise RecordDamageError("the record of a wanted key is no key and value") from cause


def _compact_revision(meta: dict[bytes, bytes]) -> int:
    """A member compacts up to the scheduled revision before it serves, so the higher one counts."""
    marks = (meta.get(b"finishedCompactRev", b""), meta.get(b"scheduledCompactRev", b""))
    return max(int.from_bytes(mark[:8], "big") for mark in marks)


def _extend(crc: int, data: bytes) -> int:
    return int(google_crc32c.extend(crc, data))
