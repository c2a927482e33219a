"""Builds the real adapters: the one place that constructs what touches the world."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from kops_toolkit.system.clock import Clock, SystemClock
from kops_toolkit.system.journal import Handler, Journals
from kops_toolkit.system.process import Processes, SystemProcesses
from kops_toolkit.system.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Mapping


def state_folder() -> Path:
    """Where kt keeps what must survive it: journals, kubeconfigs, safety snapshots.

    `$KT_STATE_DIR` if set, else the platform's own place for state.
    """
    chosen = os.environ.get("KT_STATE_DIR")
    return Path(chosen) if chosen else platformdirs.user_state_path("kt")


@dataclass
class Kt:
    """Everything a command may need, passed to it as `ctx.obj`; tests pass one made of fakes.

    Attributes:
        processes: starts programs.
        clock: tells time.
        progress: hears of long work.
        state: folder for what must survive kt.
    """

    processes: Processes = field(default_factory=SystemProcesses)
    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = field(default_factory=Silent)
    state: Path = field(default_factory=state_folder)

    def journals(self) -> Journals:
        """The undo journals, with every room's handlers."""
        return Journals(self.state / "journal", self._handlers(), self.clock)

    def _handlers(self) -> Mapping[str, Handler]:
        return {}
