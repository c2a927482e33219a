"""Admission: what changes and judges a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.demos.catalog.api_server.court import KNOWN_WITHIN, Court
from kops_toolkit.demos.model import Act
from kops_toolkit.demos.props import container, pod_body
from kops_toolkit.kube.api import (
    ADMISSION_POLICY,
    ADMISSION_POLICY_BINDING,
    RESOURCE_QUOTA,
)
from kops_toolkit.kube.temporal import Verdict

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json

DEFAULT_CPU = "123m"  # what the LimitRange gives to those who ask for nothing
FORBIDDEN = "kt-forbids"  # the label that the policy refuses
REFUSAL = "this label is not welcome here"
ADMISSION = Act(
    "Admission: changed, then judged",
    "A LimitRange fills in what a pod does not say. A ValidatingAdmissionPolicy refuses by an "
    "expression, and sees the object as it was changed: validation comes after mutation. A quota "
    "refuses what would be one too many.",
)


def admission(scene: Scene, court: Court) -> None:
    """Play ADMISSION."""
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
            labelled if scene.sabotage == "all-labelled" else lambda: court.dry(court.admin)
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
