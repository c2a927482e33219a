"""Making and deleting clusters, so that whatever happens nothing is left half-made."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from kops_toolkit.cluster import audit, host, image
from kops_toolkit.cluster.clusters import Record
from kops_toolkit.cluster.spec import ClusterSpec, check_name
from kops_toolkit.cluster.undo import DELETE_KIND_CLUSTER
from kops_toolkit.errors import (
    EnvironmentNotReadyError,
    NotFoundError,
    RefusedError,
    TimedOutError,
    ToolFailedError,
)
from kops_toolkit.system import files
from kops_toolkit.system.lock import alone
from kops_toolkit.system.process import close_pipes

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.clusters import Cluster, Clusters
    from kops_toolkit.cluster.docker_node import DockerNode
    from kops_toolkit.system.journal import Journals
    from kops_toolkit.system.process import Running
    from kops_toolkit.system.progress import Progress

ADMIN = "--kubeconfig=/etc/kubernetes/admin.conf"
INOTIFY_PER_NODE = 25  # instances; measured: 15 to 20 a node, and one user's limit is for all
SAID_LINES = 12


class Lifecycle:
    """Creates and deletes kind clusters that carry kt's mark.

    Args:
        clusters: finds what there is; holds engine and kind.
        journals: where the undo of a creation is written down first.
        progress: hears kind's steps.
    """

    def __init__(self, clusters: Clusters, journals: Journals, progress: Progress) -> None:
        self._clusters = clusters
        self._engine = clusters.engine
        self._kind = clusters.kind
        self._journals = journals
        self._progress = progress

    def up(self, spec: ClusterSpec, *, wait: float = 180.0, merge: bool = False) -> Cluster:
        """Make a cluster.

        Args:
            spec: what it is to be like.
            wait: seconds it may take to become ready after creation; 0 does not look.
            merge: also put it into the user's own kubeconfig, as the current context.

        Raises:
            RefusedError: a cluster of that name exists, or another kt is making one.
            EnvironmentNotReadyError: the host lacks something, or the image cannot be had.
            ToolFailedError: kind failed; what it said is in the message.
            TimedOutError: it stands but did not become ready in time; it is kept.
        """
        self._kind.path()
        busy = f"another kt is working on the cluster {spec.name}"
        with (
            self._journals.open("cluster-up") as journal,
            alone(self._clusters.lock(spec.name), busy),
        ):
            others = self._others(spec.name)
            spec = replace(spec, image=image.choose(self._engine, spec.image, self._progress))
            run = secrets.token_hex(8)
            config = self._clusters.folder(spec.name) / f"kind-{run}.yaml"
            says = f"delete the half-made cluster {spec.name}"
            debt = journal.owe(
                DELETE_KIND_CLUSTER, says, name=spec.name, run=run, config=str(config)
            )
            files.write(config, self._config(spec, run, others).encode())
            self._create(spec, config)
            made = self._clusters.containers(spec.name)
            self._clusters.adopt_kubeconfig(spec.name, made)
            ids = tuple(item.id for item in made)
            self._clusters.remember(spec.name, Record(spec.profile, spec.image or "", ids, merge))
            config.unlink()
            cluster = self._clusters.describe(spec.name, made)
            late = self._late(cluster, wait) if wait else None
            if merge:
                self._progress.note(f"your kubeconfig now has {self._kind.merge(spec.name)}")
            journal.settle(debt)
        if late:
            raise late
        return cluster

    def down(self, name: str | None, consent: str | None = None) -> str:
        """Delete a cluster and kt's files of it; returns its name.

        Raises:
            NotFoundError: there is none (leftover files of it are removed all the same).
            RefusedError: kt did not make it and `consent` is not its name.
        """
        name = self._clusters.choose(name)
        check_name(name)
        with alone(self._clusters.lock(name), f"another kt is working on the cluster {name}"):
            try:
                containers = self._clusters.containers(name)
            except NotFoundError:
                self._clusters.forget(name)
                raise
            self._clusters.require_ours(name, consent, ours=self._clusters.marked(name, containers))
            record = self._clusters.record(name)
            self._progress.step(f"deleting the cluster {name}")
            # kind takes a context out of one kubeconfig only: the user's, if it was put there.
            merged = record is not None and record.merged
            kubeconfig = None if merged else self._clusters.kubeconfig_path(name)
            self._kind.delete(name, kubeconfig)
            self._clusters.forget(name)
        return name

    def _others(self, name: str) -> int:
        """How many containers other clusters have; refuses if this one has any."""
        found = self._engine.containers()
        if any(item.cluster == name for item in found):
            raise RefusedError(
                f"there is a kind cluster called {name} already",
                f"`kt cluster down --name {name}` deletes it, --name makes another beside it",
            )
        return len(found)

    def _config(self, spec: ClusterSpec, run: str, others: int) -> str:
        """The configuration for kind, with all that this host needs said."""
        facts = self._engine.facts()
        seen = host.look(self._engine, facts, spec.image)
        self._refuse_if_unfit(spec, seen, spec.size + others)
        found = host.peculiarities(facts, seen, spec.minor)
        for item in found:
            self._progress.note(item.says)
        if not seen.local:  # an engine elsewhere could not mount our file
            return spec.kind_config(run, found)
        policy = self._clusters.folder(spec.name) / "audit-policy.yaml"
        files.write(policy, audit.policy(), overwrite=True)
        return spec.kind_config(run, found, policy)

    def _refuse_if_unfit(self, spec: ClusterSpec, seen: host.HostFacts, nodes: int) -> None:
        """Stop before minutes are lost where kind would fail in a riddle."""
        limit = seen.settings.get(host.INOTIFY_INSTANCES)
        if limit is not None and limit < nodes * INOTIFY_PER_NODE:
            raise EnvironmentNotReadyError(
                f"{host.INOTIFY_INSTANCES} is {limit}, too few for {nodes} nodes: "
                "kubelets would fail with `too many open files`",
                "`kt doctor --fix` raises it",
            )
        if seen.settings.get(host.IP_FORWARD) == 0:
            raise EnvironmentNotReadyError(
                f"{host.IP_FORWARD} is 0: no packet would get from one pod to another",
                "`kt doctor --fix` sets it",
            )
        if spec.proxy_mode == "ipvs" and seen.ipvs is False:
            raise EnvironmentNotReadyError(
                "the host's kernel has no IPVS (module ip_vs)", "use --proxy-mode nftables"
            )

    def _create(self, spec: ClusterSpec, config: Path) -> None:
        kubeconfig = self._clusters.kubeconfig_path(spec.name)
        running = self._kind.create(spec.name, config, kubeconfig, spec.image)
        try:
            said = self._follow(running)
            code = running.wait()
        except BaseException:
            running.kill()
            running.wait()
            raise
        finally:
            close_pipes(running)
        if code != 0:
            text = "\n".join(said)
            if "already exist for a cluster" in text:  # made since we looked, by bare kind
                raise RefusedError(f"there is a kind cluster called {spec.name} already")
            raise image.explain(text, spec.image) or ToolFailedError(
                f"kind could not create the cluster {spec.name}: {text}",
                "`kt doctor` looks for what may be missing",
            )

    def _follow(self, running: Running) -> list[str]:
        """Tell kind's steps on; returns the end of what else it said."""
        said: list[str] = []
        for raw in running.stderr or ():
            line = raw.decode("utf-8", "replace").strip()
            if step := re.match(r"•\s+([\x20-\x7e]+)", line):
                self._progress.step(step.group(1).rstrip(". "))
            elif line and not line.startswith("✓"):
                said = [*said, line][-SAID_LINES:]
        return said

    def _late(self, cluster: Cluster, wait: float) -> TimedOutError | None:
        """Wait until nodes are Ready and CoreDNS serves; the error if they are not in time.

        `kubectl wait` on the node watches, and needs neither kt's client nor a way to the API.
        """
        self._progress.step("waiting until all nodes are ready")
        node = cluster.control_planes[0]
        for what in (
            ["--for=condition=Ready", "nodes", "--all"],
            ["--for=condition=Available", "--namespace=kube-system", "deployment/coredns"],
        ):
            argv = ["kubectl", ADMIN, "wait", f"--timeout={wait:.0f}s", *what]
            done = node.run(argv, timeout=wait + 30, check=False)
            if done.code != 0:
                return _not_ready(cluster, node, wait, done.err)
        return None


def _not_ready(cluster: Cluster, node: DockerNode, wait: float, err: bytes) -> TimedOutError:
    listing = node.run(["kubectl", ADMIN, "get", "nodes", "--no-headers"], check=False).text
    states = "; ".join(" ".join(line.split()[:2]) for line in listing.splitlines())
    said = err.decode("utf-8", "replace").strip().splitlines()[-1:]
    return TimedOutError(
        f"the cluster {cluster.name} stands but was not ready after {wait:.0f} s "
        f"({states}; {' '.join(said)})",
        f"it is kept: `kt cluster status --name {cluster.name}` tells more",
    )
