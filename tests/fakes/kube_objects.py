"""What FakeKube does to objects: selectors, patches, field ownership; pure functions."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import ApiError, ConflictError
from kops_toolkit.kube.api import POD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kops_toolkit.kube.api import Json, Kind

Path = tuple[str, ...]
Manager = tuple[str, str]  # name and operation: the same name's Apply and Update are two managers
Owners = dict[Path, set[Manager]]

# Set by the server or naming the object: nobody owns these.
UNOWNED = {
    ("apiVersion",),
    ("kind",),
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("metadata", "uid"),
    ("metadata", "resourceVersion"),
    ("metadata", "generation"),
    ("metadata", "creationTimestamp"),
    ("metadata", "deletionTimestamp"),
    ("metadata", "deletionGracePeriodSeconds"),
}
MERGE_KEYS = ("name", "type", "ip")  # what strategic merge tells list items apart by


def selected(found: Json, labels: str | None, fields: str | None, kind: Kind) -> bool:
    """Whether an object is selected by both selectors."""
    has = found["metadata"].get("labels") or {}
    return all(term(has) for term in _label_terms(labels or "")) and all(
        (_at(found, path) == value) is equal for path, value, equal in _field_terms(fields, kind)
    )


def _label_terms(selector: str) -> Iterator[Callable[[dict[str, str]], bool]]:
    for term in re.split(r",(?![^(]*\))", selector):
        text = term.strip()
        if not text:
            continue
        if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", text):
            key, wanted = found[1], {value.strip() for value in found[3].split(",")}
            inside = found[2] == "in"
            yield lambda has, k=key, w=wanted, i=inside: (  # type: ignore[misc]  # bound early
                (has.get(k) in w) is i
            )
        elif found := re.fullmatch(r"(\S+?)\s*(!=|==?)\s*(\S*)", text):
            same = found[2] != "!="
            yield lambda has, k=found[1], v=found[3], s=same: (  # type: ignore[misc]  # as above
                (has.get(k) == v) is s
            )
        elif text.startswith("!"):
            yield lambda has, k=text[1:]: k not in has  # type: ignore[misc]  # as above
        else:
            yield lambda has, k=text: k in has  # type: ignore[misc]  # as above


def _field_terms(selector: str | None, kind: Kind) -> Iterator[tuple[Path, str, bool]]:
    known = {"metadata.name", "metadata.namespace"}
    if kind == POD:
        known |= {"spec.nodeName", "status.phase"}
    for term in (selector or "").split(","):
        if not term:
            continue
        found = re.fullmatch(r"(\S+?)(!=|==?)(\S*)", term)
        if not found or found[1] not in known:
            raise ApiError(400, "BadRequest", f"field label not supported: {term}")
        yield tuple(found[1].split(".")), found[3], found[2] != "!="


def _at(found: Any, path: Path) -> Any:  # noqa: ANN401 - a JSON value
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return "" if found is None else found


def merged(target: Any, change: Any) -> Any:  # noqa: ANN401 - JSON values
    """RFC 7386: objects are merged, null removes, all else replaces."""
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def strategic(target: Any, change: Any) -> Any:  # noqa: ANN401 - JSON values
    """As `merged`, but lists of named things are merged by name."""
    if isinstance(change, list):
        return _by_key(target, change)
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = strategic(result.get(key), value)
    return result


def _by_key(target: Any, change: list[Any]) -> list[Any]:  # noqa: ANN401 - a JSON value
    items = [item for item in change if isinstance(item, dict)]
    shared = [key for key in MERGE_KEYS if items and all(key in item for item in items)]
    if not shared or len(items) != len(change) or not isinstance(target, list):
        return copy.deepcopy(change)
    key = shared[0]
    result = {item[key]: item for item in target}
    for item in items:
        if item.get("$patch") == "delete":
            result.pop(item[key], None)
        else:
            result[item[key]] = strategic(result.get(item[key]), item)
    return list(result.values())


def operated(target: Json, operations: Sequence[Json]) -> Json:
    """RFC 6902: add, replace, remove, test; a 422 if one does not fit."""
    result = copy.deepcopy(target)
    for operation in operations:
        *path, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
        ]
        place: Any = result
        try:
            for step in path:
                place = place[int(step)] if isinstance(place, list) else place[step]
            _operate(place, last, operation)
        except (KeyError, IndexError, ValueError) as cause:
            raise ApiError(
                422, "Invalid", "the server rejected our request due to an error in our request"
            ) from cause
    return result


def _operate(place: Any, last: str, operation: Json) -> None:  # noqa: ANN401 - a JSON value
    verb = operation["op"]
    if isinstance(place, list):
        at = len(place) if last == "-" else int(last)
        if verb == "add":
            place.insert(at, operation["value"])
        elif verb == "remove":
            del place[at]
        else:
            _replace(place, at, operation)
    elif verb == "add":
        place[last] = operation["value"]
    elif verb == "remove":
        del place[last]
    else:
        _replace(place, last, operation)


def _replace(place: Any, at: str | int, operation: Json) -> None:  # noqa: ANN401 - a JSON value
    known = place[at]
    if operation["op"] == "test" and known != operation["value"]:
        raise ValueError("test failed")
    place[at] = operation["value"]


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:  # noqa: ANN401 - a JSON value
    """Path to value of all that can be owned; a list is owned as a whole, which is simplified."""
    if path in UNOWNED or path[:1] == ("status",):
        return {}
    if not isinstance(value, dict) or not value:
        return {path: value} if path else {}
    found: dict[Path, Any] = {}
    for key, inner in value.items():
        found |= leaves(inner, (*path, key))
    return found


def take(owners: Owners, before: Json, after: Json, manager: Manager) -> None:
    """An update takes what it changed away from everybody else."""
    was, now = leaves(before), leaves(after)
    for path in was.keys() - now.keys():
        owners.pop(path, None)
    for path, value in now.items():
        if path not in was or was[path] != value:
            owners[path] = {manager}


def applied(found: Json, body: Json, owners: Owners, manager: Manager, api_version: str) -> Json:
    """Server-side apply: what others own and want otherwise is a 409, what was given up goes."""
    now, wanted = leaves(found), leaves(body)
    using = f" using {api_version}"
    clashes = [
        f'conflict with "{other[0]}"{using if other[1] == "Update" else ""}: .{".".join(path)}'
        for path, value in wanted.items()
        for other in sorted(owners.get(path, set()) - {manager})
        if value != {} and now.get(path) != value
    ]
    if clashes:
        many = "conflict" if len(clashes) == 1 else "conflicts"
        message = f"Apply failed with {len(clashes)} {many}: {', '.join(clashes)}"
        raise ConflictError(409, "Conflict", message)
    result = copy.deepcopy(found)
    for path in [path for path, who in owners.items() if manager in who and path not in wanted]:
        owners[path].discard(manager)
        if not owners[path]:
            del owners[path]
            _remove(result, path)
    for path, value in wanted.items():
        owners.setdefault(path, set()).add(manager)
        place = result
        for step in path[:-1]:
            place = place.setdefault(step, {})
        if value != {} or not isinstance(place.get(path[-1]), dict):
            place[path[-1]] = copy.deepcopy(value)
    return result


def _remove(found: Json, path: Path) -> None:
    place = found
    for step in path[:-1]:
        place = place.get(step, {})
    place.pop(path[-1], None)
