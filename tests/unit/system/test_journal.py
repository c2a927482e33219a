from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.errors import CleanupFailedError, EnvironmentNotReadyError, ToolFailedError
from kops_toolkit.system.journal import Journals, Undo
from kops_toolkit.system.process import SystemProcesses
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class World:
    """Remembers what was taken back; `broken` ones refuse."""

    def __init__(self, folder: Path) -> None:
        self.undone: list[str] = []
        self.broken: set[str] = set()
        self.journals = Journals(folder, {"drop": self.drop}, FakeClock())

    def drop(self, args: Mapping[str, Any]) -> None:
        if args["name"] in self.broken:
            raise ToolFailedError(f"{args['name']} will not go")
        self.undone.append(args["name"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal")


def owe(journals: Journals, *names: str) -> None:
    """Die with debts: the file is let go without anything taken back."""
    journal = journals.open("dying")
    for name in names:
        journal.owe("drop", f"made {name}", name=name)
    journal.close()


def test_leaving_takes_back_newest_first_and_removes_the_file(world: World, tmp_path: Path) -> None:
    with world.journals.open("run") as journal:
        journal.owe("drop", "made a", name="a")
        journal.owe("drop", "made b", name="b")
    assert world.undone == ["b", "a"]
    assert list((tmp_path / "journal").iterdir()) == []


def test_the_debt_is_on_disk_before_owe_returns(world: World, tmp_path: Path) -> None:
    with world.journals.open("run") as journal:
        journal.owe("drop", "made a", name="a")
        (file,) = (tmp_path / "journal").iterdir()
        assert json.loads(file.read_text())["args"] == {"name": "a"}


def test_a_settled_debt_is_not_taken_back(world: World) -> None:
    with world.journals.open("run") as journal:
        debt = journal.owe("drop", "made a", name="a")
        journal.settle(debt)
    assert world.undone == []


def test_an_exception_inside_still_takes_everything_back(world: World) -> None:
    with pytest.raises(RuntimeError), world.journals.open("run") as journal:
        journal.owe("drop", "made a", name="a")
        raise RuntimeError
    assert world.undone == ["a"]


def test_one_failure_does_not_stop_the_others_and_stays_owed(world: World) -> None:
    world.broken = {"b"}
    with pytest.raises(CleanupFailedError, match="b will not go"), world.journals.open("r") as j:
        for name in "abc":
            j.owe("drop", f"made {name}", name=name)
    assert world.undone == ["c", "a"]
    world.broken = set()
    assert world.journals.recover(lambda _: None) == 1
    assert world.undone == ["c", "a", "b"]


def test_recover_finishes_the_dead_and_tells_each(world: World) -> None:
    owe(world.journals, "a", "b")
    told: list[Undo] = []
    assert world.journals.recover(told.append) == 2
    assert [debt.says for debt in told] == ["made b", "made a"]
    assert world.journals.recover(told.append) == 0


def test_recover_leaves_the_living_alone(world: World) -> None:
    with world.journals.open("alive") as journal:
        debt = journal.owe("drop", "made a", name="a")
        assert world.journals.recover(lambda _: None) == 0
        assert world.undone == []
        journal.settle(debt)


def test_a_line_cut_by_a_kill_is_ignored(world: World, tmp_path: Path) -> None:
    owe(world.journals, "a")
    (file,) = (tmp_path / "journal").iterdir()
    with file.open("a") as end:
        end.write('{"id": 2, "undo": "dr')
    assert world.journals.recover(lambda _: None) == 1
    assert world.undone == ["a"]


def test_an_undo_nobody_can_do_is_refused_before_the_act(world: World) -> None:
    with world.journals.open("run") as journal, pytest.raises(KeyError, match="explode"):
        journal.owe("explode", "boom")


def test_an_unknown_undo_of_a_newer_kt_stays_on_disk(world: World, tmp_path: Path) -> None:
    owe(world.journals, "a")
    older = Journals(tmp_path / "journal", {}, FakeClock())
    with pytest.raises(CleanupFailedError, match="no handler"):
        older.recover(lambda _: None)
    assert world.journals.recover(lambda _: None) == 1


def test_nothing_begins_where_no_journal_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentNotReadyError, match="cannot write its journal"):
        World(tmp_path / "file" / "journal").journals.open("run")


KILLED = """
import pathlib, os, signal, sys
from kops_toolkit.system.clock import SystemClock
from kops_toolkit.system.journal import Journals
journals = Journals(pathlib.Path(sys.argv[1]), {"drop": lambda args: None}, SystemClock())
with journals.open("killed") as journal:
    journal.owe("drop", "made a", name="a")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_its_debts_to_the_next(world: World, tmp_path: Path) -> None:
    done = SystemProcesses().run(
        [sys.executable, "-c", KILLED, str(tmp_path / "journal")], check=False, env=dict(os.environ)
    )
    assert done.code == -signal.SIGKILL
    assert world.journals.recover(lambda _: None) == 1
    assert world.undone == ["a"]
