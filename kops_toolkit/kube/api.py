"""What kt asks of an API server: our verbs, raw JSON objects, our errors.

Objects are plain dicts as the server sent them: no model deserialisation, which costs more than
the request itself on a watch. `kube/client.py` is the real one, `tests/fakes/kube.py` the fake;
`tests/contract/` holds both to the same behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Json = dict[str, Any]
PatchType = Literal["merge", "strategic", "json"]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@dataclass(frozen=True)
class Kind:
    """A resource type.

    Attributes:
        api_version: `v1`, `apps/v1`, …
        kind: `Pod`, `Deployment`, …
        plural: as in the URL: `pods`, `deployments`, …
        namespaced: whether its objects live in namespaces.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """URL path of the collection (all namespaces if None), or of one object."""
        root = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        if self.namespaced and namespace:
            root += f"/namespaces/{namespace}"
        return f"{root}/{self.plural}" + (f"/{name}" if name else "")


NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
NODE = Kind("v1", "Node", "nodes", namespaced=False)
POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
EVENT = Kind("v1", "Event", "events")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
DAEMON_SET = Kind("apps/v1", "DaemonSet", "daemonsets")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
PRIORITY_CLASS = Kind("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", namespaced=False)
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
RUNTIME_CLASS = Kind("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", namespaced=False)
PERSISTENT_VOLUME = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
PERSISTENT_VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
ADMISSION_POLICY = Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    namespaced=False,
)
ADMISSION_POLICY_BINDING = Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    namespaced=False,
)
RESOURCE_QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

KINDS = {
    (kind.api_version, kind.kind): kind
    for kind in (
        NAMESPACE,
        NODE,
        POD,
        SERVICE,
        CONFIG_MAP,
        SECRET,
        SERVICE_ACCOUNT,
        EVENT,
        DEPLOYMENT,
        REPLICA_SET,
        DAEMON_SET,
        ENDPOINT_SLICE,
        LEASE,
        PRIORITY_CLASS,
        POD_DISRUPTION_BUDGET,
        RUNTIME_CLASS,
        PERSISTENT_VOLUME,
        PERSISTENT_VOLUME_CLAIM,
        ADMISSION_POLICY,
        ADMISSION_POLICY_BINDING,
        RESOURCE_QUOTA,
    )
}


@dataclass(frozen=True)
class Listing:
    """Objects of one type at one moment; `resource_version` is where a watch may go on."""

    items: tuple[Json, ...]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """One change as the server told it; a BOOKMARK's object holds only a resourceVersion."""

    type: EventType
    object: Json


class KubeApi(Protocol):
    """The verbs. Every one raises UnreachableError if no answer comes, else ApiError's tree."""

    @property
    def server(self) -> str:
        """URL of the API server."""
        ...

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Json:
        """One object; ObjectNotFoundError if it is not there."""
        ...

    def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Listing:
        """All objects of a type (in all namespaces if None), most recent state."""
        ...

    def create(self, body: Json, namespace: str | None = None, *, dry_run: bool = False) -> Json:
        """Create; ConflictError if it exists. The type is read off the body's own fields."""
        ...

    def apply(self, body: Json, namespace: str | None = None, *, manager: str = "kt") -> Json:
        """Server-side apply; ConflictError if another manager owns a field that differs."""
        ...

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
        """Patch one object, or its `status` or `scale`."""
        ...

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = None,
        uid: str | None = None,
    ) -> None:
        """Ask for deletion (it may take a while). ObjectNotFoundError if it is not there.

        Args:
            kind: its type.
            name: its name.
            namespace: its namespace.
            grace: seconds given to a pod; None leaves the pod's own.
            uid: precondition: ConflictError if an object of that name has another UID.
        """
        ...

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        since: str,
        labels: str | None = None,
        quiet: float = 30.0,
    ) -> Iterator[WatchEvent]:
        """Changes after resourceVersion `since`, bookmarks included.

        Ends when the server ends it, or when nothing at all was heard for `quiet` seconds
        (client side: a half-open connection hangs for ever otherwise). Raises GoneError when
        `since` is too old. Closing the generator closes the connection.
        """
        ...

    def logs(
        self, namespace: str, pod: str, container: str | None = None, *, follow: bool = False
    ) -> Iterator[str]:
        """Log lines, each with its RFC 3339 time stamp in front (`<stamp> <line>`)."""
        ...

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Body of a GET on any path: `/readyz`, `/version`, `/metrics`."""
        ...

    def token(self, namespace: str, account: str) -> str:
        """A bearer token of a ServiceAccount, good for ten minutes."""
        ...

    def as_token(self, token: str) -> KubeApi:
        """The same server, asked with this bearer token and no other credentials."""
        ...
