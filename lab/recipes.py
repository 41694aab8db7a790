"""The Go programs the lab builds, as data."""

from __future__ import annotations

from . import versions
from .gobuild import GoProgram
from .versions import Kubernetes

KUBERNETES_PROGRAMS = (
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)
TELEGRAF_TAGS = "custom,inputs.kubernetes,inputs.cpu,inputs.mem,inputs.disk,inputs.net,outputs.influxdb"
BUILD_DATE = "2026-01-01T00:00:00Z"


def kubernetes(release: Kubernetes) -> GoProgram:
    """All programs of one Kubernetes release, with the version stamped as upstream's build does."""
    major, minor, _ = release.version.split(".")
    values = {
        "gitVersion": f"v{release.version}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "buildDate": BUILD_DATE,
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    stamp = " ".join(f"-X {p}.{k}={v}" for p in packages for k, v in values.items())
    return GoProgram(
        name=f"kubernetes-{release.version}",
        module="k8s.io/kubernetes",
        version=f"v{release.version}",
        packages=tuple(f"cmd/{p}" for p in KUBERNETES_PROGRAMS),
        stamp=stamp,
        staging=release.staging,
    )


def etcd(tag: str) -> GoProgram:
    """etcd for an image tag such as `3.6.8-0`: the tag's own version line, at the version the lab pins."""
    line = ".".join(tag.lstrip("v").split(".")[:2])
    version = versions.ETCD.get(line, versions.ETCD["3.6"])
    return GoProgram("etcd", "go.etcd.io/etcd/server/v3", version, ("",), output="etcd")


CONTAINERD = GoProgram(
    name="containerd",
    module="github.com/containerd/containerd/v2",
    version=versions.CONTAINERD,
    packages=("cmd/containerd", "cmd/containerd-shim-runc-v2", "cmd/ctr"),
    tags="no_btrfs,no_devmapper,no_zfs",
    stamp=f"-X github.com/containerd/containerd/v2/version.Version={versions.CONTAINERD}",
)
COREDNS = GoProgram("coredns", "github.com/coredns/coredns", versions.COREDNS, ("",))
CNI_PLUGINS = GoProgram(
    name="cni-plugins",
    module="github.com/containernetworking/plugins",
    version=versions.CNI_PLUGINS,
    packages=(
        "plugins/main/bridge",
        "plugins/ipam/host-local",
        "plugins/main/loopback",
        "plugins/meta/portmap",
    ),
)
FLANNEL_CNI = GoProgram(
    name="flannel-cni-plugin",
    module="github.com/containernetworking/plugins",
    version=versions.FLANNEL_CNI_PLUGIN,
    packages=("plugins/meta/flannel",),
)
CRI_TOOLS = GoProgram(
    name="cri-tools",
    module="sigs.k8s.io/cri-tools",
    version=versions.CRI_TOOLS,
    packages=("cmd/crictl",),
    stamp=f"-X sigs.k8s.io/cri-tools/pkg/version.Version={versions.CRI_TOOLS}",
)
TELEGRAF = GoProgram(
    name="telegraf",
    module="github.com/influxdata/telegraf",
    version=versions.TELEGRAF,
    packages=("cmd/telegraf",),
    tags=TELEGRAF_TAGS,
    stamp=f"-X github.com/influxdata/telegraf/internal.Version={versions.TELEGRAF.lstrip('v')}",
)
