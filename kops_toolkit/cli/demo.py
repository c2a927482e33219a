"""`kt demo`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from kops_toolkit.cli import exits
from kops_toolkit.cli.context import kt
from kops_toolkit.cli.options import (
    ClusterOption,
    ConsentOption,
    ContextOption,
    Format,
    FormatOption,
    KubeconfigOption,
)
from kops_toolkit.demos import registry
from kops_toolkit.demos.model import AGNHOST, DOCS
from kops_toolkit.errors import UsageError
from kops_toolkit.report import as_json, as_table, console, story
from kops_toolkit.wiring import Target

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Audience, Demo


def demo(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which demo; see --list.")
    ] = None,
    *,
    list_: Annotated[
        bool, typer.Option("--list", help="Show all demos and what each needs.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the story; needs no cluster.")
    ] = False,
    pause: Annotated[
        bool, typer.Option("--pause", help="Wait for Enter before each act, for teaching.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the objects to look at.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="An unmet need is a failure, not a skip.")
    ] = False,
    sabotage: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Break this on purpose, to see the checks catch it."),
    ] = None,
    cluster: ClusterOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    consent: ConsentOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Show a concept on a real cluster, and prove it.

    Example: kt demo rolling-update --pause

    A demo works in a namespace of its own and deletes it at the end. On a terminal it is drawn
    live; piped it writes a line an event to stderr. The verdicts go to stdout. Exit 0 only if every
    check held.
    """
    if list_:
        _list(output)
        return
    if name is None:
        raise UsageError("which demo?", "`kt demo --list` shows them all")
    chosen = registry.find(name)
    if explain:
        _explain(chosen.name, output)
        return
    wired = kt(ctx)
    reached = wired.reach(Target(cluster, context, kubeconfig, consent))
    image = os.environ.get("KT_AGNHOST_IMAGE", AGNHOST)
    runner = wired.runner(reached, _audience(pause=pause), image)
    report = runner.run(chosen, sabotage=sabotage, keep=keep, strict=strict)
    if sabotage is None:
        wired.ledger(reached).add([report])
    if output is Format.json:
        console.emit(as_json.report(report))
    else:
        console.data().print(as_table.report(report))
    raise typer.Exit(exits.of_report(report))


def explain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which demo; see `kt demo --list`.")],
    output: FormatOption = Format.table,
) -> None:
    """Explain a concept in a screenful: the story its demo tells, and where to read on.

    Example: kt explain taints
    """
    _explain(registry.find(name).name, output)


def _audience(*, pause: bool) -> Audience:
    from kops_toolkit.report.lines import Lines
    from kops_toolkit.report.live import Live

    people = console.people()
    return Live(people, pause=pause) if people.is_terminal else Lines(people, pause=pause)


def _list(output: Format) -> None:
    rows = [(demo.name, demo.title, _needs(demo)) for demo in registry.DEMOS]
    if output is Format.json:
        keys = ("name", "title", "needs")
        console.emit(as_json.dump([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        console.data().print(as_table.rows(("NAME", "SHOWS", "NEEDS"), rows))


def _needs(chosen: Demo) -> str:
    needs = [need.text for need in chosen.needs]
    if chosen.breaks:
        needs.append("consent on others' clusters")
    return ", ".join(needs) or "any cluster"


def _explain(name: str, output: Format) -> None:
    chosen = registry.find(name)
    acts = [(act.title, act.why) for act in chosen.acts]
    if output is Format.json:
        told = [{"title": title, "why": why} for title, why in acts]
        page = {"name": name, "idea": chosen.idea, "acts": told, "page": DOCS + chosen.page}
        console.emit(as_json.dump(page))
    else:
        broken = {name: sabotage.text for name, sabotage in chosen.sabotages.items()}
        told_story = story.drawn(chosen.title, chosen.idea, acts, broken, DOCS + chosen.page)
        console.data().print(told_story)
