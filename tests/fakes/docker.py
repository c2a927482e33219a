"""A container engine and kind of memory: what kt asks of them, and no more."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from kops_toolkit.system.process import Completed, Running, failed
from tests.fakes.process import FakeProcesses, FakeRunning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

INFO: dict[str, Any] = {
    "Name": "elsewhere",
    "ServerVersion": "29.1.0",
    "OperatingSystem": "Docker Desktop",
    "KernelVersion": "6.10.0-elsewhere",
    "CgroupVersion": "2",
    "NCPU": 4,
    "MemTotal": 8 << 30,
    "DockerRootDir": "/var/lib/docker",
    "IPv4Forwarding": True,
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "SecurityOptions": ["name=seccomp,profile=builtin"],
}
KUBECONFIG = b"apiVersion: v1\nkind: Config\n"


class FakeDocker(FakeProcesses):
    """Knows containers and images; `docker exec` and the rest are scripted as in FakeProcesses.

    Attributes:
        info: what `docker info` tells.
        boxes: containers by name, as `docker inspect` tells them.
        labels: content of /kind/kubeadm.conf by container name; absent while half-made.
        images: names of images with the label of a locally built node image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.programs = {"docker": "/usr/bin/docker", "kind": "/usr/bin/kind"}
        self.info = dict(INFO)
        self.boxes: dict[str, dict[str, Any]] = {}
        self.labels: dict[str, str] = {}
        self.images: list[str] = []
        self.on_create: Callable[[FakeDocker, str], FakeRunning] = created
        self._made = 0

    def add(self, cluster: str, role: str, *, name: str = "", labels: str | None = "") -> str:
        """Put a container there; returns its name."""
        self._made += 1
        name = name or f"{cluster}-{role}"
        self.boxes[name] = {
            "Id": f"id-{self._made}",
            "Name": f"/{name}",
            "Config": {
                "Image": "kindest/node:v1.37.2",
                "Labels": {"io.x-k8s.kind.cluster": cluster, "io.x-k8s.kind.role": role},
            },
            "NetworkSettings": {"Networks": {"kind": {"IPAddress": f"172.18.0.{self._made + 1}"}}},
            "State": {"Status": "running"},
        }
        if labels is not None:
            self.labels[name] = labels
        return name

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        act = self._acts().get(tuple(argv[:2])) or self._acts().get(tuple(argv[:3]))
        if act is None:
            return super().run(argv, stdin=stdin, timeout=timeout, check=check, env=env)
        self.calls.append(tuple(argv))
        self.inputs.append(stdin)
        done = act(tuple(argv))
        if check and done.code != 0:
            raise failed(done)
        return done

    def start(self, argv: Sequence[str]) -> Running:
        if tuple(argv[:3]) == ("/usr/bin/kind", "create", "cluster"):
            self.calls.append(tuple(argv))
            return self.on_create(self, argv[argv.index("--name") + 1])
        return super().start(argv)

    def _acts(self) -> dict[tuple[str, ...], Callable[[tuple[str, ...]], Completed]]:
        return {
            ("docker", "info"): lambda argv: _ok(argv, json.dumps(self.info).encode()),
            ("docker", "ps"): self._ps,
            ("docker", "container", "inspect"): self._inspect,
            ("docker", "cp"): self._cp,
            ("docker", "rm"): self._rm,
            ("docker", "images"): self._images,
            ("/usr/bin/kind", "delete", "cluster"): self._delete,
            ("/usr/bin/kind", "get", "kubeconfig"): lambda argv: _ok(argv, KUBECONFIG),
        }

    def _ps(self, argv: tuple[str, ...]) -> Completed:
        _, _, value = argv[-1].removeprefix("label=").partition("=")
        ids = [box["Id"] for box in self.boxes.values() if value in {"", _cluster(box)}]
        return _ok(argv, "\n".join(ids).encode())

    def _inspect(self, argv: tuple[str, ...]) -> Completed:
        found = [box for box in self.boxes.values() if box["Id"] in argv]
        return _ok(argv, json.dumps(found).encode())

    def _cp(self, argv: tuple[str, ...]) -> Completed:
        wanted, _, path = argv[2].partition(":")
        for name, box in self.boxes.items():
            if box["Id"] == wanted and name in self.labels:
                return _ok(argv, _tar(path, self.labels[name].encode()))
        return Completed(argv, 1, b"", b"Error response from daemon: Could not find the file")

    def _rm(self, argv: tuple[str, ...]) -> Completed:
        self.boxes = {name: box for name, box in self.boxes.items() if box["Id"] not in argv}
        return _ok(argv)

    def _images(self, argv: tuple[str, ...]) -> Completed:
        return _ok(argv, "\n".join(self.images).encode())

    def _delete(self, argv: tuple[str, ...]) -> Completed:
        gone = argv[argv.index("--name") + 1]
        self.boxes = {name: box for name, box in self.boxes.items() if _cluster(box) != gone}
        return _ok(argv)


def created(docker: FakeDocker, name: str) -> FakeRunning:
    """What kind does when all goes well: one control plane with the labels it was told."""
    config = docker.calls[-1][docker.calls[-1].index("--config") + 1]
    with open(config, encoding="utf-8") as file:  # noqa: PTH123 - a path as kind gets it
        text = file.read()
    lines = [line.strip().replace(": ", "=") for line in text.splitlines() if "kops-" in line]
    docker.add(name, "control-plane", labels=",".join(lines))
    return FakeRunning(err=" • Preparing nodes 📦  ...\n ✓ Preparing nodes 📦\n".encode())


def _cluster(box: Mapping[str, Any]) -> str:
    return str(box["Config"]["Labels"]["io.x-k8s.kind.cluster"])


def _ok(argv: tuple[str, ...], out: bytes = b"") -> Completed:
    return Completed(argv, 0, out, b"")


def _tar(path: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(path.rpartition("/")[2])
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
