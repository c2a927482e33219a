"""What a use-case gives back: plain frozen values that every report format draws from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class Status(Enum):
    """How a check, or everything folded together, ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ABORTED = "aborted"  # a prerequisite failed, so this was never judged


@dataclass(frozen=True)
class Evidence:
    """One observation that a verdict rests on.

    Attributes:
        expected: what had to be seen, in words.
        observed: what was seen, in words, with figures.
        source: where from: `Kind/namespace/name@resourceVersion`, a node's command, a response.
        at: when it was seen (aware UTC), or None where it is the sum of many observations.
    """

    expected: str
    observed: str
    source: str
    at: datetime | None = None


@dataclass(frozen=True)
class Check:
    """One statement that was put to the test.

    Attributes:
        name: stable identifier, kebab-case, unique within its report.
        title: the statement as a sentence.
        status: the verdict.
        evidence: what the verdict rests on; a PASSED or FAILED check has at least one.
        reason: why it failed, was skipped or aborted; "" when passed.
        seconds: how long judging took.
    """

    name: str
    title: str
    status: Status
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.status in {Status.PASSED, Status.FAILED} and not self.evidence:
            raise ValueError(f"check {self.name} has a verdict but no evidence")


@dataclass(frozen=True)
class Moment:
    """One line of a timeline: at `at` (aware UTC), about `subject`, this happened."""

    at: datetime
    subject: str
    text: str


@dataclass(frozen=True)
class Row:
    """One object in a live picture.

    Attributes:
        depth: how far it hangs below its owner: 0, 1, 2.
        name: `Kind/name`, unique within the picture.
        state: where it is in its life, one or two words, e.g. `Ready`.
        well: True good, False bad, None on its way.
        note: figures beside it, "" if none.
    """

    depth: int
    name: str
    state: str
    well: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """What a live view draws at one moment: objects as a tree, and figures in one line."""

    rows: tuple[Row, ...] = ()
    figures: str = ""
    alarm: bool = False


@dataclass(frozen=True)
class Report:
    """All that one use-case found out.

    Attributes:
        name: what ran, e.g. `rolling-update`.
        checks: in the order they were judged.
        started: aware UTC.
        seconds: wall-clock duration.
        facts: figures worth keeping beside the verdicts (JSON-serialisable).
        timeline: what happened, oldest first.
    """

    name: str
    checks: tuple[Check, ...]
    started: datetime
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    timeline: tuple[Moment, ...] = ()

    @property
    def status(self) -> Status:
        """Everything folded to one verdict; a report that checked nothing has failed."""
        return fold(check.status for check in self.checks)


def fold(statuses: Iterable[Status]) -> Status:
    """Fold many verdicts to one: the worst wins, and no verdict at all is a failure.

    ABORTED counts as a failure of the whole; SKIPPED only if nothing else was judged.
    """
    seen = set(statuses)
    if not seen or seen & {Status.FAILED, Status.ABORTED}:
        return Status.FAILED
    return Status.PASSED if Status.PASSED in seen else Status.SKIPPED
