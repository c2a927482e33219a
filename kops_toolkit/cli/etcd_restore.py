"""`kt etcd restore` and `kt etcd cleanup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from kops_toolkit.cli import exits
from kops_toolkit.cli.context import kt
from kops_toolkit.cli.options import ClusterOption, ConsentOption, Format, FormatOption
from kops_toolkit.report import as_json, as_table, console
from kops_toolkit.wiring import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from kops_toolkit.etcd.restore.cleanup import Leftover
    from kops_toolkit.etcd.restore.plan import Plan


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot of this cluster.")],
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be done, and stop.")
    ] = False,
    cluster: ClusterOption = None,
    consent: ConsentOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Take a cluster's etcd back to a snapshot; the API is away for some seconds.

    First everything is checked: that the file is sound, of this very cluster, of its etcd version,
    and fits on the disk. A safety snapshot is taken; the node's own etcdutl restores into a staging
    folder and the result is compared with the file, all while the cluster serves. Then the data is
    swapped by renaming. Objects keep their UIDs, running pods go on, watchers list anew. If etcd
    or the API server does not come up with exactly the snapshot's data, the old data is put back.
    It is kept on the node until `kt etcd cleanup`. After a kill, `kt recover`.

      kt etcd restore etcd-kt-control-plane-20261124T020000Z.db --plan

      kt etcd restore etcd-kt-control-plane-20261124T020000Z.db
    """
    from kops_toolkit.etcd.restore.restore import Restores
    from kops_toolkit.etcd.restore.survey import survey

    wired = kt(ctx)
    clusters = wired.clusters()
    reached = wired.reach(Target(cluster=clusters.choose(cluster), consent=consent))
    target = clusters.find(reached.name)
    effects = (wired.state, wired.clock, wired.progress)
    planned = survey(file, target, reached.api, *effects)
    if plan:
        _show(planned, output)
        return
    restores = Restores(clusters, wired.journals(), *effects)
    report = restores.run(planned, target, reached.api, consent=consent)
    if output is Format.json:
        console.emit(as_json.report(report))
    else:
        console.data().print(as_table.report(report))
        console.data().print(f"the API was away for {report.facts['api_away_seconds']:.1f} s")
    raise typer.Exit(exits.of_report(report))


def cleanup(
    ctx: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    cluster: ClusterOption = None,
    consent: ConsentOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Remove the old data that restores kept on the nodes, and what cut-short ones left there.

    What an unfinished restore still needs is kept; `kt recover` ends that first.

      kt etcd cleanup --dry-run
    """
    from kops_toolkit.etcd.restore.cleanup import Cleanup

    wired = kt(ctx)
    clusters = wired.clusters()
    target = clusters.find(cluster)
    found = Cleanup(clusters, wired.state, wired.progress)
    left = found.found(target) if dry_run else found.remove(target, consent=consent)
    if output is Format.json:
        console.emit(as_json.dump({"dry_run": dry_run, "leftovers": [vars(x) for x in left]}))
    else:
        console.data().print(_leftovers(left))
        size = sum(item.size for item in left if item.settled)
        wired.progress.note(f"{decimal(size)} {'would be' if dry_run else 'were'} freed")


def _show(plan: Plan, output: Format) -> None:
    if output is Format.json:
        console.emit(as_json.dump(plan.as_json()))
        return
    live = "unknown" if plan.live_revision is None else str(plan.live_revision)
    facts = [
        ("cluster", plan.cluster),
        ("snapshot", f"{plan.path}, {plan.facts.keys} live keys at revision {plan.facts.revision}"),
        ("live revision", live),
        ("restored revision", f"{plan.revision} (raised by {plan.bump})"),
        ("disk", f"{decimal(plan.room[0])} needed, {decimal(plan.room[1])} free"),
    ]
    steps = [
        (str(number), step.where, "away" if step.away else "serves", step.text)
        for number, step in enumerate(plan.steps, 1)
    ]
    console.data().print(as_table.rows(("FACT", "VALUE"), facts))
    console.data().print()
    console.data().print(as_table.rows(("STEP", "WHERE", "API", "WHAT"), steps))


def _leftovers(found: Sequence[Leftover]) -> Table:
    lines = [
        (
            item.node,
            item.path,
            decimal(item.size),
            item.holds if item.settled else f"{item.holds}; unfinished: `kt recover` first",
        )
        for item in found
    ]
    return as_table.rows(("NODE", "FOLDER", "SIZE", "HOLDS"), lines)
