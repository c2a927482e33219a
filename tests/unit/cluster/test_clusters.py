from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kops_toolkit.cluster.clusters import MARK, Clusters, Record
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.cluster.kind import Kind
from kops_toolkit.errors import NotFoundError, RefusedError, UsageError
from tests.fakes.docker import KUBECONFIG, FakeDocker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def docker() -> FakeDocker:
    return FakeDocker()


@pytest.fixture
def clusters(docker: FakeDocker, tmp_path: Path) -> Clusters:
    return Clusters(Engine(docker), Kind(docker, "kind"), tmp_path)


def _add(docker: FakeDocker, name: str, *, ours: bool) -> None:
    docker.add(name, "control-plane", labels=f"node-labels: {MARK}={name}" if ours else "")


def test_find_gives_nodes_and_a_kubeconfig(docker: FakeDocker, clusters: Clusters) -> None:
    docker.add("c", "worker", name="c-worker2")
    docker.add("c", "worker")
    docker.add("c", "external-load-balancer")
    _add(docker, "c", ours=True)
    found = clusters.find("c")
    assert [node.name for node in found.nodes] == ["c-control-plane", "c-worker", "c-worker2"]
    assert [node.name for node in found.control_planes] == ["c-control-plane"]
    assert [node.name for node in found.workers] == ["c-worker", "c-worker2"]
    assert found.kubeconfig.read_bytes() == KUBECONFIG
    assert found.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert found.ours


def test_a_kubeconfig_is_fetched_once_and_again_for_a_namesake(
    docker: FakeDocker, clusters: Clusters
) -> None:
    _add(docker, "c", ours=False)
    clusters.find("c")
    clusters.find("c")
    asked = ("/usr/bin/kind", "get", "kubeconfig", "--name", "c")
    assert docker.calls.count(asked) == 1
    docker.boxes.clear()
    _add(docker, "c", ours=False)
    clusters.find("c")
    assert docker.calls.count(asked) == 2


def test_a_mark_of_another_name_is_not_ours(docker: FakeDocker, clusters: Clusters) -> None:
    docker.add("c", "control-plane", labels=f"{MARK}=other")
    assert not clusters.find("c").ours


def test_half_made_is_not_ours(docker: FakeDocker, clusters: Clusters) -> None:
    docker.add("c", "control-plane", labels=None)
    assert clusters.ours() == ()


@pytest.mark.parametrize(
    ("ours", "chosen"), [([], "kt"), (["x"], "x"), (["x", "kt"], "kt"), (["kt"], "kt")]
)
def test_which_cluster_is_meant(
    docker: FakeDocker, clusters: Clusters, ours: list[str], chosen: str
) -> None:
    _add(docker, "foreign", ours=False)
    for name in ours:
        _add(docker, name, ours=True)
    assert clusters.choose(None) == chosen
    assert clusters.choose("named") == "named"


def test_several_are_listed_not_guessed(docker: FakeDocker, clusters: Clusters) -> None:
    _add(docker, "x", ours=True)
    _add(docker, "y", ours=True)
    with pytest.raises(UsageError, match="kt has 2 clusters: x, y"):
        clusters.choose(None)


def test_what_is_not_there_is_told_with_what_there_is(
    docker: FakeDocker, clusters: Clusters
) -> None:
    with pytest.raises(NotFoundError) as error:
        clusters.find("c")
    assert "kt cluster up --name c" in (error.value.hint or "")
    _add(docker, "x", ours=False)
    with pytest.raises(NotFoundError) as error:
        clusters.find("c")
    assert error.value.hint == "there are: x"


def test_a_node_by_its_full_or_short_name(docker: FakeDocker, clusters: Clusters) -> None:
    _add(docker, "c", ours=True)
    found = clusters.find("c")
    assert found.node("control-plane") is found.node("c-control-plane")
    with pytest.raises(NotFoundError, match="has no node worker"):
        found.node("worker")


def test_breaking_what_is_not_ours_needs_its_name(clusters: Clusters) -> None:
    clusters.require_ours("c", None, ours=True)
    clusters.require_ours("c", "c", ours=False)
    for consent in (None, "other"):
        with pytest.raises(RefusedError, match="was not made by kt"):
            clusters.require_ours("c", consent, ours=False)


def test_a_record_is_of_its_containers_only(docker: FakeDocker, clusters: Clusters) -> None:
    _add(docker, "c", ours=True)
    ids = tuple(item.id for item in clusters.containers("c"))
    clusters.remember("c", Record("multi", "img", ids))
    assert clusters.find("c").profile == "multi"
    docker.boxes.clear()
    _add(docker, "c", ours=True)
    assert clusters.find("c").profile == ""


def test_a_broken_record_is_no_record(clusters: Clusters) -> None:
    for text in ("", "{}", "[]", '{"profile": 1'):
        (clusters.folder("c") / "record.json").write_text(text)
        assert clusters.record("c") is None


def test_forgetting_twice_is_fine(clusters: Clusters) -> None:
    clusters.folder("c").joinpath("kubeconfig").write_text("x")
    clusters.forget("c")
    clusters.forget("c")
    assert not clusters.kubeconfig_path("c").parent.exists()
