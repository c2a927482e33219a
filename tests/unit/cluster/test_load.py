from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.cluster.clusters import Clusters
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.cluster.kind import Kind
from kops_toolkit.cluster.load import Loader, canonical
from kops_toolkit.errors import NotFoundError, ToolFailedError
from kops_toolkit.system.progress import Silent
from tests.fakes.docker import FakeDocker
from tests.fakes.process import FakeRunning

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.docker_node import DockerNode

IMAGE = "registry.k8s.io/pause:3.10"


class Sink(FakeRunning):
    """Keeps what it was fed, also once its pipe is closed."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(err=b"ctr: no room", code=code)
        self.fed = io.BytesIO()
        self.fed.close = lambda: None  # type: ignore[method-assign]  # read after the end
        self.stdin = self.fed


@pytest.fixture
def docker() -> FakeDocker:
    fake = FakeDocker()
    fake.add("c", "control-plane")
    fake.add("c", "worker")
    fake.answer("docker", "image", "inspect", out='{"Id": "sha256:aa"}')
    return fake


@pytest.fixture
def nodes(docker: FakeDocker, tmp_path: Path) -> tuple[DockerNode, ...]:
    return Clusters(Engine(docker), Kind(docker, "kind"), tmp_path).find("c").nodes


def _on(docker: FakeDocker, node: str, digests: str) -> None:
    guard = ("timeout", "--kill-after=5", "60")
    docker.answer("docker", "exec", node, *guard, "sh", "-c", out=digests)


def _streams(docker: FakeDocker, *, code: int = 0) -> list[Sink]:
    sinks: list[Sink] = []

    def begin(argv: tuple[str, ...]) -> Sink:  # noqa: ARG001 - the fake's form
        sinks.append(Sink(code))
        return sinks[-1]

    docker.starts("docker", "save", running=lambda _: FakeRunning(out=b"tar" * 1000))
    docker.starts("docker", "exec", running=begin)
    return sinks


def test_only_nodes_that_lack_it_get_it(docker: FakeDocker, nodes: tuple[DockerNode, ...]) -> None:
    _on(docker, "c-control-plane", "sha256:bb\nsha256:aa\n")
    _on(docker, "c-worker", "sha256:cc\n")
    sinks = _streams(docker)
    assert Loader(Engine(docker), Silent()).load(nodes, [IMAGE]) == {IMAGE: ("c-worker",)}
    assert [sink.fed.getvalue() for sink in sinks] == [b"tar" * 1000]


def test_all_nodes_are_fed_from_one_read(docker: FakeDocker, nodes: tuple[DockerNode, ...]) -> None:
    _on(docker, "c-control-plane", "")
    _on(docker, "c-worker", "")
    sinks = _streams(docker)
    Loader(Engine(docker), Silent()).load(nodes, [IMAGE, IMAGE])
    assert len(sinks) == 2
    assert docker.calls.count(("docker", "save", IMAGE)) == 1


def test_what_every_node_has_is_not_even_read(
    docker: FakeDocker, nodes: tuple[DockerNode, ...]
) -> None:
    _on(docker, "c-control-plane", "sha256:aa")
    _on(docker, "c-worker", "sha256:aa")
    assert Loader(Engine(docker), Silent()).load(nodes, [IMAGE]) == {IMAGE: ()}


def test_a_node_that_refuses_is_named_and_nothing_runs_on(
    docker: FakeDocker, nodes: tuple[DockerNode, ...]
) -> None:
    _on(docker, "c-control-plane", "")
    _on(docker, "c-worker", "sha256:aa")
    docker.answer("docker", "exec")  # for the kill inside the node
    sinks = _streams(docker, code=1)
    with pytest.raises(ToolFailedError, match="on c-control-plane ended with 1: ctr: no room"):
        Loader(Engine(docker), Silent()).load(nodes, [IMAGE])
    assert sinks[0].killed


def test_what_the_engine_lacks_is_pulled(docker: FakeDocker, nodes: tuple[DockerNode, ...]) -> None:
    docker.answer("docker", "image", "inspect", "--format", "{{json .}}", "new:1", code=1)
    docker.answer("docker", "image", "inspect", "--format", "{{json .}}", "new:1",
                  out='{"Id": "sha256:aa"}')  # fmt: skip
    docker.answer("docker", "pull")
    _on(docker, "c-control-plane", "sha256:aa")
    _on(docker, "c-worker", "sha256:aa")
    Loader(Engine(docker), Silent()).load(nodes, ["new:1"])
    assert ("docker", "pull", "--quiet", "new:1") in docker.calls


def test_what_cannot_be_had_is_one_sentence(
    docker: FakeDocker, nodes: tuple[DockerNode, ...]
) -> None:
    docker.answer("docker", "image", "inspect", "--format", "{{json .}}", "no:1", code=1)
    docker.answer("docker", "pull", err="no such host", code=1)
    with pytest.raises(NotFoundError, match="no:1 is not on this machine and cannot be pulled: no"):
        Loader(Engine(docker), Silent()).load(nodes, ["no:1"])


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("kt/node:v1", "docker.io/kt/node:v1"),
        ("registry.k8s.io/pause", "registry.k8s.io/pause:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("host:5000/a", "host:5000/a:latest"),
        ("a@sha256:ab", "docker.io/library/a@sha256:ab"),
    ],
)
def test_canonical(given: str, full: str) -> None:
    assert canonical(given) == full
