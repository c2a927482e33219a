"""The etcd member of a kubeadm control-plane node: found in its manifest, reached with its keys."""

from __future__ import annotations

import posixpath
import socket
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kops_toolkit.errors import ArtefactInvalidError, NotFoundError
from kops_toolkit.etcd.endpoint import Credentials, Endpoint, parse
from kops_toolkit.etcd.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kops_toolkit.cluster.node import Node
    from kops_toolkit.system.progress import Progress

MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
PATIENCE = 2.0  # seconds for a TCP connection to a node of this machine


@dataclass(frozen=True)
class NodeMember:
    """What a node's etcd manifest says, with the keys to speak to it.

    Attributes:
        node: name of the node.
        name: the member's `--name`.
        data_dir: its `--data-dir` on the node.
        image: its container image.
        flags: all of its flags without dashes, e.g. `{"data-dir": "/var/lib/etcd"}`.
        endpoint: its first advertised client URL, with credentials.
    """

    node: str
    name: str
    data_dir: str
    image: str
    flags: Mapping[str, str]
    endpoint: Endpoint


def find(node: Node) -> NodeMember:
    """Read the member's manifest and certificates from a control-plane node.

    Raises:
        NotFoundError: no etcd runs there as a static pod, or its keys are not there.
        ArtefactInvalidError: the manifest is not what kubeadm writes.
    """
    try:
        manifest = node.read(MANIFEST)
    except NotFoundError as cause:
        raise NotFoundError(
            f"on {node.name} no etcd runs as a static pod: there is no {MANIFEST}",
            "with an external etcd, name it with --endpoint and its certificates",
        ) from cause
    container = _container(manifest, node.name)
    flags = _flags([*(container.get("command") or []), *(container.get("args") or [])])
    url = flags.get("advertise-client-urls", "").split(",")[0]
    if not url or not flags.get("name"):
        raise ArtefactInvalidError(f"{MANIFEST} on {node.name} advertises no client URL or name")
    secure = urlsplit(url).scheme == "https"
    return NodeMember(
        node=node.name,
        name=flags["name"],
        data_dir=flags.get("data-dir", "/var/lib/etcd"),
        image=str(container.get("image", "")),
        flags=flags,
        endpoint=parse(url, _credentials(node, flags) if secure else None),
    )


@contextmanager
def reached(
    node: Node, member: NodeMember, progress: Progress, *, tunnel: bool = False
) -> Iterator[Endpoint]:
    """An endpoint that this host can connect to: the node's address, else a tunnel's.

    Args:
        node: the member's.
        member: from `find`.
        progress: told when a tunnel is used.
        tunnel: use one even if the address answers.
    """
    if not tunnel and answers(member.endpoint):
        yield member.endpoint
        return
    why = "as asked" if tunnel else f"for {member.endpoint.target} cannot be reached from here"
    progress.note(f"through a tunnel into {node.name}, {why}")
    with Tunnel(node, member.endpoint.port) as port:
        # etcd's certificate on a kubeadm node names 127.0.0.1 as well.
        yield replace(member.endpoint, host="127.0.0.1", port=port)


def answers(endpoint: Endpoint) -> bool:
    """Whether a TCP connection is accepted there."""
    try:
        with socket.create_connection((endpoint.host, endpoint.port), PATIENCE):
            return True
    except OSError:
        return False


def _container(manifest: bytes, node: str) -> Mapping[str, Any]:
    import yaml  # not needed where an endpoint is given

    try:
        containers = yaml.safe_load(manifest)["spec"]["containers"]
        found: Mapping[str, Any] = next(item for item in containers if item.get("name") == "etcd")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, StopIteration) as cause:
        raise ArtefactInvalidError(
            f"{MANIFEST} on {node} is no manifest of an etcd static pod"
        ) from cause
    return found


def _flags(words: list[Any]) -> dict[str, str]:
    pairs = (str(word)[2:].partition("=") for word in words if str(word).startswith("--"))
    return {name: value for name, _, value in pairs}


def _credentials(node: Node, flags: Mapping[str, str]) -> Credentials:
    """The CA, and the certificate kubeadm made for health checks; else the member's own."""
    ca = flags.get("trusted-ca-file", "/etc/kubernetes/pki/etcd/ca.crt")
    folder = posixpath.dirname(ca)
    own = (flags.get("cert-file", ""), flags.get("key-file", ""))
    for cert, key in (
        (f"{folder}/healthcheck-client.crt", f"{folder}/healthcheck-client.key"),
        own,
    ):
        try:
            return Credentials(node.read(ca), node.read(cert), node.read(key))
        except NotFoundError:
            continue
    raise NotFoundError(f"on {node.name} there is no certificate to speak to etcd with in {folder}")
