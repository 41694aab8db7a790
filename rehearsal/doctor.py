"""Answers the doctor's scripts from the model: questions to one machine, and packets between machines.

In: a machine and the script.  Out: what the script prints.  Raises Unmodelled for a section without a function here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable

from fabfile.inventory.settings import Settings

from .bash import Unmodelled
from .cluster import FLANNEL_MTU
from .commands import pki
from .commands.network import fetch
from .commands.system import disk_free
from .commands.text import machine_locks
from .host import KERNEL, Host
from .machine import Machine
from .values import assigned

LOG = "/run/kubefab-doctor/log"
UDP_VXLAN = 8472
_DEFAULTS = Settings()

Section = Callable[[Machine, str], str]


def answer(machine: Machine, name: str, script: str) -> tuple[int, bytes]:
    """The exit code and output of the doctor's script of that name on this machine."""
    machine.settling.look(machine.host, machine.now)
    if name == "doctor.clock":
        text = f"{time.time() + machine.skew:.9f}\n"
    elif name == "doctor.listen":
        text = _listen(machine, assigned(script, "listeners").split())
    elif name == "doctor.try":
        text = (
            "".join(_try(machine, line.split()) for line in assigned(script, "tests").splitlines() if line.strip())
            + "@@ end\n"
        )
    elif name == "doctor.gather":
        text = (machine.host.read(LOG) or "") + "@@ end\n"
        machine.host.remove("/run/kubefab-doctor")
    elif name == "doctor":
        text = _probe(machine, script)
    else:
        raise Unmodelled(f"script {name}")
    machine.spend(1, name)
    return 0, text.encode()


NAMES = ("doctor", "doctor.clock", "doctor.listen", "doctor.try", "doctor.gather")


# --- between machines


def _listen(machine: Machine, words: list[str]) -> str:
    host = machine.host
    if host.exists("/run/kubefab-doctor"):
        return "@@ refused another doctor is at work here\n"
    lines = []
    for word in words:
        kind, port = word.split(":")[:2]
        busy = kind == "tcp" and int(port) in open_ports(machine, host)
        lines.append(f"busy {kind} {port} Address already in use\n" if busy else f"up {kind} {port}\n")
    host.write(LOG, "".join(lines) + "ready\n", "600")
    return "@@ tool python3\n" + "".join(lines) + "ready\n@@ end\n"


def open_ports(machine: Machine, host: Host) -> set[int]:
    """The TCP ports on which this machine's own programs listen."""
    ports = {22}
    if host.active("kubelet"):
        ports |= {10250, 10256}
    if any(pod.labels.get("component") == "kube-apiserver" and pod.running for pod in host.pods):
        ports |= {machine.settings.api_port, 2379, 2380, 10257, 10259}
    if machine.cluster.exists and any(
        pod.running and pod.labels.get("app") == "monitoring-influxdb" for pod in host.pods
    ):
        ports |= {machine.settings.influxdb_port}
    return ports


def _peer(machine: Machine, address: str) -> Host | None:
    """The machine that has this address on one of its links, flannel.1 included."""
    for host in machine.settling.hosts.values():
        if any(a.split("/")[0] == address for link in host.links.values() for a in link.addresses):
            return host
    return None


def _up(machine: Machine, peer: Host) -> bool:
    return not peer.halted and machine.settling.fault(peer, "host-down") is None


def _try(machine: Machine, words: list[str]) -> str:
    kind, label, address = words[:3]
    peer = _peer(machine, address)
    reached = peer is not None and _up(machine, peer)
    if kind == "tcp":
        return f"tcp {label} {words[3]} {_tcp(machine, peer, int(words[3])) if peer and reached else 'dropped'}\n"
    if kind == "udp":
        port, sender, nonce = words[3:6]
        overlay = peer is not None and address != peer.address
        blocked = peer is None or (
            (overlay or int(port) == UDP_VXLAN) and machine.settling.fault(peer, "udp-blocked") is not None
        )
        if peer and reached and not blocked and LOG in peer.files:
            peer.write(LOG, f"got {port} {nonce} {sender}\n" * 3, append=True)
        return f"udp {label} {port} sent\n"
    if kind == "mtu":
        medium, size = words[3], int(words[4])
        if peer is None or not reached:
            return f"mtu {label} {medium} {size} no-answer\n"
        if medium == "overlay":
            ends = (machine.host, peer)
            if any(machine.settling.fault(end, "udp-blocked") is not None for end in ends):
                return f"mtu {label} {medium} {size} no-answer\n"
            return f"mtu {label} {medium} {size} {min(size, FLANNEL_MTU)}\n"
        return f"mtu {label} {medium} {size} {size}\n"
    raise Unmodelled(f"the doctor's test {' '.join(words)}")


def _tcp(machine: Machine, peer: Host, port: int) -> str:
    if port == machine.settings.api_port and machine.settling.fault(peer, "init-hangs") is not None:
        return "dropped"
    listening = f"up tcp {port}\n" in (peer.read(LOG) or "")
    return "open" if listening or port in open_ports(machine, peer) else "refused"


# --- one machine

_SECTIONS: dict[str, Section] = {}


def _section(*names: str) -> Callable[[Section], Section]:
    def enter(function: Section) -> Section:
        for name in names:
            _SECTIONS[name] = function
        return function

    return enter


def _probe(machine: Machine, script: str) -> str:
    parts = []
    for name in re.findall(r"echo '@@ (\w+)'", script):
        if name != "end" and name not in _SECTIONS:
            raise Unmodelled(f"section @@ {name} of the doctor's script")
        text = _SECTIONS[name](machine, script) if name != "end" else ""
        parts.append(f"@@ {name}\n{text}")
    return "".join(parts)


def _mac(host: Host, link: str) -> str:
    digits = hashlib.sha256(f"{host.machine_id}/{link}".encode()).hexdigest()
    return "02:" + ":".join(digits[i : i + 2] for i in range(0, 10, 2))


@_section("links")
def _links(machine: Machine, script: str) -> str:
    host = machine.host
    links = [
        {
            "ifname": name,
            "mtu": link.mtu,
            "link_type": "loopback" if name == "lo" else "ether",
            "address": _mac(host, name),
            "flags": ["UP"] if link.up else [],
            "addr_info": [{"local": a.split("/")[0], "prefixlen": int(a.split("/")[1])} for a in link.addresses],
        }
        for name, link in host.links.items()
    ]
    return json.dumps(links) + "\n"


@_section("routes")
def _routes(machine: Machine, script: str) -> str:
    host = machine.host
    lines = [
        f"default via 10.2.0.1 dev {_default(machine)[0]} proto dhcp src {_default(machine)[1]} metric 100",
        "10.2.0.0/16 dev ens5 proto kernel scope link",
    ]
    if "flannel.1" in host.links:
        lines += [
            f"{member.pod_cidr} via {member.pod_cidr.split('/')[0]} dev flannel.1 onlink"
            for member in machine.cluster.members.values()
            if member.host != host.name
        ]
    if "cni0" in host.links:
        lines.append(f"{host.links['cni0'].addresses[0].rsplit('.', 1)[0]}.0/24 dev cni0 proto kernel scope link")
    return "".join(f"{line}\n" for line in lines)


def _default(machine: Machine) -> tuple[str, str]:
    """The link with the default route, and its address."""
    other = machine.host.links.get("ens6")
    if machine.fault("wrong-nic") is not None and other:
        return "ens6", other.addresses[0].split("/")[0]
    return "ens5", machine.host.address


@_section("toward")
def _toward(machine: Machine, script: str) -> str:
    if assigned(script, "control_plane"):  # to itself
        return f"local {machine.host.address} dev lo src {machine.host.address} uid 0 \\    cache <local>\n"
    link, source = _default(machine)
    return f"{assigned(script, 'toward')} dev {link} src {source} uid 0 \\    cache\n"


@_section("subnet")
def _subnet(machine: Machine, script: str) -> str:
    return machine.host.read("/run/flannel/subnet.env") or ""


@_section("disk")
def _disk(machine: Machine, script: str) -> str:
    free = disk_free(machine)
    return "".join(f"{folder} {30 << 20} {free} 1966080 1800000\n" for folder in assigned(script, "folders").split())


@_section("memory")
def _memory(machine: Machine, script: str) -> str:
    total = machine.host.memory_kib
    return f"MemTotal:       {total} kB\nMemAvailable:   {total * 7 // 10} kB\n"


@_section("modules")
def _modules(machine: Machine, script: str) -> str:
    return "".join(f"{name} yes\n" for name in ("overlay", "br_netfilter", "vxlan", "nf_conntrack"))


@_section("config")
def _config(machine: Machine, script: str) -> str:
    return f"/boot/config-{KERNEL}\n"


@_section("time")
def _time(machine: Machine, script: str) -> str:
    right = "no" if machine.fault("clock-skew") is not None else "yes"
    return f"NTP={right}\nNTPSynchronized={right}\n" + ("service=systemd-timesyncd\n" if right == "yes" else "")


@_section("services", "keyrings", "key", "cut")
def _nothing(machine: Machine, script: str) -> str:
    return ""


@_section("selinux")
def _selinux(machine: Machine, script: str) -> str:
    if not machine.host.has("getenforce"):
        return ""
    return "Permissive\n" if "permissive" in (machine.host.read("/etc/selinux/config") or "") else "Enforcing\n"


@_section("sockets")
def _sockets(machine: Machine, script: str) -> str:
    lines = [f"tcp   LISTEN 0      4096   *:{port}   *:*\n" for port in sorted(open_ports(machine, machine.host))]
    if "flannel.1" in machine.host.links:
        lines.append(f"udp   UNCONN 0      0      0.0.0.0:{UDP_VXLAN}   0.0.0.0:*\n")
    return "".join(lines)


@_section("lock")
def _lock(machine: Machine, script: str) -> str:
    return "".join(dict.fromkeys(f"unattended-upgr (pid {pid})\n" for pid, _ in machine_locks(machine)))


@_section("certs")
def _certs(machine: Machine, script: str) -> str:
    host = machine.host
    names = [name for name in sorted(host.files) if name.startswith("/etc/kubernetes/pki/") and name.endswith(".crt")]
    names += [name for name in sorted(host.files) if name.startswith("/etc/kubernetes/") and name.endswith(".conf")]
    encoded = base64.b64encode(pki.fresh().encode()).decode()
    return "".join(f"{name} {encoded}\n" for name in names)


@_section("containerd")
def _containerd(machine: Machine, script: str) -> str:
    host = machine.host
    if not host.has("containerd"):
        return ""
    lines = ["version=2.3.4"]
    if host.unit("containerd").active:
        lines.append("cri=ok" if host.cri else "cri=unknown service runtime.v1.RuntimeService")
        wanted = re.compile(r"^ *(SystemdCgroup|disabled_plugins|sandbox|sandbox_image|config_path) *=")
        config = host.read("/etc/containerd/config.toml") or ""
        lines += [re.sub(r"[ '\"]", "", line) for line in config.splitlines() if wanted.match(line)]
    return "".join(f"{line}\n" for line in lines)


@_section("tools")
def _tools(machine: Machine, script: str) -> str:
    return "".join(
        f"{tool}\n" for tool in ("curl", "openssl", "gpg", "python3", "perl", "ping", "nft", "iptables", "ethtool")
    )


@_section("http")
def _http(machine: Machine, script: str) -> str:
    lines = []
    for kind, urls in (("source", assigned(script, "urls")), ("registry", assigned(script, "registries"))):
        for number, url in enumerate(urls.split(), 1):
            status, _, error = fetch(machine, url)
            if kind == "registry" and status:
                status = 401  # /v2/ without a token: the registry answers
            lines.append(f"{kind}.{number} {status:03d} 0.21 {error}\n")
    if assigned(script, "registry"):
        code = 401 if machine.fault("registry-no-login") is not None else 200
        lines += [f"private {code} 0.05 \n", f"canary {code} 0.06 \n"]
    return "".join(lines)


@_section("dns")
def _dns(machine: Machine, script: str) -> str:
    return "".join(f"{name} 203.0.113.7     STREAM {name}\n" for name in assigned(script, "names").split())


@_section("tokens")
def _tokens(machine: Machine, script: str) -> str:
    if not assigned(script, "control_plane") or not machine.api_up:
        return "\n"
    now = time.time()
    items = [
        {
            "token": name,
            "expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + max(0.0, token.expires - machine.now))),
            "description": "kubefab",
        }
        for name, token in machine.cluster.tokens.items()
        if token.expires != float("inf")  # 1.5 keeps its tokens in a file, not in the API
    ]
    return "".join(json.dumps(item) + "\n" for item in items) + "\n"
