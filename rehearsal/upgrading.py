"""Answers the questions before an upgrade from the model (fabfile/nodes/upgrading.py): each `@@ section` has a function here.

In: a machine and the script.  Out: what the script prints.  Raises Unmodelled for a section without a function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from fabfile.recipes.changes import minor_of, numbers
from fabfile.recipes.kubeadm import RELEASES

from .bash import Unmodelled
from .commands.network import fetch
from .commands.packages import CONTAINERD
from .commands.system import disk_free
from .host import APT
from .machine import Machine
from .values import assigned

NAMES = ("upgrading", "upgrading.images")
_NOT_THERE = "curl: (22) The requested URL returned error: 404"
_DOWN = "curl: (7) Failed to connect to pkgs.k8s.io port 443"

Section = Callable[[Machine, str], str]
_SECTIONS: dict[str, Section] = {}


def answer(machine: Machine, name: str, script: str) -> tuple[int, bytes]:
    """The exit code and output of the script of that name on this machine."""
    machine.settling.look(machine.host, machine.now)
    if name == "upgrading.images":
        seen = (fetch(machine, url) for url in assigned(script, "images").split())
        lines = [f"image.{n} {code or 0:03d} 0.2 {error}" for n, (code, _, error) in enumerate(seen)]
        return 0, f"@@ images\n{_lines(lines)}@@ end\n".encode()
    names = re.findall(r"echo '@@ (\w+)'", script)
    looped = re.search(r'^for s in ([\w ]+); do\n  echo "@@ \$s"', script, flags=re.M)
    at = names.index("end")
    names[at:at] = looped[1].split() if looped else []
    parts = []
    for part in names:
        if part != "end" and part not in _SECTIONS:
            raise Unmodelled(f"section @@ {part} of the questions before an upgrade")
        parts.append(f"@@ {part}\n{_SECTIONS[part](machine, script) if part != 'end' else ''}")
    machine.spend(4, name)
    return 0, "".join(parts).encode()


def _section(name: str, *, api: bool = False) -> Callable[[Section], Section]:
    """Enters a function; with `api` it is asked only on a control plane whose API answers."""

    def enter(function: Section) -> Section:
        def asked(machine: Machine, script: str) -> str:
            there = assigned(script, "control_plane") and machine.host.exists("/etc/kubernetes/admin.conf")
            return function(machine, script) + "\n" if there and machine.api_up else "\n"

        _SECTIONS[name] = asked if api else function
        return function

    return enter


def _lines(items: list[str]) -> str:
    return "".join(f"{item}\n" for item in items)


@_section("containerd")
def _containerd(machine: Machine, script: str) -> str:
    installed = machine.host.packages.get("containerd.io", "")
    return f"v{installed.partition('-')[0]}\n" if installed else ""


@_section("runtime")
def _runtime(machine: Machine, script: str) -> str:
    return "program /usr/bin/containerd\nkills process\n" if machine.host.active("containerd") else ""


@_section("disk")
def _disk(machine: Machine, script: str) -> str:
    return _lines([f"{folder} {disk_free(machine)} /" for folder in assigned(script, "folders").split()])


@_section("data")
def _data(machine: Machine, script: str) -> str:
    return f"{80 << 10}\n" if machine.host.children("/var/lib/etcd") else ""


@_section("etcd")
def _etcd(machine: Machine, script: str) -> str:
    if not assigned(script, "control_plane") or "etcd" not in machine.host.processes:
        return ""
    image = next((pod.images[0] for pod in machine.host.pods if pod.labels.get("component") == "etcd"), "")
    members = [{"ID": "1", "name": machine.hostname, "peerURLs": []}]
    return _lines(
        [
            f"version {image.rpartition(':')[2].partition('-')[0]}",
            'health {"health":"true","reason":""}',
            f"members {json.dumps({'header': {'member_id': '1'}, 'members': members}, separators=(',', ':'))}",
            "metric etcd_mvcc_db_total_size_in_bytes 2.0971520e+07",
            "metric etcd_server_quota_backend_bytes 2.147483648e+09",
        ]
    )


@_section("packages")
def _packages(machine: Machine, script: str) -> str:
    """Every patch release up to the newest known one, and the cluster's own."""
    lines = []
    for minor in assigned(script, "minors").split():
        if minor == "containerd":
            down, whole = machine.fault("packages-down") is not None, machine.host.family == APT
            rows = [one if whole else one.partition("~")[0] for one in CONTAINERD]
            lines += [f"{minor} ! {_DOWN}"] if down else [f"{minor} containerd.io {one}" for one in rows]
            continue
        newest = RELEASES.get(minor, ("",))[0]
        if machine.fault("packages-down") is not None or not newest:
            lines.append(f"{minor} ! {_DOWN if newest else _NOT_THERE}")
            continue
        own = machine.host.packages.get("kubelet", "").partition("-")[0]
        patches = {f"{minor}.{n}" for n in range(numbers(newest)[2] + 1)} | ({own} if minor_of(own) == minor else set())
        lines += [f"{minor} {name} {one}-1.1" for one in sorted(patches) for name in ("kubelet", "kubeadm", "kubectl")]
    return _lines(lines)


@_section("namespaces", api=True)
def _namespaces(machine: Machine, script: str) -> str:
    names = {"default", "kube-system"} | {
        pod.namespace for host in machine.settling.hosts.values() for pod in host.pods
    }
    labels = [{"name": name, "labels": {"kubernetes.io/metadata.name": name}} for name in sorted(names)]
    return json.dumps({"items": [{"metadata": one} for one in labels]})


@_section("webhooks", api=True)
def _webhooks(machine: Machine, script: str) -> str:
    if machine.fault("webhook-dead") is None:
        return json.dumps({"items": []})
    rules = [{"apiGroups": [""], "resources": ["pods"], "operations": ["CREATE"]}]
    service = {"service": {"namespace": "policy", "name": "policy"}}
    hook = {"name": "pods.policy.example", "failurePolicy": "Fail", "clientConfig": service, "rules": rules}
    return json.dumps({"items": [{"metadata": {"name": "policy"}, "webhooks": [hook]}]})


@_section("endpoints", api=True)
def _endpoints(machine: Machine, script: str) -> str:
    return json.dumps({"items": []})


@_section("deprecated", api=True)
@_section("objects", api=True)
@_section("unread", api=True)
def _nothing(machine: Machine, script: str) -> str:
    return ""
