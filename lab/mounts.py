"""Removes a folder that may have file systems mounted inside, without reaching into them."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from .errors import LabError
from .shell import run


def below(folder: Path, table: str) -> list[str]:
    """Mount points under `folder` in the text of /proc/self/mounts, innermost first."""
    points = [re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[1]) for line in table.splitlines()]
    return [p for p in reversed(points) if p.startswith(f"{folder}/")]


def remove_tree(folder: Path) -> None:
    """Unmount everything under `folder`, then delete it. Raises LabError rather than delete across a mount."""
    table = Path("/proc/self/mounts")
    for point in below(folder, table.read_text()):
        run(["umount", "--lazy", point], check=False)
    if still := below(folder, table.read_text()):
        raise LabError(f"{still[0]} is still mounted", f"umount --lazy {shlex.quote(still[0])}")
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise LabError(f"{folder} cannot be removed", f"rm -rf {shlex.quote(str(folder))}")
