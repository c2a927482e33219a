from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from kops_toolkit.outcome import Check, Evidence, Moment, Report, Status
from kops_toolkit.report import as_json, as_table
from kops_toolkit.report.progress import ConsoleProgress, amount
from tests.fakes.clock import START

SEEN = Evidence("no loss", "3 of 900 [lost]", "Pod/ns/load@7", START)
FOUND = Report(
    "rolling-update",
    (
        Check("kept", "It held", Status.PASSED, (SEEN,)),
        Check("lost", "None lost", Status.FAILED, (SEEN,), "3 were refused"),
        Check("ipvs", "IPVS too", Status.SKIPPED, (), "the kernel has none"),
    ),
    START,
    1.25,
    {"requests": 900},
    (Moment(START, "Pod/a", "Ready"),),
)


def drawn(what: object, width: int = 100) -> str:
    target = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    with target.capture() as shown:
        target.print(what)
    return shown.get()


def test_json_holds_everything_and_names_its_schema() -> None:
    document = json.loads(as_json.report(FOUND))
    assert document["schema"] == "kt/report/v1"
    assert document["status"] == "failed"
    assert [check["status"] for check in document["checks"]] == ["passed", "failed", "skipped"]
    assert document["checks"][1]["evidence"][0]["observed"] == "3 of 900 [lost]"
    assert document["timeline"] == [
        {"at": "2026-01-01T00:00:00+00:00", "subject": "Pod/a", "text": "Ready"}
    ]


def test_the_table_tells_the_verdict_in_words_and_a_failure_its_expectation() -> None:
    text = drawn(as_table.report(FOUND))
    assert "rolling-update: failed, 1 of 3 checks passed in 1.2 s" in text
    for part in ("✗ failed", "3 were refused", "expected: no loss", "the kernel has none"):
        assert part in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_cell_is_cut_off_at_any_width(width: int) -> None:
    words = "".join(drawn(as_table.report(FOUND), width).replace("│", "").split())
    assert "…" not in words
    assert "refused" in words


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_word(status: Status) -> None:
    assert status.value in as_table.verdict(status).plain


def test_amounts_have_share_and_rate() -> None:
    assert amount(5_000_000, 20_000_000, "bytes", 2.0) == "5.0 MB of 20.0 MB, 25 %, 2.5 MB/s"
    assert amount(1200, None, "keys", 2.0) == "1,200 keys"


def test_piped_progress_is_one_plain_line_a_step() -> None:
    file = io.StringIO()
    progress = ConsoleProgress(Console(file=file, markup=False, highlight=False))
    progress.step("creating [kt]")
    progress.amount(1, 2, "bytes")
    progress.note("cgroup v1 found")
    progress.end()
    assert file.getvalue() == "• creating [kt]\n  cgroup v1 found\n"
