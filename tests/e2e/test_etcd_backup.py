"""Backups of real etcd members, judged by etcd's own tools."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.errors import NoSpaceError, UnreachableError
from kops_toolkit.etcd import sidecar
from kops_toolkit.etcd.backup import Backups
from kops_toolkit.etcd.client import Client
from kops_toolkit.etcd.verify import verify
from kops_toolkit.outcome import Status
from kops_toolkit.system.clock import SystemClock
from kops_toolkit.system.process import SystemProcesses, close_pipes
from kops_toolkit.system.progress import Silent
from tests.fakes.scratch_etcd import ScratchEtcd, scratch_etcd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kops_toolkit.etcd.facts import SnapshotFacts
    from kops_toolkit.etcd.messages import KvHash, MemberStatus
    from kops_toolkit.system.process import Completed

    Run = Callable[..., Completed]

MEGABYTE = 1 << 20


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[ScratchEtcd]:
    with scratch_etcd(tmp_path / "etcd") as found:
        yield found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def tool(name: str, *argv: str, at: ScratchEtcd | None = None) -> Any:  # noqa: ANN401 - JSON
    endpoint = [f"--endpoints={at.endpoint.target}"] if at else []
    done = SystemProcesses().run([name, *endpoint, *argv, "-w", "json"])
    return json.loads(done.out)


def etcdctl(etcd: ScratchEtcd, *argv: str) -> Any:  # noqa: ANN401 - JSON
    return tool("etcdctl", *argv, at=etcd)


def history(etcd: ScratchEtcd) -> None:
    """Changes, deletions, a re-created key, a lease, a transaction, compactions on a tombstone."""
    etcd.fill(300, 200)
    etcd.fill(100, 300)
    etcdctl(etcd, "del", "--prefix", "/registry/secrets/default/s000002")
    etcd.fill(25, 20000)
    lease = f"{etcdctl(etcd, 'lease', 'grant', '600')['ID']:x}"
    etcdctl(etcd, "put", f"--lease={lease}", "/registry/events/default/e", "v")
    etcdctl(etcd, "put", "/registry/pods/default/p", "v")
    gone = etcdctl(etcd, "del", "/registry/pods/default/p")["header"]["revision"]
    SystemProcesses().run(
        ["etcdctl", f"--endpoints={etcd.endpoint.target}", "compact", "--physical", str(gone)]
    )
    etcdctl(etcd, "put", "/registry/secrets/default/s0000001", "changed")


def agrees_with_etcdutl(facts: SnapshotFacts, path: Path) -> None:
    status = tool("etcdutl", "snapshot", "status", str(path))
    assert status["hash"] == facts.hash
    assert status["revision"] == facts.revision
    assert status["totalKey"] == facts.keys + facts.placeholders
    assert status["totalSize"] == facts.db_size
    assert status["version"] == facts.storage_version


def facts_of(path: Path) -> SnapshotFacts:
    return verify(path, clock=SystemClock()).require()


def test_a_backup_is_what_etcds_own_tools_say(kt: Run, etcd: ScratchEtcd, out: Path) -> None:
    history(etcd)
    path = out / "it.db"
    done = kt("etcd", "backup", "--endpoint", etcd.endpoint.url, "-o", str(path))
    assert done.text.strip() == str(path)
    facts = facts_of(path)
    agrees_with_etcdutl(facts, path)
    told = etcdctl(etcd, "endpoint", "hashkv")[0]["HashKV"]
    assert (told["hash"], told["compact_revision"]) == (facts.hash_kv, facts.compact_revision)
    assert facts.compact_revision > 0
    assert facts.tombstones > 0
    assert {file.name for file in out.iterdir()} == {"it.db", "it.db.json"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(etcd.folder.rglob("*.part")) == []


def test_the_json_report(kt: Run, etcd: ScratchEtcd, out: Path) -> None:
    path = out / "it.db"
    backup = json.loads(
        kt("etcd", "backup", "--endpoint", etcd.endpoint.url, "-o", str(path), "--json").out
    )
    verified = json.loads(kt("etcd", "verify", str(path), "-o", "json").out)
    assert {check["status"] for check in backup["checks"] + verified["checks"]} == {"passed"}
    for key in ("sha256", "revision", "hash", "hash_kv", "keys", "members"):
        assert backup["facts"][key] == verified["facts"][key]


def test_a_file_of_etcdctl_verifies(kt: Run, etcd: ScratchEtcd, out: Path) -> None:
    history(etcd)
    path = out / "theirs.db"
    SystemProcesses().run(
        ["etcdctl", f"--endpoints={etcd.endpoint.target}", "snapshot", "save", str(path)]
    )
    kt("etcd", "verify", str(path))
    agrees_with_etcdutl(facts_of(path), path)


def test_a_restored_and_bumped_copy(kt: Run, etcd: ScratchEtcd, out: Path) -> None:
    """What is read of a restored file is what an etcd started on it says of itself."""
    history(etcd)
    kt("etcd", "backup", "--endpoint", etcd.endpoint.url, "-o", str(out / "it.db"))
    before = facts_of(out / "it.db")
    restored = out / "restored"
    SystemProcesses().run(
        [
            *("etcdutl", "snapshot", "restore", str(out / "it.db"), "--data-dir", str(restored)),
            *("--bump-revision", "1000000", "--mark-compacted"),
        ]
    )
    after = facts_of(restored / "member" / "snap" / "db")
    assert after.revision == after.compact_revision == before.revision + 1_000_000
    assert (after.keys, after.placeholders, after.sealed) == (before.keys, 1, False)
    assert after.resources == before.resources
    with scratch_etcd(restored) as started, Client(started.endpoint) as client:
        told = client.hash_kv(after.revision)
    assert (told.hash, told.compact_revision) == (after.hash_kv, after.compact_revision)


def test_an_etcd_that_never_held_a_key(kt: Run, etcd: ScratchEtcd, out: Path) -> None:
    path = out / "it.db"
    kt("etcd", "backup", "--endpoint", etcd.endpoint.url, "-o", str(path))
    facts = facts_of(path)
    assert facts.keys == 0
    agrees_with_etcdutl(facts, path)


class After(Silent):
    """Does something once that many bytes have come."""

    def __init__(self, size: int, act: Callable[[], None]) -> None:
        self.size = size
        self.act: Callable[[], None] | None = act

    def amount(self, done: int, total: int | None, unit: str) -> None:  # noqa: ARG002 - Progress
        if self.act and done >= self.size:
            act, self.act = self.act, None
            act()


def take(etcd: ScratchEtcd, path: Path, progress: Silent) -> None:
    with Client(etcd.endpoint) as client:
        Backups(SystemClock(), progress).take(client, path, origin=etcd.endpoint.url)


def test_a_member_that_dies_in_mid_stream(etcd: ScratchEtcd, out: Path) -> None:
    etcd.fill(2000, 30_000)
    with pytest.raises(UnreachableError, match=r"broke after .* nothing was left under it\.db"):
        take(etcd, out / "it.db", After(5 * MEGABYTE, etcd.kill))
    assert list(out.iterdir()) == []


def test_a_member_that_goes_silent_in_mid_stream(etcd: ScratchEtcd, out: Path) -> None:
    """The connection stays open: only unanswered pings tell."""
    etcd.fill(2000, 30_000)
    with pytest.raises(UnreachableError, match="went silent"):
        take(etcd, out / "it.db", After(5 * MEGABYTE, etcd.stop))
    assert list(out.iterdir()) == []


class Modest(Client):
    """Says that its snapshot is small, so that the disk is full only in mid-stream."""

    def status(self) -> MemberStatus:
        from dataclasses import replace

        return replace(super().status(), db_size=0)

    def hash_kv(self, revision: int = 0) -> KvHash:
        pytest.fail(f"nothing came that could be compared at {revision}")


def test_a_disk_that_becomes_full(etcd: ScratchEtcd, out: Path) -> None:
    etcd.fill(1000, 30_000)
    run = SystemProcesses().run
    run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(out)])
    try:
        with Modest(etcd.endpoint) as client, pytest.raises(NoSpaceError, match="is full"):
            Backups(SystemClock(), Silent()).take(client, out / "it.db", origin="here")
        assert list(out.iterdir()) == []
    finally:
        run(["umount", str(out)])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_killed_backup_leaves_nothing_under_its_name(
    etcd: ScratchEtcd, out: Path, number: signal.Signals, code: int
) -> None:
    etcd.fill(4000, 30_000)
    argv = ["etcd", "backup", "--endpoint", etcd.endpoint.url, "-o", str(out / "it.db")]
    running = SystemProcesses().start([sys.executable, "-m", "kops_toolkit", *argv])
    assert running.stderr
    while b"streaming" not in running.stderr.readline():
        assert running.poll() is None
    os.kill(running.pid, number)
    assert running.wait(20) == code
    close_pipes(running)
    left = {path.name for path in out.iterdir()}
    assert all(name.startswith(".") and name.endswith(".part") for name in left)
    assert number is signal.SIGKILL or not left


@pytest.mark.parametrize("way", ["direct", "tunnel"])
def test_the_member_of_a_cluster(
    kt: Run, cluster: str, kubeconfig: Path, out: Path, way: str
) -> None:
    path = out / "it.db"
    tunnel = {"KT_ETCD_TUNNEL": "1"} if way == "tunnel" else {}
    done = kt("etcd", "backup", "--cluster", cluster, "-o", str(path), **tunnel)
    assert ("through a tunnel" in done.err.decode()) == (way == "tunnel")
    verified = verify(path, clock=SystemClock())
    assert {check.status for check in verified.report.checks} == {Status.PASSED}
    facts = verified.require()
    agrees_with_etcdutl(facts, path)
    uid = SystemProcesses().run(
        [
            *("kubectl", "--kubeconfig", str(kubeconfig), "get", "namespace", "kube-system"),
            *("-o", "jsonpath={.metadata.uid}"),
        ]
    )
    assert facts.kube_system_uid == uid.text
    assert facts.resources["nodes"] == 3
    content = sidecar.load(path)
    assert content is not None
    assert content["member_name"] == f"{cluster}-control-plane"


def test_a_cluster_whose_certificates_we_do_not_have(kt: Run, cluster: str, out: Path) -> None:
    node = SystemProcesses().run(
        [
            *("docker", "inspect", f"{cluster}-control-plane"),
            *("-f", "{{.NetworkSettings.Networks.kind.IPAddress}}"),
        ]
    )
    url = f"https://{node.text.strip()}:2379"
    ca = out / "ca.crt"
    read = ["docker", "exec", f"{cluster}-control-plane", "cat"]
    ca.write_bytes(SystemProcesses().run([*read, "/etc/kubernetes/pki/etcd/ca.crt"]).out)
    target = ["etcd", "backup", "--endpoint", url, "-o", str(out / "it.db"), "--cacert", str(ca)]
    done = kt(*target, check=False)
    assert done.code == 4
    assert "broke off the TLS handshake" in done.err.decode()
    ca.write_bytes(SystemProcesses().run([*read, "/etc/kubernetes/pki/ca.crt"]).out)
    done = kt(*target, check=False)
    assert done.code == 4
    assert "is not signed by the given CA" in done.err.decode()
    assert [path.name for path in out.iterdir()] == ["ca.crt"]
