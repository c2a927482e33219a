"""Containers that end: exit codes, restart policies, back-off, memory, liveness, last words."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act, Demo, Need, Sabotage
from kops_toolkit.demos.props import NETEXEC, Pods, container, exec_probe, script
from kops_toolkit.demos.scheduling import no_able_node
from kops_toolkit.kube import views
from kops_toolkit.kube.temporal import Consistently, Verdict
from kops_toolkit.kube.watch import source

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json
    from kops_toolkit.kube.watch import Seen

SETTLES_WITHIN = 60.0  # seconds: two back-offs on a busy machine
BACK_OFFS = 3  # restarts whose distances are measured
SOONEST_GROWTH, MOST_GROWTH = 1.4, 3.0  # a doubling, given stamps in whole seconds
STILL = 3.0  # seconds in which nothing may come back
LAST_WORDS = "the disk is on fire"
LOGGED_WORDS = "nothing but the log knew"
KILLED = 137  # 128 + SIGKILL

# Fails, then succeeds, then stays: what is left of it tells the policy. The volume outlives the
# container, so it knows which start this is.
THREE_LIVES = (
    "n=$(cat /life/n 2>/dev/null || echo 0); n=$((n+1)); echo $n > /life/n; "
    "[ $n = 1 ] && exit 1; [ $n = 2 ] && exit 0; exec sleep 3600"
)
# restartCount, phase, state of the container, ready
EXPECTED = {
    "Always": (2, "Running", "running", True),
    "OnFailure": (1, "Succeeded", "terminated 0", False),
    "Never": (0, "Failed", "terminated 1", False),
}

POLICIES = Act(
    "One program, three restart policies",
    "It fails, then succeeds, then stays. Never leaves it failed, OnFailure stops after the "
    "success, Always goes on to the third start: restart count, phase, state and readiness "
    "together tell which policy it was.",
)
MEMORY = Act(
    "Too much memory",
    "A container that takes more than its limit is killed by the kernel. Its exit code is 137, as "
    "after any SIGKILL; only the reason OOMKilled tells that it was memory.",
)
WORDS = Act(
    "Last words",
    "What a container writes to its termination message path ends up in its status, whatever "
    "becomes of its log. With FallbackToLogsOnError the end of the log stands in.",
)
ILL = Act(
    "A liveness probe fails",
    "The kubelet ends the container and starts it anew in the same pod. This one ignores SIGTERM, "
    "so it is killed after its grace period: 137 again, for a third reason.",
)
SAME_POD = Act(
    "A container comes back, a pod does not",
    "A container that ends is restarted in its pod: same UID, address and volumes, another "
    "container ID. A pod that is deleted is gone; without a controller nothing makes it again.",
)
BACK_OFF = Act(
    "Again and again",
    "A container that keeps ending is restarted at once, then after a pause that doubles every "
    "time: CrashLoopBackOff is no state of the container but the name of that pause.",
)


def play(scene: Scene) -> None:
    """Play all acts; the slow ones begin first and are judged when their time has come."""
    pods = Pods(scene)
    _begin(scene, pods)
    _memory(scene, pods)
    _words(scene, pods)
    _ill(scene, pods)
    _same_pod(scene, pods)
    _policies(scene, pods)
    _back_off(scene, pods)


def _begin(scene: Scene, pods: Pods) -> None:
    image, broken = scene.image, scene.sabotage
    volume = [{"name": "life", "emptyDir": {}}]
    mounts = [{"name": "life", "mountPath": "/life"}]
    policies = list(EXPECTED)
    for index, policy in enumerate(policies):
        actual = policies[(index + 1) % 3] if broken == "mixed-up" else policy
        lives = container(image, command=script(THREE_LIVES), volumeMounts=mounts)
        pods.create(f"lives-{policy.lower()}", lives, volumes=volume, restartPolicy=actual)
    recovers = broken == "recovers"
    looping = THREE_LIVES if recovers else "exit 3"
    loop = container(image, command=script(looping), volumeMounts=mounts)
    pods.create("loop", loop, volumes=volume, restartPolicy="Always")
    # The shell waits a moment: a runtime hears of the kernel's kill and of the exit by two ways,
    # and calls it Error if the exit comes first.
    greedy = "tail /dev/zero; code=$?; sleep 1; exit $code"
    if broken == "modest":
        greedy = "kill -9 $$"
    limits = {"limits": {"memory": "32Mi"}}
    hungry = container(image, command=script(greedy), resources=limits)
    pods.create("hungry", hungry, restartPolicy="Never")
    speaks = f"echo -n '{LAST_WORDS}' > /dev/termination-log; exit 7"
    logs = f"echo '{LOGGED_WORDS}'; exit 8"
    if broken == "silent":
        speaks, logs = "exit 7", "exit 8"
    pods.create("speaks", container(image, command=script(speaks)), restartPolicy="Never")
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    pods.create("logs", container(image, command=script(logs), **fallback), restartPolicy="Never")
    test = "true" if broken == "healthy" else "test ! -e /life/born"
    deaf = "trap '' TERM; : > /life/born; while :; do sleep 1; done"
    probe = exec_probe(test, failureThreshold=1)
    ill = container(image, command=script(deaf), livenessProbe=probe, volumeMounts=mounts)
    pods.create("ill", ill, volumes=volume, terminationGracePeriodSeconds=1)
    _phoenix(scene, pods)


def _phoenix(scene: Scene, pods: Pods) -> None:
    mounts = [{"name": "life", "mountPath": "/life"}]
    server = container(scene.image, **NETEXEC, volumeMounts=mounts)
    pods.create("phoenix", server, volumes=[{"name": "life", "emptyDir": {}}])


def _ended(pods: Pods, name: str) -> Json:
    """How a container ended that is not started again; {} if it does not end."""

    def over() -> Json | None:
        found: Json | None = pods.status(name).get("state", {}).get("terminated")
        return found

    return pods.until(over, SETTLES_WITHIN) or {}


def _memory(scene: Scene, pods: Pods) -> None:
    scene.stage(MEMORY)
    told = _ended(pods, "hungry")
    code, reason = told.get("exitCode"), told.get("reason")
    scene.judge(
        "oom-killed",
        "A container over its memory limit is killed, and the reason says so",
        f"exit code {KILLED}, OOMKilled",
        Verdict(
            held=(code, reason) == (KILLED, "OOMKilled"),
            observed=f"exit code {code}, {reason}",
            source=source(pods.current("hungry")),
        ),
    )


def _words(scene: Scene, pods: Pods) -> None:
    scene.stage(WORDS)
    for name, code, words, title in (
        ("speaks", 7, LAST_WORDS, "The termination message is exactly what the container wrote"),
        ("logs", 8, LOGGED_WORDS, "Without one, the end of the log stands in if it was asked for"),
    ):
        told = _ended(pods, name)
        message = str(told.get("message", "")).strip()
        scene.judge(
            f"{name}-last-words",
            title,
            f"exit code {code}, {words!r}",
            Verdict(
                held=told.get("exitCode") == code and message == words,
                observed=f"exit code {told.get('exitCode')}, {message!r}",
                source=source(pods.current(name)),
            ),
        )


def _ill(scene: Scene, pods: Pods) -> None:
    scene.stage(ILL)

    def killed(pod: Json) -> bool:
        last = views.container_status(pod, "main").get("lastState", {})
        return "terminated" in last

    seen = pods.first("ill", killed, SETTLES_WITHIN)
    last = views.container_status(seen.object, "main")["lastState"] if seen else {}
    told = last.get("terminated", {})
    code, reason = told.get("exitCode"), told.get("reason")
    scene.judge(
        "liveness-kills",
        "A failing liveness probe has the container killed and started anew",
        f"exit code {KILLED}, Error, the pod the same",
        Verdict(
            held=(code, reason) == (KILLED, "Error") and _uids(pods, "ill") == 1,
            observed=f"exit code {code}, {reason}, {_uids(pods, 'ill')} pods of that name",
            source=seen.source if seen else "Pod/ill",
        ),
    )
    pods.delete("ill")


def _same_pod(scene: Scene, pods: Pods) -> None:
    scene.stage(SAME_POD)
    pods.ready("phoenix")
    before = pods.current("phoenix")
    id_before = pods.status("phoenix")["containerID"]
    pods.shell("phoenix", "echo kept > /life/word; echo lost > /tmp/word")
    if scene.sabotage == "replaced":
        pods.delete("phoenix")
        pods.gone("phoenix", SETTLES_WITHIN)
        _phoenix(scene, pods)
    else:
        # A moment later, for the answer must get out first.
        pods.shell("phoenix", "(sleep 0.5; kill 1) > /dev/null 2>&1 &")

    def another() -> bool | None:
        status = pods.status("phoenix")
        fresh = status.get("ready") and status.get("containerID") != id_before
        return True if fresh else None

    pods.until(another, SETTLES_WITHIN)
    now, status = pods.current("phoenix"), pods.status("phoenix")
    same_uid = views.uid(now) == views.uid(before)
    same_ip = now["status"].get("podIP") == before["status"]["podIP"]
    left = pods.shell("phoenix", "cat /life/word /tmp/word 2>/dev/null").split()
    words = (
        f"{'same' if same_uid else 'another'} UID, {'same' if same_ip else 'another'} address, "
        f"{status['restartCount']} restarts, "
        f"{'another' if status['containerID'] != id_before else 'same'} container ID, "
        f"files left: {' '.join(left) or 'none'}"
    )
    held = same_uid and same_ip and status["restartCount"] == 1 and left == ["kept"]
    scene.judge(
        "container-restarts-in-its-pod",
        "A container comes back in the same pod, with its volumes and without its own files",
        "same UID, same address, 1 restarts, another container ID, files left: kept",
        Verdict(
            held=held and status["containerID"] != id_before, observed=words, source=source(now)
        ),
    )
    pods.delete("phoenix")
    pods.gone("phoenix", SETTLES_WITHIN)
    if scene.sabotage == "remade":
        pods.server("phoenix")

    def back() -> str | None:
        return "phoenix is there again" if pods.current("phoenix") else None

    scene.judge(
        "pod-stays-gone",
        "A deleted pod that no controller owns does not come back",
        f"no pod phoenix for {STILL:g} s",
        Consistently(STILL).judge(pods.watch, back, "phoenix"),
    )


def _policies(scene: Scene, pods: Pods) -> None:
    scene.stage(POLICIES)

    def all_settled() -> bool | None:
        found = {policy: _outcome(pods, f"lives-{policy.lower()}") for policy in EXPECTED}
        return True if found == EXPECTED else None

    pods.until(all_settled, SETTLES_WITHIN)
    for policy, expected in EXPECTED.items():
        name = f"lives-{policy.lower()}"
        found = _outcome(pods, name)
        scene.judge(
            f"policy-{policy.lower()}",
            f"restartPolicy {policy}: restarts, phase, state and readiness fit together",
            _told(expected),
            Verdict(
                held=found == expected, observed=_told(found), source=source(pods.current(name))
            ),
        )


def _outcome(pods: Pods, name: str) -> tuple[int, str, str, bool]:
    status = pods.status(name)
    state = status.get("state", {})
    word = next(iter(state), "none")
    if word == "terminated":
        word += f" {state[word]['exitCode']}"
    phase = str(pods.current(name).get("status", {}).get("phase"))
    return status.get("restartCount", -1), phase, word, bool(status.get("ready"))


def _told(outcome: tuple[int, str, str, bool]) -> str:
    count, phase, state, ready = outcome
    return f"{count} restarts, {phase}, {state}, {'ready' if ready else 'not ready'}"


def _back_off(scene: Scene, pods: Pods) -> None:
    scene.stage(BACK_OFF)

    def enough() -> bool | None:
        return True if len(_starts(pods, "loop")) > BACK_OFFS else None

    # Pauses grow from one we do not know, so this is bounded by many times the usual one.
    pods.until(enough, 2 * SETTLES_WITHIN)
    starts = _starts(pods, "loop")
    # The first restart is immediate; the pauses after it are what grows.
    pauses = [later - earlier for earlier, later in pairwise(starts)][1:]
    growth = [later / earlier for earlier, later in pairwise(pauses) if earlier]
    reasons = {views.waiting_reason(seen.object) for seen in pods.history("loop")}
    scene.facts["back_off_seconds"] = pauses
    told = ", ".join(f"{pause:.0f} s" for pause in pauses) or "no second restart"
    doubled = bool(growth) and all(SOONEST_GROWTH <= ratio <= MOST_GROWTH for ratio in growth)
    scene.judge(
        "back-off-doubles",
        "The pauses between restarts double",
        f"each {SOONEST_GROWTH:g} to {MOST_GROWTH:g} times the one before",
        Verdict(held=doubled, observed=told, source=source(pods.current("loop"))),
    )
    scene.judge(
        "pause-has-a-name",
        "Meanwhile the container waits with the reason CrashLoopBackOff, after the same exit code",
        "CrashLoopBackOff; last ended with 3",
        _named(pods.history("loop"), reasons),
    )


def _named(history: list[Seen], reasons: set[str]) -> Verdict:
    codes = {
        status["lastState"]["terminated"]["exitCode"]
        for seen in history
        if (status := views.container_status(seen.object, "main")).get("lastState")
    }
    words = f"waited with {', '.join(sorted(filter(None, reasons))) or 'no reason'}; "
    ended = ", ".join(map(str, sorted(codes))) or "never"
    held = "CrashLoopBackOff" in reasons and codes == {3}
    where = history[-1].source if history else "Pod/loop"
    return Verdict(held=held, observed=f"{words}last ended with {ended}", source=where)


def _starts(pods: Pods, name: str) -> list[float]:
    """When the container was started each time, seconds since the epoch, by the kubelet."""
    stamps: set[str] = set()
    for seen in pods.history(name):
        status = views.container_status(seen.object, "main")
        for state in (status.get("state", {}), status.get("lastState", {})):
            for told in state.values():
                stamps |= {told["startedAt"]} if told.get("startedAt") else set()
    return sorted(views.moment(stamp).timestamp() for stamp in stamps)


def _uids(pods: Pods, name: str) -> int:
    return len({views.uid(seen.object) for seen in pods.history(name)})


DEMO = Demo(
    name="crash",
    title="Containers that end, and what becomes of them",
    idea=(
        "When a container ends, the kubelet decides by restartPolicy and exit code whether it is "
        "started again, in the same pod and after a growing pause. Its status keeps how it ended: "
        "code, reason, message. The pod itself is only ever replaced by a controller."
    ),
    acts=(MEMORY, WORDS, ILL, SAME_POD, POLICIES, BACK_OFF),
    needs=(Need("one node that takes pods", no_able_node),),
    sabotages={
        "mixed-up": Sabotage(
            "each pod gets another policy", ("policy-always", "policy-onfailure", "policy-never")
        ),
        "modest": Sabotage("the container kills itself instead", ("oom-killed",)),
        "silent": Sabotage("they end without a word", ("speaks-last-words", "logs-last-words")),
        "healthy": Sabotage("the liveness probe succeeds", ("liveness-kills",)),
        "replaced": Sabotage("the pod is replaced", ("container-restarts-in-its-pod",)),
        "remade": Sabotage("somebody makes the pod again", ("pod-stays-gone",)),
        "recovers": Sabotage("the third start succeeds", ("back-off-doubles", "pause-has-a-name")),
    },
    play=play,
    page="concepts/workloads/pods/pod-lifecycle/#restart-policy",
)
