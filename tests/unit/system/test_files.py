from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import NoSpaceError, RefusedError
from kops_toolkit.system import files

if TYPE_CHECKING:
    from pathlib import Path


def test_the_file_appears_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with files.atomic(path) as file:
        file.write(b"x")
        assert not path.exists()
    assert path.read_bytes() == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "a.db") as file:
        file.write(b"x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match="full"), files.atomic(tmp_path / "a.db"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"old")
    with pytest.raises(RefusedError, match="exists"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    files.write(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"


def test_what_appears_meanwhile_is_not_overwritten_either(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with pytest.raises(RefusedError, match="exists"), files.atomic(path) as file:
        file.write(b"new")
        path.write_bytes(b"old")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
