"""`kt etcd`: back up, verify, restore."""

from __future__ import annotations

import typer

from kops_toolkit.cli import etcd_backup

app = typer.Typer(
    name="etcd",
    help="Back up, verify and restore etcd, without losing anything.",
    no_args_is_help=True,
)
app.command(name="backup")(etcd_backup.backup)
app.command(name="verify")(etcd_backup.verify)
