"""Is this file a sound snapshot? Every layer is put to the test, and says what it proves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kops_toolkit.errors import ArtefactInvalidError
from kops_toolkit.etcd import bolt as bolts
from kops_toolkit.etcd import sidecar, snapshot
from kops_toolkit.etcd.digest import Digest
from kops_toolkit.etcd.mvcc import RecordDamageError
from kops_toolkit.etcd.pages import PageDamageError
from kops_toolkit.outcome import Check, Evidence, Report, Status
from kops_toolkit.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kops_toolkit.etcd.facts import SnapshotFacts
    from kops_toolkit.system.clock import Clock
    from kops_toolkit.system.progress import Progress

TITLES: Mapping[str, str] = {
    "trailer": "The sha256 at its end matches, so every byte is as the member sent it",
    "metas": "Both meta pages are valid, so the file is a bbolt image with a known root",
    "pages": "Every page is reached once or free, in key order, so etcd can open and walk it",
    "records": "Every record agrees with the revision that names it, so it is etcd's history",
    "sidecar": "It is what its sidecar says, so it is the file that was taken then",
}


@dataclass(frozen=True)
class Verified:
    """What became of a file.

    Attributes:
        path: the file.
        report: one check per layer; its facts are those of `facts`.
        facts: None if the file could not be read to its end.
    """

    path: Path
    report: Report
    facts: SnapshotFacts | None

    def require(self) -> SnapshotFacts:
        """The facts of a file that passed.

        Raises:
            ArtefactInvalidError: it did not; the message has the first reason.
        """
        failed = [check for check in self.report.checks if check.status is Status.FAILED]
        if failed or self.facts is None:
            seen = failed[0].evidence[0].observed if failed else "it could not be read"
            raise ArtefactInvalidError(f"{self.path} is no sound snapshot: {seen}")
        return self.facts


def verify(path: Path, *, clock: Clock, progress: Progress | None = None) -> Verified:
    """Read the whole file and judge each layer; a damaged file is a verdict, not an exception.

    Raises:
        NotFoundError: there is no such file.
        ArtefactInvalidError: it is no file that can be read (a folder, no permission).
    """
    progress = progress or Silent()
    started, begin = clock.now(), clock.monotonic()
    progress.step(f"verifying {path.name}")
    checks: list[Check] = []
    facts = None
    size = bolts.size_of(path)
    sealed = size % bolts.SECTOR == bolts.TRAILER
    with Digest(path, size - bolts.TRAILER if sealed else size) as digest:
        try:
            with bolts.opened(path) as bolt:
                checks.append(_metas(path, bolt))
                facts = snapshot.facts(bolt, progress)
                checks.append(_pages(path, facts))
                checks.append(_records(path, facts))
        except PageDamageError as damage:
            reason = "the pages are broken"
            checks.append(_failed("pages", "a sound tree", damage.message, reason, path))
        except RecordDamageError as damage:
            checks.append(_failed("records", "etcd's", damage.message, "a record is broken", path))
        # A file that could not even be opened is not worth reading to its end.
        sha256 = digest.result() if checks[0].name == "metas" else None
        checks.append(_trailer(path, size, sha256, facts))
    if facts and sha256:
        facts = replace(facts, sha256=sha256.hex())
        checks.append(_sidecar(path, facts))
    report = Report(
        name="etcd-verify",
        checks=tuple(checks),
        started=started,
        seconds=clock.monotonic() - begin,
        facts={"file": str(path), **(facts.as_json() if facts else {})},
    )
    return Verified(path, report, facts)


def _trailer(path: Path, size: int, sha256: bytes | None, facts: SnapshotFacts | None) -> Check:
    name, title = "trailer", TITLES["trailer"]
    if sha256 and size % bolts.SECTOR == bolts.TRAILER:
        with path.open("rb") as file:
            file.seek(size - bolts.TRAILER)
            said = file.read(bolts.TRAILER).hex()
        seen = f"its bytes hash to sha256 {sha256.hex()}"
        if said != sha256.hex():
            return _failed(name, f"{said}, as its end says", seen, "the sha256 differs", path)
        return _passed(name, said, seen, path)
    if facts is None:
        reason = "what it is could not be read"
        return Check(name, title, Status.ABORTED, reason=reason)
    if size % bolts.SECTOR:
        seen = f"{size} bytes, {size - facts.db_size} of them behind the last page"
        return _failed(name, "32 bytes there", seen, "something was cut off or appended", path)
    reason = (
        "there is none: this is a copy of a member's own db file, no snapshot. Nothing proves its"
        " values, and what was only in the write-ahead log is missing"
    )
    return Check(name, title, Status.SKIPPED, reason=reason)


def _metas(path: Path, bolt: bolts.Bolt) -> Check:
    broken = [str(number) for number, meta in enumerate(bolt.metas) if meta is None]
    if broken:
        seen = f"meta page {broken[0]} is damaged; bbolt would open the file by the other one"
        return _failed("metas", "two valid meta pages", seen, "one is not valid", path)
    meta = bolt.meta
    seen = f"txid {meta.txid}, {meta.hwm} pages of {meta.page_size} bytes, root page {meta.root}"
    return _passed("metas", "two valid meta pages", seen, path)


def _pages(path: Path, facts: SnapshotFacts) -> Check:
    pages = facts.db_size // facts.page_size
    seen = f"{pages - facts.free_pages} of {pages} pages in use, {facts.free_pages} free"
    return _passed("pages", "every page in use once, or free", seen, path)


def _records(path: Path, facts: SnapshotFacts) -> Check:
    seen = (
        f"{facts.revisions} records up to revision {facts.revision}, {facts.keys} live keys,"
        f" HASH {facts.hash}, HashKV {facts.hash_kv} at compact revision {facts.compact_revision}"
    )
    return _passed("records", "mod_revision of each record = its revision", seen, path)


def _sidecar(path: Path, facts: SnapshotFacts) -> Check:
    try:
        content = sidecar.load(path)
    except ArtefactInvalidError as error:
        return _failed("sidecar", sidecar.FORMAT, error.message, "it is unreadable", path)
    if content is None:
        reason = "there is none"
        return Check("sidecar", TITLES["sidecar"], Status.SKIPPED, reason=reason)
    found = sidecar.described(facts)
    wrong = [key for key, value in found.items() if content.get(key) != value]
    if wrong:
        key = wrong[0]
        seen = f"its {key} is {found[key]}, its sidecar says {content.get(key)}"
        return _failed("sidecar", f"{key} {content.get(key)}", seen, "they differ", path)
    seen = f"taken {content.get('taken')} from cluster {content.get('cluster_id')}"
    return _passed("sidecar", "the same " + ", ".join(found), seen, path)


def _passed(name: str, expected: str, observed: str, path: Path) -> Check:
    evidence = Evidence(expected, observed, str(path))
    return Check(name, TITLES[name], Status.PASSED, (evidence,))


def _failed(name: str, expected: str, observed: str, reason: str, path: Path) -> Check:
    evidence = Evidence(expected, observed, str(path))
    return Check(name, TITLES[name], Status.FAILED, (evidence,), reason)
