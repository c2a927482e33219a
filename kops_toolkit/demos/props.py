"""Pods to play with: how they are made, what is asked of them, how they are drawn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import POD
from kops_toolkit.outcome import Picture, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json, KubeApi
    from kops_toolkit.kube.watch import Seen

T = TypeVar("T")
PORT = 8080  # where agnhost's netexec listens
# What makes a container a netexec: an HTTP server, ready once it listens.
NETEXEC: Json = {
    "args": ["netexec"],
    "readinessProbe": {"httpGet": {"path": "/hostname", "port": PORT}, "periodSeconds": 1},
}
SETTLES_WITHIN = 40.0  # seconds until a kubelet must have acted, on a busy machine
READY_WITHIN = 60.0  # seconds until a placed pod must run; the image is there


def container(image: str, name: str = "main", **fields: Any) -> Json:  # noqa: ANN401 - JSON
    """A container that does nothing until it is told to end, unless the fields say otherwise."""
    idle = {} if "command" in fields else {"args": ["pause"]}
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", **idle, **fields}


def script(text: str) -> list[str]:
    """A container's command that runs a shell script."""
    return ["sh", "-c", text]


def exec_probe(test: str, **fields: object) -> Json:
    """A probe that runs a shell test once a second."""
    return {"exec": {"command": script(test)}, "periodSeconds": 1, "timeoutSeconds": 5, **fields}


def service(name: str, selector: Mapping[str, str], **spec: object) -> Json:
    """A Service on port 80 in front of netexec pods."""
    ports = [{"port": 80, "targetPort": PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": dict(selector), "ports": ports, **spec},
    }


def pod_body(name: str, labels: Mapping[str, str] | None = None, **spec: object) -> Json:
    """A pod with these fields in its spec, that ends at once when it is told to."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {"terminationGracePeriodSeconds": 0, **spec},
    }


def workload(kind: str, app: str, containers: list[Json], **spec: object) -> Json:
    """A Deployment or DaemonSet of pods labelled `app`, with these fields in the pods' spec.

    `replicas` among them is the Deployment's own.
    """
    labels, replicas = {"app": app}, spec.pop("replicas", None)
    pod = {"terminationGracePeriodSeconds": 0, "containers": containers, **spec}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": app},
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def shell(api: KubeApi, namespace: str, pod: str, command: str) -> str:
    """What a shell command prints, run by netexec inside a ready pod."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{PORT}/proxy/shell"
    answer = json.loads(api.text(path, {"cmd": command}))
    return str(answer.get("output", ""))


def spread_requests(address: str, count: int) -> str:
    """A shell command that asks `host:port` for its name `count` times, a line each."""
    ask = f"curl -s -m 2 http://{quote(address, safe=':.[]')}/hostname || echo -n failed"
    return f"i=0; while [ $i -lt {count} ]; do {ask}; echo; i=$((i+1)); done"


class Pods:
    """The pods of a scene.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.watch = scene.watches.of(POD, scene.namespace).ready()
        scene.picture = self.picture

    def create(
        self,
        name: str,
        *containers: Json,
        labels: Mapping[str, str] | None = None,
        **spec: object,
    ) -> Json:
        """Create a pod; without containers it has one that does nothing."""
        chosen = list(containers or (container(self._scene.image),))
        body = pod_body(name, labels, containers=chosen, **spec)
        return self._scene.api.create(body, self._scene.namespace)

    def server(self, name: str, labels: Mapping[str, str] | None = None, **fields: object) -> Json:
        """Create a pod that answers over HTTP, and can be told to run commands."""
        netexec = container(self._scene.image, **{**NETEXEC, **fields})
        return self.create(name, netexec, labels=labels)

    def delete(self, name: str) -> None:
        """Ask for a pod's end, with its own grace period."""
        self._scene.api.delete(POD, name, self._scene.namespace)

    def current(self, name: str) -> Json:
        """A pod as last seen, {} if it is not there."""
        return self.watch.current().get(name, {})

    def history(self, name: str) -> list[Seen]:
        """All that happened to pods of this name."""
        return [seen for seen in self.watch.history() if seen.name == name]

    def until(self, condition: Callable[[], T | None], seconds: float) -> T | None:
        """What a condition gives within some seconds, None if nothing."""
        try:
            return self.watch.wait(condition, timeout=max(seconds, 0.0), what="it")
        except TimedOutError:
            return None

    def first(self, name: str, matches: Callable[[Json], bool], seconds: float) -> Seen | None:
        """The first event in which a pod is like that; waits some seconds for it."""

        def found() -> Seen | None:
            return next((seen for seen in self.history(name) if matches(seen.object)), None)

        return self.until(found, seconds)

    def ready(self, *names: str) -> None:
        """Wait until pods are ready.

        Raises:
            TimedOutError: one does not get ready.
        """
        for name in names:
            self.watch.wait(
                lambda name=name: True if views.ready(self.current(name)) else None,  # type: ignore[misc]
                timeout=READY_WITHIN,
                what=f"the ready pod {name}",
            )

    def gone(self, name: str, seconds: float) -> Seen | None:
        """The event in which a pod has gone; waits some seconds for it."""

        def found() -> Seen | None:
            return next((seen for seen in self.history(name) if seen.type == "DELETED"), None)

        return self.until(found, seconds)

    def status(self, name: str, container: str = "main") -> Json:
        """Status of a container, {} if there is none."""
        return views.container_status(self.current(name), container)

    def shell(self, name: str, command: str) -> str:
        """What a shell command prints, run by netexec inside a ready pod."""
        return shell(self._scene.api, self._scene.namespace, name, command)

    def now(self) -> float:
        """Monotonic seconds, as events are stamped with."""
        return self._scene.clock.monotonic()

    def picture(self) -> Picture:
        """Each pod, its phase and how often it was restarted."""
        return Picture(tuple(_row(found) for found in self.watch.current().values()))


def _row(found: Json) -> Row:
    phase = views.phase(found)
    bad = phase.startswith("Err") or phase.endswith(("BackOff", "Error"))
    restarts = sum(
        status["restartCount"] for status in found.get("status", {}).get("containerStatuses") or ()
    )
    note = f"{restarts} restarts" if restarts else ""
    well = views.ready(found) or (False if bad else None)
    return Row(0, f"Pod/{found['metadata']['name']}", phase, well, note)
