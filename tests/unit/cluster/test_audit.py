"""The audit policy reaches the API server in both of kubeadm's formats."""

from __future__ import annotations

from pathlib import Path

import yaml

from kops_toolkit.cluster import audit
from kops_toolkit.cluster.spec import ClusterSpec

POLICY = Path("/state/clusters/mine/audit-policy.yaml")


def test_every_control_plane_gets_the_policy_and_no_worker() -> None:
    config = yaml.safe_load(ClusterSpec("mine", "ha").kind_config("run", (), POLICY))
    for node in config["nodes"]:
        mounts = [mount["hostPath"] for mount in node.get("extraMounts", ())]
        assert mounts == ([str(POLICY)] if node["role"] == "control-plane" else [])


def test_without_a_policy_nothing_is_said_of_it() -> None:
    text = ClusterSpec("mine").kind_config("run")
    assert "audit" not in text


def test_both_formats_tell_the_same() -> None:
    told = {}
    for patch in audit.patches():
        steps = yaml.safe_load(patch["patch"])
        assert all(step["op"] == "add" for step in steps)
        args = [step for step in steps if "extraArgs" in step["path"]]
        if patch["version"] == "v1beta4":
            told["v1beta4"] = {step["value"]["name"]: step["value"]["value"] for step in args}
        else:
            told["v1beta3"] = {step["path"].rpartition("/")[2]: step["value"] for step in args}
        (volumes,) = [step["value"] for step in steps if "extraVolumes" in step["path"]]
        assert {volume["mountPath"] for volume in volumes} == {audit.POLICY_FILE, audit.LOG_FOLDER}
    assert told["v1beta3"] == told["v1beta4"]
    assert told["v1beta3"]["audit-log-path"] == audit.LOG


def test_the_policy_is_one_the_api_server_reads() -> None:
    found = yaml.safe_load(audit.policy())
    assert (found["apiVersion"], found["kind"]) == ("audit.k8s.io/v1", "Policy")
    assert found["rules"][-1] == {"level": "Metadata"}
