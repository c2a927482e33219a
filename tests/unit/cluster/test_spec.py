from __future__ import annotations

import pytest
import yaml

from kops_toolkit.cluster.host import Peculiarity
from kops_toolkit.cluster.spec import LONGEST_NAME, PROFILES, ClusterSpec, check_name
from kops_toolkit.errors import UsageError


@pytest.mark.parametrize(
    ("profile", "planes", "workers"), [("single", 1, 0), ("multi", 1, 2), ("ha", 3, 2)]
)
def test_profiles(profile: str, planes: int, workers: int) -> None:
    spec = ClusterSpec("c", profile)
    config = yaml.safe_load(spec.kind_config("run1"))
    roles = [node["role"] for node in config["nodes"]]
    assert (roles.count("control-plane"), roles.count("worker")) == (planes, workers)
    assert spec.size == planes + workers
    assert config["kind"] == "Cluster"


def test_there_is_a_file_for_every_profile() -> None:
    assert [ClusterSpec("c", profile).size for profile in PROFILES] == [1, 3, 5]


def test_every_node_carries_the_mark_and_the_run() -> None:
    config = yaml.safe_load(ClusterSpec("mine", "ha").kind_config("abc"))
    expected = {"kops-toolkit.io/cluster": "mine", "kops-toolkit.io/run": "abc"}
    assert [node["labels"] for node in config["nodes"]] == [expected] * 5


def test_proxy_mode_and_patches_are_passed_on() -> None:
    found = (Peculiarity("a", kubeadm="K"), Peculiarity("b", containerd="C"))
    config = yaml.safe_load(ClusterSpec("c", proxy_mode="nftables").kind_config("r", found))
    assert config["networking"] == {"kubeProxyMode": "nftables"}
    assert config["kubeadmConfigPatches"] == ["K"]
    assert config["containerdConfigPatches"] == ["C"]


def test_a_host_without_peculiarities_gets_no_patches() -> None:
    config = yaml.safe_load(ClusterSpec("c").kind_config("r"))
    assert set(config) == {"kind", "apiVersion", "nodes", "networking"}


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "a-", "a_b", "..", "a/b", "a..b", ".a", "a" * (LONGEST_NAME + 1), "é"]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "kt", "kt-h4.x", "0", "a" * LONGEST_NAME])
def test_names_that_can_be(name: str) -> None:
    check_name(name)
    assert ClusterSpec(name).name == name


@pytest.mark.parametrize(
    ("field", "says"), [("profile", "profile"), ("proxy_mode", "proxy mode"), ("cni", "CNI")]
)
def test_what_is_unknown_is_told_with_what_there_is(field: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"there is no {says} 'nope'") as error:
        ClusterSpec("c", **{field: "nope"})
    assert error.value.hint is not None
    assert error.value.hint.startswith("there are: ")


@pytest.mark.parametrize(
    ("image", "minor"),
    [
        ("kt/node:v1.37.2", 37),
        ("kindest/node:v1.30.0@sha256:ab", 30),
        ("x:latest", None),
        (None, None),
    ],
)
def test_minor_version(image: str | None, minor: int | None) -> None:
    assert ClusterSpec("c", image=image).minor == minor
