"""The operating system: units, kernel parameters and modules, swap, mounts, identity, logs."""

from __future__ import annotations

import re
import time

from .. import certificates
from ..bash import Call
from ..host import CONTAINERD_PID, KERNEL, Host, Unit
from ..machine import Machine
from . import legacy, program, unmodelled, upgrades
from .pki import static_pod

_OWNERS = {"containerd": "containerd.io", "kubelet": "kubelet", "docker": "docker.io"}
_BRIDGE = "net.bridge."


def unit_known(host: Host, name: str) -> bool:
    return name in host.units or _OWNERS.get(name, "") in host.packages or name in ("ssh", "sshd")


REFUSED = "/var/log/journal/kubelet"  # what a kubelet said that did not accept its configuration


@program("systemctl")
def systemctl(machine: Machine, call: Call) -> int:
    words = [w for w in call.argv[1:] if w not in ("-q", "--quiet", "--no-pager", "--no-block")]
    quiet = "-q" in call.argv or "--quiet" in call.argv
    now = "--now" in words
    words = [w for w in words if w != "--now"]
    verb, names = words[0], [name.removesuffix(".service") for name in words[1:]]
    host = machine.host
    if verb == "daemon-reload":
        return 0
    if verb == "reset-failed":
        if names and machine.host.runs.get(names[0], ["failed"])[0] == "failed":
            machine.host.runs.pop(names[0], None)
        return 0
    if names and names[0] in host.runs and verb in ("is-active", "is-failed"):
        upgrades.go_on(machine, names[0])
        state = host.runs[names[0]][0]
        call.out("" if quiet else f"{state}\n")
        return int(state != ("active" if verb == "is-active" else "failed"))
    if verb == "is-failed":
        call.out("" if quiet else "inactive\n")
        return 1
    if verb == "is-active":
        state = "active" if host.active(names[0]) else "activating" if host.unit(names[0]).active else "inactive"
        call.out("" if quiet else f"{state}\n")
        return 0 if state == "active" else 3
    if verb == "is-enabled":
        if not unit_known(host, names[0]):
            return call.fail(f"Failed to get unit file state for {names[0]}.service: No such file or directory")
        enabled = host.unit(names[0]).enabled
        call.out("" if quiet else "enabled\n" if enabled else "disabled\n")
        return int(not enabled)
    if verb == "show" and words[1:4:2] == ["-p", "--value"] and words[2] == "LoadState":
        call.out("loaded\n" if unit_known(host, names[-1]) else "not-found\n")
        return 0
    if verb == "show" and words[1:4:2] == ["-p", "--value"] and names[-1] == "containerd":
        there = {"MainPID": str(CONTAINERD_PID if host.active("containerd") else 0), "KillMode": "process"}
        call.out(f"{there[words[2]]}\n")
        return 0
    if verb == "list-unit-files":
        call.out("".join(f"{name}.service enabled enabled\n" for name in sorted({*host.units, "ssh"})))
        return 0
    for name in names:
        if name.endswith((".swap", ".timer")):
            continue
        if not unit_known(host, name):
            what = "enable" if verb in ("enable", "disable", "mask") else verb
            return call.fail(
                f"Failed to {what} {name}.service: Unit {name}.service not found.", 1 if what == "enable" else 5
            )
        unit = host.units.setdefault(name, Unit())
        if verb in ("enable", "disable"):
            unit.enabled = verb == "enable"
            if now:
                start(machine, name) if verb == "enable" else stop(machine, name)
        elif verb in ("start", "restart", "try-restart", "reload-or-restart"):
            start(machine, name, again="restart" in verb)
            if name == "containerd" and not unit.active:
                return call.fail(
                    "Job for containerd.service failed because the control process exited with error code."
                )
        elif verb == "stop":
            stop(machine, name)
        elif verb != "mask":
            raise unmodelled(call)
    machine.spend(0.6, f"systemctl {verb}")
    return 0


def start(machine: Machine, name: str, *, again: bool = False) -> None:
    """Start a unit and what depends on it."""
    host = machine.host
    unit = host.units.setdefault(name, Unit())
    was = unit.active
    unit.active = True
    if name == "containerd" and (again or not was):
        version = host.packages.get("containerd.io", "")
        if machine.fault("containerd-breaks") is not None and host.containerd_runs not in ("", version):
            unit.active = False  # it ends at once
            return
        host.containerd_runs = version
    if name == "containerd":
        host.cri = '"cri"' not in (host.read("/etc/containerd/config.toml") or "")
        host.write("/run/containerd/containerd.sock", "")
        host.cni_unread = False
    if name == "docker":
        legacy.bridge(machine)
    if name == "kubelet" and (again or not was):
        release = host.packages.get("kubelet", "").partition("-")[0]
        if machine.fault("kubelet-breaks") is not None and release != (host.kubelet_runs or machine.cluster.version):
            unit.active = False  # it ends at once: a flag that it does not know
            return
        if certificates.lapsed(host) and not host.exists("/etc/kubernetes/bootstrap-kubelet.conf"):
            unit.active = False  # it ends at once: no valid certificate, and nothing to get one by
            return
        host.kubelet_restarts += 1
        host.kubelet_runs = release
        if "\nmaxPods: -" in (host.read("/var/lib/kubelet/config.yaml") or ""):
            host.write(
                REFUSED,
                'run.go:72] "command failed" err="failed to validate kubelet configuration, error: invalid configuration: '
                'maxPods (--max-pods) must be between 0 and 2147483647"\n',
            )
        rotate(machine)
        revive(machine)


def rotate(machine: Machine) -> None:
    """A kubelet that runs and has no certificate that rotates gets one: by the one in kubelet.conf, or by a join token."""
    host, settling = machine.host, machine.settling
    bootstrap = host.read("/etc/kubernetes/bootstrap-kubelet.conf") or ""
    held = certificates.of_file(host, "/etc/kubernetes/kubelet.conf")
    if certificates.of_file(host, certificates.KUBELET) or not machine.api_up or not host.unit("kubelet").active:
        return
    found = re.search(r"token: (\S+)", bootstrap)
    name, _, secret = found[1].partition(".") if found else ("", "", "")
    token = machine.cluster.tokens.get(name)
    if held or (token and token.secret == secret and token.expires > machine.now):
        control = settling.hosts[machine.cluster.control]
        host.write(certificates.KUBELET, certificates.kubelets(control, machine.hostname, time.time()), "600")


def revive(machine: Machine) -> None:
    """A kubelet that starts also starts the pods that the machine had; static pods are those of its manifests."""
    host = machine.host
    for path in sorted(host.glob("/etc/kubernetes/manifests/*.yaml")):
        component, version = (host.read(path) or "").split("\n", 1)[0].removeprefix("# ").split(" v")
        if not any(pod.labels.get("component") == component for pod in host.pods):
            host.pods.append(static_pod(host, component, version))
    for pod in machine.host.pods:
        static = pod.labels.get("tier") == "control-plane"
        if not pod.running and static and not machine.settling.stays_down(machine.host, pod):
            pod.running, pod.since = True, machine.host.clock + 5
            certificates.begin(machine.host, pod)


def stop(machine: Machine, name: str) -> None:
    machine.host.units.setdefault(name, Unit()).active = False
    if name == "containerd":
        machine.host.files.pop("/run/containerd/containerd.sock", None)


@program("readlink")
def readlink(machine: Machine, call: Call) -> int:
    """Of /proc/PID/exe of containerd: a file that was replaced since is gone."""
    host = machine.host
    if call.argv[1:] != [f"/proc/{CONTAINERD_PID}/exe"]:
        return 1
    gone = host.containerd_runs not in ("", host.packages.get("containerd.io", ""))
    call.out(f"/usr/bin/containerd{' (deleted)' * gone}\n")
    return 0


@program("sysctl")
def sysctl(machine: Machine, call: Call) -> int:
    words, flags, files = [], "", False
    for word in call.argv[1:]:
        if word.startswith("-"):
            flags += word[1:]
            files = files or word.lstrip("-") in ("p", "system")
        else:
            words.append(word)
    host = machine.host
    if files:
        code = 0
        for path in words or [name for name in sorted(host.files) if name.startswith("/etc/sysctl.d/")]:
            text = host.read(path)
            if text is None:
                return call.fail(f'sysctl: cannot open "{path}": No such file or directory', 255)
            for line in text.splitlines():
                if "=" in line and not line.startswith("#"):
                    key, _, value = (part.strip() for part in line.partition("="))
                    code = _set(machine, call, key, value) or code
        return code
    code = 0
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            code = _set(machine, call, key, value) or code
            continue
        seen = _value(host, key)
        if seen is None:
            code = _absent(call, key)
        else:
            call.out(f"{seen}\n" if "n" in flags else f"{key} = {seen}\n")
    return code


def _value(host: Host, key: str) -> str | None:
    if key.startswith(_BRIDGE) and "br_netfilter" not in host.modules:
        return None
    return host.sysctls.get(key, "1" if key.startswith(_BRIDGE) else None)


def _set(machine: Machine, call: Call, key: str, value: str) -> int:
    if _value(machine.host, key) is None:
        return _absent(call, key)
    machine.host.sysctls[key] = value
    return 0


def _absent(call: Call, key: str) -> int:
    return call.fail(f"sysctl: cannot stat /proc/sys/{key.replace('.', '/')}: No such file or directory", 255)


@program("modprobe")
def modprobe(machine: Machine, call: Call) -> int:
    for name in call.argv[1:]:
        if not name.startswith("-") and name not in machine.host.modules:
            machine.host.modules.append(name)
    return 0


@program("lsmod")
def lsmod(machine: Machine, call: Call) -> int:
    call.out("".join(f"{name} 32768 0\n" for name in machine.host.modules))
    return 0


@program("swapoff")
def swapoff(machine: Machine, call: Call) -> int:
    machine.host.swaps.clear()
    machine.spend(2, "swapoff")
    return 0


@program("swapon")
def swapon(machine: Machine, call: Call) -> int:
    path = call.argv[-1]
    if not any(line.split()[0] == path for line in machine.host.swaps):
        machine.host.swaps.append(f"{path}                               file\t\t2097148\t\t0\t\t-2")
    return 0


@program("mountpoint")
def mountpoint(machine: Machine, call: Call) -> int:
    return int(call.argv[-1] not in (line.split()[1] for line in machine.host.mounts))


@program("umount")
def umount(machine: Machine, call: Call) -> int:
    target = call.argv[-1]
    host = machine.host
    if any(line.split()[1] == target for line in host.mounts):
        if any(line.split()[0] == "busy" and line.split()[1] == target for line in host.mounts):
            return call.fail(f"umount: {target}: target is busy.", 32)
        host.mounts = [line for line in host.mounts if line.split()[1] != target]
        return 0
    own = [pod for pod in host.pods if f"/pods/{host.uid(pod)}/" in target]
    if not own:
        return call.fail(f"umount: {target}: not mounted.", 32)
    for pod in own:
        pod.running = False
    return 0


@program("hostname")
def hostname(machine: Machine, call: Call) -> int:
    call.out(f"{machine.hostname}\n")
    return 0


@program("uname")
def uname(machine: Machine, call: Call) -> int:
    every = f"Linux {machine.hostname} {KERNEL} x86_64 GNU/Linux"
    known = {"": "Linux", "-s": "Linux", "-r": KERNEL, "-m": "x86_64", "-n": machine.hostname, "-a": every}
    asked = " ".join(call.argv[1:])
    if asked not in known:
        raise unmodelled(call)
    call.out(f"{known[asked]}\n")
    return 0


@program("uptime")
def uptime(machine: Machine, call: Call) -> int:
    minutes = int(machine.host.clock // 60)
    call.out(f" up {minutes // 60}:{minutes % 60:02d},  0 users,  load average: 0.00, 0.00, 0.00\n")
    return 0


@program("nproc")
def nproc(machine: Machine, call: Call) -> int:
    call.out(f"{machine.host.cpus}\n")
    return 0


@program("id")
def id_(machine: Machine, call: Call) -> int:
    call.out("0\n" if call.argv[1:] == ["-u"] else "root\n")
    return 0


@program("du")
def du(machine: Machine, call: Call) -> int:
    if call.argv[1:3] != ["-s", "-B512"]:
        raise unmodelled(call)
    call.out(f"{96 << 10}\t{call.argv[3]}\n")
    return 0


@program("df")
def df(machine: Machine, call: Call) -> int:
    free, total = disk_free(machine), 30 << 20
    call.out("Filesystem     1024-blocks     Used Available Capacity Mounted on\n")
    call.out(f"/dev/root         {total} {total - free} {free} {100 - 100 * free // total}% /\n")
    return 0


def disk_free(machine: Machine) -> int:
    """KiB free under /var/lib: images and packages use some; the fault disk-full uses nearly all."""
    host = machine.host
    value = machine.fault("disk-full")
    if value == "":
        return 310_000
    return max(0, host.disk_kib - 180_000 * len(host.images) - 40_000 * len(host.packages))


@program("ps")
def ps(machine: Machine, call: Call) -> int:
    names = ["systemd", "sshd", "bash", *machine.host.processes]
    if machine.host.unit("containerd").active:
        names.append("containerd")
    call.out("".join(f"{name}\n" for name in names))
    return 0


@program("getenforce")
def getenforce(machine: Machine, call: Call) -> int:
    call.out(
        "Permissive\n" if "SELINUX=permissive" in (machine.host.read("/etc/selinux/config") or "") else "Enforcing\n"
    )
    return 0


@program("setenforce")
def setenforce(machine: Machine, call: Call) -> int:
    return 0


@program("journalctl")
def journalctl(machine: Machine, call: Call) -> int:
    unit = call.argv[call.argv.index("-u") + 1] if "-u" in call.argv else "kernel"
    host = machine.host
    if unit in host.runs:
        said = host.runs[unit][3:]
        most = int(call.argv[call.argv.index("-n") + 1]) if "-n" in call.argv else len(said)
        call.out("".join(f"{line}\n" for line in said[max(0, len(said) - most) :]))
        return 0
    if "-q" in call.argv and not unit_known(host, unit.removesuffix(".service")):
        return 0
    lines = [f"systemd[1]: Started {unit}.service."]
    says = "kubelet[1203]: E1124 12:00:00.000000    1203"
    if unit == "kubelet":
        if not host.exists("/var/lib/kubelet/config.yaml"):
            lines = [
                f'{says} run.go:72] "command failed" err="failed to load kubelet config file, path: /var/lib/kubelet/config.yaml"'
            ]
        lines += [f"{says} {line}" for line in (host.read(REFUSED) or "").splitlines()]
        for pod in host.pods:
            if pod.trouble:
                lines.append(
                    f'{says} pod_workers.go:1301] "Error syncing pod" pod="{pod.namespace}/{pod.name}" err="{pod.trouble}"'
                )
    when = "2026-11-24T12:00:00+00:00" if "short-iso" in call.argv else "Nov 24 12:00:00"
    most = int(call.argv[call.argv.index("-n") + 1]) if "-n" in call.argv else len(lines)
    shown = lines[len(lines) - min(most, len(lines)) :]
    bare = "cat" in call.argv
    call.out("".join(f"{line.partition(': ')[2]}\n" if bare else f"{when} {host.hostname} {line}\n" for line in shown))
    return 0
