"""What is stored in etcd, and who talks to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act
from kops_toolkit.errors import ObjectNotFoundError
from kops_toolkit.etcd import access
from kops_toolkit.kube import views
from kops_toolkit.kube.api import (
    CONFIG_MAP,
)
from kops_toolkit.kube.temporal import Verdict
from kops_toolkit.kube.watch import source
from kops_toolkit.system.progress import Silent

if TYPE_CHECKING:
    from kops_toolkit.demos.catalog.api_server.court import Court
    from kops_toolkit.demos.model import Scene

PROTOBUF = b"k8s\0"  # how the API server marks objects that it stores as protocol buffers
EAVESDROP = "exec 3<>/dev/tcp/127.0.0.1/2379; sleep 60"
STORED = Act(
    "Storage: one key in etcd",
    "What was accepted is one key, read here from etcd itself. Its revision is the "
    "resourceVersion, in the answer and in the watch event. A dry run goes all the way, and "
    "stores nothing.",
)
ALONE = Act(
    "Only the API server talks to etcd",
    "Every connection to etcd's client port is listed with the process that opened it.",
)


def stored(scene: Scene, court: Court) -> None:
    """Play STORED."""
    scene.stage(STORED)
    maps = scene.watches.of(CONFIG_MAP, court.namespace).ready()
    dry = court.admin.create(
        court.config_map("rehearsed"), court.namespace, dry_run=scene.sabotage != "wet"
    )
    made = court.admin.create(court.config_map("real"), court.namespace)
    version = made["metadata"]["resourceVersion"]
    maps.wait(
        lambda: True if "real" in maps.current() else None, timeout=10, what="the ConfigMap real"
    )
    seen = next(event for event in maps.history() if event.name == "real")
    titles = {
        "dry-run-stores-nothing": "A dry run is answered as if it were real, and stores nothing",
        "stored-under-its-key": "What was accepted is one key in etcd, at the revision that the "
        "answer and the watch tell",
        "services-live-under-specs": "Services are stored apart from their endpoints, under specs",
    }
    try:
        court.admin.get(CONFIG_MAP, "rehearsed", court.namespace)
        absent = False
    except ObjectNotFoundError:
        absent = True
    if not scene.faults.control_planes:
        words = f"uid {views.uid(dry)}, then {'404' if absent else 'it is there'}"
        scene.judge(
            "dry-run-stores-nothing",
            titles["dry-run-stores-nothing"],
            "an answer with a UID, then 404",
            Verdict(held=absent, observed=words, source=source(made)),
        )
        reason = "kt cannot read the etcd of this cluster"
        for check in ("stored-under-its-key", "services-live-under-specs"):
            scene.skip(check, titles[check], reason)
        return
    real = "no-such" if scene.sabotage == "other-key" else "real"
    prefix = f"/registry/configmaps/{court.namespace}/"
    specs = "/registry/services/specs/default/kubernetes"
    beside = "/registry/services/default/kubernetes"
    if scene.sabotage == "other-key":
        specs, beside = beside, specs
    with access.to_best(scene.faults.control_planes, Silent()) as found:
        layout = [found.client.get(key.encode()) is not None for key in (specs, beside)]
        rehearsed = found.client.get(f"{prefix}rehearsed".encode())
        stored = found.client.get(f"{prefix}{real}".encode())
    words = f"uid {views.uid(dry)}, then {'404' if absent else 'it is there'}"
    scene.judge(
        "dry-run-stores-nothing",
        titles["dry-run-stores-nothing"],
        f"an answer with a UID, then 404, and no key {prefix}rehearsed",
        Verdict(
            held=absent and rehearsed is None and bool(views.uid(dry)),
            observed=f"{words}, {'no key' if rehearsed is None else 'a key'} in etcd",
            source=f"etcd, {prefix}rehearsed",
        ),
    )
    told = "no such key"
    if stored is not None:
        form = "protobuf" if stored.value.startswith(PROTOBUF) else "something else"
        told = f"{form} of {len(stored.value)} bytes at revision {stored.mod_revision}"
    same = stored is not None and str(stored.mod_revision) == version
    scene.judge(
        "stored-under-its-key",
        titles["stored-under-its-key"],
        f"protobuf at revision {version}, as in the answer and the watch event",
        Verdict(
            held=same
            and stored is not None
            and stored.value.startswith(PROTOBUF)
            and seen.object["metadata"]["resourceVersion"] == version,
            observed=f"{told}; watch event at {seen.object['metadata']['resourceVersion']}",
            source=f"etcd, {prefix}{real}",
        ),
    )
    keys = zip((specs, beside), layout, strict=True)
    found_keys = "; ".join(f"{key}: {'a key' if there else 'no key'}" for key, there in keys)
    scene.judge(
        "services-live-under-specs",
        titles["services-live-under-specs"],
        f"{specs}: a key; {beside}: no key",
        Verdict(held=layout == [True, False], observed=found_keys, source="etcd"),
    )


def alone(scene: Scene) -> None:
    """Play ALONE."""
    scene.stage(ALONE)
    title = "Only the API server connects to etcd's client port"
    if not scene.faults.control_planes:
        scene.skip("only-it-connects", title, "kt cannot look at the nodes of this cluster")
        return
    node = scene.faults.control_planes[0]
    spy = None
    if scene.sabotage == "eavesdropper":
        spy = node.start(["bash", "-c", EAVESDROP])
        scene.clock.sleep(1.0)
    try:
        # Asked at the client's end: `dport`. etcd's own gateway is a client of itself.
        told = node.run(["ss", "-Htnp", "state", "established", "( dport = :2379 )"]).text
    finally:
        if spy is not None:
            spy.kill()
            spy.wait()
    names = [line.partition('users:(("')[2].partition('"')[0] for line in told.splitlines()]
    others = sorted(set(names) - {"kube-apiserver", "etcd"})
    count = names.count("kube-apiserver")
    scene.judge(
        "only-it-connects",
        title,
        "connections by kube-apiserver, none by others",
        Verdict(
            held=count > 0 and not others,
            observed=f"{count} by kube-apiserver; others: {', '.join(others) or 'none'}",
            source=f"ss on {node.name}",
        ),
    )
