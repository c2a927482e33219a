"""Builds the real adapters: the one place that constructs what touches the world."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from kops_toolkit.errors import UsageError
from kops_toolkit.system.clock import Clock, SystemClock
from kops_toolkit.system.journal import Handler, Journals
from kops_toolkit.system.process import Processes, SystemProcesses
from kops_toolkit.system.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kops_toolkit.cluster.clusters import Cluster, Clusters
    from kops_toolkit.cluster.lifecycle import Lifecycle
    from kops_toolkit.cluster.node import Node
    from kops_toolkit.demos.claims import Ledger
    from kops_toolkit.demos.model import Audience
    from kops_toolkit.demos.runner import Runner
    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.kube.watches import Streams

KIND_CONTEXT = "kind-"  # kind names a cluster's context so


def state_folder() -> Path:
    """Where kt keeps what must survive it: journals, kubeconfigs, safety snapshots.

    `$KT_STATE_DIR` if set, else the platform's own place for state.
    """
    chosen = os.environ.get("KT_STATE_DIR")
    return Path(chosen) if chosen else platformdirs.user_state_path("kt")


def default_kubeconfig() -> Path:
    """The first file that kubectl would read: of `$KUBECONFIG`, else `~/.kube/config`."""
    listed = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return Path(listed[0]) if listed else Path.home() / ".kube" / "config"


@dataclass(frozen=True)
class Target:
    """The cluster that a command line names.

    Attributes:
        cluster: a kind cluster on this machine; None means kt's only one.
        context: any cluster, by a context of a kubeconfig; excludes `cluster`.
        kubeconfig: where `context` is looked up; None means as kubectl does.
        consent: the name given with `--i-know-this-breaks`.
    """

    cluster: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None
    consent: str | None = None


@dataclass(frozen=True)
class Reached:
    """A cluster that a command may talk to.

    Attributes:
        name: what to call it: the kind cluster's name, or the context's.
        api: its API server.
        kubeconfig: file that holds its credentials.
        context: the context in it.
        cluster: its nodes, if it is a kind cluster on this machine, else None.
        consent: see Target.
    """

    name: str
    api: KubeApi
    kubeconfig: Path
    context: str
    cluster: Cluster | None
    consent: str | None


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

    def clusters(self) -> Clusters:
        """The kind clusters of this machine."""
        from kops_toolkit.cluster.clusters import Clusters
        from kops_toolkit.cluster.engine import Engine
        from kops_toolkit.cluster.kind import Kind

        engine = Engine(self.processes)
        return Clusters(engine, Kind(self.processes), self.state)

    def lifecycle(self) -> Lifecycle:
        """Makes and deletes kind clusters."""
        from kops_toolkit.cluster.lifecycle import Lifecycle

        return Lifecycle(self.clusters(), self.journals(), self.progress)

    def reach(self, target: Target) -> Reached:
        """The cluster that `target` names, ready to be asked.

        Raises:
            UsageError: both a cluster and a context are named.
            NotFoundError: there is none of that name.
        """
        from kops_toolkit.kube.client import connect

        if target.cluster and target.context:
            raise UsageError("--cluster and --context both name a cluster", "give one of them")
        if target.context is None:
            cluster = self.clusters().find(target.cluster)
            context = KIND_CONTEXT + cluster.name
            api = connect(cluster.kubeconfig, context)
            return Reached(cluster.name, api, cluster.kubeconfig, context, cluster, target.consent)
        kubeconfig = target.kubeconfig or default_kubeconfig()
        api = connect(kubeconfig, target.context)
        return Reached(target.context, api, kubeconfig, target.context, None, target.consent)

    def runner(
        self, reached: Reached, audience: Audience, image: str, streams: Streams | None = None
    ) -> Runner:
        """Plays demos on a cluster; nodes that we can reach into are given the image first."""
        from kops_toolkit.cluster.load import Loader
        from kops_toolkit.demos.runner import Runner

        engine = self.clusters().engine

        def ensure(wanted: str) -> None:
            if reached.cluster is not None:
                Loader(engine, self.progress).ensure(reached.cluster.nodes, wanted)

        found = reached.cluster.nodes if reached.cluster is not None else ()
        nodes: dict[str, Node] = {node.name: node for node in found}
        return Runner(
            api=reached.api,
            name=reached.name,
            consent=reached.consent,
            kubeconfig=reached.kubeconfig,
            context=reached.context,
            journals=self.journals(),
            clock=self.clock,
            audience=audience,
            ensure_image=ensure,
            image=image,
            nodes=nodes,
            streams=streams,
        )

    def ledger(self, reached: Reached) -> Ledger:
        """What demos have found out on a cluster so far."""
        from kops_toolkit.demos.claims import Ledger

        return Ledger(self.state / "evidence", reached.api)

    def _handlers(self) -> Mapping[str, Handler]:
        from kops_toolkit.cluster import faults
        from kops_toolkit.cluster.undo import DELETE_KIND_CLUSTER, DeleteKindCluster
        from kops_toolkit.etcd.restore import rollback
        from kops_toolkit.kube import outside
        from kops_toolkit.kube import undo as kube_undo

        def connect(kubeconfig: Path, context: str) -> KubeApi:
            from kops_toolkit.kube.client import connect

            return connect(kubeconfig, context)

        return {
            DELETE_KIND_CLUSTER: DeleteKindCluster(self.clusters(), self.processes, self.clock),
            **kube_undo.handlers(connect, self.clock),
            **outside.handlers(connect),
            **faults.handlers(self.clusters()),
            **rollback.handlers(self.clusters(), connect, self.clock, self.progress),
        }
