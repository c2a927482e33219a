"""Speaks etcd's gRPC API to one member: the few calls that backup and restore need.

Messages are read and written by hand (`messages`, `wire`), so no generated code is carried along.
A call that hangs ends at its deadline, a stream that hangs when its watchdog barks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from kops_toolkit.errors import UnreachableError, UsageError
from kops_toolkit.etcd import messages, wire
from kops_toolkit.etcd.refusals import no_etcd, translated
from kops_toolkit.etcd.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

    from kops_toolkit.etcd.endpoint import Credentials, Endpoint

T = TypeVar("T")

DEADLINE = 10.0  # seconds for a small call
HASH_DEADLINE = 120.0  # seconds: the member reads its whole history


class Client:
    """A connection to one member. Use as a context manager.

    Nothing is sent before the first call. Every method raises UnreachableError where the member
    does not answer within its deadline, refuses us or is no etcd, or where the connection breaks.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        # gRPC's C core logs to stderr on its own; what matters comes back as an error anyway.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        import grpc  # 0.1 s that `kt --help` need not spend

        self.endpoint = endpoint
        options = (
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),  # certificates and data are for the member alone
            ("SingleThreadedUnaryStream", 1),  # a stream without a thread handover per message
        )
        if endpoint.credentials:
            self._channel = grpc.secure_channel(
                endpoint.target, _tls(endpoint.credentials), options=options
            )
        else:
            self._channel = grpc.insecure_channel(endpoint.target, options=options)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def status(self) -> messages.MemberStatus:
        """What the member says of itself."""
        return self._call("Maintenance/Status", b"", messages.status)

    def members(self, *, linearizable: bool = True) -> tuple[messages.Member, ...]:
        """The cluster's members by id; not `linearizable`: as this one knows them (no quorum)."""
        request = wire.integer(1, int(linearizable))
        return self._call("Cluster/MemberList", request, messages.members)

    def hash_kv(self, revision: int = 0) -> messages.KvHash:
        """The member's HashKV at a revision; 0 means its current one.

        Raises:
            RevisionAwayError: the revision is compacted, or not there yet.
        """
        return self._call(
            "Maintenance/HashKV",
            wire.integer(1, revision),
            lambda answer: messages.kv_hash(answer, revision),
            deadline=HASH_DEADLINE,
        )

    def get(self, key: bytes, *, serializable: bool = False) -> messages.KeyValue | None:
        """A key's last revision, or None; `serializable` asks this member alone (no quorum)."""
        request = wire.data(1, key) + wire.integer(7, int(serializable))
        return self._call("KV/Range", request, messages.range_one)

    def snapshot(self) -> Iterator[tuple[int, bytes]]:
        """Stream the member's backend: (bytes still to come, bytes), the SHA-256 of all last.

        There is no overall deadline; see `watchdog` for how a silent member is noticed.
        """
        import grpc  # see __init__

        stream = self._channel.unary_stream(
            "/etcdserverpb.Maintenance/Snapshot",
            request_serializer=_raw,
            response_deserializer=_raw,
        )(b"")
        with Watchdog(self.status, stream.cancel) as watchdog:
            try:
                watchdog.waits()
                for message in stream:
                    watchdog.got()
                    yield messages.blob(message)
                    watchdog.waits()
            except grpc.RpcError as error:
                if watchdog.silent:
                    raise UnreachableError(
                        f"etcd at {self.endpoint.url} went silent"
                    ) from watchdog.silent
                raise translated(error, self.endpoint) from error
            except wire.WireError as error:
                raise no_etcd(self.endpoint) from error
            finally:
                stream.cancel()

    def _call(
        self, method: str, request: bytes, read: Callable[[bytes], T], deadline: float = DEADLINE
    ) -> T:
        import grpc

        try:
            call = self._channel.unary_unary(
                f"/etcdserverpb.{method}", request_serializer=_raw, response_deserializer=_raw
            )
            return read(call(request, timeout=deadline))
        except grpc.RpcError as error:
            raise translated(error, self.endpoint) from error
        except (wire.WireError, UnicodeDecodeError) as error:
            raise no_etcd(self.endpoint) from error


def _raw(message: bytes) -> bytes:
    return message


def _tls(credentials: Credentials) -> grpc.ChannelCredentials:
    import grpc

    for name, pem, kind in (
        ("--cacert", credentials.ca, b"CERTIFICATE"),
        ("--cert", credentials.cert, b"CERTIFICATE"),
        ("--key", credentials.key, b"PRIVATE KEY"),
    ):
        if pem is not None and kind + b"-----" not in pem:
            raise UsageError(f"what {name} gives is no PEM {kind.decode().lower()}")
    if (credentials.cert is None) != (credentials.key is None):
        raise UsageError("--cert and --key belong together")
    return grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.cert)
