"""The objects of FakeKube: how they are stored, changed, deleted and told to watches."""

from __future__ import annotations

import copy
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    KtError,
    ObjectNotFoundError,
)
from kops_toolkit.kube.api import DEPLOYMENT, NAMESPACE, POD, Kind
from tests.fakes.kube_objects import Owners, selected

if TYPE_CHECKING:
    from kops_toolkit.kube.api import EventType, Json
    from kops_toolkit.system.clock import Clock

Key = tuple[Kind, str, str]  # type, namespace or "", name
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True)
class Change:
    version: int
    key: Key
    type: EventType
    object: Json
    before: Json | None

    def seen_as(self, kind: Kind, namespace: str | None, labels: str | None) -> EventType | None:
        """How it looks through a selector: what enters it is added, what leaves it deleted."""
        if self.type == "BOOKMARK":
            return "BOOKMARK"
        if self.key[0] != kind or namespace not in {None, self.key[1]}:
            return None
        was = self.before is not None and selected(self.before, labels, None, kind)
        now = self.type != "DELETED" and selected(self.object, labels, None, kind)
        if now:
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else None


class Store:
    """Methods expect the caller to hold `_changed`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._objects: dict[Key, Json] = {}
        self._owners: dict[Key, Owners] = {}
        self._changes: list[Change] = []
        self._version = 100
        self._oldest = 100
        self._uids = 0
        self._epoch = 0
        self._cut_by: KtError | None = None

    def _known(self, key: Key) -> Json:
        if key not in self._objects:
            raise ObjectNotFoundError(404, "NotFound", f'{key[0].plural} "{key[2]}" not found')
        return self._objects[key]

    def _place(self, kind: Kind, body: Json, namespace: str | None) -> Key:
        meta = body["metadata"]
        name = meta.get("name", "")
        if not NAME.fullmatch(name):
            message = f'{kind.kind} "{name}" is invalid: metadata.name: Invalid value: "{name}"'
            raise ApiError(422, "Invalid", message)
        if not kind.namespaced:
            return (kind, "", name)
        where = namespace or meta.get("namespace", "")
        if not where:
            message = "the server does not allow this method on the requested resource"
            raise ApiError(405, "MethodNotAllowed", message)
        if meta.setdefault("namespace", where) != where:
            message = "the namespace of the provided object does not match the namespace sent"
            raise ApiError(400, "BadRequest", message)
        home = self._objects.get((NAMESPACE, "", where))
        if home is None:
            raise ObjectNotFoundError(404, "NotFound", f'namespaces "{where}" not found')
        if "deletionTimestamp" in home["metadata"] and (kind, where, name) not in self._objects:
            message = f"unable to create new content in namespace {where}: it is being terminated"
            raise ForbiddenError(403, "Forbidden", message)
        return (kind, where, name)

    def _fresh(self, found: Json, body: Json) -> None:
        for field in ("resourceVersion", "uid"):
            wanted = (body.get("metadata") or {}).get(field)
            if wanted and wanted != found["metadata"][field]:
                message = f"the object has been modified: {field} is not {wanted}"
                raise ConflictError(409, "Conflict", message)

    def _fill(self, kind: Kind, made: Json) -> None:
        self._uids += 1
        meta = made["metadata"]
        meta["uid"] = f"00000000-0000-4000-8000-{self._uids:012d}"
        meta["creationTimestamp"] = self._stamp()
        if "spec" in made:
            meta["generation"] = 1
        if kind == NAMESPACE:
            meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
            made["status"] = {"phase": "Active"}
        if kind == POD:
            made["status"] = {"phase": "Pending"}

    def _stamp(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _store(self, key: Key, found: Json, kind: EventType) -> None:
        before = self._objects.get(key)
        self._version += 1
        found = copy.deepcopy(found)
        found["metadata"]["resourceVersion"] = str(self._version)
        if kind == "DELETED":
            self._objects.pop(key, None)
            self._owners.pop(key, None)
        else:
            self._objects[key] = found
        self._changes.append(Change(self._version, key, kind, found, before))
        self._changed.notify_all()

    def _change(self, key: Key, result: Json) -> None:
        before = self._objects[key]
        if result == before:
            return  # nothing changed: no new resourceVersion, no event
        meta = result["metadata"] = dict(result["metadata"])
        if self._intent(key[0], result) != self._intent(key[0], before):
            meta["generation"] = meta.get("generation", 1) + 1
        self._store(key, result, "MODIFIED")
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            self._finish(key)

    def _intent(self, kind: Kind, found: Json) -> tuple[Any, ...]:
        notes = found["metadata"].get("annotations") if kind == DEPLOYMENT else None
        return found.get("spec"), notes  # a Deployment's annotations reach its ReplicaSets

    def _begin_end(self, key: Key, grace: int | None) -> None:
        found = copy.deepcopy(self._objects[key])
        meta, spec = found["metadata"], found.get("spec") or {}
        if grace is None and key[0] == POD:
            grace = spec.get("terminationGracePeriodSeconds", 30)
        lingers = key[0] == POD and bool(spec.get("nodeName")) and grace != 0
        if meta.get("finalizers") or lingers or key[0] == NAMESPACE:
            if "deletionTimestamp" not in meta:
                meta["deletionTimestamp"] = self._stamp()
                meta["deletionGracePeriodSeconds"] = grace or 0
                if key[0] == NAMESPACE:
                    found["status"] = {"phase": "Terminating"}
                self._store(key, found, "MODIFIED")
            if key[0] == NAMESPACE:
                self._finish(key)
        else:
            self._vanish(key)

    def _finish(self, key: Key) -> None:
        found = self._objects.get(key)
        if found is None:
            return
        if key[0] == NAMESPACE:
            for inner in [other for other in self._objects if other[1] == key[2]]:
                if inner in self._objects:  # the one before may have taken it along
                    self._begin_end(inner, 0)
            if any(other[1] == key[2] for other in self._objects):
                return
        lingers = key[0] == POD and found["metadata"].get("deletionGracePeriodSeconds")
        if not found["metadata"].get("finalizers") and not lingers:
            self._vanish(key)

    def _vanish(self, key: Key) -> None:
        found = self._objects.get(key)
        if found is None:
            return
        self._store(key, found, "DELETED")
        uid = found["metadata"]["uid"]
        for other, item in list(self._objects.items()):  # the garbage collector
            owners = item["metadata"].get("ownerReferences") or ()
            if other in self._objects and any(owner["uid"] == uid for owner in owners):
                self._begin_end(other, None)
        home = (NAMESPACE, "", key[1])
        if key[1] and "deletionTimestamp" in self._objects.get(home, {}).get("metadata", {}):
            self._finish(home)

    def _news(self, last: int, epoch: int, quiet: float) -> list[Change] | None:
        while True:
            if self._epoch != epoch:  # what was not told before the cut is told to the next watch
                if self._cut_by is not None:
                    raise self._cut_by
                return None
            fresh = [change for change in self._changes if change.version > last]
            if fresh:
                return fresh
            if not self._changed.wait(quiet):
                return None
