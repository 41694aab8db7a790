"""The keys that we log in with: a file in whatever form people have it, and what an agent holds."""

from __future__ import annotations

import base64
import binascii
import functools
import io
import os
import re
import shlex
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from paramiko.agent import AgentKey, AgentSSH

from ..errors import UsageError
from ..records import dataclass
from .ssh_config import home

_CLASSES: tuple[tuple[type, Any], ...] = (
    (rsa.RSAPrivateKey, paramiko.RSAKey),
    (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey),
    (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key),
)
_PUBLIC = re.compile(rb"(?:ssh-|ecdsa-|sk-)[\w@.-]+ +([A-Za-z0-9+/=]+)")
_DEFAULTS = ("id_ed25519", "id_ecdsa", "id_rsa")
AGENT_PATIENCE = 30.0  # seconds for an agent's answer: it may ask its user


class KeyUnusable(UsageError):
    """A key file that cannot be used as it is; the remedy is what to type."""


class Agent(AgentSSH):
    """The agent at a socket; one that does not answer holds no keys. paramiko's own asks $SSH_AUTH_SOCK only."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        if not path or path == "none":
            return
        conn = socket.socket(socket.AF_UNIX)
        conn.settimeout(AGENT_PATIENCE)
        try:
            conn.connect(path)
            self._connect(conn)  # type: ignore[attr-defined]
        except (OSError, paramiko.SSHException, ValueError):
            conn.close()

    def close(self) -> None:
        """Close the connection to the agent."""
        self._close()  # type: ignore[attr-defined]


def load(path: Path, agent: Agent, certificates: Sequence[str] = ()) -> list[paramiko.PKey]:
    """What a key file gives to log in with: the key itself, or the agent's key of the same public half.

    A certificate goes before it, beside the file as OpenSSH names it or one of `certificates`.

    Raises KeyUnusable with what to type.
    """
    name = shlex.quote(str(path))
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").lstrip()
        status = path.stat()
    except OSError as error:
        remedy = f"`chmod 600 {name}`" if isinstance(error, PermissionError) else "name the private key to log in with"
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}", remedy) from None
    if data.startswith(b"PuTTY-User-Key-File-"):
        new = shlex.quote(str(path.with_suffix("")) if path.suffix == ".ppk" else f"{path}.openssh")
        raise KeyUnusable(
            f"{path} is a key in PuTTY's form",
            f"`puttygen {name} -O private-openssh -o {new}` writes it in OpenSSH's (package putty-tools); then name {new}",
        )
    public = _PUBLIC.match(data)
    if public or b"PUBLIC KEY" in data[:64]:
        held = _held(agent, [_decoded(public[1])]) if public else []
        if held:
            return held
        private = path.with_suffix("")
        what = f"name {private} beside it" if path.suffix == ".pub" and private.is_file() else "name the private key"
        raise KeyUnusable(f"{path} is the public half of a key, and no agent holds the other", what)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise KeyUnusable(f"{path} is UTF-16 text, as PowerShell writes it", "save the key as plain text (ASCII)")
    if b"PRIVATE KEY-----" not in data[:64]:
        raise KeyUnusable(f"{path} is no private key", "name one that `ssh-keygen -y -f FILE` reads")
    if status.st_uid == os.getuid() and status.st_mode & 0o077:  # OpenSSH does not use it either
        raise KeyUnusable(
            f"{path}: others on this machine can read this private key (mode {status.st_mode & 0o777:04o})",
            f"`chmod 600 {name}`",
        )
    encrypted, blobs = _outside(data, path)
    held = _held(agent, blobs)
    if not encrypted:
        try:
            return _with_certificate(data, path, certificates)
        except (ValueError, TypeError, paramiko.SSHException, UnsupportedAlgorithm) as error:
            if held:  # one on a security key, which only an agent can ask
                return held
            if any(b"sk-" in blob[:8] for blob in blobs):
                raise KeyUnusable(f"{path} is on a security key, and no agent holds it", _add(name)) from None
            raise KeyUnusable(
                f"{path} cannot be read as a private key: {str(error).partition('(')[0].strip()}",
                f"`ssh-keygen -y -f {name}` says whether OpenSSH can; if not, it is damaged",
            ) from None
    if held or (not blobs and agent.get_keys()):  # without its public half: one of the agent's may be it
        return held or list(agent.get_keys())
    raise KeyUnusable(f"{path} has a passphrase, and no agent holds its key", _add(name))


def _add(name: str) -> str:
    then = "in this shell, then run the same command again"
    if os.environ.get("SSH_AUTH_SOCK"):
        return f"`ssh-add {name}` {then}"
    return f"`eval $(ssh-agent -s) && ssh-add {name}` {then}"


def _outside(data: bytes, path: Path) -> tuple[bool, list[bytes]]:
    """Whether a private key is encrypted, and its public half where that can be read without its passphrase."""
    blobs = []
    with suppress(OSError):
        beside = _PUBLIC.match(Path(f"{path}.pub").read_bytes())
        blobs += [_decoded(beside[1])] if beside else []
    if b"BEGIN OPENSSH PRIVATE KEY" not in data[:64]:
        return b"ENCRYPTED" in data[:512], blobs
    raw = _decoded(b"".join(data.split(b"-----")[2].split()) if data.count(b"-----") > 1 else b"")
    message = paramiko.Message(raw.removeprefix(b"openssh-key-v1\0"))
    cipher, _, _, count = message.get_binary(), message.get_binary(), message.get_binary(), message.get_int()
    public = message.get_binary() if count == 1 else b""
    return cipher not in (b"none", b""), [public] if public else blobs


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


@functools.lru_cache(32)
def _key(data: bytes) -> paramiko.PKey:
    """An unencrypted key in any of the forms that OpenSSH and OpenSSL write, PKCS#8 among them. Raises what cryptography raises."""
    read: Any = (
        serialization.load_ssh_private_key if b"BEGIN OPENSSH" in data[:64] else serialization.load_pem_private_key
    )
    key = read(data, password=None)
    made = next((ours for kind, ours in _CLASSES if isinstance(key, kind)), None)
    if not made:
        raise ValueError("keys of this kind are not supported")
    form = serialization.PrivateFormat.OpenSSH
    text = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    result: paramiko.PKey = made.from_private_key(io.StringIO(text))
    return result


def _with_certificate(data: bytes, path: Path, more: Sequence[str]) -> list[paramiko.PKey]:
    # to read the key once more takes longer than all else here
    for file in filter(Path.exists, map(Path, (f"{path}-cert.pub", *more))):
        with suppress(OSError, ValueError, paramiko.SSHException):
            certified = _key.__wrapped__(data)
            certified.load_certificate(str(file))
            return [certified, _key(data)]
    return [_key(data)]


def _held(agent: Agent, blobs: Sequence[bytes]) -> list[paramiko.PKey]:
    return [key for key in agent.get_keys() if key.blob in blobs or key.asbytes() in blobs]


@dataclass
class Login:
    """How paramiko's client logs in as `user`: with these keys, one after the other. `tried` says in words which they were."""

    user: str
    keys: Sequence[paramiko.PKey]
    tried: str
    agent: Agent = field(repr=False)

    def authenticate(self, transport: paramiko.Transport) -> None:
        """Offer the keys. Raises AuthenticationException when none is accepted, BadAuthenticationType where a key alone is not enough."""
        last: Exception = paramiko.AuthenticationException("there is no key to offer")
        try:
            for key in self.keys:
                try:
                    more = transport.auth_publickey(self.user, key)
                    if not more:
                        return
                    raise paramiko.BadAuthenticationType("a key alone is not enough", more)
                except paramiko.BadAuthenticationType:
                    raise
                except paramiko.SSHException as error:  # not this one; or the agent does not sign with it
                    last = error
                    if not transport.is_active():
                        break
        finally:
            self.agent.close()
        raise (
            last if isinstance(last, paramiko.AuthenticationException) else paramiko.AuthenticationException(str(last))
        )


def named(path: str, user: str, socket_path: str, certificates: Sequence[str] = ()) -> Login:
    """Log in with SSH_KEY and nothing else. Raises KeyUnusable."""
    agent = Agent(socket_path)
    try:
        keys = load(Path(path), agent, certificates)
        held = any(isinstance(key, AgentKey) for key in keys)
        return Login(user, keys, f"key {path}{' of your agent' * held}", agent)
    except KeyUnusable:
        agent.close()
        raise


def usual(
    user: str, socket_path: str, identities: Sequence[str], only: bool, certificates: Sequence[str] = ()
) -> Login:
    """Log in as OpenSSH does: the files that ssh_config names, then the agent's other keys unless it says IdentitiesOnly, then the default files.

    What is not there, or has a passphrase that no agent knows, is passed over and named.
    """
    agent = Agent(socket_path)
    keys: list[paramiko.PKey] = []
    over: list[str] = []
    offered: list[str] = []

    def add(paths: Sequence[Path]) -> None:
        for path in paths:
            try:
                if not path.is_file():
                    continue
            except OSError:
                pass  # `load` says why
            try:
                keys.extend(load(path, agent, certificates))
                offered.append(str(path))
            except KeyUnusable as error:
                over.append(f"{error.message}: {error.remedy}")

    add([Path(path) for path in identities if path != "none"])
    if not only:
        keys += [key for key in agent.get_keys() if not any(key is other for other in keys)]
        offered += [f"{len(agent.get_keys())} of your agent"] * bool(agent.get_keys())
    if not identities:
        add([home() / ".ssh" / name for name in _DEFAULTS])
    tried = " and ".join((", ".join(offered) or "no key", *(f"without a key ({why})" for why in over)))
    return Login(user, _once(keys), tried, agent)


def _once(keys: Sequence[paramiko.PKey]) -> list[paramiko.PKey]:
    def mark(key: paramiko.PKey) -> tuple[bytes, bool]:
        return key.asbytes(), bool(getattr(key, "public_blob", None))

    return list({mark(key): key for key in reversed(keys)}.values())[::-1]
