"""What the README shows exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kops_toolkit.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
COMMANDS = sorted(set(re.findall(r"^kt ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", BLOCKS, re.MULTILINE)))
SCRIPTS = sorted(set(re.findall(r"^(ci/[a-z/-]+)", BLOCKS, re.MULTILINE)))


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) >= 6
    assert SCRIPTS[:2] == ["ci/demo", "ci/test"]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_teaches(command: str) -> None:
    words = command.split()
    if words[0] in {"demo", "doctor", "explain"}:  # what follows is an argument
        words = words[:1]
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert f"Usage: kt {' '.join(words)}" in result.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_is_there_and_can_be_started(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
