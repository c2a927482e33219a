"""Every sentence of the document has a verdict that follows from evidence, of this very cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kops_toolkit.demos.claims import Claim, Ledger, Ruling, claims, rule
from kops_toolkit.demos.registry import DEMOS
from kops_toolkit.kube.api import NAMESPACE
from kops_toolkit.outcome import Check, Evidence, Report, Status
from tests.fakes.clock import START
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from pathlib import Path

# The headings of the document that kt brings to life, in its order.
SECTIONS = """
What is Kubernetes?
Cluster Architecture
Control Plane (Cluster Management)
Control Plane Components
API Server
Scheduler
Controller Manager
ETCD
Components Interaction
Worker Node Components
Kubelet
Kube-proxy
Container Runtime
Networking
CNI (Container Network Interface)
Pod-to-Pod Communication
Same Node Communication
Cross-Node Communication
Services
ClusterIP
NodePort
LoadBalancer
Ingress
CNI Plugins
Calico
Flannel
Cilium
DNS Resolution
ETCD & Cluster State
What is ETCD
Data Stored in ETCD
ETCD Backup
ETCD Restore
Pods, Deployments, ReplicaSets
Desired State vs Actual State
RollingUpdate Strategy
Container Crash Handling
Scheduling
Node Selection
nodeSelector
nodeAffinity
Taints and Tolerations
Pod Priority and Preemption
Workload Types
DaemonSet vs Deployment
""".strip().splitlines()

NAMES = {demo.name for demo in DEMOS}
# What every check of a demo is called: none may be without a sabotage.
CHECKS = {
    f"{demo.name}/{check}"
    for demo in DEMOS
    for sabotage in demo.sabotages.values()
    for check in sabotage.fails
}


def test_every_section_has_claims_in_the_order_of_the_document() -> None:
    assert list(dict.fromkeys(claim.section for claim in claims())) == SECTIONS


def test_ids_are_unique_and_every_claim_rests_on_something() -> None:
    ids = [claim.id for claim in claims()]
    assert len(set(ids)) == len(ids)
    for claim in claims():
        assert bool(claim.checks) != bool(claim.untestable), claim.id


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim.id)
def test_a_claim_names_checks_that_exist(claim: Claim) -> None:
    mine = {check for check in claim.checks if check.partition("/")[0] in NAMES}
    assert mine <= CHECKS


RIGHT = Claim("a-1", "A", "it is so", ("web/one", "web/two"))
WRONG = Claim("a-2", "A", "it is so", ("web/one",), corrected="it is otherwise")


def known(**statuses: str) -> dict[str, dict[str, str]]:
    return {
        f"web/{check}": {"status": status, "observed": f"saw {check}"}
        for check, status in statuses.items()
    }


@pytest.mark.parametrize(
    ("claim", "evidence", "ruling"),
    [
        (RIGHT, known(one="passed", two="passed"), Ruling.CONFIRMED),
        (WRONG, known(one="passed"), Ruling.REFUTED),
        (RIGHT, known(one="passed", two="failed"), Ruling.UNPROVEN),
        (WRONG, known(one="failed"), Ruling.UNPROVEN),
        (RIGHT, known(one="passed"), Ruling.UNTRIED),
        (RIGHT, known(one="passed", two="skipped"), Ruling.UNTRIED),
        (Claim("a-3", "A", "long ago", untestable="history"), {}, Ruling.UNTESTABLE),
    ],
)
def test_the_ruling_follows_from_the_evidence(
    claim: Claim, evidence: dict[str, dict[str, str]], ruling: Ruling
) -> None:
    entry = rule(claim, evidence, {"web"})
    assert entry.ruling is ruling
    assert entry.evidence


def test_what_is_untried_says_how_it_could_be_tried() -> None:
    assert rule(RIGHT, {}, {"web"}).evidence == ("`kt verify web` would tell",)
    assert rule(RIGHT, {}, set()).evidence == ("no demo shows it yet: web",)


def report(**statuses: Status) -> Report:
    seen = (Evidence("that", "this", "here"),)
    checks = [
        Check(name, name, status, seen, "" if status is Status.PASSED else "no")
        for name, status in statuses.items()
    ]
    return Report("web", tuple(checks), START, 1.0)


def test_a_demo_played_again_replaces_what_it_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, FakeKube())
    assert ledger.read() == {}
    ledger.add([report(one=Status.PASSED, two=Status.PASSED)])
    ledger.add([report(one=Status.FAILED)])
    assert {check: found["status"] for check, found in ledger.read().items()} == {
        "web/one": "failed"
    }


def test_another_cluster_inherits_nothing(tmp_path: Path) -> None:
    one, other = FakeKube(), FakeKube()
    # The fake numbers its objects: made again, the namespace is another.
    other.delete(NAMESPACE, "kube-system")
    other.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
    uids = {kube.get(NAMESPACE, "kube-system")["metadata"]["uid"] for kube in (one, other)}
    assert len(uids) == 2
    Ledger(tmp_path, one).add([report(one=Status.PASSED)])
    assert Ledger(tmp_path, other).read() == {}


def test_a_torn_ledger_is_an_empty_one(tmp_path: Path) -> None:
    kube = FakeKube()
    Ledger(tmp_path, kube).add([report(one=Status.PASSED)])
    (path,) = tmp_path.iterdir()
    path.write_text("{")
    assert Ledger(tmp_path, kube).read() == {}
