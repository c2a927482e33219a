"""What a run changes outside its own namespace: written down before, taken back after.

Everything it puts on a node carries a key of the run's own, so that taking it back can neither hit
what was there before nor what others put there meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import ConflictError, NotFoundError, ObjectNotFoundError
from kops_toolkit.kube.api import NODE, POD, Kind
from kops_toolkit.kube.consent import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kops_toolkit.kube.api import Json, KubeApi
    from kops_toolkit.system.journal import Handler, Journal

UNMARK_NODE = "unmark-node"
DELETE_OBJECT = "delete-object"
UNCORDON = "uncordon"
DELETE_NODE = "delete-node"
ATTEMPTS = 10  # at a change of a node that others change at the same moment
DOMAIN = "demo.kops-toolkit.io"  # of the keys that a run puts on nodes


def handlers(connect: Callable[[Path, str], KubeApi]) -> dict[str, Handler]:
    """Undo names of this module; the args of each name the kubeconfig and context to use."""

    def reaching(act: Callable[[KubeApi, Mapping[str, Any]], None]) -> Handler:
        def handler(args: Mapping[str, Any]) -> None:
            try:
                api = connect(Path(args["kubeconfig"]), args["context"])
            except NotFoundError:
                return  # kt forgot the cluster, which it does only when the cluster is gone
            with suppress(ObjectNotFoundError):  # deleted meanwhile, and all that was on it
                act(api, args)

        return handler

    def delete_object(api: KubeApi, args: Mapping[str, Any]) -> None:
        kind = Kind(args["api_version"], args["kind"], args["plural"], namespaced=False)
        api.delete(kind, args["name"])

    def uncordon(api: KubeApi, args: Mapping[str, Any]) -> None:
        api.patch(NODE, args["node"], None, {"spec": {"unschedulable": None}})

    return {
        UNMARK_NODE: reaching(lambda api, args: unmark(api, args["node"], args["key"])),
        DELETE_OBJECT: reaching(delete_object),
        UNCORDON: reaching(uncordon),
        DELETE_NODE: reaching(lambda api, args: remove_node(api, args["node"])),
    }


class Outside:
    """Changes outside a run's namespace, each owed in its journal.

    Args:
        api: the cluster.
        journal: the run's.
        run: a word of the run's own, part of every key and name.
        reach: `kubeconfig` and `context`, for another process that has to take it back.
    """

    def __init__(self, api: KubeApi, journal: Journal, run: str, reach: Mapping[str, str]) -> None:
        self._api = api
        self._journal = journal
        self._run = run
        self._reach = reach

    def key(self, word: str) -> str:
        """A key of the run's own, for a label, a taint or an extended resource."""
        return f"{DOMAIN}/{self._run}-{word}"

    def label(self, node: str, key: str, value: str) -> int:
        """Label a node; gives the debt, for `undo`."""
        debt = self._owe(node, key)
        self._api.patch(NODE, node, None, {"metadata": {"labels": {key: value}}})
        return debt

    def taint(self, node: str, key: str, effect: str, value: str = "") -> int:
        """Taint a node; gives the debt, for `undo`."""
        debt = self._owe(node, key)
        taint = {"key": key, "value": value, "effect": effect}
        _change_taints(self._api, node, lambda taints: [*taints, taint])
        return debt

    def resource(self, node: str, key: str, amount: int) -> int:
        """Let a node offer an extended resource; gives the debt, for `undo`."""
        debt = self._owe(node, key)
        offer = {key: str(amount)}
        status = {"status": {"capacity": offer, "allocatable": offer}}
        self._api.patch(NODE, node, None, status, subresource="status")
        return debt

    def cordon(self, node: str) -> int:
        """Let no new pods on a node that is not cordoned; gives the debt, for `undo`."""
        debt = self._journal.owe(UNCORDON, f"the cordon of node {node}", node=node, **self._reach)
        self._api.patch(NODE, node, None, {"spec": {"unschedulable": True}})
        return debt

    def node(self, body: Json) -> tuple[str, int]:
        """Let a Node join that no machine stands behind; gives its name and the debt."""
        name = f"kt-{self._run}-{body['metadata']['name']}"
        debt = self._journal.owe(DELETE_NODE, f"Node {name}", node=name, **self._reach)
        # kt made it, so it carries kt's mark: else the cluster would be taken for another's.
        labels = {**body["metadata"].get("labels", {}), MARK: self._run}
        self._api.create({**body, "metadata": {**body["metadata"], "name": name, "labels": labels}})
        return name, debt

    def create(self, kind: Kind, body: Json) -> str:
        """Create an object of no namespace, its name made the run's own; gives that name."""
        name = f"kt-{self._run}-{body['metadata']['name']}"
        self._journal.owe(
            DELETE_OBJECT,
            f"{kind.kind} {name}",
            api_version=kind.api_version,
            kind=kind.kind,
            plural=kind.plural,
            name=name,
            **self._reach,
        )
        self._api.create({**body, "metadata": {**body["metadata"], "name": name}})
        return name

    def undo(self, debt: int) -> None:
        """Take one change back now; at the run's end the rest is."""
        self._journal.undo(debt)

    def _owe(self, node: str, key: str) -> int:
        says = f"{key} on node {node}"
        return self._journal.owe(UNMARK_NODE, says, node=node, key=key, **self._reach)


def unmark(api: KubeApi, node: str, key: str) -> None:
    """Take the label, the taint and the extended resource of this key off a node, if there."""
    found = api.get(NODE, node)
    if key in (found["metadata"].get("labels") or {}):
        api.patch(NODE, node, None, {"metadata": {"labels": {key: None}}})
    if any(taint["key"] == key for taint in found["spec"].get("taints") or ()):
        _change_taints(api, node, lambda taints: [t for t in taints if t["key"] != key])
    if key in found["status"].get("capacity", {}):
        none = {key: None}
        status = {"status": {"capacity": none, "allocatable": none}}
        api.patch(NODE, node, None, status, subresource="status")


def remove_node(api: KubeApi, name: str) -> None:
    """Delete a Node that no machine stands behind, and its pods, which nobody else would end."""
    with suppress(ObjectNotFoundError):
        api.delete(NODE, name)
    for pod in api.list(POD, fields=f"spec.nodeName={name}").items:
        with suppress(ObjectNotFoundError):
            api.delete(POD, pod["metadata"]["name"], pod["metadata"]["namespace"], grace=0)


def _change_taints(api: KubeApi, node: str, change: Callable[[list[Json]], list[Json]]) -> None:
    """Change a node's taints. The list is replaced whole, so only if nobody else changed it."""
    for attempt in range(ATTEMPTS):
        found = api.get(NODE, node)
        taints = change(list(found["spec"].get("taints") or ()))
        version = found["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}
        try:
            api.patch(NODE, node, None, body)
        except ConflictError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return
