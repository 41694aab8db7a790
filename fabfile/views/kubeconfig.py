"""Adds this cluster's entry to the operator's kubeconfig; reset removes it again.

Only this cluster's entries change, and only in files that were noted; the rest of a file stays as its owner wrote it.
What a control plane sends is data: from its admin.conf only three values are used, each with a checked format.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ..errors import KubefabError
from ..inventory import Environment, bracketed
from ..records import dataclass
from ..run.retry import Clock, RealClock, attempt
from ..text.masking import register
from ..text.whole import write_whole
from ..text.yamledit import rewritten

LISTS = ("clusters", "users", "contexts")
LARGEST_ADMIN_CONF = 64 << 10  # bytes; kubeadm's file has 6 KB
LOCK_PATIENCE = 10.0  # seconds; kubectl holds its lock for one write
_CERTIFICATE, _KEY = "CERTIFICATE", "((RSA|EC) )?PRIVATE KEY"
_CLUSTER = {"certificate-authority-data": _CERTIFICATE}
_USER = {"client-certificate-data": _CERTIFICATE, "client-key-data": _KEY}
# The other fields of Kubernetes' clientcmd/api/v1 types. They can run programs, read files, or switch off the TLS check.
_DANGEROUS = {
    "exec", "auth-provider", "tokenFile", "token", "username", "password", "client-certificate", "client-key", "certificate-authority",
    "insecure-skip-tls-verify", "proxy-url", "tls-server-name", "disable-compression", "as", "as-uid", "as-groups", "as-user-extra", "extensions",
}  # fmt: skip


def default_path() -> Path:
    """The file that kubectl would use: the first one of $KUBECONFIG, or ~/.kube/config."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first).expanduser() if first else Path.home() / ".kube" / "config"


@dataclass(frozen=True)
class Note:
    """Where the cluster was added: the file, the context's name there, the CA's SHA-256, and the former current context (None: no such key).

    `ca` is empty in a note of an earlier kubefab.
    """

    path: str
    context: str
    ca: str = ""
    before: str | None = ""


@dataclass(frozen=True)
class Entry:
    """What is added to each of a kubeconfig's three lists; `ca` is the SHA-256 of the CA data."""

    name: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    @property
    def user_name(self) -> str:
        return f"{self.name}-admin"

    @property
    def context(self) -> dict[str, Any]:
        return {"cluster": self.name, "user": self.user_name}

    @property
    def ca(self) -> str:
        return _ca(self.cluster)

    def lists(self) -> dict[str, dict[str, Any]]:
        """The object for each list, as the file has it."""
        return {
            "clusters": {"name": self.name, "cluster": dict(self.cluster)},
            "users": {"name": self.user_name, "user": dict(self.user)},
            "contexts": {"name": self.name, "context": self.context},
        }


def entry(environment: Environment, admin: str, name: str = "") -> Entry:
    """Make an entry from the cluster's admin.conf, with that name (default: the environment's) and the cluster's outside address.

    Raises KubefabError if admin.conf contains more than the CA, a client certificate and its key: kubectl would run `exec`, or read
    `tokenFile`, on the operator's machine.
    """
    try:
        source: Any = yaml.safe_load(admin) if len(admin) <= LARGEST_ADMIN_CONF else None
        (cluster,), (user,) = ([dict(item[key]) for item in source[f"{key}s"]] for key in ("cluster", "user"))
    except (yaml.YAMLError, RecursionError, LookupError, TypeError, ValueError):
        raise KubefabError(
            "the control plane's admin.conf cannot be read", "is it initialised? `inv cluster.status`"
        ) from None
    for value in user.values():
        register(str(value))
    cluster.pop("server", None)
    more = [str(key) for key in (*cluster, *user) if key not in {*_CLUSTER, *_USER}]
    if more:
        named = ", ".join(sorted(key for key in more if key in _DANGEROUS)) or "a key that kubeadm does not write"
        raise _refused(environment, f"holds {named}", "kubectl would act on it on this machine")
    form = _CLUSTER | _USER
    wrong = [key for key in form if not _is_pem((cluster | user).get(key), form[key])]
    if wrong:
        raise _refused(environment, f"has no {wrong[0]} in the form of base64 PEM", "kubeadm writes it so")
    server = f"https://{bracketed(environment.control_plane.outside)}:{environment.settings.api_port}"
    return Entry(
        name or environment.name,
        {key: cluster[key] for key in _CLUSTER} | {"server": server},
        {key: user[key] for key in _USER},
    )


def _refused(environment: Environment, what: str, why: str) -> KubefabError:
    node = environment.control_plane.name
    return KubefabError(
        f"{node}'s /etc/kubernetes/admin.conf {what}: not put into a kubeconfig, {why}",
        f"find out who changed it on {node}; `kubeadm init phase kubeconfig admin --config FILE` there writes a new one once the old one is moved "
        "away, with the ClusterConfiguration of ConfigMap kubeadm-config as FILE",
    )


def _is_pem(value: object, kind: str) -> bool:
    try:
        text = base64.b64decode(str(value), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return False
    block = rf"-----BEGIN {kind}-----\r?\n[A-Za-z0-9+/=\s]+-----END {kind}-----\s*"
    return isinstance(value, str) and re.fullmatch(f"({block})+", text) is not None


def _ca(cluster: Mapping[str, Any]) -> str:
    return hashlib.sha256(str(cluster.get("certificate-authority-data", "")).encode()).hexdigest()


# --- adding and removing


def merge(
    path: Path,
    environment: Environment,
    admin: str,
    context: str = "",
    clock: Clock | None = None,
    *,
    select: bool = True,
) -> Path | None:
    """Add the cluster to the kubeconfig at `path` as `context` (default: the environment's name); with `select`, make it the current context.

    Returns the backup of the former file, if one was made.  Raises KubefabError if an entry of that name belongs to another cluster.
    """
    new = entry(environment, admin, context)
    with _locked(path, clock or RealClock()):
        text, before = _read(path)
        noted = next(
            (note for note in notes(environment) if note.path == str(path.absolute()) and note.context == new.name),
            None,
        )
        _refuse_foreign(path, environment, before, new, noted)
        after = dict(before)
        for key, item in new.lists().items():
            after[key] = _with(before.get(key) or [], item)
        current = before.get("current-context")
        if select:
            after["current-context"] = new.name
        old = noted.before if noted and (current == new.name or not select) else current
        # note the file first: reset only looks at noted files
        _note(environment, Note(str(path.absolute()), new.name, new.ca, str(old) if old is not None else None))
        return _write(path, text, before, after)


def remove(note: Note, environment: Environment, clock: Clock | None = None) -> bool:
    """Remove the cluster from the file where it was added; True if it was there.

    An entry of that name that now belongs to another cluster stays. Raises KubefabError if the file cannot be read or locked.
    """
    path = Path(note.path)
    if not path.exists():
        _note(environment, note, forget=True)
        return False
    with _locked(path, clock or RealClock()):
        text, before = _read(path)
        cluster = _named(before, "clusters", note.context).get("cluster")
        server = f"https://{bracketed(environment.control_plane.outside)}:{environment.settings.api_port}"
        ours = isinstance(cluster, dict) and (_ca(cluster) == note.ca if note.ca else cluster.get("server") == server)
        if ours:
            names = dict(zip(LISTS, (note.context, f"{note.context}-admin", note.context), strict=True))
            found = {key: _named(before, key, name) for key, name in names.items()}
            doomed = [key for key, item in found.items() if item and (key != "users" or _is_ours_user(item))]
            after = before | {key: [item for item in before[key] if item["name"] != names[key]] for key in doomed}
            if before.get("current-context") == note.context:
                there = [item["name"] for item in after.get("contexts") or []]
                after["current-context"] = note.before if note.before in there else ""
            _write(path, text, before, after, copy=False)
        _note(environment, note, forget=True)
        return ours


def _is_ours_user(user: Mapping[str, Any]) -> bool:
    """Whether the user entry has only the fields that we write: another person added any token or program."""
    return isinstance(user.get("user"), dict) and set(user["user"]) == set(_USER)


def _refuse_foreign(
    path: Path, environment: Environment, config: Mapping[str, Any], new: Entry, noted: Note | None
) -> None:
    """Raise KubefabError unless the entries of these names belong to this cluster, by its CA, its address, or our note."""
    cluster, user, context = (_named(config, key, item["name"]) for key, item in new.lists().items())
    if not (cluster or user or context):
        return
    inside = cluster.get("cluster")
    ours = isinstance(inside, dict) and (
        _ca(inside) in (new.ca, noted.ca if noted else "")
        or (inside.get("server") == new.cluster["server"] and set(inside) == {*_CLUSTER, "server"})
    )
    if not ours and (cluster or not noted):
        what = (
            f"cluster {new.name} of another CA and address"
            if cluster
            else f"context {new.name}"
            if context
            else f"user {new.user_name}"
        )
    elif user and not _is_ours_user(user):
        what = f"user {new.user_name} with another login"
    elif context and {key: (context.get("context") or {}).get(key) for key in ("cluster", "user")} != new.context:
        what = f"context {new.name} for another cluster or user"
    else:
        return
    raise KubefabError(
        f"{path} has a {what}, which kubefab did not put there: it stays as it is",
        f"choose another name: `inv cluster.kubeconfig {environment.option} --context NAME`, or another file with --file FILE",
    )


def _named(config: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    return next((item for item in config.get(key) or [] if item.get("name") == name), {})


def _with(items: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The list with the entry replaced, or added at the end. What the owner added to the context (a namespace) stays."""
    old = next((item for item in items if item.get("name") == new["name"]), None)
    if old is None:
        return [*items, new]
    if "context" in new:
        new = {**new, "context": {**old["context"], **new["context"]}}
    return [new if item is old else item for item in items]


# --- notes


def notes(environment: Environment) -> list[Note]:
    """The note of each file that the cluster was added to: reset must look there."""
    path = environment.state / "kubeconfigs"
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError, TypeError):
            found.append(Note(**json.loads(line)) if line.startswith("{") else Note(line, environment.name))
    return found


def _note(environment: Environment, note: Note, *, forget: bool = False) -> None:
    """Write a note, replacing an earlier one of the same file; or delete it."""
    path = environment.state / "kubeconfigs"
    with _locked(path, RealClock()):
        others = [one for one in notes(environment) if (one.path, one.context) != (note.path, note.context)]
        write_whole(path, "".join(f"{json.dumps(asdict(one))}\n" for one in (*others, *(() if forget else (note,)))))


# --- the file


@contextmanager
def _locked(path: Path, clock: Clock) -> Iterator[None]:
    """Hold kubectl's own lock on the file (client-go, tools/clientcmd/config.go: `config.lock`, made with O_EXCL)."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as held:
        for place in sorted({path.absolute(), path.resolve()}):
            lock = place.with_name(f"{place.name}.lock")
            take = partial(os.open, lock, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0)
            try:
                os.close(
                    attempt(
                        take, on=FileExistsError, clock=clock, deadline=LOCK_PATIENCE, first_wait=0.05, longest_wait=0.5
                    )
                )
            except FileExistsError:
                raise KubefabError(
                    f"{lock} is there: another program is writing {path}, or died while it did",
                    f"run this again; if no kubectl and no kubefab is at work: `rm -f {lock}`",
                ) from None
            held.callback(lock.unlink, missing_ok=True)
        yield


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """The file's text and its parsed value; those of a new kubeconfig if the file is missing or empty.

    Raises KubefabError; the error quotes nothing from the file, because it may contain a password.
    """
    remedy = "put it right, or name another file with --kubeconfig FILE or --file FILE"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        config = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise KubefabError(f"{path} is not text in UTF-8", remedy) from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise KubefabError(f"{path} is not YAML{where}", remedy) from None
    if config is None:
        return text, {"apiVersion": "v1", "kind": "Config", "preferences": {}, **{key: [] for key in LISTS}}
    lists = [config.get(key) or [] for key in LISTS] if isinstance(config, dict) else [None]
    if not all(
        isinstance(items, list) and all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in items)
        for items in lists
    ):
        raise KubefabError(f"{path} is not a kubeconfig", remedy)
    return text, config


def _write(path: Path, text: str, before: dict[str, Any], after: dict[str, Any], *, copy: bool = True) -> Path | None:
    """Write the file if its meaning changes. Returns the backup of the former file; an identical backup is not made twice."""
    if before == after:
        return None
    path = path.resolve()  # write to the target of a symbolic link, so that the link stays
    made = _copied(path) if copy and text else None
    new = yaml.safe_load(text) is None
    write_whole(path, text + yaml.safe_dump(after, sort_keys=False) if new else rewritten(text, before, after))
    return made


def _copied(path: Path) -> Path | None:
    content = path.read_bytes()
    number = 0
    while True:
        target = path.with_name(f"{path.name}.before-kubefab{f'.{number}' if number else ''}")
        try:
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
            return target
        except FileExistsError:
            with suppress(OSError):
                if target.read_bytes() == content:
                    return None
        number += 1
