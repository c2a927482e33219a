from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from kops_toolkit.cluster.clusters import Clusters
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.cluster.image import VARIABLE
from kops_toolkit.cluster.kind import Kind
from kops_toolkit.cluster.lifecycle import Lifecycle
from kops_toolkit.cluster.spec import ClusterSpec
from kops_toolkit.cluster.undo import DELETE_KIND_CLUSTER, DeleteKindCluster
from kops_toolkit.errors import (
    EnvironmentNotReadyError,
    NotFoundError,
    RefusedError,
    TimedOutError,
    ToolFailedError,
)
from kops_toolkit.system.journal import Journals
from kops_toolkit.system.lock import alone
from tests.fakes.clock import FakeClock
from tests.fakes.docker import FakeDocker, created
from tests.fakes.process import FakeRunning

if TYPE_CHECKING:
    from pathlib import Path


class Heard:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def amount(self, done: int, total: int | None, unit: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


class Setting:
    """Everything `up` needs, made of fakes."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.docker = FakeDocker()
        self.docker.answer("docker", "exec")
        self.heard = Heard()
        clock = FakeClock()
        self.clusters = Clusters(Engine(self.docker), Kind(self.docker, "kind"), state)
        undo = DeleteKindCluster(self.clusters, self.docker, clock)
        self.journals = Journals(state / "journal", {DELETE_KIND_CLUSTER: undo}, clock)
        self.lifecycle = Lifecycle(self.clusters, self.journals, self.heard)

    @property
    def left(self) -> list[str]:
        """What lies about: containers, kt's files of the cluster, open journals."""
        files = [path.name for path in (self.state / "clusters").glob("[!.]*")]
        journals = [path.name for path in (self.state / "journal").glob("*")]
        return [*self.docker.boxes, *files, *journals]


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.delenv(VARIABLE, raising=False)
    return Setting(tmp_path)


def test_up_makes_a_marked_cluster_and_owes_nothing(setting: Setting) -> None:
    found = setting.lifecycle.up(ClusterSpec("c"))
    assert found.ours
    assert found.profile == "single"
    assert not list((setting.state / "journal").iterdir())
    assert not list((setting.state / "clusters/c").glob("kind-*"))
    assert setting.heard.steps == ["Preparing nodes", "waiting until all nodes are ready"]


def test_the_debt_is_on_disk_before_kind_starts(setting: Setting) -> None:
    seen: list[str] = []

    def look(docker: FakeDocker, name: str) -> FakeRunning:
        seen.extend(path.read_text() for path in (setting.state / "journal").iterdir())
        return created(docker, name)

    setting.docker.on_create = look
    setting.lifecycle.up(ClusterSpec("c"))
    assert len(seen) == 1
    assert DELETE_KIND_CLUSTER in seen[0]


def test_kind_gets_kts_own_kubeconfig_and_the_image_asked_for(setting: Setting) -> None:
    setting.docker.answer("docker", "run", err="no such image", code=125)
    setting.lifecycle.up(ClusterSpec("c", image="img:v1.37.0"))
    call = next(call for call in setting.docker.calls if call[1:3] == ("create", "cluster"))
    assert call[call.index("--kubeconfig") + 1] == str(setting.state / "clusters/c/kubeconfig")
    assert call[-2:] == ("--image", "img:v1.37.0")


def test_cgroup_v1_is_detected_and_patched_in(setting: Setting) -> None:
    setting.docker.info["CgroupVersion"] = "1"
    configs = []

    def look(docker: FakeDocker, name: str) -> FakeRunning:
        call = docker.calls[-1]
        with open(call[call.index("--config") + 1], encoding="utf-8") as file:  # noqa: PTH123 - as kind
            configs.append(yaml.safe_load(file))
        return created(docker, name)

    setting.docker.on_create = look
    setting.lifecycle.up(ClusterSpec("c"))
    assert "failCgroupV1: false" in configs[0]["kubeadmConfigPatches"][0]
    assert any("cgroup v1" in note for note in setting.heard.notes)


def test_an_image_built_here_is_preferred_to_pulling_and_told(setting: Setting) -> None:
    setting.docker.images = ["<none>:<none>", "kt/node:v1.37.2"]
    setting.docker.answer("docker", "run", out="CapBnd:\t000001ffffffffff\n")
    setting.lifecycle.up(ClusterSpec("c"))
    call = next(call for call in setting.docker.calls if call[1:3] == ("create", "cluster"))
    assert call[-2:] == ("--image", "kt/node:v1.37.2")
    assert "node image kt/node:v1.37.2, built on this machine" in setting.heard.notes


def test_a_failure_is_told_and_taken_back(setting: Setting) -> None:
    def fail(docker: FakeDocker, name: str) -> FakeRunning:
        docker.add(name, "control-plane", labels=None)
        return FakeRunning(err=b"ERROR: failed to create cluster: the sky fell\n", code=1)

    setting.docker.on_create = fail
    with pytest.raises(ToolFailedError, match="the sky fell"):
        setting.lifecycle.up(ClusterSpec("c"))
    assert setting.left == []


def test_an_image_that_cannot_be_pulled_names_the_way(setting: Setting) -> None:
    def fail(docker: FakeDocker, name: str) -> FakeRunning:  # noqa: ARG001 - the fake's form
        said = b'ERROR: failed to create cluster: failed to pull image "x": no such host\n'
        return FakeRunning(err=said, code=1)

    setting.docker.on_create = fail
    setting.docker.answer("docker", "run", code=125)
    with pytest.raises(EnvironmentNotReadyError, match="the image x is not on this mach") as error:
        setting.lifecycle.up(ClusterSpec("c", image="x"))
    assert "ci/node-image/build" in (error.value.hint or "")
    assert setting.left == []


def test_ctrl_c_ends_kind_and_takes_back(setting: Setting) -> None:
    class Interrupted(FakeRunning):
        def wait(self, timeout: float | None = None) -> int:
            if not self.killed:
                raise KeyboardInterrupt
            return super().wait(timeout)

    made: list[Interrupted] = []

    def begin(docker: FakeDocker, name: str) -> FakeRunning:
        docker.add(name, "control-plane", labels=None)
        made.append(Interrupted())
        return made[0]

    setting.docker.on_create = begin
    with pytest.raises(KeyboardInterrupt):
        setting.lifecycle.up(ClusterSpec("c"))
    assert made[0].killed
    assert setting.left == []


def test_a_name_that_is_taken_is_refused_and_what_is_there_is_left_alone(setting: Setting) -> None:
    setting.docker.add("c", "control-plane")
    with pytest.raises(RefusedError, match="already"):
        setting.lifecycle.up(ClusterSpec("c"))
    assert list(setting.docker.boxes) == ["c-control-plane"]


def test_two_at_once_are_refused(setting: Setting) -> None:
    with (
        alone(setting.clusters.lock("c"), "busy"),
        pytest.raises(RefusedError, match="another kt is working on the cluster c"),
    ):
        setting.lifecycle.up(ClusterSpec("c"))
    assert setting.left == []


def test_not_ready_in_time_keeps_the_cluster_and_says_so(setting: Setting) -> None:
    setting.docker.answer(
        "docker", "exec", "c-control-plane", "timeout", "--kill-after=5", "39",
        err="error: timed out waiting for the condition on nodes/c-control-plane", code=1,
    )  # fmt: skip
    with pytest.raises(TimedOutError, match="stands but was not ready after 9 s"):
        setting.lifecycle.up(ClusterSpec("c"), wait=9)
    assert list(setting.docker.boxes) == ["c-control-plane"]
    assert not list((setting.state / "journal").iterdir())


def test_too_few_inotify_instances_stop_it_before_kind(setting: Setting) -> None:
    setting.docker.answer("docker", "run", out="fs.inotify.max_user_instances: 60\n")
    with pytest.raises(EnvironmentNotReadyError, match="60, too few for 3 nodes") as error:
        setting.lifecycle.up(ClusterSpec("c", "multi", image="img:v1.37.0"))
    assert "kt doctor --fix" in (error.value.hint or "")
    assert setting.left == []


def test_down_deletes_ours_and_its_files(setting: Setting) -> None:
    setting.lifecycle.up(ClusterSpec("c"))
    assert setting.lifecycle.down(None) == "c"
    assert setting.left == []


def test_down_refuses_what_is_not_ours_without_consent(setting: Setting) -> None:
    setting.docker.add("c", "control-plane")
    with pytest.raises(RefusedError):
        setting.lifecycle.down("c")
    assert list(setting.docker.boxes) == ["c-control-plane"]
    setting.lifecycle.down("c", consent="c")
    assert setting.left == []


def test_down_of_nothing_clears_what_was_left(setting: Setting) -> None:
    (setting.clusters.folder("c") / "kubeconfig").write_text("stale")
    with pytest.raises(NotFoundError):
        setting.lifecycle.down("c")
    assert not (setting.state / "clusters/c").exists()


def test_merging_is_undone_by_down(setting: Setting) -> None:
    setting.docker.answer("/usr/bin/kind", "export", "kubeconfig")
    setting.lifecycle.up(ClusterSpec("c"), merge=True)
    setting.lifecycle.down("c")
    deleted = next(call for call in setting.docker.calls if call[1:3] == ("delete", "cluster"))
    assert "--kubeconfig" not in deleted
