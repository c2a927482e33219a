"""The shared watch: one a type and run, which every wait, invariant, timeline and evidence reads.

    with Watches(api, clock) as watches:
        pods = watches.of(POD, namespace)
        pod = pods.wait(lambda: pods.current().get("web"), timeout=30, what="the pod web")
        for seen in pods.history(): ...

A watch lists once, then follows from that resourceVersion. Every event is stamped when it
arrives. A cut or silent connection is resumed from the last resourceVersion; if that is too old
(410) the objects are listed again and what changed meanwhile enters the history as events that
are marked `relisted`, for the states in between are unknown.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kops_toolkit.errors import ApiError, GoneError, KtError, TimedOutError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from kops_toolkit.kube.api import EventType, Json, Kind, KubeApi
    from kops_toolkit.system.clock import Clock

T = TypeVar("T")
QUIET = 30.0  # seconds without even a bookmark until a connection is taken for dead
BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between attempts to reach a server that is away


@dataclass(frozen=True)
class Seen:
    """One event as it arrived.

    Attributes:
        at: monotonic seconds of arrival: for measuring.
        wall: aware UTC time of arrival: for people.
        type: ADDED, MODIFIED or DELETED; objects found by the first listing are ADDED.
        object: the object as it was then; of a DELETED one its last state.
        relisted: told by a listing, not by the watch: states before it may be missing.
    """

    at: float
    wall: datetime
    type: EventType
    object: Json
    relisted: bool = False

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


class Watch:
    """All objects of one type in one scope: how they are and how they came to be so.

    Args:
        api: the server.
        clock: stamps what arrives.
        kind: the type.
        namespace: only there; None for all.
        labels: only objects that this selector selects.
        changed: shared by all watches of a run, so that a condition may look at several of them
            without two waits ever holding each other's lock.
    """

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        kind: Kind,
        namespace: str | None,
        labels: str | None,
        changed: threading.Condition,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self._api = api
        self._clock = clock
        self._labels = labels
        self._changed = changed
        self._objects: dict[tuple[str, str], Json] = {}
        self._history: list[Seen] = []
        self._synced = False
        self._closed = False
        self._trouble: KtError | None = None
        self._fatal: BaseException | None = None
        self._version: str | None = None  # where to go on; None: list anew
        self._thread = threading.Thread(
            target=self._run, name=f"watch {kind.plural} {namespace or '*'}", daemon=True
        )

    def start(self) -> None:
        """Begin; `of` of Watches does it."""
        self._thread.start()

    def current(self) -> dict[str, Json]:
        """The objects as they are now, by name (`namespace/name` if all namespaces are watched)."""
        with self._changed:
            return {self._name(key): found for key, found in self._objects.items()}

    def history(self, since: int = 0) -> tuple[Seen, ...]:
        """All that arrived, oldest first, from index `since` on."""
        with self._changed:
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
        deadline = self._clock.monotonic() + timeout
        with self._changed:
            while True:
                if self._fatal is not None:
                    raise self._fatal
                if self._synced and (found := condition()) is not None:
                    return found
                reason = hopeless() if hopeless and self._synced else None
                left = deadline - self._clock.monotonic()
                if reason or left <= 0 or self._closed:
                    raise self._gave_up(what, timeout, reason, last)
                self._changed.wait(left)

    def ready(self, timeout: float = 30.0) -> Watch:
        """Wait until the first listing is in."""
        self.wait(lambda: True, timeout=timeout, what=f"the first list of {self.kind.plural}")
        return self

    def close(self) -> None:
        """Stop following; what was seen stays readable."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _gave_up(
        self, what: str, timeout: float, reason: str | None, last: Callable[[], str] | None
    ) -> TimedOutError:
        seen = last() if last else self._last_words()
        trouble = f"; the watch itself is cut off: {self._trouble.message}" if self._trouble else ""
        began = f"{what}: it can not come any more, {reason}" if reason else ""
        return TimedOutError(
            (began or f"{what} did not come within {timeout:g} s") + f"; last seen: {seen}{trouble}"
        )

    def _last_words(self) -> str:
        if not self._history:
            return f"no {self.kind.kind} at all"
        newest = self._history[-1]
        return f"{newest.type} {newest.source}"

    def _run(self) -> None:
        attempt = 0
        while not self._closed:
            try:
                if self._version is None:
                    self._version = self._list()
                self._follow(self._version)
                attempt = 0
            except GoneError:
                self._version = None
            except UnreachableError as error:
                self._rest(error, attempt)
                attempt += 1
            except ApiError as error:
                if error.status >= 500 or error.status == 429:  # busy or starting: it will pass
                    self._rest(error, attempt)
                    attempt += 1
                else:
                    self._end(error)
                    return
            except Exception as error:  # noqa: BLE001 - a thread's bug must reach who waits on it
                self._end(error)
                return

    def _list(self) -> str:
        listing = self._api.list(self.kind, self.namespace, labels=self._labels)
        found = {_key(item): item for item in listing.items}
        with self._changed:
            again = self._synced
            for key in [key for key in self._objects if key not in found]:
                self._record("DELETED", self._objects[key], relisted=True)
            for key, item in found.items():
                known = self._objects.get(key)
                if known is not None and _uid(known) != _uid(item):
                    self._record("DELETED", known, relisted=True)
                    known = None
                if known is None:
                    self._record("ADDED", item, relisted=again)
                elif _version(known) != _version(item):
                    self._record("MODIFIED", item, relisted=True)
            self._synced, self._trouble = True, None
            self._changed.notify_all()
        return listing.resource_version

    def _follow(self, version: str) -> None:
        events = self._api.watch(
            self.kind, self.namespace, since=version, labels=self._labels, quiet=QUIET
        )
        for event in events:
            with self._changed:
                self._trouble = None
                # Kept event by event, so that what breaks the stream never has one told twice.
                self._version = _version(event.object)
                if self._closed:
                    return
                if event.type != "BOOKMARK":
                    self._record(event.type, event.object)
                    self._changed.notify_all()

    def _record(self, kind: EventType, found: Json, *, relisted: bool = False) -> None:
        if kind == "DELETED":
            self._objects.pop(_key(found), None)
        else:
            self._objects[_key(found)] = found
        stamp = self._clock.monotonic()
        self._history.append(Seen(stamp, self._clock.now(), kind, found, relisted))

    def _rest(self, error: KtError, attempt: int) -> None:
        with self._changed:
            self._trouble = error
            self._changed.notify_all()
            if not self._closed:
                self._changed.wait(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])

    def _end(self, error: BaseException) -> None:
        with self._changed:
            self._fatal = error
            self._changed.notify_all()

    def _name(self, key: tuple[str, str]) -> str:
        namespace, name = key
        return name if self.namespace or not namespace else f"{namespace}/{name}"


class Watches:
    """The watches of one run: asking twice for the same gives the same.

    Args:
        api: the server.
        clock: stamps what arrives.
    """

    def __init__(self, api: KubeApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._changed = threading.Condition()
        self._watches: dict[tuple[Kind, str | None, str | None], Watch] = {}

    def of(self, kind: Kind, namespace: str | None = None, labels: str | None = None) -> Watch:
        """The watch on a type, in one namespace or all; started and not yet listed if new."""
        with self._changed:
            key = (kind, namespace, labels)
            if key not in self._watches:
                self._watches[key] = Watch(
                    self._api, self._clock, kind, namespace, labels, self._changed
                )
                self._watches[key].start()
            return self._watches[key]

    def close(self) -> None:
        """Stop all of them."""
        with self._changed:
            for watch in self._watches.values():
                watch.close()

    def __enter__(self) -> Watches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _key(found: Json) -> tuple[str, str]:
    meta = found["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _uid(found: Json) -> str:
    return str(found["metadata"].get("uid", ""))


def _version(found: Json) -> str:
    return str(found["metadata"]["resourceVersion"])
