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
FORM = "{{.Repository}}:{{.Tag}}"


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
    return _any(engine, "--filter", f"label={LABEL}")


def present(engine: Engine) -> str | None:
    """A node image that is on this machine, of those that `choose` would take; else None."""
    named = os.environ.get(VARIABLE)
    if named and engine.run(["image", "inspect", named], check=False).code == 0:
        return named
    return local(engine) or _any(engine, "kindest/node")


def any_present(engine: Engine) -> str | None:
    """Whatever image is on this machine, to look at the engine's machine through; else None."""
    return _any(engine)


def _any(engine: Engine, *which: str) -> str | None:
    done = engine.run(["images", "--format", FORM, *which])
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
