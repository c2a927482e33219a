"""Questions to raw objects, each answered in one place."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kops_toolkit.kube.api import Json


def condition(found: Json, kind: str) -> Json | None:
    """A status condition by its type, or None."""
    conditions = found.get("status", {}).get("conditions") or ()
    return next((item for item in conditions if item["type"] == kind), None)


def is_true(found: Json, kind: str) -> bool:
    """Whether a status condition is there and True."""
    told = condition(found, kind)
    return told is not None and told["status"] == "True"


def ready(found: Json) -> bool:
    """Whether a Pod or Node says that it is ready."""
    return is_true(found, "Ready")


def terminating(found: Json) -> bool:
    """Whether deletion has been asked for."""
    return "deletionTimestamp" in found["metadata"]


def owner_uid(found: Json) -> str:
    """UID of the controller that owns the object, "" if none."""
    owners = found["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


def uid(found: Json) -> str:
    """The object's UID."""
    return str(found["metadata"]["uid"])


def waiting_reason(pod: Json) -> str:
    """Why the first waiting container of a Pod waits, e.g. `ImagePullBackOff`; "" if none does."""
    for status in pod.get("status", {}).get("containerStatuses") or ():
        waiting: Any = status.get("state", {}).get("waiting")
        if waiting:
            return str(waiting.get("reason", ""))
    return ""


def container_status(pod: Json, name: str) -> Json:
    """Status of one container of a Pod, an init container's too; {} if it has none yet."""
    status = pod.get("status", {})
    lists = (status.get("containerStatuses"), status.get("initContainerStatuses"))
    found = (item for items in lists for item in items or () if item["name"] == name)
    return next(found, {})


def phase(pod: Json) -> str:
    """One word on where a Pod is in its life, as a person would say it."""
    if terminating(pod):
        return "Terminating"
    return (
        waiting_reason(pod)
        or ("Ready" if ready(pod) else "")
        or str(pod.get("status", {}).get("phase", "Pending"))
    )


def moment(stamp: str) -> datetime:
    """An RFC 3339 stamp of the API, seconds to nanoseconds, as aware time (to microseconds)."""
    head, _, rest = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{rest[:6]:0<6}+00:00")


def millicores(quantity: str) -> int:
    """A quantity of processors, `250m` or `0.5` or `2`, in thousandths."""
    return round(_amount(quantity) * 1000)


def byte_count(quantity: str) -> int:
    """A quantity of memory, `64Mi` or `1G`, in bytes."""
    return int(_amount(quantity))


def _amount(quantity: str) -> float:
    from kubernetes.utils.quantity import parse_quantity  # half a second, and rarely needed

    return float(parse_quantity(quantity))  # type: ignore[no-untyped-call]  # it has no types
