"""The lab's containers: start what is missing, run commands in nodes, cut and restore their power."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import engine as engines
from .engine import LABEL, Engine
from .errors import LabError, MissingError
from .host import Host
from .settings import NETWORK, PREFIX, Settings, hostname

BOOT_TIMEOUT = 90.0
SSH_PORT = 22
_BOOTED = ("running", "degraded")
_VOLUMES = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd")


@dataclass(frozen=True)
class Container:
    """One of our containers as the engine reports it: `state` is `running`, `exited` …"""

    name: str
    state: str
    address: str
    recipe: str


def container_name(node: str) -> str:
    """Name of a node's container."""
    return node if node.startswith(PREFIX) else f"{PREFIX}-{node}"


def containers(engine: Engine) -> dict[str, Container]:
    """Every container of the lab by its short name (`cp1`, `w1`, `packages`, `registry`)."""
    ids = engines.labelled(engine, ("ps", "--all"))
    if not ids:
        return {}
    found = {}
    for raw in json.loads(engine.docker("inspect", *ids).stdout):
        name = raw["Name"].lstrip("/")
        networks = raw["NetworkSettings"]["Networks"]
        addresses = [(n.get("IPAMConfig") or {}).get("IPv4Address", "") for n in networks.values()]
        short = name.removeprefix(f"{PREFIX}-")
        recipe = raw["Config"]["Labels"].get("kubefab.recipe", "")
        found[short] = Container(name, raw["State"]["Status"], "".join(addresses[:1]), recipe)
    return found


def node_arguments(host: Host, kernel_files: Iterable[str] = ()) -> list[str]:
    """`docker run` options that let systemd, containerd and a kubelet work in a container on this machine."""
    if host.privileged:
        rights = ["--privileged", "--cgroupns", "private"]
    else:
        rights = ["--cgroupns", "private", "--device-cgroup-rule", "a *:* rwm", "--device", "/dev/kmsg"]
        for option in ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"):
            rights += ["--security-opt", option]
        for capability in host.capabilities:
            rights += ["--cap-add", capability]
    for folder in ("/run", "/tmp"):
        rights += ["--tmpfs", f"{folder}:exec"]
    for folder in _VOLUMES:
        rights += ["--volume", folder]
    for path in kernel_files:
        rights += ["--volume", f"{path}:{path}:ro"]
    return [*rights, "--stop-signal", "SIGRTMIN+3"]


def kernel_files() -> list[str]:
    """The host's kernel modules and configuration, if it has them: kubeadm and kube-proxy read both."""
    candidates = ("/lib/modules", f"/boot/config-{platform.release()}")
    return [c for c in candidates if Path(c).exists()]


def run_node(
    engine: Engine, host: Host, settings: Settings, name: str, *, image: str, recipe: str, public_key: str
) -> None:
    """Create and start one node."""
    engine.docker(
        "run",
        "--detach",
        "--name",
        container_name(name),
        "--hostname",
        hostname(settings.nodes()[name]),
        "--label",
        LABEL,
        "--label",
        f"kubefab.recipe={recipe}",
        "--network",
        NETWORK,
        "--ip",
        settings.nodes()[name],
        "--env",
        f"LAB_GATEWAY={settings.packages}",
        "--env",
        f"LAB_AUTHORIZED_KEY={public_key}",
        *node_arguments(host, kernel_files()),
        image,
        "/usr/local/sbin/lab-node",
    )


def wait_for_boot(engine: Engine, name: str, address: str, deadline: float) -> None:
    """Wait until the node has booted and its sshd sends a greeting; raises LabError at the deadline.

    Before systemd has finished, logins of ordinary users are refused, so the greeting alone is not enough.
    """
    greeting = state = ""
    while time.monotonic() < deadline:
        greeting = ssh_greeting(address)
        if greeting.startswith("SSH-"):
            asked = engine.docker("exec", container_name(name), "systemctl", "is-system-running", check=False)
            state = asked.stdout.strip()
            if state in _BOOTED:
                return
        time.sleep(0.2)
    logs = engine.docker("logs", "--tail", "10", container_name(name), check=False)
    raise LabError(
        f"node {name} ({address}) did not boot: port {SSH_PORT} says {greeting or 'nothing'!r}, "
        f"systemd says {state or 'nothing'!r}\n{(logs.stdout + logs.stderr).strip()}",
        f"`inv lab.shell {name}`, then `systemctl --failed` there",
    )


def ssh_greeting(address: str, timeout: float = 2.0) -> str:
    """The first line that the SSH server at `address` sends; without one "" or the error."""
    try:
        with socket.create_connection((address, SSH_PORT), timeout=timeout) as connection:
            return connection.recv(64).decode("ascii", "replace").strip()
    except OSError as error:
        return str(error)


def _engine() -> Engine:
    engine = engines.find()
    if engine is None:
        raise MissingError("the lab is not up: no Docker engine answers", "inv lab.up")
    return engine


def _known(engine: Engine, node: str) -> str:
    short = node.removeprefix(f"{PREFIX}-")
    found = containers(engine)
    if short not in found:
        names = ", ".join(sorted(found)) or "none"
        raise LabError(f"the lab has no node {node!r} (it has: {names})", "inv lab.status", exit_code=2)
    return found[short].name


def exec(
    node: str, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run `argv` as root in a node (or in `packages` or `registry`); the caller judges the exit code."""
    engine = _engine()
    interactive = ["--interactive"] if stdin is not None else []
    name = _known(engine, node)
    return engine.docker("exec", *interactive, name, *argv, check=False, timeout=timeout, stdin=stdin)


def pid(node: str) -> int:
    """The process on this machine that is a node's init: by it the node's network is entered."""
    engine = _engine()
    return int(engine.docker("inspect", "--format", "{{.State.Pid}}", _known(engine, node)).stdout)


def kill(node: str) -> None:
    """Cut a node's power: every process ends at once, disks stay as they are."""
    engine = _engine()
    engine.docker("kill", "--signal", "KILL", _known(engine, node))


def destroy(node: str) -> None:
    """Take a node away with its disks. `inv lab.up` then boots a new one under its name and address."""
    engine = _engine()
    engine.docker("rm", "--force", "--volumes", _known(engine, node))


def start(node: str, timeout: float = BOOT_TIMEOUT) -> None:
    """Restore a node's power and wait at most `timeout` seconds until its sshd answers."""
    engine = _engine()
    name = _known(engine, node)
    engine.docker("start", name)
    short = name.removeprefix(f"{PREFIX}-")
    if short not in ("packages", "registry"):
        wait_for_boot(engine, short, containers(engine)[short].address, time.monotonic() + timeout)


def pause(node: str) -> None:
    """Freeze a node: it keeps its address but does not answer."""
    engine = _engine()
    engine.docker("pause", _known(engine, node))


def unpause(node: str) -> None:
    """Let a frozen node continue."""
    engine = _engine()
    engine.docker("unpause", _known(engine, node))


def shell(node: str) -> None:
    """Replace this process by a root shell in a node."""
    engine = _engine()
    name = _known(engine, node)
    env = {**os.environ, **({"DOCKER_HOST": engine.host} if engine.host else {})}
    os.execvpe("docker", ["docker", "exec", "-it", name, "bash", "-l"], env)
