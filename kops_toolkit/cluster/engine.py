"""The container engine: how kt talks to it, and what it says about the machine it runs on.

The engine may live elsewhere than kt (Docker Desktop's VM, a remote `DOCKER_HOST`), so all that
matters to nodes is asked of the engine, never read off kt's own machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import EnvironmentNotReadyError, TimedOutError
from kops_toolkit.system.process import failed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kops_toolkit.system.process import Completed, Processes, Running

PROGRAM = "docker"
ANSWER_WITHIN = 20.0  # seconds; a healthy engine answers in 0.02
CLUSTER_LABEL = "io.x-k8s.kind.cluster"  # kind puts these on every container it makes
ROLE_LABEL = "io.x-k8s.kind.role"
LIMITS = {"MemoryLimit": "memory", "CpuCfsQuota": "CPU quota", "PidsLimit": "processes"}


@dataclass(frozen=True)
class EngineFacts:
    """What `docker info` tells.

    Attributes:
        host: name of the machine it runs on.
        version: the server's version; development builds have no number in it.
        system: operating system the engine runs on, e.g. `Docker Desktop`.
        kernel: release of the kernel that the nodes will share.
        cgroup_version: 1 or 2.
        cpus: logical processors.
        memory: bytes in the machine the engine runs on.
        root: the engine's data folder, on the engine's machine.
        forwarding: whether IPv4 forwarding is on there.
        rootless: whether the engine runs without root.
        missing_limits: what the control groups there cannot limit, in words.
    """

    host: str
    version: str
    system: str
    kernel: str
    cgroup_version: int
    cpus: int
    memory: int
    root: str
    forwarding: bool
    rootless: bool
    missing_limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Container:
    """A kind container as `docker inspect` tells it.

    Attributes:
        id: the engine's full identifier; a container made anew has another one.
        name: its name, which is also its Node object's.
        cluster: kind's name of the cluster.
        role: `control-plane`, `worker` or `external-load-balancer`.
        state: `running`, `paused`, `exited`, …
        image: the reference it was made from.
        address: IPv4 address on the kind network, "" while it does not run.
    """

    id: str
    name: str
    cluster: str
    role: str
    state: str
    image: str
    address: str


class Engine:
    """Docker, through its command.

    Args:
        processes: starts programs.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes

    def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = ANSWER_WITHIN,
        check: bool = True,
    ) -> Completed:
        """`docker ARGUMENTS` to its end.

        Raises:
            EnvironmentNotReadyError: docker is not installed, does not answer, or kt may not
                talk to it; raised with `check` off too, for then nothing was run at all.
            ToolFailedError: it did not exit 0 and `check` is on.
            TimedOutError: no end after `timeout` seconds.
        """
        self._installed()
        done = self.processes.run([PROGRAM, *arguments], stdin=stdin, timeout=timeout, check=False)
        if done.code != 0:
            if problem := unusable(done):
                raise problem
            if check:
                raise failed(done)
        return done

    def start(self, arguments: Sequence[str]) -> Running:
        """`docker ARGUMENTS`, left running with pipes on its streams."""
        self._installed()
        return self.processes.start([PROGRAM, *arguments])

    def facts(self) -> EngineFacts:
        """Ask the engine about itself; errors as `run`, a silent engine is not ready."""
        try:
            done = self.run(["info", "--format", "json"])
        except TimedOutError as cause:
            raise EnvironmentNotReadyError(
                f"the docker daemon has not answered for {ANSWER_WITHIN:.0f} s",
                "look at its log, or restart it",
            ) from cause
        info = json.loads(done.out)
        # Some client versions exit 0 and tell inside the document that no server answered.
        if errors := info.get("ServerErrors"):
            raise unusable_text(" ".join(errors)) or not_running()
        return EngineFacts(
            host=info["Name"],
            version=info["ServerVersion"],
            system=info["OperatingSystem"],
            kernel=info["KernelVersion"],
            cgroup_version=int(info.get("CgroupVersion") or 1),
            cpus=info["NCPU"],
            memory=info["MemTotal"],
            root=info["DockerRootDir"],
            forwarding=bool(info["IPv4Forwarding"]),
            rootless=any("rootless" in option for option in info.get("SecurityOptions") or ()),
            missing_limits=tuple(words for key, words in LIMITS.items() if not info.get(key)),
        )

    def containers(self, cluster: str | None = None) -> tuple[Container, ...]:
        """Containers of one kind cluster, or of all, in whatever state, sorted by name."""
        label = CLUSTER_LABEL + (f"={cluster}" if cluster else "")
        ids = self.run(["ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}"])
        if not ids.text.split():
            return ()
        done = self.run(["container", "inspect", *ids.text.split()], check=False)
        # One that was removed since `ps` is only missing in the answer.
        found = [_container(item) for item in json.loads(done.out or b"[]")]
        return tuple(sorted(found, key=lambda container: container.name))

    def _installed(self) -> None:
        if self.processes.which(PROGRAM) is None:
            raise EnvironmentNotReadyError(
                "docker is not installed: there is no `docker` on this machine's PATH",
                "install Docker Engine or Docker Desktop, then `kt doctor`",
            )


def unusable(done: Completed) -> EnvironmentNotReadyError | None:
    """The error if `done` failed because the engine cannot be talked to, else None."""
    return unusable_text(done.err.decode("utf-8", "replace"))


def unusable_text(said: str) -> EnvironmentNotReadyError | None:
    """Permission denied and not running told apart by docker's own words."""
    lowered = said.lower()
    if "permission denied" in lowered and "docker" in lowered and "connect" in lowered:
        return EnvironmentNotReadyError(
            "you may not talk to the docker daemon: permission denied on its socket",
            "join the `docker` group (`sudo usermod -aG docker $USER`) and log in again",
        )
    if (
        "cannot connect to the docker daemon" in lowered
        or "is the docker daemon running" in lowered
    ):
        return not_running()
    return None


def not_running() -> EnvironmentNotReadyError:
    """The error for an installed engine that nobody answers for."""
    return EnvironmentNotReadyError(
        "the docker daemon does not answer: is it running?",
        "start it (`sudo systemctl start docker`, or open Docker Desktop); see also DOCKER_HOST",
    )


def _container(item: Mapping[str, Any]) -> Container:
    labels = item["Config"].get("Labels") or {}
    networks = item["NetworkSettings"].get("Networks") or {}
    address = next((net["IPAddress"] for net in networks.values() if net.get("IPAddress")), "")
    return Container(
        id=item["Id"],
        name=item["Name"].removeprefix("/"),
        cluster=labels.get(CLUSTER_LABEL, ""),
        role=labels.get(ROLE_LABEL, ""),
        state=item["State"]["Status"],
        image=item["Config"]["Image"],
        address=address,
    )
