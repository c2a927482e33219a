from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kops_toolkit.cluster.doctor import examine
from kops_toolkit.cluster.engine import Engine
from kops_toolkit.cluster.image import VARIABLE
from kops_toolkit.cluster.kind import Kind
from kops_toolkit.errors import TimedOutError
from kops_toolkit.outcome import Check, Status
from tests.fakes.clock import FakeClock
from tests.fakes.docker import FakeDocker

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.outcome import Report

FIT = """\
CapBnd:\t000001ffffffffff
MemAvailable: 16000000 kB
fs.inotify.max_user_instances: 1024
fs.inotify.max_user_watches: 524288
net.ipv4.ip_forward: 1
DiskFree: 90000000 kB
"""


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    monkeypatch.delenv(VARIABLE, raising=False)
    fake = FakeDocker()
    fake.images = ["kt/node:v1.37.2"]
    fake.answer("docker", "run", out=FIT)
    fake.answer("/usr/bin/kind", "version", out="kind v0.33.0 go1.26 linux/amd64\n")
    return fake


def _examine(docker: FakeDocker, state: Path, *, fix: bool = False) -> Report:
    return examine(Engine(docker), Kind(docker, "kind"), state, FakeClock(), fix=fix)


def _check(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def test_a_fit_machine_passes_every_check(docker: FakeDocker, tmp_path: Path) -> None:
    report = _examine(docker, tmp_path)
    assert {check.status for check in report.checks} == {Status.PASSED}
    assert len(report.checks) >= 13
    names = [check.name for check in report.checks]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ("fs.inotify.max_user_instances: 128", "inotify-max-user-instances"),
        ("net.ipv4.ip_forward: 0", "ipv4-ip-forward"),
        ("MemAvailable: 500000 kB", "memory"),
        ("DiskFree: 1000000 kB", "disk"),
    ],
)
def test_what_is_needed_and_missing_fails_with_evidence_and_mending(
    docker: FakeDocker, tmp_path: Path, found: str, name: str
) -> None:
    _runs(docker, FIT + found + "\n")
    report = _examine(docker, tmp_path)
    check = _check(report, name)
    assert check.status is Status.FAILED
    assert check.reason
    assert check.evidence[0].expected
    assert check.evidence[0].observed != check.evidence[0].expected
    assert report.status is Status.FAILED
    others = [other.name for other in report.checks if other.status is not Status.PASSED]
    assert others == [name]


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ("fs.inotify.max_user_watches: 8192", "inotify-max-user-watches"),
        ("CapBnd: 000001fffeffffff", "sys-resource"),
        ("MemAvailable: 2500000 kB", "memory"),
        ("DiskFree: 9000000 kB", "disk"),
    ],
)
def test_what_is_only_advised_is_told_and_does_not_fail(
    docker: FakeDocker, tmp_path: Path, found: str, name: str
) -> None:
    _runs(docker, FIT + found + "\n")
    report = _examine(docker, tmp_path)
    check = _check(report, name)
    assert check.status is Status.SKIPPED
    assert check.reason.startswith("advised, not needed")
    assert report.status is Status.PASSED


def _runs(docker: FakeDocker, out: str) -> None:
    docker.answer("docker", "run", "--rm", out=out)


def test_without_an_engine_the_rest_is_not_judged(docker: FakeDocker, tmp_path: Path) -> None:
    docker.programs = {}
    report = _examine(docker, tmp_path)
    assert _check(report, "engine").status is Status.FAILED
    assert "install Docker" in _check(report, "engine").reason
    assert _check(report, "kind").status is Status.FAILED
    assert _check(report, "host").status is Status.ABORTED


@pytest.mark.parametrize(
    ("version", "status"), [("20.9.1", "failed"), ("29.1", "passed"), ("dev", "passed")]
)
def test_engine_version(docker: FakeDocker, tmp_path: Path, version: str, status: str) -> None:
    docker.info["ServerVersion"] = version
    assert _check(_examine(docker, tmp_path), "engine").status.value == status


def test_an_old_kind_fails(docker: FakeDocker, tmp_path: Path) -> None:
    docker.answer("/usr/bin/kind", "version", out="kind v0.33.0")
    fake = Kind(docker, "old-kind")
    docker.programs["old-kind"] = "/usr/bin/old-kind"
    docker.answer("/usr/bin/old-kind", "version", out="kind v0.11.1 go1.16\n")
    report = examine(Engine(docker), fake, tmp_path, FakeClock())
    assert _check(report, "kind").status is Status.FAILED
    assert "0.11.1" in _check(report, "kind").evidence[0].observed


def test_one_processor_is_told(docker: FakeDocker, tmp_path: Path) -> None:
    docker.info["NCPU"] = 1
    report = _examine(docker, tmp_path)
    assert _check(report, "cpus").reason.startswith("advised, not needed: 2 or more")
    assert report.status is Status.PASSED


def test_missing_limits_fail(docker: FakeDocker, tmp_path: Path) -> None:
    docker.info["MemoryLimit"] = False
    check = _check(_examine(docker, tmp_path), "cgroups")
    assert check.status is Status.FAILED
    assert "memory missing" in check.evidence[0].observed


def test_an_engine_that_refuses_privileges_fails(docker: FakeDocker, tmp_path: Path) -> None:
    argv = ("docker", "run", "--rm", "--privileged", "--network=none", "--pull=never")
    docker.answer(*argv, "--entrypoint=true", err="unable to apply caps", code=126)
    check = _check(_examine(docker, tmp_path), "privileged")
    assert check.status is Status.FAILED
    assert check.evidence[0].observed == "unable to apply caps"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("manifest unknown", Status.PASSED),
        ("lookup: no such host", Status.FAILED),
        (None, Status.FAILED),
    ],
)
def test_without_a_node_image_a_registry_is_asked(
    docker: FakeDocker, tmp_path: Path, said: str | None, status: Status
) -> None:
    docker.images = []
    if said is None:
        docker.breaks("docker", "pull", error=TimedOutError("3 s"))
    else:
        docker.answer("docker", "pull", err=said, code=1)
    report = _examine(docker, tmp_path)
    assert _check(report, "node-image").status is status
    assert _check(report, "privileged").status is Status.SKIPPED
    assert _check(report, "inotify-max-user-instances").status is Status.SKIPPED


def test_fix_raises_what_is_too_low_and_tells_from_what(docker: FakeDocker, tmp_path: Path) -> None:
    first = FIT + "fs.inotify.max_user_instances: 128\n"
    docker.answer("docker", "run", "--rm", "--privileged", "--network=none", out=first)
    docker.answer("docker", "run", "--rm", "--privileged", "--network=none", out=FIT)
    docker.answer("docker", "run", "--rm", "--privileged", "--network=host")
    report = _examine(docker, tmp_path, fix=True)
    check = _check(report, "inotify-max-user-instances")
    assert check.status is Status.PASSED
    assert "was 128" in check.evidence[0].observed
    assert report.facts["changed"] == {"fs.inotify.max_user_instances": [128, 1024]}


def test_without_fix_nothing_is_changed(docker: FakeDocker, tmp_path: Path) -> None:
    _runs(docker, FIT + "fs.inotify.max_user_instances: 128\n")
    _examine(docker, tmp_path)
    assert not [call for call in docker.calls if "--network=host" in call]


def test_a_state_folder_that_cannot_be_written_fails(docker: FakeDocker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check = _check(_examine(docker, tmp_path / "file"), "state-folder")
    assert check.status is Status.FAILED
    assert "KT_STATE_DIR" in check.reason
