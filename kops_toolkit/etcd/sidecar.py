"""The small JSON file beside a snapshot: what it must be, kept apart from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import ArtefactInvalidError

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.etcd.facts import SnapshotFacts

FORMAT = "kt-etcd-snapshot/1"
LIMIT = 1 << 20  # bytes; a sidecar is some hundred


def path_of(snapshot: Path) -> Path:
    """Where a snapshot's sidecar lies."""
    return snapshot.with_name(snapshot.name + ".json")


def described(facts: SnapshotFacts) -> dict[str, str | int]:
    """What a sidecar says of the file alone, and any later reader can check."""
    return {
        "sha256": facts.sha256,
        "size": facts.file_size,
        "revision": facts.revision,
        "compact_revision": facts.compact_revision,
        "hash": facts.hash,
        "hash_kv": facts.hash_kv,
        "keys": facts.keys,
    }


def dump(content: dict[str, Any]) -> bytes:
    """A sidecar's bytes."""
    return (json.dumps({"format": FORMAT, **content}, indent=2) + "\n").encode()


def load(snapshot: Path) -> dict[str, Any] | None:
    """The content of a snapshot's sidecar, or None if it has none.

    Raises:
        ArtefactInvalidError: the sidecar cannot be read, or is not of this format.
    """
    path = path_of(snapshot)
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(LIMIT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as cause:
        raise ArtefactInvalidError(f"{path} is no readable JSON") from cause
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ArtefactInvalidError(f"{path} is no sidecar of this kt (wanted format {FORMAT})")
    return content
