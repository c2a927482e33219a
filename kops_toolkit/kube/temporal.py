"""Statements about time, as values: what must happen, must not, in which order and how soon.

`Never`, `Before` and `Within` judge a finished history, every event of it, not its last state.
`Eventually` and `Consistently` wait on live watches. All give a `Verdict`, which says what was
last seen and becomes an `outcome.Check`. A statement about nothing observed has not held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kops_toolkit.errors import TimedOutError
from kops_toolkit.outcome import Check, Evidence, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from kops_toolkit.kube.api import Json, Kind
    from kops_toolkit.kube.watch import Seen, Watch


@dataclass(frozen=True)
class Verdict:
    """Whether a statement held, and what that rests on.

    Attributes:
        held: the answer.
        observed: what was seen, in words with figures.
        source: object@resourceVersion, or what else it was read from.
        at: when it was seen; None for the sum of many observations.
    """

    held: bool
    observed: str
    source: str
    at: datetime | None = None

    def check(self, name: str, title: str, expected: str) -> Check:
        """The verdict as a check of a report."""
        evidence = Evidence(expected, self.observed, self.source, self.at)
        status = Status.PASSED if self.held else Status.FAILED
        return Check(name, title, status, (evidence,), "" if self.held else self.observed)


@dataclass
class State:
    """All watched objects as they were just after one event.

    Attributes:
        seen: the event.
        objects: type to name to object.
    """

    seen: Seen
    objects: dict[Kind, dict[str, Json]] = field(default_factory=dict)

    def of(self, kind: Kind) -> dict[str, Json]:
        """Objects of one type, by name."""
        return self.objects.get(kind, {})


def replay(watches: Sequence[Watch]) -> Iterator[State]:
    """Every state that the watches went through, in the order of arrival.

    A listing counts as one event, for the states between its objects never were.

    Watches of different types are separate streams of the server: between two of them the order is
    that of arrival here, so a statement over several types can see one lag by milliseconds.
    """
    merged = [(seen, watch) for watch in watches for seen in watch.history()]
    objects: dict[Kind, dict[str, Json]] = {}
    for seen, watch in sorted(merged, key=lambda item: item[0].at):
        known = objects.setdefault(watch.kind, {})
        if seen.type == "DELETED":
            known.pop(watch.name(seen.object), None)
        else:
            known[watch.name(seen.object)] = seen.object
        if not seen.partial:
            yield State(seen, objects)


@dataclass(frozen=True)
class Never:
    """No state may be a breach.

    Attributes:
        breach: puts a breach in words, or gives None.
        tell: puts in words how near it came, given the number of states judged.
    """

    breach: Callable[[State], str | None]
    tell: Callable[[int], str] = lambda states: f"held in each of {states} states"

    def judge(self, states: Iterable[State]) -> Verdict:
        """Judge every state."""
        count = 0
        for state in states:
            count += 1
            if (words := self.breach(state)) is not None:
                return Verdict(
                    held=False, observed=words, source=state.seen.source, at=state.seen.wall
                )
        if not count:
            return Verdict(held=False, observed="nothing was observed", source="watch")
        return Verdict(held=True, observed=self.tell(count), source="every watch event")


@dataclass(frozen=True)
class Before:
    """The first event of one sort comes before the first of another; both must come."""

    earlier: Callable[[Seen], bool]
    later: Callable[[Seen], bool]

    def judge(self, history: Iterable[Seen]) -> Verdict:
        """Judge a history in its order of arrival."""
        first: Seen | None = None
        for seen in history:
            if first is None and self.earlier(seen):
                first = seen
            elif self.later(seen):
                if first is None:
                    return Verdict(
                        held=False,
                        observed="the later came first",
                        source=seen.source,
                        at=seen.wall,
                    )
                apart = f"{seen.at - first.at:.3f} s after {first.source}"
                return Verdict(held=True, observed=apart, source=seen.source, at=seen.wall)
        missing = "the earlier" if first is None else "the later"
        return Verdict(held=False, observed=f"{missing} never came", source="watch")


@dataclass(frozen=True)
class Within:
    """A duration between both bounds, in seconds: too soon is as wrong as too late."""

    earliest: float
    latest: float

    def judge(self, seconds: float | None, source: str) -> Verdict:
        """Judge a measured duration; None means that it never came."""
        if seconds is None:
            return Verdict(held=False, observed="it never came", source=source)
        held = self.earliest <= seconds <= self.latest
        return Verdict(held=held, observed=f"after {seconds:.1f} s", source=source)

    def __str__(self) -> str:
        return f"after {self.earliest:g} to {self.latest:g} s"


@dataclass(frozen=True)
class Eventually:
    """Something comes within some seconds from now."""

    within: float

    def judge(self, watch: Watch, condition: Callable[[], str | None], what: str) -> Verdict:
        """Wait until `condition` puts in words that it came."""
        try:
            words = watch.wait(condition, timeout=self.within, what=what)
        except TimedOutError as error:
            return Verdict(held=False, observed=error.message, source=_last_source(watch))
        return Verdict(held=True, observed=words, source=_last_source(watch))


@dataclass(frozen=True)
class Consistently:
    """Nothing breaks it for some seconds from now; it must be seen to hold at the start."""

    for_: float

    def judge(self, watch: Watch, breach: Callable[[], str | None], what: str) -> Verdict:
        """Wait for `breach` to put a breach in words; that none comes is what is hoped for."""
        watch.ready()
        try:
            words = watch.wait(breach, timeout=self.for_, what=what)
        except TimedOutError:
            blind = watch.trouble or ("" if watch.history() else "nothing was there to observe")
            observed = f"held for {self.for_:g} s over {len(watch.history())} events"
            return Verdict(held=not blind, observed=blind or observed, source=_last_source(watch))
        return Verdict(held=False, observed=words, source=_last_source(watch))


def _last_source(watch: Watch) -> str:
    history = watch.history()
    return history[-1].source if history else watch.kind.plural
