"""Restores a snapshot on a node while the cluster still serves: into staging, and no further."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from kops_toolkit.errors import ArtefactInvalidError, NoSpaceError, ToolFailedError
from kops_toolkit.system.process import close_pipes

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.node import Node
    from kops_toolkit.etcd.facts import SnapshotFacts
    from kops_toolkit.etcd.restore.plan import Place, Plan
    from kops_toolkit.system.process import Completed
    from kops_toolkit.system.progress import Progress

BLOCK = 1 << 20  # bytes handed to the node at a time
RATE = 5_000_000  # bytes a second that even a slow disk restores
GRACE = 60.0  # seconds beyond that
UNHASHED = 32  # bytes of the trailer, which its own sha256 leaves out

# $1: the run's folder, $2: the copy's name in it.
RECEIVE = 'umask 077; mkdir -p -m 700 "$1"; cat > "$1/$2"; sync "$1/$2"; stat -c %s "$1/$2"'
# $1: the copy, $2: bytes that count.
HASH = 'head -c "$2" "$1" | sha256sum | cut -d" " -f1'
# $1: the run's folder. Killed together with kt, ctr would have left its container behind.
REMOVE = """
run="$1"; name="kt-restore-$(basename "$run")"
ctr -n k8s.io tasks kill -s KILL "$name" >/dev/null 2>&1
ctr -n k8s.io tasks rm -f "$name" >/dev/null 2>&1
ctr -n k8s.io containers rm "$name" >/dev/null 2>&1
[ -d "$run" ] || exit 0
set -e
rm -rf -- "$run/snapshot.db" "$run/staged"
[ -e "$run/old" ] || [ -e "$run/undone" ] || rm -rf -- "$run"
"""
# etcdutl writes with fsync, but makes folders without.
SYNC = 'chmod 700 "$1/member"; find "$1" -exec sync {} +; rm -f -- "$2"'


def copy(node: Node, place: Place, path: Path, facts: SnapshotFacts, progress: Progress) -> str:
    """Stream the snapshot to its node; returns the sha256 that the node computed.

    Raises:
        NoSpaceError: the node's disk is full.
        ArtefactInvalidError: what arrived is not what was sent.
    """
    running = node.start(
        ["sh", "-c", RECEIVE, "kt-receive", place.run, posixpath.basename(place.copy)]
    )
    sent = 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                if running.stdin is None:
                    break
                running.stdin.write(block)
                sent += len(block)
                progress.amount(sent, facts.file_size, "bytes")
        if running.stdin:
            running.stdin.close()
    except BrokenPipeError:
        pass  # the node's end says why
    said = running.stderr.read().decode("utf-8", "replace").strip() if running.stderr else ""
    code = running.wait()
    close_pipes(running)
    if "No space left" in said:
        raise NoSpaceError(f"the disk of {node.name} became full; nothing was changed")
    if code != 0:
        raise ToolFailedError(f"the snapshot could not be copied to {node.name}: {said}")
    return _compare(node, place, facts)


def _compare(node: Node, place: Place, facts: SnapshotFacts) -> str:
    counted = facts.file_size - (UNHASHED if facts.sealed else 0)
    timeout = GRACE + facts.file_size / RATE
    argv = ["sh", "-c", HASH, "kt-hash", place.copy, str(counted)]
    sha256 = node.run(argv, timeout=timeout).text.strip()
    if sha256 != facts.sha256:
        raise ArtefactInvalidError(
            f"the copy on {node.name} has sha256 {sha256}, the snapshot has {facts.sha256}",
            "was the file changed meanwhile? nothing was touched yet",
        )
    return sha256


def restore(node: Node, place: Place, plan: Plan) -> None:
    """Let the member's own etcdutl restore the copy into staging; the copy goes then.

    Raises:
        ToolFailedError: etcdutl failed; its last words are in the message.
        NoSpaceError: the node's disk became full.
    """
    timeout = GRACE + plan.facts.file_size / RATE
    done = node.run(command(place, plan), timeout=timeout, check=False)
    if done.code != 0:
        raise _failed(node, done)
    node.run(["sh", "-c", SYNC, "kt-sync", place.staged, place.copy], timeout=timeout)


def command(place: Place, plan: Plan) -> tuple[str, ...]:
    """How etcdutl is started on the node, outside Kubernetes, which need not know of it."""
    run = ("ctr", "-n", "k8s.io", "run", "--rm")
    mount = f"type=bind,src={place.run},dst={place.run},options=rbind:rw"
    name = f"kt-restore-{posixpath.basename(place.run)}"
    trailer = () if plan.facts.sealed else ("--skip-hash-check",)
    return (
        *(*run, "--mount", mount, place.image, name),
        *("etcdutl", "snapshot", "restore", place.copy, "--data-dir", place.staged),
        *("--name", place.member, "--initial-advertise-peer-urls", place.peer_urls),
        *("--initial-cluster", place.initial_cluster, "--initial-cluster-token", plan.run),
        *("--bump-revision", str(plan.bump), "--mark-compacted", *trailer),
    )


def remove(node: Node, run: str) -> None:
    """Remove a restore's leftovers from a node: the copy, and what was staged."""
    node.run(["sh", "-c", REMOVE, "kt-remove", run])


def _failed(node: Node, done: Completed) -> ToolFailedError | NoSpaceError:
    said = done.err.decode("utf-8", "replace").strip().splitlines()
    if any("no space left" in line.lower() for line in said):
        return NoSpaceError(f"the disk of {node.name} became full; nothing was changed")
    errors = [line for line in said if line.startswith(("Error", "ctr:", "panic"))] or said[-1:]
    why = errors[0] if errors else f"it ended with {done.code}"
    return ToolFailedError(f"on {node.name} etcdutl did not restore the snapshot: {why}")
