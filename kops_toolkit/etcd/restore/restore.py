"""Carries out a plan: into staging, through the gate, the swap, and the proof."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from kops_toolkit.errors import KtError, TimedOutError, ToolFailedError
from kops_toolkit.etcd import access
from kops_toolkit.etcd import member as members
from kops_toolkit.etcd.backup import Backups
from kops_toolkit.etcd.restore import gate, online, rollback, stage, swap
from kops_toolkit.etcd.restore.predict import predict
from kops_toolkit.etcd.restore.probe import Outage
from kops_toolkit.outcome import Check, Evidence, Report, Status
from kops_toolkit.system.lock import alone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kops_toolkit.cluster.clusters import Cluster, Clusters
    from kops_toolkit.etcd.endpoint import Endpoint
    from kops_toolkit.etcd.restore.plan import Place, Plan
    from kops_toolkit.etcd.restore.predict import Prediction
    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.system.clock import Clock
    from kops_toolkit.system.journal import Journal, Journals
    from kops_toolkit.system.progress import Progress


class Restores:
    """Restores a cluster's etcd to a snapshot.

    Args:
        clusters: asked for consent.
        journals: where what must be taken back is written first.
        state: kt's state folder, for safety snapshots and the lock.
        clock: measures.
        progress: hears of every step.
    """

    def __init__(
        self,
        clusters: Clusters,
        journals: Journals,
        state: Path,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._clusters = clusters
        self._journals = journals
        self._state = state
        self._clock = clock
        self._progress = progress

    def run(self, plan: Plan, cluster: Cluster, api: KubeApi, *, consent: str | None) -> Report:
        """Do what the plan says.

        Until the gate has passed the cluster serves as ever, and a failure only removes what was
        staged. From the swap to the proof that etcd holds the right data and the API is ready, a
        failure puts the old data back. Every undo is in the journal first, so `kt recover` ends
        what a killed kt began. The old data stays on the node until `kt etcd cleanup`.

        Raises:
            RefusedError: the cluster is not kt's and there is no consent, or another restore runs.
            KtError: it failed; the message says whether anything had been touched.
            CleanupFailedError: it failed, and the old data could not be put back.
        """
        self._clusters.require_ours(cluster.name, consent, ours=plan.ours)
        with (
            alone(lock_path(self._state, cluster.name), busy(cluster.name)),
            self._journals.open("etcd-restore") as journal,
        ):
            effects = (journal, self._state, self._clock, self._progress)
            return _Restore(plan, cluster, api, *effects).run()


class _Restore:
    """One restore under way."""

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        api: KubeApi,
        journal: Journal,
        state: Path,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._cluster = cluster
        self._api = api
        self._journal = journal
        self._state = state
        self._clock = clock
        self._progress = progress
        self._members = [
            (cluster.node(place.node), place.run, place.data_dir) for place in plan.places
        ]

    def run(self) -> Report:
        plan = self._plan
        started, begin = self._clock.now(), self._clock.monotonic()
        with ExitStack() as stack:
            # Held open throughout: a tunnel needs no etcd behind it as long as nobody connects.
            endpoints = [
                stack.enter_context(members.reached(node, members.find(node), self._progress))
                for node, _, _ in self._members
            ]
            checks = [*self._safety()]
            self._progress.step("computing what the snapshot predicts")
            prediction = predict(plan.path, plan.revision, self._progress)
            for place in plan.places:
                checks += self._stage(place, prediction)
            outage = stack.enter_context(Outage(self._api, self._clock))
            checks += self._swap(endpoints, prediction, outage)
            self._progress.step("comparing what the API serves with the snapshot")
            checks.append(online.api_serves(self._api, prediction, self._clock))
            self._finish()
            away = outage.seconds
        self._progress.note(f"the API was away for {away:.1f} s, seen from here")
        return Report(
            name="etcd-restore",
            checks=tuple(checks),
            started=started,
            seconds=self._clock.monotonic() - begin,
            facts={
                "snapshot": str(plan.path),
                "cluster": plan.cluster,
                "api_away_seconds": round(away, 2),
                "bump_revision": plan.bump,
                "revision": prediction.revision,
                "hash_kv": prediction.hash_kv,
                "safety_snapshot": str(plan.safety) if plan.safety else None,
                "old_data": [f"{place.node}:{place.old}" for place in plan.places],
            },
        )

    def _safety(self) -> tuple[Check, ...]:
        path = self._plan.safety
        if path is None:
            return ()
        self._progress.step("taking a safety snapshot of the live etcd")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        nodes = [node for node, _, _ in self._members]
        with access.to_best(nodes, self._progress) as reached:
            taken = Backups(self._clock, self._progress).take(
                reached.client, path, origin=reached.url
            )
        seen = f"revision {taken.facts.revision}, {taken.facts.keys} live keys"
        title = "The state before the restore is kept in a safety snapshot, itself verified"
        evidence = Evidence("a sound snapshot", seen, str(taken.path))
        return (Check("safety-snapshot", title, Status.PASSED, (evidence,)),)

    def _stage(self, place: Place, prediction: Prediction) -> list[Check]:
        node = self._cluster.node(place.node)
        self._journal.owe(
            rollback.REMOVE_ETCD_STAGING,
            f"what a restore staged in {place.run} on {place.node}",
            cluster=self._plan.cluster,
            node=place.node,
            run=place.run,
        )
        self._progress.step(f"copying the snapshot to {place.node}")
        sha256 = stage.copy(node, place, self._plan.path, self._plan.facts, self._progress)
        title = "The copy on the node has the snapshot's sha256"
        evidence = Evidence(self._plan.facts.sha256, sha256, f"{place.node}:{place.copy}")
        self._progress.step(f"restoring into staging on {place.node}")
        stage.restore(node, place, self._plan)
        self._progress.step("gate: reading back what was restored")
        judged = gate.judge(node, place, prediction, self._state, self._progress)
        return [Check("copied", title, Status.PASSED, (evidence,)), judged]

    def _swap(
        self, endpoints: Sequence[Endpoint], prediction: Prediction, outage: Outage
    ) -> list[Check]:
        debt = self._journal.owe(
            rollback.ROLL_BACK_ETCD_SWAP,
            f"the restore of {self._plan.path.name} into {self._plan.cluster}",
            cluster=self._plan.cluster,
            places=[
                {"node": node.name, "run": run, "data_dir": data_dir}
                for node, run, data_dir in self._members
            ],
            revision=prediction.revision,
            hash_kv=prediction.hash_kv,
        )
        self._progress.step("swapping the data; the API goes away for some seconds")
        try:
            return self._try(endpoints, prediction, outage)
        except KtError as failure:
            self._progress.note(f"it failed: {failure.message}")
            rollback.roll_back(self._cluster, self._api, self._members, self._clock, self._progress)
            self._journal.settle(debt)
            raise ToolFailedError(
                f"the restore failed, the old data was put back and is served: {failure.message}",
                failure.hint,
            ) from failure

    def _try(
        self, endpoints: Sequence[Endpoint], prediction: Prediction, outage: Outage
    ) -> list[Check]:
        for node, run, data_dir in self._members:
            swap.swap(node, run, data_dir, self._progress)
        since = self._clock.monotonic()
        self._progress.step("waiting for etcd")
        wanted = (prediction.revision, prediction.hash_kv)
        checks = [
            online.member_holds(endpoint, wanted, self._clock, rollback.PATIENCE)
            for endpoint in endpoints
        ]
        self._progress.step("waiting for the API server")
        if not outage.wait_good(since, rollback.READY_PATIENCE):
            raise TimedOutError(
                f"the API server was not ready {rollback.READY_PATIENCE:.0f} s after the swap"
            )
        return checks

    def _finish(self) -> None:
        others = [self._cluster.node(name) for name in self._plan.others]
        if others:
            self._progress.step("restarting the other nodes' kubelets")
            rollback.restart_kubelets(others)
        for node, run, data_dir in self._members:
            swap.settle(node, run, data_dir)
        for debt in self._journal.owed:
            self._journal.settle(debt.id)


def lock_path(state: Path, cluster: str) -> Path:
    """File to lock while a cluster's etcd is restored, or what restores kept is removed."""
    return state / "etcd" / f".{cluster}.lock"


def busy(cluster: str) -> str:
    """The sentence for a lock that is held."""
    return f"another restore or cleanup of {cluster} is running"
