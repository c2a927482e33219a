"""The shared watch over scripted streams, and over whatever happens."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kops_toolkit.errors import TimedOutError
from kops_toolkit.kube.api import CONFIG_MAP, Kind, WatchEvent
from kops_toolkit.kube.watches import Watches
from tests.fakes.clock import FakeClock
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kops_toolkit.kube.api import Json

HERE = "default"


class Streams(FakeKube):
    """Its watches tell what a test scripts, one stream after the other; the last one stays."""

    def __init__(self, *streams: Sequence[WatchEvent]) -> None:
        super().__init__()
        self.since: list[str] = []
        self.streams = list(streams)
        self.last = threading.Event()

    def watch(
        self,
        kind: Kind,  # noqa: ARG002 - the interface has it
        namespace: str | None = None,  # noqa: ARG002 - the interface has it
        *,
        since: str,
        labels: str | None = None,  # noqa: ARG002 - the interface has it
        quiet: float = 30.0,  # noqa: ARG002 - the interface has it
    ) -> Iterator[WatchEvent]:
        self.since.append(since)
        if self.streams:
            yield from self.streams.pop(0)
        else:
            self.last.set()
            threading.Event().wait(1)


def event(kind: str, version: str) -> WatchEvent:
    meta = {"name": "a", "namespace": HERE, "uid": "u", "resourceVersion": version}
    return WatchEvent(kind, {"kind": "ConfigMap", "metadata": meta})  # type: ignore[arg-type]  # one of the four


def test_a_watch_goes_on_from_the_last_event_or_bookmark() -> None:
    mark = WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "900"}})
    kube = Streams([event("ADDED", "700")], [event("MODIFIED", "800"), mark], [])
    with Watches(kube, FakeClock()) as watches:
        watch = watches.of(CONFIG_MAP, HERE).ready()
        assert kube.last.wait(5)
        assert [seen.type for seen in watch.history()] == ["ADDED", "MODIFIED"]
    assert kube.since == ["102", "700", "900", "900"]


def test_streams_that_end_at_once_are_not_begun_in_a_busy_loop() -> None:
    kube = Streams(*[[] for _ in range(1000)])
    with Watches(kube, FakeClock()) as watches, pytest.raises(TimedOutError):
        watches.of(CONFIG_MAP, HERE).wait(lambda: None, timeout=0.5, what="it")
    assert 2 <= len(kube.since) <= 6


NAMES = st.sampled_from(["a", "b", "c"])
ACTS = st.tuples(st.sampled_from(["create", "patch", "delete", "cut", "forget"]), NAMES)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ACTS, max_size=6), max_size=5))
def test_whatever_happens_the_history_leads_to_the_present(
    batches: list[list[tuple[str, str]]],
) -> None:
    clock = FakeClock()
    kube = FakeKube(clock)
    with Watches(kube, clock) as watches:
        watch = watches.of(CONFIG_MAP, HERE).ready()
        for batch in batches:
            with kube.frozen():
                for act, name in batch:
                    play(kube, act, name)
        truth = {item["metadata"]["name"]: item for item in kube.list(CONFIG_MAP, HERE).items}
        watch.wait(lambda: watch.current() == truth or None, timeout=5, what="the present")
        replayed: dict[str, Json] = {}
        for seen in watch.history():
            if seen.type == "ADDED":
                assert seen.name not in replayed
            else:
                assert replayed[seen.name]["metadata"]["uid"] == seen.object["metadata"]["uid"]
            if seen.type == "DELETED":
                del replayed[seen.name]
            else:
                replayed[seen.name] = seen.object
        assert replayed == truth
    kube.cut()


def play(kube: FakeKube, act: str, name: str) -> None:
    there = kube.list(CONFIG_MAP, HERE, fields=f"metadata.name={name}").items
    if act == "cut":
        kube.cut()
    elif act == "forget":
        kube.forget()
    elif act == "create" and not there:
        kube.create({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}, HERE)
    elif act == "patch" and there:
        kube.patch(CONFIG_MAP, name, HERE, {"data": {"at": str(kube._version)}})
    elif act == "delete" and there:
        kube.delete(CONFIG_MAP, name, HERE)
