"""Which kind clusters there are, which of them kt made, and how to reach their nodes and API."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kops_toolkit.cluster.docker_node import DockerNode
from kops_toolkit.errors import NotFoundError, RefusedError, UsageError
from kops_toolkit.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kops_toolkit.cluster.engine import Container, Engine
    from kops_toolkit.cluster.kind import Kind

DEFAULT_NAME = "kt"
MARK = "kops-toolkit.io/cluster"  # node label whose value is the cluster's name
# kind's own instructions to kubeadm, with the labels that the node is to have.
MARKED_FILE = "/kind/kubeadm.conf"
NODE_ROLES = frozenset({"control-plane", "worker"})


@dataclass(frozen=True)
class Record:
    """What kt remembers of a cluster it made.

    Attributes:
        profile: name of the profile it was made from.
        image: node image asked for, "" for kind's own.
        containers: engine identifiers of its containers, by which a later namesake is told apart.
        merged: whether it was put into the user's own kubeconfig.
    """

    profile: str
    image: str
    containers: tuple[str, ...]
    merged: bool = False


@dataclass(frozen=True)
class Cluster:
    """A kind cluster.

    Attributes:
        name: kind's name of it.
        nodes: control planes first, then workers, each sorted by name.
        kubeconfig: file with admin access; kt's own, the user's is left alone.
        ours: whether it carries kt's mark.
        profile: what it was made from; "" if unknown.
    """

    name: str
    nodes: tuple[DockerNode, ...]
    kubeconfig: Path
    ours: bool
    profile: str = ""

    @property
    def control_planes(self) -> tuple[DockerNode, ...]:
        """Nodes where the API server and etcd run."""
        return tuple(node for node in self.nodes if node.control_plane)

    @property
    def workers(self) -> tuple[DockerNode, ...]:
        """The other nodes."""
        return tuple(node for node in self.nodes if not node.control_plane)

    def node(self, name: str) -> DockerNode:
        """One node by its name, the cluster's prefix may be left out.

        Raises:
            NotFoundError: there is none.
        """
        for node in self.nodes:
            if node.name in {name, f"{self.name}-{name}"}:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise NotFoundError(f"the cluster {self.name} has no node {name}", f"it has: {known}")


class Clusters:
    """All kind clusters of the local engine.

    Args:
        engine: docker.
        kind: asked for kubeconfigs that kt has not.
        state: kt's state folder; `clusters/NAME/` in it holds a cluster's files.
    """

    def __init__(self, engine: Engine, kind: Kind, state: Path) -> None:
        self.engine = engine
        self.kind = kind
        self._folder = state / "clusters"

    def names(self) -> tuple[str, ...]:
        """Names of all kind clusters, kt's or not, sorted."""
        return tuple(sorted({item.cluster for item in self.engine.containers()}))

    def ours(self) -> tuple[str, ...]:
        """Names of the clusters that carry kt's mark, sorted."""
        by_name: dict[str, list[Container]] = {}
        for item in self.engine.containers():
            by_name.setdefault(item.cluster, []).append(item)
        return tuple(sorted(name for name, items in by_name.items() if self.marked(name, items)))

    def choose(self, name: str | None) -> str:
        """The cluster a command means: the one named, else kt's only one, else `kt`.

        Raises:
            UsageError: none is named and kt has several.
        """
        if name:
            return name
        ours = self.ours()
        if len(ours) == 1:
            return ours[0]
        if ours and DEFAULT_NAME not in ours:
            raise UsageError(
                f"kt has {len(ours)} clusters: {', '.join(ours)}; none is called {DEFAULT_NAME}",
                "say which one with --name",
            )
        return DEFAULT_NAME

    def find(self, name: str | None = None) -> Cluster:
        """A cluster with its nodes and a kubeconfig that fits it.

        Raises:
            NotFoundError: there is no such cluster, or its kubeconfig cannot be had.
            UsageError: no name is given and kt has several.
        """
        name = self.choose(name)
        return self.describe(name, self.containers(name))

    def describe(self, name: str, containers: Sequence[Container]) -> Cluster:
        """The cluster that these containers are; errors as `find`."""
        return Cluster(
            name=name,
            nodes=self.nodes(containers),
            kubeconfig=self._kubeconfig(name, containers),
            ours=self.marked(name, containers),
            profile=self.profile(name, containers),
        )

    def containers(self, name: str) -> tuple[Container, ...]:
        """All containers of a cluster, the load balancer included.

        Raises:
            NotFoundError: there are none.
        """
        containers = self.engine.containers(name)
        if not containers:
            names = ", ".join(self.names())
            hint = f"there are: {names}" if names else f"`kt cluster up --name {name}` makes it"
            raise NotFoundError(f"there is no kind cluster called {name}", hint)
        return containers

    def nodes(self, containers: Sequence[Container]) -> tuple[DockerNode, ...]:
        """The Kubernetes nodes among them, control planes first."""
        nodes = [DockerNode(self.engine, item) for item in containers if item.role in NODE_ROLES]
        return tuple(sorted(nodes, key=lambda node: (not node.control_plane, node.name)))

    def marked(self, name: str, containers: Sequence[Container]) -> bool:
        """Whether kt made the cluster: the mark is on its control plane."""
        return f"{MARK}={name}" in (self.labels(containers) or "")

    def labels(self, containers: Sequence[Container]) -> str | None:
        """What kind told a control plane to be, node labels included.

        None as long as kind has not got that far: the cluster is then half-made. It is read off
        the node's disk, so the API may be down and the node stopped.
        """
        for item in containers:
            if item.role == "control-plane":
                copied = self.engine.run(["cp", f"{item.id}:{MARKED_FILE}", "-"], check=False)
                if copied.code == 0:
                    return _only_file(copied.out)
        return None

    def lock(self, name: str) -> Path:
        """File to lock while a cluster is being made or deleted."""
        return self._folder / f".{name}.lock"

    def require_ours(self, name: str, consent: str | None, *, ours: bool) -> None:
        """What breaks things needs kt's mark, or the name said once more.

        Raises:
            RefusedError: neither.
        """
        if not ours and consent != name:
            raise RefusedError(
                f"the cluster {name} was not made by kt and is left alone",
                f"if you mean it: --i-know-this-breaks {name}",
            )

    def folder(self, name: str) -> Path:
        """Where kt keeps a cluster's files; made on demand, mode 0700."""
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def kubeconfig_path(self, name: str) -> Path:
        """Path of kt's own kubeconfig of a cluster, whether it is there or not."""
        return self._folder / name / "kubeconfig"

    def record(self, name: str) -> Record | None:
        """What kt remembers of a cluster it made, or None."""
        try:
            found = json.loads((self._folder / name / "record.json").read_bytes())
            ids = tuple(found["containers"])
            return Record(found["profile"], found["image"], ids, found["merged"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # it is a convenience: what matters is on the nodes themselves

    def profile(self, name: str, containers: Sequence[Container]) -> str:
        """What these containers were made from, "" if kt does not know."""
        record = self.record(name)
        same = record is not None and set(record.containers) == {item.id for item in containers}
        return record.profile if record and same else ""

    def remember(self, name: str, record: Record) -> None:
        """Keep a record."""
        data = json.dumps(asdict(record), indent=2).encode()
        files.write(self.folder(name) / "record.json", data, overwrite=True)

    def forget(self, name: str) -> None:
        """Remove kt's files of a cluster."""
        folder = self._folder / name
        if folder.is_dir():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    def adopt_kubeconfig(self, name: str, containers: Sequence[Container]) -> None:
        """Write down that the kubeconfig at hand is of exactly these containers."""
        files.write(self.folder(name) / "kubeconfig.for", _ids(containers), overwrite=True)

    def _kubeconfig(self, name: str, containers: Sequence[Container]) -> Path:
        """The path above, its file fetched anew if the one at hand is of an earlier namesake."""
        path = self.kubeconfig_path(name)
        made_for = path.with_name("kubeconfig.for")
        if not (path.exists() and made_for.exists() and made_for.read_bytes() == _ids(containers)):
            data = self.kind.kubeconfig(name)
            files.write(self.folder(name) / path.name, data, overwrite=True)
            self.adopt_kubeconfig(name, containers)
        return path


def _ids(containers: Sequence[Container]) -> bytes:
    return "\n".join(item.id for item in containers).encode()


def _only_file(archive: bytes) -> str:
    """Content of the one file in a tar archive, as `docker cp` writes it."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if file := tar.extractfile(member):
                return file.read().decode("utf-8", "replace")
    return ""
