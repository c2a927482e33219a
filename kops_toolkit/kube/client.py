"""The real API server, over the official client's transport.

Authentication, TLS, proxies and exec plugins are the official client's; objects stay raw JSON.
"""

from __future__ import annotations

import json
from copy import copy
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import urllib3.exceptions
import yaml
from kubernetes import config
from kubernetes.config.config_exception import ConfigException

from kops_toolkit.errors import ArtefactInvalidError, KtError, NotFoundError, UsageError
from kops_toolkit.kube.api import (
    KINDS,
    POD,
    SERVICE_ACCOUNT,
    Json,
    Kind,
    Listing,
    PatchType,
    WatchEvent,
)
from kops_toolkit.kube.failures import garbled, of_status, rejected, translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from kubernetes.client import ApiClient

CONNECT_WITHIN = 5.0  # seconds for TCP and TLS
ANSWER_WITHIN = 30.0  # seconds of silence in an ordinary answer
LOG_SILENCE = 3600.0  # a followed log may be silent for long; the pod's end ends it
CONNECTIONS = 64  # a watch holds one each; a smaller pool would discard and reopen
HTTP_ERRORS = 400
PATCH_TYPES: Mapping[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


def connect(kubeconfig: Path, context: str) -> RealKube:
    """An API server by its context in a kubeconfig file; nothing is sent yet.

    Raises:
        NotFoundError: no such file, or no such context in it.
        ArtefactInvalidError: the file is no kubeconfig.
    """
    known = contexts(kubeconfig)
    if context not in known:
        listed = ", ".join(known) or "none"
        raise NotFoundError(f"{kubeconfig} has no context called {context}", f"it has: {listed}")
    try:
        client = config.new_client_from_config(str(kubeconfig), context=context)  # type: ignore[no-untyped-call]  # the client has no types here
    except (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError) as cause:
        raise _unusable(kubeconfig, str(cause)) from cause
    return RealKube(client)


def contexts(kubeconfig: Path) -> tuple[str, ...]:
    """Names of the contexts in a kubeconfig file.

    Raises:
        NotFoundError: no such file.
        ArtefactInvalidError: the file is no kubeconfig.
    """
    try:
        found = yaml.safe_load(kubeconfig.read_bytes())
        return tuple(str(item["name"]) for item in found.get("contexts") or ())
    except FileNotFoundError as cause:
        raise NotFoundError(f"there is no kubeconfig at {kubeconfig}") from cause
    except OSError as cause:
        raise _unusable(kubeconfig, str(cause.strerror)) from cause
    except (yaml.YAMLError, AttributeError, TypeError, KeyError) as cause:
        raise _unusable(kubeconfig, "it does not have a kubeconfig's form") from cause


class RealKube:
    """Implements KubeApi.

    Args:
        client: the official client, ready with address, TLS and credentials.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        # No retries of its own: what failed is told, and who waits decides.
        self._pool = client.rest_client.pool_manager
        self._pool.connection_pool_kw["maxsize"] = CONNECTIONS

    @property
    def server(self) -> str:
        """See KubeApi."""
        return str(self._client.configuration.host)

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Json:
        """See KubeApi."""
        return self._json("GET", _path(kind, namespace, name))

    def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Listing:
        """See KubeApi."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        found = self._json("GET", _path(kind, namespace), query)
        # Items of a list come without their type, which evidence wants to name.
        typed = {"apiVersion": kind.api_version, "kind": kind.kind}
        try:
            items = tuple({**typed, **item} for item in found.get("items") or ())
            return Listing(items, found["metadata"]["resourceVersion"])
        except (KeyError, TypeError) as cause:
            raise garbled(self.server) from cause

    def create(self, body: Json, namespace: str | None = None, *, dry_run: bool = False) -> Json:
        """See KubeApi."""
        query = {"dryRun": "All" if dry_run else None}
        return self._json("POST", _path(kind_of(body), _home(body, namespace)), query, body)

    def apply(self, body: Json, namespace: str | None = None, *, manager: str = "kt") -> Json:
        """See KubeApi."""
        path = _path(kind_of(body), _home(body, namespace), body["metadata"]["name"])
        content = "application/apply-patch+yaml"  # JSON is YAML
        return self._json("PATCH", path, {"fieldManager": manager}, body, content)

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
        """See KubeApi."""
        path = _path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        return self._json("PATCH", path, {"fieldManager": "kt"}, body, PATCH_TYPES[how])

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = None,
        uid: str | None = None,
    ) -> None:
        """See KubeApi."""
        options: Json = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        self._json("DELETE", _path(kind, namespace, name), None, options)

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        since: str,
        labels: str | None = None,
        quiet: float = 30.0,
    ) -> Iterator[WatchEvent]:
        """See KubeApi."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "labelSelector": labels,
        }
        with translated(self.server):
            response = self._send("GET", _path(kind, namespace), query, silence=quiet)
            try:
                yield from _events(response, self.server)
            except (urllib3.exceptions.ReadTimeoutError, urllib3.exceptions.ProtocolError):
                return  # silent or cut off: the caller goes on from the last resourceVersion
            finally:
                response.close()  # not released: unread bytes must not meet the next request

    def logs(
        self, namespace: str, pod: str, container: str | None = None, *, follow: bool = False
    ) -> Iterator[str]:
        """See KubeApi."""
        path = _path(POD, namespace, pod) + "/log"
        query = {
            "timestamps": "true",
            "follow": "true" if follow else None,
            "container": container,
        }
        with translated(self.server):
            silence = LOG_SILENCE if follow else ANSWER_WITHIN
            response = self._send("GET", path, query, silence=silence)
            try:
                for line in _lines(response, rest=True):
                    yield line.decode("utf-8", "replace")
            finally:
                response.close()

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """See KubeApi."""
        with translated(self.server):
            response = self._send("GET", path, query or {})
            return cast("bytes", response.data).decode("utf-8", "replace")

    def token(self, namespace: str, account: str) -> str:
        """See KubeApi."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 600},
        }
        path = _path(SERVICE_ACCOUNT, namespace, account) + "/token"
        return str(self._json("POST", path, None, body)["status"]["token"])

    def as_token(self, token: str) -> RealKube:
        """See KubeApi."""
        chosen = copy(self._client.configuration)
        # A client certificate would be looked at first, and the token never.
        vars(chosen).update(
            cert_file=None,
            key_file=None,
            refresh_api_key_hook=None,
            api_key={"authorization": token},
            api_key_prefix={"authorization": "Bearer"},
        )
        return RealKube(type(self._client)(chosen))

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None] | None = None,
        body: Json | Sequence[Json] | None = None,
        content: str = "application/json",
    ) -> Json:
        with translated(self.server):
            response = self._send(method, path, query or {}, body, content)
            found = json.loads(response.data)
            if not isinstance(found, dict):
                raise garbled(self.server)
            return found

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None],
        body: Json | Sequence[Json] | None = None,
        content: str = "application/json",
        *,
        silence: float = ANSWER_WITHIN,
    ) -> Any:  # noqa: ANN401 - urllib3's response, private to this room
        given = urlencode({key: value for key, value in query.items() if value is not None})
        url = self.server + path + (f"?{given}" if given else "")
        headers = {**self._client.default_headers, "Accept": "application/json", "User-Agent": "kt"}
        if body is not None:
            headers["Content-Type"] = content
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        response = self._pool.request(
            method,
            url,
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            preload_content=False,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_WITHIN, read=silence),
        )
        if response.status >= HTTP_ERRORS:
            raise rejected(response.status, response.data)
        return response


def kind_of(body: Json) -> Kind:
    """The type of a manifest; one that kt has no name for gets the plural most types have."""
    version, kind = body["apiVersion"], body["kind"]
    return KINDS.get((version, kind)) or Kind(version, kind, kind.lower() + "s")


def _home(body: Json, namespace: str | None) -> str | None:
    return namespace or body["metadata"].get("namespace")


def _path(kind: Kind, namespace: str | None = None, name: str | None = None) -> str:
    # An empty name would address, and delete, the whole collection; `..` another one.
    for part in (namespace, name):
        if part is not None and part in {"", ".", ".."}:
            raise UsageError(f"{part!r} is not the name of a {kind.kind} or namespace")
    return kind.path(*(part and quote(part, safe="") for part in (namespace, name)))


def _events(response: Any, server: str) -> Iterator[WatchEvent]:  # noqa: ANN401 - see _send
    for line in _lines(response):
        try:
            event = json.loads(line)
            change, found = event["type"], event["object"]
            if change != "ERROR":
                found["metadata"]["resourceVersion"]  # what the caller resumes from
        except (ValueError, KeyError, TypeError) as cause:
            raise garbled(server) from cause
        if change == "ERROR":
            why = found.get("reason", ""), found.get("message", "")
            raise of_status(found.get("code", 500), *why)
        yield WatchEvent(change, found)


def _lines(response: Any, *, rest: bool = False) -> Iterator[bytes]:  # noqa: ANN401 - see _send
    """Complete lines as they arrive; an unfinished last one too if `rest`."""
    unfinished = b""
    # read_chunked would wait for whole chunks; stream() hands on what has arrived.
    for part in response.stream(None):
        *lines, unfinished = (unfinished + part).split(b"\n")
        yield from lines
    if rest and unfinished:
        yield unfinished


def _unusable(kubeconfig: Path, why: str) -> KtError:
    return ArtefactInvalidError(f"{kubeconfig} is not a usable kubeconfig: {why}")
