"""What a member restored from a snapshot must hold, computed from the file alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.etcd import bolt as bolts
from kops_toolkit.etcd import mvcc

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kops_toolkit.system.progress import Progress


@dataclass(frozen=True)
class Prediction:
    """The state right after the restore.

    Attributes:
        revision: the member's, also its compact revision.
        hash_kv: HashKV there, as the member itself will compute it.
        live: each live key with its mod_revision; a bump leaves those as they were.
    """

    revision: int
    hash_kv: int
    live: Mapping[bytes, int]


def predict(path: Path, revision: int, progress: Progress) -> Prediction:
    """Read a snapshot once more and say what a restore to `revision` must come to.

    Raises:
        ArtefactInvalidError: the file changed since it was verified.
    """
    with bolts.opened(path) as bolt:
        history = mvcc.read(bolt, bumped=revision, progress=progress)
    live = {key: main for key, main in history.live.items() if key}
    return Prediction(revision, history.hash_kv, live)
