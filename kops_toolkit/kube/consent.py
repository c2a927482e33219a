"""What can break a cluster runs only where kt may: on its own, or where its name is said twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.errors import RefusedError
from kops_toolkit.kube.api import NODE

if TYPE_CHECKING:
    from kops_toolkit.kube.api import KubeApi

MARK = "kops-toolkit.io/cluster"  # kt has kind put this label on every node of its clusters


def is_ours(api: KubeApi) -> bool:
    """Whether kt made the cluster: every node carries its mark."""
    nodes = api.list(NODE).items
    return bool(nodes) and all(MARK in (n["metadata"].get("labels") or {}) for n in nodes)


def require_consent(api: KubeApi, name: str, consent: str | None, act: str) -> None:
    """Refuse `act` on a cluster that kt did not make, unless its `name` was given as consent.

    Raises:
        RefusedError: there is no consent.
    """
    if consent != name and not is_ours(api):
        raise RefusedError(
            f"{act} could break {name}, a cluster that kt did not make",
            f"if you mean it, add --i-know-this-breaks {name}",
        )
