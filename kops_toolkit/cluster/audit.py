"""Auditing: the API server of kt's clusters writes down what it was asked and what it decided.

kind mounts the policy into the control plane; kubeadm gives it to the API server. The format is
audit.k8s.io/v1 (https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

Step = dict[str, Any]  # of a JSON patch, RFC 6902
POLICY_FILE = "/etc/kubernetes/kt/audit-policy.yaml"  # on the node, and in the API server's pod
LOG_FOLDER = "/var/log/kubernetes/audit"
LOG = f"{LOG_FOLDER}/audit.log"
MEGABYTES = 20  # of one log file; one older one is kept
# Who asked for what, and what was decided; no bodies. What components read and renew all the time
# would drown the rest, and cost.
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "None", "resources": [{"group": "", "resources": ["events"]}]},
        {"level": "None", "userGroups": ["system:nodes"]},
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version"]},
        {"level": "Metadata"},
    ],
}


def policy() -> bytes:
    """The policy as a file."""
    return yaml.safe_dump(POLICY, sort_keys=False).encode()


def mount(policy_file: Path) -> dict[str, Any]:
    """How kind brings the policy into a node."""
    return {"hostPath": str(policy_file), "containerPath": POLICY_FILE, "readOnly": True}


def patches() -> list[dict[str, str]]:
    """How kubeadm is told, in both of its formats; kind takes the one that it uses itself."""
    args = {
        "audit-policy-file": POLICY_FILE,
        "audit-log-path": LOG,
        "audit-log-maxsize": str(MEGABYTES),
        "audit-log-maxbackup": "1",
    }
    volumes = [
        _volume("kt-audit-policy", POLICY_FILE, "File", read_only=True),
        _volume("kt-audit-log", LOG_FOLDER, "DirectoryOrCreate", read_only=False),
    ]
    shared: list[dict[str, Any]] = [
        {"op": "add", "path": "/apiServer/extraVolumes", "value": volumes}
    ]
    base = "/apiServer/extraArgs"
    by_version: dict[str, list[dict[str, Any]]] = {
        "v1beta3": [
            {"op": "add", "path": f"{base}/{name}", "value": value} for name, value in args.items()
        ],
        "v1beta4": [
            {"op": "add", "path": f"{base}/-", "value": {"name": name, "value": value}}
            for name, value in args.items()
        ],
    }
    return [
        {
            "group": "kubeadm.k8s.io",
            "version": version,
            "kind": "ClusterConfiguration",
            "patch": yaml.safe_dump(steps + shared, sort_keys=False),
        }
        for version, steps in by_version.items()
    ]


def _volume(name: str, path: str, kind: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "name": name,
        "hostPath": path,
        "mountPath": path,
        "pathType": kind,
        "readOnly": read_only,
    }
