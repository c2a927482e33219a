"""How long work tells where it stands. Silent unless somebody listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """An observer of long work; implementations must not raise and must not block."""

    def step(self, text: str) -> None:
        """A new step begins (and the one before it is done)."""
        ...

    def amount(self, done: int, total: int | None, unit: str) -> None:
        """Within the step: `done` of `total` units (`bytes`, `keys`, …); total None if unknown."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line that is no step: a decision taken, a peculiarity found."""
        ...


class Silent:
    """Nobody listens."""

    def step(self, text: str) -> None:
        """See Progress."""

    def amount(self, done: int, total: int | None, unit: str) -> None:
        """See Progress."""

    def note(self, text: str) -> None:
        """See Progress."""
