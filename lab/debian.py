"""The Debian parts: the root file system of a node, and the packages that images are put together from."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import versions
from .paths import short
from .shell import run

FILES = Path(__file__).parent / "files"
ADMIN = "ops"

NODE_PACKAGES = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "iproute2",
    "iptables",
    "nftables",
    "ebtables",
    "ethtool",
    "conntrack",
    "socat",
    "kmod",
    "procps",
    "ca-certificates",
    "curl",
    "gnupg",
    "openssl",
    "iputils-ping",
    "jq",
    "libseccomp2",
    "less",
    "netcat-openbsd",
]
# What the images need, libraries included, unpacked without running any maintainer script.
BASE_PACKAGES = [
    "libc6",
    "libmnl0",
    "libnfnetlink0",
    "libnetfilter-conntrack3",
    "libnftnl11",
    "libxtables12",
    "libnftables1",
    "libedit2",
    "libgmp10",
    "libjansson4",
    "libtinfo6",
    "libbsd0",
    "libmd0",
    "iptables",
    "nftables",
    "conntrack",
    "netbase",
    "busybox-static",
    "ca-certificates",
]
EXTRA_PACKAGES = ("runc", "influxdb", "influxdb-client", "docker-registry")
PYTHON_PACKAGES = [
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libexpat1",
    "zlib1g",
    "libssl3",
    "libffi8",
    "libbz2-1.0",
    "liblzma5",
    "libuuid1",
    "libsqlite3-0",
    "libcrypt1",
    "libgcc-s1",
    "libstdc++6",
    "libdb5.3",
    "libncursesw6",
    "libreadline8",
    "media-types",
]

_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-firstboot.service",
)


def make_debian(work: Path, out: Path, _inputs: dict[str, Path]) -> None:
    """Leave `root.tar` (a fresh Debian system) and `parts/*.deb` in `out`. Needs root and debootstrap."""
    root = work / "root"
    include = "--include=" + ",".join(NODE_PACKAGES)
    root.mkdir()
    with short(root) as target:
        run(["debootstrap", "--variant=minbase", include, versions.DEBIAN, target], log=work.parent / "debootstrap.log")
    download_parts(root, out / "parts")
    _pack(root, out / "root.tar")


def make_node(work: Path, out: Path, inputs: dict[str, Path]) -> None:
    """Leave `node.tar`, the root file system of a lab node, in `out`. Needs root."""
    root = work / "root"
    root.mkdir()
    run(["tar", "--numeric-owner", "-C", root, "-xpf", inputs["debian"] / "root.tar"])
    prepare_node(root)
    _pack(root, out / "node.tar")


def _pack(root: Path, target: Path) -> None:
    run(["tar", "--numeric-owner", "--exclude=./dev/*", "-C", root, "-cf", target, "."])
    shutil.rmtree(root)


def download_parts(root: Path, parts: Path) -> None:
    """Fetch the packages for images with the new system's own apt, so that the host's release does not matter."""
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    area = root / "parts"
    area.mkdir()
    names = [*BASE_PACKAGES, *EXTRA_PACKAGES, *PYTHON_PACKAGES]
    fetch = "apt-get -qq update && cd /parts && exec apt-get -qq -o APT::Sandbox::User=root download " + " ".join(names)
    run(["chroot", root, "sh", "-c", fetch])
    shutil.move(area, parts)


def prepare_node(root: Path) -> None:
    """Turn a fresh Debian tree into a lab node: an admin with key login only, no identity yet, no package source."""
    run(["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", ADMIN])
    # An unusable but not locked password: sshd refuses keys for locked accounts without PAM.
    run(["chroot", root, "usermod", "--password", "*", ADMIN])
    sudoers = root / "etc/sudoers.d/kubefab-lab"
    sudoers.write_text(f"{ADMIN} ALL=(ALL) NOPASSWD:ALL\n")
    sudoers.chmod(0o440)
    shutil.copyfile(FILES / "sshd.conf", root / "etc/ssh/sshd_config.d/kubefab-lab.conf")
    entry = root / "usr/local/sbin/lab-node"
    shutil.copyfile(FILES / "node-entry.sh", entry)
    entry.chmod(0o755)
    for unit in _MASKED:
        link = root / "etc/systemd/system" / unit
        link.symlink_to("/dev/null")
    for identity in [root / "etc/machine-id", *root.glob("etc/ssh/ssh_host_*")]:
        identity.unlink(missing_ok=True)
    (root / "etc/machine-id").touch()
    (root / "etc/apt/sources.list").write_text("")
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / folder)
        (root / folder / "partial").mkdir(parents=True)


def part(parts: Path, package: str) -> Path:
    """The downloaded file of a package."""
    return next(iter(sorted(parts.glob(f"{package}_*.deb"))))


def unpack(parts: Path, packages: list[str] | tuple[str, ...], root: Path) -> None:
    """Unpack packages over `root`, which gets merged-usr links first."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        script = 'dpkg-deb --fsys-tarfile "$1" | tar --keep-directory-symlink -C "$2" -xf -'
        run(["sh", "-c", script, "unpack", part(parts, package), root])


def slim(root: Path) -> None:
    """Remove documentation, translations and character-set tables."""
    for pattern in (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/lintian",
        "usr/lib/*/gconv",
    ):
        for path in root.glob(pattern):
            shutil.rmtree(path)
