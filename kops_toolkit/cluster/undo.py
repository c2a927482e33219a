"""Taking back a cluster that was begun and never finished."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kops_toolkit.cluster.spec import RUN_LABEL
from kops_toolkit.errors import CleanupFailedError
from kops_toolkit.system.lock import alone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kops_toolkit.cluster.clusters import Clusters
    from kops_toolkit.system.clock import Clock
    from kops_toolkit.system.process import Processes

DELETE_KIND_CLUSTER = "delete-kind-cluster"
LULL = 0.3  # seconds: the engine may still be making what it was asked for before kind was killed
PATIENCE = 30.0  # seconds until that must be over


class DeleteKindCluster:
    """The handler for DELETE_KIND_CLUSTER; args: `name`, `run`, `config` (kind's file, a path).

    kt may have been killed while kind lives on, so kind is ended first: it would go on making
    what is being deleted. A cluster that another run made under the name since is left alone.

    Args:
        clusters: finds the containers and kt's files.
        processes: finds the orphaned kind.
        clock: waits for the engine.
    """

    def __init__(self, clusters: Clusters, processes: Processes, clock: Clock) -> None:
        self._clusters = clusters
        self._processes = processes
        self._clock = clock

    def __call__(self, args: Mapping[str, Any]) -> None:
        """See Handler."""
        name, config = str(args["name"]), str(args["config"])
        with alone(self._clusters.lock(name), f"another kt is working on the cluster {name}"):
            self._end_kind(config)
            if not self._is_anothers(name, str(args["run"])):
                self._delete(name)
                self._clusters.forget(name)
            Path(config).unlink(missing_ok=True)

    def _end_kind(self, config: str) -> None:
        for pid in self._working_on(config):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        give_up = self._clock.monotonic() + PATIENCE
        while any(self._working_on(config)):
            if self._clock.monotonic() > give_up:
                raise CleanupFailedError(f"kind does not end although killed ({config})")
            self._clock.sleep(LULL)

    def _delete(self, name: str) -> None:
        """Delete until nothing comes after: a `docker run` of kind's may still be under way."""
        engine = self._clusters.engine
        give_up = self._clock.monotonic() + PATIENCE
        while True:
            found = engine.containers(name)
            if found:
                ids = [item.id for item in found]
                engine.run(["rm", "--force", "--volumes", *ids], timeout=120)
            elif not any(self._working_on(f"io.x-k8s.kind.cluster={name}")):
                return
            if self._clock.monotonic() > give_up:
                raise CleanupFailedError(f"containers of the cluster {name} keep appearing")
            self._clock.sleep(LULL)

    def _is_anothers(self, name: str, run: str) -> bool:
        """Whether a finished control plane of that name is of another run, or of bare kind."""
        containers = self._clusters.engine.containers(name)
        labels = self._clusters.labels(containers)
        return labels is not None and f"{RUN_LABEL}={run}" not in labels

    def _working_on(self, text: str) -> Iterator[int]:
        """Processes, other than kt, that have `text` in their command line."""
        for pid, command in self._commands():
            if text in command and pid != os.getpid():
                yield pid

    def _commands(self) -> Iterator[tuple[int, str]]:
        proc = Path("/proc")
        if (proc / "self/cmdline").exists():
            for folder in proc.glob("[0-9]*"):
                with suppress(OSError):
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    yield int(folder.name), line.decode("utf-8", "replace")
            return
        listing = self._processes.run(["ps", "-axww", "-o", "pid=,args="]).text
        for row in listing.splitlines():
            pid, _, command = row.strip().partition(" ")
            yield int(pid), command
