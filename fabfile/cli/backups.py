"""`inv cluster.backups`: the backups that are here; with --check each is read to its end. It connects to nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KubefabError, UsageError
from .common import Options, command, described, exit_unless, print_json

if TYPE_CHECKING:
    from rich.console import Console


@command(
    "env",
    "json",
    help={
        "to": "the folder; default: `backups` beside the journals",
        "check": "read each to its end: is it whole, and is in it what its name says",
        "identity": "the file with the age key that opens them, for --check",
    },
)
def backups(*, to: str = "", check: bool = False, identity: str = "", options: Options) -> None:
    """The backups here; --check verifies each."""
    from ..backups import names
    from ..text.screen import Screen

    environment = described(options)
    folder = Path(to).expanduser() if to else names.folder_of(environment)
    if to and not folder.is_dir():
        raise UsageError(f"no folder {folder}", "name the folder that the backups are in with --to")
    if identity and not check:
        raise UsageError("--identity is for --check; nothing was read", "add --check")
    now = time.time()
    rows = [_row(one, now) for one in names.found_in(folder, environment.name)]
    if check:
        keys = open_keys(identity)
        for row in rows:
            row |= _checked(row, keys)
    if options.json:
        print_json(rows)
    else:
        _print(
            Screen(stderr=False),
            rows,
            check,
            f"{folder}: no backup of {environment.name} yet: `inv cluster.backup {environment.option}`",
        )
    exit_unless(not any(row.get("error") for row in rows))


def open_keys(identity: str) -> list[Any]:
    """The keys in the named identity file; none without a name. Raises UsageError."""
    from ..backups.archive import identities

    return identities(Path(identity).expanduser()) if identity else []


def _row(one: Any, now: float) -> dict[str, Any]:
    return {
        "file": str(one.path), "made": one.made, "age": max(0.0, now - one.made), "bytes": one.size, "kubernetes": one.kubernetes, "uid": one.uid,
        "encrypted": one.encrypted,
    }  # fmt: skip


def _checked(row: dict[str, Any], keys: list[Any]) -> dict[str, Any]:
    """What reading a backup to its end shows: its record, or the error."""
    from ..backups.archive import Reader

    try:
        record, _ = Reader(Path(row["file"]), keys).whole()
    except KubefabError as error:
        return {"whole": False, "error": error.message, "remedy": error.remedy}
    differs = record.kubernetes != row["kubernetes"] or not (record.uid or "unknown").startswith(row["uid"])
    if differs:
        return {
            "whole": False,
            "error": f"{row['file']}: it was renamed: in it is {record.environment}, v{record.kubernetes}, {record.uid}",
            "remedy": "",
        }
    return {"whole": True, "revision": record.revision, "keys": record.keys, "etcd": record.etcd, "uid": record.uid}


def _print(console: Console, rows: list[dict[str, Any]], check: bool, none: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..text.durations import ago
    from .backup import in_words
    from .progress import print_table

    if not rows:
        console.print(none, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "age", "size", "Kubernetes", "cluster", "", *(("check",) if check else ())):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        whole = Text("whole", "green") if row.get("whole") else Text("NOT WHOLE", "bold red")
        cells = [Path(row["file"]).name, ago(row["age"]), in_words(row["bytes"]), row["kubernetes"], row["uid"][:8]]
        table.add_row(
            *cells, "encrypted" if row["encrypted"] else Text("in clear", "yellow"), *((whole,) if check else ())
        )
    print_table(console, table)
    for row in rows:
        if row.get("error"):
            console.print(f"{row['error']}\n  → {row['remedy']}" if row["remedy"] else row["error"], soft_wrap=True)
