from __future__ import annotations

import json

import pytest

from kops_toolkit.cluster.engine import Engine
from kops_toolkit.errors import EnvironmentNotReadyError, TimedOutError, ToolFailedError
from tests.fakes.docker import INFO, FakeDocker
from tests.fakes.process import FakeProcesses

DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at "
    "unix:///var/run/docker.sock"
)
DOWN = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
    "Is the docker daemon running?"
)


@pytest.fixture
def processes() -> FakeProcesses:
    fake = FakeProcesses()
    fake.programs = {"docker": "/usr/bin/docker"}
    return fake


def test_no_engine_no_permission_and_no_daemon_are_told_apart(processes: FakeProcesses) -> None:
    told = []
    for said in (DENIED, DOWN):
        processes.answer("docker", "info", err=said, code=1)
    for _ in range(2):
        with pytest.raises(EnvironmentNotReadyError) as error:
            Engine(processes).facts()
        told.append((error.value.message, error.value.hint))
    processes.programs = {}
    with pytest.raises(EnvironmentNotReadyError) as error:
        Engine(processes).facts()
    told.append((error.value.message, error.value.hint))
    assert "permission denied" in told[0][0]
    assert "is it running" in told[1][0]
    assert "not installed" in told[2][0]
    assert len(set(told)) == 3
    assert all(hint for _, hint in told)


def test_a_client_that_exits_0_without_a_server_is_seen_through(processes: FakeProcesses) -> None:
    processes.answer("docker", "info", out=json.dumps({"ServerErrors": [DENIED]}))
    with pytest.raises(EnvironmentNotReadyError, match="permission denied"):
        Engine(processes).facts()


def test_a_daemon_that_hangs_is_not_ready(processes: FakeProcesses) -> None:
    processes.breaks("docker", "info", error=TimedOutError("stopped"))
    with pytest.raises(EnvironmentNotReadyError, match="has not answered for 20 s"):
        Engine(processes).facts()


def test_an_unusable_engine_raises_even_where_failure_is_allowed(processes: FakeProcesses) -> None:
    processes.answer("docker", "exec", err=DOWN, code=1)
    with pytest.raises(EnvironmentNotReadyError):
        Engine(processes).run(["exec", "node", "true"], check=False)


def test_other_failures_are_the_tools(processes: FakeProcesses) -> None:
    processes.answer("docker", "rmi", err="conflict", code=1)
    with pytest.raises(ToolFailedError, match="conflict"):
        Engine(processes).run(["rmi", "x"])


def test_facts(processes: FakeProcesses) -> None:
    odd = INFO | {"CgroupVersion": "1", "PidsLimit": False, "SecurityOptions": ["name=rootless"]}
    processes.answer("docker", "info", out=json.dumps(odd))
    facts = Engine(processes).facts()
    assert (facts.version, facts.cgroup_version, facts.rootless) == ("29.1.0", 1, True)
    assert facts.missing_limits == ("processes",)


def test_containers_are_of_one_cluster_and_sorted() -> None:
    docker = FakeDocker()
    docker.add("b", "worker")
    docker.add("b", "control-plane")
    docker.add("a", "control-plane")
    found = Engine(docker).containers("b")
    assert [(item.name, item.role) for item in found] == [
        ("b-control-plane", "control-plane"),
        ("b-worker", "worker"),
    ]
    assert found[0].address == "172.18.0.3"
    assert len(Engine(docker).containers()) == 3
    assert Engine(docker).containers("c") == ()
