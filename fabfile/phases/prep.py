"""Phase 1: is this machine suitable, and free of an earlier cluster? (manual "사전 준비 작업", digest P1, P2)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..context import Context
from ..inventory import Environment
from ..nodes.facts import STATE, SWAP_SERVICES, SWAP_UNITS, SYSCTLS
from ..recipes.flannel import WITHOUT_LINKS
from ..recipes.packages import family
from ..steps import Action, File, Step, Stop
from ..text.cleaning import listed
from .suitable import kubelet, refusal

MODULES = File("/etc/modules-load.d/kubefab.conf", "overlay\nbr_netfilter\n")
SYSCTL = File("/etc/sysctl.d/99-kubefab.conf", "".join(f"{key} = 1\n" for key in SYSCTLS))
SUPPORTED = "Debian 12 or 13, Ubuntu 22.04 or 24.04, CentOS Stream, Rocky or AlmaLinux 9"
NEW_HOSTNAME = "`hostnamectl set-hostname NAME`"
# without D-Bus's copy: systemd-machine-id-setup would take the old one from there
NEW_MACHINE_ID = "`rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup`, then reboot"


def files(environment: Environment) -> Iterable[str]:
    """Paths that this phase compares."""
    return MODULES.path, SYSCTL.path


def prep(ctx: Context) -> Iterator[Action]:
    """Refuse a machine that cannot work, then set swap, kernel modules and sysctls; keep what was there before."""
    facts = ctx.facts
    family_ = family(facts)
    if family_ is None or not facts.systemd:
        name = facts.os_name or facts.os_id or "an unknown system"
        yield Stop(
            "prep.system", f"{name}{'' if facts.systemd else ' without systemd'} is not supported", f"use {SUPPORTED}"
        )
        return
    if ctx.duplicate_of:
        yield Stop(
            "prep.identity",
            f"has the same {ctx.duplicate_of}: a cloned image",
            f"give this one its own: {NEW_HOSTNAME if ctx.duplicate_of.startswith('hostname') else NEW_MACHINE_ID}",
        )
        return
    member = facts.cluster_files
    stale = [name for name in ("cni0", "flannel.1") if name in facts.links]
    # the guard has seen that the machine is ours: an init or join that was taken back left them
    if stale and not member:
        yield Step(
            "prep.leftovers", f"{' and '.join(stale)} of an earlier cluster of ours taken off (P2)", WITHOUT_LINKS
        )
    if stop := kubelet(ctx) if member else refusal(ctx, SYSCTL.path):
        yield stop
        return
    obstacles = () if member else list(family_.obstacles(facts, ctx.recipe))
    yield from obstacles
    if any(isinstance(one, Stop) for one in obstacles):
        return
    services = [unit for unit in facts.swap_units if unit in SWAP_SERVICES]
    if (facts.swaps or facts.fstab_swaps or facts.swap_units) and ctx.settings.kubelet_config.get(
        "failSwapOn"
    ) is not False:
        yield Step(
            "prep.swap",
            "swap off" + f", {listed(services, 5)} too" * bool(services) + ", noted for reset",
            (
                f"install -d -m 0700 {STATE}",
                f"test -e {STATE}/swaps || tail -n +2 /proc/swaps > {STATE}/swaps",
                r"sed -i -E 's/^([^#]\S*\s+\S+\s+swap(\s.*)?)$/#kubefab# \1/' /etc/fstab",
                "systemctl daemon-reload",  # without its fstab line a swap partition can become a generator's
                # a service that makes swap would make it again at once
                f'for u in {" ".join(SWAP_SERVICES)}; do if systemctl is-active -q "$u" 2>/dev/null; then '
                f'echo "start $u" >>{STATE}/swapservices; systemctl stop "$u"; fi; done',
                "swapoff -a",
                # a unit with a file of its own cannot be masked
                f'{SWAP_UNITS} | while read -r u; do if systemctl mask "$u"; then echo "unmask $u"; '
                f'else systemctl disable "$u" && echo "enable $u"; fi >> {STATE}/swapunits; done',
            ),
            hint="swapoff needs as much free memory as is swapped out",
        )
    yield from _kernel(ctx)


def _kernel(ctx: Context) -> Iterator[Action]:
    facts = ctx.facts
    missing = [
        name for name, there in (("overlay", facts.overlay), ("br_netfilter", facts.bridge_netfilter)) if not there
    ]
    if missing or not facts.has_file(MODULES.path, MODULES.sha256, MODULES.mode):
        yield Step(
            "prep.modules",
            "kernel modules overlay and br_netfilter",
            tuple(f"modprobe {name}" for name in missing),
            files=(MODULES,),
            hint="EL 10 images lack them: `dnf install kernel-modules-extra-$(uname -r)`",
        )
    if any(facts.sysctls.get(key) != "1" for key in SYSCTLS) or not facts.has_file(
        SYSCTL.path, SYSCTL.sha256, SYSCTL.mode
    ):
        yield Step(
            "prep.sysctl",
            "forwarding and bridge netfilter on, noted for reset",
            (
                f"install -d -m 0700 {STATE}",
                f"test -e {STATE}/sysctl || sysctl {' '.join(SYSCTLS)} > {STATE}/sysctl",
                f"sysctl -q -p {SYSCTL.path}",
            ),
            files=(SYSCTL,),
        )
