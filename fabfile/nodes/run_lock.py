"""The run lock of a cluster: one changing run at a time, from any machine. An open channel to the control plane holds it.

A process on the node holds a lock on `RUN_LOCK` while its input is open and heartbeats arrive.  So the lock is released when the operator's
process ends, and a minute after the last heartbeat when the link is dead.  After a reconnect it is acquired again, unless another run has
held it meanwhile.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from threading import Event
from typing import Protocol

import paramiko

from ..errors import KubefabError, StepFailed, Unreachable
from ..text.masking import Secret
from .failures import SUDO_REFUSED, sudo_refused

RUN_LOCK = "/run/kubefab-run.lock"
PATIENCE = 2  # seconds to wait for a lock that is held: the node may only just be noticing that its holder has gone
HEARTBEAT = 15  # seconds between two; without one, the node releases the lock after four times that
HELD, TAKEN_SINCE = 75, 76  # exit codes: another run holds it; another run has held it since this one did
ANSWER_LIMIT = 1 << 16  # bytes that may come before the lock is held


def now() -> float:
    """Seconds on a clock that also runs while this machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Link(Protocol):
    """What the lock needs of its connection."""

    def begin(self, line: str) -> paramiko.Channel:
        """A session in which sh runs this line. Raises KubefabError where it does not come to that, else what paramiko raises."""

    def root(self, text: str, timeout: float) -> tuple[int, bytes]:
        """Run a script as root."""

    def unreachable(self, error: BaseException) -> Unreachable:
        """A transport's error in words."""


def command(owner: str, *, again: bool, sudo: str = "") -> str:
    """The command that acquires the lock, prints `held` and then holds it until its input ends or no heartbeat comes.

    `owner` is shown to other operators and is unique to this run; with `again` the command exits with TAKEN_SINCE if another run has held
    the lock since.  It is one line, as `Link.begin` takes it.
    """
    hold = (
        f'if [ -n "$2" ] && [ -s {RUN_LOCK} ] && {{ read -r o <{RUN_LOCK}; [ "$o" != "$1" ]; }}; then exit {TAKEN_SINCE}; fi; '
        # on a line of its own, whatever a login shell's files have printed before
        f'{{ echo "$1"; echo $$; }} > {RUN_LOCK}; printf "\\nheld\\n"; while read -rt {HEARTBEAT * 4} _; do :; done'
    )
    take = (
        # for root only: any user who can open it can hold it
        f"umask 077; chmod 600 {RUN_LOCK} 2>/dev/null; "
        # release first what this same run held over a broken link; the number may belong to another process by now. By bash itself, as each
        # program that is started costs a millisecond or more
        f'{{ mapfile -t -n 9 l <{RUN_LOCK}; }} 2>/dev/null; p=${{l[1]-}}; case $p in ""|*[!0-9]*) ;; '
        '*) if [ -r "/proc/$p/cmdline" ]; then mapfile -t -d "" a <"/proc/$p/cmdline"; '
        'for w in "${a[@]}"; do if [ "$w" = "$1" ]; then kill "$p"; break; fi; done; fi 2>/dev/null;; esac; '
        f'exec flock -w {PATIENCE} -E {HELD} {RUN_LOCK} bash -c {shlex.quote(hold)} - "$1" "$2"'
    )
    return f"exec {sudo}bash -c {shlex.quote(take)} - {shlex.quote(owner)} {'again' if again else shlex.quote('')}"


class RunLock:
    """One run's hold on the lock. Between `want` and `drop` a link without the lock does not count as open.

    `node` and `user` are for messages; `sudo` is the prefix by which `user` becomes root (empty for root), `password` what it asks
    for on standard input; `timeout` is the link's, in seconds.
    """

    def __init__(self, link: Link, node: str, user: str, *, sudo: str, password: Secret | None, timeout: float) -> None:
        self.owner = ""  # set while the lock is required
        self.channel: paramiko.Channel | None = None  # the lock is held while it is open
        self.heartbeat = 0.0  # when the last one began to be sent, on the clock of `now`
        self.again = False  # whether this run has held it before
        self._link, self._node, self._user = link, node, user
        self._sudo, self._password, self._timeout = sudo, password, timeout

    @property
    def lost(self) -> bool:
        """It was held, and its channel is closed."""
        return self.channel is not None and self.channel.closed

    @property
    def certain(self) -> bool:
        """It is certainly held, or not required: its channel is open, and the last heartbeat is so recent that the node has not released it."""
        return not self.owner or (self.channel is not None and not self.channel.closed and self._fresh())

    def _fresh(self) -> bool:
        return now() - self.heartbeat < HEARTBEAT * 3

    def want(self, owner: str) -> None:
        """Require it from now on."""
        self.owner = " ".join(owner.split())  # one line of the lock's file
        self.again = False

    def drop(self) -> None:
        """Release it, if the link is still there."""
        channel, self.channel, self.owner = self.channel, None, ""
        try:
            if channel:
                channel.close()
        except (EOFError, OSError, paramiko.SSHException):
            pass  # the link is dead, and the lock released

    def beat(self, ended: Event, close: Callable[[paramiko.Channel | None], None]) -> None:
        """Send heartbeats until `ended`; if the node has released the lock (this process was stopped, a lid closed), `close` the link."""
        while not ended.wait(HEARTBEAT):
            channel = self.channel
            try:
                if channel and not channel.closed:
                    begun = now()
                    if self._fresh():  # else the node has released it, or is about to
                        channel.sendall(b"\n")
                        self.heartbeat = begun
                        continue
            except (EOFError, OSError, paramiko.SSHException):
                pass
            close(channel)

    def acquire(self) -> None:
        """Acquire it over the open link. Raises KubefabError that names its holder, or says why it cannot be acquired.

        On a machine without bash, flock or /run the run continues without it: no step can run there either, and observing says why.
        """
        self.channel = None
        begun = now()
        channel, code, answer = self._ask(command(self.owner, again=self.again, sudo=self._sudo))
        self.channel, self.heartbeat = channel, begun
        if channel:
            self.again = True
        if code == TAKEN_SINCE:
            raise KubefabError(
                f"another run has worked on this cluster meanwhile: {self._holder()}",
                "what this run decided may be out of date, so it stopped. Run the same command again: it continues from what it finds",
            )
        if code == HELD:
            raise KubefabError(
                f"another run works on this cluster: {self._holder()}", "wait for it to end; nothing was touched"
            )
        if channel or _cannot_lock(code, answer):
            return
        if self._sudo and SUDO_REFUSED.search(answer):
            raise sudo_refused(self._node, self._user, answer)
        output = answer.decode("utf-8", "replace")
        if code is None:  # a dead link looks the same; the caller opens it again if needed
            raise Unreachable(
                f"{self._node}: cannot acquire the run lock: no answer in time",
                "log in there: what is so slow?",
                output,
            )
        raise StepFailed(
            f"{self._node}: cannot acquire the run lock (exit code {code})",
            "see below what sudo, flock or the login shell say there",
            output,
        )

    def _ask(self, text: str) -> tuple[paramiko.Channel | None, int | None, bytes]:
        """Start the lock's holder and read until it holds the lock. Raises Unreachable when the link breaks.

        Returns the channel that holds the lock, or None with the exit code (None too if the command has not ended: out of
        time, or sudo asks for another password); and what was printed.
        """
        answer = bytearray()
        channel: paramiko.Channel | None = None
        held: paramiko.Channel | None = None
        code: int | None = None
        try:
            channel = self._link.begin(text)
            end = time.monotonic() + max(self._timeout, PATIENCE + 5)
            if self._password:
                channel.sendall(f"{self._password.reveal()}\n".encode())
            while held is None and not (self._password and b"try again" in answer):
                channel.settimeout(max(0.1, end - time.monotonic()))
                try:
                    chunk = channel.recv(4096)
                except TimeoutError:
                    break
                answer = (answer + chunk)[-ANSWER_LIMIT:]
                if b"\nheld\n" in b"\n" + answer:
                    held = channel
                    held.settimeout(self._timeout)
                elif not chunk:
                    channel.status_event.wait(max(0.1, end - time.monotonic()))
                    if channel.exit_status < 0:
                        raise EOFError("the connection broke while the run lock was being acquired")
                    code = channel.exit_status
                    break
                elif time.monotonic() > end:  # output that never pauses would never time out
                    break
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._link.unreachable(error) from error
        finally:
            if channel and not held:
                channel.close()
        return held, code, bytes(answer)

    def _holder(self) -> str:
        """The owner in the lock's file."""
        try:
            _, holder = self._link.root(f'rm -f -- "$0"; head -n 1 {RUN_LOCK}', self._timeout)
        except KubefabError:
            return "its name cannot be read"
        lines = holder.decode("utf-8", "replace").split("\n")  # sudo or a login shell may have said something first
        return next((line.strip() for line in reversed(lines) if line.strip()), "it has just begun")


def _cannot_lock(code: int | None, answer: bytes) -> bool:
    """Whether the machine lacks what a lock takes: bash, flock or the folder /run."""
    said = answer.rstrip().rpartition(b"\n")[2]
    return code == 127 or (bool(code) and said.endswith((b"command not found", b"No such file or directory")))
