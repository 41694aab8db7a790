"""What a rehearsal remembers between commands: a dictionary on disk that a kill at any moment cannot spoil.

Every change is one line appended in one write; a torn last line is dropped on opening.  Opening compacts the file by
writing it anew beside the old one and renaming.  One process at a time: the lock is the kernel's and goes with it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from fabfile.errors import KubefabError


class Store:
    """Use `values` to read, `put` to write. Raises KubefabError when another process has it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise KubefabError(
                "another command is using the simulated nodes", "wait for it to end: simulated nodes live in the process that works on them"
            ) from None
        self.values: dict[str, Any] = {}
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            try:
                self.values.update(json.loads(line))
            except ValueError:
                break
        self._written = {key: json.dumps(value) for key, value in self.values.items()}
        if len(lines) != 1:
            self._compact()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _compact(self) -> None:
        fresh = self.path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(json.dumps(self.values) + "\n")
        fresh.replace(self.path)

    def put(self, values: dict[str, Any]) -> None:
        """Write those of the values that differ from what was written last."""
        texts = {key: json.dumps(value) for key, value in values.items()}
        changed = {key: text for key, text in texts.items() if self._written.get(key) != text}
        if not changed:
            return
        line = "{" + ", ".join(f"{json.dumps(key)}: {text}" for key, text in changed.items()) + "}\n"
        os.write(self._file, line.encode())
        self._written.update(changed)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)
