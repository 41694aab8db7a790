"""A registry without TLS and behind a project, and a proxy, on one node of a healthy cluster."""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import engine as engines
from lab import nodes as machines
from lab_bed import Lab

PLAIN = """version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /var/lib/registry}, maintenance: {readonly: {enabled: true}}}
http: {addr: ":5000", secret: of-a-test}
"""
NO_LOGIN = {f"KUBEFAB_LAB_REGISTRY_{key}": "" for key in ("USER", "PASSWORD", "CA")}
REGISTRY = ("fab", "-H", "w2", "registry", "--env", "lab")
BOTH = ("fab", "-H", "w2", "install", "--env", "lab", "registry", "--env", "lab")
NAME, LOGIN = "registry.trial.example", "me:proxys-word"
FILES = "/etc/kubefab/proxy.env /etc/systemd/system/containerd.service.d/kubefab-proxy.conf /etc/apt/apt.conf.d/00kubefab-proxy"


@contextmanager
def plain_registry(folder: Path) -> Iterator[str]:
    """The lab's images once more, without TLS and login, all of them below `team/k8s`; gives its address."""
    engine = engines.find()
    assert engine
    found = json.loads(engine.docker("inspect", machines.container_name("registry")).stdout)[0]
    store = (
        next(m["Source"] for m in found["Mounts"] if m["Destination"] == "/var/lib/registry") + "/docker/registry/v2"
    )
    (folder / "plain.yml").write_text(PLAIN)
    name, inside = machines.container_name("plain"), "/var/lib/registry/docker/registry/v2"
    mounts = (
        f"{folder}/plain.yml:/etc/plain.yml",
        f"{store}/blobs:{inside}/blobs",
        f"{store}/repositories:{inside}/repositories/team/k8s",
    )
    volumes = [word for mount in mounts for word in ("--volume", f"{mount}:ro")]
    network = next(iter(found["NetworkSettings"]["Networks"]))
    command = ("docker-registry", "serve", "/etc/plain.yml")
    engine.docker(
        "run",
        "--detach",
        "--label",
        engines.LABEL,
        "--network",
        network,
        "--name",
        name,
        *volumes,
        found["Config"]["Image"],
        *command,
    )
    try:
        networks = json.loads(engine.docker("inspect", name).stdout)[0]["NetworkSettings"]["Networks"]
        yield networks[network]["IPAddress"]
    finally:
        engine.docker("rm", "--force", name)


class Proxy(socketserver.StreamRequestHandler):
    """Answers absolute addresses of NAME, for who logs in, with what the registry at `target` answers; notes what it was asked."""

    target, asked = "", list[str]()

    def handle(self) -> None:
        lines = [line.decode().strip() for line in iter(self.rfile.readline, b"\r\n")]
        method, url, _ = lines[0].split()
        given = next(
            (line.partition(":")[2].strip() for line in lines if line.lower().startswith("proxy-authorization:")), ""
        )
        if given != f"Basic {base64.b64encode(LOGIN.encode()).decode()}" or not url.startswith(f"http://{NAME}:5000/"):
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        self.asked.append(f"{method} {url}")
        headers = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
        text = "\r\n".join([f"{method} /{url.split('/', 3)[3]} HTTP/1.1", *headers, "Connection: close", "", ""])

        with socket.create_connection((self.target, 5000), timeout=10) as upstream:
            upstream.sendall(text.encode())
            while data := upstream.recv(1 << 16):
                self.wfile.write(data)


@contextmanager
def proxy(gateway: str, target: str) -> Iterator[tuple[str, list[str]]]:
    """A proxy on this machine that alone knows NAME; gives its address, and what it was asked."""
    kind = type("Kind", (Proxy,), {"target": target, "asked": []})
    with socketserver.ThreadingTCPServer((gateway, 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{LOGIN}@{gateway}:{server.server_address[1]}", kind.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()


@pytest.mark.looks
def test_a_node_pulls_from_plain_http_behind_a_path_and_through_a_proxy_and_back(lab: Lab, tmp_path: Path) -> None:
    lab.make_healthy()
    gateway = lab.sh("w2", "ip -4 route | awk '$1 ~ \"/\" && /eth0/ {print $1; exit}'").rsplit(".", 1)[0] + ".1"
    running = lab.sh("w2", "crictl ps -q | sort")

    def canary(where: str) -> str:
        return lab.sh("w2", f"crictl images | grep -c '^{where}/team/k8s/pause ' || true")

    with plain_registry(tmp_path) as address:
        lab.run(*REGISTRY, **NO_LOGIN, KUBEFAB_LAB_REGISTRY=f"http://{address}:5000/team/k8s")
        assert canary(f"{address}:5000") == "1"
        refused = lab.run(*REGISTRY, expect=1, **NO_LOGIN, KUBEFAB_LAB_REGISTRY=f"{address}:5000/team/k8s")
        assert "the registry speaks plain HTTP" in refused.output and "REGISTRY=http://" in refused.output
        with proxy(gateway, address) as (url, asked):
            through = {**NO_LOGIN, "KUBEFAB_LAB_REGISTRY": f"http://{NAME}:5000/team/k8s", "KUBEFAB_LAB_PROXY": url}
            for _ in range(2):  # the second finds nothing to do
                lab.run(*BOTH, **through)
            assert canary(f"{NAME}:5000") == "1" and any("/v2/team/k8s/pause/manifests/" in line for line in asked)
            assert lab.sh("w2", f"stat -c %a {FILES}").split() == ["600", "644", "600"]
            assert LOGIN not in lab.sh("w2", "systemctl cat containerd; systemctl show containerd")
    lab.run(*BOTH)
    assert (
        lab.sh(
            "w2",
            f"ls {FILES} /etc/kubefab 2>/dev/null; tr '\\0' '\\n' </proc/$(pidof containerd)/environ | grep -i _proxy; true",
        )
        == ""
    )
    assert lab.sh("w2", "ls /etc/containerd/certs.d | grep -c trial.example || true") == "0"
    assert lab.sh("w2", "crictl ps -q | sort") == running, "containers outlive containerd's restarts"
