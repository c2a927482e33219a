"""Kernel settings that nodes need, and raising them on the engine's machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kops_toolkit.cluster.host import INOTIFY_INSTANCES, INOTIFY_WATCHES, IP_FORWARD

if TYPE_CHECKING:
    from kops_toolkit.cluster.engine import Engine
    from kops_toolkit.cluster.host import HostFacts

# Below these several nodes do not start (https://kind.sigs.k8s.io/docs/user/known-issues).
LEAST = {INOTIFY_INSTANCES: 512, INOTIFY_WATCHES: 524288, IP_FORWARD: 1}
GOAL = {INOTIFY_INSTANCES: 1024, INOTIFY_WATCHES: 524288, IP_FORWARD: 1}

Changes = dict[str, tuple[int, int]]


def raise_all(
    engine: Engine, seen: HostFacts, image: str | None, root: Path = Path("/")
) -> tuple[Changes, dict[str, str]]:
    """Raise every setting that is too low, until the next boot; none is ever lowered.

    Args:
        engine: docker.
        seen: the settings as they are.
        image: an image with a shell, to change them through if the engine runs elsewhere.
        root: this machine's root folder (a test has its own).

    Returns:
        What was changed, from what to what, and why the others could not be, by name.
    """
    changed: Changes = {}
    refused: dict[str, str] = {}
    for name, value in seen.settings.items():
        if value >= LEAST[name]:
            continue
        why = _write(root, name) if seen.local else _write_there(engine, image, name)
        if why:
            refused[name] = why
        else:
            changed[name] = (value, GOAL[name])
    return changed, refused


def _write(root: Path, name: str) -> str:
    """Set it here; returns why it could not be, else ""."""
    try:
        (root / "proc/sys" / name.replace(".", "/")).write_text(f"{GOAL[name]}\n")
    except OSError as error:
        return f"it could not be changed ({error.strerror})"
    return ""


def _write_there(engine: Engine, image: str | None, name: str) -> str:
    """Set it on the engine's machine through a container; returns why it could not be, else ""."""
    if image is None:
        return "the engine runs elsewhere and there is no image to change it through"
    # The host's network namespace: forwarding is each namespace's own.
    run = ["run", "--rm", "--privileged", "--network=host", "--pull=never", "--entrypoint=sh"]
    path = "/proc/sys/" + name.replace(".", "/")
    script = f"echo {GOAL[name]} > {path}"
    done = engine.run([*run, image, "-c", script], timeout=60, check=False)
    return "" if done.code == 0 else "it could not be changed through a container"
