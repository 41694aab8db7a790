"""The run's journal: append-only JSON lines on the operator's side, masked, one file a run.

Each line is flushed as it is written, so that a killed run leaves a readable journal; a torn last line is
skipped on reading.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from ..inventory import private_folder
from ..text.masking import masked

_MOST_WAITING = 200  # events
# Fields with kubefab's own names are not masked: a password like "done" would make the journal unreadable.
_NAMES = frozenset({"event", "node", "on", "phase", "phases", "nodes", "step", "steps", "state", "gate"})


def _named(value: Any) -> Any:
    """A name as it is; a value that does not have the form of a name is masked."""
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    return value if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9.-]*", value) else masked(value)


class Journal:
    """Writes one run's events, the first of which says what it is for: `nodes` and `phases` by name.

    `folder` is the environment's journal folder; it is made if need be.  A run goes on without its journal: where the file cannot be
    written, `warn` gets one sentence, and nothing is ever raised.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        *,
        nodes: Sequence[str] = (),
        phases: Sequence[str] = (),
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.path = folder / f"{stamp}-{os.getpid()}.jsonl"
        self._warn = warn
        self._lock = Lock()
        self._descriptor = -1
        self._waiting: deque[bytes] = deque()
        try:
            private_folder(folder)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            self._give_up(error)
        self.write("run", command=command, pid=os.getpid(), nodes=list(nodes), phases=list(phases))

    @property
    def whole(self) -> bool:
        """Whether all of the run is in it so far."""
        return self._descriptor >= 0

    def write(self, event: str, *, later: bool = False, **fields: Any) -> None:
        """Append one event; every text in it is masked but the names that are ours. Never raises.

        `later`: together with the next one, for what a run that is killed leaves out without a loss.
        """
        given = {"at": round(time.time(), 3), "event": event, **fields}
        line = json.dumps(
            {key: _named(value) if key in _NAMES else masked(value) for key, value in given.items()},
            ensure_ascii=False,
            default=str,
        )
        self._waiting.append((line + "\n").encode("utf-8", "backslashreplace"))
        if not later or len(self._waiting) > _MOST_WAITING:
            with self._lock:
                self._write()

    def _write(self) -> None:
        data = b"".join(self._waiting.popleft() for _ in range(len(self._waiting)))
        if self._descriptor >= 0:
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._warn(f"the journal {self.path} cannot be written ({error.strerror or error}); the run goes on without it")
        self._end()

    def _end(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def close(self) -> None:
        """Nothing more is written."""
        with self._lock:
            self._write()
            self._end()


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
