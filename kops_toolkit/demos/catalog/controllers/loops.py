"""What the controllers look after, and the watches that see them do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.props import Pods, container, service, workload
from kops_toolkit.kube import views
from kops_toolkit.kube.api import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    LEASE,
    NAMESPACE,
    NODE,
    REPLICA_SET,
    SERVICE_ACCOUNT,
)
from kops_toolkit.kube.temporal import Within

if TYPE_CHECKING:
    from collections.abc import Callable

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json, Kind

MANAGER = "kube-controller-manager"
REPLICAS = 2
REPAIR = Within(0.0, 15.0)  # seconds from the drift to its repair, on a busy machine
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


class Loops:
    """What the controllers look after, and the watches that see them do it.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.pods = Pods(scene)
        of, namespace = scene.watches.of, scene.namespace
        self.replica_sets = of(REPLICA_SET, namespace).ready()
        self.deployments = of(DEPLOYMENT, namespace).ready()
        self.accounts = of(SERVICE_ACCOUNT, namespace).ready()
        self.slices = of(ENDPOINT_SLICE, namespace).ready()
        self.maps = of(CONFIG_MAP, namespace).ready()
        self.nodes = of(NODE).ready()
        self.namespaces = of(NAMESPACE).ready()
        self.leases = of(LEASE, "kube-system").ready()

    def create(self) -> None:
        """Create a Deployment and its Service, and wait until all is as it should be."""
        idle = container(self.scene.image)
        web = workload("Deployment", "web", [idle], replicas=REPLICAS)
        for body in (web, service("web", {"app": "web"})):
            self.scene.api.create(body, self.scene.namespace)
        self.pods.watch.wait(
            lambda: True if self.whole() else None, timeout=60, what="the ready Deployment web"
        )

    def whole(self) -> bool:
        """Whether there are as many ready pods, all in the Service's EndpointSlice, as wanted."""
        ready = {name for name, pod in self.standing().items() if views.ready(pod)}
        return len(ready) == REPLICAS and self.endpoints() == ready and bool(self.account())

    def standing(self) -> dict[str, Json]:
        """The Deployment's pods that stay."""
        found = self.pods.watch.current().items()
        return {name: pod for name, pod in found if not views.terminating(pod)}

    def endpoints(self) -> set[str]:
        """Pods that the EndpointSlices name."""
        return {
            endpoint["targetRef"]["name"]
            for found in self.slices.current().values()
            for endpoint in found.get("endpoints") or ()
        }

    def account(self) -> str:
        """UID of the ServiceAccount `default`, "" if there is none."""
        found = self.accounts.current().get("default")
        return views.uid(found) if found else ""

    def renewed(self, name: str = MANAGER) -> str:
        """When the leader last renewed its Lease, as it says itself."""
        return str(self.leases.current().get(name, {}).get("spec", {}).get("renewTime", ""))

    def when(self, condition: Callable[[], bool], within: float) -> float | None:
        """Seconds until something is so; None if it does not come."""
        began = self.pods.now()
        came = self.pods.until(lambda: True if condition() else None, within)
        return self.pods.now() - began if came else None

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object of the scene's namespace."""
        self.scene.api.delete(kind, name, self.scene.namespace)
