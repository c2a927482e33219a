"""What a demo is, what it plays with, and who watches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kops_toolkit.outcome import Check, Moment, Picture, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kops_toolkit.cluster.faults import Faults
    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.kube.outside import Outside
    from kops_toolkit.kube.temporal import Verdict
    from kops_toolkit.kube.watches import Watches
    from kops_toolkit.system.clock import Clock

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"  # Kubernetes' own test image
DOCS = "https://kubernetes.io/docs/"


class Audience(Protocol):
    """Who watches a demo: the live view, plain lines, nobody. Must not raise."""

    def begins(self, title: str, look: Callable[[], Picture]) -> None:
        """The demo begins; `look` may be called at any time, from any thread."""
        ...

    def stage(self, title: str, why: str) -> None:
        """The next act begins; in teaching mode this returns when the person wants to go on."""
        ...

    def happened(self, moment: Moment) -> None:
        """Something worth a line of the timeline."""
        ...

    def judged(self, check: Check) -> None:
        """A verdict."""
        ...

    def ends(self) -> None:
        """No more will come."""
        ...


class Nobody:
    """Nobody watches."""

    def begins(self, title: str, look: Callable[[], Picture]) -> None:
        """See Audience."""

    def stage(self, title: str, why: str) -> None:
        """See Audience."""

    def happened(self, moment: Moment) -> None:
        """See Audience."""

    def judged(self, check: Check) -> None:
        """See Audience."""

    def ends(self) -> None:
        """See Audience."""


@dataclass(frozen=True)
class Need:
    """What a demo cannot do without.

    Attributes:
        text: in words, for `kt demo --list`.
        unmet: gives the reason when a cluster has it not, else None.
    """

    text: str
    unmet: Callable[[KubeApi], str | None]


@dataclass(frozen=True)
class Act:
    """One act of a story, told before it is played.

    Attributes:
        title: what happens.
        why: what it shows, and how to recognise it.
    """

    title: str
    why: str


@dataclass(frozen=True)
class Sabotage:
    """A way to break a demo on purpose: a check that holds all the same proves nothing.

    Attributes:
        text: what it does.
        fails: names of the checks that must not hold under it.
    """

    text: str
    fails: tuple[str, ...]


@dataclass(frozen=True)
class Demo:
    """A concept that can be shown and proven.

    Attributes:
        name: as on the command line.
        title: the concept in one line.
        idea: the concept in a paragraph.
        acts: the story, in order.
        needs: what it cannot do without.
        sabotages: what can be broken on purpose, by name.
        play: does it, on a scene.
        page: the official documentation's page, below DOCS.
        breaks: it changes nodes or the control plane, and so needs consent where kt is a guest.
        alone: other demos would not hold while it runs, e.g. because it drives pods off a node.
        smoke: quick and telling enough for every push.
        reaches_nodes: it looks at, or breaks, what runs on the nodes, beyond what the API tells.
    """

    name: str
    title: str
    idea: str
    acts: tuple[Act, ...]
    needs: tuple[Need, ...]
    sabotages: Mapping[str, Sabotage]
    play: Callable[[Scene], None]
    page: str
    breaks: bool = False
    alone: bool = False
    smoke: bool = False
    reaches_nodes: bool = False


@dataclass
class Scene:
    """What a demo plays with, and where it writes down what it finds.

    Attributes:
        api: the cluster.
        watches: the run's shared watches.
        namespace: its own, empty at the start.
        clock: time.
        audience: who watches.
        outside: changes what is not in its namespace.
        faults: the nodes that can be reached into, and what can be broken on them.
        image: agnhost, or what stands in for it.
        sabotage: what is to be broken on purpose, None in earnest.
        checks: the verdicts so far.
        facts: figures worth keeping.
        timeline: what happened so far.
        picture: how it looks now; a demo puts its own here.
    """

    api: KubeApi
    watches: Watches
    namespace: str
    clock: Clock
    audience: Audience
    outside: Outside
    faults: Faults
    image: str = AGNHOST
    sabotage: str | None = None
    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    timeline: list[Moment] = field(default_factory=list)
    picture: Callable[[], Picture] = Picture

    def stage(self, act: Act) -> None:
        """Begin an act."""
        self.tell("act", act.title)
        self.audience.stage(act.title, act.why)

    def tell(self, subject: str, text: str) -> None:
        """Add a line to the timeline."""
        moment = Moment(self.clock.now(), subject, text)
        self.timeline.append(moment)
        self.audience.happened(moment)

    def judge(self, name: str, title: str, expected: str, verdict: Verdict) -> None:
        """Write down a verdict; the demo goes on either way, so that all of them are known."""
        self.record(verdict.check(name, title, expected))

    def skip(self, name: str, title: str, reason: str) -> None:
        """Write down that a check cannot be judged on this cluster."""
        self.record(Check(name, title, Status.SKIPPED, reason=reason))

    def look(self) -> Picture:
        """How it looks now."""
        return self.picture()

    def record(self, check: Check) -> None:
        """Write down a check."""
        self.checks.append(check)
        self.audience.judged(check)
