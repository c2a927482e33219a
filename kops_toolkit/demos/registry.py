"""All demos, by hand: what is listed here exists, in this order."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from kops_toolkit.demos.catalog import (
    api_server,
    controllers,
    crash,
    daemonset,
    desired_state,
    flow,
    kubelet,
    node_affinity,
    node_failure,
    node_selector,
    preemption,
    rolling_update,
    runtime,
    scheduler,
    taints,
)
from kops_toolkit.errors import UsageError

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Demo

DEMOS: tuple[Demo, ...] = (
    api_server.DEMO,
    scheduler.DEMO,
    controllers.DEMO,
    flow.DEMO,
    kubelet.DEMO,
    runtime.DEMO,
    desired_state.DEMO,
    rolling_update.DEMO,
    crash.DEMO,
    node_selector.DEMO,
    node_affinity.DEMO,
    taints.DEMO,
    preemption.DEMO,
    daemonset.DEMO,
    node_failure.DEMO,
)


def find(name: str) -> Demo:
    """A demo by its name.

    Raises:
        UsageError: there is none; the hint names the nearest.
    """
    for demo in DEMOS:
        if demo.name == name:
            return demo
    names = [demo.name for demo in DEMOS]
    near = get_close_matches(name, names, n=3, cutoff=0.4) or names
    raise UsageError(f"there is no demo called {name}", f"did you mean {' or '.join(near)}?")
