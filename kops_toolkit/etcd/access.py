"""A connection to the member that a backup is best taken from."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.errors import KtError, NotFoundError, UnreachableError
from kops_toolkit.etcd import member as members
from kops_toolkit.etcd.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kops_toolkit.cluster.node import Node
    from kops_toolkit.etcd.endpoint import Endpoint
    from kops_toolkit.etcd.messages import MemberStatus
    from kops_toolkit.system.progress import Progress


@dataclass(frozen=True)
class Access:
    """A member that answers.

    Attributes:
        client: connected to it.
        url: the member's own client URL, not a tunnel's.
        name: a name for what it belongs to, for file names: the node's, or the host's.
    """

    client: Client
    url: str
    name: str


@contextmanager
def to_endpoint(endpoint: Endpoint) -> Iterator[Access]:
    """Any etcd v3 member, by its address."""
    with Client(endpoint) as client:
        yield Access(client, endpoint.url, endpoint.host)


@contextmanager
def to_node(node: Node, progress: Progress, *, tunnel: bool = False) -> Iterator[Access]:
    """The member of one control-plane node.

    Raises:
        NotFoundError: no etcd runs there as a static pod.
        UnreachableError: the node does not answer.
    """
    member = members.find(node)
    with (
        members.reached(node, member, progress, tunnel=tunnel) as endpoint,
        Client(endpoint) as client,
    ):
        yield Access(client, member.endpoint.url, node.name)


@contextmanager
def to_best(nodes: Sequence[Node], progress: Progress, *, tunnel: bool = False) -> Iterator[Access]:
    """The member of that control-plane node which can best bear to be read.

    A snapshot is the state of one member, so one that lags behind or has no leader comes last. A
    leader has most to do, so a follower is preferred.

    Raises:
        NotFoundError: there is no control-plane node.
        UnreachableError: none of the members answers.
    """
    planes = [node for node in nodes if node.control_plane]
    if not planes:
        raise NotFoundError("the cluster has no control-plane node")
    best = planes[0] if len(planes) == 1 else _best(planes, progress, tunnel=tunnel)
    with to_node(best, progress, tunnel=tunnel) as access:
        yield access


def _best(planes: Sequence[Node], progress: Progress, *, tunnel: bool) -> Node:
    ranked: list[tuple[tuple[bool, bool, bool, int], int]] = []
    for index, node in enumerate(planes):
        try:
            with to_node(node, progress, tunnel=tunnel) as access:
                ranked.append((_rank(access.client.status()), index))
        except KtError as error:
            progress.note(f"passing over {node.name}: {error.message}")
    if not ranked:
        names = ", ".join(node.name for node in planes)
        raise UnreachableError(f"no etcd member answers on any of {names}")
    return planes[min(ranked)[1]]


def _rank(status: MemberStatus) -> tuple[bool, bool, bool, int]:
    """The smaller, the better to take a snapshot from."""
    lag = max(0, status.raft_index - status.raft_applied_index)
    return status.learner, not status.leader, status.leader == status.member_id, lag
