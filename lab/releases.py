"""etcd's release archives as its project publishes them: the programs in one tar, with SHA256SUMS beside it."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path

from .recipes import ETCD_PROGRAMS


def write(version: str, arch: str, programs: Mapping[str, Path], out: Path) -> None:
    """Write `VERSION/etcd-VERSION-linux-ARCH.tar.gz` and `VERSION/SHA256SUMS` below `out`; `programs` maps each name to its folder."""
    name = f"etcd-{version}-linux-{arch}"
    folder = out / version
    folder.mkdir(parents=True)
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for program in ETCD_PROGRAMS:
            tar.add(programs[program] / program, f"{name}/{program}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {path.name}\n")
