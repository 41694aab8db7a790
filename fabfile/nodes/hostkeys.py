"""The host keys of one environment's machines, in a file that is read as strictly as OpenSSH reads it.

sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": markers, patterns with * ? and !, hashed names, [host]:port, comments.  A line that cannot be
read stops the command and is not skipped: it may be about any host, and may revoke a key.
"""

from __future__ import annotations

import base64
import binascii
import errno
import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import paramiko
from paramiko.hostkeys import HostKeys

from ..errors import KubefabError
from ..inventory import private_folder
from ..records import dataclass

REVOKED, AUTHORITY = "@revoked", "@cert-authority"
# A key is its type and that many numbers (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4); of other types, at least one.
_PARTS = {"ssh-rsa": 3, "ssh-ed25519": 2, "ecdsa-sha2-nistp256": 3, "ecdsa-sha2-nistp384": 3, "ecdsa-sha2-nistp521": 3}
# The names under which a known key's type is negotiated: RSA keys sign in three ways (RFC 8332).
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}


class KeyRefused(paramiko.SSHException):
    """Raised for a host key that must not be trusted: `what` is wrong, and the `remedy`."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


@dataclass(frozen=True)
class Entry:
    """One line of the file: its number, its marker (empty for an ordinary key), its hosts, and the key."""

    number: int
    marker: str
    hosts: str
    type: str
    blob: bytes

    def matches(self, names: Sequence[str]) -> bool:
        """Whether the line is about a host with one of these names. If a negated pattern matches, the whole line does not."""
        if self.hosts.startswith("|"):
            return any(HostKeys.hash_host(name, self.hosts) == self.hosts for name in names)
        found = False
        for pattern in self.hosts.split(","):
            if _matches(pattern.removeprefix("!"), names):
                if pattern.startswith("!"):
                    return False
                found = True
        return found

    @property
    def exact(self) -> tuple[str, ...]:
        """The names that the line is about, in their one spelling; empty for a line with patterns or a hashed name."""
        if re.search(r"[|*?!]", self.hosts):
            return ()
        return tuple(dict.fromkeys(map(canonical, self.hosts.split(","))))


def _matches(pattern: str, names: Sequence[str]) -> bool:
    wild = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern.lower())
    return canonical(pattern) in names or any(re.fullmatch(wild, name, re.S) for name in names)


def canonical(host: str) -> str:
    """A host's name in its one spelling, in lower case: `2001:DB8:0::1` becomes 2001:db8::1; a port after brackets is kept."""
    bare = re.fullmatch(r"\[(.+)\](:\d+)", host)
    name, port = (bare[1], bare[2]) if bare else (host, "")
    try:
        name = str(ipaddress.ip_address(name))
    except ValueError:
        name = name.lower()
    return f"[{name}]{port}" if port else name


def parse(text: str, path: Path) -> list[Entry]:
    """The lines of a known_hosts file. Raises KubefabError naming the first line that cannot be read."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        try:
            if marker not in ("", REVOKED, AUTHORITY):
                raise ValueError(f"{marker} is not a marker that is known")
            if len(words) < 3:
                raise ValueError("it is cut short: host, key type and key are expected")
            hosts, kind, key = words[:3]
            if hosts.startswith("|") and not re.fullmatch(r"\|1\|[A-Za-z0-9+/]{27}=\|[A-Za-z0-9+/]{27}=", hosts):
                raise ValueError("its hashed name is damaged")
            found.append(Entry(number, marker, hosts, kind, _blob(kind, key)))
        except ValueError as error:
            raise KubefabError(
                f"{path}:{number}: this line cannot be read: {error}",
                "fix the line, or remove it; a comment begins with #",
            ) from None
    return found


def _blob(kind: str, key: str) -> bytes:
    """Decode a key. Raises ValueError if it is not a complete key of that type."""
    try:
        blob = base64.b64decode(key, validate=True)
    except binascii.Error:
        raise ValueError("its key is damaged or cut short") from None
    parts, at = [], 0
    while at + 4 <= len(blob):
        size = int.from_bytes(blob[at : at + 4], "big")
        parts.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(blob) or len(parts) < 2 or len(parts) != _PARTS.get(kind, len(parts)):
        raise ValueError("its key is damaged or cut short")
    if parts[0] != kind.encode():
        raise ValueError(f"it says {kind}, but its key is of another type")
    return blob


class KnownHosts:
    """One environment's host keys: unknown keys are added and reported to `on_new_key`, changed and revoked keys are refused.

    They are kept apart from the user's own known_hosts, so that a rebuilt lab changes nothing there. Where a new key cannot be written,
    `warn` gets one sentence.  Raises KubefabError for a file
    that cannot be read.
    """

    def __init__(
        self,
        path: Path,
        on_new_key: Callable[[str, str], None] | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.path = path
        self._warn = warn
        self._on_new_key = on_new_key or (lambda host, fingerprint: None)
        self._lock = Lock()
        try:
            self._text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            self._text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise KubefabError(
                f"{path} cannot be read: {error}",
                "it contains the known host keys: fix it, or its permissions",
            ) from None
        # by name: thousands of lines would be looked through for each of as many nodes
        self._exact: dict[str, list[Entry]] = {}
        self._others: list[Entry] = []
        for entry in parse(self._text, path):
            self._know(entry)

    def algorithms(self, host: str) -> tuple[str, ...]:
        """The signature algorithms of a host's known keys. Ask for them first: a server with several keys may otherwise offer an unknown one."""
        types = dict.fromkeys(entry.type for entry in self._of(host) if not entry.marker)
        return tuple(name for kind in types for name in _ALGORITHMS.get(kind, (kind,)))

    def check(self, host: str, key: paramiko.PKey) -> None:
        """Accept a known key, or the first key of a host without known keys. Raises KeyRefused for a changed or revoked key.

        `host` is a name or address, as [host]:port where the port is not 22.
        """
        kind, blob = key.get_name(), key.asbytes()
        with self._lock:
            lines = self._of(host)
            same = [entry for entry in lines if entry.blob == blob]
            if revoked := next((entry for entry in same if entry.marker == REVOKED), None):
                raise KeyRefused(
                    f"its host key is revoked ({self.path}:{revoked.number})",
                    "do not continue: anyone who has that key can pose as this machine. Give the machine a new key",
                )
            if any(not entry.marker for entry in same):
                return
            if plain := [str(entry.number) for entry in lines if not entry.marker]:
                what = "line" if len(plain) == 1 else "lines"
                kinds = dict.fromkeys(entry.type for entry in lines if not entry.marker)
                lacks = "" if kind in kinds else f", and no {' or '.join(kinds)} key, which it is known by"
                raise KeyRefused(
                    f"its host key has CHANGED: it shows {kind} {key.fingerprint}{lacks}",
                    f"another machine may be answering for it. If the machine was rebuilt, "
                    f"remove {what} {', '.join(plain)} from {self.path} and run again",
                )
            if authority := next((entry for entry in lines if entry.marker == AUTHORITY), None):
                raise KeyRefused(
                    f"{self.path}:{authority.number} trusts it by a certificate authority, which kubefab cannot check",
                    f"write the host's own key into that file, as `{canonical(host)} {kind} …`; `ssh-keyscan` shows it, and its console proves it",
                )
            self._add(canonical(host), kind, blob)
            self._on_new_key(host, str(key.fingerprint))

    def _of(self, host: str) -> list[Entry]:
        # hashed names may have been made of either spelling
        names = tuple(dict.fromkeys((canonical(host), host.lower(), host)))
        found = {entry.number: entry for entry in self._exact.get(names[0], ())}
        found |= {entry.number: entry for entry in self._others if entry.matches(names)}
        return [found[number] for number in sorted(found)]

    def _know(self, entry: Entry) -> None:
        for name in entry.exact:
            self._exact.setdefault(name, []).append(entry)
        if not entry.exact:
            self._others.append(entry)

    def _add(self, host: str, kind: str, blob: bytes) -> None:
        line = f"{host} {kind} {base64.b64encode(blob).decode()}\n"
        # the last line may have been written by hand
        lead = "" if self._text.endswith("\n") or not self._text else "\n"
        try:
            private_folder(self.path.parent)
            _append(self.path, (lead + line).encode())
        except OSError as error:  # the next run meets the host for the first time once more
            self._warn(f"{self.path} cannot be written ({error.strerror}); the key of {host} is known to this run only")
        self._text += lead + line
        self._know(Entry(self._text.count("\n"), "", host, kind, blob))


def _append(path: Path, data: bytes) -> None:
    """Append a line whole or not at all: half a key would stop every later run."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)
