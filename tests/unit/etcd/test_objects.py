from __future__ import annotations

import json

import pytest

from kops_toolkit.etcd import objects, wire

UID = "5c08657a-4844-4ff9-baa3-e58c27ce5c2b"


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        (b"/registry/pods/default/web", "pods"),
        (b"/registry/minions/node-1", "nodes"),
        (b"/registry/services/specs/default/kubernetes", "services"),
        (b"/registry/services/endpoints/default/kubernetes", "endpoints"),
        (b"/registry/ingress/default/web", "ingresses.networking.k8s.io"),
        (b"/registry/example.com/widgets/default/w", "widgets.example.com"),
        (b"/registry/apiregistration.k8s.io/apiservices/v1.", "apiservices.apiregistration.k8s.io"),
        (b"/kubernetes.io/secrets/default/s", "secrets"),
        (b"/registry/namespaces/dotted.name", "namespaces"),
        (b"/registry/ranges/serviceips", objects.OTHER),
        (b"/registry/masterleases/10.0.0.1", objects.OTHER),
        (b"compact_rev_key", objects.OTHER),
        (b"/health", objects.OTHER),
        (b"", objects.OTHER),
    ],
)
def test_the_resource_that_a_key_holds(key: bytes, resource: str) -> None:
    assert objects.resource(key) == resource


def test_keys_that_are_no_text_do_no_harm() -> None:
    assert objects.resource(b"/registry/\xff\xfe/a/b") == "\\xff\\xfe"


def test_resources_are_counted_most_first() -> None:
    keys = [b"/registry/pods/a/b", b"/registry/secrets/a/b", b"/registry/pods/a/c"]
    assert list(objects.per_resource(keys).items()) == [("pods", 2), ("secrets", 1)]


def unknown(metadata: bytes) -> bytes:
    kind = wire.data(1, wire.data(1, b"v1") + wire.data(2, b"Namespace"))
    return b"k8s\0" + kind + wire.data(2, wire.data(1, metadata))


def test_the_uid_of_a_protobuf_object() -> None:
    metadata = wire.data(1, b"kube-system") + wire.data(5, UID.encode())
    assert objects.uid(unknown(metadata)) == UID


def test_the_uid_of_a_json_object() -> None:
    assert objects.uid(json.dumps({"metadata": {"uid": UID}}).encode()) == UID


@pytest.mark.parametrize(
    "value",
    [
        b"k8s:enc:aescbc:v1:key1:\x00\x01",
        b"k8s\0\xff\xff",
        unknown(b""),
        b"{}",
        b"[1]",
        b'{"metadata": {"uid": 5}}',
        b"[" * 100_000,
        b"",
    ],
)
def test_no_uid_where_there_is_none(value: bytes) -> None:
    assert objects.uid(value) is None
