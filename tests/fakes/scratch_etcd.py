"""A real etcd of one member on loopback, started from the binary on PATH and thrown away."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from kops_toolkit.etcd import wire
from kops_toolkit.etcd.endpoint import Endpoint
from kops_toolkit.system.process import SystemProcesses, close_pipes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kops_toolkit.system.process import Running

READY = b"ready to serve client requests"
IN_FLIGHT = 64  # puts that may be on their way at a time


@dataclass
class ScratchEtcd:
    """A running etcd.

    Attributes:
        endpoint: where it answers, in plain text.
        folder: its data directory.
        process: for those who want to hurt it.
    """

    endpoint: Endpoint
    folder: Path
    process: Running

    def fill(self, keys: int, size: int, *, prefix: str = "/registry/secrets/default/s") -> None:
        """Put that many keys with values of `size` random bytes."""
        with grpc.insecure_channel(self.endpoint.target) as channel:
            put = channel.unary_unary("/etcdserverpb.KV/Put", _raw, _raw)
            flying: list[grpc.Future[bytes]] = []
            for number in range(keys):
                request = wire.data(1, f"{prefix}{number:07d}".encode())
                request += wire.data(2, os.urandom(size))
                flying.append(put.future(request))
                if len(flying) == IN_FLIGHT:
                    flying.pop(0).result()
            for future in flying:
                future.result()

    def stop(self) -> None:
        """SIGSTOP: its connections stay open, and nobody answers."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def scratch_etcd(folder: Path) -> Iterator[ScratchEtcd]:
    """Start etcd on an empty or restored data directory; it has to be on PATH."""
    client, peer = _free_ports()
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    options = {
        "name": "default",
        "data-dir": str(folder),
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"default={peer_url}",
        "unsafe-no-fsync": "true",
    }
    process = SystemProcesses().start(["etcd", *(f"--{k}={v}" for k, v in options.items())])
    drain = threading.Thread(target=_wait_then_drain, args=(process, ready := threading.Event()))
    drain.start()
    try:
        assert ready.wait(30), "etcd did not get ready within 30 s"
        yield ScratchEtcd(Endpoint("127.0.0.1", client), folder, process)
    finally:
        process.kill()
        process.wait()
        drain.join()
        close_pipes(process)


def _wait_then_drain(process: Running, ready: threading.Event) -> None:
    assert process.stderr
    for line in process.stderr:
        if READY in line:
            ready.set()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _raw(message: bytes) -> bytes:
    return message
