"""The kubelet's command line: which flags this release knows, and which of a machine's own would change what kubeadm sets up.

Sources: `kubelet --help` of 1.35 and 1.36, which have the same flags, and what later releases dropped (changes.py); kubeadm's drop-in, in
which KUBELET_EXTRA_ARGS come last and win (kubernetes.io "Configuring each kubelet in your cluster using kubeadm"); kubernetes 86760,
115824, kubeadm 1927.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ..inventory import Node
from ..inventory.settings import Settings
from ..nodes.facts import KUBELET_ENV, KUBELET_FLAGS_FILE, KubeletLine, NodeFacts
from ..records import dataclass
from .changes import CHANGES, numbers

_FLAGS = """
address allowed-unsafe-sysctls anonymous-auth application-metrics-count-limit authentication-token-webhook authentication-token-webhook-cache-ttl
authorization-mode authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl boot-id-file bootstrap-kubeconfig
cert-dir cgroup-driver cgroup-root cgroups-per-qos client-ca-file cloud-provider cluster-dns cluster-domain config config-dir container-hints
container-log-max-files container-log-max-size container-runtime-endpoint containerd containerd-namespace contention-profiling cpu-cfs-quota
cpu-cfs-quota-period cpu-manager-policy cpu-manager-policy-options cpu-manager-reconcile-period enable-controller-attach-detach
enable-debugging-handlers enable-load-reader enable-server enforce-node-allocatable event-burst event-qps event-storage-age-limit
event-storage-event-limit eviction-hard eviction-max-pod-grace-period eviction-minimum-reclaim eviction-pressure-transition-period eviction-soft
eviction-soft-grace-period exit-on-lock-contention experimental-allocatable-ignore-eviction experimental-mounter-path fail-cgroupv1 fail-swap-on
feature-gates file-check-frequency global-housekeeping-interval hairpin-mode healthz-bind-address healthz-port help hostname-override
housekeeping-interval http-check-frequency image-credential-provider-bin-dir image-credential-provider-config image-gc-high-threshold
image-gc-low-threshold image-service-endpoint kernel-memcg-notification kube-api-burst kube-api-content-type kube-api-qps kube-reserved
kube-reserved-cgroup kubeconfig kubelet-cgroups local-storage-capacity-isolation lock-file log-cadvisor-usage log-flush-frequency
log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size log-text-split-stream logging-format machine-id-file
make-iptables-util-chains manifest-url manifest-url-header max-open-files max-pods maximum-dead-containers maximum-dead-containers-per-container
memory-manager-policy minimum-container-ttl-duration minimum-image-ttl-duration node-ip node-labels node-status-max-images
node-status-update-frequency oom-score-adj pod-cidr pod-manifest-path pod-max-pids pods-per-core port protect-kernel-defaults provider-id
qos-reserved read-only-port register-node register-with-taints registry-burst registry-qps reserved-cpus reserved-memory resolv-conf root-dir
rotate-certificates rotate-server-certificates runonce runtime-cgroups runtime-request-timeout seccomp-default serialize-image-pulls
storage-driver-buffer-duration storage-driver-db storage-driver-host storage-driver-password storage-driver-secure storage-driver-table
storage-driver-user streaming-connection-idle-timeout sync-frequency system-cgroups system-reserved system-reserved-cgroup tls-cert-file
tls-cipher-suites tls-min-version tls-private-key-file topology-manager-policy topology-manager-policy-options topology-manager-scope v version
vmodule volume-plugin-dir volume-stats-agg-period
"""
FLAGS = frozenset(_FLAGS.split())


def known_flags(minor: str) -> frozenset[str]:
    """The flags that the kubelet of a minor release has ("1.37"); of one without a table, as those of the one before."""
    gone = (change.kubelet_flags for release, change in CHANGES.items() if numbers(release) <= numbers(minor))
    return FLAGS.difference(*gone)


# What the kubelet said last, if kubeadm has configured it and it does not answer: its own reason why it does not start.
SAYS = (
    '[ ! -e /var/lib/kubelet/config.yaml ] || [ "$(curl -s --max-time 3 http://127.0.0.1:10248/healthz)" = ok ] || '
    "journalctl -u kubelet -n 300 --no-pager -o cat 2>&1 | grep -E '^[EF][0-9]{4} ' | tail -n 1 | "
    "sed 's/^/the kubelet does not run; it said last: /'"
)


@dataclass(frozen=True)
class Flag:
    """A flag that a machine's own file gives the kubelet; `value` is None where it has none."""

    file: str
    line: int
    name: str
    value: str | None

    def __str__(self) -> str:
        return f"--{self.name}" + (f"={self.value}" if self.value is not None else "")


_FLAG = re.compile(
    r"""(?<![\w-])--([A-Za-z0-9][A-Za-z0-9_.-]*)(?:=("[^"]*"|'[^']*'|[^\s"']*)|[ ]+(?!-)([^\s"'$-][^\s"']*))?"""
)
_EXTRA = re.compile(r"\s*(?:export\s+)?KUBELET_EXTRA_ARGS\s*=")


def flags(lines: Iterable[KubeletLine]) -> Iterator[Flag]:
    """The flags in effect: of a file of variables, those in the last KUBELET_EXTRA_ARGS, which is all that the package's unit reads of it."""
    lines = [line for line in lines if not line.text.lstrip().startswith(("#", ";"))]
    last = {line.file: line.line for line in lines if _EXTRA.match(line.text)}
    for line in lines:
        if line.file not in KUBELET_ENV or last.get(line.file) == line.line:
            for name, joined, apart in _FLAG.findall(line.text):
                yield Flag(line.file, line.line, name.replace("_", "-"), (joined or apart).strip("\"'") or None)


def unsuited(
    node: Node, facts: NodeFacts, settings: Settings, *, minor: str, member: bool, debian: bool
) -> list[tuple[str, str]]:
    """What keeps the kubelet from starting, or from being this node's, as (file, sentence); empty for a kubelet that runs.

    `minor` is the release ("1.36"). kubeadm writes its own flags again at each init and join: they are looked at on a member only.
    """
    if facts.unit("kubelet").active:
        return []
    unread = {KUBELET_ENV[1] if debian else KUBELET_ENV[0], *(() if member else (KUBELET_FLAGS_FILE,))}
    lines = [line for line in facts.kubelet if line.file not in unread]
    found = [
        (line.file, f"{line.file}:{line.line} starts {program[1]} instead of /usr/bin/kubelet")
        for line in lines
        if (program := _OTHER.match(line.text))
    ]
    wanted, known = _wanted(node, facts, settings), known_flags(minor)
    for flag in flags(lines):
        where = f"{flag.file}:{flag.line} gives the kubelet {flag}"
        if flag.name not in known:
            found.append((flag.file, f"{where}, which Kubernetes {minor} does not know"))
        elif (
            flag.name in wanted
            and flag.value is not None
            and "$" not in flag.value
            and not set(flag.value.split(",")) & set(wanted[flag.name])
        ):
            found.append((flag.file, f"{where}, and in this cluster it is {wanted[flag.name][0]}"))
    return found


_OTHER = re.compile(r"\s*ExecStart\s*=\s*[-@:+!]*(?!/usr/bin/kubelet(?:\s|$))([^\s$]\S*)")


def _wanted(node: Node, facts: NodeFacts, settings: Settings) -> dict[str, Sequence[str]]:
    """Flags that would change what kubeadm sets up, with the values that would not."""
    return {
        "hostname-override": (facts.hostname,),
        "node-ip": (node.address,),
        "container-runtime-endpoint": (
            "unix:///run/containerd/containerd.sock",
            "unix:///var/run/containerd/containerd.sock",
        ),
        "cgroup-driver": (str(settings.kubelet_config.get("cgroupDriver", "systemd")),),
        "config": ("/var/lib/kubelet/config.yaml",),
        "kubeconfig": ("/etc/kubernetes/kubelet.conf",),
        "bootstrap-kubeconfig": ("/etc/kubernetes/bootstrap-kubelet.conf",),
        "pod-manifest-path": ("/etc/kubernetes/manifests",),
        "root-dir": ("/var/lib/kubelet",),
        "register-node": ("true",),
        "cluster-domain": (settings.dns_domain,),
        "cluster-dns": (str(settings.service_cidr[10]),) if settings.service_cidr.num_addresses > 10 else (),
    }
