"""A port of this host that leads to a port inside a node, for hosts that cannot reach nodes.

Docker Desktop runs nodes in a virtual machine whose addresses the host cannot route to; `docker
exec` still gets in. Each connection is bridged by its own process on the node. If kt is killed,
the node's end sees its input end and goes too, so nothing is owed to the journal.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from kops_toolkit.errors import KtError
from kops_toolkit.system.process import close_pipes

if TYPE_CHECKING:
    from types import TracebackType

    from kops_toolkit.cluster.node import Node
    from kops_toolkit.system.process import Running

BLOCK = 1 << 18  # bytes moved at a time
GRACE = 2.0  # seconds that a bridge may take to end by itself once its input has ended

# socat is part of kind's node image; bash's own sockets serve where it is not.
BRIDGE = """
command -v socat >/dev/null && exec socat STDIO "TCP:127.0.0.1:$1"
exec bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1"; cat <&3 & cat >&3; kill $!' bridge "$1"
"""


class Tunnel:
    """Listens on 127.0.0.1 while entered; entering gives the port.

    Whoever is on this host can connect to it, so what is behind it must authenticate its clients,
    as etcd does with certificates.

    Args:
        node: where it leads.
        port: TCP port on the node's loopback.
    """

    def __init__(self, node: Node, port: int) -> None:
        self._node = node
        self._port = port
        self._listener = socket.socket()
        self._bridges: list[_Bridge] = []
        self._thread = threading.Thread(target=self._accept, name="tunnel", daemon=True)

    def __enter__(self) -> int:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._thread.start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept, which close would not
        self._listener.close()
        self._thread.join()
        for bridge in self._bridges:
            bridge.end()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed: the tunnel is left
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                running = self._node.start(["sh", "-c", BRIDGE, "kt-bridge", str(self._port)])
            except KtError:  # gRPC tells that the connection was closed
                connection.close()
            else:
                self._bridges.append(_Bridge(connection, running))


class _Bridge:
    """One connection and the process that carries it, with a thread for each direction."""

    def __init__(self, connection: socket.socket, running: Running) -> None:
        self._connection = connection
        self._running = running
        self._threads = [
            threading.Thread(target=target, name="bridge", daemon=True)
            for target in (self._inwards, self._outwards, self._listen_to_complaints)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._threads[1].join(GRACE)  # its end is the end of the process's output
        if self._threads[1].is_alive():
            self._running.kill()
        self._running.wait()
        for thread in self._threads:
            thread.join()
        self._connection.close()
        close_pipes(self._running)

    def _inwards(self) -> None:
        stdin = self._running.stdin
        if stdin is None:
            return
        with suppress(OSError, ValueError):
            while data := self._connection.recv(BLOCK):
                stdin.write(data)
                stdin.flush()
        with suppress(OSError):
            stdin.close()

    def _outwards(self) -> None:
        stdout = self._running.stdout
        if stdout is not None:
            with suppress(OSError):
                while data := os.read(stdout.fileno(), BLOCK):
                    self._connection.sendall(data)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _listen_to_complaints(self) -> None:
        """An unread pipe would fill up and stop the bridge; gRPC tells of the broken connection."""
        if self._running.stderr is not None:
            while self._running.stderr.read(BLOCK):
                pass
