"""Backups by their file names, which say what a list needs without any key: cluster, time, release.

`staging_20261129T050012Z_v1.36.3_6f0c1a2b.tar.age`: environment, UTC, Kubernetes, the first eight digits of the cluster's uid.
"""

from __future__ import annotations

import calendar
import math
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..inventory import Environment
from ..records import dataclass

PLAIN, ENCRYPTED = ".tar", ".tar.age"
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"([A-Za-z0-9_]+)_(\d{8}T\d{6}Z)_v(\d+\.\d+\.\d+|unknown)_([0-9a-f]{8}|unknown)(\.tar(?:\.age)?)")


@dataclass(frozen=True)
class Backup:
    """A backup's file. `made` is seconds since 1970, `size` bytes; `uid` the first eight digits of the cluster's, or "unknown"."""

    path: Path
    environment: str
    made: float
    kubernetes: str
    uid: str
    encrypted: bool
    size: int = 0


def _stamp(made: float) -> str:
    return time.strftime(_STAMP, time.gmtime(made))


def name_of(environment: str, made: float, kubernetes: str, uid: str, *, encrypted: bool) -> str:
    """The name of a backup that is made at `made` (seconds since 1970)."""
    return f"{environment}_{_stamp(made)}_v{kubernetes or 'unknown'}_{uid[:8] or 'unknown'}{ENCRYPTED if encrypted else PLAIN}"


def free_second(folder: Path, environment: str, made: float) -> float:
    """`made` (seconds since 1970), or the first full second after it that names no backup of that environment in that folder.

    Names have no parts of a second, and a backup never takes the place of another.
    """
    while any(folder.glob(f"{environment}_{_stamp(made)}_*")):
        made = math.floor(made) + 1
    return made


def read_name(path: Path) -> Backup | None:
    """What a file's name says; None where it is not a backup's."""
    match = _NAME.fullmatch(path.name)
    if not match:
        return None
    try:
        made = calendar.timegm(time.strptime(match[2], _STAMP))
    except ValueError:
        return None
    size = 0
    with suppress(OSError):
        size = path.stat().st_size
    return Backup(path, match[1], float(made), match[3], match[4], match[5] == ENCRYPTED, size)


def folder_of(environment: Environment) -> Path:
    """Where an environment's backups are unless the operator names another folder."""
    return environment.state / "backups"


def found_in(folder: Path, environment: str = "") -> list[Backup]:
    """The backups in a folder, newest first; of one environment only, if it is named. Raises OSError where it cannot be read."""
    if not folder.is_dir():
        return []
    found = [one for path in folder.iterdir() if path.is_file() and (one := read_name(path))]
    return sorted((one for one in found if environment in ("", one.environment)), key=lambda one: -one.made)


def superfluous(backups: Iterable[Backup], newest: Backup, keep: int) -> list[Backup]:
    """The backups of the same environment and cluster as `newest`, all but it and the latest others: `keep` (from 1) stay.

    What has another name, another environment's or another cluster's is never one of them.
    """
    mine = (newest.environment, newest.uid)
    same = [
        one
        for one in backups
        if (one.environment, one.uid) == mine and one.uid != "unknown" and one.path != newest.path
    ]
    return sorted(same, key=lambda one: -one.made)[max(1, keep) - 1 :]
