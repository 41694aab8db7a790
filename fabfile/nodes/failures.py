"""What a person reads when a node cannot be reached or does not let us in: which node, what happened, and what to do."""

from __future__ import annotations

import errno
import re
import resource
import socket
from dataclasses import dataclass

import paramiko

from ..errors import StepFailed, Unreachable
from ..inventory import Node, bracketed
from ..text import cleaning
from .hostkeys import KeyRefused

# What sudo says when it refuses: in English, as our commands ask for LC_ALL=C.
SUDO_REFUSED = re.compile(
    rb"a password is required|incorrect (password|authentication) attempt|a terminal is required|no password was provided|"
    rb"not in the sudoers file|may not run|is not allowed to (run|execute)|no tty present|you must have a tty|try again"
)


@dataclass(frozen=True)
class Way:
    """How a node was to be reached: `timeout` in seconds, `proxy_command` as ~/.ssh/config has it (empty without one)."""

    node: Node
    environment: str
    timeout: float
    proxy_command: str = ""


def unreachable(error: BaseException, way: Way) -> Unreachable:
    """A transport's error in words."""
    node = way.node
    where = f"{node.name} ({bracketed(node.host)}:{node.port})"
    if way.proxy_command and not isinstance(error, KeyRefused | paramiko.AuthenticationException):
        return Unreachable(
            f"{where}: no link through ProxyCommand `{way.proxy_command}`: {error}",
            "does `ssh` get through by itself?",
        )
    if isinstance(error, KeyRefused):
        return Unreachable(f"{where}: {error.what}", error.remedy)
    if isinstance(error, paramiko.AuthenticationException):
        key = f"key {node.key}" if node.key else "your agent and default keys"
        return Unreachable(
            f"{where}: login as {node.user or 'you'} with {key} was refused", "check SSH_USER and SSH_KEY in hosts.env"
        )
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return Unreachable(
            f"{where}: Too many open files on your own machine (its limit for a process is {limit})",
            "`ulimit -n 4096` in this shell (as root if it refuses), or a smaller FORKS; then run the same command again",
        )
    if isinstance(error, TimeoutError | socket.timeout) or "timed out" in str(error).lower():
        return Unreachable(
            f"{where}: no answer within {way.timeout:.0f} s",
            "is the machine up, and does its security group let you in on this port?",
        )
    if (
        isinstance(error, ConnectionRefusedError)
        or "refused" in str(error).lower()
        or "Unable to connect" in str(error)
    ):
        hint = "is the lab up? `inv lab.up`" if way.environment == "lab" else "is sshd running there, on this port?"
        return Unreachable(f"{where}: connection refused", hint)
    if isinstance(error, paramiko.SSHException | EOFError) and "banner" in str(error).lower():
        return Unreachable(
            f"{where}: something answers, but not an SSH server in time", "is it still booting? look at its console"
        )
    why = cleaning.line(str(error)) or type(error).__name__
    return Unreachable(f"{where}: {why}", "run the same command again; it continues from where it stopped")


def broken(node: str) -> Unreachable:
    """A connection that broke while a command ran."""
    return Unreachable(
        f"{node}: the connection broke in mid-command",
        f"look at {node} (rebooting? powered off?), then run the same command again: it continues from there",
    )


def no_end(node: str, seconds: float) -> StepFailed:
    """A command that ran longer than it may."""
    return StepFailed(
        f"{node}: no end after {seconds:.0f} s",
        "it may still run there: the next run waits for it, then looks at what it did",
    )


def sudo_refused(node: str, user: str, output: bytes) -> StepFailed:
    """sudo that did not let the user in."""
    return StepFailed(
        f"{node}: sudo refused user {user}",
        "let it run without a password (NOPASSWD), or pass --ask-sudo-pass; "
        "a wrong password given there looks the same",
        output.decode("utf-8", "replace"),
    )
