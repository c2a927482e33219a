"""The fake node and the real one keep the same promises."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.cluster.docker_node import DIED_MID_STREAM, WRITE, DockerNode
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.errors import NotFoundError, TimedOutError, ToolFailedError
from kops_toolkit.system.process import SystemProcesses, close_pipes
from tests.fakes.node import FakeNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kops_toolkit.cluster.node import Node


def _real() -> DockerNode:
    name = os.environ.get("KT_E2E_CLUSTER")
    if not name:
        pytest.fail("no cluster: start this with ci/with-cluster NAME multi pytest --e2e …")
    engine = Engine(SystemProcesses())
    plane = next(item for item in engine.containers(name) if item.role == "control-plane")
    return DockerNode(engine, plane)


def _fake() -> FakeNode:
    fake = FakeNode()
    fake.answer("sh", "-c", "exit 3", code=3, err="sad")
    fake.answer("echo", "hello", out="hello\n")
    fake.breaks("sleep", error=TimedOutError("no end after 1 s"))
    return fake


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.e2e)])
def node(request: pytest.FixtureRequest) -> Node:
    return _fake() if request.param == "fake" else _real()


@pytest.fixture
def path(node: Node) -> Iterator[str]:
    path = f"/root/kt contract {secrets.token_hex(4)}"
    yield path
    if isinstance(node, DockerNode):
        node.run(["rm", "-f", path])


def test_it_has_a_name_and_a_role(node: Node) -> None:
    assert node.name.endswith("control-plane")
    assert node.control_plane


@pytest.mark.parametrize("data", [b"", b"plain\n", b"\0\xff\r\n" * 50_000])
def test_what_is_written_is_read(node: Node, path: str, data: bytes) -> None:
    node.write(path, data)
    assert node.read(path) == data


def test_writing_again_replaces(node: Node, path: str) -> None:
    node.write(path, b"first and longer")
    node.write(path, b"second")
    assert node.read(path) == b"second"


def test_reading_what_is_not_there(node: Node, path: str) -> None:
    with pytest.raises(NotFoundError):
        node.read(path)


def test_running(node: Node) -> None:
    done = node.run(["echo", "hello"])
    assert (done.code, done.text, done.argv) == (0, "hello\n", ("echo", "hello"))


def test_a_failing_command_raises_unless_told_otherwise(node: Node) -> None:
    with pytest.raises(ToolFailedError, match=node.name):
        node.run(["sh", "-c", "exit 3"])
    assert node.run(["sh", "-c", "exit 3"], check=False).code == 3


def test_a_command_that_takes_too_long(node: Node) -> None:
    with pytest.raises(TimedOutError):
        node.run(["sleep", "30"], timeout=1)


@pytest.mark.e2e
class TestRealOnly:
    """What only a real node can show."""

    def test_modes_and_no_leftovers(self) -> None:
        node = _real()
        folder = f"/root/kt-contract-{secrets.token_hex(4)}"
        node.run(["mkdir", folder])
        try:
            node.write(f"{folder}/f", b"1", mode=0o640)
            assert node.run(["stat", "-c", "%a", f"{folder}/f"]).text == "640\n"
            with pytest.raises(ToolFailedError):
                node.write(f"{folder}/f/g", b"1")
            assert node.run(["ls", "-A", folder]).text == "f\n"
        finally:
            node.run(["rm", "-r", folder])

    def test_killing_ends_the_command_inside_the_node(self) -> None:
        node = _real()
        running = node.start(["sleep", "98765"])
        running.kill()
        running.wait(timeout=20)
        close_pipes(running)
        assert node.run(["pgrep", "-fx", "sleep 98765"], check=False).code == 1

    def test_a_cut_stream_leaves_the_old_file(self) -> None:
        node = _real()
        path = f"/root/kt-contract-{secrets.token_hex(4)}"
        node.write(path, b"old")
        try:
            short = ["sh", "-c", WRITE, "kt-write", path, f"{path}.part", "600", "100"]
            assert node.run(short, stdin=b"only this", check=False).code == DIED_MID_STREAM
            assert node.read(path) == b"old"
            assert node.run(["test", "-e", f"{path}.part"], check=False).code == 1
        finally:
            node.run(["rm", path])

    def test_a_started_command_streams_both_ways(self) -> None:
        node = _real()
        running = node.start(["tr", "a-z", "A-Z"])
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(b"abc" * 100_000)
        running.stdin.close()
        assert running.stdout.read() == b"ABC" * 100_000
        assert running.wait(timeout=20) == 0
        close_pipes(running)
