"""Options that several commands share, each spelled once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How a result is written to stdout."""

    table = "table"
    json = "json"


FormatOption = Annotated[
    Format, typer.Option("--output", "-o", help="For people, or one JSON document for machines.")
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="NAME", help="A kind cluster on this machine. Default: kt's only one."
    ),
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="NAME",
        help="Any cluster, by a context of your kubeconfig. The current one is never followed.",
    ),
]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig", metavar="FILE", help="Where --context is looked up. Default: as kubectl."
    ),
]
ConsentOption = Annotated[
    str | None,
    typer.Option(
        "--i-know-this-breaks",
        metavar="NAME",
        help="Consent to break a cluster that kt did not make: its name (or context) once more.",
    ),
]
