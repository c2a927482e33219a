from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from kops_toolkit import errors
from kops_toolkit.cli import exits
from kops_toolkit.outcome import Check, Evidence, Report, Status
from tests.fakes.clock import START

README = Path(__file__).parents[3] / "README.md"


def every_error() -> list[type[errors.KtError]]:
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    return [kind for kind in found if issubclass(kind, errors.KtError)]


def make(kind: type[errors.KtError]) -> errors.KtError:
    return kind(409, "Conflict", "no") if issubclass(kind, errors.ApiError) else kind("no")


@pytest.mark.parametrize(("kind", "code"), exits.CODES)
def test_each_row_of_the_table(kind: type[errors.KtError], code: int) -> None:
    assert exits.of_error(make(kind)) == code
    assert code in exits.MEANINGS


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_row_of_its_own_or_of_its_family(kind: type[errors.KtError]) -> None:
    if kind is not errors.KtError:
        assert exits.of_error(make(kind)) != exits.BUG


@pytest.mark.parametrize(
    ("status", "code"), [(Status.PASSED, 0), (Status.SKIPPED, 0), (Status.FAILED, 1)]
)
def test_a_verdict_becomes_a_code(status: Status, code: int) -> None:
    check = Check("x", "X", status, (Evidence("1", "2", "test"),))
    assert exits.of_report(Report("r", (check,), START, 0.0)) == code


def test_a_report_without_checks_has_failed() -> None:
    assert exits.of_report(Report("r", (), START, 0.0)) == exits.CHECK_FAILED


@pytest.mark.parametrize(("code", "meaning"), exits.MEANINGS.items())
def test_the_readme_has_the_row(code: int, meaning: str) -> None:
    assert f"| {code} | {meaning} |" in README.read_text(encoding="utf-8")
