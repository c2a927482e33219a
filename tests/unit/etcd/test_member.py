"""Finding a node's member, choosing among several, and getting to it."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import (
    ArtefactInvalidError,
    EnvironmentNotReadyError,
    NotFoundError,
    UnreachableError,
)
from kops_toolkit.etcd import access, member, wire
from kops_toolkit.etcd.client import Client
from kops_toolkit.etcd.endpoint import Endpoint
from kops_toolkit.etcd.tunnel import Tunnel
from kops_toolkit.system.process import SystemProcesses
from kops_toolkit.system.progress import Silent
from tests.fakes.etcd import header, served
from tests.fakes.node import FakeNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kops_toolkit.system.process import Running

PKI = "/etc/kubernetes/pki/etcd"
MANIFEST = """
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: etcd
    image: registry.k8s.io/etcd:3.7.0-0
    command:
    - etcd
    - --advertise-client-urls={scheme}://{host}:{port}
    - --cert-file=/etc/kubernetes/pki/etcd/server.crt
    - --data-dir=/var/lib/etcd
    - --key-file=/etc/kubernetes/pki/etcd/server.key
    - --name=one
    - --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
"""
BRIDGE = """
import os, socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def inwards():
    while data := os.read(0, 65536): s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=inwards, daemon=True).start()
while data := s.recv(65536): os.write(1, data)
"""


def node(
    name: str = "n1", *, port: int = 2379, scheme: str = "https", host: str = "127.0.0.1"
) -> FakeNode:
    found = FakeNode(name)
    text = MANIFEST.format(scheme=scheme, host=host, port=port)
    found.files[member.MANIFEST] = text.encode()
    for file in ("ca.crt", "healthcheck-client.crt", "healthcheck-client.key"):
        found.files[f"{PKI}/{file}"] = file.encode()
    found.starts("sh", running=bridge)
    return found


def bridge(argv: tuple[str, ...]) -> Running:
    return SystemProcesses().start([sys.executable, "-c", BRIDGE, argv[-1]])


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def status(*, leader: int, me: int = 1, learner: int = 0) -> bytes:
    own = wire.data(1, wire.integer(2, me))
    return own + wire.integer(4, leader) + wire.integer(10, learner)


def test_a_member_is_read_off_its_manifest() -> None:
    found = member.find(node(host="10.0.0.7"))
    assert (found.name, found.data_dir) == ("one", "/var/lib/etcd")
    assert found.image == "registry.k8s.io/etcd:3.7.0-0"
    assert found.endpoint.url == "https://10.0.0.7:2379"
    credentials = found.endpoint.credentials
    assert credentials is not None
    assert (credentials.ca, credentials.cert) == (b"ca.crt", b"healthcheck-client.crt")
    assert found.flags["cert-file"] == f"{PKI}/server.crt"


def test_the_members_own_certificate_serves_where_there_is_no_other() -> None:
    there = node()
    del there.files[f"{PKI}/healthcheck-client.key"]
    there.files[f"{PKI}/server.crt"] = b"own cert"
    there.files[f"{PKI}/server.key"] = b"own key"
    credentials = member.find(there).endpoint.credentials
    assert credentials is not None
    assert (credentials.cert, credentials.key) == (b"own cert", b"own key")


def test_no_certificate_at_all() -> None:
    there = node()
    del there.files[f"{PKI}/healthcheck-client.key"]
    with pytest.raises(NotFoundError, match="no certificate to speak to etcd"):
        member.find(there)


def test_a_node_without_etcd() -> None:
    with pytest.raises(NotFoundError, match="no etcd runs as a static pod") as caught:
        member.find(FakeNode())
    assert "--endpoint" in str(caught.value.hint)


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{", b"spec: {containers: [{name: other}]}", b"\xff\xfe\x00"]
)
def test_a_manifest_that_is_none(manifest: bytes) -> None:
    there = FakeNode()
    there.files[member.MANIFEST] = manifest
    with pytest.raises(ArtefactInvalidError, match="is no manifest"):
        member.find(there)


def test_a_manifest_without_a_url() -> None:
    there = FakeNode()
    there.files[member.MANIFEST] = b"spec: {containers: [{name: etcd, command: [etcd]}]}"
    with pytest.raises(ArtefactInvalidError, match="advertises no client URL"):
        member.find(there)


def test_an_address_that_answers_needs_no_tunnel() -> None:
    with served({"Maintenance/Status": header()}) as port:
        there = node(port=port, scheme="http")
        found = member.find(there)
        with member.reached(there, found, Silent()) as endpoint:
            assert endpoint == found.endpoint
    assert all(call[0] != "sh" for call in there.calls)


@pytest.mark.parametrize("forced", [True, False])
def test_a_tunnel_carries_the_api(forced: bool) -> None:
    """Forced, or because nothing listens at the advertised address."""
    with served({"Maintenance/Status": header()}) as port:
        there = node(port=port if forced else closed_port(), scheme="http")
        there.starts("sh", running=lambda _: bridge((str(port),)))
        found = member.find(there)
        with (
            member.reached(there, found, Silent(), tunnel=forced) as endpoint,
            Client(endpoint) as client,
        ):
            assert endpoint.port != port
            assert client.status().revision == 21
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", endpoint.port), 1)


def test_a_tunnel_into_a_node_where_nothing_listens() -> None:
    with Tunnel(node(), closed_port()) as local, Client(Endpoint("127.0.0.1", local)) as client:  # noqa: SIM117
        with pytest.raises(UnreachableError):
            client.status()


def test_a_tunnel_into_a_node_that_is_away() -> None:
    there = node()

    def refuse(argv: tuple[str, ...]) -> Running:
        raise EnvironmentNotReadyError(f"no docker for {argv[0]}")

    there.starts("sh", running=refuse)
    with Tunnel(there, 1) as local, Client(Endpoint("127.0.0.1", local)) as client:  # noqa: SIM117
        with pytest.raises(UnreachableError):
            client.status()


@contextmanager
def cluster(*answers: bytes | None) -> Iterator[list[FakeNode]]:
    """One control-plane node an answer; None is a node whose etcd is down."""
    with ExitStack() as stack:
        nodes = []
        for number, answer in enumerate(answers):
            known = {} if answer is None else {"Maintenance/Status": answer}
            port = stack.enter_context(served({**known}))
            nodes.append(node(f"n{number}", port=port, scheme="http"))
        yield [FakeNode("w", control_plane=False), *nodes]


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        ([status(leader=1, me=1), status(leader=1, me=2)], "n1"),
        ([status(leader=0, me=2), status(leader=1, me=1)], "n1"),
        ([status(leader=1, me=3, learner=1), status(leader=1, me=1)], "n1"),
        ([None, status(leader=1, me=1)], "n1"),
        ([status(leader=9, me=1), status(leader=9, me=2)], "n0"),
        ([None], "n0"),
    ],
    ids=["follower", "has a leader", "voter", "answers", "first", "the only one"],
)
def test_the_best_member_is_chosen(answers: list[bytes | None], chosen: str) -> None:
    with cluster(*answers) as nodes, access.to_best(nodes, Silent()) as found:
        assert found.name == chosen


def test_no_member_answers() -> None:
    with cluster(None, None) as nodes, pytest.raises(UnreachableError, match="n0, n1"):  # noqa: SIM117
        with access.to_best(nodes, Silent()):
            pass


def test_no_control_plane() -> None:
    with pytest.raises(NotFoundError, match="no control-plane"), access.to_best([], Silent()):
        pass
