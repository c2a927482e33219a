"""Restores of a real cluster, ended well, ended badly, and killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.errors import ArtefactInvalidError, ObjectNotFoundError, ToolFailedError
from kops_toolkit.etcd.restore import online, scripts
from kops_toolkit.etcd.restore.restore import Restores
from kops_toolkit.etcd.restore.survey import survey
from kops_toolkit.kube.api import CONFIG_MAP, POD
from kops_toolkit.kube.watches import Watches
from kops_toolkit.system.clock import SystemClock
from kops_toolkit.system.process import Completed, SystemProcesses, close_pipes
from kops_toolkit.wiring import Kt, Reached, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kops_toolkit.kube.api import Json, KubeApi

    Run = Callable[..., Completed]

NAME = "kt-e2e-restore"
NODE = f"{NAME}-control-plane"
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
HOME = "default"
AWAY = 30.0  # seconds; it takes 4 on two idle processors, and this machine may be busy
pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder of our own, so that `kt recover` meets only what we left behind."""
    folder = tmp_path_factory.mktemp("state")
    before = os.environ.get("KT_STATE_DIR")
    os.environ["KT_STATE_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["KT_STATE_DIR"]
    else:
        os.environ["KT_STATE_DIR"] = before


@pytest.fixture(scope="module")
def site(kt: Run, state: Path) -> Iterator[Reached]:
    assert state.is_dir()
    kt("cluster", "down", "--name", NAME, check=False)
    kt("cluster", "up", "--name", NAME, "--profile", "single")
    try:
        kt("cluster", "load", AGNHOST, "--name", NAME)
        reached = Kt().reach(Target(cluster=NAME))
        reached.api.create(workload(), HOME)
        with Watches(reached.api, SystemClock()) as watches:
            pods = watches.of(POD, HOME)
            pods.wait(lambda: len(running(pods.current())) == 2 or None, timeout=180, what="2 pods")
        yield reached
    finally:
        kt("cluster", "down", "--name", NAME)


def workload() -> Json:
    labels = {"app": "steady"}
    container = {"name": "pause", "image": AGNHOST, "args": ["pause"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "steady"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def running(pods: dict[str, Json]) -> dict[str, tuple[str, str, int, str]]:
    """Pods whose container runs: uid of the pod, id, restarts and start of its container."""
    found = {}
    for name, pod in pods.items():
        for status in pod["status"].get("containerStatuses") or ():
            since = status["state"].get("running", {}).get("startedAt")
            if since:
                told = (status["containerID"], status["restartCount"], since)
                found[name] = (pod["metadata"]["uid"], *told)
    return found


def note(api: KubeApi, name: str) -> str:
    """Create a ConfigMap; returns its uid."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    return str(api.create(body, HOME)["metadata"]["uid"])


def uid_of(api: KubeApi, name: str) -> str | None:
    try:
        return str(api.get(CONFIG_MAP, name, HOME)["metadata"]["uid"])
    except ObjectNotFoundError:
        return None


def steady(api: KubeApi) -> dict[str, tuple[str, str, int, str]]:
    return running({pod["metadata"]["name"]: pod for pod in api.list(POD, HOME).items})


class History:
    """One object from before a backup, deleted since, and one that was made since."""

    def __init__(self, kt: Run, api: KubeApi, folder: Path, name: str) -> None:
        self.api = api
        self.file = folder / f"{name}.db"
        self.early, self.late = f"{name}-early", f"{name}-late"
        self.early_uid = note(api, self.early)
        kt("etcd", "backup", "--cluster", NAME, "-o", str(self.file))
        api.delete(CONFIG_MAP, self.early, HOME)
        self.late_uid = note(api, self.late)
        self.pods = steady(api)

    def which(self) -> str:
        """Which of the two states the API serves; anything in between is neither."""
        now = (uid_of(self.api, self.early), uid_of(self.api, self.late))
        states = {(self.early_uid, None): "restored", (None, self.late_uid): "old"}
        return states.get(now, f"neither: {now}")

    def well(self) -> None:
        """The API is ready and takes writes; no container of a pod was touched."""
        assert self.api.text("/readyz") == "ok"
        assert note(self.api, f"{self.early}-after")
        assert steady(self.api) == self.pods
        assert len(self.pods) == 2


def on_node(*argv: str) -> str:
    return SystemProcesses().run(["docker", "exec", NODE, *argv]).text


def kept() -> str:
    """Everything in restores' folders on the node."""
    return on_node("sh", "-c", "ls -d /var/lib/kt-etcd/*/* 2>/dev/null || :")


def test_what_was_deleted_is_back_and_what_came_later_is_gone(
    kt: Run, site: Reached, tmp_path: Path
) -> None:
    story = History(kt, site.api, tmp_path, "story")
    with Watches(site.api, SystemClock()) as watches:
        watch = watches.of(CONFIG_MAP, HOME).ready()
        assert story.late in watch.current()
        done = kt("etcd", "restore", str(story.file), "--cluster", NAME, "-o", "json")
        assert story.which() == "restored"
        # The watcher was opened before, on a revision that is gone: it must have listed anew.
        watch.wait(
            lambda: (story.early in watch.current() and story.late not in watch.current()) or None,
            timeout=60,
            what="the restored state",
        )
    story.well()
    report = json.loads(done.out)
    assert {check["status"] for check in report["checks"]} == {"passed"}
    assert {check["name"] for check in report["checks"]} == {
        *("safety-snapshot", "copied", "gate", "member-holds", "api-serves"),
    }
    assert 0 < report["facts"]["api_away_seconds"] < AWAY
    assert b"the API was away for" in done.err
    assert Path(report["facts"]["safety_snapshot"]).is_file()
    listed = json.loads(kt("etcd", "cleanup", "--cluster", NAME, "--dry-run", "-o", "json").out)[
        "leftovers"
    ]
    assert [item["holds"] for item in listed] == ["the data before the restore"]
    assert listed[0]["size"] > 1_000_000
    kt("etcd", "cleanup", "--cluster", NAME)
    assert kept() == ""


def test_there_and_back_again(kt: Run, site: Reached, tmp_path: Path) -> None:
    """The safety snapshot of one restore is what undoes it, revisions only ever growing."""
    story = History(kt, site.api, tmp_path, "again")
    versions = []
    there = json.loads(kt("etcd", "restore", str(story.file), "--cluster", NAME, "-o", "json").out)
    versions.append(int(site.api.list(CONFIG_MAP, HOME).resource_version))
    assert story.which() == "restored"
    safety = there["facts"]["safety_snapshot"]
    back = json.loads(kt("etcd", "restore", safety, "--cluster", NAME, "-o", "json").out)
    versions.append(int(site.api.list(CONFIG_MAP, HOME).resource_version))
    assert story.which() == "old"
    assert back["status"] == "passed"
    assert there["facts"]["revision"] < versions[0] < back["facts"]["revision"] <= versions[1]
    story.well()


def test_the_plan_changes_nothing(kt: Run, site: Reached, tmp_path: Path) -> None:
    story = History(kt, site.api, tmp_path, "plan")
    before = on_node("sh", "-c", "ls -d /var/lib/kt-etcd/* 2>/dev/null || :")
    plan = json.loads(
        kt("etcd", "restore", str(story.file), "--plan", "--cluster", NAME, "-o", "json").out
    )
    shown = kt("etcd", "restore", str(story.file), "--plan", "--cluster", NAME).text
    assert plan["bump_revision"] >= plan["live_revision"] - plan["facts"]["revision"]
    assert plan["restored_revision"] == plan["facts"]["revision"] + plan["bump_revision"]
    assert {step["where"] for step in plan["steps"]} == {"here", NODE}
    assert str(len(plan["steps"])) in shown
    assert story.which() == "old"
    assert on_node("sh", "-c", "ls -d /var/lib/kt-etcd/* 2>/dev/null || :") == before


def started(file: Path, dies_after: str = "") -> Any:  # noqa: ANN401 - a Running
    """Kt restoring, as a process of its own; the node's script may be made to die at a word."""
    code = "import sys; from kops_toolkit.etcd.restore import scripts; "
    if dies_after:
        code += f"scripts.SWAP = {dying(dies_after)!r}; "
    code += "from kops_toolkit.__main__ import main; main()"
    argv = [sys.executable, "-c", code, "etcd", "restore", str(file), "--cluster", NAME]
    return SystemProcesses().start(argv)


def dying(word: str) -> str:
    """The swap as it is if the node's shell is killed right after it printed this word."""
    assert f"echo {word}\n" in scripts.SWAP
    return scripts.SWAP.replace(f"echo {word}\n", f"echo {word}\nsleep 2; kill -KILL $$\n")


@pytest.mark.parametrize(
    ("step", "dies_after", "ends"),
    [
        ("copying the snapshot", "", "old"),
        ("restoring into staging", "", "old"),
        ("the API server and etcd are stopped", "halted", "old"),
        ("the old data is moved aside", "aside", "old"),
        ("the restored data is in its place", "in-place", "old"),
        # The line comes just before the node's script is started: killed in between, nothing was
        # touched; killed after, the script goes on to its end. Either is whole.
        ("swapping the data", "", "old or restored"),
        ("waiting for the API server", "", "restored"),
    ],
)
def test_killed_and_recovered(
    kt: Run,
    site: Reached,
    state: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    step: str,
    dies_after: str,
    ends: str,
) -> None:
    """Killed with the node's script, the old data comes back; what is in place and holds stays."""
    name = f"kill-{request.node.callspec.indices['step']}"
    story = History(kt, site.api, tmp_path, name)
    process = started(story.file, dies_after)
    seen = b""
    while step.encode() not in (line := process.stderr.readline()):
        assert line, seen.decode()
        seen += line
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    close_pipes(process)
    assert list((state / "journal").iterdir())
    kt("recover")
    assert story.which() in ends.split(" or ")
    story.well()
    assert list((state / "journal").iterdir()) == []
    assert "staged" not in kept()
    assert "snapshot.db" not in kept()
    on_node("systemctl", "is-active", "kubelet")
    kt("etcd", "cleanup", "--cluster", NAME)
    assert kept() == ""


def in_process(site: Reached, file: Path) -> None:
    """A restore in this process, so that a part of it can be made to fail."""
    wired = Kt()
    assert site.cluster
    effects = (wired.state, wired.clock, wired.progress)
    plan = survey(file, site.cluster, site.api, *effects)
    restores = Restores(wired.clusters(), wired.journals(), *effects)
    restores.run(plan, site.cluster, site.api, consent=None)


def test_a_swap_that_stops_half_way_takes_itself_back(
    kt: Run, site: Reached, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = History(kt, site.api, tmp_path, "half")
    monkeypatch.setattr(scripts, "SWAP", dying("aside"))
    with pytest.raises(ToolFailedError, match="the old data was put back and is served"):
        in_process(site, story.file)
    assert story.which() == "old"
    story.well()
    assert list((state / "journal").iterdir()) == []


def test_restored_data_that_does_not_hold_is_taken_out_again(
    kt: Run, site: Reached, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = History(kt, site.api, tmp_path, "wrong")

    def holds_something_else(*_: object) -> None:
        raise ArtefactInvalidError("another HashKV")

    monkeypatch.setattr(online, "member_holds", holds_something_else)
    with pytest.raises(ToolFailedError, match="put back and is served: another HashKV"):
        in_process(site, story.file)
    assert story.which() == "old"
    story.well()
    assert list((state / "journal").iterdir()) == []
    assert "undone" in kept()
    kt("etcd", "cleanup", "--cluster", NAME)


def test_what_cannot_be_restored_is_refused_in_one_sentence(
    kt: Run, site: Reached, tmp_path: Path
) -> None:
    story = History(kt, site.api, tmp_path, "bad")
    data = story.file.read_bytes()

    def refused(content: bytes, name: str) -> Completed:
        path = tmp_path / name
        path.write_bytes(content)
        return kt("etcd", "restore", str(path), "--cluster", NAME, check=False)

    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    for content, name in ((data[:middle], "truncated.db"), (flipped, "flipped.db")):
        done = refused(content, name)
        assert done.code == 7, done.err
        assert b"is no sound snapshot" in done.err
        assert b"Traceback" not in done.err
    done = kt("etcd", "restore", str(tmp_path / "none.db"), "--cluster", NAME, check=False)
    assert done.code == 10
    run = SystemProcesses().run
    run(["docker", "pause", NODE])
    try:
        done = kt("etcd", "restore", str(story.file), "--cluster", NAME, check=False)
    finally:
        run(["docker", "unpause", NODE])
    assert done.code == 4, done.err
    assert b"Traceback" not in done.err
    assert story.which() == "old"
