"""After the swap: does the member hold, and the API serve, exactly what the snapshot predicts?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import ArtefactInvalidError, KtError, TimedOutError, UnreachableError
from kops_toolkit.etcd import objects
from kops_toolkit.etcd.client import Client
from kops_toolkit.etcd.refusals import RevisionAwayError
from kops_toolkit.outcome import Check, Evidence, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kops_toolkit.etcd.endpoint import Endpoint
    from kops_toolkit.etcd.messages import KvHash
    from kops_toolkit.etcd.restore.predict import Prediction
    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.system.clock import Clock

EVERY = 0.2  # seconds between two tries; nothing tells of a member that is about to listen
PAGE = "500"  # objects of one answer
SHOWN = 3  # objects named where some differ

Objects = dict[tuple[str, ...], int]  # (namespace and name, or name): resourceVersion


def member_hash(endpoint: Endpoint, revision: int, clock: Clock, patience: float) -> KvHash:
    """The member's own HashKV, as soon as it serves.

    Raises:
        TimedOutError: it did not serve within `patience` seconds.
        RevisionAwayError: it serves, but the revision is compacted or not there.
    """
    until = clock.monotonic() + patience
    while True:
        try:
            with Client(endpoint) as client:
                return client.hash_kv(revision)
        except RevisionAwayError:
            raise
        except UnreachableError as error:
            if clock.monotonic() > until:
                raise TimedOutError(
                    f"etcd did not serve within {patience:.0f} s: {error.message}"
                ) from error
        clock.sleep(EVERY)


def member_holds(
    endpoint: Endpoint, wanted: tuple[int, int], clock: Clock, patience: float
) -> Check:
    """Compare the member's own HashKV at the restored revision with the computed one.

    Args:
        endpoint: the member.
        wanted: the restored revision, and HashKV there.
        clock: measures.
        patience: seconds until it must serve.

    Raises:
        ArtefactInvalidError: it serves something else.
        TimedOutError: it does not serve.
    """
    revision, expected = wanted
    told = member_hash(endpoint, revision, clock, patience)
    if (told.hash, told.compact_revision) != (expected, revision):
        raise ArtefactInvalidError(
            f"etcd at {endpoint.url} says HashKV {told.hash} at revision {revision}, compacted at"
            f" {told.compact_revision}; the snapshot predicts {expected}, compacted at {revision}"
        )
    return Check(
        "member-holds",
        "etcd itself computes the HashKV that the snapshot predicts",
        Status.PASSED,
        (
            Evidence(
                f"HashKV {expected} at revision {revision}",
                f"HashKV {told.hash} at revision {told.revision}, compacted there",
                endpoint.url,
            ),
        ),
    )


def wait_ready(api: KubeApi, clock: Clock, patience: float) -> None:
    """Wait until /readyz says so.

    Raises:
        TimedOutError: it did not within `patience` seconds.
    """
    until = clock.monotonic() + patience
    while True:
        try:
            api.text("/readyz")
        except KtError as error:
            if clock.monotonic() > until:
                raise TimedOutError(
                    f"the API server was not ready within {patience:.0f} s: {error.message}"
                ) from error
        else:
            return
        clock.sleep(EVERY)


def api_serves(api: KubeApi, prediction: Prediction, clock: Clock) -> Check:
    """List every resource as of the restored revision, and compare each object's version.

    The list is exact at that revision, so what controllers wrote since is not in it.
    """
    begin = clock.monotonic()
    expected = _predicted(prediction)
    paths = dict(_discovered(api))
    unknown = sorted(set(expected) - set(paths))
    wrong: list[str] = []
    count = 0
    for resource, objects_ in expected.items():
        if resource not in unknown:
            served = _listed(api, paths[resource], str(prediction.revision))
            count += len(served)
            wrong += _differences(resource, served, _placed(objects_, served))
    listed = len(expected) - len(unknown)
    observed = f"{count} objects of {listed} resources"
    if unknown:
        observed += f"; not served at all, so only etcd's hash speaks for: {', '.join(unknown)}"
    if wrong:
        observed += f"; {len(wrong)} differ: " + ", ".join(wrong[:SHOWN])
    failed = bool(wrong) or not listed
    return Check(
        "api-serves",
        "The API serves every object of the snapshot at its old version, and no other",
        Status.FAILED if failed else Status.PASSED,
        (
            Evidence(
                f"{sum(map(len, expected.values()))} objects, as in the snapshot",
                observed,
                f"{api.server} at resourceVersion {prediction.revision}",
            ),
        ),
        reason="the API serves something else" if failed else "",
        seconds=clock.monotonic() - begin,
    )


def _predicted(prediction: Prediction) -> Mapping[str, Objects]:
    """Keys of etcd per resource, cut into their parts."""
    found: dict[str, Objects] = {}
    for key, version in prediction.live.items():
        resource = objects.resource(key)
        if resource != objects.OTHER:
            parts = tuple(key.decode("utf-8", "backslashreplace").split("/"))
            found.setdefault(resource, {})[parts] = version
    return found


def _placed(predicted: Objects, served: Objects) -> Objects:
    """Predicted keys shortened to (namespace, name) or (name,): what the served ones have."""
    parts = len(next(iter(served))) if served else 1
    return {key[-parts:]: version for key, version in predicted.items()}


def _differences(resource: str, served: Objects, predicted: Objects) -> Iterator[str]:
    for name, _ in sorted(served.items() ^ predicted.items()):
        have, want = served.get(name), predicted.get(name)
        yield f"{resource} {'/'.join(name)} (served {have}, in the snapshot {want})"


def _discovered(api: KubeApi) -> Iterator[tuple[str, str]]:
    """Resources as `objects.resource` names them, and the path that lists each."""
    groups = [
        (group["name"], f"/apis/{group['preferredVersion']['groupVersion']}")
        for group in _json(api, "/apis").get("groups") or ()
    ]
    seen: set[str] = set()
    for group_name, root in [("", "/api/v1"), *groups]:
        for resource in _json(api, root).get("resources") or ():
            if "list" not in resource["verbs"]:
                continue
            for name in (resource["name"], f"{resource['name']}.{group_name}"):
                if name not in seen:
                    seen.add(name)
                    yield name, f"{root}/{resource['name']}"


def _listed(api: KubeApi, path: str, revision: str) -> Objects:
    found: Objects = {}
    query = {"resourceVersion": revision, "resourceVersionMatch": "Exact", "limit": PAGE}
    while True:
        answer = _json(api, path, query)
        for item in answer.get("items") or ():
            meta = item["metadata"]
            place = (meta["namespace"],) if "namespace" in meta else ()
            found[*place, meta["name"]] = int(meta["resourceVersion"])
        token = answer["metadata"].get("continue")
        if not token:
            return found
        query = {"continue": token, "limit": PAGE}


def _json(api: KubeApi, path: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - a JSON document
    return json.loads(api.text(path, query))
