"""Signals, against a real process."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.system.process import Running, SystemProcesses

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = """
import sys, time, typer
from kops_toolkit.cli.context import Group, catch_signals

app = typer.Typer(cls=Group)

@app.callback()
def root(): pass

@app.command()
def work():
    try:
        print("working", flush=True)
        time.sleep(20)
    finally:
        print("cleaning", flush=True)
        time.sleep(float(sys.argv[2]))
        print("clean", flush=True)

catch_signals()
app(["work"])
"""


def lines(running: Running) -> Iterator[bytes]:
    assert running.stdout
    return iter(running.stdout.readline, b"")


def start(clean_up_seconds: float) -> Running:
    return SystemProcesses().start([sys.executable, "-c", SCRIPT, "x", str(clean_up_seconds)])


def finish(running: Running) -> tuple[int, bytes]:
    assert running.stdin
    assert running.stdout
    assert running.stderr
    said = running.stderr.read()
    for pipe in (running.stdin, running.stdout, running.stderr):
        pipe.close()
    return running.wait(10), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_unwinds_and_ends_with_130(number: signal.Signals) -> None:
    running = start(0)
    heard = lines(running)
    assert next(heard) == b"working\n"
    os.kill(running.pid, number)
    assert list(heard) == [b"cleaning\n", b"clean\n"]
    code, said = finish(running)
    assert (code, b"interrupted" in said) == (130, True)


def test_the_second_lets_the_clean_up_end() -> None:
    running = start(0.5)
    heard = lines(running)
    assert next(heard) == b"working\n"
    os.kill(running.pid, signal.SIGINT)
    assert next(heard) == b"cleaning\n"
    os.kill(running.pid, signal.SIGINT)
    assert next(heard) == b"clean\n"
    code, said = finish(running)
    assert (code, b"still taking back" in said) == (130, True)


def test_the_third_leaves_it_to_recover() -> None:
    running = start(20)
    heard = lines(running)
    assert next(heard) == b"working\n"
    os.kill(running.pid, signal.SIGINT)
    assert next(heard) == b"cleaning\n"
    os.kill(running.pid, signal.SIGINT)
    assert running.stderr
    assert b"still taking back" in running.stderr.readline()
    os.kill(running.pid, signal.SIGINT)
    assert list(heard) == []
    assert finish(running)[0] == 130
