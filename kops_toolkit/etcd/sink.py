"""Hashes and writes a snapshot stream on a second thread, while the next bytes arrive."""

from __future__ import annotations

import hashlib
import queue
import threading
from typing import IO, TYPE_CHECKING

from kops_toolkit.errors import ArtefactInvalidError
from kops_toolkit.etcd.bolt import SECTOR, TRAILER

if TYPE_CHECKING:
    from types import TracebackType

BATCH = 1 << 20  # bytes handed over at a time: hashlib and write let go of the lock for long enough
WAITING = 32  # batches that may wait; more would only grow memory while the disk is slow


class Sink:
    """Takes a stream's bytes in order. Use as a context manager: leaving it ends the thread.

    Args:
        file: where they are written.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._tail = b""
        self._failure: Exception | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._queue: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="snapshot-sink", daemon=True)
        self.taken = 0

    def __enter__(self) -> Sink:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    def take(self, data: bytes) -> None:
        """The next bytes.

        Raises:
            OSError: an earlier write failed.
        """
        self._parts.append(data)
        self._size += len(data)
        self.taken += len(data)
        if self._size >= BATCH:
            self._hand_over()

    def finish(self) -> str:
        """Everything has arrived: returns the SHA-256 of all but the trailer, hex.

        Raises:
            OSError: a write failed.
            ArtefactInvalidError: the trailer is missing, or not the SHA-256 of what came before.
        """
        self._hand_over()
        self._queue.put(None)
        self._thread.join()
        self._check()
        if self.taken % SECTOR != TRAILER:
            raise ArtefactInvalidError(
                f"the snapshot stream ended after {self.taken} bytes without its sha256"
            )
        if self._hash.digest() != self._tail:
            raise ArtefactInvalidError(
                f"the snapshot stream was damaged on its way: its {self.taken - TRAILER} bytes hash"
                f" to {self._hash.hexdigest()}, its end says {self._tail.hex()}"
            )
        return self._hash.hexdigest()

    def _hand_over(self) -> None:
        self._check()
        if self._parts:
            self._queue.put(b"".join(self._parts))
            self._parts, self._size = [], 0

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            if self._failure:
                continue  # keep taking, or who hands over would wait for ever
            try:
                self._store(batch)
            except Exception as failure:  # noqa: BLE001 - told to the other thread as it is
                self._failure = failure

    def _store(self, batch: bytes) -> None:
        self._file.write(batch)
        if len(batch) < TRAILER:
            batch, self._tail = self._tail + batch, b""
        self._hash.update(self._tail)
        self._hash.update(memoryview(batch)[:-TRAILER])
        self._tail = batch[-TRAILER:]
