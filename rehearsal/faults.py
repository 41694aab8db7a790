"""The faults that a rehearsal can switch on: `--fault w2:flannel-missing`, several at once, for one command.

In: switches as the operator types them.  Out: a `Faults` that the model asks.  Raises UsageError for an unknown node
or fault and names the nearest.  A fault ends with its command; what it did to a machine stays.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from fabfile.errors import UsageError
from fabfile.inventory import Environment, Node
from fabfile.text.nearest import did_you_mean

from . import certificates
from .host import Host, Link

Where = Literal["any node", "the control plane", "a worker"]
ANY: Final = "any node"
CONTROL: Final = "the control plane"
WORKER: Final = "a worker"
PLACE = "sections of its answer, section.key, or output, joined by + (os+host.hostname)"


@dataclass(frozen=True)
class Fault:
    """One kind of trouble. `value` describes what may follow `=`; empty if nothing may."""

    name: str
    does: str
    teaches: str
    where: Where = ANY
    value: str = ""


TABLE = {
    fault.name: fault
    for fault in (
        Fault(
            "flannel-missing",
            "flannel.1 never appears",
            "kubelet and pod are restarted, then the manual's last resort (N4) is advised",
        ),
        Fault(
            "flannel-after-restart",
            "flannel.1 appears once the kubelet was restarted",
            "the manual's one-minute rule (N3, J3) at work",
        ),
        Fault(
            "cni-unread",
            "containerd does not see that flannel wrote the CNI file, until it is restarted",
            "NotReady with `cni plugin not initialized`: containerd #11209 (a deleted /etc/cni/net.d), and its remedy",
        ),
        Fault(
            "flannel-wrong-range",
            "flannel.1 gets an address outside POD_CIDR",
            "the link must exist and its address must be in POD_CIDR (N4)",
        ),
        Fault(
            "stale-cni0",
            "cni0 of an earlier cluster is there before the first step",
            "prep stops at leftovers and names the reset (P2)",
        ),
        Fault(
            "apt-locked",
            "unattended-upgrades holds the package lock",
            "the lock is waited for and its holder named",
            value="seconds (120)",
        ),
        Fault("packages-down", "package sources do not answer", "one node fails by itself; the others finish"),
        Fault(
            "registry-no-login",
            "the registry refuses pulls without a login",
            "the first pull fails, before kubeadm would",
        ),
        Fault(
            "init-hangs",
            "kubeadm init times out after 4 minutes",
            "M2: the cloud's network; workers wait and are named as blocked",
            CONTROL,
        ),
        Fault(
            "api-late",
            "the API answers only some time after init",
            "proof, not files: the wait for /readyz",
            CONTROL,
            "seconds (60)",
        ),
        Fault(
            "token-expired",
            "the join token is not accepted",
            "a token is minted for each run: simply run again",
            WORKER,
        ),
        Fault("host-key-changed", "the node shows another SSH host key", "nothing is sent to it; the fix is named"),
        Fault("host-down", "connecting is refused", "a dead worker delays and fails no other node"),
        Fault(
            "dies-in-join",
            "the machine goes down while joining",
            "the unfinished join is undone, then repeated",
            WORKER,
        ),
        Fault("sudo-password", "sudo asks for a password, which is rehearsal", "--ask-sudo-pass, or NOPASSWD"),
        Fault(
            "disk-full",
            "no space under /var/lib; `=later`: the space runs out during install",
            "prep measures the free space before it changes anything",
            value="later",
        ),
        Fault("clock-skew", "the clock is wrong", "TLS certificates that are not valid yet", value="seconds (-3600)"),
        Fault("swap-on", "swap is active and in fstab", "prep notes it and switches it off; reset restores it"),
        Fault(
            "wrong-mtu",
            "flannel.1 has jumbo frames that the path does not carry",
            "small packets pass, large ones are lost",
        ),
        Fault(
            "udp-blocked",
            "UDP 8472 does not reach this node",
            "everything is Ready, yet pods cannot reach each other",
        ),
        Fault(
            "influx-flaky",
            "InfluxDB refuses the first statements",
            "A4: repeat until it succeeds",
            CONTROL,
            "how often (3)",
        ),
        Fault(
            "influx-stuck",
            "InfluxDB refuses until its pods are replaced",
            "A5: delete the pods and try again",
            CONTROL,
        ),
        Fault(
            "duplicate-machine-id",
            "shows another node's machine-id",
            "a cloned image is refused before it joins as somebody else",
        ),
        Fault(
            "duplicate-hostname",
            "shows another node's hostname",
            "two nodes of one name take each other's place in the API",
        ),
        Fault(
            "wrong-nic",
            "the default route is on another network",
            "--node-ip and --iface-can-reach choose by reachability",
        ),
        Fault("unsupported-os", "runs openSUSE", "prep refuses it and lists what is supported"),
        Fault(
            "hostile-shell",
            "its answers hold shell commands",
            "answers are data: a wrong format is refused, and values are quoted",
            value=PLACE,
        ),
        Fault(
            "hostile-lines",
            "its answers hold extra lines",
            "an address is one line; none of this reaches the scripts of other nodes",
            value=PLACE,
        ),
        Fault(
            "hostile-escapes",
            "its answers hold escape sequences for your terminal",
            "escape sequences are shown as text",
            value=PLACE,
        ),
        Fault("hostile-markup", "its answers look like our own layout", "a node's answer is never markup", value=PLACE),
        Fault("hostile-numbers", "its numbers have ten thousand digits", "numbers are bounded", value=PLACE),
        Fault(
            "hostile-bytes", "its answers are not text", "its row names the field with the wrong format", value=PLACE
        ),
        Fault(
            "hostile-types",
            "its JSON has the wrong types",
            "types are checked; the rows of other nodes stay right",
            value=PLACE,
        ),
        Fault("hostile-deep", "its JSON is nested without end", "depth is bounded", value=PLACE),
        Fault(
            "hostile-huge",
            "its answers are larger than a connection accepts",
            "size is bounded: an answer that was cut short is not used",
            value=PLACE,
        ),
        Fault("hostile-endless", "its answers never end", "time is bounded even while output arrives"),
        Fault(
            "hostile-silent",
            "it accepts the login and never answers",
            "time is bounded: one minute; in a bootstrap, as long as an earlier step may take",
        ),
        Fault(
            "forward-drops",
            "a firewall of the host forwards nothing",
            "prep reads the host's own rules and names table, chain and the line to add; it changes none",
        ),
        Fault(
            "certificates-ended",
            "it was off for a year: kubeadm's certificates and the kubelet's have ended",
            "the CA on the control plane is enough to renew all of them",
        ),
        Fault(
            "etcd-stays-down",
            "etcd does not start again once its container is stopped",
            "one component at a time: nothing else is restarted",
            CONTROL,
        ),
        Fault(
            "gate-gone",
            "the cluster's kubelets have a feature gate that 1.37 does not know",
            "an upgrade is refused before anything is touched: such a kubelet would not start",
            CONTROL,
        ),
        Fault(
            "webhook-dead",
            "an admission webhook must agree to every pod, and nothing answers for it",
            "an upgrade is refused before anything is touched: no pod would start again after a drain",
            CONTROL,
        ),
        Fault(
            "release-missing",
            "the package sources do not have the patch release that is asked for",
            "packages are fetched on every node before the first is changed",
        ),
        Fault(
            "upgrade-fails",
            "kubeadm upgrade apply ends with an error and puts the old manifests back",
            "workers are not touched, and the same command goes on",
            CONTROL,
        ),
        Fault(
            "health-check-late",
            "the Job by which kubeadm upgrade checks the cluster is not done within its minute, the first time",
            "nothing is changed by then, and a control plane that has just booted may need that minute for itself",
            CONTROL,
        ),
        Fault(
            "hash-unseen",
            "kubeadm does not see the new API server's pod until the kubelet has started again",
            "kubernetes/kubeadm 3297: done, but not seen",
            CONTROL,
        ),
        Fault(
            "dies-in-upgrade",
            "the machine goes down during kubeadm upgrade; of a control plane after so many components",
            "a node is old or new, and the next run sees which",
            value="components (0)",
        ),
        Fault(
            "kubelet-breaks",
            "its kubelet does not start with another release",
            "the node stays cordoned, and no further batch begins",
        ),
        Fault(
            "containerd-breaks",
            "its containerd does not start with another release",
            "the node stays cordoned, and the way back to the earlier package is printed",
        ),
        Fault("reboot-needed", "/var/run/reboot-required is there", "the doctor says so; nothing reboots by itself"),
    )
}


@dataclass
class Faults:
    """The faults in force: node → fault → value."""

    of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def value(self, host: Host, name: str) -> str | None:
        """The value ("" without one) if the fault is in force on this machine, else None."""
        return self.of.get(host.name, {}).get(name)


def parse(switches: Iterable[str], environment: Environment) -> Faults:
    """Read `node:fault`, `node:fault=value` and `node:fault:value`; a group's name means each of its nodes."""
    found: dict[str, dict[str, str]] = {}
    for switch in switches:
        place, colon, rest = switch.partition(":")
        if not colon or not rest:
            raise UsageError(
                f"--fault {switch}: not understood",
                "write NODE:FAULT, like --fault w2:flannel-missing; `inv rehearsal.faults` lists them",
            )
        name, _, value = rest.replace("=", ":", 1).partition(":")
        if name not in TABLE:
            raise UsageError(
                f"--fault {switch}: no fault {name!r}",
                f"{did_you_mean(name, TABLE)}`inv rehearsal.faults` lists them",
            )
        fault = TABLE[name]
        _check_value(switch, fault, value)
        for node in environment.select([place]):
            _check_place(switch, fault, node)
            found.setdefault(node.name, {})[name] = value
    return Faults(found)


def _check_value(switch: str, fault: Fault, value: str) -> None:
    if not value:
        return
    if not fault.value:
        raise UsageError(f"--fault {switch}: {fault.name} takes no value", f"write it without {value!r}")
    if fault.value == "later":
        if value != "later":
            raise UsageError(f"--fault {switch}: {value!r} is not `later`", "write disk-full, or disk-full=later")
    elif fault.value == PLACE:
        if not re.fullmatch(r"([a-z]+(\.[\w.-]+)?\+?)+", value):
            raise UsageError(f"--fault {switch}: {value!r} is not a section", f"{fault.name} takes {PLACE}")
    elif not value.lstrip("-").isdigit():
        raise UsageError(f"--fault {switch}: {value!r} is not a number", f"{fault.name} takes {fault.value}")


def _check_place(switch: str, fault: Fault, node: Node) -> None:
    if (fault.where == CONTROL and not node.control_plane) or (fault.where == WORKER and node.control_plane):
        raise UsageError(
            f"--fault {switch}: {fault.name} is a fault of {fault.where}, and {node.name} is not one",
            "name another node",
        )


def begin(faults: Faults, hosts: Mapping[str, Host]) -> None:
    """Apply the faults that change a machine at the start. A machine in a cluster keeps its cni0 and swap: it passed prep."""
    for name, own in faults.of.items():
        host = hosts[name]
        in_cluster = "/var/lib/kubelet/config.yaml" in host.files
        if "stale-cni0" in own and not in_cluster:
            host.links["cni0"] = Link([f"10.77.{host.number % 256}.1/24"], 1450)
        if "swap-on" in own and not in_cluster and not host.swaps:
            host.swaps.append("/swapfile                               file\t\t2097148\t\t0\t\t-2")
            host.write("/etc/fstab", "/swapfile\tnone\tswap\tsw\t0 0\n", append=True)
        if "certificates-ended" in own:
            _end_certificates(host, next(one for one in hosts.values() if one.control_plane))
        if "wrong-nic" in own:
            host.links["ens6"] = Link([f"192.168.56.{10 + host.number % 240}/24"], 1500)


def _end_certificates(host: Host, control: Host) -> None:
    """Everything that kubeadm signed ended yesterday, and the machine has booted since."""
    then = time.time() - 366 * 86400
    for name in certificates.RENEWED:
        if certificates.of_file(host, certificates.RENEWED[name][0]):
            certificates.issue(host, name, then, ends=then + certificates.YEAR)
    if host.exists(certificates.KUBELET):
        host.write(certificates.KUBELET, certificates.kubelets(control, host.hostname, then, then + certificates.YEAR))
        host.unit("kubelet").active = False
    for pod in host.pods:
        pod.running = False
