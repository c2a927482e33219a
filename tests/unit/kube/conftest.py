from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kops_toolkit.kube.client import RealKube


@pytest.fixture
def connected(tmp_path: Path) -> Callable[[str], RealKube]:
    """The real client for a URL, through a kubeconfig as a person would have it."""

    def connect_to(url: str) -> RealKube:
        from kops_toolkit.kube.client import connect

        found = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "elsewhere",
            "clusters": [{"name": "there", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": "sesame"}}],
            "contexts": [{"name": "here", "context": {"cluster": "there", "user": "me"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(found), encoding="utf-8")
        return connect(path, "here")

    return connect_to
