from __future__ import annotations

import pytest

from kops_toolkit.outcome import Check, Evidence, Status, fold
from tests.fakes.clock import START

SEEN = (Evidence("1", "1", "test", START),)


@pytest.mark.parametrize(
    ("statuses", "folded"),
    [
        ([], Status.FAILED),
        ([Status.PASSED], Status.PASSED),
        ([Status.PASSED, Status.SKIPPED], Status.PASSED),
        ([Status.SKIPPED], Status.SKIPPED),
        ([Status.PASSED, Status.FAILED], Status.FAILED),
        ([Status.PASSED, Status.ABORTED], Status.FAILED),
    ],
)
def test_the_worst_verdict_wins_and_none_is_a_failure(
    statuses: list[Status], folded: Status
) -> None:
    assert fold(statuses) is folded


@pytest.mark.parametrize("status", [Status.PASSED, Status.FAILED])
def test_a_verdict_without_evidence_cannot_be_made(status: Status) -> None:
    with pytest.raises(ValueError, match="no evidence"):
        Check("x", "X", status)
    assert Check("x", "X", status, SEEN).evidence == SEEN
