"""The lab's nodes as the measured find them: bare, each with Python as a cloud's images have it, and a way to see what a run has made of them.

What is made is looked at by `docker exec`, the same for all: neither by kubefab's facts nor by a rival's.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fabfile import inventory
from fabfile.inventory import Environment
from lab import engine as engines
from lab import nodes as machines
from lab import up as lab_up
from lab.paths import cache_dir
from lab.settings import hostname

from . import environments
from .measuring import Failed

Say = Callable[[str], None]
PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# What Debian's cloud images have, and the lab's nodes lack: Ansible cannot work without it. kubefab and pyinfra ask for no Python.
PYTHON = ("python3", "python3-apt")
SETTLE = 120.0  # seconds in which what a run left unfinished (metrics, a last pod) must be there


@contextmanager
def lab(say: Say) -> Iterator[Environment]:
    """The lab, brought up if it is not and then taken down again. Its nodes are replaced: what ran on them is lost."""
    ours = not lab_up.status()["containers"]
    try:
        fresh(say)
        yield inventory.load("lab", variables={})
    finally:
        if ours:
            inv("lab.down")
        else:
            fresh(say, python=False)


def inv(*argv: str) -> None:
    """A command of ours that is not measured. Raises Failed with what it printed."""
    done = subprocess.run([BIN / "inv", *argv], cwd=PROJECT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Failed(f"inv {' '.join(argv)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def fresh(say: Say, *, python: bool = True) -> None:
    """New machines under the lab's addresses: nothing of an earlier run is on them, and nothing of the earlier ones is known here."""
    say("new machines")
    found = lab_up.status()["containers"]
    names = [name for name in found if name not in ("packages", "registry")] if isinstance(found, dict) else []
    with ThreadPoolExecutor() as pool:
        list(pool.map(machines.destroy, names))
    state = inventory.state_folder("lab")
    for name in ("known_hosts", "identity.json"):
        (state / name).unlink(missing_ok=True)
    inv("lab.up")
    if python:
        packages = debs(say)
        nodes = inventory.load("lab", variables={}).nodes
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: _install(node.name, packages), nodes))


def debs(say: Say) -> Path:
    """A tar of Debian packages: Python and its binding to apt, with all that the lab's node image lacks for them. Fetched once.

    Fetched in a copy of the node's own system, so that the host's release does not matter.
    """
    image = max((cache_dir() / "items").glob("debian-*/root.tar"), key=lambda path: path.stat().st_mtime)
    target = environments.folder() / f"python-{image.parent.name}.tar"
    if target.exists():
        return target
    say("fetching Python for the nodes (once)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="kubefab-bench-") as scratch:
        root = Path(scratch, "root")
        root.mkdir()
        subprocess.run(["tar", "--numeric-owner", "-C", root, "-xpf", image], check=True)
        archives = root / "var/cache/apt/archives"
        for package in archives.glob("*.deb"):
            package.unlink()
        shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
        options = "-qq -o APT::Sandbox::User=root"
        fetch = f"apt-get {options} update && apt-get {options} install --yes --no-install-recommends --download-only {' '.join(PYTHON)}"
        done = subprocess.run(["chroot", root, "sh", "-c", fetch], capture_output=True, text=True, check=False)
        packages = sorted(archives.glob("*.deb"))
        if done.returncode or not packages:
            raise Failed(f"Python for the nodes cannot be fetched\n{done.stderr[-2000:]}")
        part = target.with_suffix(".part")
        with tarfile.open(part, "w") as tar:
            for package in packages:
                tar.add(package, package.name)
        part.replace(target)
    return target


def _install(node: str, packages: Path) -> None:
    """Unpack and configure them, as an image's maker does; compiled, so that no run pays for another's first import."""
    line = (
        "set -e; d=$(mktemp -d); tar -C $d -xf -; apt-get -qq install --yes --no-install-recommends $d/*.deb >/dev/null; "
        "rm -rf $d; python3 -m compileall -q /usr/lib/python3 || true"
    )
    engine = engines.find()
    assert engine is not None
    variables = {"DOCKER_HOST": engine.host} if engine.host else {}
    command = [
        "docker",
        "exec",
        "-i",
        "-e",
        "DEBIAN_FRONTEND=noninteractive",
        machines.container_name(node),
        "bash",
        "-c",
        line,
    ]
    with packages.open("rb") as file:
        done = subprocess.run(
            command, stdin=file, capture_output=True, text=True, env={**os.environ, **variables}, check=False
        )
    if done.returncode:
        raise Failed(f"{node}: Python cannot be installed\n{done.stderr[-2000:]}")


def sh(node: str, script: str) -> str:
    """What a shell line prints as root on a node; "" if it fails."""
    done = machines.exec(node, ["bash", "-c", f"export KUBECONFIG=/etc/kubernetes/admin.conf; {script}"])
    return done.stdout if done.returncode == 0 else ""


def wrong(environment: Environment) -> str:
    """What the cluster lacks of the job that all of them have: "" once every node is Ready, and the pod network, add-ons and metrics are there."""
    cp = environment.control_plane.name
    hosts = {node.name: hostname(node.address) for node in environment.nodes}
    try:
        seen = json.loads(sh(cp, "kubectl get nodes -o json") or "{}").get("items", [])
    except ValueError:
        seen = []
    ready = {
        one["metadata"]["name"]
        for one in seen
        if any(c["type"] == "Ready" and c["status"] == "True" for c in one["status"]["conditions"])
    }
    if missing := [name for name, host in hosts.items() if host not in ready]:
        return f"not Ready: {', '.join(missing)}"
    for namespace, workload in (
        ("kube-flannel", "ds/kube-flannel-ds"),
        ("kube-system", "ds/kube-proxy"),
        ("kube-system", "deploy/coredns"),
        ("kube-system", "deploy/kube-web-view"),
        ("monitoring", "deploy/monitoring-influxdb"),
        ("monitoring", "ds/telegraf"),
    ):
        if not sh(cp, f"kubectl -n {namespace} rollout status {workload} --timeout=1s"):
            return f"not rolled out: {workload}"
    for node in environment.nodes:
        if lacking := _links(sh(node.name, "ip -j addr"), environment):
            return f"{node.name} has no {lacking} in the pod network"
    influx = "kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute"
    if "default," not in sh(cp, f"{influx} 'SHOW RETENTION POLICIES'"):
        return "no retention policy"
    query = 'SELECT last("cpu_usage_nanocores") FROM "kubernetes_node" WHERE time > now() - 1m GROUP BY "node_name"'
    metrics = sh(cp, f"{influx} '{query}'")
    if silent := [name for name, host in hosts.items() if f"node_name={host}," not in metrics]:
        return f"no metrics of {', '.join(silent)}"
    return ""


def _links(text: str, environment: Environment) -> str:
    pods = ipaddress.ip_network(str(environment.settings.pod_cidr))
    found = {
        link.get("ifname")
        for link in json.loads(text or "[]")
        for address in link.get("addr_info", [])
        if address.get("family") == "inet" and ipaddress.ip_address(address["local"]) in pods
    }
    return ", ".join(name for name in ("flannel.1", "cni0") if name not in found)


def prove(environment: Environment, who: str, seconds: float = SETTLE) -> None:
    """Raises Failed unless the cluster that `who` made is whole within that time (outside what is measured)."""
    end = time.monotonic() + seconds
    while lacking := wrong(environment):
        if time.monotonic() > end:
            raise Failed(f"{who} ended well, but its cluster is not whole: {lacking}")
        time.sleep(1)
