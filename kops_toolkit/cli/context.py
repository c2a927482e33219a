"""How a command reaches what `wiring` built, and how every ending becomes an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn, cast

import typer
from rich.text import Text
from typer.core import TyperGroup

from kops_toolkit.cli import exits
from kops_toolkit.errors import InterruptedByUserError, KtError
from kops_toolkit.report import as_json, console
from kops_toolkit.wiring import Kt, state_folder

if TYPE_CHECKING:
    from types import FrameType

PATIENCE = 3  # Ctrl-C that often leaves the clean-up itself to `kt recover`


def kt(ctx: typer.Context) -> Kt:
    """What this command may use."""
    return cast("Kt", ctx.obj)


class Group(TyperGroup):
    """The root group: turns whatever ends a command into one sentence and one exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer vendors its own click
        """Run the command; see `exits` for the codes."""
        try:
            result = super().invoke(ctx)
        except KeyboardInterrupt:
            tell(InterruptedByUserError("interrupted; what was begun has been taken back"))
            raise typer.Exit(exits.INTERRUPTED) from None
        except KtError as error:
            tell(error)
            raise typer.Exit(exits.of_error(error)) from None
        except BrokenPipeError:
            broken_pipe()
        except Exception as error:
            if _is_clicks_own(error):
                raise
            _confess(error)
            raise typer.Exit(exits.BUG) from None
        return result


def tell(error: KtError) -> None:
    """One sentence and its hint on stderr; one JSON object where JSON was asked for."""
    if _wants_json(sys.argv):
        sys.stderr.write(as_json.error(error, exits.of_error(error)) + "\n")
        return
    people = console.people()
    people.print(Text("error: ", style="bold red") + Text(error.message))
    if error.hint:
        people.print(Text("hint:  ", style="bold") + Text(error.hint))


def broken_pipe() -> NoReturn:
    """Nobody reads stdout any more: say nothing, and keep Python from flushing it once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(exits.BROKEN_PIPE)


def catch_signals() -> None:
    """SIGTERM unwinds like Ctrl-C; once unwinding, more of either are told to wait."""
    heard = 0

    def handler(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's form
        nonlocal heard
        heard += 1
        if heard == 1 or heard >= PATIENCE:
            raise KeyboardInterrupt
        sys.stderr.write("still taking back what was begun; once more leaves it to `kt recover`\n")

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)


def _wants_json(argv: list[str]) -> bool:
    pairs = pairwise(argv)
    return (
        "--json" in argv
        or "-ojson" in argv
        or "--output=json" in argv
        or any(flag in {"-o", "--output"} and value == "json" for flag, value in pairs)
    )


def _is_clicks_own(error: Exception) -> bool:
    """Usage errors and exits, which typer prints itself; its click is vendored and private."""
    return isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code")


def _confess(error: Exception) -> None:
    log = state_folder() / "last-bug.txt"
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        where = f"the details are in {log}; please report them"
    except OSError:
        where = f"set KT_STATE_DIR to a folder that can be written: {log.parent} cannot"
    people = console.people()
    summary = " ".join(str(error).split())
    people.print(Text("error: ", style="bold red"), end="")
    people.print(f"this is a bug in kt: {type(error).__name__}: {summary}")
    people.print(f"hint:  {where}")
