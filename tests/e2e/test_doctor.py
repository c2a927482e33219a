"""`kt doctor` on the real host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.cluster.engine import Engine
from kops_toolkit.cluster.host import INOTIFY_INSTANCES, is_local
from kops_toolkit.cluster.settings import GOAL, LEAST
from kops_toolkit.system.process import SystemProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kops_toolkit.system.process import Completed

    Kt = Callable[..., Completed]

INSTANCES = Path("/proc/sys") / INOTIFY_INSTANCES.replace(".", "/")


def _checks(done: Completed) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(done.out)["checks"]}


def test_a_host_that_runs_clusters_has_what_kt_needs(kt: Kt) -> None:
    done = kt("doctor", "-o", "json")
    report = json.loads(done.out)
    assert report["schema"] == "kt/report/v1"
    assert report["status"] == "passed"
    judged = [check for check in report["checks"] if check["status"] == "passed"]
    assert all(check["evidence"] for check in judged)
    assert {"engine", "kind", "privileged", "node-image"} <= {check["name"] for check in judged}


def test_the_table_says_the_same(kt: Kt) -> None:
    done = kt("doctor", COLUMNS="200")
    assert "doctor: passed" in done.text
    assert "A container engine answers" in done.text


def test_without_engine_and_kind_it_names_both_and_exits_3(kt: Kt, tmp_path: Path) -> None:
    done = kt("doctor", "-o", "json", check=False, PATH=str(tmp_path))
    assert done.code == 3
    checks = _checks(done)
    assert checks["engine"]["status"] == "failed"
    assert "not installed" in checks["engine"]["evidence"][0]["observed"]
    assert checks["kind"]["status"] == "failed"
    assert checks["host"]["status"] == "aborted"
    assert "engine, kind" in json.loads(done.err)["message"]


def test_a_daemon_that_does_not_answer_is_told_from_one_that_is_missing(kt: Kt) -> None:
    done = kt("doctor", "-o", "json", check=False, DOCKER_HOST="tcp://127.0.0.1:1")
    assert done.code == 3
    assert "running" in _checks(done)["engine"]["evidence"][0]["observed"]


@pytest.fixture
def low_inotify() -> Iterator[int]:
    """The real limit, lowered for the test; running programs keep the instances they have."""
    if not is_local(Engine(SystemProcesses()).facts()):
        pytest.fail(
            "the engine runs elsewhere: its machine's settings are not this test's to lower"
        )
    before = INSTANCES.read_text()
    INSTANCES.write_text(f"{LEAST[INOTIFY_INSTANCES] - 1}\n")
    yield LEAST[INOTIFY_INSTANCES] - 1
    INSTANCES.write_text(before)


@pytest.mark.alone
def test_fix_raises_a_real_limit_and_tells_from_what(kt: Kt, low_inotify: int) -> None:
    found = kt("doctor", "-o", "json", check=False)
    assert found.code == 3
    check = _checks(found)["inotify-max-user-instances"]
    assert check["status"] == "failed"
    assert check["evidence"][0]["observed"] == str(low_inotify)

    fixed = kt("doctor", "--fix", "-o", "json")
    goal = GOAL[INOTIFY_INSTANCES]
    assert json.loads(fixed.out)["facts"]["changed"] == {INOTIFY_INSTANCES: [low_inotify, goal]}
    assert int(INSTANCES.read_text()) == goal
    assert json.loads(kt("doctor", "--fix", "-o", "json").out)["facts"]["changed"] == {}
