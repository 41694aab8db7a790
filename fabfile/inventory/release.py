"""What differs between Kubernetes 1.5, the manual's own release, and those of today, as far as it is data.

This is the only place that compares the setting: every other floor asks for the trait that it needs. The two recipes
themselves are phases/ and legacy/; `phases.for_release` takes the one that `name` says.
"""

from __future__ import annotations

from typing import Literal

from ..records import dataclass


@dataclass(frozen=True)
class Release:
    """Traits of a release.

    `option` is what a printed command needs to mean it, like " --kubernetes 1.5". `ubuntu` is the version and code name of the
    machine that a plan assumes where nothing was observed.
    """

    name: Literal["kubeadm", "legacy"]
    option: str
    runtime: Literal["containerd", "docker"]
    cgroup: Literal[1, 2]  # the version that its kubelet needs
    health: str  # path of the API server's health check that kubeadm's own users may read
    ubuntu: tuple[str, str]
    configured: bool  # kubeadm reads a configuration file: endpoint, cluster name, service CIDR, the kubelet's settings
    token_in_inventory: bool  # its one bearer token is in hosts.env; later releases make tokens that end
    public_join: bool  # init and join dial the control plane's public address (manual M1, J1)
    dashboard: bool  # the dashboard is a part of it, whatever DASHBOARD says
    signed_packages: bool  # its packages come over https, or with keys whose fingerprints the inventory names
    apps_api: bool  # it has the API (apps/v1) that `inv cluster.verify` uses


KUBEADM = Release(
    name="kubeadm",
    option="",
    runtime="containerd",
    cgroup=2,
    health="/readyz",
    ubuntu=("24.04", "noble"),
    configured=True,
    token_in_inventory=False,
    public_join=False,
    dashboard=False,
    signed_packages=True,
    apps_api=True,
)
LEGACY = Release(
    name="legacy",
    option=" --kubernetes 1.5",
    runtime="docker",
    cgroup=1,
    health="/healthz",
    ubuntu=("16.04", "xenial"),
    configured=False,
    token_in_inventory=True,
    public_join=True,
    dashboard=True,
    signed_packages=False,
    apps_api=False,
)


def release_of(kubernetes: str) -> Release:
    """The traits of the release that KUBERNETES names, like "1.36", "1.36.3" or "1.5"."""
    return LEGACY if kubernetes.split(".")[:2] == ["1", "5"] else KUBEADM
