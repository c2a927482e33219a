"""`kt claims`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from kops_toolkit.cli.context import kt
from kops_toolkit.cli.options import (
    ClusterOption,
    ContextOption,
    Format,
    FormatOption,
    KubeconfigOption,
)
from kops_toolkit.demos import claims as ledger
from kops_toolkit.demos import registry
from kops_toolkit.report import as_json, as_table, console
from kops_toolkit.wiring import Target

if TYPE_CHECKING:
    from kops_toolkit.demos.claims import Entry


def claims(
    ctx: typer.Context,
    only: Annotated[
        ledger.Ruling | None, typer.Option(help="Only those of which this became.")
    ] = None,
    *,
    cluster: ClusterOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Print what is said about Kubernetes, and what became of it on this cluster.

    Example: kt verify --profile all; kt claims --only refuted

    Each sentence rests on checks of demos. Those that `kt demo` or `kt verify` has played on this
    cluster confirm it, or refute it; then the right sentence is given.
    """
    wired = kt(ctx)
    reached = wired.reach(Target(cluster, context, kubeconfig))
    evidence = wired.ledger(reached).read()
    demos = {demo.name for demo in registry.DEMOS}
    entries = [ledger.rule(claim, evidence, demos) for claim in ledger.claims()]
    counts = Counter(entry.ruling.value for entry in entries)
    if only is not None:
        entries = [entry for entry in entries if entry.ruling is only]
    if output is Format.json:
        console.emit(as_json.dump({"schema": "kt/claims/v1", "claims": list(map(_json, entries))}))
        return
    rows = [
        (
            entry.claim.id,
            entry.ruling.value,
            entry.claim.says + (f" RIGHT IS: {entry.claim.corrected}" if _refuted(entry) else ""),
            "\n".join(entry.evidence),
        )
        for entry in entries
    ]
    data = console.data()
    data.print(as_table.ledger(("CLAIM", "VERDICT", "IT SAYS", "EVIDENCE"), rows))
    told = ", ".join(f"{counts[ruling.value]} {ruling.value}" for ruling in ledger.Ruling)
    data.print(f"claims: {told}", markup=False, highlight=False)


def _refuted(entry: Entry) -> bool:
    return entry.ruling is ledger.Ruling.REFUTED


def _json(entry: Entry) -> dict[str, object]:
    claim = entry.claim
    return {
        "id": claim.id,
        "section": claim.section,
        "says": claim.says,
        "verdict": entry.ruling.value,
        "checks": list(claim.checks),
        "evidence": list(entry.evidence),
        "corrected": claim.corrected if _refuted(entry) else "",
    }
