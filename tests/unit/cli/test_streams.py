"""The traps of streams, markup and exit codes, each held shut."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import typer
from typer.testing import CliRunner

from kops_toolkit import errors
from kops_toolkit.cli import app as application
from kops_toolkit.cli.context import Group
from kops_toolkit.report import as_json, as_table, console
from kops_toolkit.system.process import Completed, SystemProcesses

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from typer.testing import Result

LONG = "[ready] [kube-system] [/var/lib/etcd] " + "x" * 200


def ending(act: Callable[[], None], *argv: str) -> Result:
    """How a command that does `act` ends under the real root group."""
    app = typer.Typer(cls=Group, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("act")(act)
    return CliRunner().invoke(app, ["act", *argv])


def failing(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_cluster_text_is_never_markup() -> None:
    target = console.data()
    with target.capture() as shown:
        target.print(as_table.rows(["text"], [[LONG]]))
    assert "".join(shown.get().split()).replace("text", "", 1) == "".join(LONG.split())


def test_an_error_keeps_brackets_and_goes_to_stderr_alone() -> None:
    result = ending(failing(errors.UnreachableError(LONG, "try [this]")))
    assert result.exit_code == 4
    assert result.stdout == ""
    assert LONG in result.stderr
    assert "try [this]" in result.stderr


def test_json_is_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit(as_json.dump({"text": LONG}))
    assert json.loads(capsys.readouterr().out) == {"text": LONG}


def test_an_error_under_json_is_one_object_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["kt", "x", "-o", "json"])
    result = ending(failing(errors.NoSpaceError("full", "free some")))
    assert result.stdout == ""
    assert json.loads(result.stderr) == {
        "error": "NoSpaceError",
        "message": "full",
        "hint": "free some",
        "exit": 11,
    }


def test_ctrl_c_is_130() -> None:
    result = ending(failing(KeyboardInterrupt()))
    assert (result.exit_code, result.stdout) == (130, "")


def test_a_bug_is_70_with_a_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KT_STATE_DIR", str(tmp_path))
    result = ending(failing(ZeroDivisionError("oops")))
    assert result.exit_code == 70
    assert "bug in kt: ZeroDivisionError: oops" in result.stderr
    assert "Traceback" not in result.stderr
    assert "ZeroDivisionError" in (tmp_path / "last-bug.txt").read_text()


def test_a_wrong_command_is_2() -> None:
    result = CliRunner().invoke(application.app, ["no-such-command"])
    assert (result.exit_code, result.stdout) == (2, "")


def kt(*argv: str, **env: str) -> Completed:
    command = [sys.executable, "-m", "kops_toolkit", *argv]
    return SystemProcesses().run(command, check=False, env={**os.environ, **env})


def test_no_escape_codes_reach_stdout_even_if_colour_is_forced(tmp_path: Path) -> None:
    done = kt("recover", FORCE_COLOR="1", KT_STATE_DIR=str(tmp_path))
    assert (done.code, done.out) == (0, b"")
    assert b"nothing was left behind" in done.err


def test_a_closed_reader_is_141() -> None:
    kt = f"{sys.executable} -m kops_toolkit --version"
    line = f"{{ {kt}; echo $? >&2; }} | {{ exec 0<&-; sleep 1; }}"
    done = SystemProcesses().run(["sh", "-c", line])
    assert done.err == b"141\n"


HEAVY = "import sys, kops_toolkit.cli.app; print(*sys.modules)"


def test_help_loads_neither_the_client_nor_grpc() -> None:
    done = SystemProcesses().run([sys.executable, "-c", HEAVY])
    assert {"kubernetes", "urllib3", "grpc"} & set(done.text.split()) == set()
