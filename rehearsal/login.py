"""The login shell: it runs the line that enters sh, and sh the three forms of command in which our Connection sends a script.

In: the SSH command and its standard input.  Out: the exit code and output that bash and sudo would give; the script
itself goes to `run`, as does any other command (`inv cluster.run`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from .server import SHELL, Exchange

_ANNOUNCE = r"""bash -c 'printf "\n@@kubefab ready\n"; exec bash "$0"'"""
_ENTER = re.compile(r"""exec sh -c 'echo "(?P<mark>[@ a-z]+)"; IFS= read -r k && eval "\$k"'""")
_STORE = re.compile(
    r"umask 077 && set -C && : > (?P<path>/tmp/\.kubefab-[0-9a-f]{16}) && trap 'rm -f (?P=path)' EXIT HUP TERM PIPE && cat >> (?P=path)"
    r" && (?P<sudo>env LC_ALL=C sudo -n )?" + re.escape(_ANNOUNCE) + r" (?P=path) </dev/null"
)
_HOLD = re.compile(
    r"exec (?:env LC_ALL=C (?P<sudo>sudo -n |sudo -S -p '' ))?bash -c .*; "
    r"exec flock -w (?P<wait>\d+) -E (?P<code>\d+) (?P<path>/run/\S+) bash -c .+ - (?P<owner>.+) (?P<again>again|'')",
    re.S,
)
_RECEIVE = re.compile(r"exec env LC_ALL=C sudo -S -p '' bash -c 'printf .*'", re.S)
_READY = b"\n@@kubefab ready\n"
# no simulated machine's name resolves: sudo says so before each command, as on many clouds
UNRESOLVED = b"sudo: unable to resolve host ip-10-0-0-1: Name or service not known\n"
_SEND = re.compile(
    r"exec (?:env LC_ALL=C (?P<sudo>sudo -n |sudo -S -p '' ))?bash -c '.*umask 077; cat >(?P<path>/[\w./+-]+)\.part && tail -c .*'",
    re.S,
)
_END = "\n@@kubefab end"
_DELETES_ITSELF = 'rm -f -- "$0"'

Sudo = Literal["free", "password", "denied"]


def enter(exchange: Exchange, chatter: str = "") -> str:
    """What is to be run: the line that follows where the command only enters sh (after the start files' `chatter`), else the command itself.

    Empty where the session ends without such a line.
    """
    match = _ENTER.fullmatch(exchange.command)
    if not match:
        return exchange.command
    exchange.write(f"{chatter}{match['mark']}\n".encode())
    return exchange.readline().decode().rstrip("\n")


@dataclass
class Login:
    """One user's login on one node.

    `keep` writes a file that is sent: path and content.

    `sudo` is "free" (NOPASSWD), "password" (asks for `password`) or "denied" (not in sudoers).  `files` are the scripts
    in /tmp now: each deletes itself when it runs, so only a script that never ran stays.  `chatter` is what the login
    shell's startup files print before the first line of ours.
    `refusal` is what a sudo that denies says, and `lacks` names a program that is not installed.
    `instead` is what the machine answers to any command and does not run (nologin, an expired password): exit code and words; a code of -1
    does not end before its input ends, as a start file that runs another shell.
    """

    run: Callable[[str], tuple[int, bytes]]
    user: str = "ops"
    keep: Callable[[str, str], tuple[int, bytes]] = lambda path, text: (0, b"")
    sudo: Sudo = "free"
    password: str = ""
    chatter: str = ""
    refusal: str = ""
    lacks: str = ""
    instead: tuple[int, str] | None = None
    files: dict[str, str] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)

    def __call__(self, exchange: Exchange) -> tuple[int, bytes]:
        if self.instead:
            code, said = self.instead
            exchange.write(said.encode())
            return self.run(exchange.read().decode()) if code < 0 else (code, b"")
        command = enter(exchange, self.chatter)
        if not command and exchange.command != SHELL:
            return 1, b""
        if match := _STORE.fullmatch(command):
            path = match["path"]
            if path in self.files:
                return 1, f"bash: line 1: {path}: cannot overwrite existing file\n".encode()
            self.files[path] = exchange.read().decode("utf-8", "replace")
            try:
                return (match["sudo"] and self._refusal(None)) or self._announced(
                    path, UNRESOLVED if match["sudo"] else b""
                )
            finally:
                self.files.pop(path, None)
        if match := _SEND.fullmatch(command):
            return self._send(exchange, match)
        if _RECEIVE.fullmatch(command):
            return self._receive(exchange)
        if match := _HOLD.fullmatch(command):
            return self._hold(exchange, match)
        return self.run(command) if command != SHELL else self._terminal(exchange)

    def _terminal(self, exchange: Exchange) -> tuple[int, bytes]:
        """The login shell in a terminal: it echoes what is typed, and ends with `exit CODE` or Ctrl-D."""
        code = 0
        while True:
            exchange.write(f"{self.user}$ ".encode())
            typed = exchange.readline(b"\r\n\x04")
            if typed[-1:] in (b"", b"\x04"):
                return code, b"logout\r\n"
            line = typed.decode("utf-8", "replace").rstrip("\r\n")
            exchange.write(f"{line}\r\n".encode())
            if ended := re.fullmatch(r"exit(?: (\d{1,3}))?", line.strip()):
                return int(ended[1] or code), b"logout\r\n"
            if line.strip() == "stty size":
                exchange.write("{} {}\r\n".format(*exchange.size).encode())
            elif line.strip():
                code, output = self.run(line)
                exchange.write(output.replace(b"\n", b"\r\n"))

    def _receive(self, exchange: Exchange) -> tuple[int, bytes]:
        """sudo with a password, then root's bash, which reads the script from the same standard input."""
        refusal = self._asked(exchange) if self.sudo != "free" else None
        if refusal:
            return refusal
        exchange.write(UNRESOLVED + _READY)
        script = exchange.read().decode("utf-8", "replace").partition("@@kubefab begin\n")[2]
        path = "/run/kubefab-script"
        self.files[path] = script
        try:
            return self._bash(path)
        finally:
            self.files.pop(path, None)

    def _send(self, exchange: Exchange, match: re.Match[str]) -> tuple[int, bytes]:
        """A file of root's that comes on standard input, whole or not at all."""
        if match["sudo"]:
            asks = "-S" in match["sudo"]
            refusal = (self._asked(exchange) if self.sudo != "free" else None) if asks else self._refusal(None)
            if refusal:
                return refusal
            exchange.write(UNRESOLVED)
        exchange.write(_READY)
        text = exchange.read().decode("utf-8", "replace")
        if match["sudo"] and "-S" in match["sudo"]:
            text = text.partition("@@kubefab begin\n")[2]
        return self.keep(match["path"], text.removesuffix(_END)) if text.endswith(_END) else (1, b"")

    def _hold(self, exchange: Exchange, match: re.Match[str]) -> tuple[int, bytes]:
        """Hold a lock until the client closes the channel; the lock's file names the holder."""
        if match["sudo"]:
            refusal = self._asked(exchange) if "-S" in match["sudo"] else self._refusal(None)
            if refusal:
                return refusal
        if self.lacks:
            return 127, f"bash: line 1: exec: {self.lacks}: not found\n".encode()
        lock = self._locks.setdefault(match["path"], threading.Lock())
        if not lock.acquire(timeout=float(match["wait"])):
            return int(match["code"]), b""
        try:
            before = self._owners.get(match["path"], match["owner"])
            if match["again"] == "again" and before != match["owner"]:
                return 76, b""
            self._owners[match["path"]] = match["owner"]
            self.run(f"echo {match['owner']} > {match['path']}")
            exchange.write(b"\nheld\n")
            exchange.read(patient=True)
        finally:
            lock.release()
        return 0, b""

    def _asked(self, exchange: Exchange) -> tuple[int, bytes] | None:
        """sudo -S on a channel that stays open: it accepts three tries, then gives up. None when the password was right."""
        for _ in range(3):
            given = exchange.readline().decode()
            if not given:
                return 1, b"sudo: no password was provided\n"
            refusal = self._refusal(given.rstrip("\n"))
            if refusal is None or self.sudo == "denied":
                return refusal
            exchange.write(b"Sorry, try again.\n")
        return 1, b"sudo: 3 incorrect password attempts\n"

    def _refusal(self, given: str | None) -> tuple[int, bytes] | None:
        """sudo's refusal, or None when it runs the command; `given` is None for `sudo -n`."""
        if self.sudo == "denied" and self.refusal:
            return 1, self.refusal.encode()
        if self.sudo == "denied" and (given is None or given == self.password):
            text = "sudo: a password is required\n" if given is None else f"{self.user} is not in the sudoers file.\n"
            return 1, text.encode()
        if self.sudo == "free" or given == self.password:
            return None
        if given is None:
            return 1, b"sudo: a password is required\n"
        return 1, b"Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt\n"

    def _announced(self, path: str, before: bytes) -> tuple[int, bytes]:
        """Root's bash after the line that says that the script begins; `before` is sudo's own output."""
        code, output = self._bash(path)
        return code, before + _READY + output

    def _bash(self, path: str) -> tuple[int, bytes]:
        script = self.files.get(path)
        if script is None:
            return 127, f"bash: {path}: No such file or directory\n".encode()
        cut = not re.search(r"\n[})]\nmain\n?\Z", script)  # the function never closes, or is never called
        if not script or (cut and script.startswith("#")):
            return 2, f"{path}: line {script.count(chr(10)) + 1}: syntax error: unexpected end of file\n".encode()
        if _DELETES_ITSELF in script:
            self.files.pop(path, None)
        return self.run(script)
