"""Time as an interface, so that tests decide what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What kt needs to know of time."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC: for people and evidence, never for measuring."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward: for measuring and deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; the last resort where nothing can be watched."""
        ...


class SystemClock:
    """The real one."""

    def now(self) -> datetime:
        """See Clock."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See Clock."""
        time.sleep(seconds)  # noqa: TID251 - this is the clock
