"""A backup is there whole, checked and described, or not at all."""

from __future__ import annotations

import errno
import json
import stat
from typing import IO, TYPE_CHECKING

import pytest

from kops_toolkit.errors import (
    ArtefactInvalidError,
    KtError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from kops_toolkit.etcd import backup, sidecar
from kops_toolkit.etcd.backup import Backup, Backups
from kops_toolkit.etcd.messages import KvHash
from kops_toolkit.etcd.refusals import RevisionAwayError
from kops_toolkit.etcd.sink import BATCH, Sink
from kops_toolkit.etcd.verify import verify
from kops_toolkit.outcome import Status
from tests.fakes import bolt
from tests.fakes.clock import START, FakeClock
from tests.fakes.etcd import MEMBER, FakeMember, status

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "https://10.0.0.1:2379"


class Notes:
    """Implements Progress."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.amounts: list[tuple[int, int | None, str]] = []

    def step(self, text: str) -> None:
        self.notes.append(text)

    def amount(self, done: int, total: int | None, unit: str) -> None:
        self.amounts.append((done, total, unit))

    def note(self, text: str) -> None:
        self.notes.append(text)


def take(member: FakeMember, path: Path, notes: Notes | None = None) -> Backup:
    return Backups(FakeClock(), notes or Notes()).take(member, path, origin=ORIGIN)


def statuses(taken: Backup) -> dict[str, Status]:
    return {check.name: check.status for check in taken.report.checks}


def test_what_was_taken_verifies_against_its_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "it.db"
    taken = take(FakeMember(), path)
    assert path.read_bytes() == FakeMember().data
    assert set(statuses(taken).values()) == {Status.PASSED}
    assert {file.name for file in tmp_path.iterdir()} == {"it.db", "it.db.json"}
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    verified = verify(path, clock=FakeClock())
    assert {check.status for check in verified.report.checks} == {Status.PASSED}
    assert verified.require() == taken.facts


def test_the_sidecar_tells_where_it_came_from(tmp_path: Path) -> None:
    take(FakeMember(), tmp_path / "it.db")
    content = json.loads((tmp_path / "it.db.json").read_text(encoding="utf-8"))
    assert content["format"] == sidecar.FORMAT
    assert (content["cluster_id"], content["member_id"]) == ("c1", "abc")
    assert (content["member_name"], content["members"]) == ("one", ["one"])
    assert content["taken"] == "2026-01-01T00:00:00+00:00"
    assert (content["origin"], content["etcd_version"]) == (ORIGIN, "3.7.0")
    assert (content["revision"], content["keys"], content["size"]) == (
        21,
        11,
        len(FakeMember().data),
    )


def test_progress_counts_bytes_up_to_all_of_them(tmp_path: Path) -> None:
    notes = Notes()
    take(FakeMember(), tmp_path / "it.db", notes)
    size = len(FakeMember().data)
    assert (size, size, "bytes") in notes.amounts


@pytest.mark.parametrize("taken", ["it.db", "it.db.json"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine", encoding="utf-8")
    with pytest.raises(RefusedError, match="left alone"):
        take(FakeMember(), tmp_path / "it.db")
    assert (tmp_path / taken).read_text(encoding="utf-8") == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "it.db"

    class Late(FakeMember):
        def hash_kv(self, revision: int = 0) -> KvHash:
            path.write_text("mine", encoding="utf-8")
            return super().hash_kv(revision)

    with pytest.raises(RefusedError):
        take(Late(), path)
    assert path.read_text(encoding="utf-8") == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["it.db"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no folder"):
        take(FakeMember(), tmp_path / "no" / "it.db")


def damaged() -> bytes:
    data = bytearray(FakeMember().data)
    data[5000] ^= 1
    return bytes(data)


def unsound() -> bytes:
    image = bytearray(FakeMember().data[:-32])
    image[4 * 1024 + 3] ^= 1  # the id of a page in use
    return bolt.sealed(bytes(image))


@pytest.mark.parametrize(
    ("member", "kind", "match"),
    [
        (
            FakeMember(breaks_at=4000, error=UnreachableError("it died")),
            UnreachableError,
            r"broke after 4200 of \d+ bytes \(it died\); nothing was left under it.db",
        ),
        (FakeMember(ends_at=4000), UnreachableError, r"ended \d+ bytes early"),
        (FakeMember(data=FakeMember().data[:-32]), ArtefactInvalidError, "without its sha256"),
        (FakeMember(data=b""), ArtefactInvalidError, "without its sha256"),
        (FakeMember(data=b"short"), ArtefactInvalidError, "without its sha256"),
        (FakeMember(data=damaged()), ArtefactInvalidError, "damaged on its way"),
        (FakeMember(data=unsound()), ArtefactInvalidError, "what the member sent is no sound"),
        (
            FakeMember(hash=KvHash(1, 21, -1, MEMBER, 21)),
            ArtefactInvalidError,
            "says 1; it was not",
        ),
        (FakeMember(says=status(1 << 60)), NoSpaceError, "there is no room"),
        (
            FakeMember(breaks_at=4000, error=OSError(errno.ENOSPC, "No space left")),
            NoSpaceError,
            "is full",
        ),
    ],
)
def test_nothing_is_left_of_a_failure(
    tmp_path: Path, member: FakeMember, kind: type[KtError], match: str
) -> None:
    with pytest.raises(kind, match=match):
        take(member, tmp_path / "it.db")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_after_ctrl_c(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        take(FakeMember(breaks_at=4000, error=KeyboardInterrupt()), tmp_path / "it.db")
    assert list(tmp_path.iterdir()) == []


def test_a_member_that_compacted_meanwhile_cannot_be_compared(tmp_path: Path) -> None:
    answers: tuple[KvHash | Exception, ...] = (
        KvHash(1, 21, 15, MEMBER, 30),
        RevisionAwayError("compacted"),
        UnreachableError("gone"),
    )
    for number, answer in enumerate(answers):
        taken = take(FakeMember(hash=answer), tmp_path / f"{number}.db")
        assert statuses(taken)["same-as-member"] is Status.SKIPPED
        assert taken.report.status is Status.PASSED


def test_what_is_odd_about_the_member_is_said(tmp_path: Path) -> None:
    notes = Notes()
    odd = status(100, leader=0, errors=("alarm:NOSPACE",))
    take(FakeMember(says=odd), tmp_path / "it.db", notes)
    assert "the member says: alarm:NOSPACE" in notes.notes
    assert any("no leader" in note for note in notes.notes)


class Full:
    """A file on a disk that takes `room` bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data)


def test_a_disk_that_becomes_full_stops_the_stream_early() -> None:
    file: IO[bytes] = Full(3 * BATCH)  # type: ignore[assignment]  # only `write` is used
    sent = 0
    with pytest.raises(OSError, match="No space left"), Sink(file) as sink:
        for _ in range(10_000):
            sink.take(bytes(BATCH))
            sent += 1
    assert sent < 100


def test_default_names_sort_by_time(tmp_path: Path) -> None:
    assert backup.default_name("kt-control-plane", START) == (
        "etcd-kt-control-plane-20260101T000000Z.db"
    )
    assert backup.default_name("a/b c", START) == "etcd-a-b-c-20260101T000000Z.db"
    assert backup.place(tmp_path, "x", START).parent == tmp_path
    assert backup.place(tmp_path / "f.db", "x", START) == tmp_path / "f.db"
    assert str(backup.place(None, "x", START)) == "etcd-x-20260101T000000Z.db"
