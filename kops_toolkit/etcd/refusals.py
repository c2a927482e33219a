"""gRPC's endings as sentences: its detail texts are gRPC's, OpenSSL's and etcd's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.errors import UnreachableError

if TYPE_CHECKING:
    import grpc

    from kops_toolkit.etcd.endpoint import Endpoint

_IS_IT_TLS = "if it speaks TLS, write https:// and give --cacert, --cert and --key"
_CHECK_KEY = "check --cert and --key; or does it speak plain text (http://)?"
_CHECK_CA = "check --cacert, and that the endpoint is one of the certificate's names"

# What a detail text contains: the sentence, and the hint. The first that fits is taken.
_DETAILS: tuple[tuple[tuple[str, ...], str, str | None], ...] = (
    (
        ("certificate_verify_failed", "certificate verify failed", "peer name"),
        "the certificate of {url} is not signed by the given CA, or not made for that name",
        _CHECK_CA,
    ),
    (("data_corrupted",), "etcd at {url} broke off the TLS handshake", _CHECK_KEY),
    (("security handshaker",), "the CA, certificate or key for {url} cannot be used", _CHECK_KEY),
    (("handshak", "ssl_error", "wrong_version"), "no TLS connection to {url}", _CHECK_KEY),
    (("connection refused",), "nothing listens at {url}", "is etcd running there?"),
    (
        ("errors resolving", "name resolution", "dns resolution"),
        "the host name of {url} is unknown",
        None,
    ),
    (
        ("http1.x", "parsing http/2", "http2 header with status"),
        "what answers at {url} is no etcd v3 member",
        None,
    ),
    (("no route", "unreachable", "timed out", "timeout"), "{url} cannot be reached", None),
    (("no leader",), "etcd at {url} has no leader: its cluster has lost quorum", None),
)


class RevisionAwayError(UnreachableError):
    """A member cannot answer for a revision: it is compacted, or the member is not there yet."""


def no_etcd(endpoint: Endpoint) -> UnreachableError:
    """The error for an answer that no etcd gives."""
    return UnreachableError(f"what answers at {endpoint.url} is no etcd v3 member")


def translated(error: grpc.RpcError, endpoint: Endpoint) -> UnreachableError:
    """A failed call as one sentence."""
    code = error.code().name
    detail = " ".join((error.details() or "").split())
    if code == "DEADLINE_EXCEEDED":
        return UnreachableError(f"etcd at {endpoint.url} does not answer in time")
    if code == "OUT_OF_RANGE":
        return RevisionAwayError(f"etcd at {endpoint.url}: {detail}")
    if code == "UNIMPLEMENTED":
        return no_etcd(endpoint)
    for needles, sentence, hint in _DETAILS:
        if any(needle in detail.lower() for needle in needles):
            return UnreachableError(sentence.format(url=endpoint.url), hint)
    return UnreachableError(
        f"the call to etcd at {endpoint.url} failed: {detail or code}",
        None if endpoint.credentials else _IS_IT_TLS,
    )
