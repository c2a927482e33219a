from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.demos.model import Act, Demo, Need, Nobody, Sabotage, Scene
from kops_toolkit.demos.registry import DEMOS, find
from kops_toolkit.demos.runner import Runner
from kops_toolkit.errors import RefusedError, TimedOutError, UsageError
from kops_toolkit.kube import undo
from kops_toolkit.kube.api import EVENT, NAMESPACE, POD
from kops_toolkit.kube.temporal import Verdict
from kops_toolkit.outcome import Status
from kops_toolkit.system.clock import SystemClock
from kops_toolkit.system.journal import Journals
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from collections.abc import Callable

ACT = Act("An act", "It shows something.")


def demo(play: Callable[[Scene], None], *, unmet: str | None = None, breaks: bool = False) -> Demo:
    need = Need("a thing", lambda _: unmet)
    sabotages = {"it": Sabotage("It breaks.", ("it-holds",))}
    return Demo(
        *("a-demo", "A demo", "An idea.", (ACT,), (need,), sabotages, play, "a/page", breaks)
    )


def holds(scene: Scene) -> None:
    scene.stage(ACT)
    held = Verdict(held=scene.sabotage is None, observed="seen", source="test")
    scene.judge("it-holds", "It holds", "that it holds", held)


class World:
    def __init__(self, folder: Path) -> None:
        self.kube = FakeKube()
        self.images: list[str] = []
        handlers = undo.handlers(lambda *_: self.kube, SystemClock())
        self.journals = Journals(folder, handlers, SystemClock())

    def runner(self, consent: str | None = None) -> Runner:
        return Runner(
            api=self.kube,
            name="prod",
            consent=consent,
            kubeconfig=Path("/kubeconfig"),
            context="prod",
            journals=self.journals,
            clock=SystemClock(),
            audience=Nobody(),
            ensure_image=self.images.append,
        )

    def namespaces(self) -> list[str]:
        return [n["metadata"]["name"] for n in self.kube.list(NAMESPACE).items]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal")


def test_a_demo_that_holds_leaves_only_its_report(world: World) -> None:
    report = world.runner().run(demo(holds))
    assert (report.status, [check.name for check in report.checks]) == (
        Status.PASSED,
        ["it-holds"],
    )
    assert [moment.text for moment in report.timeline] == ["An act"]
    assert world.namespaces() == ["default", "kube-system"]
    assert len(world.images) == 1


def test_a_sabotaged_one_fails(world: World) -> None:
    report = world.runner().run(demo(holds), sabotage="it")
    assert report.status is Status.FAILED
    with pytest.raises(UsageError, match="no sabotage called that"):
        world.runner().run(demo(holds), sabotage="that")


def test_one_that_checked_nothing_has_failed(world: World) -> None:
    assert world.runner().run(demo(lambda _: None)).status is Status.FAILED


def test_one_cut_short_fails_with_what_the_cluster_says(world: World) -> None:
    def play(scene: Scene) -> None:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
        world.kube.create(pod, scene.namespace)
        about = {"kind": "Pod", "namespace": scene.namespace, "name": "p"}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e"},
            "involvedObject": about,
            "reason": "FailedScheduling",
            "message": "no node fits",
        }
        world.kube.create(event, scene.namespace)
        world.kube.says(scene.namespace, "p", "last words")
        assert world.kube.list(EVENT, scene.namespace).items
        assert world.kube.list(POD, scene.namespace).items
        raise TimedOutError("the pod did not come")

    report = world.runner().run(demo(play))
    (check,) = report.checks
    told = " ".join(item.observed for item in check.evidence)
    assert (check.status, check.reason) == (Status.FAILED, "the pod did not come")
    assert "FailedScheduling: no node fits" in told
    assert "last words" in told
    assert world.namespaces() == ["default", "kube-system"]


def test_a_bug_in_a_demo_still_cleans_up(world: World) -> None:
    def play(scene: Scene) -> None:
        raise ZeroDivisionError(scene.namespace)

    with pytest.raises(ZeroDivisionError):
        world.runner().run(demo(play))
    assert world.namespaces() == ["default", "kube-system"]


def test_an_unmet_need_is_a_skip_with_its_reason_or_a_failure_if_strict(world: World) -> None:
    skipped = world.runner().run(demo(holds, unmet="there is none"))
    assert (skipped.status, skipped.checks[0].reason) == (Status.SKIPPED, "there is none")
    strict = world.runner().run(demo(holds, unmet="there is none"), strict=True)
    assert strict.status is Status.FAILED


def test_what_breaks_needs_consent_where_kt_is_a_guest(world: World) -> None:
    with pytest.raises(RefusedError, match="the demo a-demo could break prod"):
        world.runner().run(demo(holds, breaks=True))
    assert world.images == []
    assert world.runner("prod").run(demo(holds, breaks=True)).status is Status.PASSED


def test_kept_objects_stay(world: World) -> None:
    report = world.runner().run(demo(holds), keep=True)
    assert report.facts["namespace"] in world.namespaces()


def test_an_unknown_demo_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find("rolling-updat")
    assert caught.value.hint == "did you mean rolling-update?"
    with pytest.raises(UsageError) as caught:
        find("xyz")
    assert caught.value.hint
    assert all(demo.name in caught.value.hint for demo in DEMOS)


@pytest.mark.parametrize("each", DEMOS)
def test_every_demo_tells_its_story_and_can_be_sabotaged(each: Demo) -> None:
    assert find(each.name) is each
    assert each.acts
    assert each.sabotages
    assert all(act.title and act.why for act in each.acts)


@pytest.mark.parametrize("each", DEMOS)
def test_every_demo_can_be_explained_and_read_on(each: Demo) -> None:
    assert re.fullmatch(r"(concepts|reference|tasks)/[a-z0-9/-]+/(#[a-z0-9-]+)?", each.page)
    assert all(sabotage.text and sabotage.fails for sabotage in each.sabotages.values())
