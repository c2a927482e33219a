"""Watches: on the fake, and (e2e) on a real API server."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import GoneError
from kops_toolkit.kube.api import CONFIG_MAP, EVENT
from kops_toolkit.kube.watches import Watches
from kops_toolkit.system.clock import SystemClock
from kops_toolkit.system.process import SystemProcesses
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from kops_toolkit.kube.api import Json, KubeApi, WatchEvent


def config_map(name: str, **data: str) -> Json:
    labels = {"kt": "test"}
    meta = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def changes(kube: KubeApi, namespace: str, since: str, count: int) -> list[WatchEvent]:
    """The next `count` events of our own objects, bookmarks left out."""
    events = kube.watch(CONFIG_MAP, namespace, since=since, labels="kt=test", quiet=10)
    try:
        return list(islice((event for event in events if event.type != "BOOKMARK"), count))
    finally:
        events.close()  # type: ignore[attr-defined]  # it is a generator


def told(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.object["metadata"]["name"]) for event in events]


def test_a_watch_tells_what_happens_after_a_list(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("before"), namespace)
    since = kube.list(CONFIG_MAP, namespace).resource_version
    kube.create(config_map("one", a="1"), namespace)
    kube.patch(CONFIG_MAP, "one", namespace, {"data": {"a": "2"}})
    kube.delete(CONFIG_MAP, "one", namespace)
    events = changes(kube, namespace, since, 3)
    assert told(events) == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]
    assert [event.object["data"]["a"] for event in events] == ["1", "2", "2"]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert versions[0] > int(since)
    assert {event.object["kind"] for event in events} == {"ConfigMap"}


def test_a_watch_goes_on_where_another_ended(kube: KubeApi, namespace: str) -> None:
    since = kube.list(CONFIG_MAP, namespace).resource_version
    for name in ("one", "two", "three"):
        kube.create(config_map(name), namespace)
    first = changes(kube, namespace, since, 1)
    version = first[0].object["metadata"]["resourceVersion"]
    rest = changes(kube, namespace, version, 2)
    assert told(first + rest) == [("ADDED", "one"), ("ADDED", "two"), ("ADDED", "three")]


def test_what_leaves_the_selection_is_deleted_and_added_when_it_returns(
    kube: KubeApi, namespace: str
) -> None:
    since = kube.list(CONFIG_MAP, namespace).resource_version
    kube.create(config_map("one"), namespace)
    kube.patch(CONFIG_MAP, "one", namespace, {"metadata": {"labels": {"kt": "no"}}})
    kube.patch(CONFIG_MAP, "one", namespace, {"data": {"unseen": "1"}})
    kube.patch(CONFIG_MAP, "one", namespace, {"metadata": {"labels": {"kt": "test"}}})
    events = changes(kube, namespace, since, 3)
    assert told(events) == [("ADDED", "one"), ("DELETED", "one"), ("ADDED", "one")]


def test_a_watch_that_hears_nothing_ends(kube: KubeApi, namespace: str) -> None:
    since = kube.list(CONFIG_MAP, namespace).resource_version
    events = kube.watch(CONFIG_MAP, namespace, since=since, labels="kt=none", quiet=0.5)
    assert [event for event in events if event.type != "BOOKMARK"] == []


COMPACT = """
named='labels."io.kubernetes.container.name"==etcd'
id=$(ctr -n k8s.io containers ls -q "$named" | while read -r c; do
  ctr -n k8s.io tasks ls | grep -q "^$c .*RUNNING" && echo "$c"; done)
pki=/etc/kubernetes/pki/etcd
ctr -n k8s.io tasks exec --exec-id "kt-compact-$1" "$id" etcdctl \
  --cacert $pki/ca.crt --cert $pki/server.crt --key $pki/server.key compact "$1"
"""


def forget(kube: KubeApi, version: str) -> None:
    """Make the server forget all before `version`: it does so by itself every five minutes."""
    if not isinstance(kube, FakeKube):
        node = os.environ["KT_E2E_CLUSTER"] + "-control-plane"
        SystemProcesses().run(["docker", "exec", node, "sh", "-c", COMPACT, "sh", version])


def test_a_version_of_long_ago_is_410(kube: KubeApi, namespace: str) -> None:
    forget(kube, kube.list(EVENT, namespace).resource_version)
    with pytest.raises(GoneError) as caught:  # events have no cache between us and etcd
        next(iter(kube.watch(EVENT, namespace, since="1", quiet=5)))
    assert caught.value.status == 410
    assert caught.value.reason == "Expired"


def test_the_shared_watch_follows(kube: KubeApi, namespace: str) -> None:
    kube.create(config_map("before"), namespace)
    with Watches(kube, SystemClock()) as watches:
        maps = watches.of(CONFIG_MAP, namespace, "kt=test").ready()
        assert set(maps.current()) == {"before"}
        kube.create(config_map("one", a="1"), namespace)
        maps.wait(lambda: maps.current().get("one"), timeout=10, what="one")
        kube.delete(CONFIG_MAP, "one", namespace)
        maps.wait(lambda: "one" not in maps.current() or None, timeout=10, what="its end")
        seen = [(seen.type, seen.name) for seen in maps.history()]
    assert seen == [("ADDED", "before"), ("ADDED", "one"), ("DELETED", "one")]
