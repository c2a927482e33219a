"""The path of one request: who, may they, admission, validation, lock, storage, watch, audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.catalog.api_server.admission import ADMISSION, admission
from kops_toolkit.demos.catalog.api_server.audited import AUDIT, audit_log
from kops_toolkit.demos.catalog.api_server.court import Court
from kops_toolkit.demos.catalog.api_server.storage import ALONE, STORED, alone, stored
from kops_toolkit.demos.model import Act, Demo, Sabotage
from kops_toolkit.demos.props import container, pod_body
from kops_toolkit.kube.api import (
    CONFIG_MAP,
)

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

WHO = Act(
    "Authentication: who asks?",
    "A request with an unknown token is refused with 401, before anything else is looked at.",
)
MAY = Act(
    "Authorization: may they?",
    "A ServiceAccount is known, but has no right to create a ConfigMap: 403. A RoleBinding later "
    "the very same request is allowed.",
)
SHAPE = Act(
    "Validation, and the optimistic lock",
    "An object that makes no sense is refused with 422, naming the field. A change that is based "
    "on an old resourceVersion is refused with 409: nobody overwrites what they have not seen.",
)


def play(scene: Scene) -> None:
    """Play all acts."""
    court = Court(scene)
    _who(scene, court)
    _may(scene, court)
    admission(scene, court)
    _shape(scene, court)
    stored(scene, court)
    alone(scene)
    audit_log(scene, court)


def _who(scene: Scene, court: Court) -> None:
    scene.stage(WHO)
    token = court.token if scene.sabotage == "real-token" else "not-a-token"
    stranger = court.admin.as_token(token)
    court.judge(
        "unknown-is-401",
        "A request with an unknown token is not authenticated",
        401,
        "Unauthorized",
        court.answer(lambda: stranger.create(court.config_map("by-nobody"), court.namespace)),
    )


def _may(scene: Scene, court: Court) -> None:
    scene.stage(MAY)
    if scene.sabotage == "bound-early":
        _bind(court, "caller")
        court.until(lambda: court.dry(court.caller), 200)

    def ask() -> Json:
        return court.caller.create(court.config_map("by-caller"), court.namespace)

    court.judge(
        "unbound-is-403",
        "A known account without the right is forbidden, and told what it lacks",
        403,
        'cannot create resource "configmaps"',
        court.answer(ask),
    )
    if scene.sabotage != "bound-early":
        _bind(court, "somebody-else" if scene.sabotage == "bound-other" else "caller")
    court.judge(
        "bound-is-allowed",
        "With a Role and a RoleBinding the very same request is allowed",
        200,
        "",
        court.until(ask, 200),
    )


def _bind(court: Court, account: str) -> None:
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}
    court.admin.create(
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": {"name": "maker"},
            "rules": [rule],
        },
        court.namespace,
    )
    subject = {"kind": "ServiceAccount", "name": account, "namespace": court.namespace}
    court.admin.create(
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "maker"},
            "subjects": [subject],
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "maker"},
        },
        court.namespace,
    )


def _shape(scene: Scene, court: Court) -> None:
    scene.stage(SHAPE)
    containers = [container(scene.image)] if scene.sabotage == "well-formed" else []
    empty = pod_body("empty", containers=containers)
    court.judge(
        "senseless-is-422",
        "An object that makes no sense is refused, and the field is named",
        422,
        "spec.containers: Required value",
        court.answer(lambda: court.admin.create(empty, court.namespace, dry_run=True)),
    )
    made = court.admin.create(court.config_map("contested"), court.namespace)
    old = made["metadata"]["resourceVersion"]
    now = court.admin.patch(CONFIG_MAP, "contested", court.namespace, {"data": {"a": "2"}})
    if scene.sabotage == "up-to-date":
        old = now["metadata"]["resourceVersion"]
    change = {"metadata": {"resourceVersion": old}, "data": {"a": "3"}}
    court.judge(
        "stale-is-409",
        "A change based on an old resourceVersion is refused",
        409,
        "the object has been modified",
        court.answer(lambda: court.admin.patch(CONFIG_MAP, "contested", court.namespace, change)),
    )


DEMO = Demo(
    name="api-server",
    title="The path of one request",
    idea=(
        "Everything goes through the API server: it asks who you are, whether you may, lets "
        "admission change and judge the object, checks its form, compares the version it is based "
        "on, and writes it to etcd under one key. Everyone else only watches the API server."
    ),
    acts=(WHO, MAY, ADMISSION, SHAPE, STORED, ALONE, AUDIT),
    needs=(),
    sabotages={
        "real-token": Sabotage("a real token is used", ("unknown-is-401",)),
        "bound-early": Sabotage("the right is given before", ("unbound-is-403",)),
        "bound-other": Sabotage("the right is given to somebody else", ("bound-is-allowed",)),
        "no-defaults": Sabotage(
            "there is no LimitRange", ("defaults-are-filled-in", "judged-after-changed")
        ),
        "audit-only": Sabotage(
            "the policy only audits", ("policy-refuses", "judged-after-changed")
        ),
        "all-labelled": Sabotage("the control arm is labelled too", ("policy-lets-others-in",)),
        "generous": Sabotage("the quota has room", ("quota-refuses",)),
        "well-formed": Sabotage("the pod has a container", ("senseless-is-422",)),
        "up-to-date": Sabotage("the change is based on the latest version", ("stale-is-409",)),
        "wet": Sabotage("the dry run is none", ("dry-run-stores-nothing",)),
        "other-key": Sabotage(
            "another key is read", ("stored-under-its-key", "services-live-under-specs")
        ),
        "eavesdropper": Sabotage("something else connects to etcd", ("only-it-connects",)),
        "elsewhere": Sabotage("another namespace is looked up", ("all-is-audited",)),
    },
    play=play,
    page="concepts/security/controlling-access/",
    breaks=True,
    smoke=True,
)
