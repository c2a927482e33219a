"""kt's mark and the consent rule: on the fake, and (e2e) on a cluster that kt made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import RefusedError
from kops_toolkit.kube.api import NODE
from kops_toolkit.kube.consent import MARK, is_ours, require_consent
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from kops_toolkit.kube.api import KubeApi


def with_nodes(kube: KubeApi, *marks: str | None) -> KubeApi:
    """The fake gets nodes with or without the mark; a cluster that kt made has them."""
    if isinstance(kube, FakeKube):
        for number, mark in enumerate(marks):
            labels = {MARK: mark} if mark else {}
            meta = {"name": f"node-{number}", "labels": labels}
            kube.create({"apiVersion": "v1", "kind": "Node", "metadata": meta})
    return kube


def test_a_cluster_that_kt_made_is_known_by_its_nodes(kube: KubeApi) -> None:
    ours = with_nodes(kube, "kt", "kt")
    assert is_ours(ours)
    require_consent(ours, "kt", None, "this")
    assert all(MARK in node["metadata"]["labels"] for node in ours.list(NODE).items)


@pytest.mark.parametrize("marks", [(), (None,), ("kt", None)])
def test_any_other_is_refused_unless_its_own_name_is_given(marks: tuple[str | None, ...]) -> None:
    kube = with_nodes(FakeKube(), *marks)
    for consent in (None, "yes", "prod2"):
        with pytest.raises(RefusedError, match="prod, a cluster that kt did not make") as caught:
            require_consent(kube, "prod", consent, "this")
        assert caught.value.hint == "if you mean it, add --i-know-this-breaks prod"
    require_consent(kube, "prod", "prod", "this")
    assert not is_ours(kube)
