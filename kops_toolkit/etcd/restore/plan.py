"""What a restore is going to do, decided before anything is touched."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.etcd.facts import SnapshotFacts

FOLDER = "kt-etcd"  # beside the data directory, never inside it and never under manifests/
SLACK = 1000  # revisions beyond the live one: writes go on until the API server is stopped
UNKNOWN = 1_000_000_000  # a week at 1500 writes a second, etcd's own advice where R_live is unknown


def bump(live: int | None, snapshot: int, *, slack: int = SLACK) -> int:
    """How far to raise the snapshot's revision, so that none that was ever seen comes again.

    Args:
        live: the members' highest revision now; None if no member answers.
        snapshot: the snapshot's revision.
        slack: revisions that may still be made before the API server is stopped.
    """
    return UNKNOWN if live is None else max(live - snapshot, 0) + slack


@dataclass(frozen=True)
class Place:
    """One member that is restored, and where on its node.

    Attributes:
        node: the node's name.
        member: the member's `--name`.
        image: of its container; its own etcdutl restores.
        data_dir: its `--data-dir`.
        peer_urls: its `--initial-advertise-peer-urls`, as in the manifest.
        initial_cluster: its `--initial-cluster`, as in the manifest.
        run: the restore's folder on the node.
    """

    node: str
    member: str
    image: str
    data_dir: str
    peer_urls: str
    initial_cluster: str
    run: str

    @property
    def staged(self) -> str:
        """Data directory that etcdutl makes; its `member` is moved in."""
        return posixpath.join(self.run, "staged")

    @property
    def copy(self) -> str:
        """The snapshot on the node, while it is restored."""
        return posixpath.join(self.run, "snapshot.db")

    @property
    def old(self) -> str:
        """Where the data that was there is kept."""
        return posixpath.join(self.run, "old", "member")


def run_folder(data_dir: str, run: str) -> str:
    """The folder of one restore, or with "" of all, for a member's data directory."""
    return posixpath.join(posixpath.dirname(data_dir.rstrip("/")), FOLDER, run).rstrip("/")


@dataclass(frozen=True)
class Step:
    """One act, in words.

    Attributes:
        where: a node's name, `here`, or `every node`.
        text: what is done there.
        away: whether the API is away meanwhile.
    """

    where: str
    text: str
    away: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything that was found out, and so everything that will be done.

    Attributes:
        cluster: name of the kind cluster.
        ours: whether kt made it.
        path: the snapshot.
        facts: what it says of itself.
        run: names this restore; also the fresh `--initial-cluster-token`.
        places: the members, each on its control-plane node.
        others: names of the other nodes, whose kubelets are restarted.
        live_revision: the members' highest now; None if none answers.
        bump: see `bump`.
        room: bytes wanted on a control-plane node's disk, and free there.
        safety: where the live cluster's own snapshot is put first; None if etcd is lost.
    """

    cluster: str
    ours: bool
    path: Path
    facts: SnapshotFacts
    run: str
    places: tuple[Place, ...]
    others: tuple[str, ...]
    live_revision: int | None
    bump: int
    room: tuple[int, int]
    safety: Path | None

    @property
    def revision(self) -> int:
        """The revision that the restored cluster starts from, and is marked compacted at."""
        return self.facts.revision + self.bump

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every act, in order."""
        return tuple(_steps(self))

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "plan": "etcd-restore",
            "cluster": self.cluster,
            "made_by_kt": self.ours,
            "snapshot": str(self.path),
            "facts": self.facts.as_json(),
            "run": self.run,
            "live_revision": self.live_revision,
            "bump_revision": self.bump,
            "restored_revision": self.revision,
            "nodes": [
                {
                    "name": place.node,
                    "member": place.member,
                    "image": place.image,
                    "data_dir": place.data_dir,
                    "folder": place.run,
                }
                for place in self.places
            ],
            "other_nodes": list(self.others),
            "bytes_needed": self.room[0],
            "bytes_free": self.room[1],
            "safety_snapshot": str(self.safety) if self.safety else None,
            "steps": [
                {"where": step.where, "text": step.text, "api_away": step.away}
                for step in self.steps
            ],
        }


def _steps(plan: Plan) -> list[Step]:
    steps = []
    if plan.safety:
        steps.append(Step("here", f"take a safety snapshot of the live etcd: {plan.safety}"))
    for place in plan.places:
        steps += [
            Step(place.node, f"copy the snapshot to {place.copy} and compare its sha256 there"),
            Step(
                place.node,
                f"restore it to {place.staged} with the etcdutl of {place.image}: member"
                f" {place.member}, token {plan.run}, revision {plan.facts.revision} raised by"
                f" {plan.bump} to {plan.revision} and marked compacted",
            ),
            Step(
                "here",
                f"gate: read what was restored back: revision, {plan.facts.keys} live keys and"
                " HashKV must be as computed from the snapshot; else stop, nothing was touched",
            ),
        ]
    for place in plan.places:
        steps += [
            Step(place.node, "stop the kubelet"),
            Step(
                place.node, "kill the API server, controller manager, scheduler and etcd", away=True
            ),
            Step(place.node, f"move {place.data_dir}/member to {place.old}", away=True),
            Step(place.node, f"move {place.staged}/member to {place.data_dir}/member", away=True),
            Step(place.node, "start the kubelet, which starts them again", away=True),
        ]
    steps.append(
        Step(
            "here",
            "wait for etcd and compare its own HashKV; else put the old data back",
            away=True,
        )
    )
    steps.append(Step("here", "wait for /readyz; else put the old data back", away=True))
    steps.append(Step("here", "compare every object that the API serves with the snapshot"))
    if plan.others:
        names = ", ".join(plan.others)
        steps.append(Step("every node", f"restart the kubelets of {names}"))
    return steps
