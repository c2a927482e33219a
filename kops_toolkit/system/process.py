"""The only place that starts programs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess  # noqa: TID251 - the one place
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NoReturn, Protocol

from kops_toolkit.errors import EnvironmentNotReadyError, TimedOutError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAIL_LINES = 12
# Ctrl-C reaches the terminal's foreground group: kt alone hears it and decides what each program
# it started is told; a clean-up under way would otherwise be shot from under kt.
OWN_GROUP = 0


@dataclass(frozen=True)
class Completed:
    """A program that has ended.

    Attributes:
        argv: what was started.
        code: its exit status; negative: killed by that signal.
        out: its stdout, bytes.
        err: its stderr, bytes.
    """

    argv: tuple[str, ...]
    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Stdout as text; what is not UTF-8 is replaced."""
        return self.out.decode("utf-8", "replace")


class Running(Protocol):
    """A program that still runs, with its pipes."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    pid: int

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...


class Processes(Protocol):
    """How rooms start programs."""

    def which(self, name: str) -> str | None:
        """Full path of a program on PATH, or None."""
        ...

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run to the end.

        Args:
            argv: program and arguments; never a shell line.
            stdin: bytes to feed it; None gives it an empty stdin.
            timeout: seconds until it is killed; None waits for ever.
            check: raise unless it exits 0.
            env: the whole environment; None inherits kt's.

        Raises:
            EnvironmentNotReadyError: there is no such program.
            ToolFailedError: it did not exit 0 and `check` is on.
            TimedOutError: it was killed after `timeout`.
        """
        ...

    def start(self, argv: Sequence[str]) -> Running:
        """Start with pipes on all three streams and leave it running.

        Raises:
            EnvironmentNotReadyError: there is no such program.
        """
        ...

    def hand_over(self, argv: Sequence[str]) -> NoReturn:
        """Become that program: it gets kt's terminal, and its exit code is kt's.

        Raises:
            EnvironmentNotReadyError: there is no such program.
        """
        ...


class SystemProcesses:
    """The real one."""

    def which(self, name: str) -> str | None:
        """See Processes."""
        return shutil.which(name)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """See Processes."""
        try:
            done = subprocess.run(
                argv,
                input=stdin or b"",
                capture_output=True,
                timeout=timeout,
                check=False,
                env=env,
                process_group=OWN_GROUP,
            )
        except FileNotFoundError as cause:
            raise missing(argv[0]) from cause
        except subprocess.TimeoutExpired as cause:
            message = f"`{shlex.join(argv)}` was stopped: no end after {timeout:.0f} s"
            raise TimedOutError(message) from cause
        completed = Completed(tuple(argv), done.returncode, done.stdout, done.stderr)
        if check and completed.code != 0:
            raise failed(completed)
        return completed

    def start(self, argv: Sequence[str]) -> Running:
        """See Processes."""
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                argv, stdin=pipe, stdout=pipe, stderr=pipe, process_group=OWN_GROUP
            )
        except FileNotFoundError as cause:
            raise missing(argv[0]) from cause

    def hand_over(self, argv: Sequence[str]) -> NoReturn:
        """See Processes."""
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            os.execvp(argv[0], list(argv))  # noqa: S606 - an argv list; no shell is wanted
        except FileNotFoundError as cause:
            raise missing(argv[0]) from cause


def close_pipes(running: Running) -> None:
    """Close kt's ends of its pipes; what was not read is lost."""
    for pipe in (running.stdin, running.stdout, running.stderr):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()


def missing(program: str) -> EnvironmentNotReadyError:
    """The error for a program that is not there."""
    return EnvironmentNotReadyError(
        f"the program `{program}` is not on this machine's PATH",
        "`kt doctor` tells what is missing",
    )


def failed(done: Completed) -> ToolFailedError:
    """The error for a program that did not exit 0: its command and the end of what it said."""
    said = (done.err or done.out).decode("utf-8", "replace").strip().splitlines()[-TAIL_LINES:]
    tail = "\n".join(said) or "(it said nothing)"
    return ToolFailedError(f"`{shlex.join(done.argv)}` ended with {done.code}: {tail}")
