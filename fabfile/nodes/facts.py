"""What one node is like, as observed: everything that phases decide from. `observe.py` asks and parses it.

Nothing is remembered between runs: state is observed each time.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any, Literal

from ..records import dataclass
from ..text import forms
from ..text.forms import FormError, Hostname
from . import keeping
from .filters import Chain
from .influx import Retention
from .keeping import KeptState
from .sources import Source

# --- what is looked for on a node

PACKAGES = (
    "containerd.io",
    "containerd",
    "docker.io",
    "docker-ce",
    "runc",
    "kubelet",
    "kubeadm",
    "kubectl",
    "kubernetes-cni",
    "cri-tools",
)
SYSCTLS = ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
# As sysctl files may name them; conf.all.forwarding is another name of ip_forward.
SYSCTL_KEYS = {key: key for key in SYSCTLS} | {"net.ipv4.conf.all.forwarding": SYSCTLS[0]}
UNITS = ("containerd", "kubelet", "docker")
LINKS = ("cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "kube-ipvs0")
# Services that make swap at boot: of zram-tools, zram-config, dphys-swapfile, swapspace, and zram-swap (kubernetes 34726).
SWAP_SERVICES = (
    "zramswap.service",
    "zram-config.service",
    "dphys-swapfile.service",
    "swapspace.service",
    "zram-swap.service",
)
# Swap units that the next boot starts: of generators (fstab, GPT, zram) and enabled ones, less what is masked; and such services.
GENERATED_SWAP = (
    'for f in /run/systemd/generator*/*.swap /etc/systemd/system/*.wants/*.swap; do [ -e "$f" ] || continue; '
    'u=$(basename "$f"); [ "$(readlink "/etc/systemd/system/$u")" = /dev/null ] || echo "$u"; done'
)
SWAP_UNITS = (
    f"{{ {GENERATED_SWAP}; "
    f'for u in {" ".join(SWAP_SERVICES)}; do if systemctl is-enabled -q "$u" 2>/dev/null; then echo "$u"; fi; done; }} | sort -u'
)
STATE = keeping.STATE
METRICS = f"{STATE}/influxdb"  # on the control plane: InfluxDB's data
IDENTITY = f"{STATE}/identity"  # there too: which cluster's node it is
# What else may run a cluster on a machine, by its services and by what it leaves on the disk.
OTHER_UNITS = (
    "k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service", "snap.microk8s.*.service", "k0scontroller.service",
    "k0sworker.service", "etcd.service", "patroni.service",
)  # fmt: skip
# Files in which an operator sets proxies, for services and for people (systemd.exec(5), environment(5), sudoers(5)).
PROXY_FILES = (
    "/etc/environment", "/etc/sudoers", "/etc/sudoers.d/*", "/etc/systemd/system.conf", "/etc/systemd/system.conf.d/*.conf",
    "/etc/systemd/system/containerd.service.d/*.conf", "/etc/systemd/system/kubelet.service.d/*.conf", "/etc/default/kubelet",
    "/etc/sysconfig/kubelet",
)  # fmt: skip
OTHER_PATHS = (
    "/var/lib/rancher/k3s", "/var/lib/rancher/rke2", "/var/snap/microk8s", "/var/lib/k0s", "/var/lib/docker/swarm/docker-state.json",
)  # fmt: skip
# Where Kubernetes' packages came from before pkgs.k8s.io. These repositories were frozen in September 2023 and removed in March 2024
# (kubernetes.io/blog/2023/08/31/legacy-package-repository-deprecation).
OLD_REPOSITORIES = (
    "apt.kubernetes.io",
    "packages.cloud.google.com/apt",
    "packages.cloud.google.com/yum/repos/kubernetes",
)
# What gives the kubelet flags beside kubeadm: the variables that the package's unit reads (of Debian's family, of RPMs), and kubeadm's own.
KUBELET_ENV = ("/etc/default/kubelet", "/etc/sysconfig/kubelet")
KUBELET_FLAGS_FILE = "/var/lib/kubelet/kubeadm-flags.env"
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
# where kubeadm keeps components' configurations: the ConfigMap, and the key in it
COMPONENT_MAPS = {"kubelet": ("kubelet-config", "kubelet"), "kube-proxy": ("kube-proxy", "config.conf")}
COMPONENT_PATCHES = {name: f"/run/kubefab-{name}.json" for name in COMPONENT_MAPS}  # what changes them
FOLLOWED = {f"followed-{name}": name for name in COMPONENT_MAPS}  # below STATE: what of hosts.env a component has taken
FLANNEL_FILE = "10-flannel.conflist"
PKI, ETCD_MANIFEST = "/etc/kubernetes/pki", "/etc/kubernetes/manifests/etcd.yaml"
API_CERTIFICATE, KUBELET_CERTIFICATE = (
    f"{PKI}/apiserver.crt",
    "/var/lib/kubelet/pki/kubelet-client-current.pem",
)
# kubeadm's authorities, and all that they sign; kubelet.conf counts while a certificate is in it, as before the kubelet's first rotation
AUTHORITIES = tuple(f"{PKI}/{name}.crt" for name in ("ca", "etcd/ca", "front-proxy-ca"))
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
CERTIFICATES = (
    *AUTHORITIES,
    API_CERTIFICATE,
    *(
        f"{PKI}/{name}.crt"
        for name in (
            "apiserver-kubelet-client", "apiserver-etcd-client", "front-proxy-client",
            "etcd/server", "etcd/peer", "etcd/healthcheck-client",
        )
    ),
    *(f"/etc/kubernetes/{name}.conf" for name in ("admin", "super-admin", "controller-manager", "scheduler")),
    KUBELET_CONF,
    KUBELET_CERTIFICATE,
)  # fmt: skip
# Paths that only a cluster leaves behind.
TRACES = (
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    KUBELET_CONF,
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    ETCD_MANIFEST,
    "/etc/kubernetes/manifests/etcd.json",
    "/var/lib/etcd/member",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/var/lib/kubelet/pki",
    f"/etc/cni/net.d/{FLANNEL_FILE}",
    "/var/lib/cni/flannel",
    "/var/lib/cni/networks/cbr0",
    "/run/flannel/subnet.env",
    STATE,
)


# --- what is found


@dataclass(frozen=True)
class Link:
    """A network interface: its addresses in prefix form and its MTU in bytes."""

    name: str
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    up: bool = True

    @property
    def ips(self) -> tuple[str, ...]:
        """Its addresses without their prefixes: ("10.2.0.11", "fe80::1")."""
        return tuple(address.split("/")[0] for address in self.addresses)


def link_with(links: Mapping[str, Link], address: str) -> Link | None:
    """The interface that has this address; None if none has."""
    return next((link for link in links.values() if address in link.ips), None)


@dataclass(frozen=True)
class Mount:
    """A mounted file system: its kind, where, and which of its folders (`/` is the whole of it)."""

    kind: str
    target: str
    root: str = "/"


@dataclass(frozen=True)
class Space:
    """The file system that a folder is on, or will be: where it is mounted, and its free KiB."""

    mount: str
    free_kib: int


@dataclass(frozen=True)
class SysctlLine:
    """A line that the next boot reads: the file, the name by which it is sorted, the line's number, the key of SYSCTLS and its value."""

    path: str
    name: str
    number: int
    key: str
    value: str


@dataclass(frozen=True)
class KubeletLine:
    """A line of a file from which the kubelet has flags: of its variables, of a unit or a drop-in under /etc/systemd."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class FileDigest:
    """A file's SHA-256 (hex) and mode ("644")."""

    sha256: str
    mode: str


@dataclass(frozen=True)
class Unit:
    """A systemd unit: whether it runs, and whether it starts at boot."""

    active: bool
    enabled: bool


@dataclass(frozen=True)
class SetProxy:
    """A variable of a proxy that a file on a node sets, without its login; `value` is empty where sudo only keeps it."""

    path: str  # "/etc/systemd/system/containerd.service.d/http-proxy.conf"
    name: Literal["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]
    value: str = ""  # "http://10.0.0.9:3128"


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Made:
    """What a control plane was made with, as its static pods and its kubelet run; empty, 0 or None where it does not show."""

    pod_cidrs: tuple[Network, ...] = ()
    service_cidrs: tuple[Network, ...] = ()
    dns_domain: str = ""
    api_port: int = 0
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None


@dataclass(frozen=True)
class Component:
    """The configuration of the kubelets or of kube-proxy as the cluster keeps it, and the version of the ConfigMap that has it."""

    config: Mapping[str, Any]
    version: str  # "4711": another one after each change


@dataclass(frozen=True)
class Identity:
    """What a node knows of its cluster: written by us on a machine that was free, before anything of a cluster was made there.

    `environment`, `endpoint` (host:port of the API), `node` and `role` are hosts.env's; `hostname` is the machine's then; `uid` is
    kube-system's, which is the cluster's for its life, `ca` the digest of its CA's key: empty until the cluster is there.
    An etcd cluster id would prove nothing: etcd derives it from its members' names and addresses, so a new, empty etcd has the same.
    """

    environment: str = ""
    endpoint: str = ""
    node: str = ""
    role: str = ""
    hostname: str = ""
    uid: str = ""
    ca: str = ""

    def text(self) -> str:
        """The file's content."""
        return json.dumps({key: value for key, value in asdict(self).items() if value}) + "\n"


@dataclass(frozen=True)
class Kubeconfig:
    """What a kubeconfig on a node says of its cluster: the name, host:port of the API, the digest of the CA's key."""

    cluster: str = ""
    server: str = ""
    ca: str = ""


@dataclass(frozen=True)
class Certificate:
    """When a certificate ends and begins, in seconds since 1970, and the names and addresses that it is for (subject alternative names).

    `digest` is the SHA-256 of the whole of it; `authority` is the file of AUTHORITIES whose key signed it, "" for any other.
    `written` and `key` are when its file and its key's file were written, by the node's clock; 0 where there is none.
    """

    ends: float
    names: tuple[str, ...] = ()
    begins: float = 0.0
    digest: str = ""
    authority: str = ""
    written: float = 0.0
    key: float = 0.0


@dataclass(frozen=True)
class Applied:
    """An object of the operator's own add-ons as the API has it; `fault` says why a workload is not rolled out, "" if it is."""

    addon: str  # "10-ingress": the file's name, by our label; empty where it lacks that
    stamp: str  # "1f0c9d2a7b3e4f50": the digest of what was applied
    group: str  # "apps"; empty for the core group
    kind: str
    namespace: str  # empty for kinds that have none
    name: str
    fault: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Group, kind, namespace and name; `default` where there is no namespace (see inventory/beside.py)."""
        return self.group, self.kind, self.namespace or "default", self.name

    @property
    def title(self) -> str:
        return f"{self.kind} {f'{self.namespace}/' if self.namespace else ''}{self.name}"


Ready = Literal["True", "False", "Unknown", ""]  # the Ready condition of a node or pod in the API; empty: it has none


def ready(item: Mapping[str, Any]) -> Ready:
    """The Ready condition of a Node or a Pod; "Unknown" of a node from which the API hears no more."""
    found = {c["type"]: c["status"] for c in item.get("status", {}).get("conditions", ())}.get("Ready")
    return found if found in ("True", "False", "Unknown") else ""


@dataclass(frozen=True)
class NodeFacts:
    """What one node is like at one moment; each field with an example. What was not found is empty, 0, False or None."""

    # the system
    os_id: str = ""  # "ubuntu": ID of os-release
    os_version: str = ""  # "24.04"
    os_codename: str = ""  # "noble"
    os_like: tuple[str, ...] = ()  # ("debian",): ID_LIKE
    os_name: str = ""  # "Ubuntu 24.04.1 LTS", for people
    hostname: Hostname = forms.UNNAMED  # "ip-10-2-0-11"
    kernel: str = ""  # "6.8.0-1016-aws"
    arch: str = ""  # "x86_64"
    cpus: int = 0  # 2
    memory_kib: int = 0  # 3964016
    disks: Mapping[str, Space] = field(default_factory=dict)  # {"/var/lib/kubelet": Space("/", 27262976)}: by folder
    machine_id: str = ""  # "4c1f0e0a5d6b4e0c9a1b2c3d4e5f6a7b"
    product_uuid: str = ""  # "ec2a1b2c-3d4e-5f6a-7b8c-9d0e1f2a3b4c"
    boot_id: str = ""  # "8d2f6f3e-6f0b-4a57-9a55-0c5b3f0e7a11": another after each boot
    init: int = (
        0  # 21: when its first process began, in ticks since its kernel's boot; another after each boot of a container
    )
    now: float = 0.0  # 1763985600.25: its clock, in seconds since 1970
    ahead: tuple[float, float] = (
        0.0,
        0.0,
    )  # (-0.3, 0.2): seconds that it is ahead of the operator's, at least and at most
    cgroup: str = ""  # "cgroup2fs" for version 2, "tmpfs" for version 1
    systemd: bool = True
    reboot_needed: bool = False
    bridge_netfilter: bool = False  # the kernel module br_netfilter is loaded
    overlay: bool = False  # the kernel knows overlayfs
    swaps: tuple[str, ...] = ()  # ("/dev/sdb1",): in use now
    fstab_swaps: tuple[str, ...] = ()  # ("/dev/sdb1 none swap sw 0 0",): lines of /etc/fstab
    swap_units: tuple[str, ...] = ()  # ("dev-sdb1.swap", "zramswap.service"): that the next boot starts
    sysctls: Mapping[str, str] = field(default_factory=dict)  # {"net.ipv4.ip_forward": "1"}
    sysctl_lines: tuple[
        SysctlLine, ...
    ] = ()  # (SysctlLine("/etc/sysctl.conf", "99-sysctl.conf", 12, "net.ipv4.ip_forward", "0"),)
    links: Mapping[str, Link] = field(default_factory=dict)  # {"ens5": Link("ens5", ("10.2.0.11/24",), 9001)}
    proxies: tuple[
        SetProxy, ...
    ] = ()  # (SetProxy("/etc/environment", "HTTP_PROXY", "http://10.0.0.9:3128"),): not ours
    resolvers: tuple[str, ...] = ()  # ("127.0.0.53",): of /etc/resolv.conf
    # packages, services, files
    packages: Mapping[str, str] = field(default_factory=dict)  # {"kubelet": "1.36.4-1.1"}
    held: frozenset[str] = frozenset()  # {"kubelet"}: held at their version
    units: Mapping[str, Unit] = field(default_factory=dict)  # {"kubelet": Unit(active=True, enabled=True)}
    files: Mapping[str, FileDigest] = field(default_factory=dict)  # {"/etc/crictl.yaml": FileDigest("9f86…", "644")}
    sources: tuple[
        Source, ...
    ] = ()  # (Source("/etc/apt/sources.list.d/docker.list", 1, "deb", "https://…"),): others' entries of our repositories
    keyrings: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # {"/etc/apt/keyrings/docker.asc": ("9DC8…",)}: that those name
    apt_fault: str = ""  # "Conflicting values set for …": why apt can read none of its lists; a member is not asked
    kubelet: tuple[KubeletLine, ...] = ()  # (KubeletLine("/etc/default/kubelet", 1, "KUBELET_EXTRA_ARGS=--v=2"),)
    kubelet_config: Mapping[str, Any] = field(
        default_factory=dict
    )  # {"maxPods": 50}: what /var/lib/kubelet/config.yaml says here
    docker: tuple[str, ...] = ()  # ("mysql",): containers that are not Kubernetes', where asked for; ("?",): no answer
    containerd: Mapping[str, Any] = field(
        default_factory=dict
    )  # {"root": "/data/containerd"}: see containerd.parse_containerd
    # what a cluster leaves on a machine
    traces: frozenset[str] = frozenset()  # {"/etc/kubernetes/admin.conf"}: those of TRACES that are there
    cni_files: tuple[
        str, ...
    ] = ()  # ("10-calico.conflist",): what containerd would read of other networks in /etc/cni/net.d
    mounts: tuple[Mount, ...] = ()  # (Mount("tmpfs", "/var/lib/kubelet/pods/…"),): under the kubelet's folder
    processes: tuple[str, ...] = ()  # ("etcd", "kubelet")
    firewall_rules: int = 0  # 42: of kube-proxy, flannel and our pod network
    nft_tables: tuple[str, ...] = ()  # ("ip kube-proxy",)
    filters: tuple[Chain, ...] = ()  # (Chain("nft", "inet", "fw", "forward", "forward", "drop"),): the host's own
    replaced: bool = False  # containerd runs another program than the one that is installed now
    pods: int = 0  # 5: sandboxes in containerd; a member is not asked
    images: frozenset[str] = frozenset()  # {"registry.k8s.io/pause:3.10.1"}; a member is asked only by what upgrades it
    digests: Mapping[str, str] = field(default_factory=dict)  # {"registry.k8s.io/…": "sha256:…"}, where asked for
    kubeadm_images: tuple[str, ...] = ()  # ("registry.k8s.io/etcd:3.6.6-0",): that its kubeadm would run, likewise
    ca_hash: str = ""  # "sha256:2f1a…": of the cluster CA's public key, as kubeadm pins it
    made: Made = Made()  # what the control plane was made with
    kubeconfigs: Mapping[str, Kubeconfig] = field(default_factory=dict)  # by "admin", "kubelet", "bootstrap-kubelet"
    certificates: Mapping[str, Certificate] = field(
        default_factory=dict
    )  # by file: those of CERTIFICATES that are there
    served: Mapping[str, Certificate] = field(
        default_factory=dict
    )  # {"127.0.0.1:2379": Certificate(…)}: what ports show, where asked for
    tokens: Mapping[str, str] = field(
        default_factory=dict
    )  # {"abcdef": "2026-11-25T12:00:00Z"}: join tokens, and when they end ("" never), where asked for
    running: Mapping[str, float] = field(
        default_factory=dict
    )  # {"etcd": 1763985600.25}: static pods, and when their containers began, likewise
    configured: Mapping[str, Any] = field(
        default_factory=dict
    )  # {"kind": "ClusterConfiguration", …}: of ConfigMap kubeadm-config
    manifests: Mapping[str, str] = field(
        default_factory=dict
    )  # {"etcd": "registry.k8s.io/etcd:3.6.8-0"}: static pods' images as their manifests have them, likewise
    api_release: str = ""  # "1.36.4": of the API server that answers, likewise
    proxy_image: str = ""  # "registry.k8s.io/kube-proxy:v1.36.4": of the DaemonSet, likewise
    components: Mapping[str, Component] = field(
        default_factory=dict
    )  # {"kubelet": Component({"maxPods": 50}, "4711")}: of the ConfigMaps that kubeadm makes
    etcd: tuple[str, ...] = ()  # ("member",): what is in /var/lib/etcd
    etcd_size: int = 0  # 20971520: bytes of its database
    others: tuple[str, ...] = ()  # ("unit k3s.service", "path /var/lib/k0s"): what else runs clusters there
    # what we noted there
    identity: Identity = Identity()  # which cluster it belongs to
    undo: frozenset[str] = frozenset()  # {"swap", "joined"}: names in /var/lib/kubefab, what reset has to take back
    followed: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # {"kubelet": {"maxPods": 50}}: what hosts.env said when it was taken
    kept: Mapping[str, KeptState] = field(default_factory=dict)  # {"/etc/crictl.yaml": "ours"}: files that we wrote
    before: Mapping[str, str] | None = None  # {"runc": "ii"}: our packages before us, "hi" held; None: not noted
    metrics_disk: bool = False  # InfluxDB's folder is a file system of its own
    # what the API on this control plane says
    api_ready: bool = False
    uid: str = ""  # "6f0c…-…": kube-system's, which is the cluster's
    nodes: tuple[Mapping[str, Any], ...] = ()  # ({"metadata": {"name": "ip-10-2-0-11"}},): see forms.NODE
    objects: tuple[Mapping[str, Any], ...] = ()  # our DaemonSets and Deployments: see forms.WORKLOAD
    addons: tuple[Applied, ...] = ()  # (Applied("10-ingress", "1f0c…", "apps", "Deployment", "web", "ingress"),)
    retention: Retention = field(default_factory=Retention)  # Retention(True, "720h0m0s", default=True)
    reporting: frozenset[str] = frozenset()  # {"ip-10-2-0-11"}: nodes whose metrics arrived in the last minute

    def __post_init__(self) -> None:
        """Check the host name's form, wherever the facts come from: it is used in shell lines. Raises FormError."""
        if self.hostname:
            object.__setattr__(self, "hostname", Hostname(self.hostname))

    @property
    def initialised(self) -> bool:
        """The API answers; admin.conf alone proves nothing, because kubeadm writes it early."""
        return self.api_ready

    @property
    def booted(self) -> str:
        """This boot, unlike every other one of the machine; a container's boot_id is its host's."""
        return f"{self.boot_id}.{self.init}"

    @property
    def joined(self) -> bool:
        """The kubelet has its own certificate and runs. Whether the API lists the node, only the control plane's facts say."""
        return KUBELET_CONF in self.traces and self.unit("kubelet").active

    @property
    def in_cluster(self) -> bool:
        """True if the node is or ever was a working member. An init or join that never completed does not count."""
        return self.initialised or self.joined or bool(self.undo & {"initialised", "joined"})

    @property
    def cluster_files(self) -> bool:
        """Whether a cluster's files are on the machine, of a member or not: what is looked for before they come cannot be asked any more."""
        return "/var/lib/kubelet/config.yaml" in self.traces or KUBELET_CONF in self.traces

    @property
    def debian_arch(self) -> str:
        """The processor's architecture by Debian's name, which Go uses too, like `amd64`; as the kernel has it where that is not known."""
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(self.arch, self.arch)

    @property
    def minor(self) -> str:
        """The minor release of the installed kubelet, like `1.36`; empty without one."""
        return ".".join(self.packages.get("kubelet", "").split(".")[:2])

    def release(self, package: str) -> str:
        """The Kubernetes release of an installed package, like `1.36.4`; empty without it."""
        return self.packages.get(package, "").split("-")[0]

    def unit(self, name: str) -> Unit:
        return self.units.get(name, Unit(False, False))

    def has_file(self, path: str, sha256: str, mode: str) -> bool:
        found = self.files.get(path)
        return found is not None and found.sha256 == sha256 and found.mode == mode.lstrip("0")

    def node_object(self, hostname: str) -> Mapping[str, Any] | None:
        """The API's Node of that name, as seen from this (control plane) node."""
        return next((n for n in self.nodes if n["metadata"]["name"] == hostname), None)

    @property
    def pod_cidrs(self) -> dict[str, Network]:
        """The part of the pod network that the API assigned to each node: {"ip-10-2-0-11": IPv4Network("10.44.1.0/24")}."""
        shares = {n["metadata"]["name"]: networks(str(n.get("spec", {}).get("podCIDR", ""))) for n in self.nodes}
        return {name: share[0] for name, share in shares.items() if share}

    def node_ready(self, hostname: str) -> bool:
        return self._ready(hostname) == "True"

    def kubelet_release(self, hostname: str) -> str:
        """The release of the kubelet that reports for a node, like `1.36.4`, as the API has it; empty where it does not."""
        info = (self.node_object(hostname) or {}).get("status", {}).get("nodeInfo", {})
        return forms.release(str(info.get("kubeletVersion", "")))

    def node_silent(self, hostname: str) -> bool:
        """The API has a Node of that name, but its kubelet no longer reports."""
        return self._ready(hostname) == "Unknown"

    def _ready(self, hostname: str) -> Ready:
        return ready(self.node_object(hostname) or {})


def networks(text: str) -> tuple[Network, ...]:
    """The ranges in a comma-separated list; none if any of them is malformed."""
    try:
        return tuple(ipaddress.ip_network(forms.network(word)) for word in text.split(",") if word)
    except FormError:
        return ()


def facts_of(seen: Mapping[str, object]) -> dict[str, NodeFacts]:
    """The facts in what a survey brought, by the node's name, without its errors."""
    return {name: facts for name, facts in seen.items() if isinstance(facts, NodeFacts)}
