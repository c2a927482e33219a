"""The path of one request: who, may they, admission, validation, lock, storage, watch, audit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kops_toolkit.cluster import audit
from kops_toolkit.demos.model import Act, Demo, Sabotage
from kops_toolkit.demos.props import container, pod_body
from kops_toolkit.errors import ApiError, ObjectNotFoundError
from kops_toolkit.etcd import access
from kops_toolkit.kube import views
from kops_toolkit.kube.api import (
    ADMISSION_POLICY,
    ADMISSION_POLICY_BINDING,
    CONFIG_MAP,
    RESOURCE_QUOTA,
)
from kops_toolkit.kube.temporal import Verdict
from kops_toolkit.kube.watch import source
from kops_toolkit.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json, KubeApi

KNOWN_WITHIN = 15.0  # seconds until the API server must know of a new role, policy or default
ASK_EVERY = 0.2  # seconds; the server learns of these by itself and tells nobody when
DEFAULT_CPU = "123m"  # what the LimitRange gives to those who ask for nothing
FORBIDDEN = "kt-forbids"  # the label that the policy refuses
REFUSAL = "this label is not welcome here"
PROTOBUF = b"k8s\0"  # how the API server marks objects that it stores as protocol buffers
# verb, resource, HTTP status, what the authorizer decided, who asked
AUDITED = (
    ("create", "configmaps", 401, "", "nobody"),
    ("create", "configmaps", 403, "forbid", "caller"),
    ("create", "configmaps", 201, "allow", "caller"),
    ("create", "configmaps", 403, "allow", "admin"),
    ("create", "pods", 422, "allow", "admin"),
    ("patch", "configmaps", 409, "allow", "admin"),
)
EAVESDROP = "exec 3<>/dev/tcp/127.0.0.1/2379; sleep 60"

WHO = Act(
    "Authentication: who asks?",
    "A request with an unknown token is refused with 401, before anything else is looked at.",
)
MAY = Act(
    "Authorization: may they?",
    "A ServiceAccount is known, but has no right to create a ConfigMap: 403. A RoleBinding later "
    "the very same request is allowed.",
)
ADMISSION = Act(
    "Admission: changed, then judged",
    "A LimitRange fills in what a pod does not say. A ValidatingAdmissionPolicy refuses by an "
    "expression, and sees the object as it was changed: validation comes after mutation. A quota "
    "refuses what would be one too many.",
)
SHAPE = Act(
    "Validation, and the optimistic lock",
    "An object that makes no sense is refused with 422, naming the field. A change that is based "
    "on an old resourceVersion is refused with 409: nobody overwrites what they have not seen.",
)
STORED = Act(
    "Storage: one key in etcd",
    "What was accepted is one key, read here from etcd itself. Its revision is the "
    "resourceVersion, in the answer and in the watch event. A dry run goes all the way, and "
    "stores nothing.",
)
ALONE = Act(
    "Only the API server talks to etcd",
    "Every connection to etcd's client port is listed with the process that opened it.",
)
AUDIT = Act(
    "The audit log",
    "Each of these requests left a line: who asked for what, what was decided and how it ended.",
)


class Court:
    """The namespace with its rules, and who asks.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.admin = scene.api
        self.namespace = scene.namespace
        self.admin.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "caller"}},
            self.namespace,
        )
        self.token = self.admin.token(self.namespace, "caller")
        self.caller = self.admin.as_token(self.token)

    def config_map(self, name: str, labels: dict[str, str] | None = None) -> Json:
        """A ConfigMap's manifest."""
        meta = {"name": name, "labels": labels or {}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}

    def answer(self, ask: Callable[[], Json]) -> tuple[int, str, Json]:
        """Status, message and object of an answer; 200 for any that is no error."""
        try:
            return 200, "", ask()
        except ApiError as error:
            return error.status, error.message, {}

    def until(self, ask: Callable[[], Json], status: int) -> tuple[int, str, Json]:
        """Ask again until the answer has this status, for a while.

        The API server learns of a new rule by its own watch, and nothing tells that it has.
        """
        clock = self.scene.clock
        began = clock.monotonic()
        found = self.answer(ask)
        while found[0] != status and clock.monotonic() - began < KNOWN_WITHIN:
            clock.sleep(ASK_EVERY)
            found = self.answer(ask)
        return found

    def judge(
        self, name: str, title: str, status: int, words: str, found: tuple[int, str, Json]
    ) -> None:
        """Judge an answer by its status and its words."""
        told = f"{found[0]} {found[1]}".strip()
        self.scene.judge(
            name,
            title,
            f"{status} {words}".strip(),
            Verdict(
                held=found[0] == status and words in found[1],
                observed=told[:240],
                source=self.admin.server,
            ),
        )


def play(scene: Scene) -> None:
    """Play all acts."""
    court = Court(scene)
    _who(scene, court)
    _may(scene, court)
    _admission(scene, court)
    _shape(scene, court)
    _stored(scene, court)
    _alone(scene)
    _audit(scene, court)


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
        court.until(lambda: _dry(court.caller, court), 200)

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


def _dry(api: KubeApi, court: Court) -> Json:
    return api.create(court.config_map("dry"), court.namespace, dry_run=True)


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


def _admission(scene: Scene, court: Court) -> None:
    scene.stage(ADMISSION)
    if scene.sabotage != "no-defaults":
        limits = {"type": "Container", "default": {"cpu": DEFAULT_CPU}}
        court.admin.create(
            {
                "apiVersion": "v1",
                "kind": "LimitRange",
                "metadata": {"name": "defaults"},
                "spec": {"limits": [limits]},
            },
            court.namespace,
        )
    count = "10" if scene.sabotage == "generous" else "0"
    court.admin.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "no-secrets"},
            "spec": {"hard": {"count/secrets": count}},
        },
        court.namespace,
    )
    _policy(court, "configmaps", f"!('{FORBIDDEN}' in object.?metadata.labels.orValue({{}}))")
    saw = f"object.spec.containers.all(c, c.?resources.limits.cpu.orValue('') != '{DEFAULT_CPU}')"
    _policy(court, "pods", f"!('{FORBIDDEN}' in object.?metadata.labels.orValue({{}})) || {saw}")

    def bare(labels: dict[str, str] | None = None) -> Json:
        body = pod_body("bare", labels, containers=[container(scene.image)])
        return court.admin.create(body, court.namespace, dry_run=True)

    def cpu(found: Json) -> str:
        limits = found["spec"]["containers"][0].get("resources", {}).get("limits", {})
        return str(limits.get("cpu", "none"))

    pod = bare()
    scene.judge(
        "defaults-are-filled-in",
        "Mutating admission fills in the limit that the pod does not state",
        f"limits.cpu {DEFAULT_CPU}",
        Verdict(
            held=cpu(pod) == DEFAULT_CPU,
            observed=f"limits.cpu {cpu(pod)}",
            source=f"Pod/{court.namespace}/bare (dry run)",
        ),
    )

    def labelled() -> Json:
        body = court.config_map("labelled", {FORBIDDEN: "yes"})
        return court.admin.create(body, court.namespace, dry_run=True)

    wanted = 200 if scene.sabotage == "audit-only" else 403
    court.judge(
        "policy-refuses",
        "A ValidatingAdmissionPolicy refuses an object by its expression, in its own words",
        403,
        REFUSAL,
        court.until(labelled, wanted),
    )
    court.judge(
        "policy-lets-others-in",
        "The same object without that label is admitted",
        200,
        "",
        court.answer(
            labelled if scene.sabotage == "all-labelled" else lambda: _dry(court.admin, court)
        ),
    )
    court.judge(
        "judged-after-changed",
        "The policy sees what mutation filled in: validating admission comes second",
        403,
        REFUSAL,
        court.until(lambda: bare({FORBIDDEN: "yes"}), 200 if cpu(pod) != DEFAULT_CPU else wanted),
    )
    quotas = scene.watches.of(RESOURCE_QUOTA, court.namespace).ready()
    quotas.wait(
        lambda: True if (quotas.current()["no-secrets"].get("status") or {}).get("hard") else None,
        timeout=KNOWN_WITHIN,
        what="the quota's count",
    )
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one-too-many"}}
    court.judge(
        "quota-refuses",
        "A ResourceQuota refuses the one that would be too many",
        403,
        "exceeded quota: no-secrets",
        court.answer(lambda: court.admin.create(secret, court.namespace, dry_run=True)),
    )


def _policy(court: Court, resource: str, expression: str) -> None:
    """A policy and its binding, for this namespace alone."""
    outside = court.scene.outside
    group = "admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [resource],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": court.namespace}}
    validation = {"expression": expression, "message": REFUSAL, "reason": "Forbidden"}
    policy = outside.create(
        ADMISSION_POLICY,
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": f"{resource}-label"},
            "spec": {
                "failurePolicy": "Ignore",  # a rule of ours must never stop somebody else
                "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
                "validations": [validation],
            },
        },
    )
    actions = ["Audit"] if court.scene.sabotage == "audit-only" else ["Deny"]
    outside.create(
        ADMISSION_POLICY_BINDING,
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": f"{resource}-label"},
            "spec": {
                "policyName": policy,
                "validationActions": actions,
                "matchResources": {"namespaceSelector": here},
            },
        },
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


def _stored(scene: Scene, court: Court) -> None:
    scene.stage(STORED)
    maps = scene.watches.of(CONFIG_MAP, court.namespace).ready()
    dry = court.admin.create(
        court.config_map("rehearsed"), court.namespace, dry_run=scene.sabotage != "wet"
    )
    made = court.admin.create(court.config_map("real"), court.namespace)
    version = made["metadata"]["resourceVersion"]
    maps.wait(
        lambda: True if "real" in maps.current() else None, timeout=10, what="the ConfigMap real"
    )
    seen = next(event for event in maps.history() if event.name == "real")
    titles = {
        "dry-run-stores-nothing": "A dry run is answered as if it were real, and stores nothing",
        "stored-under-its-key": "What was accepted is one key in etcd, at the revision that the "
        "answer and the watch tell",
        "services-live-under-specs": "Services are stored apart from their endpoints, under specs",
    }
    try:
        court.admin.get(CONFIG_MAP, "rehearsed", court.namespace)
        absent = False
    except ObjectNotFoundError:
        absent = True
    if not scene.faults.control_planes:
        words = f"uid {views.uid(dry)}, then {'404' if absent else 'it is there'}"
        scene.judge(
            "dry-run-stores-nothing",
            titles["dry-run-stores-nothing"],
            "an answer with a UID, then 404",
            Verdict(held=absent, observed=words, source=source(made)),
        )
        reason = "kt cannot read the etcd of this cluster"
        for check in ("stored-under-its-key", "services-live-under-specs"):
            scene.skip(check, titles[check], reason)
        return
    real = "no-such" if scene.sabotage == "other-key" else "real"
    prefix = f"/registry/configmaps/{court.namespace}/"
    specs = "/registry/services/specs/default/kubernetes"
    beside = "/registry/services/default/kubernetes"
    if scene.sabotage == "other-key":
        specs, beside = beside, specs
    with access.to_best(scene.faults.control_planes, Silent()) as found:
        layout = [found.client.get(key.encode()) is not None for key in (specs, beside)]
        rehearsed = found.client.get(f"{prefix}rehearsed".encode())
        stored = found.client.get(f"{prefix}{real}".encode())
    words = f"uid {views.uid(dry)}, then {'404' if absent else 'it is there'}"
    scene.judge(
        "dry-run-stores-nothing",
        titles["dry-run-stores-nothing"],
        f"an answer with a UID, then 404, and no key {prefix}rehearsed",
        Verdict(
            held=absent and rehearsed is None and bool(views.uid(dry)),
            observed=f"{words}, {'no key' if rehearsed is None else 'a key'} in etcd",
            source=f"etcd, {prefix}rehearsed",
        ),
    )
    told = "no such key"
    if stored is not None:
        form = "protobuf" if stored.value.startswith(PROTOBUF) else "something else"
        told = f"{form} of {len(stored.value)} bytes at revision {stored.mod_revision}"
    same = stored is not None and str(stored.mod_revision) == version
    scene.judge(
        "stored-under-its-key",
        titles["stored-under-its-key"],
        f"protobuf at revision {version}, as in the answer and the watch event",
        Verdict(
            held=same
            and stored is not None
            and stored.value.startswith(PROTOBUF)
            and seen.object["metadata"]["resourceVersion"] == version,
            observed=f"{told}; watch event at {seen.object['metadata']['resourceVersion']}",
            source=f"etcd, {prefix}{real}",
        ),
    )
    keys = zip((specs, beside), layout, strict=True)
    found_keys = "; ".join(f"{key}: {'a key' if there else 'no key'}" for key, there in keys)
    scene.judge(
        "services-live-under-specs",
        titles["services-live-under-specs"],
        f"{specs}: a key; {beside}: no key",
        Verdict(held=layout == [True, False], observed=found_keys, source="etcd"),
    )


def _alone(scene: Scene) -> None:
    scene.stage(ALONE)
    title = "Only the API server connects to etcd's client port"
    if not scene.faults.control_planes:
        scene.skip("only-it-connects", title, "kt cannot look at the nodes of this cluster")
        return
    node = scene.faults.control_planes[0]
    spy = None
    if scene.sabotage == "eavesdropper":
        spy = node.start(["bash", "-c", EAVESDROP])
        scene.clock.sleep(1.0)
    try:
        # Asked at the client's end: `dport`. etcd's own gateway is a client of itself.
        told = node.run(["ss", "-Htnp", "state", "established", "( dport = :2379 )"]).text
    finally:
        if spy is not None:
            spy.kill()
            spy.wait()
    names = [line.partition('users:(("')[2].partition('"')[0] for line in told.splitlines()]
    others = sorted(set(names) - {"kube-apiserver", "etcd"})
    count = names.count("kube-apiserver")
    scene.judge(
        "only-it-connects",
        title,
        "connections by kube-apiserver, none by others",
        Verdict(
            held=count > 0 and not others,
            observed=f"{count} by kube-apiserver; others: {', '.join(others) or 'none'}",
            source=f"ss on {node.name}",
        ),
    )


def _audit(scene: Scene, court: Court) -> None:
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
