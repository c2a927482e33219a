"""All demos as a suite on a real cluster: they hold, can fail, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.demos.registry import DEMOS
from kops_toolkit.kube.api import (
    ADMISSION_POLICY,
    ADMISSION_POLICY_BINDING,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
)
from kops_toolkit.system.process import Completed, SystemProcesses, close_pipes
from kops_toolkit.wiring import Kt, Reached, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kops_toolkit.kube.api import KubeApi

    Run = Callable[..., Completed]

NAME = "kt-e2e-verify"
KINDS = (
    *(NAMESPACE, PERSISTENT_VOLUME, PRIORITY_CLASS, RUNTIME_CLASS),
    *(ADMISSION_POLICY, ADMISSION_POLICY_BINDING),
)
pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def site(kt: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A cluster and a state folder of our own, so that `kt recover` meets only what we left."""
    before = os.environ.get("KT_STATE_DIR")
    os.environ["KT_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    kt("cluster", "down", "--name", NAME, check=False)
    kt("cluster", "up", "--name", NAME, "--profile", "multi")
    try:
        yield Kt().reach(Target(cluster=NAME))
    finally:
        kt("cluster", "down", "--name", NAME)
        if before is None:
            del os.environ["KT_STATE_DIR"]
        else:
            os.environ["KT_STATE_DIR"] = before


def fingerprint(api: KubeApi) -> dict[str, Any]:
    """All that demos change outside their namespaces."""
    nodes = {
        node["metadata"]["name"]: {
            "labels": node["metadata"]["labels"],
            "spec": {key: node["spec"].get(key) for key in ("taints", "unschedulable")},
            "resources": sorted(node["status"]["capacity"]),
        }
        for node in api.list(NODE).items
    }
    names = {
        kind.kind: sorted(found["metadata"]["name"] for found in api.list(kind).items)
        for kind in KINDS
    }
    return {"nodes": nodes, **names}


def journals() -> list[str]:
    folder = Path(os.environ["KT_STATE_DIR"]) / "journal"
    return sorted(path.name for path in folder.iterdir())


def test_all_hold_and_the_cluster_is_as_it_was(kt: Run, site: Reached, tmp_path: Path) -> None:
    before = fingerprint(site.api)
    junit = tmp_path / "verify.xml"
    argv = ("--cluster", NAME, "--profile", "all", "--strict", "--junit", str(junit))
    done = kt("verify", *argv, "-o", "json", check=False, timeout=800)
    told = json.loads(done.out)
    checks = {
        f"{report['name']}/{check['name']}": check
        for report in told["reports"]
        for check in report["checks"]
    }
    wrong = {name: check["reason"] for name, check in checks.items() if check["status"] != "passed"}
    assert (wrong, done.code, told["status"]) == ({}, 0, "passed")
    assert [report["name"] for report in told["reports"]] == [demo.name for demo in DEMOS]
    assert all(check["evidence"] for check in checks.values())
    sabotaged = {
        f"{demo.name}/{name}"
        for demo in DEMOS
        for sabotage in demo.sabotages.values()
        for name in sabotage.fails
    }
    assert set(checks) == sabotaged
    assert len(list(ET.parse(junit).iter("testcase"))) == len(checks)  # noqa: S314 - ours
    assert fingerprint(site.api) == before
    assert journals() == []


def test_the_ledger_tells_what_was_confirmed_and_what_was_refuted(kt: Run, site: Reached) -> None:
    done = kt("claims", "--cluster", site.name, "-o", "json")
    found = {claim["id"]: claim for claim in json.loads(done.out)["claims"]}
    assert not [claim for claim in found.values() if claim["verdict"] == "unproven"]
    assert found["api-server-1"]["verdict"] == "confirmed"
    for refuted in ("interaction-1", "interaction-2", "interaction-6", "etcd-5", "runtime-7"):
        assert found[refuted]["verdict"] == "refuted"
        assert found[refuted]["corrected"]


def test_the_checks_of_a_demo_can_fail(kt: Run, site: Reached) -> None:
    done = kt("selftest", "desired-state", "--cluster", site.name, "-o", "json", check=False)
    told = json.loads(done.out)
    checks = [check for report in told["reports"] for check in report["checks"]]
    assert [check for check in checks if check["status"] != "passed"] == []
    assert done.code == 0
    assert len(checks) >= 9


def test_a_run_that_cannot_begin_still_writes_its_file(kt: Run, tmp_path: Path) -> None:
    junit = tmp_path / "verify.xml"
    done = kt("verify", "--cluster", "no-such", "--junit", str(junit), check=False)
    assert done.code == 10
    (error,) = ET.parse(junit).iter("error")  # noqa: S314 - ours
    assert "no-such" in (error.get("message") or "")


def killed(demo: str, words: str) -> None:
    """Start a demo and kill it when it says these words."""
    command = [sys.executable, "-m", "kops_toolkit", "demo", demo, "--cluster", NAME]
    running = SystemProcesses().start(command)
    try:
        assert running.stderr
        line = b"-"
        while line and words.encode() not in line:
            line = running.stderr.readline()
        assert line, f"{demo} ended before it said {words!r}"
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait(10) == -signal.SIGKILL
    finally:
        running.kill()
        running.wait()
        close_pipes(running)


@pytest.mark.parametrize(
    ("demo", "words"),
    [
        ("node-failure", "stands still"),
        ("scheduler", "kube-scheduler: is stopped"),
        ("controllers", "kube-controller-manager: is stopped"),
        ("daemonset", "is cordoned"),
        ("kubelet", "has a file"),
    ],
)
def test_after_kill_9_recover_mends_the_nodes(
    kt: Run, site: Reached, demo: str, words: str
) -> None:
    before = fingerprint(site.api)
    killed(demo, words)
    assert len(journals()) == 1
    told = kt("recover").err.decode()
    assert "namespace kt-" in told
    assert journals() == []
    after = fingerprint(site.api)
    assert after["Namespace"] == before["Namespace"]
    kt("verify", "node-selector", "desired-state", "--cluster", NAME)
    assert fingerprint(site.api) == before
