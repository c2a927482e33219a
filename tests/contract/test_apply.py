"""Server-side apply: on the fake, and (e2e) on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import ConflictError
from kops_toolkit.kube.api import CONFIG_MAP

if TYPE_CHECKING:
    from kops_toolkit.kube.api import Json, KubeApi


def body(**data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data}


def test_apply_creates_what_is_missing(kube: KubeApi, namespace: str) -> None:
    made = kube.apply(body(a="1"), namespace)
    assert made["metadata"]["uid"]
    assert kube.get(CONFIG_MAP, "one", namespace)["data"] == {"a": "1"}


def test_applying_the_same_again_changes_nothing(kube: KubeApi, namespace: str) -> None:
    first = kube.apply(body(a="1"), namespace)
    again = kube.apply(body(a="1"), namespace)
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_what_is_applied_no_more_goes(kube: KubeApi, namespace: str) -> None:
    kube.apply(body(a="1", b="2"), namespace)
    kube.apply(body(b="3"), namespace)
    assert kube.get(CONFIG_MAP, "one", namespace)["data"] == {"b": "3"}


def test_what_others_apply_stays(kube: KubeApi, namespace: str) -> None:
    kube.apply(body(a="1"), namespace, manager="alice")
    kube.apply(body(b="2"), namespace, manager="bob")
    kube.apply(body(b="3"), namespace, manager="bob")
    assert kube.get(CONFIG_MAP, "one", namespace)["data"] == {"a": "1", "b": "3"}


def test_wanting_otherwise_what_another_owns_is_409(kube: KubeApi, namespace: str) -> None:
    kube.apply(body(a="1"), namespace, manager="alice")
    with pytest.raises(ConflictError) as caught:
        kube.apply(body(a="2"), namespace, manager="bob")
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "alice": .data.a'
    assert kube.get(CONFIG_MAP, "one", namespace)["data"] == {"a": "1"}


def test_wanting_the_same_shares_it(kube: KubeApi, namespace: str) -> None:
    kube.apply(body(a="1"), namespace, manager="alice")
    kube.apply(body(a="1"), namespace, manager="bob")
    kube.apply(body(), namespace, manager="alice")
    assert kube.get(CONFIG_MAP, "one", namespace)["data"] == {"a": "1"}
    with pytest.raises(ConflictError):
        kube.apply(body(a="2"), namespace, manager="alice")


def test_a_patch_takes_a_field_over(kube: KubeApi, namespace: str) -> None:
    kube.apply(body(a="1", b="1"), namespace, manager="alice")
    kube.patch(CONFIG_MAP, "one", namespace, {"data": {"a": "2"}})
    with pytest.raises(ConflictError, match=r"\.data\.a"):
        kube.apply(body(a="3", b="3"), namespace, manager="alice")
    assert kube.get(CONFIG_MAP, "one", namespace)["data"] == {"a": "2", "b": "1"}


def test_what_was_created_is_owned_by_its_creator(kube: KubeApi, namespace: str) -> None:
    kube.create(body(a="1"), namespace)
    with pytest.raises(ConflictError, match=r'conflict with "kt" using v1: \.data\.a'):
        kube.apply(body(a="2"), namespace)
