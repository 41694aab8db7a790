"""Phase 8: remove the cluster from a node, only what is ours, then prove it (manual "Kubernetes Cluster 초기화", digest X1, X2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..context import Context
from ..identity import ETCD_DATA, OWN_ETCD, RESETTING, evidence, own_etcd
from ..manifests import VOLUME
from ..nodes.facts import LINKS, STATE, TRACES, NodeFacts
from ..nodes.firewall import NETWORK, WITHOUT_TABLES, without_ours
from ..nodes.keeping import CONTAINERD_CONFIG, GIVE_BACK, HEAD, INDEX
from ..recipes.flannel import WITHOUT_LINKS
from ..recipes.kubeadm import CERTS, CRICTL, SOCKET
from ..recipes.packages import Family, family, purgeable, to_unhold
from ..steps import Action, Step, Stop, command
from .leave import leave
from .prep import MODULES, SYSCTL

# Mounts of a pod's own files by subPath look like this. A mount of a hostPath, which is the user's data, does not.
_POD_FILES = re.compile(r"/pods/[^/]+/volumes/kubernetes\.io~(configmap|secret|projected|downward-api|empty-dir)/")
# InfluxDB's folder is ours and is deleted with the cluster.
_METRICS = re.compile(rf"/volumes/kubernetes\.io~local-volume/{VOLUME}$")


def reset(ctx: Context) -> Iterator[Action]:
    """Node object, kubeadm reset, what kubeadm leaves, firewall rules by our marks, swap and sysctls as they were.

    guard.py has checked that the machine is ours, or was named by the operator, or has nothing of a cluster. The identity file is
    deleted last, with our folder, so that a machine whose reset was cut short is still recognised as ours.
    """
    facts = ctx.facts
    taken = bool(evidence(facts) or facts.identity.environment)
    packages = family(facts)
    purging = ctx.choices.purge and packages is not None and _purgeable(ctx, packages)
    if not taken and not _noted(facts) and not _ours(ctx) and not purging:
        return
    foreign = [
        mount
        for mount in facts.mounts
        if mount.kind not in ("tmpfs", "overlay", "shm")
        and not _POD_FILES.search(mount.root)
        and not _METRICS.search(mount.target)
    ]
    if foreign:
        yield Stop(
            "reset.volumes",
            f"a volume is mounted under the kubelet's folder: {foreign[0].kind} at {foreign[0].target}",
            "its data is not ours to delete: delete the pods that use it, then run this again",
        )
        return
    if taken:
        yield from _off(ctx)
    # images are removed while containerd still has our configuration
    if taken and not ctx.choices.keep_images and "containerd.io" in facts.packages:
        yield Step(
            "reset.images",
            "images",
            (f"{CRICTL} rmi -a >/dev/null 2>&1 || true",),
            timeout=180,
        )
    # packages are purged before earlier files are restored: a package removes its configuration files, even restored ones
    if purging and packages:
        yield from packages.purge(facts)
    unhold = to_unhold(facts)
    yield Step("reset.undo", _undone(facts), (*((command("apt-mark", "unhold", *unhold),) if unhold else ()), *UNDO))


def _off(ctx: Context) -> Iterator[Action]:
    """Remove the cluster from the machine."""
    facts = ctx.facts
    if not ctx.node.control_plane and not ctx.choices.whole_cluster:
        yield from leave(ctx)
    begun = (f"install -d -m 0700 {STATE}", f"touch {STATE}/{RESETTING}")
    if "kubeadm" in facts.packages:
        yield Step(
            "reset.kubeadm",
            "kubeadm reset",
            (
                *begun,
                # a kubelet that still runs would start pods again while they are being removed
                "systemctl stop kubelet || true",
                # kubeadm removes one pod after the other, crictl side by side; a whole node's at once could outlast its timeout
                f"{CRICTL} pods -q | xargs -r -n 16 {CRICTL} rmp -f >/dev/null 2>&1 || true",
                *kubeadm_reset(facts, " --cleanup-tmp-dir"),
                "systemctl stop kubelet || true",
                f"{CRICTL} rmp -fa >/dev/null 2>&1 || true",
            ),
            timeout=300,
            hint="`journalctl -u containerd -n 50` if pods cannot be removed; then run this again",
        )
    elif own_etcd(facts):
        yield Step("reset.etcd", "etcd's data", (*begun, _NO_ETCD))
    yield Step(
        "reset.mounts",
        "unmount what the kubelet mounted",
        (_UNMOUNT,),
        hint="something still uses the mount: `fuser -vm MOUNT` names it",
    )
    yield Step(
        "reset.network",
        "interfaces and firewall rules",
        (
            *WITHOUT_LINKS,
            *(without_ours(tool) for tool in ("iptables", "ip6tables")),
            WITHOUT_TABLES,
        ),
    )
    yield Step("reset.files", "files of the cluster", _removals(ctx))


def kubeadm_reset(facts: NodeFacts, options: str = "") -> tuple[str, ...]:
    """`kubeadm reset` without its etcd step, which empties /var/lib/etcd also where the data are another owner's (kubernetes/kubeadm#3225).

    etcd's data are deleted only where kubeadm's manifest shows that they are its own. A mark keeps that proof, because kubeadm
    deletes the manifest first. Nor does kubeadm ask the API that admin.conf names, for a configuration that only the etcd step reads.
    """
    line = f"kubeadm reset -f --cri-socket {SOCKET} --kubeconfig /dev/null --skip-phases=remove-etcd-member{options}"
    if not own_etcd(facts):
        return (line,)
    mark = f"{STATE}/{OWN_ETCD}"
    return (f"install -d -m 0700 {STATE}", f"touch {mark}", line, _NO_ETCD, f"rm -f {mark}")


def _noted(facts: NodeFacts) -> bool:
    """Whether our folder is there for another reason than a disk of InfluxDB's own, which stays mounted in it."""
    return STATE in facts.traces and not (facts.metrics_disk and facts.undo <= {"influxdb"})


def _known(facts: NodeFacts) -> set[str]:
    """The paths that reset deletes."""
    others = {STATE} if not _noted(facts) else set()
    return set(TRACES) - others - (set() if own_etcd(facts) else {ETCD_DATA})


def residue(facts: NodeFacts) -> list[str]:
    """What an observed node still shows of a cluster; empty means clean. The audit after reset prints this."""
    found = [f"interface {name}" for name in LINKS if name in facts.links]
    found += [f"file {path}" for path in sorted(facts.traces) if path in _known(facts)]
    own = {"kubeadm"} if not facts.others else {"kubeadm", "etcd"}  # an etcd that is a service of its own stays
    found += [f"process {name}" for name in facts.processes if name not in own]
    found += [f"mount {mount.target}" for mount in facts.mounts]
    if facts.firewall_rules:
        found.append(f"{facts.firewall_rules} firewall rules of kube-proxy, flannel or CNI")
    found += [f"nft table {table}" for table in facts.nft_tables]
    if facts.pods:
        found.append(f"{facts.pods} pod sandboxes in containerd")
    return found


def _ours(ctx: Context) -> list[str]:
    """Files on this node that we wrote, recognised by their names or by their content."""
    facts = ctx.facts
    registries = [f.path for f in ctx.recipe.registry_files() if facts.has_file(f.path, f.sha256, f.mode)]
    return [path for path in (MODULES.path, SYSCTL.path) if path in facts.files] + registries


def _purgeable(ctx: Context, packages: Family) -> bool:
    return bool(purgeable(ctx.facts)) or any(
        f.path in ctx.facts.files for f in packages.repository_files(ctx.facts, ctx.recipe)
    )


def _undone(facts: NodeFacts) -> str:
    """The step's title. It also says what is left and why, because the title is all that is shown of a step that succeeds."""
    changed = sorted(path for path, state in facts.kept.items() if state == "changed")
    left = f"; changed by others since, so left: {', '.join(changed)}" if changed else ""
    disk = (
        f"; {STATE}/influxdb is a disk of its own: its metrics are deleted, it stays mounted"
        if facts.metrics_disk
        else ""
    )
    return f"files, swap, sysctls and units as they were before{left}{disk}"


def _removals(ctx: Context) -> tuple[str, ...]:
    return (
        "rm -rf /etc/kubernetes/manifests/*.yaml /etc/kubernetes/pki /etc/kubernetes/*.conf /etc/kubernetes/tmp",
        "rm -rf --one-file-system /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env "
        "/var/lib/kubelet/pki /var/lib/kubelet/pods /var/lib/kubelet/plugins /var/lib/kubelet/*_state /var/lib/kubelet/actuated_pods_state "
        "/var/lib/kubelet/allocated_pods_state",
        f"rm -rf /etc/cni/net.d/10-flannel.conflist /var/lib/cni/flannel /var/lib/cni/networks/{NETWORK} /var/lib/cni/results/{NETWORK}-* "
        "/run/flannel /opt/cni/bin/flannel",  # flannel's own pod put that plugin there
        "rmdir /var/lib/cni/results /var/lib/cni/networks /var/lib/cni 2>/dev/null || true",
        "rm -f /run/kubefab-init.yaml /run/kubefab-join.yaml /run/kubefab-token.yaml",
    )


_NO_ETCD = f"rm -rf --one-file-system {ETCD_DATA}"
_UNMOUNT = (
    "awk '$2 ~ \"^/var/lib/kubelet/\" {print length($2), $2}' /proc/mounts | sort -rn | cut -d' ' -f2- | "
    'while read -r m; do umount "$m"; done'
)
UNDO = (
    f"if [ -s {STATE}/sysctl ]; then sysctl -q -p {STATE}/sysctl || true; fi",
    f"rm -f {MODULES.path} {SYSCTL.path}",
    "if grep -q '^#kubefab# ' /etc/fstab 2>/dev/null; then sed -i 's/^#kubefab# //' /etc/fstab; fi",
    *(
        f'if [ -s {STATE}/{name} ]; then while read -r what u; do systemctl "$what" "$u" || true; done < {STATE}/{name}; fi'
        for name in ("swapunits", "swapservices")
    ),
    f"if [ -s {STATE}/swaps ] || [ -s {STATE}/swapunits ]; then systemctl daemon-reload; fi",
    f"if [ -s {STATE}/swaps ]; then cut -d' ' -f1 {STATE}/swaps | while read -r s; do swapon \"$s\" || true; done; fi",
    f"if grep -qx file {STATE}/selinux 2>/dev/null; then sed -i 's/^SELINUX=permissive$/SELINUX=enforcing/' /etc/selinux/config; fi",
    f'if [ -s {STATE}/selinux ] && [ "$(getenforce)" = Permissive ]; then setenforce 1 || true; fi',
    # a hosts.toml that an earlier kubefab wrote, for any registry, is recognised by its first line
    f'for f in {CERTS}/*/hosts.toml; do if ! grep -qxF "$f" {INDEX} 2>/dev/null && head -n 1 "$f" 2>/dev/null | grep -qxF \'{HEAD}\'; '
    'then rm -f "$f"; fi; done',
    f"if grep -qxF {CONTAINERD_CONFIG} {INDEX} 2>/dev/null; then touch {STATE}/restart-containerd; fi",
    f"if grep -q '^/etc/systemd/' {INDEX} 2>/dev/null; then touch {STATE}/reload-units; fi",
    *GIVE_BACK,
    f"if [ -e {STATE}/reload-units ]; then systemctl daemon-reload; fi",
    f"if [ -e {STATE}/restart-containerd ]; then systemctl try-restart containerd || true; fi",
    f'if [ -s {STATE}/units ]; then while read -r u enabled active; do if [ "$enabled" = disabled ]; then systemctl disable "$u" || true; '
    f'if [ "$active" = inactive ]; then systemctl stop "$u" || true; fi; fi; done < {STATE}/units; fi',
    f"if mountpoint -q {STATE}/influxdb 2>/dev/null; then rm -rf {STATE}/influxdb/data {STATE}/influxdb/meta {STATE}/influxdb/wal; fi",
    f'for f in {STATE}/*; do if [ "$f" != {STATE}/influxdb ] || ! mountpoint -q "$f"; then rm -rf "$f"; fi; done',
    f"if ! mountpoint -q {STATE}/influxdb 2>/dev/null; then rm -rf {STATE}; fi",
)
