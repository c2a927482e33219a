"""What can be read about demos without a cluster, and names that are wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from kops_toolkit.cli.app import app
from kops_toolkit.demos.registry import DEMOS

if TYPE_CHECKING:
    from kops_toolkit.demos.model import Demo


def run(*argv: str) -> str:
    result = CliRunner().invoke(app, argv, env={"COLUMNS": "100"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_a_concept_is_explained_in_a_screenful_with_its_page(demo: Demo) -> None:
    told = run("explain", demo.name)
    assert demo.title in told
    assert all(act.title in told for act in demo.acts)
    assert f"https://kubernetes.io/docs/{demo.page}" in "".join(told.split())
    assert len(told.splitlines()) <= 70


def test_an_explanation_is_json_for_machines() -> None:
    told = json.loads(run("explain", "taints", "-o", "json"))
    assert told["name"] == "taints"
    assert all(act["why"] for act in told["acts"])
    assert told["page"].startswith("https://kubernetes.io/docs/")


def test_the_list_has_every_demo_and_what_it_needs() -> None:
    told = json.loads(run("demo", "--list", "-o", "json"))
    assert [row["name"] for row in told] == [demo.name for demo in DEMOS]
    assert all(row["needs"] for row in told)


@pytest.mark.parametrize("command", ["demo", "explain", "verify", "selftest"])
def test_a_wrong_name_is_told_with_the_nearest(command: str) -> None:
    result = CliRunner().invoke(app, [command, "taint"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "there is no demo called taint" in result.stderr
    assert "did you mean taints" in result.stderr
