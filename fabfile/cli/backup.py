"""`inv cluster.backup`: etcd's snapshot, keys and configuration in one file here. phases/backup.py says what is done on the node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KubefabError, UsageError
from .common import ATTENDING, Options, command, described, exit_with, print_json, print_text

if TYPE_CHECKING:
    from ..backups.archive import Writer
    from ..backups.contents import Record
    from ..inventory import Environment
    from ..nodes.facts import NodeFacts
    from ..run.result import RunResult
    from .session import Session

KEYGEN = (
    "make a key with age-keygen on a machine that you trust; its public key (age1…) is BACKUP_RECIPIENT in hosts.env"
)


@command(
    "env",
    *ATTENDING,
    help={
        "to": "the folder; default: `backups` beside the journals",
        "keep": "afterwards delete this cluster's older backups in that folder, all but so many; default: keep all",
        "plain": "do not encrypt it: every password of the cluster is then in a file here",
        "metrics": "InfluxDB's data too",
        "timer": "only print a systemd timer for this machine that takes one each night",
    },
)
def backup(
    *, to: str = "", keep: int = 0, plain: bool = False, metrics: bool = False, timer: bool = False, options: Options
) -> None:
    """Save etcd, keys and configuration in one file."""
    from dataclasses import asdict

    from ..backups import names
    from ..run.result import RunResult
    from ..text.screen import verdict
    from ..views import results
    from .session import opened

    environment = described(options)
    if not environment.settings.release.configured:
        raise UsageError(
            "backups are for Kubernetes 1.35 and later", "1.5 keeps its etcd in /var/lib/etcd: save that folder"
        )
    to_whom = "" if plain else recipient_of(environment)
    if not to_whom and not plain:
        raise UsageError(
            "a backup holds every password of the cluster, and there is no BACKUP_RECIPIENT to encrypt it to; nothing was touched",
            f"{KEYGEN}. Or --plain for a file in clear",
        )
    if timer:
        _print_timer(environment, to, keep, plain, metrics, options)
        return
    with opened(options) as session:
        environment = session.environment
        folder = Path(to).expanduser() if to else names.folder_of(environment)
        taken = take(session, folder, to_whom, metrics=metrics)
        if isinstance(taken, RunResult):
            if options.json:
                print_json(results.of_run(environment.name, taken))
            exit_with(taken.exit_code)
            return
        path, size, record = taken
        newest = names.read_name(path)
        gone = names.superfluous(names.found_in(folder, environment.name), newest, keep) if keep and newest else []
        for one in gone:
            one.path.unlink()
        if options.json:
            shown = {
                key: value for key, value in asdict(record).items() if key not in ("files", "format", "size", "hash")
            }
            print_json({**shown, "file": str(path), "bytes": size, "encrypted": bool(to_whom), "metrics": metrics, "hash": f"{record.hash:08x}",
                        "snapshot": record.size, "deleted": [str(one.path) for one in gone]})  # fmt: skip
            return
        what = f"revision {record.revision}, {record.keys} keys, hash {record.hash:08x}{', metrics' * metrics}"
        session.console.print(verdict(True, f"{environment.name}: {path} ({in_words(size)}; {what})"), soft_wrap=True)
        if gone:
            session.console.print(
                f"deleted, as {keep} are kept: {', '.join(one.path.name for one in gone)}", soft_wrap=True
            )


def recipient_of(environment: Environment) -> str:
    """BACKUP_RECIPIENT; empty without one. Raises UsageError for one that nothing can be encrypted to."""
    from ..backups.archive import recipient

    to_whom = environment.settings.backup_recipient
    try:
        if to_whom:
            recipient(to_whom)
    except ValueError as error:
        raise UsageError(f"BACKUP_RECIPIENT: {error}", KEYGEN) from None
    return to_whom


def take(
    session: Session, folder: Path, to_whom: str, *, metrics: bool = False
) -> tuple[Path, int, Record] | RunResult:
    """Take a backup into that folder, encrypted to `to_whom` (an age recipient; empty: in clear), and note it as the latest.

    With `metrics` InfluxDB's data are in it.

    Returns its path, its size in bytes and what it says of itself; or how the run ended, if it failed. Raises KubefabError where what came
    is not a whole backup.
    """
    from ..backups import names
    from ..backups.archive import Writer
    from ..backups.contents import name_of
    from ..backups.latest import Latest, remember_backup
    from ..context import Choices
    from ..nodes.facts import NodeFacts
    from ..phases import BACKUP
    from ..phases.backup import STAGE
    from ..run.apply import Archive

    environment, made = session.environment, time.time()
    writer = Writer(folder, environment.name, to_whom, lambda path: name_of(path, STAGE))
    try:
        choices = Choices(metrics=metrics)
        result = session.run([BACKUP], [environment.control_plane], choices, archive=Archive(takes=writer))
        if result.failed:
            return result
        facts = result.nodes[environment.control_plane.name].facts or NodeFacts()
        made = names.free_second(folder, environment.name, made)
        record = _finish(environment, writer, facts, made, metrics=metrics)
        name = names.name_of(environment.name, made, record.kubernetes, record.uid, encrypted=bool(to_whom))
        path, size = writer.close(name)
    finally:
        writer.abandon()
    try:
        remember_backup(environment, Latest(str(path.absolute()), made, record.uid))
    except OSError as error:
        session.console.print(
            f"{error.filename} cannot be written ({error.strerror}): status will not know of this backup"
        )
    return path, size, record


def in_words(size: int) -> str:
    """A size in bytes for people."""
    return f"{size / (1 << 20):.1f} MiB"


def _finish(environment: Environment, writer: Writer, facts: NodeFacts, made: float, *, metrics: bool) -> Record:
    """Add what the operator's side knows. Raises KubefabError where what came is not a whole backup."""
    import json

    from ..backups.contents import (
        ETCDUTL,
        GUIDE,
        INVENTORY,
        METRICS_FILE,
        RECORD,
        SNAPSHOT,
        STATUS,
        VERSIONS,
        Record,
        parse_record,
        snapshot_status,
        version,
    )  # fmt: skip
    from ..backups.guide import guide
    from ..text.durations import hours
    from .version import kubefab

    control = environment.control_plane
    texts = {name: data.decode("utf-8", "replace") for name, data in writer.texts.items()}
    needed = {
        SNAPSHOT,
        ETCDUTL,
        STATUS,
        VERSIONS,
        *([METRICS_FILE] * metrics),
        *(f"files/etc/kubernetes/{name}" for name in ("pki/ca.key", "pki/sa.key", "admin.conf")),
    }
    if missing := sorted(needed - set(writer.files)):
        raise KubefabError(
            f"{control.name}: {', '.join(missing)} did not come: this would be no whole backup",
            "see that they are there, then run this again",
        )
    try:
        status = snapshot_status(texts[STATUS])
        writer.add(INVENTORY, json.dumps(inventory(environment), indent=1) + "\n")
        record = Record(
            environment.name, control.name, facts.hostname, control.address, environment.endpoint, facts.identity.uid or facts.uid,
            facts.ca_hash, facts.release("kubelet"), version(texts[VERSIONS], "etcd"), made, kubefab(), **status,
        )  # fmt: skip
        writer.add(GUIDE, guide(record, hours(environment.settings.retention) if metrics else None))
        record = Record(**{**vars(record), "files": dict(writer.files)})
        writer.add(RECORD, record.text())
        return parse_record(record.text())
    except (ValueError, LookupError) as error:
        raise KubefabError(f"{control.name}: this would be no whole backup: {error}", "run this again") from None


def inventory(environment: Environment) -> dict[str, object]:
    """The environment's nodes, and its settings that are not the default, without secrets and without files of this machine's."""
    from dataclasses import fields

    from ..inventory.settings import Settings
    from ..text.masking import Secret, masked

    plain = [
        f
        for f in fields(Settings)
        if not f.metadata["path"] and not isinstance(getattr(environment.settings, f.name), Secret)
    ]
    default = Settings()
    changed = {
        f.name.upper(): value
        for f in plain
        if (value := getattr(environment.settings, f.name)) != getattr(default, f.name)
    }
    nodes = [{"name": n.name, "host": n.host, "address": n.address, "role": n.role} for n in environment.nodes]
    data: dict[str, object] = masked({"environment": environment.name, "nodes": nodes, "settings": changed})
    return data


def _print_timer(environment: Environment, to: str, keep: int, plain: bool, metrics: bool, options: Options) -> None:
    """Print a systemd service and its timer for the operator's machine."""
    import shlex
    import sys

    from ..inventory import PROJECT

    program = Path(sys.argv[0]).absolute()
    words = [str(program), "cluster.backup", *shlex.split(environment.option), "--keep", str(keep or 7)]
    words += [
        *(["--to", str(Path(to).expanduser().absolute())] if to else []),
        *["--plain"] * plain,
        *["--metrics"] * metrics,
    ]
    name = f"kubefab-backup-{environment.name}"
    text = f"""# {name}.service and {name}.timer: put each part into ~/.config/systemd/user/ under its name, then
#   systemctl --user daemon-reload && systemctl --user enable --now {name}.timer
#   loginctl enable-linger   # so that it also runs while you are not logged in
# The SSH key must work without an agent or a passphrase then. `systemctl --user status {name}` shows how the last one went.

# --- {name}.service
[Unit]
Description=Backup of the Kubernetes cluster {environment.name}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={_unit_word(str(PROJECT))}
Environment=LC_ALL=C.UTF-8
ExecStart={" ".join(_unit_word(word) for word in words)}

# --- {name}.timer
[Unit]
Description=Backup of the Kubernetes cluster {environment.name}, each night

[Timer]
OnCalendar=*-*-* 03:00:00
RandomizedDelaySec=30min
Persistent=true

[Install]
WantedBy=timers.target
"""
    if options.json:
        print_json({"name": name, "units": text})
    else:
        print_text(text)


def _unit_word(word: str) -> str:
    """A word as systemd reads it: quoted where it has a blank, and % doubled."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if any(c in word for c in " \t\"'") else word
