"""Plays a demo: its needs, its namespace, its watches, its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kops_toolkit.cluster.faults import Faults
from kops_toolkit.demos.model import AGNHOST, Scene
from kops_toolkit.errors import CleanupFailedError, KtError, UsageError
from kops_toolkit.kube import views
from kops_toolkit.kube.api import EVENT, POD
from kops_toolkit.kube.consent import require_consent
from kops_toolkit.kube.outside import Outside
from kops_toolkit.kube.scratch import scratch_namespace
from kops_toolkit.kube.watch import source
from kops_toolkit.kube.watches import Watches
from kops_toolkit.outcome import Check, Evidence, Report, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kops_toolkit.cluster.node import Node
    from kops_toolkit.demos.model import Audience, Demo
    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.kube.watches import Streams
    from kops_toolkit.system.clock import Clock
    from kops_toolkit.system.journal import Journals

EVENTS_SHOWN = 8
LOG_LINES_SHOWN = 5


@dataclass(frozen=True)
class Runner:
    """Where demos are played.

    Attributes:
        api: the cluster.
        name: what the user calls it.
        consent: the name given with `--i-know-this-breaks`.
        kubeconfig: how another process reaches it, for the journal.
        context: likewise.
        journals: where debts are written.
        clock: time.
        audience: who watches.
        ensure_image: makes sure that every node has an image, or can pull it.
        image: what the demos' workloads run.
        nodes: the nodes that we can reach into, by name; none where the cluster is not kind's.
        streams: what all demos of a suite see the cluster through; None: each opens its own.
    """

    api: KubeApi
    name: str
    consent: str | None
    kubeconfig: Path
    context: str
    journals: Journals
    clock: Clock
    audience: Audience
    ensure_image: Callable[[str], None]
    image: str = AGNHOST
    nodes: Mapping[str, Node] = field(default_factory=dict)
    streams: Streams | None = None

    def run(
        self, demo: Demo, *, sabotage: str | None = None, keep: bool = False, strict: bool = False
    ) -> Report:
        """Play one demo to its end and clean up after it.

        Args:
            demo: which.
            sabotage: break this on purpose, to see a check fail.
            keep: leave the objects.
            strict: an unmet need is a failure, not a skip.

        Raises:
            UsageError: the demo has no such sabotage.
            RefusedError: it could break a cluster that kt did not make.
            CleanupFailedError: what it made could not be taken away.
        """
        if sabotage is not None and sabotage not in demo.sabotages:
            known = ", ".join(demo.sabotages)
            raise UsageError(f"{demo.name} has no sabotage called {sabotage}", f"it has: {known}")
        if demo.breaks:
            require_consent(self.api, self.name, self.consent, f"the demo {demo.name}")
        started, began = self.clock.now(), self.clock.monotonic()
        unmet = [reason for need in demo.needs if (reason := need.unmet(self.api))]
        if demo.reaches_nodes and not self.nodes:
            unmet.append("kt cannot reach into this cluster's nodes; it can into those of kind's")
        if unmet:
            status = Status.FAILED if strict else Status.SKIPPED
            seen = Evidence("what the demo needs", "; ".join(unmet), self.api.server, started)
            check = Check("needs", "The cluster has what it needs", status, (seen,), unmet[0])
            return Report(demo.name, (check,), started, 0.0)
        self.ensure_image(self.image)
        with (
            self.journals.open(demo.name) as journal,
            Watches(self.api, self.clock, self.streams) as watches,
            scratch_namespace(
                self.api,
                journal,
                f"kt-{demo.name}",
                kubeconfig=self.kubeconfig,
                context=self.context,
                keep=keep,
            ) as namespace,
        ):
            reach = {"kubeconfig": str(self.kubeconfig), "context": self.context}
            outside = Outside(self.api, journal, namespace.rpartition("-")[2], reach)
            scene = Scene(
                api=self.api,
                watches=watches,
                namespace=namespace,
                clock=self.clock,
                audience=self.audience,
                outside=outside,
                faults=Faults(self.name, self.nodes, journal),
                image=self.image,
                sabotage=sabotage,
            )
            self._play(demo, scene)
        seconds = self.clock.monotonic() - began
        facts = {**scene.facts, "namespace": namespace, "kept": keep}
        return Report(
            demo.name, tuple(scene.checks), started, seconds, facts, tuple(scene.timeline)
        )

    def _play(self, demo: Demo, scene: Scene) -> None:
        self.audience.begins(demo.title, scene.look)
        try:
            demo.play(scene)
        except CleanupFailedError:
            raise
        except KtError as error:
            scene.record(_cut_short(scene, error))
        finally:
            self.audience.ends()


def _cut_short(scene: Scene, error: KtError) -> Check:
    """The demo could not go on: that is a failure, told with what the cluster says about it."""
    seen = Evidence("the demo plays to its end", error.message, scene.namespace, scene.clock.now())
    return Check(
        "played-to-the-end",
        "The demo plays to its end",
        Status.FAILED,
        (seen, *_diagnosis(scene)),
        error.message,
    )


def _diagnosis(scene: Scene) -> list[Evidence]:
    """The last events of the namespace, and the last log lines of pods that are not ready."""
    try:
        events = scene.api.list(EVENT, scene.namespace).items
        pods = scene.api.list(POD, scene.namespace).items
        found = [
            Evidence("", f"{item['reason']}: {item['message']}", _about(item), None)
            for item in sorted(events, key=_when)[-EVENTS_SHOWN:]
        ]
        for pod in pods:
            if not views.ready(pod):
                found += _last_log(scene, pod["metadata"]["name"], source(pod))
    except KtError as error:  # the cluster may be what broke
        return [Evidence("", error.message, scene.api.server, None)]
    return found


def _last_log(scene: Scene, pod: str, where: str) -> list[Evidence]:
    try:
        lines = list(scene.api.logs(scene.namespace, pod))[-LOG_LINES_SHOWN:]
    except KtError as error:  # several containers, or none has started
        lines = [error.message]
    return [Evidence("", "\n".join(lines), f"{where} log", None)] if lines else []


def _about(event: dict[str, object]) -> str:
    about = event["involvedObject"]
    assert isinstance(about, dict)  # noqa: S101 - narrows a JSON value
    return f"{about.get('kind')}/{about.get('namespace')}/{about.get('name')}"


def _when(event: dict[str, object]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
