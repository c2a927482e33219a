"""A node that is a container of the local engine, reached with `docker exec`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from kops_toolkit.errors import (
    EnvironmentNotReadyError,
    NoSpaceError,
    NotFoundError,
    TimedOutError,
    ToolFailedError,
    UnreachableError,
)
from kops_toolkit.system.process import failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kops_toolkit.cluster.engine import Container, Engine
    from kops_toolkit.system.process import Completed, Running

GRACE = 5.0  # seconds between SIGTERM and SIGKILL, and again before docker itself is given up
TIMED_OUT = 124  # what coreutils' `timeout` exits with
ABSENT = 44  # ours: the file to read is not there
DIED_MID_STREAM = 45  # ours: fewer bytes arrived than were announced

READ = f'[ -e "$1" ] || exit {ABSENT}; exec cat -- "$1"'

# A client that is killed looks to `cat` like an end of file, so the size is checked before the
# rename: a half-sent manifest must never reach the kubelet.
WRITE = f"""
set -e
part="$2"; trap 'rm -f -- "$part"' EXIT; umask 077
cat > "$part"
[ "$(stat -c %s -- "$part")" = "$4" ] || exit {DIED_MID_STREAM}
chmod "$3" -- "$part"; sync -- "$part"; mv -T -- "$part" "$1"; sync -- "$(dirname -- "$1")"
"""

# A byte says that it runs. Before that nothing in the node carries the token, so a `kill` would
# find nothing to end, and the engine would begin the command after its client has died.
BEGUN = b"+"
BEGIN = f"""printf {BEGUN.decode()}; exec "$@" """

# Whatever was started with this token in its environment, children included.
KILL = """
for p in /proc/[0-9]*; do
  if grep -qsz "^KT_EXEC=$1\\$" "$p/environ"; then kill -KILL "${p#/proc/}" 2>/dev/null || :; fi
done
"""


@dataclass(frozen=True)
class DockerNode:
    """Implements Node on a container.

    Attributes:
        engine: how docker is reached.
        container: what is known of it since discovery: role, address, state.
    """

    engine: Engine
    container: Container

    @property
    def name(self) -> str:
        """See Node."""
        return self.container.name

    @property
    def control_plane(self) -> bool:
        """See Node."""
        return self.container.role == "control-plane"

    @property
    def address(self) -> str:
        """Its IPv4 address on the kind network, as of discovery; "" if it did not run."""
        return self.container.address

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = 60.0,
        check: bool = True,
    ) -> Completed:
        """See Node.

        The limit is kept inside the node too: killing `docker exec` leaves its command running.

        Raises:
            NotFoundError: the node's container is gone.
            UnreachableError: it is paused or stopped.
            ToolFailedError: the command did not exit 0 and `check` is on.
            TimedOutError: it was stopped after `timeout` seconds.
        """
        guard: list[str] = []
        outer = None
        if timeout is not None:
            guard = ["timeout", f"--kill-after={GRACE:g}", f"{timeout:g}"]
            outer = timeout + 2 * GRACE
        done = self.engine.run(
            ["exec", *(["-i"] if stdin is not None else []), self.name, *guard, *argv],
            stdin=stdin,
            timeout=outer,
            check=False,
        )
        done = replace(done, argv=tuple(argv))
        if done.code != 0:
            self._raise_if_away(done)
            if timeout is not None and done.code == TIMED_OUT:
                raise TimedOutError(
                    f"on {self.name}: `{argv[0]}` was stopped, no end after {timeout:g} s"
                )
            if check:
                error = failed(done)
                raise ToolFailedError(f"on {self.name}: {error.message}", error.hint)
        return done

    def start(self, argv: Sequence[str]) -> Running:
        """See Node. It runs when this returns; `kill` ends the command inside the node as well."""
        token = secrets.token_hex(8)
        begun = ["sh", "-c", BEGIN, "kt-begin", *argv]
        client = self.engine.start(["exec", "-i", "-e", f"KT_EXEC={token}", self.name, *begun])
        if client.stdout is not None:
            client.stdout.read(len(BEGUN))  # or the end: then its exit code tells why
        return NodeProcess(self, client, token)

    def read(self, path: str) -> bytes:
        """See Node."""
        done = self.run(["sh", "-c", READ, "kt-read", path], check=False)
        if done.code == ABSENT:
            raise NotFoundError(f"on {self.name} there is no file {path}")
        if done.code != 0:
            raise ToolFailedError(f"on {self.name} {path} could not be read: {_said(done)}")
        return done.out

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """See Node.

        Raises:
            NoSpaceError: the node's disk is full.
            ToolFailedError: the folder is missing or cannot be written.
        """
        folder, _, name = path.rpartition("/")
        part = f"{folder}/.{name}.{secrets.token_hex(4)}.part"
        script = ["sh", "-c", WRITE, "kt-write", path, part, f"{mode:o}", str(len(data))]
        done = self.run(script, stdin=data, check=False)
        if done.code != 0:
            if "No space left" in _said(done):
                raise NoSpaceError(f"the disk of {self.name} is full; {path} is as it was")
            raise ToolFailedError(f"on {self.name} {path} could not be written: {_said(done)}")

    def freeze(self) -> None:
        """See Node."""
        self.engine.run(["pause", self.name])

    def thaw(self) -> None:
        """See Node."""
        done = self.engine.run(["unpause", self.name], check=False)
        if done.code != 0 and "is not paused" not in _said(done):
            self._raise_if_away(done)
            raise failed(done)

    def _raise_if_away(self, done: Completed) -> None:
        said = _said(done)
        if not said.startswith("Error response from daemon"):
            return
        if "No such container" in said:
            raise NotFoundError(f"there is no node {self.name} any more")
        if "is paused" in said or "is not running" in said:
            state = "paused" if "is paused" in said else "not running"
            raise UnreachableError(
                f"the node {self.name} is {state}",
                f"`docker {'unpause' if state == 'paused' else 'start'} {self.name}`",
            )
        raise EnvironmentNotReadyError(f"docker could not reach into {self.name}: {said}")


class NodeProcess:
    """A command left running on a node; implements Running.

    Args:
        node: where it runs.
        client: the `docker exec` that carries its streams.
        token: value of KT_EXEC in its environment, by which it is found again.
    """

    def __init__(self, node: DockerNode, client: Running, token: str) -> None:
        self._node = node
        self._client = client
        self._token = token
        self.stdin: IO[bytes] | None = client.stdin
        self.stdout: IO[bytes] | None = client.stdout
        self.stderr: IO[bytes] | None = client.stderr
        self.pid = client.pid

    def poll(self) -> int | None:
        """See Running."""
        return self._client.poll()

    def wait(self, timeout: float | None = None) -> int:
        """See Running."""
        return self._client.wait(timeout)

    def kill(self) -> None:
        """End the command and its children inside the node, then the client."""
        try:
            self._node.run(["sh", "-c", KILL, "kt-kill", self._token], timeout=10.0, check=False)
        finally:
            self._client.kill()


def _said(done: Completed) -> str:
    return done.err.decode("utf-8", "replace").strip()
