"""A node as an interface: run a command on it, read and write its files.

Docker today; etcd and fault code know only this, so that SSH can follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kops_toolkit.system.process import Completed, Running


class Node(Protocol):
    """One machine of a cluster."""

    @property
    def name(self) -> str:
        """Its name, which is also its Node object's."""
        ...

    @property
    def control_plane(self) -> bool:
        """Whether the API server and etcd run here."""
        ...

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = 60.0,
        check: bool = True,
    ) -> Completed:
        """Run a command as root to its end; errors as `Processes.run`."""
        ...

    def start(self, argv: Sequence[str]) -> Running:
        """Start a command as root with pipes on its streams."""
        ...

    def read(self, path: str) -> bytes:
        """A whole file; NotFoundError if it is not there."""
        ...

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Write a whole file atomically (temporary name, fsync, rename)."""
        ...

    def freeze(self) -> None:
        """Let nothing on it run any more, as if the machine hung; its kernel stays reachable."""
        ...

    def thaw(self) -> None:
        """Let it go on; no error if it was not frozen."""
        ...
