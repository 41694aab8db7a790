"""Checks of one machine by itself: system, kernel, swap, memory, processor, disk, resolver, clock service, locks.

Sources: kubernetes.io "Installing kubeadm" (2 CPUs, 2 GB, swap, product_uuid); kubeadm's preflight (1700 MiB, 2 CPUs);
k8s.io/system-validators (kernel configuration readable, cgroups); kubelet eviction defaults (10 % nodefs, 15 % imagefs, 5 % inodes);
CoreDNS plugin/loop (resolver on a loopback address); KubeOne (nm-cloud-setup rewrites routes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ... import lasting
from ...identity import Kind, Verdict
from ...nodes.facts import SYSCTLS
from ...phases import BOOTSTRAP, for_release, guard
from ...phases.master import MINIMUM_MEMORY
from ...phases.prep import SYSCTL
from ...phases.suitable import lasting_faults, room
from ...recipes import proxies
from ...steps import Stop
from ...text.masking import Token
from .chart import Chart, Patient
from .finding import ERROR, NOTE, WARNING, Finding

GIB = 1 << 20  # KiB
_CODES = {
    "prep.system": "KF-OS-UNSUPPORTED",
    "prep.disk": "KF-DISK-FREE",
    "prep.overlap": "KF-NET-ROUTE",
    "prep.proxy": "KF-NET-PROXY",
    "prep.filter": "KF-NET-FILTER",
    "prep.boot": "KF-KRN-BOOT",
    "prep.clock": "KF-TIME-SKEW",
    "master.memory": "KF-MEM-SMALL",
    lasting.STOP: "KF-SET-LASTING",
}
_OWNER = {  # by Verdict.code
    "leftovers": "KF-OLD-LEFTOVERS",
    "address": "KF-SET-LASTING",
    "earlier": "KF-OWN-EARLIER",
    "empty": "KF-OWN-EMPTY",
    "lost": "KF-OWN-LOST",
    "renamed": "KF-OWN-RENAMED",
    "reset": "KF-OWN-RESET",
}
NEEDS_API = {"network.control-plane", "addons.control-plane"}  # true before every bootstrap


def refusals(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """What would make a phase refuse this node. The phases themselves are asked, so that doctor and phases always agree."""
    context = chart.context(patient)
    if not patient.node.control_plane and lasting.of_cluster(context):
        return  # the control plane's finding covers all nodes
    settings = chart.environment.settings
    if settings.release.token_in_inventory and not settings.token:
        key = f"{chart.environment.name.upper()}_TOKEN"
        why = f"hosts.env has no {key}, which init and join of 1.5 need"
        yield Finding("KF-TOK-NONE", NOTE if chart.running else ERROR, (), why, f"write {key}=… into hosts.local.env")
        # to ask the phases what they refuse; nothing is run
        stand_in = replace(settings, token=Token("000000.0000000000000000"))
        context = replace(context, environment=replace(chart.environment, settings=stand_in))
    verdict = guard.whose(context)
    for phase in for_release(chart.environment, BOOTSTRAP):
        if patient.node.role not in phase.roles:
            continue
        for action in phase.run(context):
            if isinstance(action, Stop) and not verdict.workable:  # the same from every phase
                if verdict.kind == Kind.UNKNOWN and chart.control is None and not patient.node.control_plane:
                    yield Finding(
                        "KF-OLD-UNKNOWN",
                        NOTE,
                        (patient.name,),
                        "only the control plane can say whether it belongs to this cluster",
                    )
                else:
                    yield Finding(_owner_code(patient, verdict), ERROR, (patient.name,), action.reason, action.remedy)
                return
            if action.id.endswith(".clock") and (action.id != "prep.clock" or not patient.node.control_plane):
                continue  # the clocks of all nodes were compared, more closely
            if isinstance(action, Stop) and action.id not in NEEDS_API | guard.BECAUSE_OF_CONTROL:
                code = _CODES.get(action.id, f"KF-STOP-{action.id.upper().replace('.', '-')}")
                yield Finding(code, ERROR, (patient.name,), action.reason, action.remedy)
                if action.id == lasting.STOP:  # the same from every phase
                    return
        if not patient.facts.os_id:  # the first phase has said that the system is unknown
            return


def _owner_code(patient: Patient, verdict: Verdict) -> str:
    """The code for a machine that is not free, or not as ours should be."""
    if verdict.kind == Kind.ELSE:
        return "KF-OWN-ELSE"
    if verdict.code == "foreign":
        return "KF-OLD-CONTROL" if patient.node.control_plane else "KF-OLD-CLUSTER"
    return _OWNER.get(verdict.code, "KF-OWN-BROKEN")


def machine(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """All checks of this topic on one node."""
    yield from _kernel(chart, patient)
    yield from _size(chart, patient)
    yield from _swap(chart, patient)
    yield from _resolver(chart, patient)
    yield from _services(chart, patient)
    yield from _ports(chart, patient)
    yield from _proxies(chart, patient)
    if patient.facts.cluster_files:  # elsewhere prep itself refuses
        for stop in lasting_faults(chart.context(patient), SYSCTL.path):
            yield Finding(_CODES[stop.id], ERROR, (patient.name,), stop.reason, stop.remedy)


def _kernel(chart: Chart, patient: Patient) -> Iterator[Finding]:
    facts, answers, name = patient.facts, patient.answers, (patient.name,)
    if facts.reboot_needed:
        yield Finding(
            "KF-OS-REBOOT",
            WARNING,
            name,
            "/var/run/reboot-required is there: a new kernel or library is not in use yet",
            "reboot before the bootstrap, not after",
        )
    needed = chart.environment.settings.release.cgroup
    if needed == 1 and facts.cgroup == "cgroup2fs":
        yield Finding(
            "KF-KRN-CGROUP",
            ERROR,
            name,
            "cgroup v2: the kubelet and Docker of 1.5 know v1 only (v2 came with 1.25)",
            "boot with systemd.unified_cgroup_hierarchy=0, or use a current release: KUBERNETES=1.36",
        )
    if needed == 2 and facts.cgroup != "cgroup2fs":
        allowed = chart.environment.settings.kubelet_config.get("failCgroupV1") is False
        yield Finding(
            "KF-KRN-CGROUP",
            NOTE if allowed else ERROR,
            name,
            f"cgroup v1 ({facts.cgroup or 'unknown'})"
            + (
                ", and the kubelet is set to accept it"
                if allowed
                else ": the kubelet of 1.35 and later does not start on it"
            ),
            ""
            if allowed
            else 'boot with systemd.unified_cgroup_hierarchy=1, or set KUBELET_CONFIG=\'{"failCgroupV1": '
            "false}' and IGNORE_PREFLIGHT=SystemVerification",
        )
    applied = patient.facts.unit("kubelet").active
    needs_sysctls = chart.environment.settings.release.runtime == "containerd"
    off = [key for key in SYSCTLS if facts.sysctls.get(key) != "1"]
    if applied and off and needs_sysctls:  # with Docker, that is Docker's business
        yield Finding(
            "KF-KRN-SYSCTL",
            ERROR,
            name,
            f"{', '.join(off)} not 1 on a node in use: pods cannot reach each other",
            f"`{chart.fab(patient, 'prep')}`",
        )
    if answers is None:
        return
    missing = [module for module, there in answers.modules.items() if not there]
    if missing and not (facts.bridge_netfilter and missing == ["br_netfilter"]):
        lacking = [m for m in missing if m != "br_netfilter" or not facts.bridge_netfilter]
        yield Finding(
            "KF-KRN-MODULE",
            WARNING,
            name,
            f"kernel {facts.kernel} does not offer {', '.join(lacking)} to modprobe",
            "EL 10: `dnf install kernel-modules-extra-$(uname -r)`; in a container the host must load it: `modprobe "
            + " ".join(lacking)
            + "`",
        )
    if not answers.kernel_config and "systemverification" not in {
        n.lower() for n in chart.environment.settings.ignore_preflight
    }:
        yield Finding(
            "KF-KRN-CONFIG",
            WARNING,
            name,
            "no readable kernel configuration: kubeadm's SystemVerification may fail",
            "`modprobe configs`, or install the kernel's config file to /boot",
        )
    if answers.selinux == "Enforcing":
        yield Finding(
            "KF-OS-SELINUX", NOTE, name, "SELinux is enforcing; install sets it to permissive, as kubeadm's page asks"
        )
    if answers.lock:
        yield Finding(
            "KF-PKG-LOCK",
            WARNING,
            name,
            f"{answers.lock} holds the package lock",
            "bootstrap waits for it; `systemctl status unattended-upgrades` shows how far it is",
        )


def _proxies(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """Proxies that the operator has set. One that stops a bootstrap is prep's to say, as long as prep would look at it."""
    for one in proxies.found(chart.environment, patient.facts):
        if one.reader and not patient.facts.cluster_files:
            continue
        who = one.reader or "what a person types there, kubectl say,"
        severity = WARNING if one.reader else NOTE
        yield Finding(
            "KF-NET-PROXY",
            severity,
            (patient.name,),
            f"{one.says}: {who} asks the proxy for what it does not know",
            one.remedy,
        )


def _size(chart: Chart, patient: Patient) -> Iterator[Finding]:
    facts, answers, name = patient.facts, patient.answers, (patient.name,)
    ignored = {check.lower() for check in chart.environment.settings.ignore_preflight}
    if facts.cpus < 2:
        needed = patient.node.control_plane and "numcpu" not in ignored
        yield Finding(
            "KF-CPU-FEW",
            ERROR if needed else NOTE,
            name,
            f"{facts.cpus} processor",
            "kubeadm requires 2 on a control plane: `inv cluster.sizing`" if needed else "",
        )
    if (patient.node.control_plane and MINIMUM_MEMORY <= facts.memory_kib < 2 * GIB - (100 << 10)) or (
        not patient.node.control_plane and facts.memory_kib < 900 << 10
    ):
        yield Finding(
            "KF-MEM-SMALL",
            WARNING,
            name,
            f"{facts.memory_kib >> 10} MiB of memory",
            "it works, barely: `inv cluster.sizing`",
        )
    if answers is None:
        return
    if answers.memory_kib and answers.available_kib < 200 << 10:
        yield Finding(
            "KF-MEM-PRESSURE",
            WARNING,
            name,
            f"{answers.available_kib >> 10} MiB of memory available: the kubelet evicts pods below 100",
            "find what uses it, or use a larger machine",
        )
    reported: set[tuple[int, int]] = set()
    enough = room(chart.context(patient)) is None
    for folder, disk in answers.disks.items():
        if (disk.size_kib, disk.inodes) in reported or disk.size_kib == 0:
            continue
        share = disk.free_kib / disk.size_kib
        limit = 0.15 if folder == "/var/lib/containerd" else 0.10
        in_use = facts.unit("kubelet").active
        if share < limit and (in_use or enough):
            reported.add((disk.size_kib, disk.inodes))
            yield Finding(
                "KF-DISK-PRESSURE",
                ERROR if in_use and disk.free_kib < GIB else WARNING,
                name,
                f"{folder}: {share:.0%} free ({disk.free_kib / GIB:.1f} GiB): the kubelet's limit is {limit:.0%}, then it evicts "
                "pods and deletes images",
                "`crictl rmi --prune`, `journalctl --vacuum-size=200M`, or a larger disk",
            )
        if disk.inodes and disk.free_inodes / disk.inodes < 0.05:
            reported.add((disk.size_kib, disk.inodes))
            yield Finding(
                "KF-DISK-INODES",
                WARNING,
                name,
                f"{folder}: {disk.free_inodes / disk.inodes:.1%} of the inodes are free",
                "many small files: find and delete them; a larger file system has more",
            )


def _swap(chart: Chart, patient: Patient) -> Iterator[Finding]:
    facts = patient.facts
    settings = chart.environment.settings
    # a kubelet of 1.5 does not
    looks = settings.release.configured and settings.kubelet_config.get("failSwapOn") is not False
    later = (*facts.swap_units, *facts.fstab_swaps)
    if not (facts.swaps or later) or not looks:
        return
    active = facts.unit("kubelet").active
    seen = (
        f"swap is on: {', '.join(facts.swaps)}"
        if facts.swaps
        else f"swap comes back at the next boot: {', '.join(later)}"
    )
    yield Finding(
        "KF-SWAP-ON",
        WARNING if active else NOTE,
        (patient.name,),
        seen
        + (
            "; after its next restart the kubelet will not start"
            if active
            else "; prep switches it off, reset gives it back"
        ),
        f"`{chart.fab(patient, 'prep')}`" if active else "",
    )


def _resolver(chart: Chart, patient: Patient) -> Iterator[Finding]:
    facts, name = patient.facts, (patient.name,)
    local = [address for address in facts.resolvers if address.startswith("127.") or address == "::1"]
    if not facts.resolvers:
        yield Finding(
            "KF-DNS-NONE",
            ERROR,
            name,
            "/etc/resolv.conf names no resolver",
            "give the machine one (DHCP, netplan, NetworkManager)",
        )
    elif local == ["127.0.0.53"]:
        return  # systemd-resolved: the recipe hands the kubelet /run/systemd/resolve/resolv.conf
    elif local:
        configured = chart.environment.settings.kubelet_config.get("resolvConf")
        if not configured:
            yield Finding(
                "KF-DNS-LOOP",
                ERROR,
                name,
                f'/etc/resolv.conf names {", ".join(local)}: pods inherit it, and CoreDNS asks itself ("plugin/loop: Loop detected")',
                'name a real resolver there, or KUBELET_CONFIG=\'{"resolvConf": "/etc/kubernetes/resolv.conf"}\' with a file that does',
            )
    if len(facts.resolvers) > 3:
        yield Finding(
            "KF-DNS-MANY",
            NOTE,
            name,
            f"{len(facts.resolvers)} resolvers: only the first three are used, and the kubelet logs that at every pod",
        )


def _services(chart: Chart, patient: Patient) -> Iterator[Finding]:
    answers, name = patient.answers, (patient.name,)
    if answers is None:
        return
    if "firewalld" in answers.services:
        yield Finding(
            "KF-NET-FIREWALLD",
            NOTE,
            name,
            "firewalld is active: it drops pods' traffic unless their network is trusted",
            f"`firewall-cmd --permanent --zone=trusted --add-source={chart.environment.settings.pod_cidr} && firewall-cmd --reload`, or stop it",
        )
    if "nm-cloud-setup.timer" in answers.services:
        yield Finding(
            "KF-NET-CLOUDSETUP",
            WARNING,
            name,
            "nm-cloud-setup rewrites routes, which breaks pod traffic",
            "`systemctl disable --now nm-cloud-setup.timer`, then reboot",
        )
    has_clock = answers.time.get("NTPSynchronized") == "yes" or "service" in answers.time
    if not has_clock:
        yield Finding(
            "KF-TIME-NOSYNC",
            NOTE,
            name,
            "no time service: this clock will drift",
            "`timedatectl set-ntp true`, or install chrony",
        )


def _ports(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """Ports that kubeadm's preflight requires to be free, on a node where no kubelet of ours can hold them."""
    if patient.answers is None or patient.facts.unit("kubelet").active:
        return
    wanted = {("tcp", 10250), ("udp", 8472)}
    if patient.node.control_plane:
        wanted |= {("tcp", port) for port in (chart.environment.settings.api_port, 2379, 2380, 10257, 10259)}
    for line in patient.answers.sockets:
        words = line.split()
        local = words[4] if len(words) > 4 else ""
        address, _, port = local.rpartition(":")
        if port.isdigit() and (words[0], int(port)) in wanted and "flannel.1" not in patient.facts.links:
            holder = re.search(r'users:\(\("([^"]+)",pid=(\d+)', line)
            who = f"{holder[1]} (pid {holder[2]})" if holder else "something"
            yield Finding(
                "KF-NET-TAKEN",
                ERROR,
                (patient.name,),
                f"{words[0].upper()} {port} is held by {who} on {address}",
                "stop it, or move it to another port: kubeadm's preflight refuses the node",
            )
