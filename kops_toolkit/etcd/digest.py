"""SHA-256 of a large file beside other work: hashlib lets go of the interpreter's lock."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from kops_toolkit.errors import ArtefactInvalidError

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 1 << 20  # bytes read at a time


class Digest:
    """Hashes the first `size` bytes of a file on a thread of its own, from construction on.

    Use as a context manager: leaving it stops the thread.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._hash = hashlib.sha256()
        self._failure: OSError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def result(self) -> bytes:
        """The digest, once it is there; of fewer bytes if the file is shorter.

        Raises:
            ArtefactInvalidError: the file could not be read.
        """
        self._thread.join()
        if self._failure:
            raise ArtefactInvalidError(
                f"{self._path} cannot be read: {self._failure.strerror}"
            ) from self._failure
        return self._hash.digest()

    def __enter__(self) -> Digest:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        block = memoryview(bytearray(BLOCK))
        left = self._size
        try:
            with self._path.open("rb", buffering=0) as file:
                while left and not self._stop.is_set():
                    read = file.readinto(block[: min(left, BLOCK)])
                    if not read:
                        return
                    self._hash.update(block[:read])
                    left -= read
        except OSError as failure:
            self._failure = failure
