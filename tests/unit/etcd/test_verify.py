"""What `verify` says of sound and of damaged files."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kops_toolkit.errors import ArtefactInvalidError, NotFoundError
from kops_toolkit.etcd import sidecar, snapshot
from kops_toolkit.etcd.bolt import Bolt
from kops_toolkit.etcd.facts import SnapshotFacts, SnapshotMember
from kops_toolkit.etcd.verify import TITLES, Verified, verify
from kops_toolkit.outcome import Status
from kops_toolkit.system.progress import Silent
from tests.fakes import bolt as fakes
from tests.fakes.bolt import PAGE, Image
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

GOOD = fakes.example().snapshot()
IMAGE = GOOD[:-32]


def judge(folder: Path, data: bytes) -> Verified:
    path = folder / "it.db"
    path.write_bytes(data)
    return verify(path, clock=FakeClock())


def verdicts(found: Verified) -> dict[str, Status]:
    return {check.name: check.status for check in found.report.checks}


def facts_of(data: bytes) -> SnapshotFacts:
    return snapshot.facts(Bolt(data), Silent())


def assert_found_or_shown(damaged: bytes) -> None:
    """Damage is refused, or touched nothing that is read, or etcd's own HASH tells of it."""
    whole = facts_of(IMAGE)
    try:
        found = facts_of(damaged)
    except ArtefactInvalidError:
        return
    # One meta page may be lost without harm to the tree: `verify` judges that by itself.
    assert found.hash != whole.hash or found == whole or found.txid != whole.txid


def test_a_sound_snapshot_passes_every_layer(tmp_path: Path) -> None:
    found = judge(tmp_path, GOOD)
    wanted = dict.fromkeys(TITLES, Status.PASSED) | {"sidecar": Status.SKIPPED}
    assert verdicts(found) == wanted
    assert found.report.status is Status.PASSED
    facts = found.require()
    assert facts.sealed
    assert facts.sha256 == hashlib.sha256(IMAGE).hexdigest()
    assert (facts.keys, facts.tombstones, facts.revision) == (11, 4, 21)
    assert facts.resources == {"pods": 9, "configmaps": 1, "widgets.example.com": 1}
    assert facts.members == (SnapshotMember(0xABC, "one", ("https://10.0.0.1:2380",)),)
    assert (facts.cluster_version, facts.storage_version) == ("3.7.0", "3.7.0")
    assert (facts.consistent_index, facts.term) == (77, 3)


def test_the_facts_are_json(tmp_path: Path) -> None:
    found = judge(tmp_path, GOOD)
    assert json.loads(json.dumps(found.report.facts))["members"][0]["id"] == "abc"


def test_a_bumped_snapshot_counts_its_empty_record_apart(tmp_path: Path) -> None:
    etcd = fakes.example()
    etcd.bump(1000)
    facts = judge(tmp_path, etcd.snapshot()).require()
    assert (facts.keys, facts.placeholders, facts.revision) == (11, 1, 1021)


def test_a_copied_db_file_is_told_from_a_cut_off_snapshot(tmp_path: Path) -> None:
    copied = judge(tmp_path, IMAGE)
    assert verdicts(copied)["trailer"] is Status.SKIPPED
    assert "copy of a member's own db file" in copied.report.checks[3].reason
    assert not copied.require().sealed
    grown = judge(tmp_path, IMAGE + bytes(PAGE))  # bbolt grows its files ahead of need
    assert verdicts(grown)["trailer"] is Status.SKIPPED
    cut = judge(tmp_path, GOOD[:-40])
    assert verdicts(cut)["pages"] is Status.FAILED
    with pytest.raises(ArtefactInvalidError, match="it is cut off"):
        cut.require()


def test_appended_bytes_are_found(tmp_path: Path) -> None:
    assert verdicts(judge(tmp_path, GOOD + b"x"))["trailer"] is Status.FAILED


def test_a_flipped_value_is_found_by_the_trailer_alone(tmp_path: Path) -> None:
    at = GOOD.index(b"changed")
    found = judge(tmp_path, GOOD[:at] + b"CHANGED" + GOOD[at + 7 :])
    assert [name for name, status in verdicts(found).items() if status is Status.FAILED] == [
        "trailer"
    ]
    with pytest.raises(ArtefactInvalidError, match="its bytes hash to"):
        found.require()


def test_one_damaged_meta_page_fails(tmp_path: Path) -> None:
    found = judge(tmp_path, fakes.sealed(IMAGE[:PAGE] + b"\xff" * 90 + IMAGE[PAGE + 90 :]))
    assert verdicts(found)["metas"] is Status.FAILED
    with pytest.raises(ArtefactInvalidError, match="meta page 1 is damaged"):
        found.require()


def test_a_bolt_file_of_another_program(tmp_path: Path) -> None:
    found = judge(tmp_path, fakes.sealed(Image().build({b"raft": [(b"a", b"b")]})))
    with pytest.raises(ArtefactInvalidError, match="not etcd's: it has no bucket key, meta"):
        found.require()


def test_a_member_that_is_no_json(tmp_path: Path) -> None:
    buckets = fakes.example().buckets()
    buckets[b"members"] = [(b"abc", b"[]")]
    found = judge(tmp_path, fakes.sealed(Image().build(buckets)))
    assert verdicts(found)["records"] is Status.FAILED


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 4096, b"x" * 544, bytes(range(256)) * 99])
def test_what_is_no_snapshot_at_all(tmp_path: Path, data: bytes) -> None:
    found = judge(tmp_path, data)
    assert found.report.status is Status.FAILED
    with pytest.raises(ArtefactInvalidError, match="is no sound snapshot: it is"):
        found.require()


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        verify(tmp_path / "none", clock=FakeClock())
    with pytest.raises(ArtefactInvalidError):
        verify(tmp_path, clock=FakeClock())
    with pytest.raises((ArtefactInvalidError, NotFoundError)):
        verify(tmp_path / ("n" * 5000), clock=FakeClock())


def test_the_sidecar_is_compared(tmp_path: Path) -> None:
    facts = judge(tmp_path, GOOD).require()
    beside = sidecar.path_of(tmp_path / "it.db")
    beside.write_bytes(sidecar.dump({**sidecar.described(facts), "taken": "then"}))
    assert verdicts(judge(tmp_path, GOOD))["sidecar"] is Status.PASSED
    beside.write_bytes(sidecar.dump({**sidecar.described(facts), "revision": 5}))
    with pytest.raises(ArtefactInvalidError, match="its revision is 21, its sidecar says 5"):
        judge(tmp_path, GOOD).require()
    for junk in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000):
        beside.write_bytes(junk)
        assert verdicts(judge(tmp_path, GOOD))["sidecar"] is Status.FAILED


@given(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, len(GOOD) * 8 - 1)),
        st.tuples(st.just("cut"), st.integers(0, len(GOOD) - 1)),
    )
)
@example(("flip", 0))
@example(("cut", len(GOOD) - 512))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_flipped_bit_and_any_cut_is_found(tmp_path: Path, damage: tuple[str, int]) -> None:
    kind, at = damage
    data = bytearray(GOOD)
    if kind == "flip":
        data[at // 8] ^= 1 << at % 8
    else:
        del data[at:]
    found = judge(tmp_path, bytes(data))
    # Cut exactly behind its last page, a snapshot is the same as a copied db file.
    if bytes(data) == IMAGE:
        assert verdicts(found)["trailer"] is Status.SKIPPED
    else:
        assert found.report.status is Status.FAILED


@given(st.lists(st.tuples(st.integers(0, len(IMAGE) - 1), st.integers(0, 255)), min_size=1))
@settings(deadline=None, max_examples=400)
def test_without_the_trailer_damage_is_found_or_shows_in_the_hash(
    bytes_: list[tuple[int, int]],
) -> None:
    data = bytearray(IMAGE)
    for at, value in bytes_:
        data[at] = value
    assert_found_or_shown(bytes(data))


@given(st.integers(0, len(IMAGE) // PAGE - 1), st.integers(0, len(IMAGE) // PAGE - 1))
@settings(deadline=None)
def test_a_page_in_another_ones_place_is_found(source: int, target: int) -> None:
    data = bytearray(IMAGE)
    data[target * PAGE : target * PAGE + PAGE] = IMAGE[source * PAGE : source * PAGE + PAGE]
    assert_found_or_shown(bytes(data))
