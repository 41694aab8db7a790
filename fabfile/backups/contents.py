"""What is in a backup: its names, and the record of what it was made of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any

from ..nodes.facts import KUBELET_CERTIFICATE
from ..records import dataclass
from ..text import forms

RECORD, GUIDE, INVENTORY = "backup.json", "RESTORE.txt", "inventory.json"
SNAPSHOT, STATUS, ETCDUTL, VERSIONS = "etcd-snapshot.db", "etcd-snapshot.json", "etcdutl", "versions.txt"
METRICS_FILE = "influxdb.tar"  # only with --metrics: InfluxDB's own backup
FILES = "files"  # the folder in which files are by their paths on the node
LARGE = frozenset({SNAPSHOT, ETCDUTL, METRICS_FILE})  # the files that need not fit into memory
SMALL = 1 << 20  # bytes that any other file has at most
FORMAT = 1
RESTORING, RESTORED = "restoring-", "restored-"  # how the marks of a restore begin, in the node's folder
# The kubelet refuses to rotate its certificate where this is a file and not a link: it is kept under the second name.
CURRENT, RENAMED = KUBELET_CERTIFICATE, "/var/lib/kubelet/pki/kubelet-client-restored.pem"


@dataclass(frozen=True)
class Record:
    """What a backup was made of; `backup.json`. `files` maps each name to its SHA-256.

    `address` is the control plane's private one, `endpoint` the API's; `hash`, `revision`, `keys`, `size` (bytes) are etcdutl's of the snapshot.
    """

    environment: str
    node: str
    hostname: str
    address: str
    endpoint: str
    uid: str
    ca: str
    kubernetes: str
    etcd: str
    made: float
    kubefab: str = ""
    hash: int = 0
    revision: int = 0
    keys: int = 0
    size: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def minor(self) -> str:
        """The minor release, like `1.36`."""
        return ".".join(self.kubernetes.split(".")[:2])

    def text(self) -> str:
        """The file's content."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Restoring:
    """A backup that is to be restored: its record, and its files of the node by path. `id` names it on the node.

    `discard_live`: the cluster that answers there may be lost.
    """

    record: Record
    files: Mapping[str, str] = field(repr=False)
    discard_live: bool = False

    @property
    def metrics(self) -> bool:
        """Whether InfluxDB's metrics are in it."""
        return METRICS_FILE in self.record.files

    @property
    def id(self) -> str:
        return self.record.files[SNAPSHOT][:12]

    @property
    def restoring(self) -> str:
        """The mark of a restore that has begun."""
        return f"{RESTORING}{self.id}"

    @property
    def restored(self) -> str:
        """The mark of one whose data and files are in place, until the API has answered."""
        return f"{RESTORED}{self.id}"


_FORMS = {
    "environment": r"[A-Za-z0-9_]+", "node": forms.PLAIN, "hostname": forms.PLAIN, "address": r"[0-9a-fA-F.:]+", "endpoint": r"[0-9a-zA-Z.:\[\]-]+",
    "uid": forms.UUID, "ca": rf"{forms.DIGEST}|", "kubernetes": r"\d+\.\d+\.\d+", "etcd": r"\d+\.\d+\.\d+", "kubefab": r"[\w.+-]*",
}  # fmt: skip


def parse_record(text: str) -> Record:
    """Read `backup.json`. Raises ValueError, as FormError does, for what has not its form."""
    found: Any = json.loads(text)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{RECORD} is not of format {FORMAT}: an older or newer kubefab made it")
    words = {name: forms.word(str(found[name]), name, form, "as kubefab writes it") for name, form in _FORMS.items()}
    numbers = {name: int(found[name]) for name in ("hash", "revision", "keys", "size")}
    files = {
        str(name): forms.word(str(digest), "digest", forms.HASH, "a SHA-256")
        for name, digest in dict(found["files"]).items()
    }
    values: dict[str, Any] = {**words, **numbers}
    return Record(**values, made=float(found["made"]), files=files)


def snapshot_status(text: str) -> dict[str, Any]:
    """etcdutl's status of a snapshot: hash, revision, keys, size. Raises ValueError for what has not its form, or for an empty one."""
    found = json.loads(text)
    numbers = {
        ours: found[theirs]
        for ours, theirs in (("hash", "hash"), ("revision", "revision"), ("keys", "totalKey"), ("size", "totalSize"))
    }
    if not all(isinstance(value, int) and 0 <= value < 1 << 63 for value in numbers.values()) or not numbers["keys"]:
        raise ValueError("etcdutl's status of the snapshot has no keys, or is not numbers")
    return numbers


def version(text: str, name: str) -> str:
    """The version behind `name=` in the text of VERSIONS; "" without one."""
    match = re.search(rf"^{name}=v?(\d+\.\d+\.\d+)", text, flags=re.M)
    return match[1] if match else ""


def name_of(path: str, scratch: str) -> str:
    """The name in the archive of a file of the node; what was made in `scratch` is at its top."""
    if path.startswith(f"{scratch}/"):
        return path.rpartition("/")[2]
    return f"{FILES}{RENAMED if path == CURRENT else path}"
