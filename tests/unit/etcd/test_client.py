"""The client against a real gRPC port whose answers are told."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
import pytest

from kops_toolkit.errors import UnreachableError, UsageError
from kops_toolkit.etcd import wire
from kops_toolkit.etcd.client import Client
from kops_toolkit.etcd.endpoint import Credentials, Endpoint, parse
from kops_toolkit.etcd.messages import KeyValue, KvHash, Member
from kops_toolkit.etcd.refusals import RevisionAwayError
from tests.fakes.etcd import CLUSTER, MEMBER, Answer, header, served

if TYPE_CHECKING:
    from collections.abc import Iterator

PEM = b"-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN PRIVATE KEY-----\nbm9uZQ==\n-----END PRIVATE KEY-----\n"


@contextmanager
def client(answers: dict[str, Answer]) -> Iterator[Client]:
    with served(answers) as port, Client(Endpoint("127.0.0.1", port)) as found:
        yield found


def test_status() -> None:
    answer = header() + wire.data(2, b"3.7.0") + wire.integer(3, 4096) + wire.integer(4, 5)
    answer += wire.data(8, b"NOSPACE") + wire.integer(10, 1) + wire.data(11, b"3.7.0")
    with client({"Maintenance/Status": answer}) as found:
        status = found.status()
    assert (status.cluster_id, status.member_id, status.revision) == (CLUSTER, MEMBER, 21)
    assert (status.version, status.db_size, status.leader) == ("3.7.0", 4096, 5)
    assert (status.errors, status.learner) == (("NOSPACE",), True)


def test_members_come_sorted() -> None:
    listed = [
        wire.data(2, wire.integer(1, 9) + wire.data(2, b"b")),
        wire.data(2, wire.integer(1, 4) + wire.data(3, b"http://p") + wire.data(4, b"http://c")),
    ]
    with client({"Cluster/MemberList": header() + b"".join(listed)}) as found:
        assert found.members() == (
            Member(4, "", ("http://p",), ("http://c",), learner=False),
            Member(9, "b", (), (), learner=False),
        )


def test_hash_and_key() -> None:
    kv = wire.data(1, b"/a") + wire.integer(3, 7) + wire.data(5, b"v")
    answers: dict[str, Answer] = {
        "Maintenance/HashKV": header() + wire.integer(2, 99) + wire.integer(3, 5),
        "KV/Range": header() + wire.data(2, kv),
    }
    with client(answers) as found:
        assert found.hash_kv(20) == KvHash(99, 20, 5, MEMBER, 21)
        assert found.get(b"/a") == KeyValue(b"/a", b"v", 0, 7, 0)
    with client({"KV/Range": header()}) as found:
        assert found.get(b"/a") is None


def test_the_stream_and_how_it_breaks() -> None:
    blobs: list[bytes | grpc.StatusCode] = [
        wire.integer(2, 3) + wire.data(3, b"abc"),
        wire.data(3, b"def"),
    ]
    with client({"Maintenance/Snapshot": [*blobs]}) as found:
        assert list(found.snapshot()) == [(3, b"abc"), (0, b"def")]
    with client({"Maintenance/Snapshot": [*blobs, grpc.StatusCode.UNAVAILABLE]}) as found:
        taken: list[tuple[int, bytes]] = []
        with pytest.raises(UnreachableError, match="as told"):
            taken.extend(found.snapshot())
    with (
        client({"Maintenance/Snapshot": [b"\xff\xff"]}) as found,
        pytest.raises(UnreachableError, match="is no etcd"),
    ):
        list(found.snapshot())


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (b"\xff\xff", "is no etcd v3 member"),
        (grpc.StatusCode.PERMISSION_DENIED, "as told"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "does not answer in time"),
    ],
)
def test_refusals_are_sentences(answer: Answer, match: str) -> None:
    with (
        client({"Maintenance/Status": answer}) as found,
        pytest.raises(UnreachableError, match=match),
    ):
        found.status()


def test_a_grpc_server_that_is_no_etcd() -> None:
    with client({}) as found, pytest.raises(UnreachableError, match="is no etcd v3 member"):
        found.status()


def test_a_revision_that_is_away() -> None:
    answers: dict[str, Answer] = {"Maintenance/HashKV": grpc.StatusCode.OUT_OF_RANGE}
    with client(answers) as found, pytest.raises(RevisionAwayError):
        found.hash_kv(3)


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Client(Endpoint("127.0.0.1", port)) as found:
        with pytest.raises(UnreachableError, match="nothing listens") as caught:
            found.status()
        assert caught.value.hint == "is etcd running there?"


def test_a_web_server_is_no_etcd() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        endpoint = Endpoint("127.0.0.1", listener.getsockname()[1])
        with Client(endpoint) as found, pytest.raises(UnreachableError, match="is no etcd"):
            found.status()
        thread.join()


def test_certificates_that_cannot_be_used() -> None:
    with pytest.raises(UsageError, match="--cacert"):
        Client(Endpoint("127.0.0.1", 1, Credentials(b"no pem")))
    with pytest.raises(UsageError, match="belong together"):
        Client(Endpoint("127.0.0.1", 1, Credentials(PEM, PEM)))
    with Client(Endpoint("127.0.0.1", 1, Credentials(PEM, PEM, KEY))) as found:  # noqa: SIM117
        with pytest.raises(UnreachableError):
            found.status()


def test_keys_are_not_shown() -> None:
    assert "PRIVATE" not in repr(Endpoint("h", 1, Credentials(PEM, PEM, KEY)))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1", "127.0.0.1", 2379),
        ("http://etcd.example:1234", "etcd.example", 1234),
        ("http://[::1]:2379/", "::1", 2379),
        ("[::1]:99", "::1", 99),
    ],
)
def test_endpoints_are_read(text: str, host: str, port: int) -> None:
    endpoint = parse(text, None)
    assert (endpoint.host, endpoint.port) == (host, port)
    assert parse(endpoint.url, None) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://a:1",
        "a:b",
        "a:99999",
        "http://a/b",
        "http://u@a",
        "http://[::1",
        "a b",
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(UsageError, match="is no etcd endpoint"):
        parse(text, None)


def test_scheme_and_certificates_must_fit() -> None:
    with pytest.raises(UsageError, match="wants TLS"):
        parse("https://a", None)
    with pytest.raises(UsageError, match="is plain text"):
        parse("http://a", Credentials(PEM))
    assert parse("a", Credentials(PEM)).url == "https://a:2379"
