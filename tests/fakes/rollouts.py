"""Histories of a rollout, as a test wants them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from kops_toolkit.demos.load import Request
from kops_toolkit.kube.api import POD, REPLICA_SET
from kops_toolkit.kube.temporal import State
from kops_toolkit.kube.watch import Seen
from tests.fakes.clock import START

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kops_toolkit.kube.api import EventType, Json


def stamp(seconds: float) -> str:
    """As the API writes it: whole seconds, rounded down."""
    return f"{START + timedelta(seconds=int(seconds)):%Y-%m-%dT%H:%M:%SZ}"


def pod(
    name: str,
    *,
    version: str = "v1",
    started: float | None = 0,
    ready: float | None = None,
    ending: bool = False,
    phase: str = "Running",
    waiting: str = "",
    restarts: int = 0,
    uid: str = "",
) -> Json:
    """A Pod; `ready` is when it became so, None if it is not."""
    state: Json = {"waiting": {"reason": waiting}} if waiting else {}
    if not waiting and started is not None:
        state = {"running": {"startedAt": stamp(started)}}
    told = {"type": "Ready", "status": "False" if ready is None else "True"}
    told["lastTransitionTime"] = stamp(ready or 0)
    found: Json = {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": uid or name,
            "labels": {"app": "web", "version": version},
        },
        "status": {
            "phase": phase,
            "conditions": [told],
            "containerStatuses": [{"state": state, "restartCount": restarts}],
        },
    }
    if ending:
        found["metadata"]["deletionTimestamp"] = stamp(0)
    return found


def replica_set(name: str, wants: int) -> Json:
    return {
        "kind": "ReplicaSet",
        "metadata": {"name": name, "uid": name},
        "spec": {"replicas": wants},
    }


def endpoint_slice(*ready: str, unready: Iterable[str] = ()) -> Json:
    addresses = [(name, True) for name in ready] + [(name, False) for name in unready]
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": "web-x", "uid": "web-x"},
        "endpoints": [
            {"targetRef": {"kind": "Pod", "name": name}, "conditions": {"ready": is_ready}}
            for name, is_ready in addresses
        ],
    }


def seen(found: Json, at: float = 0.0, kind: EventType = "MODIFIED") -> Seen:
    return Seen(at, START + timedelta(seconds=at), kind, found)


def states(*events: Seen) -> Iterator[State]:
    """What `replay` gives for these events."""
    kinds = {"Pod": POD, "ReplicaSet": REPLICA_SET}
    state: dict[str, dict[str, Json]] = {"Pod": {}, "ReplicaSet": {}}
    for event in events:
        known = state[event.object["kind"]]
        if event.type == "DELETED":
            known.pop(event.name, None)
        else:
            known[event.name] = event.object
        yield State(event, {kinds[kind]: found for kind, found in state.items()})


def requests(
    who: str, first: float, count: int = 1, *, every: float = 0.05, failure: str = ""
) -> list[Request]:
    """`count` requests from second `first` on, answered by `who` unless they failed."""
    return [
        Request(at(first + every * index), index + 1, "" if failure else who, failure, 0.01)
        for index in range(count)
    ]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
