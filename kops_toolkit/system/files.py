"""Files that are either wholly there or not there at all."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from kops_toolkit.errors import NoSpaceError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def atomic(path: Path, *, mode: int = 0o600, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Open a new file that appears under `path` only if the block ends well.

    The bytes go to `.<name>.<random>.part` in the same folder (mode 0600 while it grows), are
    fsynced, then linked (or renamed, with `overwrite`) to `path`, and the folder is fsynced. On
    any exception nothing is left behind; after SIGKILL only the `.part` file is.

    Raises:
        RefusedError: `path` exists and `overwrite` is off; also if it appears meanwhile.
        NoSpaceError: the disk is full.
    """
    if path.exists() and not overwrite:
        raise exists(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        _publish(part, path, overwrite=overwrite)
    except OSError as cause:
        if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError(
                f"the disk that holds {path.parent} is full; nothing was left under {path.name}",
                "free some space or choose another place",
            ) from cause
        raise
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def write(path: Path, data: bytes, *, mode: int = 0o600, overwrite: bool = False) -> None:
    """Write a whole small file atomically; see `atomic`."""
    with atomic(path, mode=mode, overwrite=overwrite) as file:
        file.write(data)


def exists(path: Path) -> RefusedError:
    """The error for a file that would be overwritten."""
    return RefusedError(f"{path} exists already and is left alone", "choose another name")


def fsync_folder(folder: Path) -> None:
    """Make a rename or unlink in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(part: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        part.replace(path)
    else:
        try:
            os.link(part, path)  # unlike rename, link never replaces what appeared meanwhile
        except FileExistsError as cause:
            raise exists(path) from cause
    fsync_folder(path.parent)
