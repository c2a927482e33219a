"""Which exit code each ending has: the only place that knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit import errors
from kops_toolkit.outcome import Status

if TYPE_CHECKING:
    from kops_toolkit.outcome import Report

CHECK_FAILED = 1
BUG = 70
INTERRUPTED = 130
BROKEN_PIPE = 141

CODES: tuple[tuple[type[errors.KtError], int], ...] = (
    (errors.UsageError, 2),
    (errors.EnvironmentNotReadyError, 3),
    (errors.UnreachableError, 4),
    (errors.ForbiddenError, 4),
    (errors.TimedOutError, 5),
    (errors.ToolFailedError, 6),
    (errors.ArtefactInvalidError, 7),
    (errors.CleanupFailedError, 8),
    (errors.RefusedError, 9),
    (errors.ObjectNotFoundError, 10),
    (errors.NotFoundError, 10),
    (errors.NoSpaceError, 11),
    (errors.WrongClusterError, 12),
    (errors.ApiError, 13),
    (errors.InterruptedByUserError, INTERRUPTED),
)

MEANINGS: dict[int, str] = {
    0: "everything asked for was done, and every check held",
    1: "a check failed",
    2: "the command line makes no sense",
    3: "the host lacks something (see `kt doctor`)",
    4: "an API server or etcd member does not answer, or refuses the credentials",
    5: "something took longer than it may, outside a check",
    6: "an external program failed",
    7: "a file is not what it claims to be",
    8: "something kt made could not be taken away (`kt recover` tries again)",
    9: "refused: consent is missing, or something would be overwritten",
    10: "a named thing does not exist",
    11: "a disk is full, or would be",
    12: "the snapshot is of another cluster",
    13: "the API server rejected a request",
    70: "a bug in kt",
    130: "interrupted, and taken back what was begun",
    141: "the reader of stdout went away",
}


def of_error(error: errors.KtError) -> int:
    """Exit code of an error: that of the first row of the table which it is an instance of."""
    return next((code for kind, code in CODES if isinstance(error, kind)), BUG)


def of_report(report: Report) -> int:
    """0 if everything held or was rightly skipped, else 1."""
    return CHECK_FAILED if report.status is Status.FAILED else 0
