"""A file on the operator's machine is written whole or not at all; what cannot be written has its path in the error."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a new file beside it, under a random name and for its owner only, then rename it; a file that was there keeps its owner.

    Raises OSError that names `path`, which is then as it was.
    """
    fresh = ""
    try:
        descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        Path(fresh).chmod(mode)
        with suppress(OSError):
            owner = path.stat()
            os.chown(fresh, owner.st_uid, owner.st_gid)
        Path(fresh).replace(path)
    except BaseException as error:
        if fresh:
            Path(fresh).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
