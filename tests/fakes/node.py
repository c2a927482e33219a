"""A node of files in memory and commands that answer as told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import NotFoundError, ToolFailedError
from kops_toolkit.system.process import Completed, Running, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Answer = Completed | Exception | Callable[[tuple[str, ...], bytes | None], Completed]


class FakeNode:
    """Implements Node. `cat`, `rm`, `mv`, `mkdir` are not simulated: script what is asked.

    `calls` keeps every command in order, `inputs` what each was fed, `files` the files.
    """

    def __init__(self, name: str = "fake-control-plane", *, control_plane: bool = True) -> None:
        self.name = name
        self.control_plane = control_plane
        self.address = "172.18.0.2"
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.calls: list[tuple[str, ...]] = []
        self.inputs: list[bytes | None] = []
        self.frozen = False
        self._answers: dict[tuple[str, ...], list[Answer]] = {}
        self._starts: dict[tuple[str, ...], Callable[[tuple[str, ...]], Running]] = {}

    def answer(
        self, *argv: str, out: bytes | str = b"", err: bytes | str = b"", code: int = 0
    ) -> None:
        """The next call that starts with `argv` gets this; the last answer given stays."""
        self._answers.setdefault(argv, []).append(Completed(argv, code, _bytes(out), _bytes(err)))

    def breaks(self, *argv: str, error: Exception) -> None:
        """The next call that starts with `argv` raises this."""
        self._answers.setdefault(argv, []).append(error)

    def does(self, *argv: str, act: Callable[[tuple[str, ...], bytes | None], Completed]) -> None:
        """Calls that start with `argv` are computed, so that they may change `files`."""
        self._answers.setdefault(argv, []).append(act)

    def starts(self, *argv: str, running: Callable[[tuple[str, ...]], Running]) -> None:
        """What `start` gives for commands that begin with `argv`."""
        self._starts[argv] = running

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = 60.0,  # noqa: ARG002 - the interface has it
        check: bool = True,
    ) -> Completed:
        called = tuple(argv)
        self.calls.append(called)
        self.inputs.append(stdin)
        queue = self._answers[self._longest(called, list(self._answers))]
        found = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(found, Exception):
            raise found
        told = found if isinstance(found, Completed) else found(called, stdin)
        done = Completed(called, told.code, told.out, told.err)
        if check and done.code != 0:
            raise ToolFailedError(f"on {self.name}: {failed(done).message}")
        return done

    def start(self, argv: Sequence[str]) -> Running:
        called = tuple(argv)
        self.calls.append(called)
        return self._starts[self._longest(called, list(self._starts))](called)

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise NotFoundError(f"on {self.name} there is no file {path}")
        return self.files[path]

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        self.files[path] = data
        self.modes[path] = mode

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False

    def _longest(self, called: tuple[str, ...], keys: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        known = [key for key in keys if called[: len(key)] == key]
        if not known:
            pytest.fail(f"nobody foresaw the command {called} on {self.name}")
        return max(known, key=len)


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data
