"""`kt etcd`: back up, verify, restore."""

from __future__ import annotations

import typer

from kops_toolkit.cli import etcd_backup, etcd_restore

app = typer.Typer(
    name="etcd",
    help="Back up, verify and restore etcd, without losing anything.",
    no_args_is_help=True,
)
app.command(name="backup")(etcd_backup.backup)
app.command(name="verify")(etcd_backup.verify)
app.command(name="restore")(etcd_restore.restore)
app.command(name="cleanup")(etcd_restore.cleanup)
