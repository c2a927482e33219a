"""Score: each plugin's weighted score, read from the scheduler's own log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kops_toolkit.demos.model import Act
from kops_toolkit.demos.props import container
from kops_toolkit.demos.scheduling import (
    Placements,
    able_nodes,
)
from kops_toolkit.kube import views
from kops_toolkit.kube.api import POD
from kops_toolkit.kube.temporal import Verdict

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

SCHEDULER = "kube-scheduler"
VERBOSE = 10  # the level at which it logs every plugin's score
HOSTNAME = "kubernetes.io/hostname"
PLUGIN = "NodeAffinity"  # whose score is to decide
SCORED = re.compile(r'"Plugin scored node for pod".* plugin="(\S+)" node="(\S+)" score=(-?\d+)')
FINAL = re.compile(r'"Calculated node\'s final score for pod".* node="(\S+)" score=(-?\d+)')
SCORE = Act(
    "Score: who is better",
    "Two nodes are made equal, then one pod prefers one of them. At raised verbosity the scheduler "
    "logs each plugin's weighted score: only node affinity tells the nodes apart, the scores add "
    "up to the final one, and the highest wins.",
)


def score(scene: Scene, placements: Placements) -> None:
    """Play SCORE."""
    scene.stage(SCORE)
    checks = {
        "only-affinity-differs": "On equal nodes no other plugin tells them apart",
        "scores-add-up": "The plugins' weighted scores add up to the final score of each node",
        "highest-wins": "The node with the highest final score is the one the pod is bound to",
    }
    if not scene.faults.control_planes:
        for name, title in checks.items():
            scene.skip(name, title, "kt cannot raise the scheduler's verbosity on this cluster")
        return
    able = able_nodes(scene.api)
    first, second = able[0], able[-1]
    _equalise(scene, placements, first, second)
    # Asked of the running process, not through its manifest: nothing is restarted, no leader
    # changes, and a scheduler that is started anew has its own verbosity again.
    debts = scene.faults.raise_verbosity(SCHEDULER, VERBOSE)
    wish = {"key": HOSTNAME, "operator": "In", "values": [second]}
    preference = {"weight": 100, "preference": {"matchExpressions": [wish]}}
    terms = {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}
    between = {"key": HOSTNAME, "operator": "In", "values": [first, second]}
    only = {"nodeSelectorTerms": [{"matchExpressions": [between]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": only}
        | ({} if scene.sabotage == "no-wish" else terms)
    }
    tolerations = [{"operator": "Exists", "effect": "NoSchedule"}]
    uneven = scene.sabotage == "uneven"
    load = {"requests": {"cpu": "300m", "memory": "200Mi"}}
    if uneven:
        ballast = container(scene.image, resources=load)
        placements.create("uneven", nodeName=first, containers=[ballast])
        placements.ready("uneven")
    placements.create("chosen", affinity=affinity, tolerations=tolerations)
    bound = placements.bound("chosen", {second})
    scores, finals = _scores(scene, "chosen")
    scene.faults.undo(*debts)
    for node, total in sorted(finals.items()):
        told = ", ".join(f"{plugin} {score}" for plugin, score in sorted(scores[node].items()))
        scene.tell(f"Node/{node}", f"final score {total}: {told}")
    scene.facts["scores"] = {"plugins": scores, "final": finals}
    where = "kube-scheduler's log"
    differ = {
        plugin
        for plugin in set(scores.get(first, {})) | set(scores.get(second, {}))
        if scores.get(first, {}).get(plugin) != scores.get(second, {}).get(plugin)
    }
    scene.judge(
        "only-affinity-differs",
        checks["only-affinity-differs"],
        f"only {PLUGIN} scores {first} and {second} differently",
        Verdict(
            held=differ == {PLUGIN},
            observed=f"different: {', '.join(sorted(differ)) or 'none'}",
            source=where,
        ),
    )
    if scene.sabotage == "lying-log":
        finals = {node: total + 1 for node, total in finals.items()}
    sums = {node: sum(scores.get(node, {}).values()) for node in finals}
    scene.judge(
        "scores-add-up",
        checks["scores-add-up"],
        "sum of the plugins' scores = final score, on each node",
        Verdict(
            held=len(finals) > 1 and sums == finals,
            observed="; ".join(f"{node}: {sums[node]} and {finals[node]}" for node in finals)
            or "no scores were logged",
            source=where,
        ),
    )
    best = [node for node, total in finals.items() if total == max(finals.values())]
    scene.judge(
        "highest-wins",
        checks["highest-wins"],
        f"{second} has the highest score, and the pod",
        Verdict(
            held=bound.held and best == [second],
            observed=f"highest: {', '.join(best) or 'none'}; {bound.observed}",
            source=where,
        ),
    )


def _equalise(scene: Scene, placements: Placements, first: str, second: str) -> None:
    """Let a pod on either node ask for what the other node's pods ask for more."""
    requested = {node: {"cpu": 0, "memory": 0} for node in (first, second)}
    for pod in scene.api.list(POD).items:
        if pod["spec"].get("nodeName") in requested and not _ended(pod):
            for amount, value in _requests(pod).items():
                requested[pod["spec"]["nodeName"]][amount] += value
    for node, other in ((first, second), (second, first)):
        lacks = {
            amount: max(requested[other][amount] - requested[node][amount], 0)
            for amount in ("cpu", "memory")
        }
        wanted = {"cpu": f"{lacks['cpu']}m", "memory": str(lacks["memory"])}
        if any(lacks.values()):
            name = f"ballast-{'first' if node == first else 'second'}"
            ballast = container(scene.image, resources={"requests": wanted})
            placements.create(name, nodeName=node, containers=[ballast])
            placements.ready(name)


def _ended(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def _requests(pod: Json) -> dict[str, int]:
    """What a pod asks for, in millicores and bytes, as the scoring plugins count it.

    A container that asks for nothing counts as 100 millicores and 200 MiB there
    (k8s.io/kubernetes, pkg/scheduler/util/pod_resources.go), and so it does here. Init containers
    run one by one before the others, so the greediest of them counts if it wants more than those.
    """
    spec = pod["spec"]
    before = spec.get("initContainers") or []
    stays = [item for item in before if item.get("restartPolicy") == "Always"]
    total = {"cpu": 0, "memory": 0}
    for amount in total:
        together = sum(_asked(item, amount) for item in [*spec["containers"], *stays])
        total[amount] = max([together, *(_asked(item, amount) for item in before)])
    return total


def _asked(item: Json, amount: str) -> int:
    asked = item.get("resources", {}).get("requests") or {}
    if amount == "cpu":
        return views.millicores(asked["cpu"]) if "cpu" in asked else 100
    return views.byte_count(asked["memory"]) if "memory" in asked else 200 << 20


def _scores(scene: Scene, pod: str) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """What the scheduler logged of a pod: node to plugin to weighted score, node to final score."""
    scores: dict[str, dict[str, int]] = {}
    finals: dict[str, int] = {}
    mark = f'pod="{scene.namespace}/{pod}"'
    for node in scene.faults.control_planes:
        for line in scene.api.logs("kube-system", f"{SCHEDULER}-{node.name}"):
            if mark not in line:
                continue
            if found := SCORED.search(line):
                scores.setdefault(found[2], {})[found[1]] = int(found[3])
            elif found := FINAL.search(line):
                finals[found[1]] = int(found[2])
    return scores, finals
