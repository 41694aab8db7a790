"""How a machine of early 2017 (Ubuntu 16.04) differs: `ip` prints no JSON, ifconfig has its old format, systemd is older."""

from __future__ import annotations

import ipaddress

from ..bash import Call
from ..host import Host
from ..machine import Machine
from . import program, unmodelled, upgrades

XENIAL = {
    "NAME": "Ubuntu",
    "PRETTY_NAME": "Ubuntu 16.04.1 LTS",
    "ID": "ubuntu",
    "ID_LIKE": "debian",
    "VERSION_ID": "16.04",
}


def furnish(host: Host) -> None:
    """Turn a new machine into one of the manual's."""
    host.release = dict(XENIAL)
    host.packages["net-tools"] = "1.60-26ubuntu1"


def is_xenial(host: Host) -> bool:
    """Whether this machine is one of the manual's."""
    return host.release.get("VERSION_ID") == XENIAL["VERSION_ID"]


def ifconfig_text(host: Host, *, down: bool = False) -> str:
    """What ifconfig of net-tools 1.60 prints: the links that are up, with `down` all of them."""
    blocks = []
    for name, link in host.links.items():
        if not (link.up or down):
            continue
        lines = [f"{name:<9} Link encap:Ethernet  HWaddr 0a:58:0a:00:00:{len(name):02x}"]
        for text in link.addresses:
            address = ipaddress.ip_interface(text)
            if address.version == 4:
                lines.append(
                    f"          inet addr:{address.ip}  Bcast:{address.network.broadcast_address}  Mask:{address.netmask}"
                )
            else:
                lines.append(f"          inet6 addr: {text} Scope:Link")
        lines.append(f"          {'UP ' if link.up else ''}BROADCAST RUNNING MULTICAST  MTU:{link.mtu}  Metric:1")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


@program("systemd-run")
def systemd_run(machine: Machine, call: Call) -> int:
    """A delayed reboot, after which the machine is back in 45 virtual seconds, and the unit in which kubeadm upgrades."""
    if call.argv[-5:-1] == ["upgrade", "apply", "--yes", "--config"]:
        return upgrades.in_unit(machine, call)
    if [word for word in call.argv[1:] if not word.startswith("--")] != ["systemctl", "reboot"]:
        raise unmodelled(call)
    call.out("Running timer as unit run-r1.timer.\nWill run service as unit run-r1.service.\n")
    machine.host.reboot()
    machine.host.clock += 45
    return 0
