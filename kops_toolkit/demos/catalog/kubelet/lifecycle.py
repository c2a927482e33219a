"""Order of containers, hooks and the grace period."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act
from kops_toolkit.demos.props import PORT, SETTLES_WITHIN, Pods, container, script
from kops_toolkit.kube.temporal import Verdict, Within

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

GRACE = 4  # seconds of grace of the pod that will not end
SLACK = 8.0  # seconds that an end may come late on a busy machine
ORDER = Act(
    "Init containers, a sidecar, the main container",
    "Init containers run one after the other, each to its end. A sidecar, an init container that "
    "restarts always, starts in their order and stays; it ends after the main container has.",
)
HOOKS = Act(
    "Hooks, told by a witness",
    "postStart, preStop and the TERM signal each ask another pod over HTTP. That witness's log, "
    "not any status, proves that they ran and in which order.",
)
ENDING = Act(
    "The grace period",
    "A pod that ignores TERM has its grace period, no more and no less, and is killed then. One "
    "that obeys is gone at once.",
)


def order(scene: Scene, pods: Pods) -> None:
    """Play ORDER."""
    scene.stage(ORDER)

    def over() -> bool | None:
        phase = pods.current("ordered").get("status", {}).get("phase")
        return True if phase in {"Succeeded", "Failed"} else None

    ended = pods.until(over, SETTLES_WITHIN / 2)
    marks = {name: _marks(scene, name) for name in ("first", "sidecar", "second", "main")}
    steps = [
        "first begin",
        "first end",
        "sidecar begin",
        "second begin",
        "second end",
        "main begin",
    ]
    last = ["main begin", "main end", "sidecar end"]
    for check, title, wanted in (
        ("init-in-order", "Init containers run one by one, before the main container", steps),
        ("sidecar-ends-last", "The sidecar stays until the main container has ended", last),
    ):
        stamped = [(_stamp(marks, step), step) for step in wanted]
        known = [stamp for stamp, _ in stamped if stamp]
        held = len(known) == len(wanted) and known == sorted(known) and ended is not None
        found = " → ".join(step for stamp, step in sorted(stamped) if stamp)
        words = found + ("" if ended else "; it did not end")
        where = f"Pod/{scene.namespace}/ordered's logs"
        scene.judge(check, title, " → ".join(wanted), Verdict(held, words, where))


def _marks(scene: Scene, name: str) -> dict[str, str]:
    """What a container printed, each word with the stamp of its node's runtime."""
    lines = scene.api.logs(scene.namespace, "ordered", name)
    return {word: stamp for stamp, _, word in (line.strip().partition(" ") for line in lines)}


def _stamp(marks: dict[str, dict[str, str]], step: str) -> str:
    name, word = step.split()
    return marks[name].get(word, "")


def hooks(scene: Scene, pods: Pods) -> None:
    """Play HOOKS."""
    scene.stage(HOOKS)
    address = pods.current("witness")["status"]["podIP"]

    def tell(word: str) -> str:
        return f"curl -s -m 5 http://{address}:{PORT}/echo?msg={scene.namespace}-{word}"

    lifecycle: Json = {
        "postStart": {"exec": {"command": script(tell("post-start"))}},
        "preStop": {"exec": {"command": script(tell("pre-stop"))}},
    }
    if scene.sabotage == "unhooked":
        lifecycle = {}
    runs = f"trap '{tell('term')}; exit 0' TERM; while :; do sleep 0.1; done"
    hooked = container(scene.image, command=script(runs), lifecycle=lifecycle)
    pods.create("hooked", hooked, terminationGracePeriodSeconds=20)
    pods.ready("hooked")
    pods.delete("hooked")
    pods.gone("hooked", SETTLES_WITHIN)
    wanted = ["post-start", "pre-stop", "term"]
    heard = [
        word
        for line in scene.api.logs(scene.namespace, "witness")
        for word in wanted
        if f"{scene.namespace}-{word}" in line
    ]
    found = list(dict.fromkeys(heard))  # a request may be logged in two lines
    scene.judge(
        "hooks-in-order",
        "postStart, preStop and TERM each reached the witness, in this order",
        " → ".join(wanted),
        Verdict(
            held=found == wanted,
            observed=" → ".join(found) or "nothing was heard",
            source=f"Pod/{scene.namespace}/witness's log",
        ),
    )


def ending(scene: Scene, pods: Pods) -> None:
    """Play ENDING."""
    scene.stage(ENDING)
    deaf, obeys = "trap '' TERM", "trap 'exit 0' TERM"
    stubborn = obeys if scene.sabotage == "gentle" else deaf
    obedient = deaf if scene.sabotage == "deaf" else obeys
    for name, trap in (("stubborn", stubborn), ("obedient", obedient)):
        runs = container(scene.image, command=script(f"{trap}; while :; do sleep 0.1; done"))
        pods.create(name, runs, terminationGracePeriodSeconds=GRACE)
    pods.ready("stubborn", "obedient")
    began = {}
    for name in ("stubborn", "obedient"):
        began[name] = pods.now()
        pods.delete(name)
    for name, check, title, bounds in (
        (
            "stubborn",
            "grace-is-given",
            "A pod that ignores TERM is killed when its grace period is over",
            Within(GRACE - 0.5, GRACE + SLACK),
        ),
        (
            "obedient",
            "obedient-goes-at-once",
            "A pod that obeys TERM is gone before that",
            Within(0.0, GRACE - 0.5),
        ),
    ):
        seen = pods.gone(name, GRACE + 2 * SLACK)
        seconds = seen.at - began[name] if seen else None
        where = seen.source if seen else f"Pod/{name}"
        scene.judge(check, title, f"gone {bounds}", bounds.judge(seconds, where))
