"""kubeadm upgrade, and the transient unit in which we run it: static pods one after the other, then what is in the cluster."""

from __future__ import annotations

import re
import time
from io import StringIO

from .. import certificates
from ..bash import Call, Shell, Streams
from ..cluster import builtin
from ..documents import documents
from ..machine import Halted, Machine
from . import unmodelled
from .pki import COMPONENTS, follow_manifests, image_of, manifest_image

PATIENCE = 600.0  # seconds: upgradeManifests of our file
_MANIFEST = "/etc/kubernetes/manifests/{}.yaml"
_CHECKED = "/run/kubefab-rehearsal-checked"
_LATE = """[preflight] Some fatal errors occurred:
\t[ERROR CreateJob]: Job "upgrade-health-check-1795969669818" in the namespace "kube-system" did not complete in 1m0s: no condition of type Complete
error: error execution phase preflight: preflight checks failed"""
_WAITS = "[upgrade/staticpods] This can take up to 10m0s"


class Unseen(Exception):
    """kubeadm waits for a pod that runs: the kubelet has not reported it."""


def apply(machine: Machine, call: Call) -> int:
    """`kubeadm upgrade apply`, to its end."""
    try:
        return _apply(machine, call)
    except Unseen:
        machine.host.clock += PATIENCE
        return _unseen(machine, call)


def _config(machine: Machine, call: Call) -> dict[str, object]:
    path = call.argv[call.argv.index("--config") + 1]
    (document,) = documents(machine.host.read(path) or "")
    if document["kind"] != "UpgradeConfiguration":
        raise unmodelled(call)
    return dict(document)


def _apply(machine: Machine, call: Call) -> int:
    host, cluster = machine.host, machine.cluster
    target = str(_config(machine, call)["apply"]["kubernetesVersion"]).removeprefix("v")  # type: ignore[index]
    installed = host.packages["kubeadm"].partition("-")[0]
    machine.spend(4, "upgrade preflight")
    if not machine.api_up:
        return call.fail("error: couldn't get the cluster's configuration: connection refused")
    if [int(n) for n in installed.split(".")] < [int(n) for n in target.split(".")]:
        return call.fail(f'error execution phase preflight: the kubeadm version "{installed}" is older than "{target}"')
    now = re.search(r":v(\d+)\.(\d+)\.", manifest_image(host, "kube-apiserver"))
    if now and int(target.split(".")[1]) > int(now[2]) + 1:
        return call.fail(
            f'[ERROR] Specified version to upgrade to "v{target}" is too high; kubeadm can upgrade only 1 minor version at a time'
        )
    if machine.fault("health-check-late") is not None and not host.read(_CHECKED):
        host.write(_CHECKED, "once")
        machine.spend(60, "upgrade health check")
        return call.fail(_LATE)
    call.out("[upgrade/preflight] Running preflight checks\n[upgrade/staticpods] Writing new Static Pod manifests\n")
    before = {name: host.read(_MANIFEST.format(name)) or "" for name in COMPONENTS}
    done = 0
    for component in COMPONENTS:
        image = image_of(component, target)
        if manifest_image(host, component) == image or (
            component == "etcd" and _older(image, manifest_image(host, component))
        ):
            continue
        value = machine.fault("dies-in-upgrade")
        if value is not None and done >= int(value or 0):
            raise Halted
        _renew(machine, component)
        text = re.sub(r"(^ *image: *)\S+", rf"\g<1>{image}", before[component], flags=re.M)
        host.write(_MANIFEST.format(component), re.sub(r"^# \S+ v\S+", f"# {component} v{target}", text), "600")
        call.out(f"[upgrade/staticpods] Preparing for {component!r} upgrade\n{_WAITS}\n")
        follow_manifests(host)
        machine.spend(12, f"upgrade {component}")
        done += 1
        if machine.fault("upgrade-fails") is not None and component == "kube-apiserver":
            _put_back(machine, before)
            return call.fail(
                "[upgrade/apply] FATAL: couldn't upgrade control plane. kubeadm has tried to recover everything into the earlier state"
            )
        if (
            machine.fault("hash-unseen") is not None
            and component == "kube-apiserver"
            and host.kubelet_restarts <= _noted(machine)
        ):
            raise Unseen
    machine.cluster.configuration = re.sub(r"(kubernetesVersion: )\S+", rf"\g<1>v{target}", cluster.configuration)
    proxy = builtin("DaemonSet", "kube-proxy", f"registry.k8s.io/kube-proxy:v{target}", host_network=True)
    if cluster.apply(proxy, host.clock) == "configured":
        for one in machine.settling.hosts.values():
            for pod in [pod for pod in one.pods if pod.workload == "DaemonSet/kube-system/kube-proxy"]:
                machine.settling.replace(one, pod, host.clock)
    cluster.touch()
    machine.spend(6, "upgrade addons")
    call.out(f'[upgrade] SUCCESS! A control plane node of your cluster was upgraded to "v{target}".\n')
    return 0


def _older(one: str, other: str) -> bool:
    """Whether an image's tag is older than another's: kubeadm does not take etcd back."""
    numbers = [
        [int(n) for n in re.findall(r"\d+", image.rpartition(":")[2].partition("-")[0])] for image in (one, other)
    ]
    return numbers[0] < numbers[1]


def _renew(machine: Machine, component: str) -> None:
    for name, (path, _) in certificates.RENEWED.items():
        if path in certificates.READS[component]:
            certificates.issue(machine.host, name, time.time() + machine.skew)


def _put_back(machine: Machine, before: dict[str, str]) -> None:
    """kubeadm's rollback: manifests, not data. etcd's only when etcd itself failed."""
    for component, text in before.items():
        if component != "etcd":
            machine.host.write(_MANIFEST.format(component), text, "600")
    follow_manifests(machine.host)


def _unseen(machine: Machine, call: Call) -> int:
    old = machine.cluster.configuration
    version = re.search(r"kubernetesVersion: v(\S+)", old)
    before = {name: re.sub(r"(^ *image: *)\S+", rf"\g<1>{image_of(name, version[1])}", machine.host.read(_MANIFEST.format(name)) or "", flags=re.M)
              for name in COMPONENTS} if version else {}  # fmt: skip
    _put_back(machine, before)
    return call.fail(
        "[upgrade/apply] FATAL: static Pod hash for component kube-apiserver on Node did not change after 10m0s"
    )


def node(machine: Machine, call: Call) -> int:
    """`kubeadm upgrade node` on a worker: the kubelet's configuration."""
    _config(machine, call)
    if machine.fault("dies-in-upgrade") is not None:
        raise Halted
    if not machine.api_up:
        return call.fail(
            "error execution phase preflight: couldn't fetch the cluster's configuration: connection refused"
        )
    machine.spend(3, "upgrade node")
    call.out("[upgrade] The configuration for this node was successfully upgraded!\n")
    return 0


# --- the unit


def _noted(machine: Machine) -> int:
    """How often the kubelet had started when the unit began."""
    text = machine.host.read("/run/kubefab-rehearsal-restarts")
    return int(text) if text else machine.host.kubelet_restarts


def in_unit(machine: Machine, call: Call) -> int:
    """`systemd-run --unit=NAME … kubeadm upgrade apply …`: it goes on without us."""
    name = next(word.partition("=")[2] for word in call.argv if word.startswith("--unit="))
    machine.host.write("/run/kubefab-rehearsal-restarts", str(machine.host.kubelet_restarts))
    machine.host.runs[name] = ["active", " ".join(call.argv[call.argv.index("kubeadm") :]), str(machine.host.clock)]
    go_on(machine, name)
    return 0


def go_on(machine: Machine, name: str) -> None:
    """What the unit does from where it is, until it ends or waits."""
    state, line, since = machine.host.runs[name][:3]
    if state != "active":
        return
    waits = machine.host.runs[name][3:] == [_WAITS] and machine.host.kubelet_restarts <= _noted(machine)
    if waits and machine.host.clock < float(since) + PATIENCE:
        return
    out, err = StringIO(), StringIO()
    inner = Call(line.split(), Streams(StringIO(), {1: out, 2: err}), Shell(lambda call: 0, machine, {}))
    try:
        code = _unseen(machine, inner) if waits else _apply(machine, inner)
    except Unseen:
        machine.host.runs[name] = ["active", line, since, _WAITS]
        return
    said = (out.getvalue() + err.getvalue()).splitlines()
    if code:
        machine.host.runs[name] = ["failed", line, since, *said]
    else:
        machine.host.runs.pop(name)
