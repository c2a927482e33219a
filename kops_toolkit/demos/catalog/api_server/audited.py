"""What the audit log says of it all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kops_toolkit.cluster import audit
from kops_toolkit.demos.model import Act
from kops_toolkit.kube.temporal import Verdict

if TYPE_CHECKING:
    from kops_toolkit.demos.catalog.api_server.court import Court
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

# verb, resource, HTTP status, what the authorizer decided, who asked
AUDITED = (
    ("create", "configmaps", 401, "", "nobody"),
    ("create", "configmaps", 403, "forbid", "caller"),
    ("create", "configmaps", 201, "allow", "caller"),
    ("create", "configmaps", 403, "allow", "admin"),
    ("create", "pods", 422, "allow", "admin"),
    ("patch", "configmaps", 409, "allow", "admin"),
)
AUDIT = Act(
    "The audit log",
    "Each of these requests left a line: who asked for what, what was decided and how it ended.",
)


def audit_log(scene: Scene, court: Court) -> None:
    """Play AUDIT."""
    scene.stage(AUDIT)
    title = "Every one of these requests left its line in the audit log"
    found = _audited(scene, court)
    if found is None:
        reason = "its API server keeps no audit log that kt can read; kt's own clusters do"
        scene.skip("all-is-audited", title, reason)
        return
    caller = f"system:serviceaccount:{court.namespace}:caller"
    who = {caller: "caller", "": "nobody", "system:anonymous": "nobody"}
    told = {
        (
            line["verb"],
            line["objectRef"]["resource"],
            line["responseStatus"]["code"],
            line.get("annotations", {}).get("authorization.k8s.io/decision", ""),
            who.get(line["user"].get("username", ""), "admin"),
        )
        for line in found
        if line.get("responseStatus") and line.get("objectRef")
    }
    missing = sorted(set(AUDITED) - told)
    words = ", ".join(f"{who} {verb} {what}: {code}" for verb, what, code, _, who in missing)
    scene.judge(
        "all-is-audited",
        title,
        "; ".join(f"{who} {verb} {what}: {code}" for verb, what, code, _, who in AUDITED),
        Verdict(
            held=not missing,
            observed=f"{len(found)} lines; missing: {words or 'none'}",
            source=f"{audit.LOG} on the control plane",
        ),
    )


def _audited(scene: Scene, court: Court) -> list[Json] | None:
    """The audit log's lines about the namespace; None if there is no log."""
    name = "kube-system" if scene.sabotage == "elsewhere" else court.namespace
    found: list[Json] = []
    kept = False
    for node in scene.faults.control_planes:
        # Exit 2: there is no log; 1: there is one, without such a line.
        done = node.run(["grep", "-hF", f'"namespace":"{name}"', audit.LOG], check=False)
        kept = kept or done.code in {0, 1}
        found += [json.loads(line) for line in done.text.splitlines()]
    return found if kept else None
