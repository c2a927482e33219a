"""The ledger of what the document about Kubernetes' core says, and what became of each sentence.

A claim rests on checks of demos, `demo/check`. If they hold on a cluster, it is confirmed there;
or refuted, where what the checks show is not what the sentence says, and then `corrected` has what
is right. Evidence is of one cluster: it is kept by the UID of its kube-system namespace, which no
other cluster has, so that a later namesake inherits nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from kops_toolkit.kube import views
from kops_toolkit.kube.api import NAMESPACE
from kops_toolkit.system import files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.outcome import Report


class Ruling(Enum):
    """What became of a claim on a cluster."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNPROVEN = "unproven"  # a check that it rests on did not hold
    UNTRIED = "untried"  # no demo has been played here that would tell
    UNTESTABLE = "untestable"  # nothing that can be played would tell


@dataclass(frozen=True)
class Claim:
    """One sentence of the document.

    Attributes:
        id: stable name: a word for the section, and a number.
        section: the heading that it stands under.
        says: the sentence in short.
        checks: what it rests on, each `demo/check`.
        corrected: what is right instead, if the checks refute it; else "".
        untestable: why nothing here can tell; else "".
    """

    id: str
    section: str
    says: str
    checks: tuple[str, ...] = ()
    corrected: str = ""
    untestable: str = ""


@dataclass(frozen=True)
class Entry:
    """A claim, and what is known of it on one cluster.

    Attributes:
        claim: the claim.
        ruling: what became of it.
        evidence: what was observed, a line a check that it rests on; or why there is none.
    """

    claim: Claim
    ruling: Ruling
    evidence: tuple[str, ...]


Evidence = dict[str, dict[str, Any]]  # `demo/check` to status, observed, at


def claims() -> tuple[Claim, ...]:
    """All claims, in the order of the document."""
    text = (resources.files("kops_toolkit.demos") / "claims.yaml").read_text("utf-8")
    found = []
    for section in yaml.safe_load(text):
        for number, entry in enumerate(section["claims"], 1):
            found.append(
                Claim(
                    id=f"{section['id']}-{number}",
                    section=section["section"],
                    says=entry["says"],
                    checks=tuple(entry.get("checks", "").split()),
                    corrected=entry.get("corrected", ""),
                    untestable=entry.get("untestable", ""),
                )
            )
    return tuple(found)


def rule(claim: Claim, evidence: Mapping[str, Mapping[str, Any]], demos: Collection[str]) -> Entry:
    """What the evidence of one cluster says about a claim, given the names of all demos."""
    if claim.untestable:
        return Entry(claim, Ruling.UNTESTABLE, (claim.untestable,))
    known = [(check, evidence[check]) for check in claim.checks if check in evidence]
    judged = [(check, found) for check, found in known if found["status"] != "skipped"]
    told = tuple(f"{check}: {found['observed']}" for check, found in judged)
    if any(found["status"] != "passed" for _, found in judged):
        return Entry(claim, Ruling.UNPROVEN, told)
    if len(judged) < len(claim.checks):
        return Entry(claim, Ruling.UNTRIED, (*told, _untried(claim, evidence, demos)))
    return Entry(claim, Ruling.REFUTED if claim.corrected else Ruling.CONFIRMED, told)


def _untried(claim: Claim, evidence: Mapping[str, object], demos: Collection[str]) -> str:
    missing = {check.partition("/")[0] for check in claim.checks if check not in evidence}
    if absent := sorted(missing - set(demos)):
        return f"no demo shows it yet: {', '.join(absent)}"
    if missing:
        return f"`kt verify {' '.join(sorted(missing))}` would tell"
    return "a check was skipped on this cluster"


class Ledger:
    """The evidence that demos have given so far, on one cluster.

    Args:
        folder: where ledgers are kept.
        api: the cluster.
    """

    def __init__(self, folder: Path, api: KubeApi) -> None:
        self._path = folder / f"{views.uid(api.get(NAMESPACE, 'kube-system'))}.json"

    def read(self) -> Evidence:
        """What is known."""
        try:
            found: Evidence = json.loads(self._path.read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found

    def add(self, reports: Iterable[Report]) -> None:
        """Note what demos found; a demo that is played again replaces what it said before."""
        known = self.read()
        for report in reports:
            mine = f"{report.name}/"
            known = {check: found for check, found in known.items() if not check.startswith(mine)}
            for check in report.checks:
                known[mine + check.name] = {
                    "status": check.status.value,
                    "observed": check.evidence[0].observed if check.evidence else check.reason,
                    "at": report.started.isoformat(),
                }
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write(self._path, json.dumps(known).encode(), overwrite=True)
