"""Waiting on events: a condition is asked at every one, so no state between two slips by."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from kops_toolkit.system.clock import Clock

T = TypeVar("T")


@dataclass
class Waiter(Generic[T]):
    """One that waits.

    Attributes:
        condition: gives what is waited for, or None as long as it is not there.
        hopeless: gives a reason why waiting on makes no sense, or None.
        found: what `condition` gave.
        reason: what `hopeless` gave.
        error: what either of them raised.
    """

    condition: Callable[[], T | None]
    hopeless: Callable[[], str | None]
    found: T | None = None
    reason: str | None = None
    error: Exception | None = None

    @property
    def decided(self) -> bool:
        """Whether the wait is over."""
        return self.found is not None or self.reason is not None or self.error is not None

    def look(self) -> None:
        """Ask, unless it is decided: what came once has come, even if it went again."""
        if self.decided:
            return
        try:
            self.found = self.condition()
            if self.found is None:
                self.reason = self.hopeless()
        except Exception as error:  # noqa: BLE001 - asked in another's thread, raised in its own
            self.error = error


class Waiters:
    """All that wait in one run. Its `lock` guards what their conditions look at.

    Args:
        clock: measures time-outs.
    """

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.Condition()
        self._clock = clock
        self._waiting: list[Waiter[Any]] = []

    def changed(self) -> None:
        """Ask every condition and wake those it decides; the caller holds the lock."""
        for waiter in self._waiting:
            waiter.look()
        self.lock.notify_all()

    def rest(self, seconds: float) -> None:
        """Let time pass, or something change; the caller holds the lock."""
        self.lock.wait(seconds)

    def wait(
        self, condition: Callable[[], T | None], hopeless: Callable[[], str | None], timeout: float
    ) -> Waiter[T]:
        """Wait until it is decided or `timeout` seconds are over.

        Raises whatever `condition` or `hopeless` raises.
        """
        waiter = Waiter(condition, hopeless)
        deadline = self._clock.monotonic() + timeout
        with self.lock:
            self._waiting.append(waiter)
            try:
                waiter.look()
                expired = False
                while not waiter.decided and not expired:
                    left = deadline - self._clock.monotonic()
                    expired = left <= 0 or not self.lock.wait(left)
                    waiter.look()
            finally:
                self._waiting.remove(waiter)
        if waiter.error is not None:
            raise waiter.error
        return waiter
