from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.cluster.clusters import Clusters
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.cluster.kind import Kind
from kops_toolkit.cluster.spec import RUN_LABEL
from kops_toolkit.cluster.undo import DeleteKindCluster
from kops_toolkit.errors import RefusedError
from kops_toolkit.system.lock import alone
from kops_toolkit.system.process import SystemProcesses, close_pipes
from tests.fakes.clock import FakeClock
from tests.fakes.docker import FakeDocker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def docker() -> FakeDocker:
    return FakeDocker()


@pytest.fixture
def clusters(docker: FakeDocker, tmp_path: Path) -> Clusters:
    return Clusters(Engine(docker), Kind(docker, "kind"), tmp_path)


@pytest.fixture
def undo(docker: FakeDocker, clusters: Clusters) -> DeleteKindCluster:
    return DeleteKindCluster(clusters, docker, FakeClock())


@pytest.fixture
def args(tmp_path: Path) -> dict[str, str]:
    return {"name": "c", "run": "run1", "config": str(tmp_path / "kind-run1.yaml")}


@pytest.mark.parametrize("labels", [None, f"x,{RUN_LABEL}=run1"])
def test_what_the_run_made_is_deleted(
    docker: FakeDocker, undo: DeleteKindCluster, args: dict[str, str], labels: str | None
) -> None:
    docker.add("c", "control-plane", labels=labels)
    docker.add("c", "worker", labels=labels)
    docker.add("d", "control-plane")
    undo(args)
    assert list(docker.boxes) == ["d-control-plane"]


@pytest.mark.parametrize("labels", ["", f"{RUN_LABEL}=run2"])
def test_what_came_under_the_name_since_is_left_alone(
    docker: FakeDocker,
    clusters: Clusters,
    undo: DeleteKindCluster,
    args: dict[str, str],
    labels: str,
) -> None:
    docker.add("c", "control-plane", labels=labels)
    (clusters.folder("c") / "kubeconfig").write_text("x")
    undo(args)
    assert list(docker.boxes) == ["c-control-plane"]
    assert clusters.kubeconfig_path("c").exists()


def test_nothing_there_is_success(
    clusters: Clusters, undo: DeleteKindCluster, args: dict[str, str]
) -> None:
    (clusters.folder("c") / "kubeconfig").write_text("x")
    undo(args)
    undo(args)
    assert not clusters.kubeconfig_path("c").parent.exists()


def test_a_living_kt_on_the_same_cluster_is_not_disturbed(
    clusters: Clusters, undo: DeleteKindCluster, args: dict[str, str]
) -> None:
    with alone(clusters.lock("c"), "x"), pytest.raises(RefusedError, match="another kt"):
        undo(args)


def test_an_orphaned_kind_is_ended_first(undo: DeleteKindCluster, args: dict[str, str]) -> None:
    code = "import time; print('up', flush=True); time.sleep(60)"
    orphan = SystemProcesses().start([sys.executable, "-c", code, "--config", args["config"]])
    try:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == b"up\n"
        undo(args)
        assert orphan.wait(timeout=10) == -signal.SIGKILL
    finally:
        orphan.kill()
        orphan.wait()
        close_pipes(orphan)
