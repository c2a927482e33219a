"""What a watch has seen: every wait, invariant, timeline and evidence reads from here.

    with Watches(api, clock) as watches:
        pods = watches.of(POD, namespace)
        pod = pods.wait(lambda: pods.current().get("web"), timeout=30, what="the pod web")
        for seen in pods.history(): ...

A wait asks its condition at every event, under the lock that all watches of a run share, so no
state is missed and a condition may look at several watches; it must be quick and must not wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kops_toolkit.errors import TimedOutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from kops_toolkit.errors import KtError
    from kops_toolkit.kube.api import EventType, Json, Kind
    from kops_toolkit.kube.waiters import Waiters

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """One event as it arrived.

    Attributes:
        at: monotonic seconds of arrival: for measuring.
        wall: aware UTC time of arrival: for people.
        type: ADDED, MODIFIED or DELETED; objects found by the first listing are ADDED.
        object: the object as it was then; of a DELETED one its last state.
        relisted: told by a later listing, not by the watch: states before it may be missing.
        partial: more of the same listing follows; the objects were never in the state in between.
    """

    at: float
    wall: datetime
    type: EventType
    object: Json
    relisted: bool = False
    partial: bool = False

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])

    @property
    def source(self) -> str:
        """`Kind/namespace/name@resourceVersion`, for evidence."""
        return source(self.object)


def source(found: Json) -> str:
    """Where evidence comes from: `Kind/namespace/name@resourceVersion`."""
    meta = found["metadata"]
    parts = [found.get("kind", "Object"), meta.get("namespace"), meta["name"]]
    return "/".join(part for part in parts if part) + f"@{meta.get('resourceVersion', '?')}"


@dataclass
class Feed:
    """How it stands with the stream that a watch is fed by.

    Attributes:
        synced: the first listing is in.
        trouble: why nothing can be seen just now.
        fatal: why nothing will be seen ever again.
    """

    synced: bool = False
    trouble: KtError | None = None
    fatal: Exception | None = None


class Watch:
    """All objects of one type in one scope: how they are and how they came to be so.

    Args:
        kind: the type.
        namespace: only there; None for all.
        labels: only objects that have all of these, `key=value,…`; an object that loses them is
            DELETED here, as a server that selects would tell it.
        waiters: shared by all watches of a run, so that a condition may look at several of them
            without two waits ever holding each other's lock.
        feed: the stream's state; the stream hands its events to `take`.
    """

    def __init__(
        self,
        kind: Kind,
        namespace: str | None,
        labels: str | None,
        waiters: Waiters,
        feed: Feed,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self._labels = dict(part.split("=", 1) for part in labels.split(",")) if labels else {}
        self._waiters = waiters
        self._feed = feed
        self._objects: dict[tuple[str, str], Json] = {}
        self._history: list[Seen] = []
        self._closed = False

    def current(self) -> dict[str, Json]:
        """The objects as they are now, by name (`namespace/name` if all namespaces are watched)."""
        with self._waiters.lock:
            return {self.name(found): found for found in self._objects.values()}

    def name(self, found: Json) -> str:
        """What an object is called here: its name, `namespace/name` if all are watched."""
        namespace, name = key(found)
        return name if self.namespace or not namespace else f"{namespace}/{name}"

    def history(self, since: int = 0) -> tuple[Seen, ...]:
        """All that arrived, oldest first, from index `since` on."""
        with self._waiters.lock:
            return tuple(self._history[since:])

    def wait(
        self,
        condition: Callable[[], T | None],
        *,
        timeout: float,
        what: str,
        hopeless: Callable[[], str | None] | None = None,
        last: Callable[[], str] | None = None,
    ) -> T:
        """Wait, woken by events alone, until `condition` gives something that is not None.

        Args:
            condition: looks at this watch, or at others of the same run.
            timeout: seconds.
            what: what is waited for, in words, for the error.
            hopeless: gives a reason when waiting on makes no sense, else None.
            last: puts in words what was last seen, for the error.

        Raises:
            TimedOutError: it did not come, or it never can; says what was last seen.
            ApiError: the server rejects this watch for good (e.g. no right to list).
        """

        def asked() -> T | None:
            if self._feed.fatal is not None:
                raise self._feed.fatal
            return condition() if self._feed.synced else None

        def given_up() -> str | None:
            if self._closed:
                return "the watch has been closed"
            return hopeless() if hopeless and self._feed.synced else None

        ended = self._waiters.wait(asked, given_up, timeout)
        if ended.found is None:
            raise self._gave_up(what, timeout, ended.reason, last)
        return ended.found

    def ready(self, timeout: float = 30.0) -> Watch:
        """Wait until the first listing is in."""
        self.wait(lambda: True, timeout=timeout, what=f"the first list of {self.kind.plural}")
        return self

    @property
    def trouble(self) -> str:
        """Why nothing can be seen just now, "" if all is well: a silence then proves nothing."""
        with self._waiters.lock:
            return self._feed.trouble.message if self._feed.trouble else ""

    def take(self, batch: Sequence[Seen]) -> None:
        """Note what the stream saw, as far as it belongs here; the caller holds the lock.

        Args:
            batch: one event, or all that one listing told; only the state after it ever was.
        """
        told = [(kind, seen) for seen in batch if (kind := self._as_seen_here(seen)) is not None]
        for index, (kind, seen) in enumerate(told):
            partial = index != len(told) - 1
            mine = seen if kind == seen.type and not partial else None
            self._history.append(
                mine or Seen(seen.at, seen.wall, kind, seen.object, seen.relisted, partial)
            )

    def close(self) -> None:
        """Stop waiting; what was seen stays readable."""
        with self._waiters.lock:
            self._closed = True
            self._waiters.changed()

    def _as_seen_here(self, seen: Seen) -> EventType | None:
        """Note it in the objects; what it is in this scope, None if it does not concern it."""
        namespace, _ = where = key(seen.object)
        if self.namespace is not None and namespace != self.namespace:
            return None
        known = where in self._objects
        labels = seen.object["metadata"].get("labels") or {}
        if seen.type != "DELETED" and self._labels.items() <= labels.items():
            self._objects[where] = seen.object
            return "MODIFIED" if known else "ADDED"
        if known:
            del self._objects[where]
            return "DELETED"
        return None

    def _gave_up(
        self, what: str, timeout: float, reason: str | None, last: Callable[[], str] | None
    ) -> TimedOutError:
        seen = last() if last else self._last_words()
        trouble = f"; since then: {self.trouble}" if self.trouble else ""
        began = f"{what}: it can not come any more, {reason}" if reason else ""
        return TimedOutError(
            (began or f"{what} did not come within {timeout:g} s") + f"; last seen: {seen}{trouble}"
        )

    def _last_words(self) -> str:
        if not self._history:
            return f"no {self.kind.kind} at all"
        newest = self._history[-1]
        return f"{newest.type} {newest.source}"


def key(found: Json) -> tuple[str, str]:
    """What tells objects of one type apart: namespace ("" if none) and name."""
    meta = found["metadata"]
    return meta.get("namespace", ""), meta["name"]
