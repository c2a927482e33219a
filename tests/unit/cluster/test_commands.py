"""The commands over fakes: what they print where, and with which code they end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from kops_toolkit.cli import cluster as cli
from kops_toolkit.cli.app import app
from kops_toolkit.cluster.clusters import MARK
from kops_toolkit.cluster.image import VARIABLE
from kops_toolkit.cluster.spec import PROFILES, PROXY_MODES
from kops_toolkit.wiring import Kt
from tests.fakes.clock import FakeClock
from tests.fakes.docker import KUBECONFIG, FakeDocker
from tests.fakes.process import HandedOver

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("KT_KIND", raising=False)
    fake = FakeDocker()
    fake.answer("docker", "exec", out="v1.37.2")
    return fake


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path


def _kt(docker: FakeDocker, state: Path, *argv: str) -> Result:
    kt = Kt(processes=docker, clock=FakeClock(), state=state)
    done = CliRunner().invoke(app, argv, obj=kt, catch_exceptions=False)
    return Result(done.exit_code, done.stdout, done.stderr)


def test_up_list_kubeconfig_down(docker: FakeDocker, state: Path) -> None:
    assert _kt(docker, state, "cluster", "up", "--name", "c").code == 0
    listed = json.loads(_kt(docker, state, "cluster", "list", "-o", "json").out)
    assert listed == [
        {
            "name": "c",
            "ours": True,
            "profile": "single",
            "nodes": 1,
            "state": "running",
            "version": "v1.37.2",
        }
    ]
    path = _kt(docker, state, "cluster", "kubeconfig", "--path").out.strip()
    assert path == str(state / "clusters/c/kubeconfig")
    unnamed = _kt(docker, state, "cluster", "down")
    assert unnamed.code == 10, "what is deleted must be named, even if it is kt's only one"
    assert _kt(docker, state, "cluster", "down", "--name", "c").code == 0
    assert json.loads(_kt(docker, state, "cluster", "list", "-o", "json").out) == []


def test_kubeconfig_is_printed_as_it_is(docker: FakeDocker, state: Path) -> None:
    docker.add("c", "control-plane")
    done = _kt(docker, state, "cluster", "kubeconfig", "--name", "c")
    assert done.out.encode() == KUBECONFIG


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["cluster", "up", "--name", "NO"], 2),
        (["cluster", "up", "--profile", "huge"], 2),
        (["cluster", "up", "--cni", "nope"], 2),
        (["cluster", "up", "--proxy-mode", "nope"], 2),
        (["cluster", "up", "--wait", "-1"], 2),
        (["cluster", "up", "--name", "foreign"], 9),
        (["cluster", "down", "--name", "foreign"], 9),
        (["cluster", "down", "--name", "nope"], 10),
        (["cluster", "down", "--name", "../../etc"], 2),
        (["cluster", "status", "--name", "nope"], 10),
        (["cluster", "kubeconfig", "--name", "nope"], 10),
        (["cluster", "shell", "--name", "foreign", "worker9"], 10),
        (["cluster", "load"], 2),
    ],
)
def test_bad_input_has_its_code_and_no_traceback(
    docker: FakeDocker, state: Path, argv: list[str], code: int
) -> None:
    docker.add("foreign", "control-plane")
    done = _kt(docker, state, *argv)
    assert done.code == code
    assert done.out == ""
    assert done.err
    assert "Traceback" not in done.err
    assert list(docker.boxes) == ["foreign-control-plane"]


def test_shell_hands_over_with_the_command(docker: FakeDocker, state: Path) -> None:
    docker.add("c", "worker", labels="")
    docker.add("c", "control-plane", labels=f"{MARK}=c")
    with pytest.raises(HandedOver) as over:
        _kt(docker, state, "cluster", "shell", "worker", "--", "ls", "-la", "/etc")
    assert over.value.argv == ("docker", "exec", "-i", "c-worker", "ls", "-la", "/etc")


def test_status_with_the_api_down_is_data_and_exits_4(docker: FakeDocker, state: Path) -> None:
    docker.add("c", "control-plane")
    docker.boxes["c-control-plane"]["State"]["Status"] = "paused"
    done = _kt(docker, state, "cluster", "status", "--name", "c", "-o", "json")
    assert done.code == 4
    assert json.loads(done.out)["api"] == "no control plane runs"


def test_tables_are_for_people_on_stdout(docker: FakeDocker, state: Path) -> None:
    docker.add("c", "control-plane", labels=f"{MARK}=c")
    listed = _kt(docker, state, "cluster", "list").out.splitlines()
    assert listed[0].split() == ["NAME", "MADE", "BY", "PROFILE", "NODES", "STATE", "VERSION"]
    assert listed[1].split() == ["c", "kt", "-", "1", "running", "v1.37.2"]
    docker.boxes["c-control-plane"]["State"]["Status"] = "exited"
    status = _kt(docker, state, "cluster", "status")
    row = ["c-control-plane", "control-plane", "exited", "unknown", "172.18.0.2", "-"]
    assert status.out.splitlines()[1].split() == row
    assert status.code == 4


def test_the_choices_are_those_of_the_spec() -> None:
    assert tuple(cli.Profile) == PROFILES
    assert tuple(cli.ProxyMode) == PROXY_MODES


def test_doctor_exits_3_and_still_prints_its_report(docker: FakeDocker, state: Path) -> None:
    docker.programs = {}
    done = _kt(docker, state, "doctor", "-o", "json")
    assert done.code == 3
    assert json.loads(done.out)["status"] == "failed"
