"""The undo journal: what must be taken back is on disk before the act, and survives SIGKILL.

One file a run, one JSON object a line, each fsynced before the act that it undoes:
`{"id": 3, "undo": "delete-namespace", "args": {...}, "says": "..."}` and, once undone or no longer
owed, `{"id": 3, "settled": true}`. The owner holds an flock on its file as long as it lives, so
`kt recover` can tell the journals of the dead from those of the living.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from kops_toolkit.errors import CleanupFailedError, EnvironmentNotReadyError, KtError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from kops_toolkit.system.clock import Clock


@dataclass(frozen=True)
class Undo:
    """One thing owed.

    Attributes:
        undo: which handler takes it back; the rooms register these names in `wiring`.
        args: all that the handler needs, JSON-serialisable; it must work in a new process.
        says: the act in words, for `kt recover` to show.
        id: its place in the journal, from 1.
    """

    undo: str
    args: Mapping[str, Any]
    says: str
    id: int = 0


class Handler(Protocol):
    """Takes one thing back. Idempotent: what is gone already is success."""

    def __call__(self, args: Mapping[str, Any]) -> None:
        """Do it, or raise a KtError."""
        ...


class Journal:
    """The open journal of one run. Use as a context manager: leaving it settles every debt."""

    def __init__(self, file: IO[str], path: Path, handlers: Mapping[str, Handler]) -> None:
        self._file = file
        self._path = path
        self._handlers = handlers
        self._owed: dict[int, Undo] = {}
        self._last = 0
        self.kept = False

    def owe(self, undo: str, says: str, **args: Any) -> int:  # noqa: ANN401 - JSON values
        """Write down how to take back what is about to be done; returns the debt's id."""
        if undo not in self._handlers:
            raise KeyError(f"no undo handler is called {undo!r}")
        self._last += 1
        debt = Undo(undo, args, says, self._last)
        self._write({"id": debt.id, "undo": undo, "args": args, "says": says})
        self._owed[debt.id] = debt
        return debt.id

    def settle(self, debt: int) -> None:
        """Strike out a debt: it has been taken back, or the act is meant to stay."""
        if self._owed.pop(debt, None) is not None:
            self._write({"id": debt, "settled": True})

    def undo(self, debt: int) -> None:
        """Take one thing back now, then strike it out."""
        if debt in self._owed:
            owed = self._owed[debt]
            if owed.undo not in self._handlers:
                raise CleanupFailedError(f"this kt has no handler called {owed.undo}")
            self._handlers[owed.undo](owed.args)
            self.settle(debt)

    @property
    def owed(self) -> tuple[Undo, ...]:
        """What is still owed, newest first: the order it is to be taken back in."""
        return tuple(reversed(self._owed.values()))

    def settle_all(self, since: int = 0) -> None:
        """Take everything back that was owed from this debt on, newest first, past failures.

        Args:
            since: the oldest debt that is meant; 0 for all.

        Raises:
            CleanupFailedError: at least one could not be taken back; the journal stays for
                `kt recover`.
        """
        failures: list[str] = []
        for debt in (debt for debt in self.owed if debt.id >= since):
            try:
                self.undo(debt.id)
            except KtError as error:
                failures.append(f"{debt.says}: {error.message}")
        if failures:
            raise CleanupFailedError(
                "could not take back: " + "; ".join(failures), "`kt recover` tries again"
            )

    def close(self) -> None:
        """Let go of the file; it is deleted if nothing is owed."""
        if not self._owed:
            with suppress(FileNotFoundError):
                self._path.unlink()
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if not self.kept:
                self.settle_all()
        finally:
            self.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _load(self) -> None:
        for entry in _entries(self._file):
            self._last = max(self._last, entry["id"])
            if entry.get("settled"):
                self._owed.pop(entry["id"], None)
            else:
                self._owed[entry["id"]] = Undo(
                    entry["undo"], entry["args"], entry["says"], entry["id"]
                )


class Journals:
    """The folder of journals.

    Args:
        folder: where they lie; made on first use, mode 0700.
        handlers: undo name to handler.
        clock: names the files.
    """

    def __init__(self, folder: Path, handlers: Mapping[str, Handler], clock: Clock) -> None:
        self._folder = folder
        self._handlers = handlers
        self._clock = clock

    def open(self, run: str) -> Journal:
        """A new journal for the run called `run`.

        Raises:
            EnvironmentNotReadyError: the folder cannot be written, so nothing may be begun.
        """
        stamp = self._clock.now().strftime("%Y%m%dT%H%M%S")
        path = self._folder / f"{stamp}-{run}-{secrets.token_hex(3)}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = path.open("x+", encoding="utf-8")
        except OSError as cause:
            raise EnvironmentNotReadyError(
                f"kt cannot write its journal in {self._folder}: {cause.strerror}",
                "KT_STATE_DIR names another folder",
            ) from cause
        fcntl.flock(file, fcntl.LOCK_EX)
        return Journal(file, path, self._handlers)

    def abandoned(self) -> Iterator[Journal]:
        """Journals whose owner is dead, newest first, each locked while the caller has it."""
        for path in sorted(self._folder.glob("*.jsonl"), reverse=True):
            file = path.open("r+", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            journal = Journal(file, path, self._handlers)
            journal._load()  # noqa: SLF001 - the folder and its files are one thing
            yield journal

    def recover(self, tell: Callable[[Undo], None]) -> int:
        """Finish what dead runs owed; returns how many things were taken back.

        Raises:
            CleanupFailedError: something could not be taken back; the rest was still tried.
        """
        count = 0
        failures: list[str] = []
        for journal in self.abandoned():
            owed = journal.owed
            for debt in owed:
                tell(debt)
            try:
                journal.settle_all()
            except CleanupFailedError as error:
                failures.append(error.message)
            finally:
                count += len(owed) - len(journal.owed)
                journal.close()
        if failures:
            raise CleanupFailedError("; ".join(failures), "mend the cause, then `kt recover` again")
        return count


def _entries(file: IO[str]) -> Iterator[dict[str, Any]]:
    file.seek(0)
    for line in file:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # the last line, cut by a kill: its act never began, for the fsync comes first
