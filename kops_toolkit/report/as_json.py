"""A report as one JSON document, schema `kt/report/v1`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kops_toolkit.report import critical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kops_toolkit.errors import KtError
    from kops_toolkit.outcome import Check, Evidence, Report, Status

SCHEMA = "kt/report/v1"
SCHEMA_OF_MANY = "kt/reports/v1"


def report(found: Report) -> str:
    """The whole report; times are RFC 3339 in UTC, durations seconds."""
    return dump(_report(found))


def reports(name: str, found: Sequence[Report], status: Status, seconds: float) -> str:
    """Several reports of one run, schema `kt/reports/v1`."""
    return dump(
        {
            "schema": SCHEMA_OF_MANY,
            "name": name,
            "status": status.value,
            "seconds": round(seconds, 3),
            "critical_path": [
                {"name": one.name, "acts": dict(critical.acts(one))} for one in critical.path(found)
            ],
            "reports": [_report(one) for one in found],
        }
    )


def error(problem: KtError, code: int) -> str:
    """An error as one JSON object on one line, for stderr."""
    return json.dumps(
        {
            "error": type(problem).__name__,
            "message": problem.message,
            "hint": problem.hint,
            "exit": code,
        }
    )


def dump(value: Mapping[str, Any] | list[Any]) -> str:
    """Any JSON value the way kt prints it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _report(found: Report) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": found.name,
        "status": found.status.value,
        "started": found.started.isoformat(),
        "seconds": round(found.seconds, 3),
        "checks": [_check(check) for check in found.checks],
        "facts": found.facts,
        "timeline": [
            {"at": moment.at.isoformat(), "subject": moment.subject, "text": moment.text}
            for moment in found.timeline
        ],
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "title": check.title,
        "status": check.status.value,
        "reason": check.reason,
        "seconds": round(check.seconds, 3),
        "evidence": [_evidence(item) for item in check.evidence],
    }


def _evidence(item: Evidence) -> dict[str, Any]:
    return {
        "expected": item.expected,
        "observed": item.observed,
        "source": item.source,
        "at": item.at.isoformat() if item.at else None,
    }
