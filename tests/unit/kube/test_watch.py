from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import (
    ApiError,
    ForbiddenError,
    GoneError,
    TimedOutError,
    UnreachableError,
)
from kops_toolkit.kube.api import CONFIG_MAP, NAMESPACE, Kind
from kops_toolkit.kube.watches import Streams, Watches
from tests.fakes.clock import START, FakeClock
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.watch import Watch

HERE = "default"


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kube(clock: FakeClock) -> Iterator[FakeKube]:
    fake = FakeKube(clock)
    yield fake
    fake.cut()


@pytest.fixture
def watches(kube: FakeKube, clock: FakeClock) -> Iterator[Watches]:
    with Watches(kube, clock) as hub:
        yield hub


def arrived(watch: Watch, name: str) -> None:
    watch.wait(lambda: watch.current().get(name), timeout=5, what=name)


def told(watch: Watch) -> list[tuple[str, str]]:
    return [(seen.type, seen.name) for seen in watch.history()]


def verbs(kube: FakeKube) -> list[str]:
    return [verb for verb, _, _ in kube.calls if verb in {"list", "watch"}]


def test_asking_twice_gives_the_same_watch(kube: FakeKube, watches: Watches) -> None:
    first = watches.of(CONFIG_MAP, HERE)
    assert watches.of(CONFIG_MAP, HERE) is first
    assert watches.of(CONFIG_MAP) is not first
    first.ready()
    watches.of(CONFIG_MAP).ready()
    assert verbs(kube).count("list") == 2


def test_what_was_there_is_told_as_added_in_one_go(kube: FakeKube, watches: Watches) -> None:
    for name in ("a", "b", "c"):
        kube.create(config_map(name), HERE)
    watch = watches.of(CONFIG_MAP, HERE).ready()
    assert told(watch) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
    assert [seen.partial for seen in watch.history()] == [True, True, False]
    assert not any(seen.relisted for seen in watch.history())


def test_events_are_stamped_when_they_arrive(
    kube: FakeKube, watches: Watches, clock: FakeClock
) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    clock.seconds = 42.5
    kube.create(config_map("a"), HERE)
    arrived(watch, "a")
    seen = watch.history()[-1]
    assert seen.at == 42.5
    assert (seen.wall - START).total_seconds() == 42.5
    version = kube.get(CONFIG_MAP, "a", HERE)["metadata"]["resourceVersion"]
    assert seen.source == f"ConfigMap/default/a@{version}"


def test_history_can_be_read_from_a_place_on(kube: FakeKube, watches: Watches) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    kube.create(config_map("a"), HERE)
    arrived(watch, "a")
    place = len(watch.history())
    kube.delete(CONFIG_MAP, "a", HERE)
    watch.wait(lambda: not watch.current() or None, timeout=5, what="the end of a")
    assert [seen.type for seen in watch.history(place)] == ["DELETED"]


def test_objects_of_all_namespaces_are_told_apart(kube: FakeKube, watches: Watches) -> None:
    kube.create(config_map("a"), HERE)
    kube.create(config_map("a"), "kube-system")
    assert set(watches.of(CONFIG_MAP).ready().current()) == {"default/a", "kube-system/a"}
    assert set(watches.of(NAMESPACE).ready().current()) == {"default", "kube-system"}


def test_a_state_that_lasts_one_event_is_not_missed(kube: FakeKube, watches: Watches) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    asked = threading.Event()

    def passing() -> bool | None:
        asked.set()
        return True if watch.current().get("a", {}).get("data") == {"x": "2"} else None

    def hurry() -> None:
        asked.wait(5)
        kube.create(config_map("a", x="1"), HERE)
        for value in ("2", "3"):
            kube.patch(CONFIG_MAP, "a", HERE, {"data": {"x": value}})

    thread = threading.Thread(target=hurry)
    thread.start()
    assert watch.wait(passing, timeout=5, what="x=2")
    thread.join(5)


def test_a_condition_may_look_at_several_watches(kube: FakeKube, watches: Watches) -> None:
    here, there = watches.of(CONFIG_MAP, HERE).ready(), watches.of(CONFIG_MAP, "kube-system")
    there.ready()
    asked = threading.Event()

    def both() -> bool | None:
        asked.set()
        return True if here.current() and there.current() else None

    def act() -> None:
        asked.wait(5)
        kube.create(config_map("a"), HERE)
        kube.create(config_map("b"), "kube-system")

    thread = threading.Thread(target=act)
    thread.start()
    assert here.wait(both, timeout=5, what="one in each")
    thread.join(5)


def test_a_time_out_tells_what_how_long_and_what_was_last_seen(
    kube: FakeKube, watches: Watches
) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    with pytest.raises(TimedOutError) as caught:
        watch.wait(lambda: None, timeout=0.02, what="the map a")
    assert caught.value.message == (
        "the map a did not come within 0.02 s; last seen: no ConfigMap at all"
    )
    made = kube.create(config_map("b"), HERE)
    arrived(watch, "b")
    with pytest.raises(TimedOutError) as caught:
        watch.wait(lambda: None, timeout=0.02, what="the map a")
    version = made["metadata"]["resourceVersion"]
    assert caught.value.message.endswith(f"last seen: ADDED ConfigMap/default/b@{version}")
    with pytest.raises(TimedOutError, match="last seen: my own words"):
        watch.wait(lambda: None, timeout=0.02, what="a", last=lambda: "my own words")


def test_a_hopeless_wait_ends_at_once(watches: Watches) -> None:
    watch = watches.of(CONFIG_MAP, HERE)
    began = time.monotonic()
    with pytest.raises(TimedOutError, match="can not come any more, the image is not there"):
        watch.wait(lambda: None, timeout=30, what="it", hopeless=lambda: "the image is not there")
    assert time.monotonic() - began < 5


def test_what_a_condition_raises_is_raised_by_the_wait(kube: FakeKube, watches: Watches) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    asked = threading.Event()

    def broken() -> None:
        asked.set()
        if watch.current():
            raise LookupError("a bug in a condition")

    def act() -> None:
        asked.wait(5)
        kube.create(config_map("a"), HERE)

    thread = threading.Thread(target=act)
    thread.start()
    with pytest.raises(LookupError, match="a bug in a condition"):
        watch.wait(broken, timeout=5, what="it")
    thread.join(5)
    kube.create(config_map("b"), HERE)
    arrived(watch, "b")  # the watch itself goes on


def test_closing_ends_waits(watches: Watches) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    asked = threading.Event()

    def close() -> None:
        asked.wait(5)
        watches.close()

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(TimedOutError, match="closed"):
        watch.wait(asked.set, timeout=30, what="it")
    thread.join(5)


def test_a_dropped_connection_is_resumed_without_a_gap_or_an_echo(
    kube: FakeKube, watches: Watches
) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    kube.create(config_map("a"), HERE)
    arrived(watch, "a")
    with kube.frozen():
        kube.cut()
        kube.create(config_map("b"), HERE)
        kube.delete(CONFIG_MAP, "b", HERE)
        kube.create(config_map("c"), HERE)
    arrived(watch, "c")
    assert told(watch) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "b"), ("ADDED", "c")]
    assert verbs(kube).count("list") == 1
    assert not any(seen.relisted for seen in watch.history())


def test_a_forgotten_version_is_listed_anew_and_the_difference_told(
    kube: FakeKube, watches: Watches
) -> None:
    for name in ("changed", "gone", "other", "same"):
        kube.create(config_map(name), HERE)
    watch = watches.of(CONFIG_MAP, HERE).ready()
    place = len(watch.history())
    with kube.frozen():
        kube.cut()
        kube.patch(CONFIG_MAP, "changed", HERE, {"data": {"x": "1"}})
        kube.delete(CONFIG_MAP, "gone", HERE)
        kube.delete(CONFIG_MAP, "other", HERE)
        kube.create(config_map("other"), HERE)  # of the same name, and another object
        kube.create(config_map("new"), HERE)
        kube.forget()
    arrived(watch, "new")
    news = watch.history(place)
    assert sorted((seen.type, seen.name) for seen in news) == [
        ("ADDED", "new"),
        ("ADDED", "other"),
        ("DELETED", "gone"),
        ("DELETED", "other"),
        ("MODIFIED", "changed"),
    ]
    assert told(watch).index(("DELETED", "other")) < len(told(watch)) - 1
    assert all(seen.relisted for seen in news)
    assert [seen.partial for seen in news] == [True] * 4 + [False]


def test_an_error_in_the_stream_is_overcome(kube: FakeKube, watches: Watches) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    kube.cut(GoneError(410, "Expired", "too old"))
    kube.create(config_map("a"), HERE)
    arrived(watch, "a")
    kube.cut(ApiError(500, "InternalError", "etcd is busy"))
    kube.create(config_map("b"), HERE)
    arrived(watch, "b")
    assert told(watch) == [("ADDED", "a"), ("ADDED", "b")]


def test_a_server_that_is_away_is_named_by_the_wait_and_found_again(
    kube: FakeKube, watches: Watches
) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    with kube.away():
        with pytest.raises(TimedOutError, match=r"; since then: the API server at .* not answer"):
            watch.wait(lambda: None, timeout=0.3, what="it")
        assert "does not answer" in watch.trouble
    kube.create(config_map("a"), HERE)
    arrived(watch, "a")
    assert watch.trouble == ""


def test_a_server_away_from_the_start_is_waited_for(kube: FakeKube, watches: Watches) -> None:
    for _ in range(2):
        kube.fail_next(UnreachableError("not yet"), verb="list")
    assert watches.of(CONFIG_MAP, HERE).ready().current() == {}


def test_no_right_to_list_ends_the_wait(kube: FakeKube, watches: Watches) -> None:
    kube.fail_next(ForbiddenError(403, "Forbidden", "you may not"), verb="list")
    with pytest.raises(ForbiddenError, match="you may not"):
        watches.of(CONFIG_MAP, HERE).ready()


def test_an_unknown_type_ends_the_wait(watches: Watches) -> None:
    with pytest.raises(ApiError) as caught:
        watches.of(Kind("example.org/v1", "Unicorn", "unicorns")).ready()
    assert caught.value.status == 404


def test_rights_lost_while_a_server_starts_up_are_found_again(
    kube: FakeKube, watches: Watches
) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    kube.fail_next(ForbiddenError(403, "Forbidden", "RBAC is not loaded"), verb="watch")
    kube.cut()
    kube.create(config_map("a"), HERE)
    arrived(watch, "a")


def test_a_server_set_back_in_time_is_listed_anew(kube: FakeKube, watches: Watches) -> None:
    kube.create(config_map("kept"), HERE)
    watch = watches.of(CONFIG_MAP, HERE).ready()
    kube.create(config_map("later"), HERE)
    arrived(watch, "later")
    with kube.frozen():  # as a restored backup does
        kube._objects = {key: item for key, item in kube._objects.items() if key[2] != "later"}
        kube._version -= 1
        kube._changes.clear()
        kube.cut()
    watch.wait(lambda: "later" not in watch.current() or None, timeout=5, what="the way back")
    assert watch.history()[-1].relisted


def test_a_bug_in_the_thread_reaches_who_waits(kube: FakeKube, watches: Watches) -> None:
    watch = watches.of(CONFIG_MAP, HERE).ready()
    kube._version = 10**6
    kube.cut()
    kube._changed = None  # type: ignore[assignment]  # whatever comes now is a bug
    with pytest.raises((AttributeError, TypeError)):
        watch.wait(lambda: None, timeout=5, what="it")
    kube._changed = threading.Condition()


def test_runs_that_share_streams_ask_the_server_once_and_see_their_own(
    kube: FakeKube, clock: FakeClock
) -> None:
    labelled = config_map("a")
    labelled["metadata"]["labels"] = {"app": "web"}
    with Streams(kube, clock, wide=True) as streams:
        with Watches(kube, clock, streams) as one, Watches(kube, clock, streams) as two:
            here, web = one.of(CONFIG_MAP, HERE), one.of(CONFIG_MAP, HERE, "app=web")
            there = two.of(CONFIG_MAP, "elsewhere")
            for watch in (here, web, there):
                watch.ready()
            kube.create(labelled, HERE)
            kube.create(config_map("b"), HERE)
            arrived(here, "b")
            assert told(web) == [("ADDED", "a")]
            assert told(there) == []
        with Watches(kube, clock, streams) as later:
            assert set(later.of(CONFIG_MAP, HERE).current()) == {"a", "b"}
    assert verbs(kube).count("list") == 1


def test_an_object_that_loses_the_label_is_gone_for_who_asked_for_it(
    kube: FakeKube, watches: Watches
) -> None:
    web = watches.of(CONFIG_MAP, HERE, "app=web").ready()
    for value in ("web", "other", "web"):
        body = config_map("a")
        body["metadata"]["labels"] = {"app": value}
        kube.apply(body, HERE)
    everything = watches.of(CONFIG_MAP, HERE)
    everything.wait(lambda: True if web.history(2) else None, timeout=5, what="three")
    assert told(web) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]
    assert set(web.current()) == {"a"}
