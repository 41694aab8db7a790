"""What connecting can raise, and what a person reads of it: where, what, and what to do next, never the library's words alone."""

from __future__ import annotations

import errno
import inspect
import os
import re
import socket
import struct
from pathlib import Path

import paramiko
import pytest
from cryptography.exceptions import InvalidTag
from paramiko import ssh_exception

from fabfile.inventory import Node
from fabfile.nodes.failures import Way, unreachable

NODE = Node("w1", "192.0.2.1", "10.2.1.1", False, user="ops", port=2222)
WHERE = "w1 (192.0.2.1:2222): "
SSH = paramiko.SSHException


def _os(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _banner(cause: BaseException) -> Exception:
    error = SSH("Error reading SSH protocol banner")
    error.__context__ = cause
    return error


KEY = paramiko.RSAKey.generate(1024)
# what is raised, the handshake's state, words of the sentence, words of what to do
TABLE: list[tuple[BaseException, bool, str, str]] = [
    (SSH("No existing session"), True, "its handshake has not ended within 7 s", "CONNECT_TIMEOUT"),
    (SSH("No existing session"), False, "the connection was closed", "journalctl"),
    (SSH("Negotiation failed."), True, "the connection was closed", "journalctl"),
    (EOFError(), True, "the connection was closed", "journalctl"),
    (SSH("SSH session not active"), False, "the connection was closed", "same command again"),
    (_os(errno.ECONNRESET), True, "the connection was closed", "same command again"),
    (_os(errno.EPIPE), True, "the connection was closed", "same command again"),
    (_os(errno.ECONNABORTED), True, "the connection was closed", "same command again"),
    (_os(errno.EHOSTUNREACH), False, "there is no way to it", "VPN"),
    (_os(errno.ENETUNREACH), False, "there is no way to it", "VPN"),
    (_os(errno.EHOSTDOWN), False, "there is no way to it", "VPN"),
    (_os(errno.ECONNREFUSED), False, "connection refused", "sshd"),
    (_os(errno.ETIMEDOUT), False, "no answer within 7 s", "security group"),
    (_os(errno.EMFILE), False, "Too many open files on your own machine", "FORKS"),
    (_os(errno.EACCES), False, "your own machine forbids", "firewall"),
    (_os(errno.EPERM), False, "your own machine forbids", "firewall"),
    (_os(errno.EADDRNOTAVAIL), False, "your own machine has no room", "FORKS"),
    (_os(errno.ENOBUFS), False, "your own machine has no room", "FORKS"),
    (RuntimeError("can't start new thread"), False, "your own machine has no room", "FORKS"),
    (MemoryError(), False, "your own machine has no room", "FORKS"),
    (TimeoutError("timed out"), False, "no answer within 7 s", "security group"),
    (SSH("Timeout opening channel."), False, "no answer within 7 s", "security group"),
    (SSH("Key-exchange timed out waiting for key negotiation"), False, "no answer within 7 s", "security group"),
    (socket.gaierror(-2, "Name or service not known"), False, "neither a name", "hosts.env"),
    (_banner(EOFError()), False, "closed before SSH begins", "MaxStartups"),
    (_banner(TimeoutError()), False, "not an SSH server in time", "console"),
    (SSH('Indecipherable protocol version "HTTP/1.1 400"'), True, "speaks no SSH 2", "right port"),
    (SSH("Invalid SSH banner"), True, "not an SSH server", "console"),
    (paramiko.ssh_exception.IncompatiblePeer("Incompatible version (1.5 instead of 2.0)"), True, "speaks no SSH 2", "port"),
    (ssh_exception.IncompatiblePeer("Incompatible ssh peer (no acceptable kex algorithm)"), True, "no algorithm in common", "KexAlgorithms"),
    (ssh_exception.IncompatiblePeer("Incompatible ssh peer (can't match requested host key type)"), True, "no algorithm", "HostKeyAlgorithms"),
    (ssh_exception.MessageOrderError("In strict-kex mode, but was sent 1!"), True, "not a valid one of SSH", "something between"),
    (SSH("Signature verification (ssh-ed25519) failed."), True, "not a valid one of SSH", "something between"),
    (SSH("Mismatched MAC"), True, "not a valid one of SSH", "something between"),
    (InvalidTag(), True, "not a valid one of SSH", "something between"),
    (struct.error("unpack requires a buffer of 4 bytes"), True, "the connection failed (error: unpack", "`ssh`"),
    (UnicodeError("label empty or too long"), False, "the connection failed (UnicodeError", "`ssh`"),
    (IndexError("list index out of range"), True, "the connection failed (IndexError", "`ssh`"),
    (SSH("a sentence of a later paramiko"), True, "the connection failed (a sentence of a later paramiko)", "`ssh`"),
    (paramiko.AuthenticationException("Authentication failed."), False, "was refused", "SSH_USER"),
    (paramiko.AuthenticationException("Authentication timeout."), False, "no answer to the login of ops", "PAM"),
    (paramiko.AuthenticationException("No existing session"), False, "the server ended the login", "MaxAuthTries"),
    (paramiko.PasswordRequiredException("private key file is encrypted"), False, "was refused", "SSH_KEY"),
    (paramiko.BadAuthenticationType("", ["password"]), False, "it wants password from ops", "SSH_USER"),
    (ssh_exception.PartialAuthentication(["keyboard-interactive"]), False, "was refused", "SSH_USER"),
    (ssh_exception.UnableToAuthenticate(), False, "was refused", "SSH_USER"),
    (paramiko.ChannelException(4, "resource shortage"), False, "opens no session", "journal"),
    (paramiko.BadHostKeyException("w1", KEY, KEY), True, "the connection failed", "`ssh`"),
    (paramiko.ProxyCommandFailure("nc", "gone"), False, "the connection failed", "`ssh`"),
    (paramiko.ssh_exception.NoValidConnectionsError({("192.0.2.1", 22): _os(errno.ECONNREFUSED)}), False, "connection refused", "sshd"),
    (ssh_exception.CouldNotCanonicalize("w1"), False, "the connection failed", "`ssh`"),
    (ssh_exception.ConfigParseError("line 3"), False, "the connection failed", "`ssh`"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "halfway", "what", "todo"), TABLE, ids=lambda one: type(one).__name__)
def test_each_error_of_a_connection_has_words_of_ours(
    error: BaseException, halfway: bool, what: str, todo: str
) -> None:
    said = unreachable(error, Way(NODE, "prod", 7, user="ops", tried="key k", halfway=halfway))
    assert said.message.startswith(WHERE) and what in said.message and todo in said.remedy
    assert said.message != f"{WHERE}{error}", "the library's words are not a sentence of ours"


def test_every_error_that_paramiko_has_is_in_the_table() -> None:
    kinds = {kind for _, kind in inspect.getmembers(ssh_exception, inspect.isclass) if issubclass(kind, Exception)}
    assert {kind for kind in kinds if kind.__module__ == ssh_exception.__name__} <= {type(error) for error, *_ in TABLE}


def test_what_paramiko_says_of_a_handshake_is_in_the_table() -> None:
    """Its sentences, as they are in its own source: a version that has others fails here."""
    words = " | ".join(str(error) for error, *_ in TABLE)
    source = Path(inspect.getsourcefile(paramiko.Transport) or "").read_text(encoding="utf-8")
    start = source[source.index("def start_client") : source.index("def start_server")]
    keys = source[source.index("def get_remote_server_key") : source.index("def is_active")]
    said = set(re.findall(r'raise SSHException\(\s*"([^"{]+)', start + keys))
    assert said and {text for text in said if text not in words} == set()
