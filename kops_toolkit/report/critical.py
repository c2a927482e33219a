"""The critical path of a run: which demos, one after the other, made it take as long as it did."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from kops_toolkit.outcome import Report

TOGETHER = timedelta(seconds=0.5)  # what begins within this of another's end began because of it
LONGEST = 2  # acts told of each demo


def path(reports: Sequence[Report]) -> list[Report]:
    """The demos of the critical path, in order: from the last to end back to what it waited for."""
    left = sorted((found for found in reports if found.seconds), key=_ended)
    chain: list[Report] = []
    while left:
        last = left.pop()
        chain.append(last)
        left = [found for found in left if _ended(found) <= last.started + TOGETHER]
    return chain[::-1]


def acts(found: Report) -> list[tuple[str, float]]:
    """What a demo spent its time on: the seconds of each act, the longest first."""
    begins = [(moment.at, moment.text) for moment in found.timeline if moment.subject == "act"]
    bounds = [(found.started, "getting ready"), *begins, (_ended(found), "")]
    spans = [(text, (end - start).total_seconds()) for (start, text), (end, _) in pairwise(bounds)]
    return sorted(spans, key=lambda span: span[1], reverse=True)


def told(reports: Sequence[Report]) -> list[str]:
    """The critical path in words, a line a demo."""
    lines = []
    for found in path(reports):
        longest = [f"{text} {seconds:.1f} s" for text, seconds in acts(found)[:LONGEST]]
        lines.append(f"{found.name} {found.seconds:.1f} s: {', '.join(longest)}")
    return lines


def _ended(found: Report) -> datetime:
    return found.started + timedelta(seconds=found.seconds)
