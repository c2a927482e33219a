from __future__ import annotations

from pathlib import Path

import pytest

from kops_toolkit.errors import UsageError
from kops_toolkit.wiring import Kt, Target, default_kubeconfig, state_folder


def test_state_goes_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KT_STATE_DIR", "/elsewhere")
    assert state_folder() == Path("/elsewhere")
    monkeypatch.delenv("KT_STATE_DIR")
    assert state_folder().name == "kt"


def test_the_users_kubeconfig_is_found_as_kubectl_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", ":/first:/second")
    assert default_kubeconfig() == Path("/first")
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", "/home")
    assert default_kubeconfig() == Path("/home/.kube/config")


def test_a_cluster_and_a_context_at_once_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both"):
        Kt(state=tmp_path).reach(Target(cluster="a", context="b"))
