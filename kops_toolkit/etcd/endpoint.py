"""Where a member is reached, and with which credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kops_toolkit.errors import UsageError

PORT = 2379


@dataclass(frozen=True)
class Credentials:
    """PEM bytes; they stay in memory, and `repr` does not show them.

    Attributes:
        ca: certificates that the member's own must be signed by.
        cert: ours, for a member that asks for one; None sends none.
        key: the private key of `cert`.
    """

    ca: bytes = field(repr=False)
    cert: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Endpoint:
    """One member's client address.

    Attributes:
        host: name or address; an IPv6 address without brackets.
        port: TCP port.
        credentials: for TLS; None talks plain text.
    """

    host: str
    port: int = PORT
    credentials: Credentials | None = None

    @property
    def target(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """As etcdctl writes it."""
        return f"{'https' if self.credentials else 'http'}://{self.target}"


def parse(text: str, credentials: Credentials | None) -> Endpoint:
    """An endpoint as on the command line: a URL, `host:port` or `host`.

    Raises:
        UsageError: it is none, or scheme and credentials do not fit.
    """
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as cause:
        raise _bad(text) from cause
    if not host or parts.scheme not in {"", "http", "https"} or parts.path not in {"", "/"}:
        raise _bad(text)
    if parts.username or parts.query or parts.fragment or any(char.isspace() for char in text):
        raise _bad(text)
    if parts.scheme == "https" and not credentials:
        raise UsageError(
            f"{text} wants TLS, but no CA is given", "add --cacert, and --cert with --key"
        )
    if parts.scheme == "http" and credentials:
        raise UsageError(
            f"{text} is plain text, but certificates are given", "write https://, or leave them out"
        )
    return Endpoint(host, port or PORT, credentials)


def _bad(text: str) -> UsageError:
    return UsageError(f"{text!r} is no etcd endpoint", "for example https://127.0.0.1:2379")
