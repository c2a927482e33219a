"""The shared watch: one a type and run, which every wait, invariant, timeline and evidence reads.

    with Watches(api, clock) as watches:
        pods = watches.of(POD, namespace)
        pod = pods.wait(lambda: pods.current().get("web"), timeout=30, what="the pod web")
        for seen in pods.history(): ...

A wait asks its condition at every event, under the lock that all watches of a run share, so no
state is missed and a condition may look at several watches; it must be quick and must not wait.

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
from kops_toolkit.kube.waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from kops_toolkit.kube.api import EventType, Json, Kind, KubeApi
    from kops_toolkit.system.clock import Clock

T = TypeVar("T")
QUIET = 30.0  # seconds without even a bookmark until a connection is taken for dead
SHORT = 1.0  # seconds; a stream that ends sooner without a word counts as a failed attempt
TOO_NEW = "Too large resource version"  # the server was set back to before what we know
BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between attempts to reach a server that is away


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


class Watch:
    """All objects of one type in one scope: how they are and how they came to be so.

    Args:
        api: the server.
        clock: stamps what arrives.
        kind: the type.
        namespace: only there; None for all.
        labels: only objects that this selector selects.
        waiters: shared by all watches of a run, so that a condition may look at several of them
            without two waits ever holding each other's lock.
    """

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        kind: Kind,
        namespace: str | None,
        labels: str | None,
        waiters: Waiters,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self._api = api
        self._clock = clock
        self._labels = labels
        self._waiters = waiters
        self._objects: dict[tuple[str, str], Json] = {}
        self._history: list[Seen] = []
        self._synced = False
        self._closed = False
        self._trouble: KtError | None = None
        self._fatal: Exception | None = None
        self._version: str | None = None  # where to go on; None: list anew
        self._thread = threading.Thread(
            target=self._run, name=f"watch {kind.plural} {namespace or '*'}", daemon=True
        )

    def start(self) -> None:
        """Begin; `of` of Watches does it."""
        self._thread.start()

    def current(self) -> dict[str, Json]:
        """The objects as they are now, by name (`namespace/name` if all namespaces are watched)."""
        with self._waiters.lock:
            return {self.name(found): found for found in self._objects.values()}

    def name(self, found: Json) -> str:
        """What an object is called here: its name, `namespace/name` if all are watched."""
        namespace, name = _key(found)
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
            if self._fatal is not None:
                raise self._fatal
            return condition() if self._synced else None

        def given_up() -> str | None:
            if self._closed:
                return "the watch has been closed"
            return hopeless() if hopeless and self._synced else None

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
            return self._trouble.message if self._trouble else ""

    def close(self) -> None:
        """Stop following; what was seen stays readable."""
        with self._waiters.lock:
            self._closed = True
            self._waiters.changed()

    def _gave_up(
        self, what: str, timeout: float, reason: str | None, last: Callable[[], str] | None
    ) -> TimedOutError:
        seen = last() if last else self._last_words()
        trouble = f"; since then: {self._trouble.message}" if self._trouble else ""
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
            began = self._clock.monotonic()
            try:
                if self._version is None:
                    self._version = self._list()
                heard = self._follow(self._version)
                # A stream that ends at once again and again must not become a busy loop.
                if heard or self._clock.monotonic() - began > SHORT:
                    attempt, self._trouble = 0, None
                    continue
                trouble: KtError | None = None
            except (UnreachableError, ApiError) as error:
                if self._hopeless(error):
                    self._end(error)
                    return
                trouble = error
            except Exception as error:  # noqa: BLE001 - a thread's bug must reach who waits on it
                self._end(error)
                return
            self._rest(trouble, attempt)
            attempt += 1

    def _hopeless(self, error: KtError) -> bool:
        """Whether an error is for good; also forgets a version that the server does not know."""
        if not isinstance(error, ApiError):
            return False
        if isinstance(error, GoneError) or TOO_NEW in error.message:
            self._version = None
            return False
        # An API server that starts up rejects rights it grants a moment later.
        return error.status < 500 and error.status != 429 and not self._synced

    def _list(self) -> str:
        listing = self._api.list(self.kind, self.namespace, labels=self._labels)
        found = {_key(item): item for item in listing.items}
        with self._waiters.lock:
            news = list(self._news(found))
            last = len(news) - 1
            for index, (kind, item) in enumerate(news):
                self._record(kind, item, relisted=self._synced, partial=index != last)
            self._synced, self._trouble = True, None
            self._waiters.changed()
        return listing.resource_version

    def _news(self, found: dict[tuple[str, str], Json]) -> Iterator[tuple[EventType, Json]]:
        """What must have happened since the last that is known, for things to be as found."""
        for key, known in self._objects.items():
            if key not in found or _uid(found[key]) != _uid(known):
                yield "DELETED", known
        for key, item in found.items():
            before = self._objects.get(key)
            if before is None or _uid(before) != _uid(item):
                yield "ADDED", item
            elif _version(before) != _version(item):
                yield "MODIFIED", item

    def _follow(self, version: str) -> bool:
        """Record what comes; whether anything did."""
        heard = False
        events = self._api.watch(
            self.kind, self.namespace, since=version, labels=self._labels, quiet=QUIET
        )
        for event in events:
            with self._waiters.lock:
                self._trouble = None
                # Kept event by event, so that what breaks the stream never has one told twice.
                self._version = _version(event.object)
                heard = True
                if self._closed:
                    break
                if event.type != "BOOKMARK":
                    self._record(event.type, event.object)
                    self._waiters.changed()
        return heard

    def _record(
        self, kind: EventType, found: Json, *, relisted: bool = False, partial: bool = False
    ) -> None:
        if kind == "DELETED":
            self._objects.pop(_key(found), None)
        else:
            self._objects[_key(found)] = found
        stamp = self._clock.monotonic()
        self._history.append(Seen(stamp, self._clock.now(), kind, found, relisted, partial))

    def _rest(self, error: KtError | None, attempt: int) -> None:
        with self._waiters.lock:
            self._trouble = error or self._trouble
            self._waiters.changed()
            if not self._closed:
                self._waiters.rest(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])

    def _end(self, error: Exception) -> None:
        with self._waiters.lock:
            self._fatal = error
            self._waiters.changed()


class Watches:
    """The watches of one run: asking twice for the same gives the same.

    Args:
        api: the server.
        clock: stamps what arrives.
    """

    def __init__(self, api: KubeApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._waiters = Waiters(clock)
        self._watches: dict[tuple[Kind, str | None, str | None], Watch] = {}

    def of(self, kind: Kind, namespace: str | None = None, labels: str | None = None) -> Watch:
        """The watch on a type, in one namespace or all; started and not yet listed if new."""
        with self._waiters.lock:
            key = (kind, namespace, labels)
            if key not in self._watches:
                self._watches[key] = Watch(
                    self._api, self._clock, kind, namespace, labels, self._waiters
                )
                self._watches[key].start()
            return self._watches[key]

    def close(self) -> None:
        """Stop all of them."""
        with self._waiters.lock:
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
