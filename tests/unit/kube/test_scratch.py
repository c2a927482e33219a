from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.errors import NotFoundError
from kops_toolkit.kube import undo
from kops_toolkit.kube.api import CONFIG_MAP, NAMESPACE
from kops_toolkit.kube.scratch import RUN_LABEL, scratch_namespace
from kops_toolkit.system.clock import SystemClock
from kops_toolkit.system.journal import Journals
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kops_toolkit.kube.api import KubeApi

CONFIG = Path("/kubeconfig")


class World:
    """A fake cluster and the journals that can take back what is made on it."""

    def __init__(self, folder: Path) -> None:
        self.kube = FakeKube()
        self.asked: list[tuple[Path, str]] = []
        self.forgotten = False
        handlers = undo.handlers(self.connect, SystemClock())
        self.journals = Journals(folder, handlers, SystemClock())

    def connect(self, kubeconfig: Path, context: str) -> KubeApi:
        self.asked.append((kubeconfig, context))
        if self.forgotten:
            raise NotFoundError("there is no kubeconfig")
        return self.kube

    def names(self) -> set[str]:
        return {item["metadata"]["name"] for item in self.kube.list(NAMESPACE).items}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal")


def test_it_is_there_inside_and_gone_after(world: World) -> None:
    with (
        world.journals.open("run") as journal,
        scratch_namespace(
            world.kube, journal, "kt-test", kubeconfig=CONFIG, context="here", keep=False
        ) as name,
    ):
        found = world.kube.get(NAMESPACE, name)
        assert found["metadata"]["labels"][RUN_LABEL] == name
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
        world.kube.create(body, name)
    assert name not in world.names()
    assert world.kube.list(CONFIG_MAP, name).items == ()
    assert world.asked == [(CONFIG, "here")]


def test_the_debt_is_written_before_the_namespace_is_made(world: World) -> None:
    journal = world.journals.open("run")
    world.kube.fail_next(NotFoundError("killed here"), verb="create")
    with (
        pytest.raises(NotFoundError),
        scratch_namespace(
            world.kube, journal, "kt-test", kubeconfig=CONFIG, context="here", keep=False
        ),
    ):
        pytest.fail("it was not made")
    (debt,) = journal.owed
    journal.close()
    assert world.journals.recover(lambda _: None) == 1
    assert debt.args["name"] not in world.names()


def test_kept_is_kept_and_owed_no_more(world: World) -> None:
    with (
        world.journals.open("run") as journal,
        scratch_namespace(
            world.kube, journal, "kt-test", kubeconfig=CONFIG, context="here", keep=True
        ) as name,
    ):
        pass
    assert name in world.names()
    assert world.journals.recover(lambda _: None) == 0


def test_a_cluster_that_is_gone_owes_nothing(world: World) -> None:
    journal = world.journals.open("run")
    journal.owe("delete-namespace", "x", name="x", kubeconfig=str(CONFIG), context="here")
    journal.close()
    world.forgotten = True
    assert world.journals.recover(lambda _: None) == 1


def test_what_was_broken_meanwhile_is_mended_before_the_namespace_goes(tmp_path: Path) -> None:
    world = World(tmp_path / "journal")
    order: list[str] = []

    def mend(args: Mapping[str, Any]) -> None:
        order.append(f"{args['what']}, {len(world.names())} namespaces")

    handlers = {**undo.handlers(world.connect, SystemClock()), "mend": mend}
    journals = Journals(tmp_path / "journal", handlers, SystemClock())
    with (
        journals.open("run") as journal,
        scratch_namespace(
            world.kube, journal, "kt-test", kubeconfig=CONFIG, context="here", keep=False
        ) as name,
    ):
        before = len(world.names())
        journal.owe("mend", "a node", what="node")
    assert order == [f"node, {before} namespaces"]
    assert name not in world.names()
