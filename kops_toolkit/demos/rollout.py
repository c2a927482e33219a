"""A Deployment under rollout: its manifests, its steps, and the questions to its history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import ObjectNotFoundError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import DEPLOYMENT, ENDPOINT_SLICE, POD, REPLICA_SET
from kops_toolkit.kube.watch import source
from kops_toolkit.outcome import Picture, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kops_toolkit.demos.load import Load
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.temporal import State
    from kops_toolkit.kube.watch import Seen

PORT = 8080
START_TAKES = 2  # seconds until a new pod listens: what a readiness probe is there for
DRAIN = 4  # seconds a pod goes on answering after it left the Service
REVISION = "deployment.kubernetes.io/revision"
ENDED = {"Succeeded", "Failed"}  # phases of a pod whose containers will not run again
TEMPLATE_HASH = "pod-template-hash"  # the Deployment controller adds it; no part of the template


@dataclass(frozen=True)
class Version:
    """One version of the application.

    Attributes:
        name: `v1`, `v2`, …
        image: what it runs.
        readiness: whether it tells when it can serve.
        pre_stop: whether it goes on serving for a while when it is to end.
    """

    name: str
    image: str
    readiness: bool = True
    pre_stop: bool = True

    def template(self, app: str) -> Json:
        """Its pod template."""
        container: Json = {
            "name": "web",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", f"sleep {START_TAKES}; exec /agnhost netexec"],
            "ports": [{"containerPort": PORT}],
        }
        if self.readiness:
            container["readinessProbe"] = {
                "httpGet": {"path": "/hostname", "port": PORT},
                "periodSeconds": 1,
                "timeoutSeconds": 2,
                "failureThreshold": 3,  # a busy machine is not an unready pod
            }
        if self.pre_stop:
            container["lifecycle"] = {"preStop": {"sleep": {"seconds": DRAIN}}}
        return {
            "metadata": {"labels": {"app": app, "version": self.name}},
            "spec": {"terminationGracePeriodSeconds": 2 * DRAIN, "containers": [container]},
        }


def deployment(app: str, replicas: int, version: Version, strategy: Json) -> Json:
    """A Deployment's manifest."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app},
        "spec": {
            "replicas": replicas,
            "strategy": strategy,
            "selector": {"matchLabels": {"app": app}},
            "template": version.template(app),
        },
    }


def rolling(knobs: tuple[int, int]) -> Json:
    """The strategy with these maxSurge and maxUnavailable."""
    bounds = {"maxSurge": knobs[0], "maxUnavailable": knobs[1]}
    return {"type": "RollingUpdate", "rollingUpdate": bounds}


def service(app: str) -> Json:
    """A Service in front of it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": PORT}]},
    }


class Rollout:
    """A Deployment with its Service, and what the run's watches saw of it.

    Args:
        scene: where it plays.
        app: name of the Deployment and the Service.
    """

    def __init__(self, scene: Scene, app: str) -> None:
        self.app = app
        self._scene = scene
        self._namespace = scene.namespace
        labels = f"app={app}"
        watches = scene.watches
        self.deployments = watches.of(DEPLOYMENT, self._namespace)
        self.replica_sets = watches.of(REPLICA_SET, self._namespace, labels)
        self.pods = watches.of(POD, self._namespace, labels)
        self.slices = watches.of(
            ENDPOINT_SLICE, self._namespace, f"kubernetes.io/service-name={app}"
        )
        for watch in (self.deployments, self.replica_sets, self.pods, self.slices):
            watch.ready()

    def create(self, replicas: int, version: Version, strategy: Json) -> str:
        """Create both; gives back the Service's `host:port`."""
        api = self._scene.api
        api.create(deployment(self.app, replicas, version, strategy), self._namespace)
        made = api.create(service(self.app), self._namespace)
        return f"{made['spec']['clusterIP']}:80"

    def patch(self, spec: Json) -> Json:
        """Change the Deployment's spec (merge patch); gives back the whole Deployment."""
        return self._scene.api.patch(DEPLOYMENT, self.app, self._namespace, {"spec": spec})

    def update(self, version: Version, **spec: Any) -> Json:  # noqa: ANN401 - fields of the spec
        """Put another version into the template."""
        template = version.template(self.app)
        # Lists are replaced whole by a merge patch, so nothing of the old container remains.
        return self.patch({**spec, "template": template})

    def restore_template(self, template: Json) -> Json:
        """Put an earlier template back, field by field, as `kubectl rollout undo` does."""
        operations = [{"op": "replace", "path": "/spec/template", "value": template}]
        return self._scene.api.patch(DEPLOYMENT, self.app, self._namespace, operations, how="json")

    def stray(self) -> None:
        """Let a pod of the first version serve that no ReplicaSet owns, and wait until it does.

        Raises:
            TimedOutError: it does not get ready.
        """
        template = Version("v1", self._scene.image).template(self.app)
        body: Json = {"apiVersion": "v1", "kind": "Pod", **template}
        body["metadata"]["name"] = "stray"
        self._scene.api.create(body, self._namespace)
        self.pods.wait(
            lambda: True if views.ready(self.pods.current().get("stray", {})) else None,
            timeout=60,
            what="the ready pod stray",
        )

    def complete(self, patched: Json | None, timeout: float = 60.0) -> Json:
        """Wait until the rollout of a change is complete, judged as `kubectl rollout status` does.

        Raises:
            TimedOutError: it is not, with what was last seen.
        """
        generation = patched["metadata"]["generation"] if patched else 1

        def done() -> Json | None:
            found = self.current()
            status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas", -1)
            counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas")}
            looked = status.get("observedGeneration", 0) >= generation
            finished = counts == {wanted} and status.get("availableReplicas", 0) == wanted
            return found if looked and finished else None

        return self.deployments.wait(
            done, timeout=timeout, what=f"the complete rollout of {self.app}", last=self.last_words
        )

    def current(self) -> Json:
        """The Deployment as last seen, {} if it was not yet."""
        return self.deployments.current().get(self.app, {})

    def revision(self, number: int) -> Json:
        """The ReplicaSet of a revision.

        Raises:
            ObjectNotFoundError: there is none.
        """
        for found in self.replica_sets.current().values():
            if _revision(found) == number:
                return found
        raise ObjectNotFoundError(404, "NotFound", f"{self.app} has no revision {number}")

    def has_revision(self, number: int) -> bool:
        """Whether the ReplicaSet of a revision is still there."""
        return any(_revision(found) == number for found in self.replica_sets.current().values())

    def pods_of(self, version: str) -> dict[str, Json]:
        """All pods of a version that were ever seen, each as last seen, by name."""
        return {
            seen.name: seen.object
            for seen in self.pods.history()
            if seen.object["metadata"]["labels"].get("version") == version
        }

    def history_of(self, version: str) -> list[Seen]:
        """All that happened to the pods of a version."""
        names = self.pods_of(version)
        return [seen for seen in self.pods.history() if seen.name in names]

    def history(self) -> list[Seen]:
        """All that happened to the pods and the Service's EndpointSlices, by time of arrival."""
        return sorted(self.slices.history() + self.pods.history(), key=lambda seen: seen.at)

    def standing(self, version: str | None = None) -> set[str]:
        """UIDs of the pods (of one version, or all) that are not on their way out."""
        names = self.pods_of(version) if version else self.pods.current()
        return {
            views.uid(pod)
            for name, pod in self.pods.current().items()
            if name in names and not views.terminating(pod)
        }

    def last_words(self) -> str:
        """The pods as they are now, in words."""
        pods = self.pods.current().values()
        return ", ".join(f"{source(pod)} {views.phase(pod)}" for pod in pods) or "no pods"


def template_of(replica_set: Json) -> Json:
    """The template a ReplicaSet was made from: without the hash the controller added."""
    template: Json = replica_set["spec"]["template"]
    labels = template["metadata"]["labels"]
    kept = {key: value for key, value in labels.items() if key != TEMPLATE_HASH}
    return {**template, "metadata": {**template["metadata"], "labels": kept}}


def wanted_pods(state: State) -> int:
    """How many pods all ReplicaSets together ask for, in one state."""
    return sum(found["spec"]["replicas"] for found in state.of(REPLICA_SET).values())


def standing_pods(state: State) -> int:
    """How many pods there are that are not on their way out and have not ended, in one state."""
    return sum(
        not views.terminating(pod) and pod.get("status", {}).get("phase") not in ENDED
        for pod in state.of(POD).values()
    )


def serving_pods(state: State) -> int:
    """How many pods are ready and not on their way out, in one state."""
    pods = state.of(POD).values()
    return sum(views.ready(pod) and not views.terminating(pod) for pod in pods)


def in_service(endpoint_slice: Mapping[str, Any], pod: str) -> bool:
    """Whether an EndpointSlice sends requests to a pod."""
    return any(
        endpoint.get("targetRef", {}).get("name") == pod and endpoint["conditions"].get("ready")
        for endpoint in endpoint_slice.get("endpoints") or ()
    )


def picture(rollout: Rollout, load: Load, mark: dict[str, int]) -> Picture:
    """Deployment, ReplicaSets by revision, Pods, and the load since a mark, as they are now."""
    found = rollout.current()
    status = found.get("status", {})
    ready, wanted = status.get("readyReplicas", 0), found.get("spec", {}).get("replicas", 0)
    told = views.condition(found, "Progressing") or {}
    stuck = told.get("reason") == "ProgressDeadlineExceeded"
    state = "Stuck" if stuck else "Paused" if found.get("spec", {}).get("paused") else "Active"
    rows = [Row(0, f"Deployment/{rollout.app}", state, not stuck, f"{ready} of {wanted} ready")]
    pods = list(rollout.pods.current().values())
    for replica_set in sorted(rollout.replica_sets.current().values(), key=_revision):
        name = replica_set["metadata"]["name"]
        replicas = replica_set["spec"]["replicas"]
        note = f"revision {_revision(replica_set)}, {replicas} wanted"
        rows.append(Row(1, f"ReplicaSet/{name}", "Scaled" if replicas else "Kept", None, note))
        rows += [_pod_row(pod) for pod in pods if views.owner_uid(pod) == views.uid(replica_set)]
    seen = load.since(mark)
    kinds = ", ".join(f"{count} {kind}" for kind, count in seen.failures.most_common())
    figures = f"{seen.total} requests, {seen.lost} lost" + (f": {kinds}" if kinds else "")
    return Picture(tuple(rows), figures, alarm=seen.lost > 0)


def _pod_row(pod: Json) -> Row:
    state = views.phase(pod)
    bad = state.startswith("Err") or state.endswith("BackOff")
    well = True if state == "Ready" else False if bad else None
    version = pod["metadata"]["labels"].get("version", "")
    return Row(2, f"Pod/{pod['metadata']['name']}", state, well, version)


def _revision(replica_set: Json) -> int:
    return int(replica_set["metadata"].get("annotations", {}).get(REVISION, 0))
