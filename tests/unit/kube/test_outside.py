"""What a run changes outside its namespace is owed before, and taken back whoever has to do it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import ConflictError, NotFoundError, ObjectNotFoundError
from kops_toolkit.kube import outside
from kops_toolkit.kube.api import NODE, POD, PRIORITY_CLASS
from kops_toolkit.kube.consent import MARK
from kops_toolkit.kube.outside import Outside
from kops_toolkit.system.clock import SystemClock
from kops_toolkit.system.journal import Journals
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from kops_toolkit.kube.api import Json, KubeApi

OTHERS = {"key": "someone.else/keeps-off", "effect": "NoSchedule"}
REACH = {"kubeconfig": "/kubeconfig", "context": "here"}


class World:
    def __init__(self, folder: Path) -> None:
        self.kube = FakeKube()
        self.forgotten = False
        self.journals = Journals(folder, outside.handlers(self.connect), SystemClock())
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n", "labels": {"theirs": "1"}},
            "spec": {"taints": [OTHERS]},
            "status": {"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}},
        }
        self.kube.create(body)

    def connect(self, kubeconfig: Path, context: str) -> KubeApi:
        assert (kubeconfig, context) == (Path("/kubeconfig"), "here")
        if self.forgotten:
            raise NotFoundError("there is no kubeconfig")
        return self.kube

    def node(self) -> Json:
        return self.kube.get(NODE, "n")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal")


def marked(world: World, at: Outside) -> None:
    at.label("n", at.key("a"), "1")
    at.taint("n", at.key("b"), "NoExecute")
    at.resource("n", at.key("c"), 3)
    found = world.node()
    assert found["metadata"]["labels"] == {"theirs": "1", at.key("a"): "1"}
    assert [taint["key"] for taint in found["spec"]["taints"]] == [OTHERS["key"], at.key("b")]
    assert found["status"]["capacity"] == {"cpu": "2", at.key("c"): "3"}
    assert found["status"]["allocatable"] == {"cpu": "2", at.key("c"): "3"}


def unmarked(world: World) -> None:
    found = world.node()
    assert found["metadata"]["labels"] == {"theirs": "1"}
    assert found["spec"]["taints"] == [OTHERS]
    assert found["status"]["capacity"] == found["status"]["allocatable"] == {"cpu": "2"}


def test_marks_go_with_the_run_and_others_stay(world: World) -> None:
    with world.journals.open("run") as journal:
        marked(world, Outside(world.kube, journal, "run", REACH))
    unmarked(world)


def test_after_a_kill_recover_takes_them_back(world: World) -> None:
    journal = world.journals.open("run")
    marked(world, Outside(world.kube, journal, "run", REACH))
    journal.close()  # as the kernel does it for a killed process
    assert world.journals.recover(lambda _: None) == 3
    unmarked(world)


def test_one_mark_can_be_taken_back_alone_and_twice(world: World) -> None:
    with world.journals.open("run") as journal:
        at = Outside(world.kube, journal, "run", REACH)
        debt = at.taint("n", at.key("b"), "NoSchedule")
        at.undo(debt)
        unmarked(world)
        at.undo(debt)
    unmarked(world)


def test_a_taint_that_another_sets_at_the_same_moment_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, meanwhile = world.kube.patch, [{"key": "late", "effect": "NoSchedule"}]

    def patch(kind: object, name: str, *args: object, **more: object) -> Json:
        if meanwhile:
            taints = [*world.node()["spec"]["taints"], meanwhile.pop()]
            real(NODE, name, None, {"spec": {"taints": taints}})
        return real(kind, name, *args, **more)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(world.kube, "patch", patch)
    with world.journals.open("run") as journal:
        at = Outside(world.kube, journal, "run", REACH)
        at.taint("n", at.key("b"), "NoSchedule")
        keys = [taint["key"] for taint in world.node()["spec"]["taints"]]
        assert keys == [OTHERS["key"], "late", at.key("b")]


def test_a_node_that_always_changes_is_given_up_with_the_conflict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def patch(*_: object, **__: object) -> Json:
        raise ConflictError(409, "Conflict", "the object has been modified")

    monkeypatch.setattr(world.kube, "patch", patch)
    with world.journals.open("run") as journal, pytest.raises(ConflictError):
        Outside(world.kube, journal, "run", REACH).taint("n", "k", "NoSchedule")


def test_objects_without_a_namespace_go_too(world: World) -> None:
    body = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 7,
    }
    with world.journals.open("run") as journal:
        name = Outside(world.kube, journal, "ab12", REACH).create(PRIORITY_CLASS, body)
        assert name == "kt-ab12-high"
        assert world.kube.get(PRIORITY_CLASS, name)["value"] == 7
    with pytest.raises(ObjectNotFoundError):
        world.kube.get(PRIORITY_CLASS, name)


def test_a_node_or_a_cluster_that_has_gone_owes_nothing(world: World) -> None:
    with world.journals.open("run") as journal:
        at = Outside(world.kube, journal, "run", REACH)
        at.label("n", at.key("a"), "1")
        world.kube.delete(NODE, "n")
    with world.journals.open("run") as journal:
        Outside(world.kube, journal, "run", REACH)._owe("n", "k")
        world.forgotten = True


def test_a_cordon_goes_with_the_run(world: World) -> None:
    with world.journals.open("run") as journal:
        Outside(world.kube, journal, "run", REACH).cordon("n")
        assert world.node()["spec"]["unschedulable"] is True
    assert "unschedulable" not in world.node()["spec"]


def test_a_node_of_the_run_goes_with_the_pods_that_were_bound_to_it(world: World) -> None:
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "new"}}
    with world.journals.open("run") as journal:
        name, _ = Outside(world.kube, journal, "ab12", REACH).node(body)
        assert MARK in world.kube.get(NODE, name)["metadata"]["labels"]
        for home in (name, "n"):
            spec = {"nodeName": home, "containers": []}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"on-{home}"}}
            world.kube.create({**pod, "spec": spec}, "default")
    with pytest.raises(ObjectNotFoundError):
        world.kube.get(NODE, "kt-ab12-new")
    assert [pod["metadata"]["name"] for pod in world.kube.list(POD).items] == ["on-n"]
