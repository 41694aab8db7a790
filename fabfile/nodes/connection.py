"""Our Fabric Connection: strict host keys, no Nagle stalls, bounds on everything, errors with a remedy.

Fabric as shipped accepts any host key, waits up to an hour for a channel and does not notice dead
peers; each override below fixes one of these.
"""

from __future__ import annotations

import logging
import re
import secrets
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import BoundedSemaphore, Condition, Event, Thread, get_ident
from typing import Any

import fabric
import paramiko

from ..errors import KubefabError, StillRunning, Unreachable, UsageError
from ..inventory import Environment, Node
from ..inventory.settings import bastion
from ..text.masking import Lines, Secret
from . import script
from .failures import SUDO_REFUSED, Way, broken, no_end, sudo_refused, unreachable
from .hostkeys import KnownHosts
from .run_lock import RunLock

SESSIONS = 8  # sshd's MaxSessions is 10 a connection
KEEPALIVE = 5  # seconds
DEAD_PEER = 20_000  # milliseconds without an acknowledgement
CAPTURE_LIMIT = 4 << 20  # bytes
ANSWER_LIMIT = 1 << 16  # bytes that may come before sudo lets a script in
SUDO = "env LC_ALL=C sudo"  # its words are read here, so they must be English

logging.getLogger("paramiko").setLevel(logging.CRITICAL)


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
        sudo_password: Secret | None = None,
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
        sudo = "" if self.user == "root" else f"{SUDO} -S -p '' " if sudo_password else f"{SUDO} -n "
        self._ours.lock = RunLock(
            self, node.name, self.user, sudo=sudo, password=sudo_password, timeout=settings.connect_timeout
        )
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
            # look it up again with the port and user of this connection, which replace %p and %r
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
        """Connect, once for all threads that ask. Raises Unreachable with the reason and a remedy.

        While the run lock is required, a connection without it does not count as open: the lock is acquired again, or KubefabError names
        its holder.  Threads that waited for another thread's failed attempt raise the same error instead of trying again: many nodes
        share one bastion.
        """
        ours = self._ours
        with ours.opening:
            if ours.opener == get_ident():  # the lock asks for its holder, over the link that is being opened
                return
            failures = ours.failures
            while ours.opener and ours.failures == failures:
                ours.opening.wait()
            if ours.failure is not None and ours.failures != failures:
                raise ours.failure
            if ours.lock.lost:
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
            raise self.unreachable(error) from error
        finally:
            self.connect_kwargs.pop("sock", None)
        self.transport.set_keepalive(KEEPALIVE)
        if self._ours.lock.owner:
            try:
                self._ours.lock.acquire()
            except KubefabError:
                self.close()  # without the lock this link may not be used: the next caller tries to acquire it again
                raise

    def _proxy(self) -> socket.socket:
        """A socket whose other end is ProxyCommand's input and output; paramiko's own class never notices that the command has ended."""
        self._end_proxy()
        near, far = socket.socketpair()
        with far:
            # the operator's own line, which OpenSSH gives to a shell too
            command = [
                "/bin/sh",
                "-c",
                f"exec {self._ours.proxy_command}",
            ]
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

    def root(self, text: str, timeout: float, heard: Callable[[bytes], None] | None = None) -> tuple[int, bytes]:
        """Run a bash script as root; returns its exit code and output (standard error in it), without what a login shell or sudo said before.

        `timeout` is in seconds. `heard` gets the output piece by piece as it comes.  Raises Unreachable when the connection fails
        or breaks, StepFailed on time-out and when sudo refuses.
        """
        self.open()
        begun = b""
        if self.user != "root" and self._ours.sudo_password:
            code, output = self._exec(
                f"exec {SUDO} -S -p '' bash -c {shlex.quote(_RECEIVE)}", text, timeout, self._ours.sudo_password, heard
            )
        else:
            path = f"/tmp/.kubefab-{secrets.token_hex(8)}"
            # the shell that made the file removes it: neither a link cut in mid-script nor a sudo that refuses leaves one. A file of that
            # name that another user made is neither written to nor removed
            store = f"umask 077 && set -C && : > {path} && trap 'rm -f {path}' EXIT HUP TERM PIPE && cat >> {path}"
            code, output = self._exec(
                f"{store} && {'' if self.user == 'root' else f'{SUDO} -n '}{_RUN} {path} </dev/null",
                text,
                timeout,
                heard=heard and _after_ready(heard),
            )
            before, begun, rest = output.partition(_READY)
            output = rest if begun else before
        if code != 0 and self.user != "root" and not begun and SUDO_REFUSED.search(output) and not script.ran(output):
            raise sudo_refused(self.node.name, self.user, output)
        return code, output

    def command(self, line: str, timeout: float, *, sudo: bool = False) -> tuple[int, bytes]:
        """Run one line in the login user's shell, or as root in bash; returns its exit code and output (standard error in it).

        `timeout` is in seconds.  Raises as `root` does.
        """
        if sudo:
            return self.root(line, timeout)
        self.open()
        return self._exec(line, "", timeout)

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        """Hold this node's run lock while the block runs: one changing run per cluster, from any machine (see `run_lock`).

        `owner` is shown to other operators and is unique to this run. Raises KubefabError that names the holder when another run has it.
        """
        lock, ended = self._ours.lock, Event()
        self.open()
        lock.want(owner)
        try:
            lock.acquire()
            Thread(target=lock.beat, args=(ended, partial(self._close_with, ended)), daemon=True).start()
            yield
        finally:
            ended.set()
            lock.drop()

    def ensure_held(self) -> None:
        """Return at once while the run lock is certainly held; that costs one comparison.

        Otherwise (the channel is closed, or the last heartbeat is so old that the node may have released the lock because this machine
        was suspended) acquire it again.  Raises KubefabError when another run has it or has had it since, Unreachable when that cannot
        be known.
        """
        if self._ours.lock.certain:
            return
        if self._ours.lock.channel:
            self.close()
        self.open()

    def _close_with(self, ended: Event, channel: paramiko.Channel | None) -> None:
        """Close the link whose run lock was held by this channel, unless it was opened again or the run has ended."""
        ours = self._ours
        with ours.opening:
            if channel and channel is ours.lock.channel and not ours.opener and not ended.is_set():
                self.close()

    def open_channel(self) -> paramiko.Channel:
        """A new channel over the open link. Raises what paramiko raises."""
        channel: paramiko.Channel = self.transport.open_session(timeout=self._ours.timeout)
        return channel

    def unreachable(self, error: BaseException) -> Unreachable:
        """A transport's error in words."""
        ours = self._ours
        return unreachable(error, Way(ours.node, ours.environment.name, ours.timeout, ours.proxy_command))

    def _exec(
        self,
        command: str,
        stdin: str,
        timeout: float,
        password: Secret | None = None,
        heard: Callable[[bytes], None] | None = None,
    ) -> tuple[int, bytes]:
        """Run a command; with sudo's password, what goes to it is held back until sudo has let it in."""
        with self._ours.sessions:
            end = time.monotonic() + timeout
            try:
                channel = self.open_channel()
            except (paramiko.SSHException, EOFError, OSError) as error:
                self.close()
                raise self.unreachable(error) from error
            try:
                channel.settimeout(timeout)
                channel.set_combine_stderr(True)
                channel.exec_command(command)
                output = bytearray()
                if password:
                    channel.sendall(f"{password.reveal()}\n".encode())
                    output = _let_in(channel, min(end, time.monotonic() + self._ours.timeout))
                    stdin = f"{_BEGIN}\n{stdin}"
                if not password or output.endswith(_READY):
                    del output[:]
                    channel.sendall(stdin.encode())
                channel.shutdown_write()
                while chunk := channel.recv(1 << 16):
                    output += chunk
                    if heard:
                        heard(chunk)
                    if len(output) > 2 * CAPTURE_LIMIT:
                        del output[: len(output) - CAPTURE_LIMIT]
                    if time.monotonic() > end:  # output that never pauses would never time out
                        raise TimeoutError
                    channel.settimeout(max(0.1, end - time.monotonic()))
                channel.status_event.wait(max(0.1, end - time.monotonic()))
                code = channel.exit_status if channel.exit_status is not None else -1
            except TimeoutError:
                raise no_end(self.node.name, timeout) from None
            except (paramiko.SSHException, EOFError, OSError) as error:
                self.close()
                raise self.unreachable(error) from error
            finally:
                channel.close()
        if code == -1:
            self.close()
            raise broken(self.node.name)
        return code, bytes(output[-CAPTURE_LIMIT:])


_READY, _BEGIN = b"\n@@kubefab ready\n", "@@kubefab begin"
_RUN = r"""bash -c 'printf "\n@@kubefab ready\n"; exec bash "$0"'"""  # before that line, sudo speaks of host names, and startup files greet
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
    while not output.endswith(_READY) and b"try again" not in output and len(output) < ANSWER_LIMIT:
        channel.settimeout(max(0.1, end - time.monotonic()))
        try:
            chunk = channel.recv(4096)
        except TimeoutError:
            break
        if not chunk:
            break
        output += chunk
    return output


def _after_ready(heard: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Pass on only what comes after the line that says that the script begins."""
    held: bytearray | None = bytearray()

    def piece(data: bytes) -> None:
        nonlocal held
        if held is None:
            heard(data)
            return
        held += data
        _, begun, rest = bytes(held).partition(_READY)
        if begun:
            held = None
            heard(rest)

    return piece


class _Ours:
    """What our Connection holds beside Fabric's state: Fabric's Connection keeps its attributes in a config."""

    def __init__(
        self, node: Node, environment: Environment, known: KnownHosts, sudo_password: Secret | None, timeout: float
    ) -> None:
        self.node, self.environment, self.known, self.sudo_password, self.timeout = (
            node,
            environment,
            known,
            sudo_password,
            timeout,
        )
        self.opening = Condition()
        self.opener = 0  # the thread that is opening the link; 0: none
        self.failures = 0  # attempts to open that failed, and the last one's error
        self.failure: KubefabError | None = None
        self.proxy_command = ""  # of ~/.ssh/config
        self.proxy: subprocess.Popen[bytes] | None = None
        self.lock: RunLock
        self.sessions = BoundedSemaphore(SESSIONS)


def _hop(text: str) -> tuple[str, str, int]:
    """The user, host and port (0: not named) of one of ProxyJump's hosts. Raises UsageError."""
    plain = text.strip().removeprefix("ssh://")
    try:
        user, host, port = bastion(plain)
    except ValueError as error:
        remedy = "correct it there, or set SSH_JUMP in hosts.env, which goes before it"
        raise UsageError(f"ProxyJump {text!r} in ~/.ssh/config: {error}", remedy) from None
    return user, host, port if re.search(r":\d+$", plain) and (plain.count(":") == 1 or "]:" in plain) else 0


def outcome(
    connection: Connection, name: str, text: str, timeout: float, heard: Callable[[str], None] | None = None
) -> script.Outcome:
    """Send a rendered script and read what it did; `heard` gets each line of a live one's output, masked.

    Raises StillRunning if an earlier run's step holds the node.
    """
    lines = Lines(script.LIVE)

    def piece(data: bytes) -> None:
        for line in lines.feed(data):
            heard(line)  # type: ignore[misc]  # it is there where this is called

    result = script.parse(*connection.root(text, timeout, piece if heard else None))
    if result.code == script.LOCKED and result.command == 0:
        raise StillRunning(
            f"{connection.node.name}: {name}: a step of an earlier run is still running there",
            "wait for it to end (`ps -ef` on the node shows it), then run again",
        )
    return result
