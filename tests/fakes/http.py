"""A server on this machine that says byte for byte what a test wants."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

END = b"0\r\n\r\n"  # the last chunk of a chunked body


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeServer:
    """Hands every request to `answer`, with the open socket; what it leaves open stays open.

    Attributes:
        asked: all requests, in order of arrival.
        address: host:port.
        closed: set when a client has closed its end of a connection.
    """

    answer: Callable[[Asked, socket.socket], None]
    asked: list[Asked] = field(default_factory=list)
    address: str = ""
    closed: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # shutdown wakes the thread that waits in accept or recv; close alone does not
        for one in [self._listening, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(accepted)
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError), client.makefile("rb") as lines:
            while first := lines.readline():
                method, target, _ = first.decode().split(" ", 2)
                headers = {}
                while (line := lines.readline().decode().strip()) != "":
                    name, _, value = line.partition(": ")
                    headers[name.lower()] = value
                body = lines.read(int(headers.get("content-length", 0)))
                asked = Asked(method, target, headers, body)
                self.asked.append(asked)
                self.answer(asked, client)
        self.closed.set()


def whole(status: int, body: bytes | dict[str, Any], kind: str = "application/json") -> bytes:
    """A complete answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def begun(*chunks: bytes) -> bytes:
    """The head of a chunked answer and some chunks, without its end."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def says(data: bytes, *, hang_up: bool = False) -> Callable[[Asked, socket.socket], None]:
    """Answer every request with these bytes, and close the connection if told to."""

    def answer(_: Asked, client: socket.socket) -> None:
        client.sendall(data)
        if hang_up:
            client.shutdown(socket.SHUT_RDWR)

    return answer
