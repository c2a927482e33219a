"""A story to read, without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType


def drawn(
    title: str,
    idea: str,
    acts: Sequence[tuple[str, str]],
    sabotages: Mapping[str, str],
    page: str,
) -> RenderableType:
    """Title, idea, numbered acts, what can be broken on purpose, and where to read on."""
    parts: list[RenderableType] = [Text(title, style="bold"), Padding(Text(idea), (0, 0, 1, 2))]
    for number, (act, why) in enumerate(acts, 1):
        parts += [Text(f"{number}. {act}", style="bold"), Padding(Text(why), (0, 0, 1, 3))]
    if sabotages:
        parts.append(Text("Break it on purpose with --sabotage:", style="bold"))
        parts += [
            Padding(Text(f"{name}: {does}"), (0, 0, 0, 2)) for name, does in sabotages.items()
        ]
    parts += [Text(""), Text(f"Read on: {page}")]
    return Group(*parts)
