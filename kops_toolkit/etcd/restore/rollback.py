"""What a killed restore owes, and how it is settled in a new process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import CleanupFailedError, KtError, NotFoundError
from kops_toolkit.etcd import member as members
from kops_toolkit.etcd.refusals import RevisionAwayError
from kops_toolkit.etcd.restore import online, stage, swap
from kops_toolkit.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from kops_toolkit.cluster.clusters import Cluster, Clusters
    from kops_toolkit.cluster.node import Node
    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.system.clock import Clock
    from kops_toolkit.system.journal import Handler
    from kops_toolkit.system.progress import Progress

    Connect = Callable[[Path, str], KubeApi]
    Member = tuple[Node, str, str]  # where it is, the restore's folder there, its data directory

ROLL_BACK_ETCD_SWAP = "rollback-etcd-swap"
REMOVE_ETCD_STAGING = "remove-etcd-staging"
PATIENCE = 60.0  # seconds until etcd must serve
READY_PATIENCE = 120.0  # seconds until the API server must be ready
CONTEXT = "kind-"  # kind names a cluster's context so


def handlers(
    clusters: Clusters, connect: Connect, clock: Clock, progress: Progress | None = None
) -> dict[str, Handler]:
    """The undo handlers of this room, for `wiring`."""
    return {
        ROLL_BACK_ETCD_SWAP: RollBackSwap(clusters, connect, clock, progress or Silent()),
        REMOVE_ETCD_STAGING: RemoveStaging(clusters),
    }


class RollBackSwap:
    """The handler for ROLL_BACK_ETCD_SWAP: it ends a swap, one way or the other.

    args: `cluster`; `places`, each `node`, `run`, `data_dir`; `revision` and `hash_kv` as
    predicted. What lies on the nodes' disks decides:

    - the restored data is in place and was started: then clients may have been served revisions
      that the old data never reached, so going back is the greater harm. If the member holds what
      the snapshot predicts the restore is finished, else the old data comes back.
    - anything before that: the old data comes back.
    - the restore is settled, or the nodes are gone: nothing is owed.
    """

    def __init__(
        self, clusters: Clusters, connect: Connect, clock: Clock, progress: Progress
    ) -> None:
        self._clusters = clusters
        self._connect = connect
        self._clock = clock
        self._progress = progress

    def __call__(self, args: Mapping[str, Any]) -> None:
        """See Handler.

        Raises:
            CleanupFailedError: the cluster did not become well again.
        """
        try:
            cluster = self._clusters.find(args["cluster"])
            places: list[Member] = [
                (cluster.node(place["node"]), place["run"], place["data_dir"])
                for place in args["places"]
            ]
        except NotFoundError:
            return  # deleted meanwhile
        api = self._connect(cluster.kubeconfig, CONTEXT + cluster.name)
        states = {swap.state(node, run, data_dir) for node, run, data_dir in places}
        if states == {"settled"}:
            return
        if states == {"restored"} and self._holds(places, (args["revision"], args["hash_kv"])):
            self._progress.note("the restored data was in place and holds: the restore is finished")
            _well(cluster, api, self._clock)
            for node, run, data_dir in places:
                swap.settle(node, run, data_dir)
        else:
            roll_back(cluster, api, places, self._clock, self._progress)

    def _holds(self, places: Sequence[Member], wanted: tuple[int, int]) -> bool:
        for node, _, _ in places:
            member = members.find(node)
            try:
                with members.reached(node, member, self._progress) as endpoint:
                    online.member_holds(endpoint, wanted, self._clock, PATIENCE)
            except RevisionAwayError:
                # Compacted since, so it has been serving for minutes; its revision is then higher.
                continue
            except KtError as error:
                self._progress.note(f"the restored data does not hold: {error.message}")
                return False
        return True


class RemoveStaging:
    """The handler for REMOVE_ETCD_STAGING; args: `cluster`, `node`, `run`."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def __call__(self, args: Mapping[str, Any]) -> None:
        """See Handler."""
        try:
            node = self._clusters.find(args["cluster"]).node(args["node"])
        except NotFoundError:
            return
        stage.remove(node, args["run"])


def roll_back(
    cluster: Cluster,
    api: KubeApi,
    places: Sequence[Member],
    clock: Clock,
    progress: Progress,
) -> None:
    """Put the old data back on every node, and wait until the API serves it.

    Raises:
        CleanupFailedError: the API server did not become ready.
        ToolFailedError: a node could not be brought back.
    """
    progress.step("putting the old data back")
    for node, run, data_dir in places:
        swap.roll_back(node, run, data_dir, progress)
    _well(cluster, api, clock)


def _well(cluster: Cluster, api: KubeApi, clock: Clock) -> None:
    try:
        online.wait_ready(api, clock, READY_PATIENCE)
    except KtError as error:
        raise CleanupFailedError(error.message, error.hint) from error
    restart_kubelets([node for node in cluster.nodes if not node.control_plane])


def restart_kubelets(nodes: Sequence[Node]) -> None:
    """Restart kubelets side by side: what they remember of the API is not what it serves now."""
    if nodes:
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(lambda node: node.run(["systemctl", "restart", "kubelet"]), nodes))
