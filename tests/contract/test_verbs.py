"""Get, list, create, patch, delete: on the fake, and (e2e) on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import ApiError, ConflictError, ForbiddenError, ObjectNotFoundError
from kops_toolkit.kube.api import CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD, Kind

if TYPE_CHECKING:
    from kops_toolkit.kube.api import Json, KubeApi


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels or {}},
        "data": data,
    }


def test_what_was_created_can_be_read(kube: KubeApi, namespace: str) -> None:
    made = kube.create(config_map("one", colour="red"), namespace)
    found = kube.get(CONFIG_MAP, "one", namespace)
    assert found["data"] == {"colour": "red"}
    assert found["apiVersion"] == "v1"
    assert found["kind"] == "ConfigMap"
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert found["metadata"]["creationTimestamp"].endswith("Z")
    assert found["metadata"]["namespace"] == namespace


def test_the_namespace_may_stand_in_the_object(kube: KubeApi, namespace: str) -> None:
    body = config_map("one")
    body["metadata"]["namespace"] = namespace
    kube.create(body)
    kube.apply({**body, "data": {"colour": "red"}})
    assert kube.get(CONFIG_MAP, "one", namespace)["data"] == {"colour": "red"}


def test_two_namespaces_for_one_object_are_a_bad_request(kube: KubeApi, namespace: str) -> None:
    body = config_map("one")
    body["metadata"]["namespace"] = "default"
    with pytest.raises(ApiError) as caught:
        kube.create(body, namespace)
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")


def test_what_lives_in_a_namespace_needs_one(kube: KubeApi) -> None:
    with pytest.raises(ApiError) as caught:
        kube.create(config_map("one"))
    assert caught.value.status == 405


def test_what_is_not_there_is_404(kube: KubeApi, namespace: str) -> None:
    with pytest.raises(ObjectNotFoundError) as caught:
        kube.get(CONFIG_MAP, "none", namespace)
    assert caught.value.status == 404
    assert caught.value.reason == "NotFound"
    assert caught.value.message == 'configmaps "none" not found'
    with pytest.raises(ObjectNotFoundError):
        kube.delete(CONFIG_MAP, "none", namespace)
    with pytest.raises(ObjectNotFoundError):
        kube.patch(CONFIG_MAP, "none", namespace, {"data": {"a": "b"}})


def test_an_unknown_type_is_404(kube: KubeApi, namespace: str) -> None:
    with pytest.raises(ObjectNotFoundError) as caught:
        kube.list(Kind("example.org/v1", "Unicorn", "unicorns"), namespace)
    assert caught.value.message


def test_an_unknown_namespace_is_404(kube: KubeApi) -> None:
    with pytest.raises(ObjectNotFoundError, match='namespaces "kt-contract-nowhere" not found'):
        kube.create(config_map("one"), "kt-contract-nowhere")


def test_a_list_of_nothing_is_empty_but_has_a_version(kube: KubeApi, namespace: str) -> None:
    listing = kube.list(CONFIG_MAP, namespace, labels="app=none")
    assert listing.items == ()
    assert int(listing.resource_version) > 0


def test_creating_twice_is_409(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("one"), namespace)
    with pytest.raises(ConflictError) as caught:
        kube.create(config_map("one"), namespace)
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")


@pytest.mark.parametrize("name", ["Upper", "under_score", "", "-dash"])
def test_a_bad_name_is_422(kube: KubeApi, namespace: str, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        kube.create(config_map(name), namespace)
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")


def test_a_name_can_be_generated(kube: KubeApi, namespace: str) -> None:
    body = config_map("unused")
    body["metadata"] = {"generateName": "some-"}
    names = {kube.create(body, namespace)["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("some-") and len(name) > len("some-") for name in names)


def test_an_object_may_not_bring_its_own_version(kube: KubeApi, namespace: str) -> None:
    body = config_map("one")
    body["metadata"]["resourceVersion"] = "5"
    with pytest.raises(ApiError) as caught:
        kube.create(body, namespace)
    assert "resourceVersion should not be set" in caught.value.message


def test_a_dry_run_answers_but_stores_nothing(kube: KubeApi, namespace: str) -> None:
    answer = kube.create(config_map("one", colour="red"), namespace, dry_run=True)
    assert answer["data"] == {"colour": "red"}
    assert answer["metadata"]["uid"]
    with pytest.raises(ObjectNotFoundError):
        kube.get(CONFIG_MAP, "one", namespace)


def test_a_dry_run_is_judged_like_the_real_thing(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("one"), namespace)
    with pytest.raises(ConflictError):
        kube.create(config_map("one"), namespace, dry_run=True)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (None, ["blue", "green", "red"]),
        ("warm=yes", ["red"]),
        ("warm==no", ["blue", "green"]),
        ("warm!=yes", ["blue", "green"]),
        ("sky", ["blue"]),
        ("!sky", ["green", "red"]),
        ("warm in (yes,maybe)", ["red"]),
        ("warm notin (yes)", ["blue", "green"]),
        ("warm=no,sky", ["blue"]),
    ],
)
def test_labels_select(kube: KubeApi, namespace: str, labels: str | None, names: list[str]) -> None:
    kube.create(config_map("red", {"warm": "yes", "kt": "test"}), namespace)
    kube.create(config_map("blue", {"warm": "no", "sky": "", "kt": "test"}), namespace)
    kube.create(config_map("green", {"warm": "no", "kt": "test"}), namespace)
    selector = "kt=test" + (f",{labels}" if labels else "")
    found = kube.list(CONFIG_MAP, namespace, labels=selector)
    assert [item["metadata"]["name"] for item in found.items] == names
    assert {item["kind"] for item in found.items} == {"ConfigMap"}


def test_fields_select(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("one"), namespace)
    kube.create(config_map("two"), namespace)
    only = kube.list(CONFIG_MAP, namespace, fields="metadata.name=two")
    assert [item["metadata"]["name"] for item in only.items] == ["two"]
    with pytest.raises(ApiError) as caught:
        kube.list(CONFIG_MAP, namespace, fields="data.colour=red")
    assert caught.value.status == 400


def test_all_namespaces_are_listed_if_none_is_named(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("one", {"kt": namespace}), namespace)
    found = kube.list(CONFIG_MAP, labels=f"kt={namespace}")
    assert [item["metadata"]["namespace"] for item in found.items] == [namespace]


def test_a_merge_patch_merges_and_null_removes(kube: KubeApi, namespace: str) -> None:
    made = kube.create(config_map("one", a="1", b="2"), namespace)
    patched = kube.patch(CONFIG_MAP, "one", namespace, {"data": {"a": None, "c": "3"}})
    assert patched["data"] == {"b": "2", "c": "3"}
    assert patched["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert patched["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_patch_that_changes_nothing_makes_no_version(kube: KubeApi, namespace: str) -> None:
    made = kube.create(config_map("one", a="1"), namespace)
    patched = kube.patch(CONFIG_MAP, "one", namespace, {"data": {"a": "1"}})
    assert patched["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_a_patch_of_a_stale_version_is_409(kube: KubeApi, namespace: str) -> None:
    made = kube.create(config_map("one", a="1"), namespace)
    kube.patch(CONFIG_MAP, "one", namespace, {"data": {"a": "2"}})
    stale = {
        "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]},
        "data": {"a": "3"},
    }
    with pytest.raises(ConflictError) as caught:
        kube.patch(CONFIG_MAP, "one", namespace, stale)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert kube.get(CONFIG_MAP, "one", namespace)["data"] == {"a": "2"}


def test_a_json_patch_operates(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("one", {"kt": "test"}, a="1"), namespace)
    operations = [
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "add", "path": "/metadata/labels/kt.io~1b", "value": "2"},
        {"op": "remove", "path": "/metadata/labels/kt"},
    ]
    patched = kube.patch(CONFIG_MAP, "one", namespace, operations, how="json")
    assert patched["metadata"]["labels"] == {"kt.io/b": "2"}


def test_a_json_patch_whose_test_fails_is_422(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("one", a="1"), namespace)
    operations = [{"op": "test", "path": "/data/a", "value": "9"}]
    with pytest.raises(ApiError) as caught:
        kube.patch(CONFIG_MAP, "one", namespace, operations, how="json")
    assert caught.value.status == 422


def test_a_deleted_object_is_gone(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("one"), namespace)
    kube.delete(CONFIG_MAP, "one", namespace)
    with pytest.raises(ObjectNotFoundError):
        kube.get(CONFIG_MAP, "one", namespace)


def test_a_delete_can_insist_on_a_uid(kube: KubeApi, namespace: str) -> None:
    made = kube.create(config_map("one"), namespace)
    with pytest.raises(ConflictError) as caught:
        kube.delete(CONFIG_MAP, "one", namespace, uid="00000000-0000-4000-8000-ffffffffffff")
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    kube.delete(CONFIG_MAP, "one", namespace, uid=made["metadata"]["uid"])
    with pytest.raises(ObjectNotFoundError):
        kube.get(CONFIG_MAP, "one", namespace)


def test_a_finalizer_holds_a_deleted_object(kube: KubeApi, namespace: str) -> None:
    body = config_map("one")
    body["metadata"]["finalizers"] = ["kops-toolkit.io/test"]
    kube.create(body, namespace)
    kube.delete(CONFIG_MAP, "one", namespace)
    assert "deletionTimestamp" in kube.get(CONFIG_MAP, "one", namespace)["metadata"]
    kube.patch(CONFIG_MAP, "one", namespace, {"metadata": {"finalizers": None}})
    with pytest.raises(ObjectNotFoundError):
        kube.get(CONFIG_MAP, "one", namespace)


def test_a_new_namespace_is_active_and_labelled(kube: KubeApi, namespace: str) -> None:
    found = kube.get(NAMESPACE, namespace)
    assert found["status"]["phase"] == "Active"
    assert found["metadata"]["labels"]["kubernetes.io/metadata.name"] == namespace


def test_generation_counts_changes_of_the_spec(kube: KubeApi, namespace: str) -> None:
    labels = {"app": "one"}
    pod = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "one", "image": "registry.k8s.io/pause:3.10"}]},
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "one"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
    }
    assert kube.create(body, namespace)["metadata"]["generation"] == 1
    label = {"metadata": {"labels": {"spec": "unchanged"}}}
    assert kube.patch(DEPLOYMENT, "one", namespace, label)["metadata"]["generation"] == 1
    slower = {"spec": {"minReadySeconds": 3}}
    assert kube.patch(DEPLOYMENT, "one", namespace, slower)["metadata"]["generation"] == 2
    note = {"metadata": {"annotations": {"kt": "goes on to the ReplicaSets, so it counts"}}}
    assert kube.patch(DEPLOYMENT, "one", namespace, note)["metadata"]["generation"] == 3


def test_logs_of_no_pod_are_404(kube: KubeApi, namespace: str) -> None:
    with pytest.raises(ObjectNotFoundError):
        next(kube.logs(namespace, "none"))
    assert kube.list(POD, namespace).items == ()


def test_plain_paths_can_be_read(kube: KubeApi) -> None:
    assert kube.text("/readyz") == "ok"
    with pytest.raises(ApiError) as caught:
        kube.text("/kt-contract-nowhere")
    assert caught.value.status == 404


def test_a_token_is_another_identity(kube: KubeApi, namespace: str) -> None:
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "caller"}}
    kube.create(body, namespace)
    known = kube.as_token(kube.token(namespace, "caller"))
    assert known.text("/readyz") == "ok"
    with pytest.raises(ForbiddenError) as refused:
        kube.as_token("not-a-token").get(NAMESPACE, "default")
    assert refused.value.status == 401
    with pytest.raises(ObjectNotFoundError):
        kube.token(namespace, "no-such-account")
