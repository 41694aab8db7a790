"""The run's journal: append-only JSON lines on the operator's side, masked, one file a run.

Each line is flushed as it is written, so that a killed run leaves a readable journal; a torn last line is
skipped on reading.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from .masking import masked


class Journal:
    """Writes one run's events, the first of which says what it is for: `nodes` and `phases` by name.

    `folder` is the environment's journal folder; it is made if need be.
    """

    def __init__(self, folder: Path, command: str, *, nodes: Sequence[str] = (), phases: Sequence[str] = ()) -> None:
        for place in (folder.parent, folder):  # `parents` makes those above for everybody
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.path = folder / f"{stamp}-{os.getpid()}.jsonl"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._stream = os.fdopen(descriptor, "a", encoding="utf-8")
        self._lock = Lock()
        self.write("run", command=command, pid=os.getpid(), nodes=list(nodes), phases=list(phases))

    def write(self, event: str, **fields: Any) -> None:
        """Append one event; every text in it is masked."""
        line = json.dumps(masked({"at": round(time.time(), 3), "event": event, **fields}), ensure_ascii=False)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The events of one journal, oldest first."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def journals(folder: Path) -> list[Path]:
    """Journal files of an environment, oldest first."""
    return sorted(folder.glob("*.jsonl"))
