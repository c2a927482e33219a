"""Reports as JUnit XML, for CI systems: a suite a report, a case a check.

Source of the format: the schema that Jenkins' xUnit plugin publishes, which GitLab reads as well.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from kops_toolkit.outcome import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kops_toolkit.outcome import Check, Report


def document(reports: Sequence[Report]) -> str:
    """The whole document."""
    root = ET.Element("testsuites", name="kt verify")
    for report in reports:
        suite = ET.SubElement(root, "testsuite", _counts(report))
        for check in report.checks:
            _case(suite, report, check)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def failure(message: str) -> str:
    """The document of a run that could not even begin: one failed case that says why."""
    root = ET.Element("testsuites", name="kt verify")
    counts = {"name": "set-up", "tests": "1", "failures": "0", "errors": "1", "skipped": "0"}
    suite = ET.SubElement(root, "testsuite", counts)
    case = ET.SubElement(suite, "testcase", classname="kt.set-up", name="set-up")
    ET.SubElement(case, "error", message=_clean(message))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(report: Report) -> dict[str, str]:
    statuses = [check.status for check in report.checks]
    return {
        "name": report.name,
        "timestamp": report.started.isoformat(timespec="seconds"),
        "time": f"{report.seconds:.3f}",
        "tests": str(len(statuses)),
        "failures": str(statuses.count(Status.FAILED)),
        "errors": str(statuses.count(Status.ABORTED)),
        "skipped": str(statuses.count(Status.SKIPPED)),
    }


def _case(suite: ET.Element, report: Report, check: Check) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"kt.{report.name}",
        name=check.name,
        time=f"{check.seconds:.3f}",
    )
    told = "\n".join(
        f"expected: {item.expected}\nobserved: {item.observed}\nsource: {item.source}"
        for item in check.evidence
    )
    tags = {Status.FAILED: "failure", Status.ABORTED: "error", Status.SKIPPED: "skipped"}
    if check.status in tags:
        reason = ET.SubElement(case, tags[check.status], message=_clean(check.reason))
        reason.text = _clean(told)
    elif told:
        ET.SubElement(case, "system-out").text = _clean(told)


def _clean(text: str) -> str:
    """Without the control characters that XML 1.0 cannot hold."""
    return "".join(sign for sign in text if sign in "\t\n" or ord(sign) >= 32)
