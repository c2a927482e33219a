"""How long an API server was away, seen from outside."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kops_toolkit.errors import KtError

if TYPE_CHECKING:
    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.system.clock import Clock

EVERY = 0.05  # seconds between two questions, and so what the figure is good to


class Outage:
    """Asks for /readyz on a thread while entered.

    Away is the time from the last good answer before a bad one to the next good one, so the figure
    errs to the long side.

    Args:
        api: asked.
        clock: measures.
    """

    def __init__(self, api: KubeApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._stop = threading.Event()
        self._change = threading.Condition()
        self._last_good = clock.monotonic()
        self._gone_since: float | None = None
        self._gaps: list[float] = []
        self._thread = threading.Thread(target=self._run, name="readyz", daemon=True)

    def __enter__(self) -> Outage:
        self._last_good = self._clock.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(EVERY * 20)

    @property
    def seconds(self) -> float:
        """Away so far, all gaps together."""
        with self._change:
            now = self._clock.monotonic()
            open_gap = now - self._gone_since if self._gone_since is not None else 0.0
            return sum(self._gaps) + open_gap

    def wait_good(self, since: float, patience: float) -> bool:
        """Wait for an answer that was asked for after `since`; False after `patience` seconds."""
        with self._change:
            return self._change.wait_for(lambda: self._last_good > since, patience)

    def _run(self) -> None:
        while not self._stop.is_set():
            asked = self._clock.monotonic()
            try:
                self._api.text("/readyz")
            except KtError:
                self._bad()
            else:
                self._good(asked)
            self._stop.wait(EVERY)

    def _bad(self) -> None:
        with self._change:
            if self._gone_since is None:
                self._gone_since = self._last_good

    def _good(self, asked: float) -> None:
        with self._change:
            if self._gone_since is not None:
                self._gaps.append(self._clock.monotonic() - self._gone_since)
                self._gone_since = None
            self._last_good = asked
            self._change.notify_all()
