"""One at a time, across processes."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kops_toolkit.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def alone(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock called `path` for the block; the kernel lets go of it if kt is killed.

    Args:
        path: a file that only says who holds the lock; made if missing, never removed, for
            removing it would let two in.
        busy: the sentence to refuse with if another process holds it.

    Raises:
        RefusedError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise RefusedError(busy, "wait for it to end") from cause
        yield
