"""What the engine's machine is like, where that matters to nodes: detected, never assumed.

Read directly where the engine runs on kt's own machine, else through a throw-away container.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kops_toolkit.cluster.engine import Engine, EngineFacts

SYS_RESOURCE = 1 << 24  # CAP_SYS_RESOURCE, see capability.h
INOTIFY_INSTANCES = "fs.inotify.max_user_instances"
INOTIFY_WATCHES = "fs.inotify.max_user_watches"
IP_FORWARD = "net.ipv4.ip_forward"
SETTINGS = (INOTIFY_INSTANCES, INOTIFY_WATCHES, IP_FORWARD)

# The first kubelet that knows failCgroupV1, and so can be told to start on cgroup v1.
KNOWS_FAIL_CGROUP_V1 = 31

KUBELET_ON_CGROUP_V1 = "kind: KubeletConfiguration\nfailCgroupV1: false\n"
# Without CAP_SYS_RESOURCE a process may not lower its oom_score_adj, and no sandbox starts.
CONTAINERD_KEEPS_OOM_SCORE = (
    '[plugins."io.containerd.grpc.v1.cri"]\n  restrict_oom_score_adj = true\n'
)

PROBE = (
    "cat /proc/self/status /proc/meminfo; "
    'for s in "$@"; do echo "$s: $(cat "/proc/sys/$(echo "$s" | tr . /)")"; done; '
    "echo \"DiskFree: $(df -Pk / | awk 'END { print $4 }') kB\"; "
    "[ ! -e /proc/net/ip_vs ] || echo 'IPVS: yes'"
)


@dataclass(frozen=True)
class HostFacts:
    """What was found on the engine's machine; None where it could not be seen.

    Attributes:
        source: where it was read: `this machine`, or a container.
        settings: kernel settings by sysctl name.
        sys_resource: whether privileged containers get CAP_SYS_RESOURCE.
        memory: bytes available.
        disk: bytes free where the engine keeps images and containers.
        ipvs: whether kube-proxy can use IPVS.
        local: whether kt can change the settings.
    """

    source: str
    settings: Mapping[str, int]
    sys_resource: bool | None = None
    memory: int | None = None
    disk: int | None = None
    ipvs: bool | None = None
    local: bool = False


@dataclass(frozen=True)
class Peculiarity:
    """Something about the host that nodes must be told.

    Attributes:
        says: what was found, for people.
        kubeadm: patch to kubeadm's configuration, or "".
        containerd: patch to containerd's configuration, or "".
    """

    says: str
    kubeadm: str = ""
    containerd: str = ""


def is_local(engine: EngineFacts) -> bool:
    """Whether the engine runs on kt's own machine, under the same kernel."""
    return engine.kernel == os.uname().release and engine.host == socket.gethostname()


def look(
    engine: Engine, facts: EngineFacts, image: str | None, root: Path = Path("/")
) -> HostFacts:
    """See what the machine is like.

    Args:
        engine: docker.
        facts: what it told of itself.
        image: an image with a shell that the engine has, to look through if it runs elsewhere;
            None leaves most unseen in that case.
        root: this machine's root folder (a test has its own).
    """
    if is_local(facts):
        return _here(root, facts)
    if image is None:
        return HostFacts("docker info", {IP_FORWARD: int(facts.forwarding)})
    probe = ["run", "--rm", "--privileged", "--network=none", "--pull=never", "--entrypoint=sh"]
    done = engine.run([*probe, image, "-c", PROBE, "kt-probe", *SETTINGS], timeout=60, check=False)
    if done.code != 0:
        return HostFacts("docker info", {IP_FORWARD: int(facts.forwarding)})
    return parse(done.text, f"a container of {image}")


def peculiarities(
    engine: EngineFacts, host: HostFacts, minor: int | None
) -> tuple[Peculiarity, ...]:
    """What nodes must be told on this host.

    Args:
        engine: for the cgroup version.
        host: for the capability.
        minor: the kubelet's minor version, None if unknown.
    """
    found = []
    if engine.cgroup_version == 1 and (minor is None or minor >= KNOWS_FAIL_CGROUP_V1):
        says = "the host has cgroup v1: the kubelets are told to accept it"
        found.append(Peculiarity(says, kubeadm=KUBELET_ON_CGROUP_V1))
    if host.sys_resource is False:
        says = "the host lacks CAP_SYS_RESOURCE: containerd is told to leave OOM scores alone"
        found.append(Peculiarity(says, containerd=CONTAINERD_KEEPS_OOM_SCORE))
    return tuple(found)


def parse(text: str, source: str, *, local: bool = False) -> HostFacts:
    """Read `name: value` lines as the kernel's status files and PROBE write them."""
    pairs = dict(re.findall(r"^([\w.]+):[ \t]*(\w+)", text, re.MULTILINE))
    return HostFacts(
        source,
        {name: int(pairs[name]) for name in SETTINGS if name in pairs},
        bool(int(pairs["CapBnd"], 16) & SYS_RESOURCE) if "CapBnd" in pairs else None,
        int(pairs["MemAvailable"]) * 1024 if "MemAvailable" in pairs else None,
        int(pairs["DiskFree"]) * 1024 if pairs.get("DiskFree") else None,
        "IPVS" in pairs or None,  # not loaded yet is no proof that it cannot be
        local,
    )


def _here(root: Path, engine: EngineFacts) -> HostFacts:
    # Process 1 has what the machine gave to systemd, and so to the engine: its bounding set.
    lines = [_text(root / name) for name in ("proc/1/status", "proc/meminfo")]
    lines += [
        f"{setting}: {_text(root / 'proc/sys' / setting.replace('.', '/'))}" for setting in SETTINGS
    ]
    data = root / engine.root.lstrip("/")
    if data.exists():
        lines.append(f"DiskFree: {shutil.disk_usage(data).free // 1024}")
    found = parse("\n".join(lines), "this machine", local=True)
    modules = root / "lib/modules" / engine.kernel
    names = _text(modules / "modules.dep") + _text(modules / "modules.builtin")
    ipvs = (root / "proc/net/ip_vs").exists() or "/ip_vs.ko" in names
    return HostFacts(
        found.source,
        found.settings,
        found.sys_resource,
        found.memory,
        found.disk,
        ipvs,
        local=True,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
