"""Before the API goes away for a moment: is what was restored what the snapshot predicts?"""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

from kops_toolkit.errors import ArtefactInvalidError, ToolFailedError
from kops_toolkit.etcd import bolt as bolts
from kops_toolkit.etcd import mvcc
from kops_toolkit.outcome import Check, Evidence, Status
from kops_toolkit.system.process import close_pipes

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.node import Node
    from kops_toolkit.etcd.mvcc import History
    from kops_toolkit.etcd.restore.plan import Place
    from kops_toolkit.etcd.restore.predict import Prediction
    from kops_toolkit.system.progress import Progress

BLOCK = 1 << 20


def judge(
    node: Node, place: Place, prediction: Prediction, folder: Path, progress: Progress
) -> Check:
    """Bring the staged database here, read it whole, and compare.

    Args:
        node: where it is.
        place: where on it.
        prediction: computed from the snapshot file alone.
        folder: on this host, for a copy that has no name.
        progress: hears of bytes.

    Raises:
        ArtefactInvalidError: it is not what the snapshot predicts.
    """
    source = f"{place.staged}/member/snap/db"
    history = _read(node, source, folder, progress)
    live = {key: main for key, main in history.live.items() if key}
    seen = (history.revision, history.compact_revision, history.hash_kv)
    wanted = (prediction.revision, prediction.revision, prediction.hash_kv)
    for what, have, want in zip(
        ("revision", "compact revision", "HashKV"), seen, wanted, strict=True
    ):
        if have != want:
            raise _refused(node, f"{what} {have} instead of {want}")
    if live != prediction.live:
        differ = len(live.items() ^ prediction.live.items())
        raise _refused(node, f"{differ} keys differ")
    observed = f"revision {seen[0]}, {len(live)} live keys, HashKV {seen[2]}"
    return Check(
        "gate",
        "What was restored, read back before anything was stopped, is what the snapshot predicts",
        Status.PASSED,
        (Evidence("the same, computed from the snapshot", observed, f"{node.name}:{source}"),),
    )


def _refused(node: Node, what: str) -> ArtefactInvalidError:
    return ArtefactInvalidError(
        f"what etcdutl restored on {node.name} is not what the snapshot predicts: {what}",
        "nothing was stopped; the cluster is as it was",
    )


def _read(node: Node, source: str, folder: Path, progress: Progress) -> History:
    running = node.start(["cat", "--", source])
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if running.stdout:
                shutil.copyfileobj(running.stdout, file, BLOCK)
            if running.wait() != 0:
                raise ToolFailedError(f"{source} could not be read from {node.name}")
            file.flush()
            with bolts.mapped(file.fileno()) as bolt:
                return mvcc.read(bolt, progress=progress)
    finally:
        close_pipes(running)
