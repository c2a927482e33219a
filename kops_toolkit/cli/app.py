"""The root command."""

from __future__ import annotations

from typing import Annotated

import typer

from kops_toolkit import __version__
from kops_toolkit.cli import claims, cluster, demo, doctor, etcd, recover, verify
from kops_toolkit.cli.context import Group, broken_pipe, catch_signals
from kops_toolkit.report import console
from kops_toolkit.report.progress import ConsoleProgress
from kops_toolkit.wiring import Kt

app = typer.Typer(
    cls=Group,
    name="kt",
    help="Show, prove and repair Kubernetes on real clusters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cluster.app)
app.add_typer(etcd.app)
app.command(name="demo")(demo.demo)
app.command(name="explain")(demo.explain)
app.command(name="verify")(verify.verify)
app.command(name="selftest")(verify.self_test)
app.command(name="claims")(claims.claims)
app.command(name="doctor")(doctor.doctor)
app.command(name="recover")(recover.recover)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback form
    if wanted:
        try:
            console.emit(__version__)
        except BrokenPipeError:  # an eager option runs before the group that handles the rest
            broken_pipe()
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    _version_asked: Annotated[  # noqa: FBT002 - typer's form of a flag
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Show, prove and repair Kubernetes on real clusters."""
    if ctx.obj is None:
        progress = ConsoleProgress(console.people())
        ctx.obj = Kt(progress=progress)
        ctx.call_on_close(progress.end)


def main() -> None:
    """The `kt` command."""
    catch_signals()
    app()
