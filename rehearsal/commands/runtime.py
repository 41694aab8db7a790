"""crictl and ctr: containerd's images, sandboxes and logs."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from .. import certificates
from ..bash import Call
from ..host import Host, Pod, references, served
from ..machine import Machine
from . import program, unmodelled

_RELEASE = "2.3.4"


def sandbox(host: Host, pod: Pod) -> str:
    return hashlib.sha256(host.uid(pod).encode()).hexdigest()[:13]


def pull_trouble(machine: Machine, image: str) -> str:
    """Why an image cannot be pulled here, in containerd's words; empty if it can."""
    settings = machine.settings
    name = image.rsplit(":", 1)[0] if ":" in image.rsplit("/", 1)[-1] else image
    upstream = image.split("/")[0]
    served = not settings.registry or upstream == settings.registry.host or upstream in settings.mirrors
    if machine.fault("registry-no-login") is not None and served:
        return (
            f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": '
            f"pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"
        )
    if machine.fault("disk-full") is not None:
        return f'failed to pull and unpack image "{image}": failed to extract layer: write /var/lib/containerd: no space left on device'
    return f'failed to resolve reference "{image}": {name}: not found' if ":v0.0.0" in image else ""


def _labels(pod: Pod) -> dict[str, str]:
    """What the kubelet writes on a pod's container."""
    return {
        "io.kubernetes.container.name": pod.labels.get("component", ""),
        "io.kubernetes.pod.name": pod.name,
        "io.kubernetes.pod.namespace": pod.namespace,
    }


def _container(host: Host, pod: Pod) -> dict[str, Any]:
    state = "CONTAINER_RUNNING" if pod.running else "CONTAINER_EXITED"
    name = pod.labels.get("component", pod.name)
    return {
        "id": sandbox(host, pod),
        "metadata": {"name": name},
        "state": state,
        "createdAt": str(int(pod.began * 1e9)),
        "image": {"image": "sha256:0a1b", "userSpecifiedImage": pod.images[0] if pod.images else ""},
        "labels": _labels(pod),
    }


def _stopped(machine: Machine, pod: Pod) -> None:
    """A container ends; the kubelet starts a static pod's again."""
    pod.running = False
    machine.spend(2, "crictl stop")
    if pod.labels.get("tier") != "control-plane" or not machine.host.active("kubelet"):
        return
    if machine.settling.stays_down(machine.host, pod):
        pod.trouble = "panic: failed to find database snapshot file"
        return
    pod.running, pod.since = True, machine.host.clock + 2
    certificates.begin(machine.host, pod)


def _sandbox(host: Host, pod: Pod) -> dict[str, Any]:
    """A pod's sandbox, with the annotations that the kubelet gives it."""
    source = "file" if pod.labels.get("tier") == "control-plane" else "api"
    return {
        "id": sandbox(host, pod),
        "metadata": {"name": pod.name, "uid": host.uid(pod), "namespace": pod.namespace, "attempt": 0},
        "state": "SANDBOX_READY",
        "createdAt": str(int((time.time() - host.clock + pod.created) * 1e9)),
        "labels": pod.labels,
        "annotations": {"kubernetes.io/config.source": source},
    }


@program("crictl")
def crictl(machine: Machine, call: Call) -> int:
    words = []
    given = iter(call.argv[1:])
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    for word in given:
        if word in (
            "--runtime-endpoint",
            "--image-endpoint",
            "-r",
            "-i",
            "--name",
            "--namespace",
            "--tail",
            "--state",
            "--timeout",
            "-o",
            "--output",
        ):
            options[word] = next(given)
        elif word == "--label":
            key, _, value = next(given).partition("=")
            labels[key] = value
        else:
            words.append(word)
    host = machine.host
    if not host.unit("containerd").active:
        return call.fail(
            'time="2026-11-24T12:00:00Z" level=fatal msg="validate service connection: dial unix /run/containerd/containerd.sock: '
            'connect: no such file or directory"'
        )
    if not host.cri:
        return call.fail(
            'time="2026-11-24T12:00:00Z" level=fatal msg="validate service connection: validate CRI v1 runtime API for endpoint: '
            'rpc error: code = Unimplemented desc = unknown service runtime.v1.RuntimeService"'
        )
    match words:
        case ["info", *_]:
            network = (
                '"status": false, "message": "cni plugin not initialized"' if host.cni_unread else '"status": true'
            )
            call.out(
                f'{{"status": {{"conditions": [{{"type": "RuntimeReady", "status": true}}, {{"type": "NetworkReady", {network}}}]}}}}\n'
            )
        case ["version", *_]:
            call.out(
                f"RuntimeName:  containerd\nRuntimeVersion:  v{(host.containerd_runs or _RELEASE).partition('-')[0]}\n"
            )
        case ["pull", image]:
            trouble = pull_trouble(machine, image)
            machine.spend(5, image)
            if trouble:
                return call.fail(f'time="2026-11-24T12:00:00Z" level=fatal msg="pulling image: rpc error: {trouble}"')
            if not host.pull(image):
                return call.fail(
                    f'time="2026-11-24T12:00:00Z" level=fatal msg="pulling image: rpc error: failed to resolve {image}: not found"'
                )
            call.out(f"Image is up to date for {image}\n")
        case ["pods", "-q"]:
            within = options.get("--namespace", "")
            found = [pod for pod in host.pods if within in ("", pod.namespace) and labels.items() <= pod.labels.items()]
            call.out("".join(f"{sandbox(host, pod)}\n" for pod in found))
        case ["pods"] if options.get("-o") == "json":
            call.out(json.dumps({"items": [_sandbox(host, pod) for pod in host.pods if pod.running]}) + "\n")
        case ["pods", *_]:
            call.out("".join(f"{sandbox(host, p)}  Ready  {p.name}  {p.namespace}\n" for p in host.pods))
        case ["ps", *flags]:
            wanted = options.get("--name", "")
            pods = [
                p
                for p in host.pods
                if (p.running or "-a" in flags or "-aq" in flags) and wanted.removesuffix("-ds") in p.name
            ]
            pods = [p for p in pods if labels.items() <= _labels(p).items()]
            if options.get("-o") == "json":
                call.out(json.dumps({"containers": [_container(host, p) for p in pods]}, indent=2) + "\n")
            elif flags and "q" in flags[0]:
                call.out("".join(f"{sandbox(host, p)}\n" for p in pods))
            else:
                call.out("CONTAINER      IMAGE          STATE      NAME\n")
                call.out(
                    "".join(
                        f"{sandbox(host, p)}  {(p.images or ['-'])[-1]}  {'Running' if p.running else 'Exited'}  {p.name}\n"
                        for p in pods
                    )
                )
        case ["logs", *rest]:
            for pod in host.pods:
                if rest and sandbox(host, pod) == rest[-1]:
                    call.out(f"{pod.trouble or 'running'}\n")
        case ["stop", *ids]:
            for pod in [pod for pod in host.pods if pod.running and sandbox(host, pod) in ids]:
                _stopped(machine, pod)
        case ["rmp", "-fa"] | ["rmp", "-a", "-f"] | ["rmp", "-af"]:
            host.pods.clear()
            machine.spend(3, "crictl rmp")
        case ["rmp", "-f", *ids]:
            host.pods[:] = [pod for pod in host.pods if sandbox(host, pod) not in ids]
            machine.spend(3, "crictl rmp")
        case ["rmi", "-a"] | ["rmi", "--prune"]:
            host.images.clear()
            machine.spend(3, "crictl rmi")
        case ["rmi", image]:
            if not host.holds(image):
                return call.fail(f'level=error msg="no such image {image}"')
            host.images.remove(image)
        case ["inspecti", "-q", image]:
            if not host.holds(image):
                return call.fail(f'level=fatal msg="no such image {image} present"')
            call.out("{}\n")
        case ["images", *flags]:
            call.out(
                "".join(f"{image}\n" for image in host.images)
                if flags
                else "IMAGE\n" + "".join(f"{i}\n" for i in host.images)
            )
        case _:
            raise unmodelled(call)
    return 0


@program("ctr")
def ctr(machine: Machine, call: Call) -> int:
    words = call.argv[1:]
    if words[:1] == ["-n"]:
        words = words[2:]
    match words:
        case ["images" | "image", "ls", "-q"]:
            call.out("".join(f"{image}\n" for image in machine.host.images))
        case ["images" | "image", "ls", *wanted] if all(word.startswith("name==") for word in wanted):
            rows = [
                (name, held.partition("@")[2] or served(held))
                for held in machine.host.images
                for name in references(held)
            ]
            kept = [row for row in rows if not wanted or row[0] in (word.removeprefix("name==") for word in wanted)]
            call.out("REF TYPE DIGEST SIZE PLATFORMS LABELS\n")
            call.out(
                "".join(
                    f"{name} application/vnd.oci.image.index.v1+json {digest} 1.0 MiB linux/amd64 -\n"
                    for name, digest in sorted(kept)
                )
            )
        case ["version"]:
            call.out("Client:\n  Version:  v2.3.4\n")
        case _:
            raise unmodelled(call)
    return 0


@program("containerd")
def containerd(machine: Machine, call: Call) -> int:
    if call.argv[1:2] == ["--version"]:
        release = machine.host.packages.get("containerd.io", _RELEASE).partition("-")[0]
        call.out(f"containerd containerd.io {release} 1c4457e00facac03ce1d75f7b6777a7a851e5c41\n")
        return 0
    if call.argv[1:3] in (["config", "dump"], ["config", "default"]):
        call.out(machine.host.read("/etc/containerd/config.toml") or "")
        return 0
    raise unmodelled(call)
