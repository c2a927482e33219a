"""Whether this machine has what kt needs: found, expected, and how to mend what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.cluster import host, image, settings
from kops_toolkit.cluster.fitness import ENGINE, HERE, THERE, Machine, judge_engine, judge_kind
from kops_toolkit.errors import KtError
from kops_toolkit.outcome import Check, Evidence, Report, Status

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.engine import Engine
    from kops_toolkit.cluster.kind import Kind
    from kops_toolkit.system.clock import Clock

AFTER_ENGINE = (
    "kernel settings, memory, disk, images and privileges are the engine's machine's: they can "
    "be judged once the engine answers"
)


def examine(engine: Engine, kind: Kind, state: Path, clock: Clock, *, fix: bool = False) -> Report:
    """Judge everything kt needs.

    Args:
        engine: docker.
        kind: the kind program.
        state: kt's state folder.
        clock: for time and durations.
        fix: change the kernel settings that are too low, on the engine's machine.
    """
    started, begun = clock.now(), clock.monotonic()
    checks = [judge_kind(kind), *(check(state) for check in HERE)]
    facts: dict[str, object] = {}
    try:
        machine = gather(engine, fix=fix)
    except KtError as error:
        evidence = Evidence("an engine that answers", error.message, "docker info")
        mend = error.hint or ""
        checks.insert(0, Check("engine", ENGINE, Status.FAILED, (evidence,), mend))
        checks.append(
            Check("host", "The engine's machine is fit", Status.ABORTED, (), AFTER_ENGINE)
        )
    else:
        checks[:0] = [judge_engine(machine)]
        checks += [check(machine) for check in THERE]
        facts["changed"] = {name: list(pair) for name, pair in machine.changed.items()}
    return Report("doctor", tuple(checks), started, clock.monotonic() - begun, facts)


def gather(engine: Engine, *, fix: bool) -> Machine:
    """Look at the engine and its machine, and with `fix` raise what is too low there."""
    facts = engine.facts()
    node_image = image.present(engine)
    some = node_image or image.any_present(engine)
    seen = host.look(engine, facts, some)
    changed: dict[str, tuple[int, int]] = {}
    refused: dict[str, str] = {}
    if fix:
        changed, refused = settings.raise_all(engine, seen, some)
        seen = host.look(engine, facts, some)
    return Machine(engine, facts, seen, some, node_image is not None, changed, refused)
