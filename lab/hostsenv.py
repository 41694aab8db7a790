"""Writes hosts.env: how the rest of kubefab finds the lab, and the settings this kind of machine needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from . import versions
from .debian import ADMIN
from .host import Host
from .settings import REGISTRY_PORT, REGISTRY_USER, Settings

MINIMUM_CPUS = 2
MINIMUM_MEMORY_MIB = 1700
MIRRORS = ("registry.k8s.io", "ghcr.io", "docker.io")
_PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,+@%=")


def kubelet_config(host: Host) -> dict[str, object]:
    """KubeletConfiguration fields without which the kubelet does not run on this machine."""
    return {"failCgroupV1": False} if host.cgroup == 1 else {}


def kube_proxy_config(_host: Host) -> dict[str, object]:
    """KubeProxyConfiguration fields: a container's network namespace cannot size the connection table."""
    return {"conntrack": {"maxPerCore": 0}}


def containerd_config(host: Host) -> dict[str, object]:
    """containerd (version 3 configuration) fields that this machine needs."""
    if host.sys_resource:
        return {}
    return {"plugins": {"io.containerd.cri.v1.runtime": {"restrict_oom_score_adj": True}}}


def ignored_preflight(host: Host) -> list[str]:
    """kubeadm preflight checks that cannot pass here although the cluster works."""
    wanted = {
        "SystemVerification": host.cgroup == 1 or not host.kernel_config,
        "NumCPU": host.cpus < MINIMUM_CPUS,
        "Mem": host.memory_mib < MINIMUM_MEMORY_MIB,
        "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables": not host.bridge_nf,
    }
    return [name for name, needed in wanted.items() if needed]


def values(settings: Settings, host: Host, *, key: Path, ca: Path, password: str, fingerprint: str) -> dict[str, str]:
    """Every key of hosts.env; settings that the machine does not need are left out."""
    nodes = settings.nodes()
    found = {"LAB_CONTROL_PLANE": f"{nodes['cp1']} name=cp1"}
    for number, (name, address) in enumerate(((n, a) for n, a in nodes.items() if n != "cp1"), start=1):
        found[f"LAB_WORKER_{number}"] = f"{address} name={name}"
    url = f"http://{settings.packages}"
    found |= {
        "LAB_SSH_USER": ADMIN,
        "LAB_SSH_KEY": str(key),
        "LAB_KUBERNETES": settings.releases[0],
        "LAB_PACKAGES_URL": url,
        "LAB_CONTAINERD_URL": url,
        "LAB_ETCD_URL": f"{url}/etcd",
        "LAB_PACKAGES_KEY_FINGERPRINT": fingerprint,
        "LAB_CONTAINERD_KEY_FINGERPRINT": fingerprint,
        "LAB_REGISTRY": f"{settings.registry}:{REGISTRY_PORT}",
        "LAB_REGISTRY_USER": REGISTRY_USER,
        "LAB_REGISTRY_PASSWORD": password,
        "LAB_REGISTRY_CA": str(ca),
        "LAB_REGISTRY_MIRRORS": ",".join(MIRRORS),
        "LAB_FLANNEL_IMAGE": f"ghcr.io/flannel-io/flannel:{versions.FLANNEL}",
        "LAB_FLANNEL_CNI_IMAGE": f"ghcr.io/flannel-io/flannel-cni-plugin:{versions.FLANNEL_CNI_IMAGE_TAG}",
        "LAB_INFLUXDB_IMAGE": f"docker.io/library/influxdb:{versions.INFLUXDB_TAG}",
        "LAB_TELEGRAF_IMAGE": f"docker.io/library/telegraf:{versions.TELEGRAF.lstrip('v')}",
        "LAB_DASHBOARD_IMAGE": f"docker.io/kubefab/kube-web-view:{versions.WEB_VIEW}",
        "LAB_PROBE_IMAGE": "docker.io/kubefab/probe:1",
    }
    tuning = {
        "LAB_KUBELET_CONFIG": kubelet_config(host),
        "LAB_KUBE_PROXY_CONFIG": kube_proxy_config(host),
        "LAB_CONTAINERD_CONFIG": containerd_config(host),
    }
    found |= {name: json.dumps(config) for name, config in tuning.items() if config}
    if ignored := ignored_preflight(host):
        found["LAB_IGNORE_PREFLIGHT"] = ",".join(ignored)
    return found


def release(path: Path) -> str:
    """The release of Kubernetes that a hosts.env of the lab names; "" without one."""
    return (dotenv_values(path).get("LAB_KUBERNETES") or "") if path.is_file() else ""


def quote(value: str) -> str:
    """`value` as dotenv reads it back: bare, in double quotes, or (JSON) in single quotes."""
    if value and set(value) <= _PLAIN:
        return value
    if '"' in value and "'" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render(found: Mapping[str, str]) -> str:
    """The text of hosts.env."""
    head = "# Written by `inv lab.up`, removed by `inv lab.down`.\n"
    return head + "".join(f"{name}={quote(value)}\n" for name, value in found.items())
