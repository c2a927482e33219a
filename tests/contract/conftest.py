"""One set of tests, two API servers: what the fake says is what the real one says."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from kops_toolkit.kube.api import NAMESPACE
from kops_toolkit.kube.client import connect
from tests.fakes.kube import FakeKube

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kops_toolkit.kube.api import KubeApi


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.e2e)])
def kube(request: pytest.FixtureRequest) -> KubeApi:
    """The real one is what KT_E2E_KUBECONFIG and KT_E2E_CONTEXT name; without them it fails."""
    if request.param == "fake":
        return FakeKube()
    kubeconfig = os.environ.get("KT_E2E_KUBECONFIG")
    context = os.environ.get("KT_E2E_CONTEXT")
    if not kubeconfig or not context:
        pytest.fail("no cluster: set KT_E2E_KUBECONFIG and KT_E2E_CONTEXT (ci/with-cluster does)")
    return cast("KubeApi", connect(Path(kubeconfig), context))


@pytest.fixture
def namespace(kube: KubeApi) -> Iterator[str]:
    name = f"kt-contract-{secrets.token_hex(3)}"
    labels = {"app.kubernetes.io/managed-by": "kt"}
    kube.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    yield name
    kube.delete(NAMESPACE, name)
