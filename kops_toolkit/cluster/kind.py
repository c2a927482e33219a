"""The `kind` program: found, asked, told."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from kops_toolkit.errors import EnvironmentNotReadyError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kops_toolkit.system.process import Completed, Processes, Running

LEAST = (0, 20, 0)  # the first whose nodes have containerd's /etc/containerd/certs.d layout
ANSWER_WITHIN = 60.0  # seconds for anything but creating


class Kind:
    """kind, through its command.

    Args:
        processes: starts programs.
        program: which one; None takes `$KT_KIND`, else `kind` on PATH.
    """

    def __init__(self, processes: Processes, program: str | None = None) -> None:
        self._processes = processes
        self._program = program or os.environ.get("KT_KIND") or "kind"

    def path(self) -> str:
        """Where the program is.

        Raises:
            EnvironmentNotReadyError: nowhere.
        """
        found = self._processes.which(self._program)
        if found is None:
            raise EnvironmentNotReadyError(
                f"kind is not installed: there is no `{self._program}` on this machine's PATH",
                "install it (https://kind.sigs.k8s.io) or name its file in KT_KIND",
            )
        return found

    def version(self) -> tuple[int, int, int]:
        """Its version; errors as `path`."""
        text = self._run("version").text
        found = re.search(r"v(\d+)\.(\d+)\.(\d+)", text)
        if not found:
            raise EnvironmentNotReadyError(f"`{self.path()} version` says nothing known: {text!r}")
        major, minor, patch = map(int, found.groups())
        return major, minor, patch

    def kubeconfig(self, cluster: str) -> bytes:
        """Admin kubeconfig of a cluster, as reachable from the engine's machine.

        Raises:
            NotFoundError: its control plane does not run, or there is no such cluster.
        """
        done = self._run("get", "kubeconfig", "--name", cluster, check=False)
        if done.code != 0:
            said = done.err.decode("utf-8", "replace").strip()
            raise NotFoundError(f"kind has no kubeconfig for the cluster {cluster}: {said}")
        return done.out

    def create(self, cluster: str, config: Path, kubeconfig: Path, image: str | None) -> Running:
        """Begin to create a cluster; its progress lines come on stderr.

        Args:
            cluster: its name.
            config: kind's configuration file.
            kubeconfig: file to write the admin kubeconfig to.
            image: node image; None takes kind's own.
        """
        argv = [self.path(), "create", "cluster", "--name", cluster, "--config", str(config)]
        argv += ["--kubeconfig", str(kubeconfig)]
        return self._processes.start([*argv, *(["--image", image] if image else [])])

    def delete(self, cluster: str, kubeconfig: Path | None) -> None:
        """Delete a cluster; one that is gone already is success.

        Args:
            cluster: its name.
            kubeconfig: the file to take its context out of; None means the user's own.
        """
        argv = ["delete", "cluster", "--name", cluster]
        self._run(*argv, *(["--kubeconfig", str(kubeconfig)] if kubeconfig else []))

    def merge(self, cluster: str) -> str:
        """Put a cluster into the user's own kubeconfig; returns the context's name."""
        self._run("export", "kubeconfig", "--name", cluster)
        return f"kind-{cluster}"

    def _run(self, *arguments: str, check: bool = True) -> Completed:
        argv: Sequence[str] = [self.path(), *arguments]
        return self._processes.run(argv, timeout=ANSWER_WITHIN, check=check)
