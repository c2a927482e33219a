"""Hashes and state, against a slow reader that follows etcd's rules one record at a time."""

from __future__ import annotations

from dataclasses import replace

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kops_toolkit.etcd import mvcc, wire
from kops_toolkit.etcd.bolt import Bolt
from kops_toolkit.etcd.mvcc import History, RecordDamageError
from tests.fakes.bolt import Etcd, Image, Items, example, name

KEYS = [b"/a", b"/b", b"/c"]
STEPS = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=25)


def crc(*parts: bytes) -> int:
    return int(google_crc32c.value(b"".join(parts)))


def slow_hash_kv(records: Items, at: int, compact: int) -> int:
    """`server/storage/mvcc/hash.go` and `index.go: Keep`, word by word."""
    keep: dict[bytes, bytes] = {}
    for revision, record in records:
        key = wire.blob(wire.fields(record), 1)
        if main(revision) <= at:
            keep.pop(key, None)
            if len(revision) == 17:
                keep[key] = revision
    parts = [b"key"]
    for revision, record in records:
        if main(revision) > at:
            continue
        if main(revision) <= compact and keep and revision not in keep.values():
            continue
        if main(revision) == compact and len(revision) == 18:
            continue
        parts += [revision, record]
    return crc(*parts)


def main(revision: bytes) -> int:
    return int.from_bytes(revision[:8], "big")


def read(etcd: Etcd, *, at: int | None = None, wanted: tuple[bytes, ...] = ()) -> History:
    return mvcc.read(Bolt(etcd.image()), at=at, wanted=wanted)


def test_hash_covers_every_bucket_in_name_order() -> None:
    etcd = example()
    parts: list[bytes] = []
    for bucket, items in sorted(etcd.buckets().items()):
        parts += [bucket, *(part for item in items for part in item)]
    assert read(etcd).hash == crc(*parts)


@given(STEPS, st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None)
def test_hash_kv_at_any_revision_and_compaction(
    steps: list[tuple[bytes, bool]], compact: int, at: int
) -> None:
    etcd = Etcd(compacted=compact)
    for key, delete in steps:
        if delete:
            etcd.delete(key)
        else:
            etcd.put(key, b"value")
    last = etcd.revision if etcd.records else 0
    history = read(etcd, at=at)
    assert history.hash_kv == slow_hash_kv(etcd.records, at, compact)
    assert read(etcd).hash_kv == slow_hash_kv(etcd.records, last, compact)
    assert history.revision == last


def test_state_at_the_last_revision() -> None:
    etcd = example()
    history = read(etcd, wanted=(b"/registry/pods/default/p01", b"/registry/pods/default/p00"))
    assert set(history.live) == set(etcd.live)
    assert history.values == {b"/registry/pods/default/p01": b"changed"}
    assert history.tombstones == 4
    assert history.revisions == len(etcd.records)


def test_state_at_an_earlier_revision() -> None:
    history = read(example(), at=13, wanted=(b"/registry/pods/default/p01",))
    assert len(history.live) == 12
    assert history.values == {b"/registry/pods/default/p01": b"pod 1"}
    assert history.at == 13


def test_the_empty_record_of_a_bump() -> None:
    etcd = example()
    etcd.bump(1_000_000)
    history = read(etcd)
    assert history.revision == etcd.revision
    assert set(history.live) == {*etcd.live, b""}


def test_a_scheduled_compaction_counts_as_done() -> None:
    etcd = replace(example(), compacted=5)
    buckets = etcd.buckets()
    buckets[b"meta"].append((b"zz", b""))
    buckets[b"meta"].insert(2, (b"scheduledCompactRev", name(9)))
    history = mvcc.read(Bolt(Image().build(buckets)))
    assert history.compact_revision == 9
    assert history.hash_kv == slow_hash_kv(etcd.records, etcd.revision, 9)


def test_a_small_key_bucket_may_be_inline() -> None:
    etcd = Etcd(compacted=3)
    etcd.put(b"/a", b"1")
    etcd.put(b"/a", b"2")
    etcd.put(b"/b", b"3")
    history = mvcc.read(Bolt(Image().build(etcd.buckets(), inline=[b"key"])))
    assert history.hash_kv == slow_hash_kv(etcd.records, etcd.revision, 3)


GOOD = wire.data(1, b"/a") + wire.integer(2, 5) + wire.integer(3, 5) + wire.integer(4, 1)


@pytest.mark.parametrize(
    ("revision", "record"),
    [
        (name(5)[:16], GOOD),
        (name(5) + b"x", GOOD),
        (name(5).replace(b"_", b"-"), GOOD),
        (name(0), GOOD),
        (name(6), GOOD),
        (name(4), GOOD),
        (name(5), GOOD[4:]),
        (name(5), b"\x0a\x7f/a"),
        (name(5), wire.data(1, b"/a")),
        (name(5) + b"t", GOOD),
        (name(5) + b"t", b""),
        (name(5), b"\x0a\x00" + GOOD[4:]),
    ],
)
def test_a_record_that_disagrees_with_its_name(revision: bytes, record: bytes) -> None:
    image = Image().build({b"key": [(revision, record)]})
    with pytest.raises(RecordDamageError):
        mvcc.read(Bolt(image))
