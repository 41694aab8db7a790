"""What a rehearsal remembers between commands: a dictionary of records on disk that a kill at any moment cannot damage.

Each change is one line, appended in one write: keys and the fields of their records that changed as JSON, separated by tabs.  Opening a
file that has become long, or whose last line is incomplete, compacts it (writes a new one beside it, then renames it).  Only one process may
have it open: the kernel holds the lock and releases it when the process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fabfile.errors import KubefabError

_T = TypeVar("_T")


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


_GONE = ""  # in a line: the names of the fields that a record no longer has
_LONG = 500  # lines: reading them takes as long as writing the file again


def latest(path: Path) -> dict[str, dict[str, Any]]:
    """The records in the file by their keys; empty without the file."""
    return _records(_lines(path))


def _lines(path: Path) -> list[str]:
    """The file's whole lines, and at last what follows them: nothing, or a line that is not whole."""
    return path.read_text().split("\n") if path.exists() else [""]


def _records(lines: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in lines[:-1]:
        words = line.split("\t")
        for key, text in zip(words[::2], words[1::2], strict=True):
            record = found.setdefault(key, {})
            record.update(json.loads(text))
            for name in record.pop(_GONE, ()):
                del record[name]
    return found


def _line(records: Mapping[str, Mapping[str, Any]]) -> str:
    return "\t".join(f"{key}\t{json.dumps(record)}" for key, record in records.items()) + "\n"


class Store:
    """Read with `values`, which only `put` changes. Raises KubefabError while another process has the file open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = locked(path)
        lines = _lines(path)
        self.values: dict[str, dict[str, Any]] = _records(lines)
        if lines[-1] or len(lines) > _LONG:
            self._compact()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _compact(self) -> None:
        fresh = self.path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(_line(self.values) if self.values else "")
        fresh.replace(self.path)

    def put(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the fields that differ from what was written last."""
        changes: dict[str, dict[str, Any]] = {}
        for key, record in records.items():
            written = self.values.setdefault(key, {})
            if written and written == record:  # as a machine's files mostly are
                continue
            changed = {name: value for name, value in record.items() if name not in written or written[name] != value}
            gone = written.keys() - record.keys()
            if changed or gone or not written:
                written.update(copied(changed))
                for name in gone:
                    del written[name]
                changes[key] = changed | ({_GONE: sorted(gone)} if gone else {})
        if changes:
            os.write(self._file, _line(changes).encode())

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)


def copied(value: _T) -> _T:
    """A copy that shares no list with it; by pickle, which takes a fifth of deepcopy's time."""
    copy: _T = pickle.loads(pickle.dumps(value))
    return copy
