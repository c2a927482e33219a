"""Turns all that the client and its HTTP library can raise into our errors; nothing leaks."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import urllib3.exceptions
from kubernetes.config.config_exception import ConfigException

from kops_toolkit.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    ObjectNotFoundError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BY_STATUS: dict[int, type[ApiError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: ObjectNotFoundError,
    409: ConflictError,
    410: GoneError,
}
# What Python and urllib3 put around the reason: the pool's name, OpenSSL's code, a source line.
NOISE = re.compile(r"^\w*Connection\w*\(.*?\): |^\[SSL: \w+\] | \(_ssl\.c:\d+\)$")
LONGEST = 300  # characters of what is no Status object: enough to recognise a proxy's page


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Within this block a missing, refused, broken or unreadable answer is an UnreachableError."""
    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError) as cause:
        raise unreachable(server, cause) from cause
    except (json.JSONDecodeError, UnicodeDecodeError) as cause:
        raise garbled(server) from cause
    except ConfigException as cause:
        raise UnreachableError(
            f"the kubeconfig's credentials for {server} can not be had: {cause}"
        ) from cause
    except ValueError:
        # http.client refuses a header it would have to break, and quotes it: not to be shown.
        raise UnreachableError(
            f"the kubeconfig's credentials for {server} can not be sent",
            "is there a line break or another odd character in them?",
        ) from None


def garbled(server: str) -> UnreachableError:
    """The error for an answer that is none of an API server's."""
    return UnreachableError(
        f"{server} sent something that is not JSON of an API server, or only part of it",
        "is this address an API server?",
    )


def unreachable(server: str, cause: BaseException) -> UnreachableError:
    """One sentence for a failure below HTTP, ending in its innermost reason."""
    while isinstance(inner := getattr(cause, "reason", None) or cause.__cause__, BaseException):
        cause = inner
    said = NOISE.sub("", str(cause)) or type(cause).__name__
    return UnreachableError(
        f"the API server at {server} does not answer: {said[:LONGEST]}",
        "is the cluster running, and is this its address?",
    )


def rejected(status: int, body: bytes) -> ApiError:
    """The error for an HTTP status of 400 or more, from the server's own Status object."""
    reason, message = "", body[:LONGEST].decode("utf-8", "replace").strip()
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status":
        reason = found.get("reason") or ""
        message = found.get("message") or message
    return of_status(status, reason, message)


def of_status(status: int, reason: str, message: str) -> ApiError:
    """The right member of ApiError's family."""
    kind = BY_STATUS.get(status, ApiError)
    hint = "do these credentials have the rights for it?" if kind is ForbiddenError else None
    return kind(status, reason, message or f"the API server answered {status}", hint)
