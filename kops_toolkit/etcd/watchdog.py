"""Notices that a stream waits for a member that has gone silent.

A stream has no deadline, for a large database may take minutes until its first byte and hours
until its last. gRPC's own keepalive does not end a stream whose peer is stopped while its
connection stands (observed with grpcio 1.85 and a SIGSTOPped etcd). So whenever nothing came for a
while, a small call is made on the same connection: an answer means patience, silence the end.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kops_toolkit.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

IDLE = 10.0  # seconds without a byte until the member is asked whether it is there


class Watchdog:
    """Watches one stream while entered.

    Args:
        ask: a small call that raises UnreachableError where the member does not answer in time.
        end: ends the stream, from another thread.

    Attributes:
        silent: what `ask` raised; None as long as the member is there.
    """

    def __init__(self, ask: Callable[[], object], end: Callable[[], object]) -> None:
        self.silent: UnreachableError | None = None
        self._ask = ask
        self._end = end
        self._seen = 0
        self._waiting = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def waits(self) -> None:
        """From now on the stream waits for the member."""
        self._waiting = True

    def got(self) -> None:
        """Something came; what follows is our own time, e.g. a slow disk's."""
        self._seen += 1
        self._waiting = False

    def _watch(self) -> None:
        before = -1
        while not self._over.wait(IDLE):
            if self._waiting and self._seen == before:
                try:
                    self._ask()
                except UnreachableError as silence:
                    if self._seen == before:  # nothing came meanwhile either
                        self.silent = silence
                        self._end()
                        return
            before = self._seen
