"""Phase 8: take it all back, ours only, then prove it (manual "Kubernetes Cluster 초기화", digest X1, X2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..context import Context
from ..facts import LINKS, STATE, TRACES, NodeFacts
from ..firewall import NETWORK, without_ours
from ..recipes.modern import CERTS, SOCKET
from ..recipes.packages import WANTED, family
from ..steps import Action, Step, Stop, command
from .leave import leave
from .prep import MODULES, SYSCTL

# What a pod's own files look like that are mounted once more, by subPath. A hostPath's, which is somebody's data, does not.
_POD_FILES = re.compile(r"/pods/[^/]+/volumes/kubernetes\.io~(configmap|secret|projected|downward-api|empty-dir)/")


def reset(ctx: Context) -> Iterator[Action]:
    """Node object, kubeadm reset, what kubeadm leaves, firewall rules by our marks, swap and sysctls as they were."""
    facts = ctx.facts
    purging = ctx.choices.purge and any(name in facts.packages for name in WANTED)
    if not residue(facts) and not _ours(ctx) and not purging:
        return
    foreign = [mount for mount in facts.mounts if mount.kind not in ("tmpfs", "overlay", "shm") and not _POD_FILES.search(mount.root)]
    if foreign:
        yield Stop(
            "reset.volumes",
            f"a volume is mounted under the kubelet's folder: {foreign[0].kind} at {foreign[0].target}",
            "its data is not ours to delete: delete or drain the pods that use it (`kubectl drain`), then run this again",
        )
        return
    if not ctx.node.control_plane and not ctx.choices.whole_cluster:
        yield from leave(ctx)
    if "kubeadm" in facts.packages:
        yield Step(
            "reset.kubeadm",
            "kubeadm reset",
            (
                # a kubelet that still runs brings pods back while they are being removed
                "systemctl stop kubelet || true",
                f"kubeadm reset -f --cri-socket {SOCKET} --cleanup-tmp-dir",
                "systemctl stop kubelet || true",
                f"crictl --runtime-endpoint {SOCKET} rmp -fa >/dev/null 2>&1 || true",
            ),
            timeout=300,
            hint="`journalctl -u containerd -n 50` if pods cannot be removed; then run this again",
        )
    yield Step("reset.mounts", "unmount what the kubelet mounted", (_UNMOUNT,), hint="something still uses the mount: `fuser -vm …` names it")
    yield Step(
        "reset.network",
        "interfaces and firewall rules",
        (
            *(f"ip link show dev {name} >/dev/null 2>&1 && ip link delete {name} || true" for name in LINKS),
            *(without_ours(tool) for tool in ("iptables", "ip6tables")),
            "for t in 'ip kube-proxy' 'ip6 kube-proxy' 'ip flannel-ipv4' 'ip6 flannel-ipv6'; do nft delete table $t 2>/dev/null || true; done",
        ),
    )
    yield Step("reset.files", "files of the cluster", _removals(ctx))
    yield Step("reset.undo", "swap and sysctls as they were before", _UNDO)
    if not ctx.choices.keep_images and "containerd.io" in facts.packages:
        yield Step("reset.images", "images", (f"crictl --runtime-endpoint {SOCKET} rmi -a >/dev/null 2>&1 || true",), timeout=180)
    packages = family(facts)
    if purging and packages:
        yield from packages.purge(facts, ctx.recipe)


def residue(facts: NodeFacts) -> list[str]:
    """What an observed node still shows of a cluster; empty means clean. The audit after reset prints this."""
    found = [f"interface {name}" for name in LINKS if name in facts.links]
    found += [f"file {path}" for path in sorted(facts.traces) if path in TRACES]
    found += [f"process {name}" for name in facts.processes if name != "kubeadm"]
    found += [f"mount {mount.target}" for mount in facts.mounts]
    if facts.firewall_rules:
        found.append(f"{facts.firewall_rules} firewall rules of kube-proxy, flannel or CNI")
    found += [f"nft table {table}" for table in facts.nft_tables]
    if facts.pods:
        found.append(f"{facts.pods} pod sandboxes in containerd")
    return found


def _ours(ctx: Context) -> list[str]:
    """Files that we wrote to this node outside the packages."""
    paths = (MODULES.path, SYSCTL.path, *(f.path for f in ctx.recipe.registry_files()))
    return [path for path in paths if path in ctx.facts.files]


def _removals(ctx: Context) -> tuple[str, ...]:
    registries = (ctx.settings.registry, *ctx.settings.registry_mirrors) if ctx.settings.registry else ()
    return (
        "rm -rf /etc/kubernetes/manifests/*.yaml /etc/kubernetes/pki /etc/kubernetes/*.conf /etc/kubernetes/tmp",
        "rm -rf --one-file-system /var/lib/etcd/member /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env "
        "/var/lib/kubelet/pki /var/lib/kubelet/pods /var/lib/kubelet/plugins /var/lib/kubelet/*_state /var/lib/kubelet/actuated_pods_state "
        "/var/lib/kubelet/allocated_pods_state",
        f"rm -rf /etc/cni/net.d/10-flannel.conflist /var/lib/cni/flannel /var/lib/cni/networks/{NETWORK} /var/lib/cni/results/{NETWORK}-* "
        "/run/flannel /opt/cni/bin/flannel",  # flannel's own pod put that plugin there
        "rmdir /var/lib/cni/results /var/lib/cni/networks /var/lib/cni 2>/dev/null || true",
        "rm -f /run/kubefab-init.yaml /run/kubefab-join.yaml /run/kubefab-token.yaml",
        *(command("rm", "-rf", f"{CERTS}/{name}") for name in registries),
    )


_UNMOUNT = (
    "awk '$2 ~ \"^/var/lib/kubelet/\" {print length($2), $2}' /proc/mounts | sort -rn | cut -d' ' -f2- | "
    'while read -r m; do umount "$m"; done'
)
_UNDO = (
    f"if [ -s {STATE}/sysctl ]; then sysctl -q -p {STATE}/sysctl || true; fi",
    f"rm -f {MODULES.path} {SYSCTL.path}",
    "sed -i 's/^#kubefab# //' /etc/fstab",
    f"if [ -s {STATE}/swapunits ]; then while read -r what u; do systemctl \"$what\" \"$u\" || true; done < {STATE}/swapunits; fi",
    f"if [ -s {STATE}/swaps ] || [ -s {STATE}/swapunits ]; then systemctl daemon-reload; fi",
    f"if [ -s {STATE}/swaps ]; then cut -d' ' -f1 {STATE}/swaps | while read -r s; do swapon \"$s\" || true; done; fi",
    f"rm -rf {STATE}",
)
