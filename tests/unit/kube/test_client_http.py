"""The real client against servers that misbehave, each in its own way."""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    KtError,
    ObjectNotFoundError,
    UnreachableError,
    UsageError,
)
from kops_toolkit.kube.api import CONFIG_MAP, POD, SECRET
from kops_toolkit.kube.client import connect
from tests.fakes.http import END, Asked, FakeServer, begun, says, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kops_toolkit.kube.api import WatchEvent
    from kops_toolkit.kube.client import RealKube

    Connect = Callable[[str], RealKube]

MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "one", "namespace": "here", "resourceVersion": "7", "uid": "u"},
}
SECRET_BODY = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "one"},
    "stringData": {"password": "hunter2-hunter2"},
}


def line(kind: str, found: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def watched(kube: RealKube, quiet: float = 5.0) -> list[WatchEvent]:
    return list(kube.watch(CONFIG_MAP, "here", since="5", quiet=quiet))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, ApiError),
        (401, ForbiddenError),
        (403, ForbiddenError),
        (404, ObjectNotFoundError),
        (409, ConflictError),
        (410, GoneError),
        (422, ApiError),
        (429, ApiError),
        (500, ApiError),
        (503, ApiError),
    ],
)
def test_the_servers_reason_and_message_are_kept(
    connected: Connect, code: int, kind: type[ApiError]
) -> None:
    with (
        FakeServer(says(whole(code, status(code, "Because", "it says so")))) as server,
        pytest.raises(ApiError) as caught,
    ):
        connected(f"http://{server.address}").get(CONFIG_MAP, "one", "here")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason) == (code, "Because")
    assert caught.value.message == "it says so"


def test_an_error_page_that_is_no_status_is_shortened(connected: Connect) -> None:
    page = b"<html>Bad Gateway" + b"x" * 5000
    with (
        FakeServer(says(whole(502, page, "text/html"))) as server,
        pytest.raises(ApiError) as caught,
    ):
        connected(f"http://{server.address}").list(CONFIG_MAP)
    assert caught.value.status == 502
    assert caught.value.message.startswith("<html>Bad Gateway")
    assert len(caught.value.message) <= 300


def test_an_error_without_a_body_still_says_something(connected: Connect) -> None:
    with (
        FakeServer(says(whole(503, b""))) as server,
        pytest.raises(ApiError) as caught,
    ):
        connected(f"http://{server.address}").list(CONFIG_MAP)
    assert caught.value.message == "the API server answered 503"


def test_a_dead_port_is_told_with_its_address(connected: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    kube = connected(f"http://{address}")
    with pytest.raises(UnreachableError) as caught:
        kube.get(POD, "one", "here")
    assert caught.value.message == (
        f"the API server at http://{address} does not answer: [Errno 111] Connection refused"
    )
    assert caught.value.hint
    with pytest.raises(UnreachableError):
        watched(kube)


def test_a_name_that_does_not_resolve_is_unreachable(connected: Connect) -> None:
    with pytest.raises(UnreachableError, match=r"kt\.invalid.* does not answer: "):
        connected("http://kt.invalid:1").list(POD)


def test_a_server_without_tls_is_told_so(connected: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def speak_first() -> None:
            client, _ = plain.accept()
            with client:
                client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                client.recv(4096)

        talk = threading.Thread(target=speak_first)
        talk.start()
        with pytest.raises(UnreachableError) as caught:
            connected(f"https://127.0.0.1:{plain.getsockname()[1]}").list(POD)
        talk.join(5)
    assert caught.value.message.endswith(("wrong version number", "record layer failure"))


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_address_something_else_is_never_sent(
    connected: Connect, name: str
) -> None:
    with FakeServer(says(whole(200, MAP))) as server:
        kube = connected(f"http://{server.address}")
        with pytest.raises(UsageError):
            kube.delete(CONFIG_MAP, name, "here")
        with pytest.raises(UsageError):
            kube.list(CONFIG_MAP, name)
    assert server.asked == []


def test_credentials_that_break_the_request_are_not_shown(
    connected: Connect, tmp_path: Path
) -> None:
    kube = connected("http://127.0.0.1:1")
    found = (tmp_path / "kubeconfig").read_text(encoding="utf-8")
    (tmp_path / "kubeconfig").write_text(found.replace("sesame", "open\\nsesame"), encoding="utf-8")
    kube = connect(tmp_path / "kubeconfig", "here")
    with pytest.raises(UnreachableError) as caught:
        kube.list(POD)
    assert "can not be sent" in caught.value.message
    assert "sesame" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "answer",
    [
        whole(200, b'{"kind": "ConfigMap", "metad'),
        whole(200, b"<html>log in first</html>", "text/html"),
        whole(200, b""),
        whole(200, b"[1, 2]"),
        whole(200, b'{"kind": "ConfigMapList"}'),
        whole(200, b"\xff\xfe"),
        whole(200, b'{"kind": "ConfigMap"}').replace(b"Length: 21", b"Length: 99"),
        begun(b'{"kind": '),
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x01\x02",
        b"",
    ],
    ids=lambda answer: repr(answer[-24:]),
)
def test_a_broken_answer_is_unreachable_and_nothing_else(connected: Connect, answer: bytes) -> None:
    with FakeServer(says(answer, hang_up=True)) as server:
        kube = connected(f"http://{server.address}")
        with pytest.raises(UnreachableError) as caught:
            kube.list(CONFIG_MAP, "here")
    assert server.address in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "answer",
    [whole(500, b"down"), whole(422, status(422, "Invalid", "no")), whole(200, b"{"), b""],
    ids=["500", "422", "torn", "cut"],
)
def test_what_is_in_a_secret_is_in_no_error(connected: Connect, answer: bytes) -> None:
    with FakeServer(says(answer, hang_up=True)) as server:
        kube = connected(f"http://{server.address}")
        with pytest.raises(KtError) as caught:
            kube.create(SECRET_BODY, "here")
    told = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in told
    assert "sesame" not in told
    assert server.asked[0].target == f"{SECRET.path('here')}"


def test_requests_are_what_the_server_expects(connected: Connect) -> None:
    with FakeServer(says(whole(200, MAP))) as server:
        kube = connected(f"http://{server.address}")
        kube.create(MAP, dry_run=True)
        kube.apply(MAP)
        kube.patch(CONFIG_MAP, "one", "here", {"data": {}}, how="strategic", subresource="status")
        kube.delete(CONFIG_MAP, "one", "here", grace=0, uid="u")
        kube.get(CONFIG_MAP, "a/../b", "he re")
    create, apply, patch, delete, get = server.asked
    path = "/api/v1/namespaces/here/configmaps"
    assert (create.method, create.target) == ("POST", f"{path}?dryRun=All")
    assert (apply.method, apply.target) == ("PATCH", f"{path}/one?fieldManager=kt")
    assert apply.headers["content-type"] == "application/apply-patch+yaml"
    assert patch.target == f"{path}/one/status?fieldManager=kt"
    assert patch.headers["content-type"] == "application/strategic-merge-patch+json"
    assert json.loads(delete.body) == {
        "propagationPolicy": "Background",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
    }
    assert get.target == "/api/v1/namespaces/he%20re/configmaps/a%2F..%2Fb"
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sesame"}
    assert {asked.headers["user-agent"] for asked in server.asked} == {"kt"}


def test_a_watch_asks_for_bookmarks_and_reads_events_however_they_are_cut(
    connected: Connect,
) -> None:
    mark = line("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    text = line("ADDED", {**MAP, "data": {"a": "snö"}}) + line("DELETED", MAP) + mark
    # ensure_ascii would hide what a cut through a letter does
    raw = text.replace(b"\\u00f6", "ö".encode())
    chunks = [raw[at : at + 3] for at in range(0, len(raw), 3)]
    with FakeServer(says(begun(*chunks) + END)) as server:
        events = watched(connected(f"http://{server.address}"))
    assert [event.type for event in events] == ["ADDED", "DELETED", "BOOKMARK"]
    assert events[0].object["data"] == {"a": "snö"}
    assert server.asked[0].target == (
        "/api/v1/namespaces/here/configmaps?watch=true&allowWatchBookmarks=true&resourceVersion=5"
    )


def test_a_server_gone_silent_ends_the_watch(connected: Connect) -> None:
    with FakeServer(says(begun(line("ADDED", MAP)))) as server:
        began = time.monotonic()
        events = watched(connected(f"http://{server.address}"), quiet=0.4)
        took = time.monotonic() - began
    assert [event.type for event in events] == ["ADDED"]
    assert 0.4 <= took < 3


def test_a_server_that_never_begins_to_answer_is_unreachable(connected: Connect) -> None:
    with (
        FakeServer(says(b"")) as server,
        pytest.raises(UnreachableError, match=r"does not answer: .*timed out"),
    ):
        watched(connected(f"http://{server.address}"), quiet=0.3)


@pytest.mark.parametrize(
    "tail", [begun()[:0], b"10\r\n{"], ids=["between events", "inside an event"]
)
def test_a_connection_that_drops_ends_the_watch(connected: Connect, tail: bytes) -> None:
    with FakeServer(says(begun(line("ADDED", MAP)) + tail, hang_up=True)) as server:
        events = watched(connected(f"http://{server.address}"))
    assert [event.type for event in events] == ["ADDED"]


def test_a_last_line_without_its_end_is_no_event(connected: Connect) -> None:
    torn = line("MODIFIED", MAP)[:-20]
    with FakeServer(says(begun(line("ADDED", MAP), torn) + END)) as server:
        events = watched(connected(f"http://{server.address}"))
    assert [event.type for event in events] == ["ADDED"]


def test_an_event_that_is_no_json_is_an_error(connected: Connect) -> None:
    with (
        FakeServer(says(begun(b"<html>\n") + END)) as server,
        pytest.raises(UnreachableError, match="not JSON"),
    ):
        watched(connected(f"http://{server.address}"))


@pytest.mark.parametrize(
    "answer",
    [
        whole(410, status(410, "Expired", "too old resource version")),
        begun(line("ERROR", status(410, "Expired", "too old resource version"))) + END,
    ],
    ids=["as the answer", "as an event"],
)
def test_too_old_a_version_is_gone(connected: Connect, answer: bytes) -> None:
    with (
        FakeServer(says(answer)) as server,
        pytest.raises(GoneError, match="too old") as caught,
    ):
        watched(connected(f"http://{server.address}"))
    assert (caught.value.status, caught.value.reason) == (410, "Expired")


def test_closing_a_watch_closes_its_connection(connected: Connect) -> None:
    with FakeServer(says(begun(line("ADDED", MAP)))) as server:
        events = connected(f"http://{server.address}").watch(CONFIG_MAP, "here", since="5")
        with closing(events):  # type: ignore[type-var]  # it is a generator
            assert next(iter(events)).type == "ADDED"
            assert not server.closed.is_set()
        assert server.closed.wait(5)


def test_many_watches_at_once_each_have_their_connection(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    together = threading.Barrier(24, timeout=10)

    def answer(asked: Asked, client: socket.socket) -> None:
        together.wait()  # passes only when all 24 are open side by side
        says(begun(line("ADDED", MAP)) + END)(asked, client)

    heard: list[int] = []
    with FakeServer(answer) as server:
        kube = connected(f"http://{server.address}")
        threads = [
            threading.Thread(target=lambda: heard.append(len(watched(kube)))) for _ in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
    assert heard == [1] * 24
    assert "pool is full" not in caplog.text


def test_logs_are_read_line_by_line_while_they_come(connected: Connect) -> None:
    more = threading.Event()

    def answer(_: Asked, client: socket.socket) -> None:
        client.sendall(begun(b"2026-01-01T00:00:00Z one\n2026-01-01T00:00:01Z t"))
        more.wait(10)
        client.sendall(b"3\r\nwo\n\r\n" + END)

    with FakeServer(answer) as server:
        kube = connected(f"http://{server.address}")
        lines = kube.logs("here", "pod", "box", follow=True)
        assert next(lines) == "2026-01-01T00:00:00Z one"
        more.set()
        assert list(lines) == ["2026-01-01T00:00:01Z two"]
    assert server.asked[0].target == (
        "/api/v1/namespaces/here/pods/pod/log?timestamps=true&follow=true&container=box"
    )


def test_a_followed_log_whose_server_dies_is_unreachable(connected: Connect) -> None:
    with FakeServer(says(begun(b"stamp one\n"), hang_up=True)) as server:
        lines = connected(f"http://{server.address}").logs("here", "pod", follow=True)
        assert next(lines) == "stamp one"
        with pytest.raises(UnreachableError):
            next(lines)


def test_text_is_given_as_it_is(connected: Connect) -> None:
    with FakeServer(says(whole(200, b"ok\xff", "text/plain"))) as server:
        assert connected(f"http://{server.address}").text("/readyz", {"verbose": ""}) == "ok\ufffd"
    assert server.asked[0].target == "/readyz?verbose="
