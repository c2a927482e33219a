"""The rolling update on a real cluster: it holds, it can fail, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.kube.api import NAMESPACE
from kops_toolkit.kube.client import connect
from kops_toolkit.system.process import SystemProcesses, close_pipes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.system.process import Completed, Running

    Run = Callable[..., Completed]

ARMS = ("update-loses-nothing", "stuck-loses-nothing", "undo-loses-nothing")


@pytest.fixture
def api(cluster: str, kubeconfig: Path) -> KubeApi:
    return connect(kubeconfig, f"kind-{cluster}")


def namespaces(api: KubeApi) -> set[str]:
    found = (item["metadata"]["name"] for item in api.list(NAMESPACE).items)
    return {name for name in found if name.startswith("kt-rolling-update-")}


def start(cluster: str, state: Path) -> Running:
    command = [sys.executable, "-m", "kops_toolkit", "demo", "rolling-update", "--cluster", cluster]
    os.environ["KT_STATE_DIR"] = str(state)
    try:
        return SystemProcesses().start(command)
    finally:
        del os.environ["KT_STATE_DIR"]


def until(running: Running, words: str) -> list[str]:
    """Read its progress up to a line that holds `words`."""
    assert running.stderr
    lines: list[str] = []
    while not lines or words not in lines[-1]:
        line = running.stderr.readline().decode()
        assert line, f"it ended before {words!r}: {lines}"
        lines.append(line)
    return lines


@pytest.mark.timeout(400)
def test_it_holds_and_tells_as_json(kt: Run, cluster: str, api: KubeApi) -> None:
    done = kt("demo", "rolling-update", "--cluster", cluster, "-o", "json", check=False)
    report = json.loads(done.out)
    failed = [check for check in report["checks"] if check["status"] != "passed"]
    assert (failed, done.code, report["status"]) == ([], 0, "passed")
    assert {check["name"] for check in report["checks"]} >= set(ARMS)
    assert all(check["evidence"] for check in report["checks"])
    stamped = re.findall(r"^\d\d:\d\d:\d\d\.\d{3}  \S", done.err.decode(), re.MULTILINE)
    assert len(stamped) >= 4
    assert report["facts"]["namespace"] not in namespaces(api)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("sabotage", ["readiness", "prestop"])
def test_a_broken_new_version_is_caught_by_the_requests_it_loses(
    kt: Run, cluster: str, sabotage: str
) -> None:
    done = kt(
        *("demo", "rolling-update", "--cluster", cluster, "--sabotage", sabotage, "-o", "json"),
        check=False,
    )
    report = json.loads(done.out)
    failed = {check["name"]: check["reason"] for check in report["checks"]}
    lossy = [name for name in failed if re.match(r"[1-9]\d* of \d+ requests lost", failed[name])]
    assert done.code == 1, failed
    assert lossy, failed


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_takes_itself_back(
    cluster: str, api: KubeApi, tmp_path: Path, number: signal.Signals
) -> None:
    running = start(cluster, tmp_path)
    try:
        until(running, "load: is steady")
        (journal,) = (tmp_path / "journal").iterdir()
        mine = json.loads(journal.read_text().splitlines()[0])["args"]["name"]
        assert mine in namespaces(api)
        os.kill(running.pid, number)
        assert running.wait(120) == 130
        assert running.stderr
        assert b"interrupted" in running.stderr.read()
        assert mine not in namespaces(api)
        assert list((tmp_path / "journal").iterdir()) == []
    finally:
        running.kill()
        running.wait()
        close_pipes(running)


MOMENTS = (
    "answers at",
    "load: is steady",
    "== A healthy update",
    "old pods are gone",
    "image does not exist",
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("moment", MOMENTS)
def test_after_kill_9_recover_leaves_nothing(
    kt: Run, cluster: str, api: KubeApi, tmp_path: Path, moment: str
) -> None:
    running = start(cluster, tmp_path)
    try:
        until(running, moment)
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait(10) == -signal.SIGKILL
    finally:
        close_pipes(running)
    (journal,) = (tmp_path / "journal").iterdir()
    mine = json.loads(journal.read_text().splitlines()[0])["args"]["name"]
    assert mine in namespaces(api)
    told = kt("recover", KT_STATE_DIR=str(tmp_path)).err.decode()
    assert mine in told
    assert mine not in namespaces(api)
    assert list((tmp_path / "journal").iterdir()) == []
    assert "nothing was left behind" in kt("recover", KT_STATE_DIR=str(tmp_path)).err.decode()


def test_the_list_and_the_story_need_no_cluster(kt: Run, tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere", "KUBECONFIG": str(tmp_path / "none")}
    assert "rolling-update" in kt("demo", "--list", **nowhere).text
    assert "The contrast: Recreate" in kt("demo", "rolling-update", "--explain", **nowhere).text
