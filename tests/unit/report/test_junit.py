"""The JUnit file tells CI the same as the table tells a person."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from kops_toolkit.outcome import Check, Evidence, Report, Status
from kops_toolkit.report import as_junit
from tests.fakes.clock import START


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - written by us a moment ago


SEEN = Evidence("a < b", "a & \x1b[31mb", "Pod/ns/web@7", START)


def test_every_check_is_a_case_with_its_verdict_and_evidence() -> None:
    checks = (
        Check("kept", "It held", Status.PASSED, (SEEN,)),
        Check("lost", "None lost", Status.FAILED, (SEEN,), "3 were refused"),
        Check("ipvs", "IPVS too", Status.SKIPPED, (), "the kernel has none"),
        Check("late", "Later", Status.ABORTED, (), "never begun"),
    )
    root = parsed(as_junit.document([Report("web", checks, START, 1.25)]))
    (suite,) = root
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    cases = {case.get("name"): case for case in suite}
    assert "a < b" in (cases["kept"].findtext("system-out") or "")
    failure = cases["lost"].find("failure")
    assert failure is not None
    assert failure.get("message") == "3 were refused"
    assert "Pod/ns/web@7" in (failure.text or "")
    assert cases["ipvs"].find("skipped") is not None
    assert cases["late"].find("error") is not None


def test_a_run_that_could_not_begin_is_one_error() -> None:
    root = parsed(as_junit.failure("docker does not run \x00"))
    (error,) = root.iter("error")
    assert error.get("message") == "docker does not run "
