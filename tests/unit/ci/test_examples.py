"""The examples for CI systems are YAML, and call kt as it can be called."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from kops_toolkit.cli.app import app

EXAMPLES = sorted((Path(__file__).parents[3] / "ci/examples").glob("*.yaml"))
CALL = re.compile(r"(?:^|[\s/])kt ((?:cluster|verify|doctor)[^\n]*)")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_option_that_an_example_gives_is_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    calls = [shlex.split(call) for call in CALL.findall(text)]
    assert any(call[0] == "verify" and "smoke" in call for call in calls)
    for call in calls:
        command = call[:2] if call[0] == "cluster" else call[:1]
        told = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).stdout
        assert f"kt {' '.join(command)}" in told
        for option in (word for word in call if word.startswith("--")):
            assert option in told


def test_there_are_examples() -> None:
    assert {path.name for path in EXAMPLES} == {"github-actions.yaml", "gitlab-ci.yaml"}
