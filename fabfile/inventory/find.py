"""Which hosts.env a command works with: the one that is named, the nearest upwards from the working folder, or the project's own.

It is looked for as `inv` and `fab` look for their files, so that users keep their nodes in a file of their own and edit none of the
project's. The state folder of an environment belongs to the file that describes it: two files with a `staging` share nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError
from ..records import dataclass

PROJECT = Path(__file__).resolve().parents[2]
NAME, LOCAL, VARIABLE, OPTION = "hosts.env", "hosts.local.env", "KUBEFAB_HOSTS", "--hosts-file"
# The project's own environments of machines that exist on this computer only: known wherever a command is typed.
LAB = "lab"
BUILT_IN = (LAB, "rehearsal")
ROLE = r"CONTROL_PLANE|MASTER|WORKER_\d+|SLAVE_\d+"
ENVIRONMENT = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*"  # its name as a key begins with it
_NODE_LINE = re.compile(rf"^[ \t]*(?:export[ \t]+)?{ENVIRONMENT}_(?:{ROLE})[ \t]*=".encode(), re.M)
_BEGINNING = 1 << 20  # bytes in which a file's first node is looked for


@dataclass(frozen=True)
class HostsFile:
    """The hosts.env that is used.

    `path` has its links resolved: hosts.local.env and relative paths are beside the file itself, not beside a link to it. `how` says
    for messages how it was found, empty for the project's own. `skipped` are files that were not taken, each with the reason.
    """

    path: Path
    how: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def origin(self) -> Path | None:
        """The file whose state is kept apart; None for the project's own."""
        return None if self.path == own() else self.path

    @property
    def local(self) -> Path:
        """The file for secrets and for what concerns this computer only, beside it."""
        return self.path.with_name(LOCAL)


def own() -> Path:
    """The project's hosts.env, whether it is there or not."""
    return (PROJECT / NAME).resolve()


def shown(path: Path) -> str:
    """The path as it can be opened from here: relative below the working folder, else absolute."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # OSError: the working folder has been deleted
        return str(path)


def find(option: str | Path, variables: Mapping[str, str]) -> HostsFile:
    """The hosts.env of `option`, else of KUBEFAB_HOSTS, else the nearest upwards, else the project's own.

    Raises UsageError for a named file that cannot be read, and for one found upwards that cannot be read.
    """
    for named, how in ((str(option), OPTION), (variables.get(VARIABLE, ""), VARIABLE)):
        if named:
            return HostsFile(_named(named, how), how)
    return _nearest()


def expanded(text: str) -> Path:
    """The path that a person wrote, ~ and ~user resolved where there is such a user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _named(text: str, how: str) -> Path:
    try:
        path = expanded(text).resolve(strict=True)
        if not path.is_file():
            raise UsageError(f"{how} {text}: not a file", f"name a file in the form of {own()}")
        with path.open("rb"):
            return path
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle (Python 3.11, 3.12)
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{how} {text}: {why}", "name a hosts.env that is there and yours to read") from None


def _nearest() -> HostsFile:
    skipped: list[str] = []
    try:
        here = Path.cwd()
    except OSError:  # the working folder has been deleted
        return HostsFile(own())
    for folder in (here, *here.parents):
        path = folder / NAME
        if path.resolve() == own():
            break
        if not os.path.lexists(path) or path.is_dir():
            continue
        if why := _foreign(path):
            skipped.append(f"{path} was skipped: {why}")
        else:
            return HostsFile(path.resolve(), f"found upwards from {here}", tuple(skipped))
    return HostsFile(own(), skipped=tuple(skipped))


def _foreign(path: Path) -> str:
    """Why a file that was found upwards is not an inventory for this operator; empty if it is one.

    Raises UsageError if it cannot be read: with another inventory in its place, the same name could mean other machines.
    """
    if path.parent.stat().st_mode & stat.S_IWOTH and path.lstat().st_uid not in (os.geteuid(), 0):
        return "it belongs to another user, in a folder where everyone may write"
    try:
        with path.open("rb") as stream:
            return (
                ""
                if _NODE_LINE.search(stream.read(_BEGINNING))
                else "it has no line of a node, like STAGING_CONTROL_PLANE=…"
            )
    except OSError as error:
        remedy = f"make it readable; or, if it is not kubefab's, name your own with {OPTION} or {VARIABLE}"
        raise UsageError(f"{path}: {error.strerror}, so its environments are not known", remedy) from None
