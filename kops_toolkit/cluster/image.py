"""Which node image a cluster is made from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kops_toolkit.errors import EnvironmentNotReadyError

if TYPE_CHECKING:
    from kops_toolkit.cluster.engine import Engine
    from kops_toolkit.system.progress import Progress

LABEL = "io.kops-toolkit.node-image"  # ci/node-image/build puts it on what it builds
VARIABLE = "KT_NODE_IMAGE"


def choose(engine: Engine, asked: str | None, progress: Progress) -> str | None:
    """The node image: the one asked for, `$KT_NODE_IMAGE`, a locally built one, else None.

    None leaves the choice to kind, which pulls its own. A choice nobody asked for is told.
    """
    if asked:
        return asked
    if named := os.environ.get(VARIABLE):
        progress.note(f"node image {named}, as {VARIABLE} says")
        return named
    if built := local(engine):
        progress.note(f"node image {built}, built on this machine")
        return built
    return None


def local(engine: Engine) -> str | None:
    """The newest node image that was built here, or None."""
    form = "{{.Repository}}:{{.Tag}}"
    done = engine.run(["images", "--filter", f"label={LABEL}", "--format", form])
    return next((line for line in done.text.splitlines() if "<none>" not in line), None)


def explain(said: str, image: str | None) -> EnvironmentNotReadyError | None:
    """The error if kind failed because an image can neither be found nor pulled, else None."""
    if "failed to pull image" not in said:
        return None
    return EnvironmentNotReadyError(
        f"the image {image or 'that kind wants'} is not on this machine and cannot be pulled",
        "check the name and the way to its registry; where none can be reached, "
        f"`ci/node-image/build` builds one, and --image or {VARIABLE} names any other",
    )
