"""What `connect` says to the kubeconfigs that people have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import ArtefactInvalidError, KtError, NotFoundError, UnreachableError
from kops_toolkit.kube.api import POD
from kops_toolkit.kube.client import connect, contexts

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
apiVersion: v1
kind: Config
current-context: staging
clusters: [{name: there, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: me, user: {token: sesame}}]
contexts:
- {name: staging, context: {cluster: there, user: me}}
- {name: production, context: {cluster: there, user: me}}
- {name: nowhere, context: {cluster: gone, user: me}}
- {name: 2026, context: {cluster: there, user: me}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "config"
    found.write_text(GOOD, encoding="utf-8")
    return found


def test_contexts_are_told_in_their_order(path: Path) -> None:
    assert contexts(path) == ("staging", "production", "nowhere", "2026")


def test_the_named_context_is_used_and_no_other(path: Path) -> None:
    assert connect(path, "production").server == "http://127.0.0.1:1"


def test_an_unknown_context_names_those_there_are(path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        connect(path, "prod")
    assert caught.value.message == f"{path} has no context called prod"
    assert caught.value.hint == "it has: staging, production, nowhere, 2026"


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no kubeconfig at"):
        connect(tmp_path / "none", "here")


def test_a_context_that_points_nowhere_is_unusable(path: Path) -> None:
    with pytest.raises(ArtefactInvalidError) as caught:
        connect(path, "nowhere")
    assert str(path) in caught.value.message
    assert "gone" in caught.value.message


@pytest.mark.parametrize(
    "content",
    [
        b"just words",
        b"- a\n- list\n",
        b"contexts: 7\n",
        b"contexts: [here]\n",
        b"contexts: [{context: {}}]\n",
        b"a: [b\n",
        b"\tc: d\n",
        b"\x00\x01\xff",
        b"contexts: [{name: here}]\n",
        b"contexts: [{name: here, context: 5}]\n",
        b"contexts: [{name: here, context: {cluster: a, user: b}}]\nclusters: 7\nusers: []\n",
    ],
    ids=range(11),
)
def test_what_is_no_kubeconfig_gets_one_sentence(tmp_path: Path, content: bytes) -> None:
    found = tmp_path / "config"
    found.write_bytes(content)
    with pytest.raises(KtError) as caught:
        connect(found, "here")
    assert "\n" not in caught.value.message.strip()


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("token: sesame", 'client-certificate-data: "%%%", client-key-data: "%%%"'),
        ("token: sesame", "client-certificate: /no/such/file, client-key: /no/such/file"),
        ('server: "http:', 'certificate-authority: /no/such/file, server: "https:'),
        ('server: "http:', 'certificate-authority-data: "bm9uZQ==", server: "https:'),
    ],
    ids=["data", "files", "no authority", "an authority that is none"],
)
def test_unusable_credentials_get_one_sentence(path: Path, what: str, instead: str) -> None:
    path.write_text(GOOD.replace(what, instead), encoding="utf-8")
    with pytest.raises(KtError) as caught:
        connect(path, "staging").list(POD)
    assert "\n" not in caught.value.message.strip()


def test_an_empty_file_has_no_contexts(tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(b"")
    with pytest.raises(ArtefactInvalidError, match="not a usable kubeconfig"):
        connect(tmp_path / "config", "here")


def test_a_folder_is_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(ArtefactInvalidError, match="Is a directory"):
        connect(tmp_path, "here")


def test_a_server_that_is_no_url_is_unreachable(path: Path) -> None:
    path.write_text(GOOD.replace("http://127.0.0.1:1", "not a url"), encoding="utf-8")
    with pytest.raises(UnreachableError):
        connect(path, "staging").list(POD)
