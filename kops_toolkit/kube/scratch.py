"""A namespace of one run's own, gone when the run is over, however it ends."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kops_toolkit.kube.undo import DELETE_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.system.journal import Journal

RUN_LABEL = "kops-toolkit.io/run"


@contextmanager
def scratch_namespace(
    api: KubeApi, journal: Journal, prefix: str, *, kubeconfig: Path, context: str, keep: bool
) -> Iterator[str]:
    """Create `PREFIX-RANDOM`, hand out its name, delete it at the end unless `keep`.

    The debt is written first; a kill before the creation leaves a debt for nothing, which is
    harmless, for the name is random.
    """
    name = f"{prefix}-{secrets.token_hex(3)}"
    debt = journal.owe(
        DELETE_NAMESPACE,
        f"namespace {name}",
        name=name,
        kubeconfig=str(kubeconfig),
        context=context,
    )
    labels = {"app.kubernetes.io/managed-by": "kt", RUN_LABEL: name}
    api.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    try:
        yield name
    finally:
        if keep:
            journal.settle(debt)
        # What came after it goes first: a namespace does not end while its pods are on a node that
        # a run has stopped.
        journal.settle_all(since=debt)
