"""A signed apt repository in upstream's URL layout, and the key that signs it."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from . import versions
from .debs import packages_index
from .paths import short
from .shell import run
from .versions import Kubernetes

KEY_NAME = "kubefab lab packages"


@dataclass(frozen=True)
class SigningKey:
    """A GnuPG key in a home folder of its own."""

    home: Path
    fingerprint: str

    def gpg(self, *args: str | Path) -> str:
        """Run gpg on this key's home without asking anything; returns what it printed."""
        return _gpg(self.home, *args)


def _gpg(home: Path, *args: str | Path) -> str:
    quiet = ("--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "")
    with short(home) as folder:
        try:
            return run(["gpg", "--homedir", folder, *quiet, *args]).stdout
        finally:
            run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False)


def known_key(home: Path) -> SigningKey | None:
    """The key in `home` if there is one; runs no program."""
    marker = home / "complete"
    fingerprint = marker.read_text().strip() if marker.exists() else ""
    return SigningKey(home, fingerprint) if fingerprint else None


def signing_key(home: Path) -> SigningKey:
    """The key in `home`, made on first use."""
    known = known_key(home)
    if known is not None:
        return known
    mark = home / "complete"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    _gpg(home, "--quick-generate-key", KEY_NAME, "rsa3072", "sign", "never")
    fingerprint = _fingerprint(home)
    mark.write_text(fingerprint)
    return SigningKey(home, fingerprint)


def _fingerprint(home: Path) -> str:
    listing = _gpg(home, "--list-keys", "--with-colons", KEY_NAME)
    found = [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")]
    return found[0] if found else ""


def release_file(folder: Path, fields: dict[str, str], names: Sequence[str]) -> str:
    """The `Release` file for the index files `names` in `folder`."""
    lines = [f"{k}: {v}" for k, v in fields.items()]
    lines.append("SHA256:")
    for name in names:
        data = (folder / name).read_bytes()
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
    return "\n".join(lines) + "\n"


def _write_index(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Packages").write_text(text)
    (folder / "Packages.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _sign(key: SigningKey, folder: Path) -> None:
    release = folder / "Release"
    key.gpg("--local-user", key.fingerprint, "--clearsign", "--output", folder / "InRelease", release)
    key.gpg(
        "--local-user",
        key.fingerprint,
        "--armor",
        "--detach-sign",
        "--output",
        folder / "Release.gpg",
        release,
    )


def link(files: Iterable[Path], folder: Path) -> None:
    """Put files into a folder by hard links."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        os.link(file, folder / file.name)


def write_flat(folder: Path, arch: str, key: SigningKey) -> None:
    """Index and sign a flat repository whose packages lie in `folder`/ARCH (pkgs.k8s.io's layout)."""
    _write_index(folder, packages_index(list((folder / arch).glob("*.deb")), folder))
    fields = {
        "Origin": "kubefab-lab",
        "Suite": "stable",
        "Architectures": arch,
        "Date": formatdate(usegmt=True),
    }
    (folder / "Release").write_text(release_file(folder, fields, ["Packages", "Packages.gz"]))
    _sign(key, folder)
    (folder / "Release.key").write_text(key.gpg("--armor", "--export", key.fingerprint))


def write_dists(base: Path, arch: str, key: SigningKey) -> None:
    """Index and sign `base`/dists/CODENAME with component `stable` (download.docker.com's layout)."""
    dist = base / "dists" / versions.DEBIAN
    component = f"stable/binary-{arch}"
    _write_index(dist / component, packages_index(list((base / "dists").rglob("*.deb")), base))
    fields = {
        "Origin": "kubefab-lab",
        "Suite": versions.DEBIAN,
        "Codename": versions.DEBIAN,
        "Components": "stable",
        "Architectures": arch,
        "Date": formatdate(usegmt=True),
    }
    names = [f"{component}/Packages", f"{component}/Packages.gz"]
    (dist / "Release").write_text(release_file(dist, fields, names))
    _sign(key, dist)
    (base / "gpg").write_text(key.gpg("--armor", "--export", key.fingerprint))


def write(
    out: Path,
    debs_of: Mapping[Kubernetes, Path],
    tools: Path,
    archives: Mapping[str, Path],
    arch: str,
    key: SigningKey,
) -> None:
    """A web server's root in `out`: a signed repository per minor release with each of its patches, Docker's, and etcd's archives.

    `debs_of` maps each release to the folder of its packages, `archives` each version of etcd to that of its archive; `tools` is what
    `debs.build_tools` left.
    """
    for minor in dict.fromkeys(release.minor for release in debs_of):
        core = out / f"core:/stable:/v{minor}/deb"
        for folder in (*(f for release, f in debs_of.items() if release.minor == minor), tools / "core"):
            link(folder.iterdir(), core / arch)
        write_flat(core, arch, key)
    base = out / "linux/debian"
    link((tools / "docker").iterdir(), base / "dists" / versions.DEBIAN / f"pool/stable/{arch}")
    write_dists(base, arch, key)
    for version, folder in archives.items():
        link((folder / version).iterdir(), out / "etcd" / version)
