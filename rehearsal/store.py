"""What a rehearsal remembers between commands: a dictionary on disk that a kill at any moment cannot damage.

Each change is one line, appended in one write: keys and their values as JSON, separated by tabs.  Opening the file drops
an incomplete last line, parses only the last value of each key, and compacts the file (writes a new one beside it, then
renames it).  Only one process may have it open: the kernel holds the lock and releases it when the process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from fabfile.errors import KubefabError


def locked(path: Path) -> int:
    """Lock the file beside `path`; returns its descriptor, which os.close or the end of the process releases.

    Raises KubefabError while another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise KubefabError(
            "another command is using the simulated nodes",
            "wait for it to end: simulated nodes live in the process that works on them",
        ) from None
    return lock


def latest(path: Path) -> dict[str, str]:
    """The last value of each key in the file, as JSON; empty without the file."""
    found: dict[str, str] = {}
    for line in path.read_text().split("\n")[:-1] if path.exists() else ():
        words = line.split("\t")
        found.update(zip(words[::2], words[1::2], strict=True))
    return found


def _line(texts: Mapping[str, str]) -> str:
    return "\t".join(chain.from_iterable(texts.items())) + "\n"


class Store:
    """Read with `values`, write with `put`. Raises KubefabError while another process has the file open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = locked(path)
        self._written = latest(path)
        self.values: dict[str, Any] = {key: json.loads(text) for key, text in self._written.items()}
        self._compact()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _compact(self) -> None:
        fresh = self.path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(_line(self._written) if self._written else "")
        fresh.replace(self.path)

    def put(self, values: dict[str, Any]) -> None:
        """Write the values that differ from what was written last."""
        texts = {key: json.dumps(value) for key, value in values.items()}
        changed = {key: text for key, text in texts.items() if self._written.get(key) != text}
        if not changed:
            return
        os.write(self._file, _line(changed).encode())
        self._written.update(changed)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)
