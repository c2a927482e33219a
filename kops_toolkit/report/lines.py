"""A running demo as plain lines, for pipes and logs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.text import Text

from kops_toolkit.report.as_table import verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from kops_toolkit.outcome import Check, Moment, Picture


class Lines:
    """Watches a demo and writes a line an event, each with its time (UTC), to stderr.

    Args:
        console: the one for people.
        pause: wait for a line on stdin before each act but the first sight of the end of input.
    """

    def __init__(self, console: Console, *, pause: bool = False) -> None:
        self._console = console
        self._pause = pause

    def begins(self, title: str, look: Callable[[], Picture]) -> None:  # noqa: ARG002 - lines need no picture
        """Tell the title."""
        self._console.print(Text(title))

    def stage(self, title: str, why: str) -> None:
        """Tell the act, and wait in teaching mode."""
        self._console.print(Text(f"\n== {title}\n   {why}"))
        if self._pause:
            self._pause = wait_for_enter(self._console)

    def happened(self, moment: Moment) -> None:
        """A line of the timeline."""
        if moment.subject != "act":  # told by `stage` already
            stamp = f"{moment.at:%H:%M:%S.%f}"[:-3]
            self._console.print(Text(f"{stamp}  {moment.subject}: {moment.text}"))

    def judged(self, check: Check) -> None:
        """A verdict with its first evidence."""
        self._console.print(judgement(check))

    def ends(self) -> None:
        """Nothing to put away."""


def judgement(check: Check) -> Text:
    """A verdict in one line: word, statement, what was observed."""
    seen = check.evidence[0].observed if check.evidence else check.reason
    return Text.assemble(verdict(check.status), f"  {check.title}: ", (seen, "dim"))


def wait_for_enter(console: Console) -> bool:
    """Wait for a line on stdin; False once there are no more, so that nothing waits for ever."""
    console.print(Text("   press Enter to go on", style="dim italic"))
    return bool(sys.stdin.readline())
