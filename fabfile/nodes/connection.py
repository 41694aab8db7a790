"""Our Fabric Connection: strict host keys, no Nagle stalls, bounds on everything, errors with a remedy.

Fabric as shipped accepts any host key, waits up to an hour for a channel and keeps quiet about dead
peers; each override below closes one of those.
"""

from __future__ import annotations

import errno
import getpass
import logging
import os
import re
import resource
import secrets
import shlex
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import BoundedSemaphore, Condition, Event, Thread, get_ident
from typing import Any

import fabric
import paramiko

from ..errors import KubefabError, StepFailed, StillRunning, Unreachable, UsageError
from ..inventory import Environment, Node, bracketed
from ..inventory.settings import bastion
from ..text import cleaning
from . import script
from .hostkeys import KeyRefused, KnownHosts

SESSIONS = 8  # sshd's MaxSessions is 10 a connection
KEEPALIVE = 5  # seconds
DEAD_PEER = 20_000  # milliseconds without an acknowledgement
CAPTURE_LIMIT = 4 << 20  # bytes
RUN_LOCK = "/run/kubefab-run.lock"
LOCK_PATIENCE = 2  # seconds
TAKEN_SINCE = 76  # the exit code that says so
LOCK_WORDS = 1 << 16  # bytes that may come before the lock is held
SIGN_OF_LIFE = 15  # seconds between two; a node gives a silent holder four times that
SUDO = "env LC_ALL=C sudo"  # its words are read here, so they must be English

logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def _now() -> float:
    """Seconds on a clock that goes on while this machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Policy(paramiko.MissingHostKeyPolicy):
    """Sends every host key to our KnownHosts: paramiko's own store is left empty, so all are "missing" to it."""

    def __init__(self, known: KnownHosts) -> None:
        self.known = known

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self.known.check(hostname, key)


class Connection(fabric.Connection):
    """A connection to one node that runs scripts as root."""

    def __init__(
        self,
        node: Node,
        environment: Environment,
        known: KnownHosts,
        sudo_password: str = "",
        gateway: Connection | None = None,
        *,
        hops: dict[str, Connection] | None = None,
        through: tuple[str, ...] = (),
    ) -> None:
        settings = environment.settings
        object.__setattr__(self, "_ours", _Ours(node, environment, known, sudo_password, settings.connect_timeout))
        config = fabric.Config(overrides={"run": {"in_stream": False}, "load_ssh_configs": not settings.simulated})
        keys: dict[str, object] = {
            "channel_timeout": settings.connect_timeout,
            "banner_timeout": settings.connect_timeout,
        }
        if node.key:
            keys |= {"key_filename": node.key, "allow_agent": False, "look_for_keys": False}
        super().__init__(
            node.host,
            user=node.user or None,
            port=node.port or None,
            config=config,
            connect_timeout=settings.connect_timeout,
            connect_kwargs=keys,
            gateway=gateway,
        )
        self.client.set_missing_host_key_policy(_Policy(known))
        keys["transport_factory"] = self._transport
        if not node.port:  # a hop that ~/.ssh/config names: what it says of that host is known by now
            self._ours.node = replace(node, host=self.host, port=self.port)
        if gateway is None:
            self.gateway = self._by_ssh_config(hops if hops is not None else {}, through)

    @property
    def node(self) -> Node:
        ours: _Ours = self._ours
        return ours.node

    def get_gateway(self) -> None:
        """Fabric's own gateways accept any host key: ours are made by `_by_ssh_config`."""
        return

    def _by_ssh_config(self, hops: dict[str, Connection], through: tuple[str, ...]) -> Connection | None:
        """The way that ~/.ssh/config names: ProxyJump's hosts, each one's key checked by our rule, or ProxyCommand, kept for `_open`.

        Of the two the first that is given counts (ssh_config(5)). `hops` are shared by all nodes; `through` are the hosts that lead
        here already, so that `Host *` does not send a bastion through itself. Raises UsageError for a hop that has no form.
        """
        found = next(
            ((key, text or "") for key, text in self.ssh_config.items() if key in ("proxyjump", "proxycommand")),
            ("", ""),
        )
        if found[1].lower() in ("", "none"):
            return None
        if found[0] == "proxycommand":
            # once more, with the port and user that are really dialled, which stand for %p and %r
            dialled = paramiko.SSHConfig.from_text(f"Host *\nPort {self.port}\nUser {self.user}\n")
            dialled._config += self.config.base_ssh_config._config  # type: ignore[attr-defined]
            self._ours.proxy_command = dialled.lookup(self.original_host)["proxycommand"]
            return None
        ours, way = self._ours, (*through, self.original_host, self.host)
        gateway: Connection | None = None
        chain = ""
        for text in found[1].split(","):  # visited one after the other
            user, host, port = _hop(text)
            if host in way:
                return None
            chain += f",{text}"
            if chain not in hops:
                node = Node(f"bastion {host}", host, host, False, user=user, port=port)
                hops[chain] = Connection(node, ours.environment, ours.known, gateway=gateway, hops=hops, through=way)
            gateway = hops[chain]
            if gateway.host == self.host and gateway.port == self.port:
                return None
        return gateway

    def _transport(self, sock: Any, **options: Any) -> paramiko.Transport:
        """A transport that asks first for the kinds of host keys that are known, as OpenSSH does; paramiko asks for one kind only."""
        transport = paramiko.Transport(sock, **options)
        security = transport.get_security_options()
        name = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        first = [kind for kind in self._ours.known.algorithms(name) if kind in security.key_types]
        security.key_types = [*first, *(kind for kind in security.key_types if kind not in first)]
        return transport

    def open(self) -> None:
        """Connect once, whoever asks first. Raises Unreachable with the reason and a remedy.

        While the run lock is to be held, a link without it is none: it is taken anew, or KubefabError names who has it now.
        Whoever waited while somebody else's attempt failed has that attempt's error: many nodes stand behind one bastion.
        """
        ours = self._ours
        with ours.opening:
            if (
                ours.opener == get_ident()
            ):  # the lock's holder is being asked for, over the link that is just being opened
                return
            failures = ours.failures
            while ours.opener and ours.failures == failures:
                ours.opening.wait()
            if ours.failure is not None and ours.failures != failures:
                raise ours.failure
            if ours.lock is not None and ours.lock.closed:
                self.close()
            if self.is_connected:
                return
            ours.opener = get_ident()
        try:
            self._open()
        except KubefabError as error:
            ours.failure = error
            ours.failures += 1
            raise
        finally:
            with ours.opening:
                ours.opener = 0
                ours.opening.notify_all()

    def _open(self) -> None:
        try:
            if self._ours.proxy_command:
                self.connect_kwargs["sock"] = self._proxy()
            elif self.gateway is None:
                self.connect_kwargs["sock"] = self._socket()
            else:
                self.gateway.open()
            super().open()
        except Unreachable:
            raise
        except Exception as error:
            self._end_proxy()
            raise _explain(error, self._ours) from error
        finally:
            self.connect_kwargs.pop("sock", None)
        self.transport.set_keepalive(KEEPALIVE)
        if self._ours.owner:
            try:
                self._take_lock()
            except KubefabError:
                self.close()  # without the lock nobody may use this link: who asks next tries for it again
                raise

    def _proxy(self) -> socket.socket:
        """A socket whose other end is ProxyCommand's input and output; paramiko's own reads for ever from one that has ended."""
        self._end_proxy()
        near, far = socket.socketpair()
        with far:
            command = [
                "/bin/sh",
                "-c",
                f"exec {self._ours.proxy_command}",
            ]  # the operator's own line, which OpenSSH gives to a shell too
            self._ours.proxy = subprocess.Popen(
                command, stdin=far.fileno(), stdout=far.fileno(), stderr=subprocess.DEVNULL, start_new_session=True
            )
        return near

    def _end_proxy(self) -> None:
        if self._ours.proxy:
            self._ours.proxy.terminate()
            self._ours.proxy.wait()
            self._ours.proxy = None

    def close(self) -> None:
        """Close the link, and end the ProxyCommand that carried it."""
        super().close()
        self._end_proxy()

    def _socket(self) -> socket.socket:
        sock = socket.create_connection((self.host, self.port), timeout=self._ours.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER)
        return sock

    def root(self, text: str, timeout: float) -> tuple[int, bytes]:
        """Run a bash script as root; returns its exit code and output (standard error in it).

        `timeout` is in seconds.  Raises Unreachable when the connection fails or breaks, StepFailed on time-out
        and when sudo refuses.
        """
        self.open()
        if self.user != "root" and self._ours.sudo_password:
            code, output = self._exec(
                f"exec {SUDO} -S -p '' bash -c {shlex.quote(_RECEIVE)}", text, timeout, self._ours.sudo_password
            )
        else:
            path = f"/tmp/.kubefab-{secrets.token_hex(8)}"
            # the shell that made the file takes it away: a link cut in mid-script and a sudo that refuses leave none. A file of that
            # name that is somebody's is neither written to nor removed
            store = f"umask 077 && set -C && : > {path} && trap 'rm -f {path}' EXIT HUP TERM PIPE && cat >> {path}"
            code, output = self._exec(
                f"{store} && {'' if self.user == 'root' else f'{SUDO} -n '}bash {path} </dev/null", text, timeout
            )
        if code != 0 and self.user != "root" and _REFUSED.search(output) and not script.ran(output):
            raise self._sudo_refused(output)
        return code, output

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        """Hold this node's run lock as long as the block lasts: one changing run a cluster, whoever starts it.

        `owner` is what others are told, and names this run alone.  The lock lives with an open channel: it goes when the
        operator's process does, and a minute after the last sign of life when the link fell silent.  A link that is opened
        again takes it again, unless another run has had it meanwhile.  Raises KubefabError that names the holder when somebody
        else has it.
        """
        self.open()
        ended = Event()
        self._ours.owner = " ".join(owner.split())  # one line of the lock's file
        self._ours.again = False
        try:
            self._take_lock()
            Thread(target=self._show_life, args=(ended,), daemon=True).start()
            yield
        finally:
            ended.set()
            self._ours.owner = ""
            with suppress(EOFError, OSError, paramiko.SSHException):  # the link may be gone, and the lock with it
                if self._ours.lock:
                    self._ours.lock.close()
            self._ours.lock = None

    def ensure_held(self) -> None:
        """Nothing while the run lock is held for certain; costs a comparison then.

        Otherwise (the channel has gone, or no sign of life went out for so long that the node may have let it go: this machine
        slept) it is taken again.  Raises KubefabError when another run has it or has had it since, Unreachable when that cannot
        be known.
        """
        ours = self._ours
        if not ours.owner or (ours.lock and not ours.lock.closed and _now() - ours.sign < SIGN_OF_LIFE * 3):
            return
        if ours.lock:
            self.close()
        self.open()

    def _show_life(self, ended: Event) -> None:
        """Until the end; where the node has let the lock go (this process was stopped, a lid closed), close the link with it."""
        while not ended.wait(SIGN_OF_LIFE):
            lock = self._ours.lock
            try:
                if lock and not lock.closed:
                    begun = _now()
                    if begun - self._ours.sign < SIGN_OF_LIFE * 3:  # else the node has let it go, or is about to
                        lock.sendall(b"\n")
                        self._ours.sign = begun
                        continue
            except (EOFError, OSError, paramiko.SSHException):
                pass
            with self._ours.opening:
                if lock and lock is self._ours.lock and not self._ours.opener and not ended.is_set():
                    self.close()

    def _take_lock(self) -> None:
        """Take the run lock over the open link. Raises KubefabError that says who has it, or why it cannot be taken.

        A machine without bash, flock or /run is let through without one: no step can run there either, and observing
        says what it is.
        """
        self._ours.lock = None
        sudo = "" if self.user == "root" else f"{SUDO} -n " if not self._ours.sudo_password else f"{SUDO} -S -p '' "
        # on a line of its own, whatever a login shell's files have printed before
        hold = (
            f'if [ -n "$2" ] && [ -s {RUN_LOCK} ] && [ "$(head -n 1 {RUN_LOCK})" != "$1" ]; then exit {TAKEN_SINCE}; fi; '
            f'{{ echo "$1"; echo $$; }} > {RUN_LOCK}; printf "\\nheld\\n"; while read -rt {SIGN_OF_LIFE * 4} _; do :; done'
        )
        take = (
            # for root alone: whoever can open it can hold it
            f"umask 077; chmod 600 {RUN_LOCK} 2>/dev/null; "
            # what this same run held over a link that broke is let go first; the number may be another process's by now
            f'p=$(tail -n 1 {RUN_LOCK} 2>/dev/null); case $p in ""|*[!0-9]*) ;; '
            '*) if tr "\\0" "\\n" 2>/dev/null <"/proc/$p/cmdline" | grep -qxF -e "$1"; then kill "$p" 2>/dev/null; fi;; esac; '
            # a moment's patience: the node may only just be noticing that the last holder has gone
            f'exec flock -w {LOCK_PATIENCE} -E 75 {RUN_LOCK} bash -c {shlex.quote(hold)} - "$1" "$2"'
        )
        again = "again" if self._ours.again else ""
        begun = _now()
        channel, code, answer = self._ask_for_lock(
            f"exec {sudo}bash -c {shlex.quote(take)} - {shlex.quote(self._ours.owner)} {shlex.quote(again)}"
        )
        self._ours.lock, self._ours.sign = channel, begun
        if channel:
            self._ours.again = True
        if code == TAKEN_SINCE:
            raise KubefabError(
                f"another run has worked on this cluster meanwhile: {self._holder()}",
                "what this run decided may be out of date, so it stopped. Run the same command again: it takes up from what it finds",
            )
        if code == 75:
            raise KubefabError(
                f"another run works on this cluster: {self._holder()}", "wait for it to end; nothing was touched"
            )
        if channel or _cannot_lock(code, answer):
            return
        if sudo and _REFUSED.search(answer):
            raise self._sudo_refused(answer)
        output = answer.decode("utf-8", "replace")
        if code is None:  # a link that fell silent looks the same, and is opened anew where that is due
            raise Unreachable(
                f"{self.node.name}: its run lock cannot be taken: no answer in time",
                "log in there: what is so slow?",
                output,
            )
        raise StepFailed(
            f"{self.node.name}: its run lock cannot be taken (exit code {code})",
            "see below what sudo, flock or the login shell say there",
            output,
        )

    def _ask_for_lock(self, command: str) -> tuple[paramiko.Channel | None, int | None, bytes]:
        """Start the lock's holder and read until it holds. Raises Unreachable when the link breaks.

        Returns the channel that the lock lives with, or None with the exit code (None as well where it goes on: out of
        time, or sudo wants another password); and what was printed.
        """
        end = time.monotonic() + max(self._ours.timeout, LOCK_PATIENCE + 5)
        answer = bytearray()
        channel: paramiko.Channel | None = None
        held: paramiko.Channel | None = None
        code: int | None = None
        try:
            channel = self.transport.open_session(timeout=self._ours.timeout)
            channel.settimeout(self._ours.timeout)
            channel.set_combine_stderr(True)
            channel.exec_command(command)
            if self._ours.sudo_password:
                channel.sendall(f"{self._ours.sudo_password}\n".encode())
            while held is None and not (self._ours.sudo_password and b"try again" in answer):
                channel.settimeout(max(0.1, end - time.monotonic()))
                try:
                    chunk = channel.recv(4096)
                except TimeoutError:
                    break
                answer = (answer + chunk)[-LOCK_WORDS:]
                if b"\nheld\n" in b"\n" + answer:
                    held = channel
                    held.settimeout(self._ours.timeout)
                elif not chunk:
                    channel.status_event.wait(max(0.1, end - time.monotonic()))
                    if channel.exit_status < 0:
                        raise EOFError("the connection broke while the run lock was being taken")
                    code = channel.exit_status
                    break
                elif time.monotonic() > end:  # words that never pause would never time out
                    break
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise _explain(error, self._ours) from error
        finally:
            if channel and not held:
                channel.close()
        return held, code, bytes(answer)

    def _holder(self) -> str:
        """Who has the run lock, in the words they left there."""
        try:
            _, holder = self.root(f'rm -f -- "$0"; head -n 1 {RUN_LOCK}', self._ours.timeout)
        except KubefabError:
            return "its name cannot be read"
        lines = holder.decode("utf-8", "replace").split("\n")  # sudo or a login shell may have said something first
        return next((line.strip() for line in reversed(lines) if line.strip()), "it has just begun")

    def _sudo_refused(self, output: bytes) -> StepFailed:
        return StepFailed(
            f"{self.node.name}: sudo refused user {self.user}",
            "let it run without a password (NOPASSWD), or pass --ask-sudo-pass; "
            "a wrong password given there looks the same",
            output.decode("utf-8", "replace"),
        )

    def _exec(self, command: str, stdin: str, timeout: float, password: str = "") -> tuple[int, bytes]:
        """Run a command; with sudo's password, what goes to it is held back until sudo has let it in."""
        with self._ours.sessions:
            end = time.monotonic() + timeout
            try:
                channel = self.transport.open_session(timeout=self._ours.timeout)
            except (paramiko.SSHException, EOFError, OSError) as error:
                self.close()
                raise _explain(error, self._ours) from error
            try:
                channel.settimeout(timeout)
                channel.set_combine_stderr(True)
                channel.exec_command(command)
                output = bytearray()
                if password:
                    channel.sendall(f"{password}\n".encode())
                    output = _let_in(channel, min(end, time.monotonic() + self._ours.timeout))
                    stdin = f"{_BEGIN}\n{stdin}"
                if not password or output.endswith(_READY):
                    del output[:]
                    channel.sendall(stdin.encode())
                channel.shutdown_write()
                while chunk := channel.recv(1 << 16):
                    output += chunk
                    if len(output) > 2 * CAPTURE_LIMIT:
                        del output[: len(output) - CAPTURE_LIMIT]
                    if time.monotonic() > end:  # output that never pauses would never time out
                        raise TimeoutError
                    channel.settimeout(max(0.1, end - time.monotonic()))
                channel.status_event.wait(max(0.1, end - time.monotonic()))
                code = channel.exit_status if channel.exit_status is not None else -1
            except TimeoutError:
                raise StepFailed(
                    f"{self.node.name}: no end after {timeout:.0f} s",
                    "it may still run there: the next run waits for it, then looks at what it did",
                ) from None
            except (paramiko.SSHException, EOFError, OSError) as error:
                self.close()
                raise _explain(error, self._ours) from error
            finally:
                channel.close()
        if code == -1:
            self.close()
            raise Unreachable(
                f"{self.node.name}: the connection broke in mid-command",
                f"look at {self.node.name} (rebooting? powered off?), then run the same command again: it takes up from there",
            )
        return code, bytes(output[-CAPTURE_LIMIT:])


_READY, _BEGIN = b"\n@@kubefab ready\n", "@@kubefab begin"
# What root's bash does when sudo has let it in, where that takes a password: the script comes on the same standard input, into a file
# that only root can touch; in a file of the login user's, a process of that user could change it before it runs.  A password that sudo
# did not ask for (it remembers, or NOPASSWD) is passed over, never run.
_RECEIVE = (
    r'printf "\n@@kubefab ready\n"; '
    f'while IFS= read -r line && [ "$line" != "{_BEGIN}" ]; do :; done; unset line; umask 077; '
    "f=$(mktemp /run/kubefab-script.XXXXXXXX 2>/dev/null || mktemp /tmp/.kubefab-XXXXXXXXXXXXXXXX) || exit; "
    'trap \'rm -f -- "$f"\' EXIT; cat >"$f" && bash "$f" </dev/null'
)


def _let_in(channel: paramiko.Channel, end: float) -> bytearray:
    """What comes until root's bash is ready, sudo asks once more (the password was wrong; a second try may lock the user out), or time is up."""
    output = bytearray()
    while not output.endswith(_READY) and b"try again" not in output and len(output) < LOCK_WORDS:
        channel.settimeout(max(0.1, end - time.monotonic()))
        try:
            chunk = channel.recv(4096)
        except TimeoutError:
            break
        if not chunk:
            break
        output += chunk
    return output


_REFUSED = re.compile(
    rb"a password is required|incorrect (password|authentication) attempt|a terminal is required|no password was provided|"
    rb"not in the sudoers file|may not run|is not allowed to (run|execute)|no tty present|you must have a tty|try again"
)


def _cannot_lock(code: int | None, answer: bytes) -> bool:
    """Whether the machine lacks what a lock takes: bash, flock or the folder /run."""
    said = answer.rstrip().rpartition(b"\n")[2]
    return code == 127 or (bool(code) and said.endswith((b"command not found", b"No such file or directory")))


class _Ours:
    """What our Connection holds beside Fabric's state: Fabric's Connection keeps its attributes in a config."""

    def __init__(
        self, node: Node, environment: Environment, known: KnownHosts, sudo_password: str, timeout: float
    ) -> None:
        self.node, self.environment, self.known, self.sudo_password, self.timeout = (
            node,
            environment,
            known,
            sudo_password,
            timeout,
        )
        self.opening = Condition()
        self.opener = 0  # the thread that is opening the link; nobody's
        self.failures = 0  # attempts to open that failed, and the last one's error
        self.failure: KubefabError | None = None
        self.proxy_command = ""  # of ~/.ssh/config
        self.proxy: subprocess.Popen[bytes] | None = None
        self.owner = ""  # of the run lock, while we hold it
        self.again = False  # whether it was held before in this run
        self.sign = 0.0  # when the last sign of life began to be sent
        self.lock: paramiko.Channel | None = None
        self.sessions = BoundedSemaphore(SESSIONS)


def _explain(error: BaseException, ours: _Ours) -> Unreachable:
    """A transport's error in words: which node, what, and what to do."""
    node = ours.node
    where = f"{node.name} ({bracketed(node.host)}:{node.port})"
    if ours.proxy_command and not isinstance(error, KeyRefused | paramiko.AuthenticationException):
        return Unreachable(
            f"{where}: no link through ProxyCommand `{ours.proxy_command}`: {error}",
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
            f"{where}: no answer within {ours.timeout:.0f} s",
            "is the machine up, and does its security group let you in on this port?",
        )
    if (
        isinstance(error, ConnectionRefusedError)
        or "refused" in str(error).lower()
        or "Unable to connect" in str(error)
    ):
        hint = (
            "is the lab up? `inv lab.up`" if ours.environment.name == "lab" else "is sshd running there, on this port?"
        )
        return Unreachable(f"{where}: connection refused", hint)
    if isinstance(error, paramiko.SSHException | EOFError) and "banner" in str(error).lower():
        return Unreachable(
            f"{where}: something answers, but not an SSH server in time", "is it still booting? look at its console"
        )
    why = cleaning.line(str(error)) or type(error).__name__
    return Unreachable(f"{where}: {why}", "run the same command again; it takes up from where it stopped")


def _hop(text: str) -> tuple[str, str, int]:
    """The user, host and port (0: not named) of one of ProxyJump's hosts. Raises UsageError."""
    plain = text.strip().removeprefix("ssh://")
    try:
        user, host, port = bastion(plain)
    except ValueError as error:
        remedy = "correct it there, or set SSH_JUMP in hosts.env, which goes before it"
        raise UsageError(f"ProxyJump {text!r} in ~/.ssh/config: {error}", remedy) from None
    return user, host, port if re.search(r":\d+$", plain) and (plain.count(":") == 1 or "]:" in plain) else 0


def operator() -> str:
    """Who runs this; the number where that user has no name, as in a container with a uid of its own.

    Fabric and paramiko ask for it as well, and would end in a traceback: the number is then the name for the whole process.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # by Python's version and platform
        os.environ["LOGNAME"] = f"uid {os.getuid()}"
        return os.environ["LOGNAME"]


class NodeGroup(fabric.Group):
    """The connections of one environment's nodes, as a Fabric group; opened when first used.

    Fabric's own group methods run in lockstep and without a bound: the runner drives the members instead.
    """

    def __init__(
        self, environment: Environment, nodes: Iterable[Node], known: KnownHosts, sudo_password: str = ""
    ) -> None:
        super().__init__()
        operator()
        self._jumps: dict[str, Connection] = {}
        self._by_name: dict[str, Connection] = {}
        for node in nodes:
            gateway = self._gateway(node, environment, known) if node.jump else None
            connection = Connection(node, environment, known, sudo_password, gateway, hops=self._jumps)
            self._by_name[node.name] = connection
            self.append(connection)

    def _gateway(self, node: Node, environment: Environment, known: KnownHosts) -> Connection:
        """One connection a bastion, shared: a link of its own for each node runs into sshd's MaxStartups."""
        if node.jump not in self._jumps:
            user, host, port = bastion(node.jump)
            between = Node(f"bastion {host}", host, host, False, user=user, port=port, key=node.key)
            self._jumps[node.jump] = Connection(between, environment, known, hops=self._jumps)
        return self._jumps[node.jump]

    def of(self, node: Node) -> Connection:
        return self._by_name[node.name]

    def close(self) -> None:
        """Close every link, targets before bastions."""
        for connection in (*self, *self._jumps.values()):
            connection.close()


def outcome(connection: Connection, name: str, text: str, timeout: float) -> script.Outcome:
    """Send a rendered script and read what it did. Raises StillRunning if an earlier run's step holds the node."""
    result = script.parse(*connection.root(text, timeout))
    if result.code == script.LOCKED and result.command == 0:
        raise StillRunning(
            f"{connection.node.name}: {name}: an earlier run's step still goes on there",
            "wait for it to end (`ps -ef` on the node shows it), then run again",
        )
    return result
