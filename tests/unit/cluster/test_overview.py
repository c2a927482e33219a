from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.cluster.clusters import MARK, Clusters
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.cluster.kind import Kind
from kops_toolkit.cluster.overview import overview, status
from kops_toolkit.cluster.shell import argv
from kops_toolkit.errors import NotFoundError, UnreachableError
from tests.fakes.docker import FakeDocker

if TYPE_CHECKING:
    from pathlib import Path

PLANE = ("docker", "exec", "c-control-plane", "timeout", "--kill-after=5")
ASK = (*PLANE, "10", "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--request-timeout=5s")


@pytest.fixture
def docker() -> FakeDocker:
    fake = FakeDocker()
    fake.add("c", "worker")
    fake.add("c", "control-plane", labels=f"{MARK}=c")
    fake.answer("docker", "exec", out="v1.37.2")
    return fake


@pytest.fixture
def clusters(docker: FakeDocker, tmp_path: Path) -> Clusters:
    return Clusters(Engine(docker), Kind(docker, "kind"), tmp_path)


def _node(name: str, ready: str) -> dict[str, object]:
    return {
        "metadata": {"name": name},
        "status": {
            "nodeInfo": {"kubeletVersion": "v1.37.2"},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def test_status_of_a_healthy_cluster(docker: FakeDocker, clusters: Clusters) -> None:
    docker.answer(*ASK, "get", "--raw=/readyz", out="ok")
    items = [_node("c-control-plane", "True"), _node("c-worker", "Unknown")]
    docker.answer(*ASK, "get", "nodes", out=json.dumps({"items": items}))
    found = status(clusters, "c")
    assert (found.healthy, found.api, found.ours, found.version) == (True, "ready", True, "v1.37.2")
    assert [(node.name, node.ready) for node in found.nodes] == [
        ("c-control-plane", "yes"),
        ("c-worker", "unknown"),
    ]
    assert json.loads(json.dumps(found.facts()))["nodes"][0]["role"] == "control-plane"


def test_status_with_the_api_down_says_so(docker: FakeDocker, clusters: Clusters) -> None:
    docker.answer(*ASK, "get", "--raw=/readyz", err="E1\nconnection refused", code=1)
    found = status(clusters, "c")
    assert not found.healthy
    assert found.api == "down (connection refused)"
    assert {node.ready for node in found.nodes} == {"unknown"}


def test_status_with_every_control_plane_stopped(docker: FakeDocker, clusters: Clusters) -> None:
    docker.boxes["c-control-plane"]["State"]["Status"] = "exited"
    found = status(clusters, "c")
    assert found.api == "no control plane runs"
    assert found.nodes[0].state == "exited"


def test_status_of_nothing(clusters: Clusters) -> None:
    with pytest.raises(NotFoundError):
        status(clusters, "nope")


def test_overview_lists_all_and_marks_ours(docker: FakeDocker, clusters: Clusters) -> None:
    docker.add("b", "control-plane")
    docker.boxes["b-control-plane"]["State"]["Status"] = "exited"
    found = overview(clusters)
    assert [(item.name, item.ours, item.nodes, item.state) for item in found] == [
        ("b", False, 1, "exited"),
        ("c", True, 2, "running"),
    ]
    assert found[0].version == ""
    assert found[1].version == "v1.37.2"


def test_a_shell_is_docker_exec_and_no_terminal_is_asked_for_in_a_pipe(
    docker: FakeDocker, clusters: Clusters
) -> None:
    node = clusters.find("c").node("worker")
    docker.answer("docker", "exec")
    assert argv(node, ["ls"]) == ["docker", "exec", "-i", "c-worker", "ls"]
    assert argv(node, [])[-2:] == ["bash", "-l"]


def test_a_shell_on_a_paused_node_is_told_in_our_words(
    docker: FakeDocker, clusters: Clusters
) -> None:
    node = clusters.find("c").node("worker")
    said = "Error response from daemon: Container x is paused"
    docker.answer("docker", "exec", "c-worker", err=said, code=1)
    with pytest.raises(UnreachableError, match="paused"):
        argv(node, [])
