"""`kt cluster` on the real engine. These make clusters of their own."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.cluster.clusters import MARK
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.cluster.image import VARIABLE, local
from kops_toolkit.system.process import SystemProcesses, close_pipes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kops_toolkit.system.process import Completed, Running

    Kt = Callable[..., Completed]

NAME = "kt-e2e-life"
pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]


@pytest.fixture
def engine() -> Engine:
    return Engine(SystemProcesses())


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KT_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def gone(engine: Engine) -> Iterator[None]:
    """Whatever a test leaves of its cluster is removed, so that a failure stays one failure."""
    _remove(engine)
    yield
    _remove(engine)


def _remove(engine: Engine) -> None:
    for item in engine.containers(NAME):
        engine.run(["rm", "--force", "--volumes", item.id], timeout=120)


@pytest.mark.usefixtures("gone")
def test_a_cluster_from_birth_to_death(
    kt: Kt, engine: Engine, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "my-kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(mine))
    kt("cluster", "up", "--name", NAME, "--proxy-mode", "nftables")

    kubeconfig = Path(kt("cluster", "kubeconfig", "--name", NAME, "--path").text.strip())
    assert kubeconfig == state / "clusters" / NAME / "kubeconfig"
    assert stat.S_IMODE(kubeconfig.stat().st_mode) == 0o600
    assert not mine.exists(), "the user's kubeconfig was touched without --merge"

    found = json.loads(kt("cluster", "status", "--name", NAME, "-o", "json").out)
    assert found["healthy"]
    assert found["ours"]
    assert [node["ready"] for node in found["nodes"]] == ["yes"]
    assert (
        _kubectl(engine, "get", "nodes", "-l", f"{MARK}={NAME}", "-o", "name").count("node/") == 1
    )
    proxy = _kubectl(engine, "-n", "kube-system", "get", "cm", "kube-proxy", "-o", "yaml")
    assert "mode: nftables" in proxy
    coredns = _kubectl(engine, "-n", "kube-system", "get", "deploy", "coredns", "-o", "json")
    assert json.loads(coredns)["status"]["readyReplicas"] >= 1

    listed = {item["name"]: item for item in json.loads(kt("cluster", "list", "-o", "json").out)}
    assert listed[NAME]["ours"]
    assert listed[NAME]["profile"] == "single"

    again = kt("cluster", "up", "--name", NAME, check=False)
    assert again.code == 9
    assert b"already" in again.err
    assert kt("cluster", "shell", "--name", NAME, "control-plane", "--", "sh", "-c", "exit 7",
              check=False).code == 7  # fmt: skip

    _loads_only_what_is_missing(kt, engine)
    _tells_when_the_api_is_down(kt, engine)

    kt("cluster", "down", "--name", NAME)
    assert not engine.containers(NAME)
    assert not (state / "clusters" / NAME).exists()
    assert kt("cluster", "down", "--name", NAME, check=False).code == 10
    assert not mine.exists()


def _loads_only_what_is_missing(kt: Kt, engine: Engine) -> None:
    engine.run(["tag", _some_image(engine), "kt-e2e.invalid/loaded:1"])
    try:
        image = "kt-e2e.invalid/loaded:1"
        first = kt("cluster", "load", "--name", NAME, image)
        assert f"{image}: {NAME}-control-plane".encode() in first.err
        second = kt("cluster", "load", "--name", NAME, image)
        assert b"was on every node already" in second.err
        argv = ["exec", f"{NAME}-control-plane", "ctr", "-n", "k8s.io", "images", "ls", "-q"]
        assert image in engine.run(argv).text.split()
    finally:
        engine.run(["rmi", "kt-e2e.invalid/loaded:1"])


def _some_image(engine: Engine) -> str:
    """The smallest image that the engine has."""
    form = "{{.Repository}}:{{.Tag}}"
    names = [
        name
        for name in engine.run(["images", "--format", form]).text.splitlines()
        if "<none>" not in name
    ]
    sizes = {
        name: int(engine.run(["image", "inspect", "--format", "{{.Size}}", name]).text)
        for name in names
    }
    return min(sizes, key=lambda name: sizes[name])


def _tells_when_the_api_is_down(kt: Kt, engine: Engine) -> None:
    node = f"{NAME}-control-plane"
    engine.run(["pause", node])
    try:
        done = kt("cluster", "status", "--name", NAME, "-o", "json", check=False)
        assert done.code == 4
        found: dict[str, Any] = json.loads(done.out)
        assert found["healthy"] is False
        assert found["ours"] is True
        assert [item["state"] for item in found["nodes"]] == ["paused"]
        entered = kt("cluster", "shell", "--name", NAME, node, "--", "true", check=False)
        assert entered.code == 4
        assert b"paused" in entered.err
    finally:
        engine.run(["unpause", node])


def _kubectl(engine: Engine, *argv: str) -> str:
    admin = "--kubeconfig=/etc/kubernetes/admin.conf"
    return engine.run(["exec", f"{NAME}-control-plane", "kubectl", admin, *argv]).text


@pytest.mark.usefixtures("gone", "state")
def test_merge_puts_the_cluster_into_the_users_kubeconfig_and_down_takes_it_out(
    kt: Kt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "my-kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(mine))
    kt("cluster", "up", "--name", NAME, "--merge", "--wait", "0")
    assert f"kind-{NAME}" in mine.read_text()
    kt("cluster", "down", "--name", NAME)
    assert f"kind-{NAME}" not in mine.read_text()


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("moment", ["Preparing nodes", "Starting control-plane", "waiting until"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_creation_leaves_nothing(
    kt: Kt, engine: Engine, state: Path, number: signal.Signals, moment: str
) -> None:
    running = _up()
    try:
        _read_until(running, moment)
        os.kill(running.pid, number)
        assert running.wait(timeout=120) == (-9 if number is signal.SIGKILL else 130)
    finally:
        running.kill()
        running.wait()
        close_pipes(running)
    if number is signal.SIGKILL:
        recovered = kt("recover")
        assert f"delete the half-made cluster {NAME}".encode() in recovered.err
    assert not engine.containers(NAME)
    assert not (state / "clusters" / NAME).exists()
    assert not list((state / "journal").glob("*.jsonl"))
    assert not _kinds_at_work()


@pytest.mark.usefixtures("gone", "state")
def test_what_kt_did_not_make_is_left_alone(kt: Kt, engine: Engine) -> None:
    labels = ["--label", f"io.x-k8s.kind.cluster={NAME}", "--label", "io.x-k8s.kind.role=worker"]
    image = os.environ.get(VARIABLE) or local(engine) or _some_image(engine)
    engine.run(
        ["run", "-d", *labels, "--name", f"{NAME}-worker", "--entrypoint=sleep", image, "99"]
    )
    refused = kt("cluster", "down", "--name", NAME, check=False)
    assert refused.code == 9
    assert b"not made by kt" in refused.err
    assert engine.containers(NAME)
    kt("cluster", "down", "--name", NAME, "--i-know-this-breaks", NAME)
    assert not engine.containers(NAME)


@pytest.mark.usefixtures("gone")
def test_an_image_that_cannot_be_had_is_one_sentence_and_leaves_nothing(
    kt: Kt, engine: Engine, state: Path
) -> None:
    done = kt("cluster", "up", "--name", NAME, "--image", "kt-e2e.invalid/node:v1.2.3", check=False)
    assert done.code == 3
    assert b"kt-e2e.invalid/node:v1.2.3 is not on this machine" in done.err
    assert b"Traceback" not in done.err
    assert not engine.containers(NAME)
    assert not (state / "clusters" / NAME).exists()


def _up() -> Running:
    return SystemProcesses().start(
        [sys.executable, "-m", "kops_toolkit", "cluster", "up", "--name", NAME]
    )


def _read_until(running: Running, text: str) -> None:
    seen = []
    for line in running.stderr or ():
        seen.append(line)
        if text.encode() in line:
            return
    pytest.fail(f"never said {text!r}: {seen}")


def _kinds_at_work() -> list[str]:
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if NAME in line and "create" in line and str(os.getpid()) != folder.name:
            lines.append(line)
    return lines
