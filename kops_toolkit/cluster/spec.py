"""What a cluster is to be like, and how kind is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from kops_toolkit.cluster import audit
from kops_toolkit.cluster.clusters import MARK
from kops_toolkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from kops_toolkit.cluster.host import Peculiarity

PROFILES = ("single", "multi", "ha")
PROXY_MODES = ("iptables", "nftables", "ipvs")
CNIS = ("default",)
RUN_LABEL = "kops-toolkit.io/run"  # which run of kt made the node, so that undo knows its own
LONGEST_NAME = 63 - len("-external-load-balancer")  # the longest thing made of it is a host name


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster to be.

    Attributes:
        name: kind's name of it.
        profile: one of PROFILES.
        proxy_mode: kube-proxy's, one of PROXY_MODES.
        cni: one of CNIS.
        image: node image; None takes kind's own.
    """

    name: str
    profile: str = "single"
    proxy_mode: str = "iptables"
    cni: str = "default"
    image: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        _one_of("profile", self.profile, PROFILES)
        _one_of("proxy mode", self.proxy_mode, PROXY_MODES)
        _one_of("CNI", self.cni, CNIS)

    @property
    def minor(self) -> int | None:
        """Minor version of Kubernetes as the image's tag tells it, else None."""
        found = re.search(r":v1\.(\d+)\.\d+", self.image or "")
        return int(found.group(1)) if found else None

    @property
    def size(self) -> int:
        """How many nodes it has."""
        return len(self._profile()["nodes"])

    def kind_config(
        self,
        run: str,
        peculiarities: tuple[Peculiarity, ...] = (),
        audit_policy: Path | None = None,
    ) -> str:
        """The configuration for kind (kind.x-k8s.io/v1alpha4) as YAML.

        Args:
            run: mark of the run that makes it.
            peculiarities: what the host needs said.
            audit_policy: a file on the engine's machine, by which the API server is to audit.
        """
        config = self._profile()
        for node in config["nodes"]:
            node["labels"] = {MARK: self.name, RUN_LABEL: run}
            if audit_policy and node["role"] == "control-plane":
                node["extraMounts"] = [audit.mount(audit_policy)]
        if audit_policy:
            config["kubeadmConfigPatchesJSON6902"] = audit.patches()
        config["networking"] = {"kubeProxyMode": self.proxy_mode}
        if patches := [item.kubeadm for item in peculiarities if item.kubeadm]:
            config["kubeadmConfigPatches"] = patches
        if patches := [item.containerd for item in peculiarities if item.containerd]:
            config["containerdConfigPatches"] = patches
        return yaml.safe_dump(config, sort_keys=False)

    def _profile(self) -> dict[str, Any]:
        folder = resources.files("kops_toolkit.cluster") / "profiles"
        config: dict[str, Any] = yaml.safe_load((folder / f"{self.profile}.yaml").read_text())
        return config


def check_name(name: str) -> None:
    """A name that kind takes, that is a folder's name too, and whose nodes' names are DNS labels.

    Raises:
        UsageError: it is none.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) or ".." in name:
        raise UsageError(
            f"{name!r} cannot be a cluster's name",
            "use lower-case letters, digits, dots and dashes, a letter or digit at both ends",
        )
    if len(name) > LONGEST_NAME:
        raise UsageError(
            f"the cluster name {name} is too long: {len(name)} characters, {LONGEST_NAME} at most"
        )


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"there is no {what} {value!r}", f"there are: {', '.join(known)}")
