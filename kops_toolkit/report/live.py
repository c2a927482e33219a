"""A running demo drawn live on a terminal: objects as a tree, the story, the load, the checks."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live as RichLive
from rich.rule import Rule
from rich.text import Text

from kops_toolkit.outcome import Picture, Row, Status
from kops_toolkit.report.lines import judgement, wait_for_enter

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from kops_toolkit.outcome import Check, Moment

FRAMES = 4  # a second
TICK = 1.0  # seconds a cell of a pod's strip stands for
STRIP = 30  # cells at most
INDENT = 2
CELLS = {True: ("█", "green"), False: ("█", "red"), None: ("▒", "yellow")}
GONE_AFTER = 3.0  # seconds that an object which is gone stays to be seen


class Live:
    """Watches a demo and draws it.

    Args:
        console: the one for people, a terminal.
        pause: wait for Enter before each act.
    """

    def __init__(self, console: Console, *, pause: bool = False) -> None:
        self._console = console
        self._pause = pause
        self._look: Callable[[], Picture] = Picture
        self._title = ""
        self._act = ("", "")
        self._last = ""
        self._checks: list[Check] = []
        self._strips = Strips()
        self._lock = threading.Lock()
        self._live: RichLive | None = None

    def begins(self, title: str, look: Callable[[], Picture]) -> None:
        """Start drawing."""
        self._title, self._look = title, look
        self._start()

    def stage(self, title: str, why: str) -> None:
        """Show the act, and wait in teaching mode."""
        with self._lock:
            self._act = (title, why)
        if self._pause:
            self._stop()
            self._pause = wait_for_enter(self._console)
            self._start()

    def happened(self, moment: Moment) -> None:
        """Show the latest line of the timeline."""
        with self._lock:
            self._last = f"{moment.at:%H:%M:%S} {moment.subject}: {moment.text}"

    def judged(self, check: Check) -> None:
        """Show a verdict."""
        with self._lock:
            self._checks.append(check)

    def ends(self) -> None:
        """Stop drawing and clear the picture: the table of checks follows."""
        self._stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw one frame that fits the terminal."""
        with self._lock:
            yield self.frame(options.max_width, console.size.height)

    def frame(self, width: int, height: int) -> RenderableType:
        """One frame, at most `height - 1` lines: what does not fit is the oldest checks."""
        picture = self._look()
        self._strips.take(picture.rows, time.monotonic())
        act, why = self._act
        top: list[Text] = [Text(f"▶ {act}", style="bold"), *_wrapped(why, width)]
        tree = [self._drawn(row, width) for row in self._strips.rows()]
        alarm = "bold red" if picture.alarm else "cyan"
        below = [Text(picture.figures, style=alarm), _cut(Text(self._last, style="dim"), width)]
        left = height - 1 - len(top) - len(tree) - len(below) - 2
        checks = (
            [_cut(judgement(check), width) for check in self._checks[-left:]] if left > 0 else []
        )
        counted = sum(check.status is Status.PASSED for check in self._checks)
        title = Text(f"{counted} of {len(self._checks)} checks passed")
        parts: list[RenderableType] = [Rule(Text(self._title)), *top, *tree, *below, Rule(title)]
        return Group(*parts, *checks)

    def _drawn(self, row: Row, width: int) -> Text:
        style = CELLS[row.well][1]
        short = row.name.partition("/")[2] if row.depth > 1 else row.name
        name = f"{' ' * INDENT * row.depth}{short}"
        line = Text.assemble(f"{name:<34} ", (f"{row.state:<18} ", style), f"{row.note:<6} ")
        if row.depth > 1:
            line.append_text(self._strips.strip(row.name))
        return _cut(line, width)

    def _start(self) -> None:
        self._live = RichLive(
            self, console=self._console, refresh_per_second=FRAMES, transient=True, screen=False
        )
        self._live.start()

    def _stop(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


class Strips:
    """The states that each object went through, a cell a second."""

    def __init__(self) -> None:
        self._cells: dict[str, list[bool | None]] = {}
        self._rows: dict[str, Row] = {}
        self._seen: dict[str, float] = {}
        self._ticked = 0.0

    def take(self, rows: tuple[Row, ...], now: float) -> None:
        """Look at the objects as they are at `now` (monotonic seconds)."""
        for row in rows:
            self._seen[row.name] = now
        shown = {row.name: row for row in rows}
        for name, row in self._rows.items():
            if name not in shown and now - self._seen[name] < GONE_AFTER:
                shown[name] = Row(row.depth, name, "Gone", None, row.note)
        self._rows = self._in_order(shown)
        if now - self._ticked >= TICK:
            self._ticked = now
            for row in rows:
                cells = self._cells.setdefault(row.name, [])
                cells.append(row.well)
                del cells[:-STRIP]

    def rows(self) -> list[Row]:
        """The objects to draw, those just gone included."""
        return list(self._rows.values())

    def strip(self, name: str) -> Text:
        """An object's cells, oldest first."""
        strip = Text()
        for well in self._cells.get(name, ()):
            strip.append(*CELLS[well])
        return strip

    def _in_order(self, shown: dict[str, Row]) -> dict[str, Row]:
        order = [name for name in self._rows if name in shown]
        after = ""
        for name in shown:
            if name not in order:
                order.insert(order.index(after) + 1 if after in order else len(order), name)
            after = name
        return {name: shown[name] for name in order}


def _wrapped(text: str, width: int) -> list[Text]:
    lines: list[Text] = []
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width - INDENT:
            lines.append(Text(f"{' ' * INDENT}{line}", style="italic"))
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, Text(f"{' ' * INDENT}{line}", style="italic")] if line else lines


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line
