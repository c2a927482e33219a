"""A person's terminal on a node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kops_toolkit.cluster.engine import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kops_toolkit.cluster.docker_node import DockerNode


def argv(node: DockerNode, command: Sequence[str]) -> list[str]:
    """What kt must become to run `command` (a login shell if empty) on `node`.

    A terminal is asked for only if there is one, so that it works in a pipe and in CI too.
    """
    node.run(["true"])  # gone, paused or stopped: tell it in kt's words, not in docker's
    flags = ["-it"] if sys.stdin.isatty() and sys.stdout.isatty() else ["-i"]
    return [PROGRAM, "exec", *flags, node.name, *(command or ["bash", "-l"])]
