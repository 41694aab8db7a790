"""The Go programs the lab builds, as data."""

from __future__ import annotations

from collections.abc import Iterable

from . import versions
from .gobuild import Addons, GoProgram, GoTests
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
SPECS = "kubeadm-specs"
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


def kubeadm_specs(release: Kubernetes) -> GoTests:
    """The end-to-end specs by kubeadm's authors of one release, as a program."""
    made = kubernetes(release)
    return GoTests(
        f"{SPECS}-{release.version}",
        made.module,
        made.version,
        ("test/e2e_kubeadm",),
        stamp=made.stamp,
        staging=made.staging,
        output=SPECS,
    )


def etcd_version(tag: str) -> str:
    """The version of etcd that an image tag such as `3.6.8-0` names: `v3.6.8`."""
    return "v" + tag.partition("-")[0]


def etcd_tags(asked: Iterable[str]) -> list[str]:
    """The etcd images for releases of Kubernetes that ask for these tags: each once, oldest first.

    Where the releases are a way to etcd 3.7 from an etcd that must not take it at once, the step between is one of them.
    """

    def numbers(tag: str) -> tuple[int, ...]:
        return tuple(int(part) for part in tag.partition("-")[0].split("."))

    wanted = sorted({*asked}, key=numbers)
    if numbers(wanted[0]) < versions.ETCD_BEFORE_37 and numbers(wanted[-1]) >= (3, 7):
        wanted = sorted({*wanted, versions.ETCD_STEP}, key=numbers)
    return wanted


# By the name of the program: each is a module of its own in etcd's repository.
_ETCD_MODULES = {"etcd": "server", "etcdctl": "etcdctl", "etcdutl": "etcdutl"}
ETCD_PROGRAMS = tuple(_ETCD_MODULES)


def etcd(tag: str, program: str = "etcd") -> GoProgram:
    """One of `ETCD_PROGRAMS` for an image tag such as `3.6.8-0`: what its tag says."""
    module = f"go.etcd.io/etcd/{_ETCD_MODULES[program]}/v3"
    version = etcd_version(tag)
    return GoProgram(f"{program}-{version}", module, version, ("",), output=program)


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
_CONTAINERD = "github.com/containerd/containerd/v2"
# Built alone: its CRI plugin does not compile with the CRI API that crictl needs.
CONTAINERD = GoProgram(
    name="containerd",
    module=_CONTAINERD,
    version=versions.CONTAINERD,
    packages=("cmd/containerd", "cmd/containerd-shim-runc-v2", "cmd/ctr"),
    tags="no_btrfs,no_devmapper,no_zfs",
    stamp=f"-X {_CONTAINERD}/version.Version={versions.CONTAINERD}",
)
_COREDNS, _CRI_TOOLS = "github.com/coredns/coredns", "sigs.k8s.io/cri-tools"
_FLANNEL, _TELEGRAF = "github.com/flannel-io/flannel", "github.com/influxdata/telegraf"
# Their shared packages (client-go, gRPC and many more) are compiled once. `python -m lab.lock_modules` updates lab/go.
ADDONS = Addons(
    name="addons",
    versions=(
        (_COREDNS, versions.COREDNS),
        (_CRI_TOOLS, versions.CRI_TOOLS),
        (_FLANNEL, versions.FLANNEL),
        (_TELEGRAF, versions.TELEGRAF),
    ),
    imports=(
        "./coredns",
        "./flanneld",
        f"{_CRI_TOOLS}/cmd/crictl",
        f"{_TELEGRAF}/cmd/telegraf",
    ),
    edited=(("coredns", _COREDNS, ("coredns.go", "core/plugin/zplugin.go")), ("flanneld", _FLANNEL, ("main.go",))),
    # Plugins and backends that talk to clouds are left out: their SDKs are half of the compile, and not every module proxy has them.
    # flannel's udp backend is C. The kernel's vxlan, host-gw, ipip and wireguard stay.
    left_out=(
        '/coredns/core/plugin"',
        "/plugin/azure",
        "/plugin/clouddns",
        "/plugin/nomad",
        "/plugin/route53",
        "/plugin/trace",
        "/backend/tencentvpc",
        "/backend/udp",
    ),
    tags=TELEGRAF_TAGS,
    stamp=" ".join(
        (
            f"-X {_CRI_TOOLS}/pkg/version.Version={versions.CRI_TOOLS}",
            f"-X {_FLANNEL}/pkg/version.Version={versions.FLANNEL}",
            f"-X {_TELEGRAF}/internal.Version={versions.TELEGRAF.lstrip('v')}",
        )
    ),
)
