"""What is broken on nodes is owed before, and taken back in another process too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from kops_toolkit.cluster.faults import SET_VERBOSITY, Faults, handlers
from kops_toolkit.errors import NotFoundError, ToolFailedError
from kops_toolkit.system.clock import SystemClock
from kops_toolkit.system.journal import Journals
from tests.fakes.node import FakeNode

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.clusters import Clusters
    from kops_toolkit.system.journal import Journal

SCHEDULER = "kube-scheduler"
STOP = ("pkill", "-STOP", "-x", "kube-scheduler")
RESUME = ("pkill", "-CONT", "-x", "kube-scheduler")


class World:
    """A cluster of one control plane and one worker; stands in for Clusters and Cluster."""

    def __init__(self, folder: Path) -> None:
        self.plane = FakeNode("c-control-plane")
        self.worker = FakeNode("c-worker", control_plane=False)
        self.gone = False
        self.journals = Journals(folder, handlers(cast("Clusters", self)), SystemClock())
        for node in (self.plane, self.worker):
            node.answer("pkill")
            node.answer("rm")
            node.answer("kubectl")

    def find(self, name: str) -> World:
        assert name == "c"
        if self.gone:
            raise NotFoundError("there is no cluster c")
        return self

    def node(self, name: str) -> FakeNode:
        return {node.name: node for node in (self.plane, self.worker)}[name]

    def faults(self, journal: Journal) -> Faults:
        return Faults("c", {"c-control-plane": self.plane, "c-worker": self.worker}, journal)

    def kubectl(self) -> list[bytes | None]:
        """What was fed to kubectl, in order."""
        calls = zip(self.plane.calls, self.plane.inputs, strict=True)
        return [given for call, given in calls if call[0] == "kubectl"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal")


def broken(world: World, faults: Faults) -> None:
    faults.freeze_node("c-worker")
    faults.stop_process(SCHEDULER)
    faults.put_file("c-worker", "/etc/kubernetes/manifests/x.yaml", b"x")
    faults.raise_verbosity(SCHEDULER, 10)
    assert world.worker.frozen
    assert world.worker.files == {"/etc/kubernetes/manifests/x.yaml": b"x"}
    assert STOP in world.plane.calls
    assert world.kubectl() == [b"10"]


def mended(world: World) -> None:
    assert not world.worker.frozen
    assert ("rm", "-f", "--", "/etc/kubernetes/manifests/x.yaml") in world.worker.calls
    assert RESUME in world.plane.calls
    assert world.kubectl() == [b"10", b"0"]


def test_faults_end_with_the_run(world: World) -> None:
    with world.journals.open("run") as journal:
        broken(world, world.faults(journal))
    mended(world)


def test_after_a_kill_recover_takes_them_back(world: World) -> None:
    journal = world.journals.open("run")
    broken(world, world.faults(journal))
    journal.close()  # as the kernel does it for a killed process
    assert world.journals.recover(lambda _: None) == 4
    mended(world)


def test_a_fault_that_could_not_be_made_is_owed_all_the_same(world: World) -> None:
    world.plane.breaks("pkill", "-STOP", error=ToolFailedError("no such process"))
    with world.journals.open("run") as journal:
        with pytest.raises(ToolFailedError):
            world.faults(journal).stop_process(SCHEDULER)
        assert [debt.says for debt in journal.owed] == [
            "the stopped kube-scheduler on c-control-plane"
        ]
    assert RESUME in world.plane.calls


def test_a_long_name_is_cut_as_the_kernel_cuts_it(world: World) -> None:
    with world.journals.open("run") as journal:
        world.faults(journal).stop_process("kube-controller-manager")
    assert ("pkill", "-STOP", "-x", "kube-controller") in world.plane.calls


def test_what_was_started_anew_meanwhile_is_mended_already(world: World) -> None:
    world.plane.answer("pkill", "-CONT", code=1)
    world.plane.answer("kubectl", code=0)
    with world.journals.open("run") as journal:
        faults = world.faults(journal)
        faults.undo(*faults.stop_process(SCHEDULER))
        assert journal.owed == ()


def test_a_cluster_that_is_gone_owes_nothing(world: World) -> None:
    owed: dict[str, Any] = {"cluster": "c", "node": "c-worker", "process": SCHEDULER}
    with world.journals.open("run") as journal:
        world.faults(journal).freeze_node("c-worker")
        journal.owe(SET_VERBOSITY, "verbosity", **owed)
        world.gone = True
    assert world.worker.frozen
