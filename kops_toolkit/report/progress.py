"""Progress on stderr: a moving line on a terminal, one plain line a step elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

PLAIN_EVERY = 5.0  # seconds between two amounts where no line can be redrawn
REDRAW_EVERY = 0.1  # seconds: faster only costs


class ConsoleProgress:
    """Implements `system.progress.Progress` on a console.

    Args:
        console: the one for people (stderr).
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""
        self._since = 0.0
        self._told = 0.0
        self._status: Status | None = None

    def step(self, text: str) -> None:
        """See Progress."""
        self.end()
        self._text, self._since, self._told = text, time.monotonic(), time.monotonic()
        if self._console.is_terminal:
            self._status = self._console.status(Text(text))
            self._status.start()
        else:
            self._console.print(Text(f"• {text}"))

    def amount(self, done: int, total: int | None, unit: str) -> None:
        """See Progress."""
        now = time.monotonic()
        every = REDRAW_EVERY if self._status else PLAIN_EVERY
        if now - self._told < every:
            return
        self._told = now
        line = Text(f"{self._text}  {amount(done, total, unit, now - self._since)}")
        if self._status:
            self._status.update(line)
        else:
            self._console.print(Text("  ") + line)

    def note(self, text: str) -> None:
        """See Progress."""
        self._console.print(Text(f"  {text}", style="dim"))

    def end(self) -> None:
        """The last step is done; on a terminal its line stays, with how long it took."""
        if self._status:
            self._status.stop()
            self._status = None
            took = time.monotonic() - self._since
            self._console.print(Text("✓ ", style="green") + Text(f"{self._text} ({took:.1f} s)"))


def amount(done: int, total: int | None, unit: str, seconds: float) -> str:
    """`12.3 MB of 40.0 MB, 31 %, 102.5 MB/s`, or plain counts for other units."""
    show = decimal if unit == "bytes" else (lambda count: f"{count:,} {unit}")
    parts = [show(done) + (f" of {show(total)}, {100 * done // total} %" if total else "")]
    if unit == "bytes" and seconds > 0:
        parts.append(f"{decimal(int(done / seconds))}/s")
    return ", ".join(parts)
