"""What this room can take back, also in another process: the journal's handlers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import ConflictError, NotFoundError, ObjectNotFoundError
from kops_toolkit.kube.api import NAMESPACE
from kops_toolkit.kube.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kops_toolkit.kube.api import KubeApi
    from kops_toolkit.system.clock import Clock
    from kops_toolkit.system.journal import Handler

DELETE_NAMESPACE = "delete-namespace"
GONE_WITHIN = 120.0  # seconds until a namespace with all that is in it must be gone


def handlers(connect: Callable[[Path, str], KubeApi], clock: Clock) -> dict[str, Handler]:
    """Undo names of this room; the args of each name the kubeconfig and context to use."""

    def delete_namespace(args: Mapping[str, Any]) -> None:
        kubeconfig = Path(args["kubeconfig"])
        try:
            api = connect(kubeconfig, args["context"])
        except NotFoundError:
            return  # kt forgot the cluster, which it does only when the cluster is gone
        remove_namespace(api, clock, args["name"])

    return {DELETE_NAMESPACE: delete_namespace}


def remove_namespace(api: KubeApi, clock: Clock, name: str) -> None:
    """Delete a namespace and wait until nothing of it is left.

    Raises:
        TimedOutError: something in it will not go.
    """
    with Watches(api, clock) as watches:
        namespaces = watches.of(NAMESPACE).ready()
        try:
            api.delete(NAMESPACE, name)
        except ObjectNotFoundError:
            return
        except ConflictError:
            pass  # it is on its way out already
        namespaces.wait(
            lambda: True if name not in namespaces.current() else None,
            timeout=GONE_WITHIN,
            what=f"the end of namespace {name}",
            last=lambda: _conditions(namespaces.current().get(name, {})),
        )


def _conditions(namespace: Mapping[str, Any]) -> str:
    told = namespace.get("status", {}).get("conditions") or ()
    return "; ".join(f"{item['type']}: {item.get('message', '')}" for item in told) or "terminating"
