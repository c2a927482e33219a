"""`kt recover`."""

from __future__ import annotations

import typer

from kops_toolkit.cli.context import kt
from kops_toolkit.system.journal import Undo


def recover(ctx: typer.Context) -> None:
    """Take back what a killed kt left behind.

    Every act of kt that must be undone is in a journal on disk before it happens. This finishes
    the journals whose owner is dead, newest act first; runs that are still alive are left alone.
    """
    wired = kt(ctx)

    def tell(debt: Undo) -> None:
        wired.progress.step(f"taking back: {debt.says}")

    count = wired.journals().recover(tell)
    wired.progress.note(f"{count} taken back" if count else "nothing was left behind")
