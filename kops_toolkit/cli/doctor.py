"""`kt doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from kops_toolkit.cli.context import kt
from kops_toolkit.cli.options import Format, FormatOption
from kops_toolkit.errors import EnvironmentNotReadyError
from kops_toolkit.outcome import Status
from kops_toolkit.report import as_json, as_table, console


def doctor(
    ctx: typer.Context,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Raise kernel settings that are too low, until reboot.")
    ] = False,
    output: FormatOption = Format.table,
) -> None:
    """Look for everything kt needs: found, expected, and how to mend what differs.

    Exits 3 if something needed is missing. What is only advised is told and does not fail.
    With --fix, inotify limits and IP forwarding are raised where the engine runs, and what was
    changed is told; software is never installed.

      kt doctor --fix
    """
    from kops_toolkit.cluster.doctor import examine

    wired = kt(ctx)
    clusters = wired.clusters()
    found = examine(clusters.engine, clusters.kind, wired.state, wired.clock, fix=fix)
    if output is Format.json:
        console.emit(as_json.report(found))
    else:
        console.data().print(as_table.report(found))
    if found.status is Status.FAILED:
        missing = [check.name for check in found.checks if check.status is Status.FAILED]
        raise EnvironmentNotReadyError(
            f"kt needs what this machine lacks: {', '.join(missing)}",
            "the report says how to mend each; --fix does what is safe",
        )
