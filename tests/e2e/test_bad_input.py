"""Bad input gets one sentence, its own exit code and never a traceback; and nothing is lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.system.process import SystemProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kops_toolkit.system.process import Completed

    Run = Callable[..., Completed]

SMALL_DISK = 65536  # bytes: less than any snapshot
DEAD = """
apiVersion: v1
kind: Config
clusters: [{name: dead, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: nobody, user: {}}]
contexts: [{name: dead, context: {cluster: dead, user: nobody}}]
"""


def sentence(done: Completed, code: int) -> str:
    """The one sentence that a failure says; fails if it is more, less, or something else."""
    said = done.err.decode()
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert done.code == code, said
    assert done.out == b""
    assert "Traceback" not in said
    assert len(errors) == 1, said
    return errors[0]


@pytest.fixture(scope="session")
def snapshot(kt: Run, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "good.db"
    kt("etcd", "backup", "--cluster", cluster, "-o", str(path))
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    run = SystemProcesses().run
    run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(folder)])
    yield folder
    run(["umount", str(folder)])


def test_a_context_that_is_not_there(kt: Run, kubeconfig: Path) -> None:
    done = kt(
        *("demo", "rolling-update", "--context", "nope", "--kubeconfig", str(kubeconfig)),
        check=False,
    )
    assert "nope" in sentence(done, 10)


def test_a_cluster_that_is_not_there(kt: Run) -> None:
    assert "nope" in sentence(kt("etcd", "backup", "--cluster", "nope", check=False), 10)


def test_no_engine(kt: Run) -> None:
    done = kt("cluster", "up", check=False, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert sentence(done, 3)


def test_an_api_server_that_does_not_answer(kt: Run, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(DEAD)
    done = kt(
        *("demo", "rolling-update", "--context", "dead", "--kubeconfig", str(kubeconfig)),
        check=False,
    )
    assert "127.0.0.1:9" in sentence(done, 4)


def test_a_kubeconfig_that_is_none(kt: Run, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text("{{{")
    done = kt(
        *("demo", "rolling-update", "--context", "x", "--kubeconfig", str(kubeconfig)), check=False
    )
    assert sentence(done, 7)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_snapshot(kt: Run, snapshot: Path, tmp_path: Path, share: float) -> None:
    data = snapshot.read_bytes()
    bad = tmp_path / "bad.db"
    bad.write_bytes(data[: int(len(data) * share)])
    assert sentence(kt("etcd", "verify", str(bad), check=False), 7)


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit(kt: Run, cluster: str, snapshot: Path, tmp_path: Path, seed: int) -> None:
    data = bytearray(snapshot.read_bytes())
    at = random.Random(seed).randrange(len(data))  # noqa: S311 - reproducible, not secret
    data[at] ^= 0x10
    bad = tmp_path / "bad.db"
    bad.write_bytes(data)
    assert sentence(kt("etcd", "verify", str(bad), check=False), 7)
    bad_restore = kt("etcd", "restore", str(bad), "--cluster", cluster, check=False)
    assert sentence(bad_restore, 7)


def test_a_full_disk(kt: Run, cluster: str, small_disk: Path) -> None:
    done = kt("etcd", "backup", "--cluster", cluster, "-o", str(small_disk / "a.db"), check=False)
    assert "full" in sentence(done, 11) or "room" in sentence(done, 11)
    assert list(small_disk.iterdir()) == []


def test_what_exists_is_not_overwritten(kt: Run, cluster: str, snapshot: Path) -> None:
    before = snapshot.read_bytes()
    done = kt("etcd", "backup", "--cluster", cluster, "-o", str(snapshot), check=False)
    assert "exists" in sentence(done, 9)
    assert snapshot.read_bytes() == before
