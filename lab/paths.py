"""Where the lab keeps its files: a cache that survives `lab.down`, and a state folder that does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import platformdirs


def cache_dir() -> Path:
    """Folder of everything built; safe to delete, costs a rebuild."""
    return platformdirs.user_cache_path("kubefab") / "lab"


def state_dir() -> Path:
    """Folder of the running lab: keys, password, hosts.env, engine files. Removed by `lab.down`."""
    return platformdirs.user_state_path("kubefab") / "lab"


def hosts_env() -> Path:
    """The file in which the rest of kubefab finds the lab's nodes."""
    return state_dir() / "hosts.env"


@contextmanager
def short(folder: Path) -> Iterator[Path]:
    """A short path without blanks that leads to `folder`, for programs that do not accept every path.

    The path of gpg-agent's socket may have at most 107 bytes, and debootstrap's scripts end a name at a blank.
    """
    with TemporaryDirectory(dir="/tmp", prefix="kubefab-") as temporary:
        link = Path(temporary) / "lab"
        link.symlink_to(folder)
        yield link
