"""Programs that answer as told; one that was not foreseen fails the test."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, NoReturn

import pytest

from kops_toolkit.system.process import Completed, Running, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class FakeProcesses:
    """Answers by longest matching prefix of argv; `calls` keeps every command in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.inputs: list[bytes | None] = []
        self.programs: dict[str, str] = {}
        self._answers: dict[tuple[str, ...], list[Completed | Exception]] = {}
        self._starts: dict[tuple[str, ...], Callable[[tuple[str, ...]], Running]] = {}

    def answer(
        self, *argv: str, out: bytes | str = b"", err: bytes | str = b"", code: int = 0
    ) -> None:
        """The next call that starts with `argv` gets this; the last answer given stays."""
        done = Completed(argv, code, _bytes(out), _bytes(err))
        self._answers.setdefault(argv, []).append(done)

    def breaks(self, *argv: str, error: Exception) -> None:
        self._answers.setdefault(argv, []).append(error)

    def which(self, name: str) -> str | None:
        return self.programs.get(name)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the interface has it
        check: bool = True,
        env: Mapping[str, str] | None = None,  # noqa: ARG002 - the interface has it
    ) -> Completed:
        called = tuple(argv)
        self.calls.append(called)
        self.inputs.append(stdin)
        known = [key for key in self._answers if called[: len(key)] == key]
        if not known:
            pytest.fail(f"nobody foresaw the command {called}")
        queue = self._answers[max(known, key=len)]
        found = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(found, Exception):
            raise found
        done = Completed(called, found.code, found.out, found.err)
        if check and done.code != 0:
            raise failed(done)
        return done

    def starts(self, *argv: str, running: Callable[[tuple[str, ...]], Running]) -> None:
        """What `start` gives for commands that begin with `argv`."""
        self._starts[argv] = running

    def start(self, argv: Sequence[str]) -> Running:
        called = tuple(argv)
        self.calls.append(called)
        known = [key for key in self._starts if called[: len(key)] == key]
        if not known:
            pytest.fail(f"nobody foresaw starting {called}")
        return self._starts[max(known, key=len)](called)

    def hand_over(self, argv: Sequence[str]) -> NoReturn:
        """The end of kt; the test sees `HandedOver` with the command."""
        raise HandedOver(tuple(argv))


class HandedOver(BaseException):
    """kt would have become this program."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        super().__init__(argv)
        self.argv = argv


class FakeRunning:
    """A program whose output is known beforehand; it ends when it has been read or killed."""

    def __init__(self, out: bytes = b"", err: bytes = b"", code: int = 0) -> None:
        self.stdin: IO[bytes] | None = io.BytesIO()
        self.stdout: IO[bytes] | None = io.BytesIO(out)
        self.stderr: IO[bytes] | None = io.BytesIO(err)
        self.pid = 4711
        self.killed = False
        self._code = code

    def poll(self) -> int | None:
        return -9 if self.killed else self._code

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002 - the interface has it
        return -9 if self.killed else self._code

    def kill(self) -> None:
        self.killed = True


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data
