"""The two streams: stdout carries data, stderr is for people.

Text from a cluster is never markup, so both consoles have markup and highlighting off.
"""

from __future__ import annotations

import sys

from rich.console import Console


def people() -> Console:
    """The console for progress, hints and errors: stderr."""
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def data() -> Console:
    """The console for tables on stdout; never for JSON, which `emit` writes untouched."""
    return Console(markup=False, highlight=False)


def emit(text: str) -> None:
    """Write machine output to stdout as it is: no wrapping, no colour, no markup."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
