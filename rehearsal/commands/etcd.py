"""etcd's programs: snapshots are taken, verified and restored. A snapshot of the model is JSON of what etcd holds, with its digest behind it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..bash import Call
from ..host import ETCD, ETCD_PID
from ..machine import Machine
from ..values import split_options
from . import program, unmodelled

_KEPT = ("members", "tokens", "objects", "applied_at", "influx", "admins")


def _runs(machine: Machine) -> bool:
    return "etcd" in machine.host.processes


@program("pgrep")
def pgrep(machine: Machine, call: Call) -> int:
    match call.argv[1:]:
        case ["-o", "-f", pattern] | ["-f", pattern] if pattern.startswith("^etcd "):
            if not _runs(machine):
                return 1
            call.out(f"{ETCD_PID}\n")
            return 0
    raise unmodelled(call)


@program("exe")
def exe(machine: Machine, call: Call) -> int:
    """A process's own program, by its link in /proc."""
    if call.argv != [f"/proc/{ETCD_PID}/exe", "--version"] or not _runs(machine):
        raise unmodelled(call)
    call.out(f"etcd Version: {ETCD}\nGit SHA: 5f1b1c9\n")
    return 0


def _absent(machine: Machine, call: Call) -> bool:
    """Whether the program that was called is not at that path."""
    return ETCD not in (machine.host.read(call.argv[0]) or "")


def program_text(name: str) -> str:
    """The content of the model's programs, as a release archive has them."""
    return f"the program {name} {ETCD}\n"


@program("etcdctl")
def etcdctl(machine: Machine, call: Call) -> int:
    if _absent(machine, call):
        return call.fail(f"bash: line 1: {call.argv[0]}: No such file or directory", 127)
    words, _ = split_options(call.argv[1:], ())
    machine.spend(0.4, "etcdctl")
    if words == ["version"]:
        call.out(f"etcdctl version: {ETCD}\nAPI version: 3.6\n")
        return 0
    if not _runs(machine):
        return call.fail(
            '{"level":"warn","msg":"retrying of unary invoker failed","error":"connection refused"}\nError: context deadline exceeded'
        )
    cluster = machine.cluster
    machine.settling.api_up(machine.now)  # etcd serves what is in its folder now
    match words:
        case ["endpoint", "health"]:
            call.out("https://127.0.0.1:2379 is healthy: successfully committed proposal: took = 5.1ms\n")
        case ["get", "/registry/namespaces/kube-system"]:
            call.out(f"k8s v1 Namespace kube-system {cluster.uid}\n")
        case ["snapshot", "save", path]:
            machine.spend(2, "snapshot")
            if machine.fault("disk-full") is not None:
                machine.host.write(f"{path}.part", "half", "600")
                return call.fail(f"Error: could not open {path}.part (write {path}.part: no space left on device)")
            held = {name: value for name, value in cluster.dump().items() if name in _KEPT}
            text = json.dumps({"uid": cluster.uid, "revision": cluster.generation, **held}, sort_keys=True)
            machine.host.write(path, f"{text}\n{hashlib.sha256(text.encode()).hexdigest()}\n", "600")
            call.out(f"Snapshot saved at {path}\nServer version 3.6.0\n")
        case _:
            raise unmodelled(call)
    return 0


def _read(machine: Machine, path: str) -> dict[str, Any] | None:
    """A snapshot's content; None for one that is damaged."""
    text, _, digest = (machine.host.read(path) or "").strip().rpartition("\n")
    if not text or hashlib.sha256(text.encode()).hexdigest() != digest:
        return None
    found: dict[str, Any] = json.loads(text)
    return found


@program("etcdutl")
def etcdutl(machine: Machine, call: Call) -> int:
    if _absent(machine, call):
        return call.fail(f"bash: line 1: {call.argv[0]}: No such file or directory", 127)
    valued = (
        "-w",
        "--name",
        "--initial-cluster",
        "--initial-cluster-token",
        "--initial-advertise-peer-urls",
        "--data-dir",
        "--bump-revision",
    )
    words, options = split_options(call.argv[1:], valued)
    machine.spend(0.6, "etcdutl")
    match words:
        case ["version"]:
            call.out(f"etcdutl version: {ETCD}\nAPI version: 3.6\n")
        case ["snapshot", "status", path]:
            held = _read(machine, path)
            if held is None:
                return call.fail(
                    "Error: snapshot file integrity check failed. 1 errors found.\nexpected sha256 differs"
                )
            size = len(machine.host.read(path) or "")
            status = {"hash": int(hashlib.sha256(str(held).encode()).hexdigest()[:8], 16), "revision": held["revision"]}
            call.out(
                json.dumps({**status, "totalKey": 100 + len(held["objects"]), "totalSize": size, "version": "3.6.0"})
                + "\n"
            )
        case ["snapshot", "restore", path]:
            return _restore(machine, call, path, options)
        case _:
            raise unmodelled(call)
    return 0


def _restore(machine: Machine, call: Call, path: str, options: dict[str, str]) -> int:
    held, folder = _read(machine, path), options["--data-dir"].rstrip("/")
    if held is None:
        return call.fail("Error: snapshot file integrity check failed")
    if machine.host.children(folder):
        return call.fail(f'Error: data-dir "{folder}" not empty or could not be read')
    if "--mark-compacted" not in options or int(options.get("--bump-revision", "0")) <= 0:
        raise unmodelled(call)
    if machine.fault("disk-full") is not None:
        machine.host.write(f"{folder}/member/snap/half", "half", "600")
        return call.fail("Error: write: no space left on device")
    machine.host.write(f"{folder}/member/snap/db", f"{held['uid']}\n", "600")
    machine.host.write(f"{folder}/member/wal/0.wal", f"{options['--initial-cluster-token']}\n", "600")
    machine.cluster.restored(held.pop("uid"), held)
    machine.spend(3, "restore")
    return 0


@program("tar")
def tar(machine: Machine, call: Call) -> int:
    """Unpack etcd's release archive, which `curl` wrote; pack and unpack a folder of InfluxDB's."""
    host = machine.host
    match call.argv[1:]:
        case ["--remove-files", "-cf", archive, "-C", folder, "."]:
            host.write(
                archive, json.dumps({name: host.read(f"{folder}/{name}") for name in host.children(folder)}), "600"
            )
            host.remove(folder)
            return 0
        case ["-xf", archive, "-C", folder, "--no-same-owner"]:
            for name, text in json.loads(host.read(archive) or "").items():
                host.write(f"{folder}/{name}", text)
            return 0
        case ["-xzf", archive, "-C", folder, "--strip-components=1", "--no-same-owner", *members] if (
            "etcd-v" in archive
        ):
            if machine.host.read(archive) != archive_text():
                return call.fail("gzip: stdin: not in gzip format\ntar: Child returned status 1", 2)
            for member in members:
                name = member.rpartition("/")[2]
                machine.host.write(f"{folder}/{name}", program_text(name), "755")
            return 0
    raise unmodelled(call)


def archive_text() -> str:
    """What the model downloads for etcd's release archive."""
    return f"archive of etcd {ETCD}\n"
