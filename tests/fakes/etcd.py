"""A member that answers as told: as a plain object, and behind a real gRPC port."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from kops_toolkit.etcd import snapshot, wire
from kops_toolkit.etcd.bolt import Bolt
from kops_toolkit.etcd.messages import KvHash, MemberStatus
from kops_toolkit.system.progress import Silent
from tests.fakes import bolt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 700  # bytes a message; etcd's are 32 KiB
CLUSTER, MEMBER = 0xC1, 0xABC


def status(db_size: int, *, leader: int = MEMBER, errors: tuple[str, ...] = ()) -> MemberStatus:
    return MemberStatus(
        cluster_id=CLUSTER,
        member_id=MEMBER,
        revision=21,
        version="3.7.0",
        db_size=db_size,
        db_size_in_use=db_size,
        leader=leader,
        raft_term=3,
        raft_index=80,
        raft_applied_index=80,
        learner=False,
        storage_version="3.7.0",
        errors=errors,
    )


@dataclass
class FakeMember:
    """Implements backup.Source.

    Attributes:
        data: what it streams, trailer included.
        chunk: bytes a message.
        breaks_at: raise `error` once that many bytes were sent.
        error: what to raise.
        ends_at: end the stream without an error after that many bytes.
        hash: what it says of its HashKV; None computes the truth.
    """

    data: bytes = field(default_factory=lambda: bolt.example().snapshot(), repr=False)
    chunk: int = CHUNK
    breaks_at: int | None = None
    error: BaseException | None = None
    ends_at: int | None = None
    hash: KvHash | Exception | None = None
    says: MemberStatus | None = None

    def status(self) -> MemberStatus:
        return self.says or status(len(self.data) - 32)

    def hash_kv(self, revision: int = 0) -> KvHash:
        if isinstance(self.hash, Exception):
            raise self.hash
        if self.hash:
            return self.hash
        facts = snapshot.facts(Bolt(self.data), Silent())
        return KvHash(facts.hash_kv, revision, facts.compact_revision or -1, MEMBER, 21)

    def snapshot(self) -> Iterator[tuple[int, bytes]]:
        for start in range(0, len(self.data), self.chunk):
            if self.breaks_at is not None and start >= self.breaks_at and self.error:
                raise self.error
            if self.ends_at is not None and start >= self.ends_at:
                return
            end = min(start + self.chunk, len(self.data))
            yield len(self.data) - end, self.data[start:end]


Answer = bytes | grpc.StatusCode | list[bytes | grpc.StatusCode]


@contextmanager
def served(answers: dict[str, Answer]) -> Iterator[int]:
    """A gRPC server on 127.0.0.1 that gives these bytes, or refuses with that code.

    Args:
        answers: by method, e.g. `Maintenance/Status`; a list is streamed, and ends at a code.
    """
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((_Handler(answers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answers: dict[str, Answer]) -> None:
        self._answers = answers

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        answer = self._answers.get(handler_call_details.method.removeprefix("/etcdserverpb."))
        if answer is None:
            return None
        if isinstance(answer, list):
            return grpc.unary_stream_rpc_method_handler(_streaming(answer), _raw, _raw)
        return grpc.unary_unary_rpc_method_handler(_single(answer), _raw, _raw)


def _single(
    answer: bytes | grpc.StatusCode,
) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def handle(request: bytes, context: grpc.ServicerContext) -> bytes:  # noqa: ARG001 - grpc's form
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as told")
        return answer

    return handle


def _streaming(
    answers: list[bytes | grpc.StatusCode],
) -> Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]:
    def handle(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:  # noqa: ARG001
        for answer in answers:
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "as told")
            else:
                yield answer

    return handle


def _raw(message: bytes) -> bytes:
    return message


def header() -> bytes:
    """A ResponseHeader."""
    return wire.data(1, wire.integer(1, CLUSTER) + wire.integer(2, MEMBER) + wire.integer(3, 21))
