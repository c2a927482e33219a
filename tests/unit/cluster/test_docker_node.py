from __future__ import annotations

import pytest

from kops_toolkit.cluster.docker_node import ABSENT, BEGUN, DIED_MID_STREAM, DockerNode
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.errors import (
    NoSpaceError,
    NotFoundError,
    TimedOutError,
    ToolFailedError,
    UnreachableError,
)
from tests.fakes.docker import FakeDocker
from tests.fakes.process import FakeRunning

NAME = "c-control-plane"


@pytest.fixture
def docker() -> FakeDocker:
    fake = FakeDocker()
    fake.add("c", "control-plane")
    return fake


@pytest.fixture
def node(docker: FakeDocker) -> DockerNode:
    engine = Engine(docker)
    return DockerNode(engine, engine.containers("c")[0])


def test_who_it_is(node: DockerNode) -> None:
    assert (node.name, node.control_plane, node.address) == (NAME, True, "172.18.0.2")


def test_a_command_is_bounded_inside_the_node_too(docker: FakeDocker, node: DockerNode) -> None:
    docker.answer("docker", "exec", out="hello")
    done = node.run(["echo", "hello"], timeout=7)
    assert done.text == "hello"
    assert done.argv == ("echo", "hello")
    inside = ("timeout", "--kill-after=5", "7", "echo", "hello")
    assert docker.calls[-1] == ("docker", "exec", NAME, *inside)


def test_stdin_is_only_attached_where_there_is_some(docker: FakeDocker, node: DockerNode) -> None:
    docker.answer("docker", "exec")
    node.run(["cat"], stdin=b"x", timeout=None)
    assert docker.calls[-1] == ("docker", "exec", "-i", NAME, "cat")
    assert docker.inputs[-1] == b"x"


def test_a_failure_names_node_and_command_and_not_docker(
    docker: FakeDocker, node: DockerNode
) -> None:
    docker.answer("docker", "exec", err="boom", code=3)
    with pytest.raises(ToolFailedError) as error:
        node.run(["etcdctl", "x"])
    assert error.value.message == f"on {NAME}: `etcdctl x` ended with 3: boom"


def test_the_nodes_own_timeout_is_ours(docker: FakeDocker, node: DockerNode) -> None:
    docker.answer("docker", "exec", code=124)
    with pytest.raises(TimedOutError, match="no end after 60 s"):
        node.run(["sleep", "99"])


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ("No such container: x", NotFoundError, "any more"),
        ("Container x is paused, unpause the container before exec", UnreachableError, "paused"),
        ("container x is not running", UnreachableError, "not running"),
    ],
)
def test_a_node_that_is_away_is_told_even_where_failure_is_allowed(
    docker: FakeDocker, node: DockerNode, said: str, error: type[Exception], words: str
) -> None:
    docker.answer("docker", "exec", err=f"Error response from daemon: {said}", code=1)
    with pytest.raises(error, match=words):
        node.run(["true"], check=False)


def test_reading_what_is_not_there(docker: FakeDocker, node: DockerNode) -> None:
    docker.answer("docker", "exec", code=ABSENT)
    with pytest.raises(NotFoundError, match="no file /nope"):
        node.read("/nope")


def test_reading_what_cannot_be_read(docker: FakeDocker, node: DockerNode) -> None:
    docker.answer("docker", "exec", err="cat: /etc: Is a directory", code=1)
    with pytest.raises(ToolFailedError, match="Is a directory"):
        node.read("/etc")


def test_writing_announces_size_and_mode(docker: FakeDocker, node: DockerNode) -> None:
    docker.answer("docker", "exec")
    node.write("/etc/x y", b"12345", mode=0o640)
    call = docker.calls[-1]
    assert call[-2:] == ("640", "5")
    assert call[-4] == "/etc/x y"
    assert call[-3].startswith("/etc/.x y.")
    assert docker.inputs[-1] == b"12345"


@pytest.mark.parametrize(
    ("code", "said", "error"),
    [
        (1, "cat: write error: No space left on device", NoSpaceError),
        (DIED_MID_STREAM, "", ToolFailedError),
    ],
)
def test_writing_that_fails(
    docker: FakeDocker, node: DockerNode, code: int, said: str, error: type[Exception]
) -> None:
    docker.answer("docker", "exec", err=said, code=code)
    with pytest.raises(error):
        node.write("/x", b"1")


def test_killing_reaches_into_the_node(docker: FakeDocker, node: DockerNode) -> None:
    client = FakeRunning(out=BEGUN + b"data")
    docker.starts("docker", "exec", running=lambda _: client)
    docker.answer("docker", "exec")
    running = node.start(["etcdctl", "snapshot"])
    token = docker.calls[-1][4].removeprefix("KT_EXEC=")
    assert running.stdout is not None
    assert running.stdout.read() == b"data"
    running.kill()
    assert docker.calls[-1][-1] == token
    assert client.killed
