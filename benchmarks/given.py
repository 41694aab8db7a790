"""What the rivals are given, so that all do the same job: kubefab's own files, manifests and versions, in a folder.

`cluster.json` has the variables, `files/` and `files.tar` what every node has below /etc, `manifests.yaml` what is applied,
`hosts.ini` Ansible's inventory.  It holds the registry's login: no other user may read it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import re
import secrets
import tarfile
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from fabfile.inventory import Environment
from fabfile.manifests import FOLDER
from fabfile.nodes.facts import METRICS, NodeFacts
from fabfile.nodes.influx import lasting
from fabfile.phases import BOOTSTRAP
from fabfile.phases.master import CONFIG as INIT
from fabfile.recipes.kubeadm import recipe_for
from fabfile.recipes.packages import PINNED, WANTED, Apt
from fabfile.steps import File
from fabfile.views.plan import plan, written
from lab import versions
from lab.settings import hostname

PYTHON = "/usr/bin/python3"  # on the nodes


def give(environment: Environment, folder: Path) -> None:
    """Write it all into `folder`, which only its owner may read."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    recipe = recipe_for(environment)
    facts = NodeFacts(os_id="debian", os_codename=versions.DEBIAN, arch=platform.machine())
    planned = {file.path: file for _, file in written(plan(environment, BOOTSTRAP, environment.nodes), environment)}
    files = {path: file for path, file in planned.items() if path.startswith("/etc/") and "/apt/" not in path}
    contents = {path: (file.content.encode(), int(file.mode, 8)) for path, file in files.items()}
    for repository in Apt().repositories(facts, recipe):
        contents[repository.path] = (repository.file.content.encode(), 0o644)
        contents[repository.keyring] = (_key(repository.key_url), 0o644)
    _tree(contents, folder)
    admin, telegraf = secrets.token_hex(32), secrets.token_hex(32)
    texts = [file.content for path, file in planned.items() if str(PurePosixPath(path).parent) == FOLDER]
    secret = {"kubefab": admin, "telegraf": telegraf, "policy": lasting(environment.settings.retention)}
    (folder / "manifests.yaml").write_text(_manifests(texts, secret))
    init = list(yaml.safe_load_all(_init(planned)))
    cluster: dict[str, Any] = {
        "folder": str(folder),
        "nodes": {
            node.name: {
                "host": node.host,
                "port": node.port,
                "user": node.user,
                "key": str(node.key),
                "address": node.address,
                "hostname": hostname(node.address),
                "control_plane": node.control_plane,
            }
            for node in environment.nodes
        },
        "control_plane": environment.control_plane.name,
        "endpoint": environment.endpoint,
        "release": recipe.version,
        "packages": list(WANTED),
        "pinned": list(PINNED),
        "images": list(recipe.worker_images),
        "preflight": list(environment.settings.ignore_preflight),
        "pod_cidr": str(environment.settings.pod_cidr),
        "retention": environment.settings.retention,
        "metrics_folder": METRICS,
        "resolver": "/etc/resolv.conf",  # the lab's nodes have no systemd-resolved
        "init": [one for one in init if one["kind"] not in ("InitConfiguration",)],
        "files": {path: hashlib.sha256(content).hexdigest() for path, (content, _) in sorted(contents.items())},
        "modes": {path: f"{mode:o}" for path, (_, mode) in sorted(contents.items())},
        "sysctls": dict(re.findall(r"^(\S+) = (\S+)$", contents["/etc/sysctl.d/99-kubefab.conf"][0].decode(), re.M)),
    }
    _private(folder / "cluster.json", json.dumps(cluster, indent=2))
    _private(folder / "hosts.ini", _inventory(cluster))


def _init(planned: dict[str, File]) -> str:
    return planned[INIT].content


def _manifests(texts: list[str], login: dict[str, str]) -> str:
    """All of them in one file, in order; InfluxDB's login follows the namespace that it is in."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "influxdb-login", "namespace": "monitoring"},
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in login.items()},
    }
    found = [one for text in texts for one in yaml.safe_load_all(text) if one]
    spaces = [one for one in found if one["kind"] == "Namespace"]
    return yaml.safe_dump_all([*spaces, secret, *(one for one in found if one["kind"] != "Namespace")], sort_keys=False)


def _key(url: str) -> bytes:
    """A repository's key, as apt reads it from a .gpg file: an armoured one is decoded."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        data: bytes = answer.read()
    found = re.search(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----.*?\n\n(.*?)\n=", data, re.S)
    return base64.b64decode(found[1]) if found else data


def _tree(contents: dict[str, tuple[bytes, int]], folder: Path) -> None:
    with tarfile.open(folder / "files.tar", "w") as tar:
        for path, (content, mode) in sorted(contents.items()):
            target = folder / "files" / path.lstrip("/")
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(content)
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode, info.uname, info.gname = len(content), mode, "root", "root"
            tar.addfile(info, io.BytesIO(content))
    (folder / "files.tar").chmod(0o600)


def _inventory(cluster: dict[str, Any]) -> str:
    lines: dict[bool, list[str]] = {True: ["[control_plane]"], False: ["[workers]"]}
    for name, node in cluster["nodes"].items():
        lines[node["control_plane"]].append(
            f"{name} ansible_host={node['host']} ansible_port={node['port']} ansible_user={node['user']} "
            f"ansible_ssh_private_key_file={node['key']} ansible_python_interpreter={PYTHON}"
        )
    return "\n".join([*lines[True], "", *lines[False], ""])


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
