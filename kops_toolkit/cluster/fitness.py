"""The single checks of `kt doctor`, each a function from what was gathered to a verdict.

What is needed fails; what is only advised never does: it is told as skipped, with the advice.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.cluster import host, image, settings
from kops_toolkit.cluster import kind as kinds
from kops_toolkit.errors import KtError, TimedOutError
from kops_toolkit.outcome import Check, Evidence, Status
from kops_toolkit.system.lock import alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kops_toolkit.cluster.engine import Engine, EngineFacts
    from kops_toolkit.cluster.kind import Kind

ENGINE = "A container engine answers"
GIB = 1 << 30
ENGINE_LEAST = (20, 10)  # the first that knows cgroup v2 and cgroup namespaces
MEMORY_NEEDED, MEMORY_ADVISED = 1 * GIB, 4 * GIB  # a control plane takes 0.6, a worker 0.2
DISK_NEEDED, DISK_ADVISED = 3 * GIB, 15 * GIB  # a node image takes 1.3, a few clusters the rest
CPUS_ADVISED = 2  # what kubeadm asks of a control plane
PORTS = 5  # loopback ports: one a cluster, a few for what tests publish
REGISTRY_WITHIN = 3.0  # seconds
# No such tag: the registry says so without sending anything, and that is answer enough.
NO_SUCH_IMAGE = "docker.io/kindest/node:kt-doctor-asks-whether-you-are-there"


@dataclass(frozen=True)
class Machine:
    """All that the checks look at, gathered once.

    Attributes:
        engine: docker.
        facts: what it told of itself.
        host: what its machine is like.
        image: an image to try things with, None if there is none.
        node_image: whether that is a node image.
        changed: kernel settings that `--fix` changed, from what to what.
        refused: why a setting could not be changed, by its name.
    """

    engine: Engine
    facts: EngineFacts
    host: host.HostFacts
    image: str | None
    node_image: bool
    changed: dict[str, tuple[int, int]]
    refused: dict[str, str]


def judge_engine(machine: Machine) -> Check:
    """The engine answers (or nothing would have been gathered) and is new enough."""
    version = machine.facts.version
    found = re.match(r"(\d+)\.(\d+)", version)
    return _judge(
        "engine",
        ENGINE,
        expected="Docker " + ".".join(map(str, ENGINE_LEAST)) + " or newer",
        observed=f"{version} on {machine.facts.system}"
        + ("" if found else " (a development build)"),
        ok=found is None or (int(found[1]), int(found[2])) >= ENGINE_LEAST,
        source="docker info",
        mend="upgrade Docker",
    )


def judge_kind(kind: Kind) -> Check:
    """There is a kind, new enough."""
    least = ".".join(map(str, kinds.LEAST))
    title, expected, mend = "kind is installed", f"kind {least} or newer", f"install kind {least}"
    try:
        version = kind.version()
    except KtError as error:
        return _judge(
            "kind",
            title,
            expected=expected,
            observed=error.message,
            ok=False,
            source="PATH",
            mend=error.hint or mend,
        )
    return _judge(
        "kind",
        title,
        expected=expected,
        observed="kind " + ".".join(map(str, version)),
        ok=version >= kinds.LEAST,
        source="kind version",
        mend=mend,
    )


def _state(state: Path) -> Check:
    observed = f"{state} can be written and locked"
    try:
        with alone(state / ".doctor.lock", "another `kt doctor` runs just now"):
            pass
        ok = True
    except (OSError, KtError) as error:
        ok, observed = False, f"{state}: {error}"
    return _judge(
        "state-folder",
        "kt can keep what must survive it",
        expected="a folder that can be written and locked",
        observed=observed,
        ok=ok,
        source=str(state),
        mend="make it writable, or name another in KT_STATE_DIR",
    )


def _ports(state: Path) -> Check:  # noqa: ARG001 - the others look there
    listening: list[socket.socket] = []
    observed = f"{PORTS} were free at once"
    try:
        for _ in range(PORTS):
            one = socket.socket()
            listening.append(one)
            one.bind(("127.0.0.1", 0))
    except OSError as error:
        observed = f"after {len(listening) - 1}: {error.strerror}"
    finally:
        for one in listening:
            one.close()
    return _judge(
        "ports",
        "Loopback ports are free for API servers",
        expected=f"{PORTS} free ports on 127.0.0.1",
        observed=observed,
        ok=observed.endswith("at once"),
        source="bind(127.0.0.1:0)",
        mend="end what holds so many ports, or widen net.ipv4.ip_local_port_range",
    )


def _privileged(machine: Machine) -> Check:
    title, expected = "Privileged containers start", "a container with all privileges runs"
    reason = "there is no image on this machine to try it with; the first cluster will tell"
    if machine.image is None:
        return Check("privileged", title, Status.SKIPPED, (), reason)
    argv = ["run", "--rm", "--privileged", "--network=none", "--pull=never", "--entrypoint=true"]
    done = machine.engine.run([*argv, machine.image], timeout=60, check=False)
    if b"executable file not found" in done.err:  # an image of nothing but its own program
        return Check("privileged", title, Status.SKIPPED, (), reason)
    said = done.err.decode("utf-8", "replace").strip().splitlines()
    return _judge(
        "privileged",
        title,
        expected=expected,
        observed="one ran" if done.code == 0 else (said[-1] if said else f"exit {done.code}"),
        ok=done.code == 0,
        source=f"docker run --privileged {machine.image}",
        mend="let the engine run privileged containers (rootless and hardened engines may not); "
        "an engine older than 29 fails so where the host lacks a capability",
    )


def _node_image(machine: Machine) -> Check:
    title, expected = "A node image can be had", "one on this machine, or a registry that answers"
    if machine.node_image:
        observed, ok = f"{machine.image} is on this machine", True
    else:
        ok, observed = _registry(machine.engine)
    return _judge(
        "node-image",
        title,
        expected=expected,
        observed=observed,
        ok=ok,
        source="docker images" if machine.node_image else "docker pull",
        mend=f"`ci/node-image/build` builds one here; or name one you have in {image.VARIABLE}",
    )


def _registry(engine: Engine) -> tuple[bool, str]:
    """Whether a registry answers the engine (whose proxies and mirrors are what matters)."""
    try:
        done = engine.run(["pull", "--quiet", NO_SUCH_IMAGE], timeout=REGISTRY_WITHIN, check=False)
    except TimedOutError:
        return False, f"none on this machine, and no registry answered in {REGISTRY_WITHIN:.0f} s"
    said = done.err.decode("utf-8", "replace").strip()
    if "not found" in said or "manifest unknown" in said:
        return True, "a registry answers"
    return False, f"none on this machine, and no registry answers: {said[-160:]}"


def _setting(name: str, title: str, *, needed: bool = True) -> Callable[[Machine], Check]:
    least = settings.LEAST[name]
    goal = settings.GOAL[name]

    def check(machine: Machine) -> Check:
        value = machine.host.settings.get(name)
        if value is None:
            reason = "the engine runs elsewhere and there is no image to look through"
            return Check(_kebab(name), title, Status.SKIPPED, (), reason)
        observed = str(value)
        if name in machine.changed:
            observed += f" (was {machine.changed[name][0]}; raised until the next boot)"
        mend = f"`kt doctor --fix`, or `sudo sysctl -w {name}={goal}` where the engine runs"
        if why := machine.refused.get(name):
            mend = f"{why}: `sudo sysctl -w {name}={goal}` where the engine runs"
        return _judge(
            _kebab(name),
            title,
            expected=f"{least} or more",
            observed=observed,
            ok=value >= least,
            source=f"{name} on {machine.host.source}",
            mend=mend,
            needed=needed,
        )

    return check


def _limits(machine: Machine) -> Check:
    missing = machine.facts.missing_limits
    version = machine.facts.cgroup_version
    suffix = ": kt tells kubelets to accept it" if version == 1 else ""
    return _judge(
        "cgroups",
        "Control groups can limit memory, CPU and processes",
        expected="memory, CPU quota and process limits",
        observed=f"cgroup v{version}{suffix}; " + (", ".join(missing) or "nothing") + " missing",
        ok=not missing,
        source="docker info",
        mend="turn the controllers on (kernel command line: cgroup_enable=memory)",
    )


def _cpus(machine: Machine) -> Check:
    return _judge(
        "cpus",
        "Enough processors for a control plane",
        expected=f"{CPUS_ADVISED} or more",
        observed=str(machine.facts.cpus),
        ok=machine.facts.cpus >= CPUS_ADVISED,
        source="docker info",
        mend="clusters will be slow to start",
        needed=False,
    )


def _sys_resource(machine: Machine) -> Check:
    title = "Containers may lower their OOM scores"
    if machine.host.sys_resource is None:
        reason = "the engine runs elsewhere and there is no image to look through"
        return Check("sys-resource", title, Status.SKIPPED, (), reason)
    return _judge(
        "sys-resource",
        title,
        expected="CAP_SYS_RESOURCE",
        observed="there" if machine.host.sys_resource else "missing",
        ok=machine.host.sys_resource,
        source=f"capabilities of process 1 on {machine.host.source}",
        mend="nothing to do: kt tells containerd to leave the scores alone",
        needed=False,
    )


def _room(
    name: str, title: str, amount: Callable[[Machine], int | None], needed: int, advised: int
) -> Callable[[Machine], Check]:
    def check(machine: Machine) -> Check:
        found = amount(machine)
        if found is None:
            reason = "the engine runs elsewhere and there is no image to look through"
            return Check(name, title, Status.SKIPPED, (), reason)
        enough = found >= needed
        least = advised if enough else needed
        return _judge(
            name,
            title,
            expected=f"{least / GIB:.0f} GiB or more",
            observed=f"{found / GIB:.1f} GiB",
            ok=found >= advised,
            source=machine.host.source,
            mend="large clusters may not fit" if enough else "make room, or give the VM more",
            needed=not enough,
        )

    return check


HERE: tuple[Callable[[Path], Check], ...] = (_state, _ports)  # kt's own machine; the state folder
THERE: tuple[Callable[[Machine], Check], ...] = (  # the engine's machine
    _privileged,
    _node_image,
    _setting(host.INOTIFY_INSTANCES, "Enough inotify instances for several nodes"),
    _setting(host.INOTIFY_WATCHES, "Enough inotify watches for several nodes", needed=False),
    _setting(host.IP_FORWARD, "Packets are forwarded between pods"),
    _limits,
    _cpus,
    _sys_resource,
    _room(
        "memory",
        "Enough memory is available",
        lambda machine: machine.host.memory,
        MEMORY_NEEDED,
        MEMORY_ADVISED,
    ),
    _room(
        "disk",
        "Enough disk is free for images and nodes",
        lambda machine: machine.host.disk,
        DISK_NEEDED,
        DISK_ADVISED,
    ),
)


def _judge(
    name: str,
    title: str,
    *,
    expected: str,
    observed: str,
    ok: bool,
    source: str,
    mend: str,
    needed: bool = True,
) -> Check:
    evidence = (Evidence(expected, observed, source),)
    if ok:
        return Check(name, title, Status.PASSED, evidence)
    if needed:
        return Check(name, title, Status.FAILED, evidence, mend)
    advice = f"advised, not needed: {expected}; {mend}"
    return Check(name, title, Status.SKIPPED, evidence, advice)


def _kebab(setting: str) -> str:
    return setting.split(".", 1)[1].replace(".", "-").replace("_", "-")
