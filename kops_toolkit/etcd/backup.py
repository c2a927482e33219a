"""Takes a snapshot of a member: streamed, checked while it arrives, published only if sound.

What a kill leaves: the snapshot grows under a `.part` name, is read back and compared with the
member there, and its sidecar is written before it gets its own name. So whatever lies under the
final name has passed; a kill in between leaves at most a `.part` file or a lone sidecar.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from kops_toolkit.errors import (
    ArtefactInvalidError,
    NoSpaceError,
    NotFoundError,
    UnreachableError,
)
from kops_toolkit.etcd import bolt as bolts
from kops_toolkit.etcd import sidecar, snapshot
from kops_toolkit.etcd.sink import Sink
from kops_toolkit.outcome import Check, Evidence, Report, Status
from kops_toolkit.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from kops_toolkit.etcd.facts import SnapshotFacts
    from kops_toolkit.etcd.messages import KvHash, MemberStatus
    from kops_toolkit.system.clock import Clock
    from kops_toolkit.system.progress import Progress

SPARE = 1 << 20  # bytes that must be free beyond the snapshot's


class Source(Protocol):
    """What a backup needs of a member; `client.Client` is one."""

    def status(self) -> MemberStatus:
        """See Client."""
        ...

    def hash_kv(self, revision: int = 0) -> KvHash:
        """See Client."""
        ...

    def snapshot(self) -> Iterator[tuple[int, bytes]]:
        """See Client."""
        ...


@dataclass(frozen=True)
class Backup:
    """A snapshot that was taken.

    Attributes:
        path: the file; its sidecar is `sidecar.path_of(path)`.
        facts: what it says of itself.
        member: what the member said of itself just before.
        report: what was checked.
    """

    path: Path
    facts: SnapshotFacts
    member: MemberStatus
    report: Report


def default_name(cluster: str, now: datetime) -> str:
    """A file name that sorts by time: `etcd-<cluster>-20261124T020000Z.db`."""
    plain = "".join(char if char.isalnum() or char in "-_." else "-" for char in cluster)
    return f"etcd-{plain}-{now:%Y%m%dT%H%M%SZ}.db"


def place(output: Path | None, cluster: str, now: datetime) -> Path:
    """Where a snapshot goes: the file that was asked for, or its default name in that folder."""
    if output is None or output.is_dir():
        return (output or Path()) / default_name(cluster, now)
    return output


class Backups:
    """Takes snapshots.

    Args:
        clock: names and times them.
        progress: hears of steps and bytes.
    """

    def __init__(self, clock: Clock, progress: Progress) -> None:
        self._clock = clock
        self._progress = progress

    def take(self, source: Source, path: Path, *, origin: str) -> Backup:
        """Stream one member's snapshot to `path`, with a sidecar beside it.

        Args:
            source: the member.
            path: the file to make; its folder must exist.
            origin: the member's URL, for the record.

        Raises:
            RefusedError: the file or its sidecar exists.
            NotFoundError: there is no such folder.
            NoSpaceError: the disk is too small for it, or became full.
            UnreachableError: the member does not answer, or the stream broke.
            ArtefactInvalidError: what arrived is not sound, or not what the member holds.
        """
        started, begin = self._clock.now(), self._clock.monotonic()
        self._refuse_overwriting(path)
        member = source.status()
        self._heed(member, path)
        beside = sidecar.path_of(path)
        inode = None
        try:
            with files.atomic(path) as file:
                sha256 = self._stream(source, file, path, member)
                facts = self._read_back(file, sha256)
                checks = (_arrived(facts, origin), _read(facts, path), _same(facts, source, origin))
                report = Report(
                    name="etcd-backup",
                    checks=checks,
                    started=started,
                    seconds=self._clock.monotonic() - begin,
                    facts={"file": str(path), "sidecar": str(beside), **facts.as_json()},
                )
                files.write(beside, sidecar.dump(_record(facts, member, started, origin)))
                inode = os.fstat(file.fileno()).st_ino
                self._progress.step("putting it to the disk")
        except BaseException:
            # The sidecar goes unless the snapshot that it describes got its name after all.
            if inode is not None and not (path.exists() and path.stat().st_ino == inode):
                beside.unlink(missing_ok=True)
            raise
        return Backup(path, facts, member, report)

    def _refuse_overwriting(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise NotFoundError(f"there is no folder {path.parent}", "make it first")
        for target in (path, sidecar.path_of(path)):
            if target.exists() or target.is_symlink():
                raise files.exists(target)

    def _heed(self, member: MemberStatus, path: Path) -> None:
        """Say what is odd about the member, and stop where its file cannot fit."""
        for error in member.errors:
            self._progress.note(f"the member says: {error}")
        if not member.leader:
            self._progress.note(
                "its cluster has no leader: the snapshot is this member's own state"
            )
        free = shutil.disk_usage(path.parent).free
        if free < member.db_size + SPARE:
            raise NoSpaceError(
                f"there is no room for the snapshot: it takes {member.db_size} bytes, the disk that"
                f" holds {path.parent.absolute()} has {free} free",
                "free some space or choose another place",
            )

    def _stream(self, source: Source, file: IO[bytes], path: Path, member: MemberStatus) -> str:
        self._progress.step(f"streaming the snapshot to {path.name}")
        total = member.db_size
        left = -1
        with Sink(file) as sink:
            try:
                for left, data in source.snapshot():
                    sink.take(data)
                    total = max(total, sink.taken + left)
                    self._progress.amount(sink.taken, total, "bytes")
            except UnreachableError as cause:
                raise UnreachableError(
                    f"the snapshot stream broke after {sink.taken} of {total} bytes"
                    f" ({cause.message}); nothing was left under {path.name}",
                    cause.hint,
                ) from cause
            if left > 0:
                raise UnreachableError(
                    f"the snapshot stream ended {left} bytes early;"
                    f" nothing was left under {path.name}"
                )
            return sink.finish()

    def _read_back(self, file: IO[bytes], sha256: str) -> SnapshotFacts:
        file.flush()
        self._progress.step("reading it back")
        try:
            with bolts.mapped(file.fileno()) as bolt:
                return snapshot.facts(bolt, self._progress, sha256=sha256)
        except ArtefactInvalidError as cause:
            raise ArtefactInvalidError(
                f"what the member sent is no sound snapshot: {cause.message}; it was not kept",
                "its own database may be damaged: take the snapshot from another member",
            ) from cause


def _arrived(facts: SnapshotFacts, origin: str) -> Check:
    evidence = Evidence("the sha256 that the member sent last", f"sha256 {facts.sha256}", origin)
    title = "The stream's sha256 matches, so every byte is as the member sent it"
    return Check("arrived", title, Status.PASSED, (evidence,))


def _read(facts: SnapshotFacts, path: Path) -> Check:
    seen = f"{facts.revisions} records up to revision {facts.revision}, {facts.keys} live keys"
    evidence = Evidence("sound pages and records", seen, str(path))
    title = "It was read back to its last record, so etcd can open it"
    return Check("read-back", title, Status.PASSED, (evidence,))


def _same(facts: SnapshotFacts, source: Source, origin: str) -> Check:
    """Ask the member for its own HashKV at the snapshot's revision.

    The hashes compare only if the member has not compacted since; it also may be too new or too
    busy to tell, which says nothing of the file.
    """
    name = "same-as-member"
    title = "The member computes the same HashKV, so the file holds what the member holds"
    try:
        told = source.hash_kv(facts.revision)
    except UnreachableError as error:
        return Check(name, title, Status.SKIPPED, reason=error.message)
    if max(told.compact_revision, 0) != facts.compact_revision:
        reason = f"the member compacted to revision {told.compact_revision} meanwhile"
        return Check(name, title, Status.SKIPPED, reason=reason)
    evidence = Evidence(f"HashKV {told.hash}", f"HashKV {facts.hash_kv}", origin)
    if told.hash != facts.hash_kv:
        raise ArtefactInvalidError(
            f"at revision {facts.revision} the snapshot's HashKV is {facts.hash_kv}, but its member"
            f" says {told.hash}; it was not kept"
        )
    return Check(name, title, Status.PASSED, (evidence,))


def _record(
    facts: SnapshotFacts, member: MemberStatus, taken: datetime, origin: str
) -> dict[str, object]:
    named = [item.name for item in facts.members if item.id == member.member_id]
    return {
        **sidecar.described(facts),
        "taken": taken.isoformat(timespec="seconds"),
        "origin": origin,
        "cluster_id": f"{member.cluster_id:x}",
        "member_id": f"{member.member_id:x}",
        "member_name": named[0] if named else "",
        "members": [item.name for item in facts.members],
        "etcd_version": member.version,
        "storage_version": facts.storage_version,
        "cluster_version": facts.cluster_version,
        "kube_system_uid": facts.kube_system_uid,
    }
