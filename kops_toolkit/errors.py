"""One error tree. Lower rooms raise these; `cli/exits.py` alone knows which exit code each has."""

from __future__ import annotations


class KtError(Exception):
    """Something a person can act on, told in one sentence.

    Attributes:
        message: what is wrong, one sentence, without a trailing full stop's worth of jargon.
        hint: what to do about it, or None where nothing useful can be said.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(KtError):
    """The command line asks for something that makes no sense."""


class EnvironmentNotReadyError(KtError):
    """The host lacks something kt needs: an engine, kind, a kernel setting."""


class UnreachableError(KtError):
    """An API server or etcd member does not answer, or refuses our credentials."""


class TimedOutError(KtError):
    """A wait outside a check ended unfulfilled; the message says what was last seen."""


class ToolFailedError(KtError):
    """An external program failed; the message holds its command and the end of its output."""


class ArtefactInvalidError(KtError):
    """A file (a snapshot, a profile, a journal) is not what it claims to be."""


class CleanupFailedError(KtError):
    """What kt made could not be taken away; `kt recover` will try again."""


class RefusedError(KtError):
    """Consent is missing, or the act would overwrite or break something that is not ours."""


class NotFoundError(KtError):
    """A named thing (context, cluster, node, file, object) does not exist."""


class NoSpaceError(KtError):
    """A disk has not enough room for what is to be written."""


class WrongClusterError(KtError):
    """A snapshot was taken from another cluster than the one it is to be restored into."""


class InterruptedByUserError(KtError):
    """Ctrl-C or SIGTERM arrived and everything begun has been undone."""


class ApiError(KtError):
    """The API server answered with an error status.

    Attributes:
        status: HTTP status code, e.g. 409.
        reason: the `reason` of the returned Status object, e.g. "AlreadyExists", or "".
    """

    def __init__(self, status: int, reason: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.status = status
        self.reason = reason


class ObjectNotFoundError(ApiError):
    """404: the object or its resource type is not there."""


class ConflictError(ApiError):
    """409: it exists already, or the resourceVersion is stale."""


class ForbiddenError(ApiError):
    """401 or 403: credentials unknown or not allowed to do this."""


class GoneError(ApiError):
    """410: the resourceVersion is too old; list again."""
