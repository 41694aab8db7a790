"""`inv cluster.verify` on the model: its probe pods, and which of them reach each other.

In: a machine (the control plane) and a script named verify.*.  Out: what kubectl would print.  Probes are not stored in
the model: they exist only in these answers.
"""

from __future__ import annotations

import ipaddress
import json
import re

from .cluster import FLANNEL_MTU
from .host import Host
from .machine import Machine
from .values import assigned

NAMES = ("verify.apply", "verify.pods", "verify.service", "verify.ask", "verify.clean")
PROBE = "probe-"


def answer(machine: Machine, name: str, script: str) -> tuple[int, bytes]:
    """The exit code and output of the script of that name."""
    machine.settling.everything(machine.now)
    machine.spend(1, name)
    if not machine.api_up:
        return 1, b"##kubefab 1 1\nThe connection to the server was refused - did you specify the right host or port?\n"
    if name in ("verify.apply", "verify.clean"):
        return 0, b""
    if name == "verify.pods":
        return 0, _pods(machine).encode()
    if name == "verify.service":
        return 0, json.dumps(
            {"spec": {"clusterIP": "10.96.80.80", "ports": [{"port": 80, "nodePort": 32080}]}}
        ).encode()
    return 0, _ask(machine, script).encode()


def _pods(machine: Machine) -> str:
    items = []
    for name, member in machine.cluster.members.items():
        host = machine.settling.hosts[member.host]
        ready = machine.settling.ready(host, machine.now) and "cni0" in host.links
        status = {
            "phase": "Running",
            "podIP": _address(member.pod_cidr),
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        }
        items.append({"metadata": {"name": PROBE + name}, "spec": {"nodeName": name}, "status": status})
    return json.dumps({"items": items})


def _address(pod_cidr: str) -> str:
    return pod_cidr.split("/")[0].rsplit(".", 1)[0] + ".250"


def _reaches(machine: Machine, a: Host, b: Host) -> bool:
    """Whether packets pass both ways: a question and its answer."""
    pods = ipaddress.ip_network(machine.cluster.pod_cidr)

    def carries(host: Host) -> bool:
        link = host.links.get("flannel.1")
        inside = link is not None and any(ipaddress.ip_interface(one).ip in pods for one in link.addresses)
        return inside and machine.settling.fault(host, "udp-blocked") is None

    return a is b or (carries(a) and carries(b))


def _ask(machine: Machine, script: str) -> str:
    asking = re.search(rf"exec -i {PROBE}(\S+) ", script)
    hosts = {name: machine.settling.hosts[m.host] for name, m in machine.cluster.members.items()}
    if not asking or asking[1] not in hosts:
        return ""
    own = hosts[asking[1]]
    peers = [
        name
        for name in (peer.partition("=")[0] for peer in assigned(script, "peers").split())
        if name in hosts and _reaches(machine, own, hosts[name])
    ]
    dns = any(
        _reaches(machine, own, host)
        for host in hosts.values()
        if any(p.labels.get("k8s-app") == "kube-dns" and p.running for p in host.pods)
    )
    large = [
        name
        for name in (peer.partition("=")[0] for peer in assigned(script, "large").split())
        if name in peers and hosts[name].links["flannel.1"].mtu <= FLANNEL_MTU
    ]
    lines = [
        *(f"peer {name} ok" for name in peers),
        *(f"large {name} ok" for name in large),
        *(["service ok"] if peers else []),
        *(["name ok", "dns ok"] if dns else []),
        "end",
    ]
    return "\n".join(lines) + "\n"
