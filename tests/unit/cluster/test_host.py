from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.cluster import host, settings
from kops_toolkit.cluster.engine import Engine, EngineFacts
from tests.fakes.docker import FakeDocker

if TYPE_CHECKING:
    from pathlib import Path

SEEN = """\
Name:\tsh
CapInh:\t0000000000000000
CapBnd:\t000001fffeffffff
MemAvailable:    2048 kB
fs.inotify.max_user_instances: 128
fs.inotify.max_user_watches: 524288
net.ipv4.ip_forward: 0
DiskFree: 1024 kB
"""


@pytest.fixture
def docker() -> FakeDocker:
    return FakeDocker()


@pytest.fixture
def facts(docker: FakeDocker) -> EngineFacts:
    return Engine(docker).facts()


def test_what_a_probe_writes_is_understood() -> None:
    found = host.parse(SEEN, "a container")
    assert found.sys_resource is False
    assert found.settings == {
        "fs.inotify.max_user_instances": 128,
        "fs.inotify.max_user_watches": 524288,
        "net.ipv4.ip_forward": 0,
    }
    assert (found.memory, found.disk, found.local) == (2048 * 1024, 1024 * 1024, False)


def test_a_full_bounding_set_has_the_capability() -> None:
    assert host.parse("CapBnd:\t000001ffffffffff\n", "x").sys_resource is True
    assert host.parse("", "x").sys_resource is None


def test_an_engine_elsewhere_is_looked_at_through_a_container(
    docker: FakeDocker, facts: EngineFacts
) -> None:
    docker.answer("docker", "run", out=SEEN)
    found = host.look(Engine(docker), facts, "kt/node:v1.37.2")
    assert found.source == "a container of kt/node:v1.37.2"
    assert found.sys_resource is False
    assert "--privileged" in docker.calls[-1]


def test_an_engine_elsewhere_without_an_image_tells_little(
    docker: FakeDocker, facts: EngineFacts
) -> None:
    found = host.look(Engine(docker), facts, None)
    assert found.sys_resource is None
    assert found.settings == {"net.ipv4.ip_forward": 1}


def test_an_image_without_a_shell_tells_little(docker: FakeDocker, facts: EngineFacts) -> None:
    docker.answer("docker", "run", err="executable file not found", code=127)
    assert host.look(Engine(docker), facts, "pause").sys_resource is None


def test_this_machine_is_read_directly(tmp_path: Path, facts: EngineFacts) -> None:
    _machine(tmp_path, instances=128)
    here = replace(facts, kernel=os.uname().release, host=socket.gethostname(), root="/data")
    assert host.is_local(here)
    assert not host.is_local(facts)
    found = host.look(Engine(FakeDocker()), here, None, tmp_path)
    assert found.local
    assert found.sys_resource is False
    assert found.settings["fs.inotify.max_user_instances"] == 128
    assert found.disk is not None
    assert found.ipvs is False


def _machine(root: Path, *, instances: int) -> None:
    (root / "proc/1").mkdir(parents=True)
    (root / "proc/1/status").write_text("CapBnd:\t000001fffeffffff\n")
    (root / "proc/meminfo").write_text("MemAvailable:  100 kB\n")
    for name, value in (("fs/inotify/max_user_instances", instances), ("net/ipv4/ip_forward", 0)):
        path = root / "proc/sys" / name
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    (root / "data").mkdir()


@pytest.mark.parametrize(
    ("version", "capable", "minor", "kubeadm", "containerd"),
    [
        (2, True, 37, False, False),
        (1, True, 37, True, False),
        (1, True, None, True, False),
        (1, True, 30, False, False),
        (2, False, 37, False, True),
        (1, False, 37, True, True),
        (2, None, 37, False, False),
    ],
)
def test_peculiarities(
    *,
    facts: EngineFacts,
    version: int,
    capable: bool | None,
    minor: int | None,
    kubeadm: bool,
    containerd: bool,
) -> None:
    seen = host.HostFacts("x", {}, sys_resource=capable)
    found = host.peculiarities(replace(facts, cgroup_version=version), seen, minor)
    assert any("failCgroupV1: false" in item.kubeadm for item in found) is kubeadm
    assert any("restrict_oom_score_adj" in item.containerd for item in found) is containerd
    assert all(item.says for item in found)


def test_only_what_is_too_low_is_raised_and_told(tmp_path: Path) -> None:
    _machine(tmp_path, instances=4096)
    seen = host.HostFacts("x", {host.INOTIFY_INSTANCES: 4096, host.IP_FORWARD: 0}, local=True)
    changed, refused = settings.raise_all(Engine(FakeDocker()), seen, None, tmp_path)
    assert changed == {host.IP_FORWARD: (0, 1)}
    assert not refused
    assert (tmp_path / "proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
    assert (tmp_path / "proc/sys/fs/inotify/max_user_instances").read_text() == "4096\n"


def test_what_cannot_be_raised_is_told(tmp_path: Path) -> None:
    seen = host.HostFacts("x", {host.IP_FORWARD: 0}, local=True)
    changed, refused = settings.raise_all(Engine(FakeDocker()), seen, None, tmp_path)
    assert not changed
    assert "could not be changed" in refused[host.IP_FORWARD]


def test_elsewhere_it_is_raised_through_a_container(docker: FakeDocker) -> None:
    docker.answer("docker", "run")
    seen = host.HostFacts("x", {host.INOTIFY_INSTANCES: 128})
    changed, _ = settings.raise_all(Engine(docker), seen, "img")
    assert changed == {host.INOTIFY_INSTANCES: (128, 1024)}
    assert docker.calls[-1][-1] == "echo 1024 > /proc/sys/fs/inotify/max_user_instances"
    _, refused = settings.raise_all(Engine(docker), seen, None)
    assert "no image" in refused[host.INOTIFY_INSTANCES]
