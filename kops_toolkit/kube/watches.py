"""The shared watch: one stream a type and run, whatever is asked of it.

A stream lists once, then follows from that resourceVersion. Every event is stamped when it
arrives. A cut or silent connection is resumed from the last resourceVersion; if that is too old
(410) the objects are listed again and what changed meanwhile enters the history as events that
are marked `relisted`, for the states in between are unknown.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kops_toolkit.errors import ApiError, GoneError, KtError, UnreachableError
from kops_toolkit.kube.waiters import Waiters
from kops_toolkit.kube.watch import Feed, Seen, Watch, key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kops_toolkit.kube.api import EventType, Json, Kind, KubeApi
    from kops_toolkit.system.clock import Clock

QUIET = 30.0  # seconds without even a bookmark until a connection is taken for dead
SHORT = 1.0  # seconds; a stream that ends sooner without a word counts as a failed attempt
TOO_NEW = "Too large resource version"  # the server was set back to before what we know
BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between attempts to reach a server that is away


class Stream:
    """Follows all objects of one type and hands each event to the watches that read from it.

    Args:
        api: the server.
        clock: stamps what arrives.
        kind: the type.
        namespace: only there; None for all.
        waiters: guards and wakes the watches.
    """

    def __init__(
        self, api: KubeApi, clock: Clock, kind: Kind, namespace: str | None, waiters: Waiters
    ) -> None:
        self._api = api
        self._clock = clock
        self._kind = kind
        self._namespace = namespace
        self._waiters = waiters
        self._feed = Feed()
        self._watches: list[Watch] = []
        self._objects: dict[tuple[str, str], Json] = {}
        self._closed = False
        self._version: str | None = None  # where to go on; None: list anew
        name = f"watch {kind.plural} {namespace or '*'}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def watch(self, namespace: str | None, labels: str | None) -> Watch:
        """A new watch, which knows what is there already; the caller holds the lock."""
        watch = Watch(self._kind, namespace, labels, self._waiters, self._feed)
        watch.take([self._seen("ADDED", found) for found in self._objects.values()])
        self._watches.append(watch)
        return watch

    def leave(self, watch: Watch) -> None:
        """Feed that one no more; the caller holds the lock."""
        self._watches.remove(watch)

    def close(self) -> None:
        """Stop following; the caller holds the lock."""
        self._closed = True
        self._waiters.changed()

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
                    attempt, self._feed.trouble = 0, None
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
        return error.status < 500 and error.status != 429 and not self._feed.synced

    def _list(self) -> str:
        listing = self._api.list(self._kind, self._namespace)
        found = {key(item): item for item in listing.items}
        with self._waiters.lock:
            again = self._feed.synced
            news = [self._seen(kind, item, relisted=again) for kind, item in self._news(found)]
            self._feed.synced, self._feed.trouble = True, None
            self._tell(news)
        return listing.resource_version

    def _news(self, found: dict[tuple[str, str], Json]) -> Iterator[tuple[EventType, Json]]:
        """What must have happened since the last that is known, for things to be as found."""
        for where, known in self._objects.items():
            if where not in found or _uid(found[where]) != _uid(known):
                yield "DELETED", known
        for where, item in found.items():
            before = self._objects.get(where)
            if before is None or _uid(before) != _uid(item):
                yield "ADDED", item
            elif _version(before) != _version(item):
                yield "MODIFIED", item

    def _follow(self, version: str) -> bool:
        """Record what comes; whether anything did."""
        heard = False
        events = self._api.watch(self._kind, self._namespace, since=version, quiet=QUIET)
        for event in events:
            with self._waiters.lock:
                self._feed.trouble = None
                # Kept event by event, so that what breaks the stream never has one told twice.
                self._version = _version(event.object)
                heard = True
                if self._closed:
                    break
                if event.type != "BOOKMARK":
                    self._tell([self._seen(event.type, event.object)])
        return heard

    def _seen(self, kind: EventType, found: Json, *, relisted: bool = False) -> Seen:
        return Seen(self._clock.monotonic(), self._clock.now(), kind, found, relisted)

    def _tell(self, batch: Sequence[Seen]) -> None:
        for seen in batch:
            if seen.type == "DELETED":
                self._objects.pop(key(seen.object), None)
            else:
                self._objects[key(seen.object)] = seen.object
        for watch in self._watches:
            watch.take(batch)
        self._waiters.changed()

    def _rest(self, error: KtError | None, attempt: int) -> None:
        with self._waiters.lock:
            self._feed.trouble = error or self._feed.trouble
            self._waiters.changed()
            if not self._closed:
                self._waiters.rest(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])

    def _end(self, error: Exception) -> None:
        with self._waiters.lock:
            self._feed.fatal = error
            self._waiters.changed()


class Streams:
    """The streams of one run.

    Args:
        api: the server.
        clock: stamps what arrives.
        wide: one stream a type for all namespaces; else one a type and namespace, which needs
            fewer rights and less of a big cluster.
    """

    def __init__(self, api: KubeApi, clock: Clock, *, wide: bool = False) -> None:
        self._api = api
        self._clock = clock
        self._wide = wide
        self._streams: dict[tuple[Kind, str | None], Stream] = {}
        self.waiters = Waiters(clock)

    def of(self, kind: Kind, namespace: str | None) -> Stream:
        """The stream of a type that covers a namespace; the caller holds the lock."""
        scope = None if self._wide else namespace
        if (kind, scope) not in self._streams:
            self._streams[kind, scope] = Stream(self._api, self._clock, kind, scope, self.waiters)
        return self._streams[kind, scope]

    def close(self) -> None:
        """Stop all of them."""
        with self.waiters.lock:
            for stream in self._streams.values():
                stream.close()

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Watches:
    """The watches of one run: asking twice for the same gives the same.

    Args:
        api: the server.
        clock: stamps what arrives.
        streams: what they read from, shared with other runs; None: streams of its own.
    """

    def __init__(self, api: KubeApi, clock: Clock, streams: Streams | None = None) -> None:
        self._streams = streams or Streams(api, clock)
        self._own = streams is None
        self._watches: dict[tuple[Kind, str | None, str | None], tuple[Stream, Watch]] = {}

    def of(self, kind: Kind, namespace: str | None = None, labels: str | None = None) -> Watch:
        """The watch on a type, in one namespace or all; started and not yet listed if new."""
        with self._streams.waiters.lock:
            wanted = (kind, namespace, labels)
            if wanted not in self._watches:
                stream = self._streams.of(kind, namespace)
                self._watches[wanted] = (stream, stream.watch(namespace, labels))
            return self._watches[wanted][1]

    def close(self) -> None:
        """Stop all of them."""
        with self._streams.waiters.lock:
            for stream, watch in self._watches.values():
                stream.leave(watch)
                watch.close()
            self._watches.clear()
        if self._own:
            self._streams.close()

    def __enter__(self) -> Watches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _uid(found: Json) -> str:
    return str(found["metadata"].get("uid", ""))


def _version(found: Json) -> str:
    return str(found["metadata"]["resourceVersion"])
