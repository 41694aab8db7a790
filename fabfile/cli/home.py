"""A user without a home folder, as in a container with a uid of its own: what asks for one gets a private folder instead of an error."""

from __future__ import annotations

import os

NOWHERE = "/nonexistent"  # as Debian has it for users who have none


def settle() -> str:
    """Set HOME for this process where there is none, neither as a variable nor in the user's entry; returns it then, else "".

    It is a folder of the user's own under the system's temporary one, the same for each command, if no other user can write there.
    """
    if os.environ.get("HOME"):
        return ""
    os.environ.pop("HOME", None)  # an empty one would be the root folder
    import pwd

    try:
        pwd.getpwuid(os.getuid())
        return ""
    except KeyError:
        os.environ["HOME"] = _own_folder()
        return os.environ["HOME"]


def _own_folder() -> str:
    import stat
    import tempfile
    from contextlib import suppress
    from pathlib import Path

    try:
        place = Path(tempfile.gettempdir(), f"kubefab-{os.getuid()}")
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
        seen = place.lstat()
        ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and not seen.st_mode & 0o077
        return str(place) if ours else tempfile.mkdtemp(prefix="kubefab-")
    except OSError:
        return NOWHERE
