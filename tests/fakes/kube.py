"""An API server of memory: KubeApi as the real one does it, with strings for a test to pull.

    kube = FakeKube()
    kube.on("create", DEPLOYMENT, lambda kube, found: kube.create(pod_of(found)))
    kube.fail_next(ConflictError(409, "Conflict", "…"), verb="patch")
    kube.cut()                      # every open watch ends, as a dropped connection does
    kube.cut(GoneError(410, …))     # … or is told an error
    kube.forget()                   # every resourceVersion before now is too old to watch from
    with kube.away(): …             # nothing answers

Nothing is scheduled or run: a test plays the controllers with `on`, `set_status` and `gone`.
`tests/contract/` holds it to what the real one does.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from kops_toolkit.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    KtError,
    ObjectNotFoundError,
    UnreachableError,
)
from kops_toolkit.kube.api import KINDS, NODE, POD, SERVICE_ACCOUNT, Kind, Listing, WatchEvent
from tests.fakes.clock import FakeClock
from tests.fakes.kube_objects import applied, merged, operated, selected, strategic, take
from tests.fakes.kube_store import Change, Key, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kops_toolkit.kube.api import Json, KubeApi, PatchType
    from kops_toolkit.system.clock import Clock

    React = Callable[["FakeKube", Json], object]

UPDATE = ("kt", "Update")


class FakeKube(Store):
    """Implements KubeApi; safe to use from several threads.

    Attributes:
        calls: verb, kind and name (or "") of every call, in order.
        logged: what a container says, by (namespace, pod).
        texts: bodies for `text`, by path.
    """

    def __init__(self, clock: Clock | None = None, *, nodes: Sequence[str] = ()) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.logged: dict[tuple[str, str], list[str]] = {}
        self.texts = {"/readyz": "ok", "/livez": "ok"}
        super().__init__(clock or FakeClock())
        self._kinds = {(kind.api_version, kind.kind): kind for kind in KINDS.values()}
        self._away = False
        self._failures: list[tuple[str | None, Kind | None, KtError]] = []
        self._tokens: set[str] = set()
        self._stranger = False
        self._reactions: list[tuple[str, Kind, React]] = []
        for name in ("default", "kube-system"):
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for name in nodes:
            self.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        self.calls.clear()

    # ---- strings to pull

    def on(self, verb: str, kind: Kind, react: React) -> None:
        """After each `create`, `patch` (apply included) or `delete` of a type, do this."""
        self._reactions.append((verb, kind, react))

    def knows(self, kind: Kind) -> None:
        """Serve one more type."""
        self._kinds[kind.api_version, kind.kind] = kind

    def fail_next(
        self, error: KtError, *, verb: str | None = None, kind: Kind | None = None
    ) -> None:
        """The next call (of that verb, of that type) raises this; each failure is used once."""
        self._failures.append((verb, kind, error))

    def cut(self, error: KtError | None = None) -> None:
        """End every open watch and followed log, quietly or with an error."""
        with self._changed:
            self._epoch += 1
            self._cut_by = error
            self._changed.notify_all()

    def forget(self) -> None:
        """Compact: every resourceVersion before the present one is too old to watch from."""
        with self._changed:
            self._oldest = self._version  # open watches go on: they were told, or will be

    def bookmark(self) -> None:
        """Tell every open watch the present resourceVersion."""
        with self._changed:
            self._version += 1
            mark = {"metadata": {"resourceVersion": str(self._version)}}
            self._changes.append(Change(self._version, (POD, "", ""), "BOOKMARK", mark, None))
            self._changed.notify_all()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block only the caller's thread gets answers: for changes nobody watches."""
        with self._changed:
            yield

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within the block nothing answers and open connections are dead."""
        self._away = True
        self.cut()
        try:
            yield
        finally:
            self._away = False

    def set_status(self, kind: Kind, name: str, namespace: str | None, **status: Any) -> Json:  # noqa: ANN401 - JSON values
        """Merge into the status, as a controller or kubelet does."""
        return self.patch(kind, name, namespace, {"status": status}, subresource="status")

    def gone(self, kind: Kind, name: str, namespace: str | None = None) -> None:
        """Take an object away at once, as the kubelet does when a pod has ended."""
        with self._changed:
            self._vanish((kind, namespace or "", name))

    def says(self, namespace: str, pod: str, *lines: str) -> None:
        """A container writes lines; each is stamped with the clock."""
        with self._changed:
            stamp = self._stamp().replace("Z", ".000000000Z")
            self.logged.setdefault((namespace, pod), []).extend(f"{stamp} {x}" for x in lines)
            self._changed.notify_all()

    # ---- KubeApi

    @property
    def server(self) -> str:
        return "https://fake.invalid:6443"

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Json:
        with self._called("get", kind, name):
            return copy.deepcopy(self._known((kind, namespace or "", name)))

    def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Listing:
        with self._called("list", kind):
            found = [
                copy.deepcopy(item)
                for key, item in sorted(self._objects.items(), key=lambda pair: pair[0][1:])
                if key[0] == kind
                and namespace in {None, key[1]}
                and selected(item, labels, fields, kind)
            ]
            return Listing(tuple(found), str(self._version))

    def create(self, body: Json, namespace: str | None = None, *, dry_run: bool = False) -> Json:
        kind = self._kind(body)
        with self._called("create", kind, body["metadata"].get("name", "")):
            made = copy.deepcopy(body)
            meta = made["metadata"]
            if "name" not in meta and "generateName" in meta:
                meta["name"] = f"{meta['generateName']}{self._uids + 1:05x}"
            key = self._place(kind, made, namespace)
            if key in self._objects:
                message = f'{kind.plural} "{key[2]}" already exists'
                raise ConflictError(409, "AlreadyExists", message)
            if meta.get("resourceVersion"):
                message = "resourceVersion should not be set on objects to be created"
                raise ApiError(500, "", message)  # not 400: so says the real one
            self._fill(kind, made)
            if dry_run:
                return made
            take(self._owners.setdefault(key, {}), {}, made, UPDATE)
            self._store(key, made, "ADDED")
            self._react("create", key)
            return copy.deepcopy(self._objects.get(key, made))

    def apply(self, body: Json, namespace: str | None = None, *, manager: str = "kt") -> Json:
        kind = self._kind(body)
        with self._called("apply", kind, body["metadata"]["name"]):
            key = self._place(kind, copy.deepcopy(body), namespace)
            found = self._objects.get(key)
            owners = copy.deepcopy(self._owners.get(key, {}))
            who = (manager, "Apply")
            result = applied(found or {}, body, owners, who, kind.api_version)
            if found is None:
                result.update(apiVersion=kind.api_version, kind=kind.kind)
                result.setdefault("metadata", {})["name"] = key[2]
                if kind.namespaced:
                    result["metadata"]["namespace"] = key[1]
                self._fill(kind, result)
            self._owners[key] = owners
            if found is None:
                self._store(key, result, "ADDED")
            else:
                self._change(key, result)
            self._react("create" if found is None else "patch", key)
            return copy.deepcopy(self._objects.get(key, result))

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        body: Json | Sequence[Json],
        *,
        how: PatchType = "merge",
        subresource: str | None = None,
    ) -> Json:
        with self._called("patch", kind, name):
            key = (kind, namespace or "", name)
            found = self._known(key)
            if how == "json":
                result = operated(found, cast("Sequence[Json]", body))
            else:
                self._fresh(found, cast("Json", body))
                result = (merged if how == "merge" else strategic)(found, body)
            if subresource == "status":
                result = {**found, "status": result.get("status", {})}
            elif "status" in found and kind not in {NODE}:
                result["status"] = found["status"]
            for field in ("uid", "resourceVersion", "creationTimestamp"):
                result["metadata"] = {**result["metadata"], field: found["metadata"][field]}
            take(self._owners.setdefault(key, {}), found, result, UPDATE)
            self._change(key, result)
            self._react("patch", key)
            return copy.deepcopy(self._objects.get(key, result))

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = None,
        uid: str | None = None,
    ) -> None:
        with self._called("delete", kind, name):
            key = (kind, namespace or "", name)
            found = self._known(key)
            has = found["metadata"]["uid"]
            if uid is not None and uid != has:
                message = f"Precondition failed: UID in precondition: {uid}, UID in object: {has}"
                raise ConflictError(409, "Conflict", message)
            self._begin_end(key, grace)
            self._react("delete", key, found)

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        since: str,
        labels: str | None = None,
        quiet: float = 30.0,
    ) -> Iterator[WatchEvent]:
        with self._called("watch", kind):
            if int(since) < self._oldest:
                message = f"too old resource version: {since} ({self._oldest})"
                raise GoneError(410, "Expired", message)
            if int(since) > self._version:
                message = f"Too large resource version: {since}, current: {self._version}"
                raise ApiError(504, "Timeout", message)
            epoch, last = self._epoch, int(since)
        while True:
            with self._changed:
                fresh = self._news(last, epoch, quiet)
            if fresh is None:
                return
            for change in fresh:
                last = change.version
                told = change.seen_as(kind, namespace, labels)
                if told:
                    yield WatchEvent(told, copy.deepcopy(change.object))

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,  # noqa: ARG002 - one container a pod is enough here
        *,
        follow: bool = False,
    ) -> Iterator[str]:
        key = (POD, namespace, pod)
        with self._called("logs", POD, pod):
            self._known(key)
            epoch = self._epoch
        told = 0
        while True:
            with self._changed:
                lines = self.logged.get((namespace, pod), [])[told:]
                if not lines:
                    if not follow or key not in self._objects or epoch != self._epoch:
                        return
                    self._changed.wait(30)
            told += len(lines)
            yield from lines

    def token(self, namespace: str, account: str) -> str:
        with self._called("token", SERVICE_ACCOUNT, account):
            self._known((SERVICE_ACCOUNT, namespace, account))
            self._tokens.add(f"{namespace}:{account}")
            return f"{namespace}:{account}"

    def as_token(self, token: str) -> KubeApi:
        if token in self._tokens:
            return self
        stranger = FakeKube(self._clock)
        stranger._stranger = True
        return stranger

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:  # noqa: ARG002 - as above
        with self._called("text", NODE, path):
            if path not in self.texts:
                raise ObjectNotFoundError(404, "NotFound", "404 page not found")
            return self.texts[path]

    # ---- inside

    @contextmanager
    def _called(self, verb: str, kind: Kind, name: str = "") -> Iterator[None]:
        with self._changed:
            self.calls.append((verb, kind.kind, name))
            if self._away:
                raise UnreachableError(f"the API server at {self.server} does not answer")
            if self._stranger:
                raise ForbiddenError(401, "Unauthorized", "Unauthorized")
            for index, (which, what, error) in enumerate(self._failures):
                if which in {None, verb} and what in {None, kind}:
                    del self._failures[index]
                    raise error
            if (kind.api_version, kind.kind) not in self._kinds:
                message = "the server could not find the requested resource"
                raise ObjectNotFoundError(404, "NotFound", message)
            yield

    def _kind(self, body: Json) -> Kind:
        version, kind = body["apiVersion"], body["kind"]
        return self._kinds.get((version, kind)) or Kind(version, kind, kind.lower() + "s")

    def _react(self, verb: str, key: Key, was: Json | None = None) -> None:
        for which, kind, react in list(self._reactions):
            if which == verb and kind == key[0]:
                found = was or self._objects.get(key)
                if found is not None:
                    react(self, copy.deepcopy(found))
