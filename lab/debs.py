"""Debian packages with the names, layout and dependencies of upstream's own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import debian, versions
from .shell import run

FILES = Path(__file__).parent / "files"
MAINTAINER = "kubefab lab <lab@kubefab.invalid>"

_ENABLE = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
    if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
    if [ -z "$2" ]; then systemctl enable {unit} || true; fi
    {more}
fi
"""
_START = "if [ -d /run/systemd/system ]; then systemctl restart {unit} || true; fi"
_STOP = """#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now {unit} || true; fi
"""
_RELOAD = """#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
"""


@dataclass(frozen=True)
class Deb:
    """A package to build.

    `files` are (absolute target, source file, mode), `folders` empty folders, `scripts` maintainer scripts by name.
    """

    name: str
    version: str
    files: tuple[tuple[str, Path, int], ...]
    description: str
    depends: str = ""
    conffiles: tuple[str, ...] = ()
    scripts: dict[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


def control(deb: Deb, arch: str, size_kib: int) -> str:
    """The package's control file."""
    fields = {
        "Package": deb.name,
        "Version": deb.version,
        "Architecture": arch,
        "Maintainer": MAINTAINER,
        "Installed-Size": str(size_kib),
        "Depends": deb.depends,
        "Section": "net",
        "Priority": "optional",
        "Description": deb.description,
    }
    return "".join(f"{k}: {v}\n" for k, v in fields.items() if v)


def build_deb(deb: Deb, arch: str, work: Path, out: Path) -> Path:
    """Build the package into the folder `out` and return its file."""
    root = work / deb.name
    for target, source, mode in deb.files:
        path = root / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(mode)
    for folder in deb.folders:
        (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file())
    meta = root / "DEBIAN"
    meta.mkdir(parents=True)
    (meta / "control").write_text(control(deb, arch, size // 1024))
    if deb.conffiles:
        (meta / "conffiles").write_text("".join(f"{c}\n" for c in deb.conffiles))
    for name, text in deb.scripts.items():
        (meta / name).write_text(text)
        (meta / name).chmod(0o755)
    path = out / f"{deb.name}_{deb.version}_{arch}.deb"
    run(["dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", root, path])
    shutil.rmtree(root)
    return path


def core_debs(version: str, revision: str, bins: dict[str, Path]) -> list[Deb]:
    """What pkgs.k8s.io serves of one release alone; `bins` maps a program's name to its built file."""
    full = f"{version}-{revision}"
    unit = "kubelet.service"
    return [
        Deb(
            "kubelet",
            full,
            (
                ("/usr/bin/kubelet", bins["kubelet"], 0o755),
                ("/usr/lib/systemd/system/kubelet.service", FILES / "kubelet.service", 0o644),
            ),
            "Node agent for Kubernetes clusters",
            depends=(
                "iptables (>= 1.4.21), kubernetes-cni (>= 1.2.0), iproute2, mount, socat, util-linux, ethtool, ebtables, conntrack"
            ),
            scripts={
                "postinst": _ENABLE.format(unit=unit, more=":"),
                "prerm": _STOP.format(unit=unit),
                "postrm": _RELOAD,
            },
            folders=("/etc/kubernetes/manifests", "/var/lib/kubelet"),
        ),
        Deb(
            "kubeadm",
            full,
            (
                ("/usr/bin/kubeadm", bins["kubeadm"], 0o755),
                (
                    "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
                    FILES / "10-kubeadm.conf",
                    0o644,
                ),
            ),
            "Command-line utility for administering a Kubernetes cluster",
            depends="cri-tools (>= 1.30.0)",
            scripts={"postinst": _RELOAD, "postrm": _RELOAD},
        ),
        Deb(
            "kubectl",
            full,
            (("/usr/bin/kubectl", bins["kubectl"], 0o755),),
            "Command-line utility for interacting with a Kubernetes cluster",
        ),
    ]


def tool_debs(revision: str, cni: str, cri: str, bins: dict[str, Path]) -> list[Deb]:
    """What pkgs.k8s.io serves with every release: the CNI plugins of version `cni` and the tools of version `cri`."""
    return [
        Deb(
            "kubernetes-cni",
            f"{cni}-{revision}",
            tuple((f"/opt/cni/bin/{p}", bins[p], 0o755) for p in ("bridge", "host-local", "loopback", "portmap")),
            "Binaries required to provision kubernetes container networking",
        ),
        Deb(
            "cri-tools",
            f"{cri}-{revision}",
            (("/usr/bin/crictl", bins["crictl"], 0o755),),
            "Command-line utility for interacting with a container runtime",
        ),
    ]


def containerd_deb(version: str, bins: dict[str, Path]) -> Deb:
    """containerd.io as Docker's repository has it, with runc inside and the CRI plugin switched off."""
    unit = "containerd.service"
    programs = ("containerd", "containerd-shim-runc-v2", "ctr", "runc")
    return Deb(
        "containerd.io",
        version,
        (
            *((f"/usr/bin/{p}", bins[p], 0o755) for p in programs),
            ("/usr/lib/systemd/system/containerd.service", FILES / "containerd.service", 0o644),
            ("/etc/containerd/config.toml", FILES / "containerd-config.toml", 0o644),
        ),
        "An open and reliable container runtime",
        depends="libc6, libseccomp2 (>= 2.5.0)",
        conffiles=("/etc/containerd/config.toml",),
        scripts={
            "postinst": _ENABLE.format(unit=unit, more=_START.format(unit=unit)),
            "prerm": _STOP.format(unit=unit),
            "postrm": _RELOAD,
        },
    )


def build_tools(arch: str, work: Path, out: Path, inputs: dict[str, Path]) -> None:
    """The Debian packages that all releases share: `core` as pkgs.k8s.io has them, `docker` as Docker's repository has them."""
    bins = {p.name: p for n in ("containerd", "addons", "cni-plugins") for p in inputs[n].iterdir()}
    runc = work / "runc"
    debian.unpack(inputs["debian"] / "parts", ["runc"], runc)
    bins["runc"] = runc / "usr/sbin/runc"
    cni, cri = versions.CNI_PLUGINS.lstrip("v"), versions.CRI_TOOLS.lstrip("v")
    packed = {
        "core": tool_debs(versions.PACKAGE_REVISION, cni, cri, bins),
        "docker": [containerd_deb(one, bins) for one in versions.CONTAINERD_PACKAGES],
    }
    for name, found in packed.items():
        (out / name).mkdir()
        for deb in found:
            build_deb(deb, arch, work, out / name)


def packages_index(debs: Sequence[Path], base: Path) -> str:
    """The `Packages` file of the given packages, with names relative to `base`."""
    blocks = []
    for path in sorted(debs):
        data = path.read_bytes()
        blocks.append(
            run(["dpkg-deb", "--field", path]).stdout.rstrip("\n")
            + f"\nFilename: {path.relative_to(base)}\nSize: {len(data)}\n"
            + f"MD5sum: {hashlib.md5(data, usedforsecurity=False).hexdigest()}\n"
            + f"SHA1: {hashlib.sha1(data, usedforsecurity=False).hexdigest()}\n"
            + f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
    return "\n".join(blocks)
