"""The real cluster that end-to-end tests share, and kt as a person would start it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kops_toolkit.system.process import Completed, SystemProcesses

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def kt() -> Callable[..., Completed]:
    """Runs kt in a process of its own, to its end, and gives back what it printed."""

    def run(*argv: str, check: bool = True, timeout: float = 600, **env: str) -> Completed:
        command = [sys.executable, "-m", "kops_toolkit", *argv]
        return SystemProcesses().run(
            command, check=check, timeout=timeout, env={**os.environ, **env}
        )

    return run


@pytest.fixture(scope="session")
def kt_json(kt: Callable[..., Completed]) -> Callable[..., Any]:
    """Runs kt with `-o json` and gives back the document."""

    def run(*argv: str, check: bool = True) -> Any:  # noqa: ANN401 - a JSON document
        return json.loads(kt(*argv, "-o", "json", check=check).out)

    return run


@pytest.fixture(scope="session")
def cluster() -> str:
    """Name of the shared cluster (one control plane, two workers); see ci/with-cluster."""
    name = os.environ.get("KT_E2E_CLUSTER")
    if not name:
        pytest.fail("no cluster: start this with ci/with-cluster NAME multi pytest --e2e …")
    return name


@pytest.fixture(scope="session")
def kubeconfig(cluster: str) -> Path:
    """kt's own kubeconfig of the shared cluster."""
    path = Path(os.environ["KT_E2E_KUBECONFIG"])
    assert path.is_file(), cluster
    return path
