from __future__ import annotations

import pytest

from kops_toolkit.errors import EnvironmentNotReadyError, TimedOutError, ToolFailedError
from kops_toolkit.system.process import SystemProcesses


def test_output_and_input_are_bytes_both_ways() -> None:
    done = SystemProcesses().run(["cat"], stdin=b"\xff\n")
    assert (done.out, done.text) == (b"\xff\n", "�\n")


def test_a_missing_program_names_itself() -> None:
    with pytest.raises(EnvironmentNotReadyError, match="no-such-program"):
        SystemProcesses().run(["no-such-program"])
    with pytest.raises(EnvironmentNotReadyError, match="no-such-program"):
        SystemProcesses().start(["no-such-program"])


def test_a_failure_shows_command_code_and_what_it_said() -> None:
    with pytest.raises(ToolFailedError, match=r"`sh -c .*` ended with 3: oh no"):
        SystemProcesses().run(["sh", "-c", "echo oh no >&2; exit 3"])
    assert SystemProcesses().run(["sh", "-c", "exit 3"], check=False).code == 3


def test_what_takes_too_long_is_stopped() -> None:
    with pytest.raises(TimedOutError, match="sleep 9"):
        SystemProcesses().run(["sleep", "9"], timeout=0.05)


def test_a_started_program_has_its_pipes() -> None:
    running = SystemProcesses().start(["cat"])
    assert running.stdin
    assert running.stdout
    assert running.stderr
    running.stdin.write(b"hello")
    running.stdin.close()
    assert running.stdout.read() == b"hello"
    assert running.wait(5) == 0
    running.stdout.close()
    running.stderr.close()
