"""Many demos as one run: side by side where they do not disturb each other, else one by one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.errors import KtError
from kops_toolkit.outcome import Check, Evidence, Report, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kops_toolkit.demos.model import Demo
    from kops_toolkit.system.clock import Clock


@dataclass(frozen=True)
class Part:
    """One demo of a suite.

    Attributes:
        demo: which.
        sabotage: what is to be broken on purpose, None in earnest.
    """

    demo: Demo
    sabotage: str | None = None

    @property
    def name(self) -> str:
        """The demo's name, and its sabotage."""
        return self.demo.name + (f" --sabotage {self.sabotage}" if self.sabotage else "")


@dataclass(frozen=True)
class Suite:
    """Plays demos.

    Attributes:
        play: plays one part to its end and cleans up after it.
        clock: time.
        jobs: how many are played side by side, at most.
        fail_fast: begin no other once one has failed.
        begins: hears of a part that begins.
        ends: hears of a part that has ended.
    """

    play: Callable[[Part], Report]
    clock: Clock
    jobs: int
    fail_fast: bool
    begins: Callable[[Part], None]
    ends: Callable[[Part, Report], None]

    def run(self, parts: Sequence[Part]) -> tuple[Report, ...]:
        """Play all parts; the reports come in the order of the parts.

        The longest are not known beforehand, so those side by side start in the order given. Those
        that need the cluster to themselves come last: by then nothing else runs.
        """
        reports: dict[str, Report] = {}
        stopped = threading.Event()

        def one(part: Part) -> None:
            if stopped.is_set():
                reports[part.name] = self._not_begun(part)
                return
            self.begins(part)
            found = self._played(part)
            reports[part.name] = found
            if self.fail_fast and found.status is Status.FAILED:
                stopped.set()
            self.ends(part, found)

        together = [part for part in parts if not part.demo.alone]
        with ThreadPoolExecutor(self.jobs) as pool:
            for done in [pool.submit(one, part) for part in together]:
                done.result()
        for part in parts:
            if part.demo.alone:
                one(part)
        return tuple(reports[part.name] for part in parts)

    def _played(self, part: Part) -> Report:
        """Its report; an error before or after its play is a failure of this demo alone."""
        started, began = self.clock.now(), self.clock.monotonic()
        try:
            return self.play(part)
        except KtError as error:
            title = "The demo can be played and leaves nothing behind"
            seen = Evidence(title, error.message, part.name, started)
            check = Check("played", title, Status.FAILED, (seen,), error.message)
            return Report(part.name, (check,), started, self.clock.monotonic() - began)

    def _not_begun(self, part: Part) -> Report:
        reason = "another demo failed before, and --fail-fast was asked for"
        check = Check("played", "The demo is played", Status.ABORTED, reason=reason)
        return Report(part.name, (check,), self.clock.now(), 0.0)
