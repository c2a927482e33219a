"""What can be told of a Kubernetes object in etcd without its schema: its key and its metadata."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from kops_toolkit.etcd import wire

if TYPE_CHECKING:
    from collections.abc import Iterable

KUBE_SYSTEM = b"/registry/namespaces/kube-system"
PROTOBUF = b"k8s\0"  # then apimachinery's runtime.Unknown
OTHER = "(no Kubernetes object)"

# Where a resource's name in the key is not its name in the API
# (pkg/kubeapiserver/default_storage_factory_builder.go).
_RENAMED = {
    b"minions": "nodes",
    b"controllers": "replicationcontrollers",
    b"ingress": "ingresses.networking.k8s.io",
    b"podsecuritypolicy": "podsecuritypolicies.policy",
}
_SERVICES = {b"specs": "services", b"endpoints": "endpoints"}
_NO_OBJECTS = {b"ranges", b"masterleases", b"peerserverleases"}  # allocators and leases of servers


def resource(key: bytes) -> str:
    """The resource that a key of etcd holds, e.g. `pods` or `widgets.example.com`.

    The prefix (`/registry` unless a flag of the API server says otherwise) is not looked at. What
    is no object (allocators, the API servers' own leases, `compact_rev_key`) is OTHER.
    """
    parts = key.split(b"/", 4)
    if len(parts) < 4 or parts[0] or parts[2] in _NO_OBJECTS:
        return OTHER
    first, second = parts[2], parts[3]
    if first == b"services":
        return _SERVICES.get(second, OTHER)
    if first in _RENAMED:
        return _RENAMED[first]
    name = b"%s.%s" % (second, first) if b"." in first and len(parts) == 5 else first
    return name.decode("utf-8", "backslashreplace")


def per_resource(keys: Iterable[bytes]) -> dict[str, int]:
    """How many keys each resource has, most first."""
    counted: Counter[str] = Counter()
    for key in keys:
        counted[resource(key)] += 1
    return dict(counted.most_common())


def uid(value: bytes) -> str | None:
    """The uid of a stored object (protobuf or JSON), or None: encrypted, or no object at all."""
    if value.startswith(PROTOBUF):
        try:
            raw = wire.blob(wire.fields(value[len(PROTOBUF) :]), 2)
            metadata = wire.blob(wire.fields(raw), 1)  # field 1 of every built-in object
            return wire.text(wire.fields(metadata), 5) or None
        except wire.WireError:
            return None
    try:
        found = json.loads(value)["metadata"]["uid"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
