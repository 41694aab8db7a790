"""Our Fabric Connection: strict host keys, no Nagle stalls, bounds on everything, errors with a remedy.

Fabric as shipped accepts any host key, waits up to an hour for a channel and does not notice dead
peers; each override below fixes one of these.
"""

from __future__ import annotations

import logging
import math
import os
import random
import secrets
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from itertools import chain
from threading import Condition, Event, Lock, Thread, get_ident
from typing import Any

# isort: off
from .libraries import fabric, paramiko  # before another module loads paramiko by itself

# isort: on
from ..errors import KubefabError, Malformed, StepFailed, StillRunning, Unreachable, UsageError
from ..inventory import Environment, Node
from ..inventory.settings import bastion
from ..text.forms import FormError
from ..text.masking import Lines, Secret
from . import keys, script, ssh_config
from .failures import SUDO_REFUSED, Way, broken, login_refused, no_end, no_session, sudo_refused, unreachable
from .hostkeys import KnownHosts
from .incoming import Incoming, Sink
from .run_lock import RunLock
from .sessions import Sessions

SESSIONS = 8  # sshd's MaxSessions is 10 a connection
NO_SESSION = 3.0  # seconds in which sshd may end a session of ours that has ended, before its refusal of another counts
LOGIN = 30.0  # seconds for a login, and for its shell to begin
TURNED_AWAY = 20.0  # seconds in which a connect is repeated that the server ends before a word of SSH: MaxStartups
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


class _Transport(paramiko.Transport):
    """Keeps what the server says where paramiko only logs it: why it opens no channel, and its words before SSH begins."""

    # seconds from one look of the thread that reads to the next, whether it is to end; ten times a second, a thousand idle links take a core
    _active_check_timeout = 1.0

    def __init__(self, sock: Any, **options: Any) -> None:
        super().__init__(sock, **options)
        self.said = ""
        self.refusal: paramiko.ChannelException | None = None  # of a channel, the last one
        readline = self.packetizer.readline

        def hear(timeout: float) -> str:
            line = str(readline(timeout))
            if not line.startswith("SSH-"):
                self.said = line
            return line

        self.packetizer.readline = hear  # type: ignore[method-assign]

    def _parse_channel_open_failure(self, m: paramiko.Message) -> None:
        m.get_int()
        self.refusal = paramiko.ChannelException(m.get_int(), m.get_text())
        m.rewind()
        super()._parse_channel_open_failure(m)  # type: ignore[misc]

    def open_channel(self, *args: Any, **options: Any) -> paramiko.Channel:
        """A new channel. Raises ChannelException with the server's words where it opens none, else as paramiko does."""
        try:
            return super().open_channel(*args, **options)
        except paramiko.SSHException as error:
            # paramiko keeps one error for all threads: of two that are refused together, one is given "Unable to open channel"
            if self.refusal and (isinstance(error, paramiko.ChannelException) or "Unable to open" in str(error)):
                raise self.refusal from None
            raise


@cache
def _fabrics_own() -> fabric.Config:
    """One configuration of Fabric's for all connections: it is the same, and making it takes longer than all else before a link is opened.

    What ssh_config says is asked of OpenSSH; Fabric would read it by itself, with less understanding and unchecked host keys.
    """
    return fabric.Config(overrides={"run": {"in_stream": False}}, ssh_config=paramiko.SSHConfig())


class Connection(fabric.Connection):
    """A connection to one node that runs scripts as root."""

    # Fabric's default, here because it would go into the configuration otherwise, which is merged again for each node
    inline_ssh_env = True

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
        options: dict[str, object] = {
            "channel_timeout": settings.connect_timeout,
            "banner_timeout": settings.connect_timeout,
        }
        dialled = (
            ssh_config.Way(node.host, node.user, node.port or 22)
            if settings.simulated
            else ssh_config.resolve(node.host, node.user, node.port)
        )
        super().__init__(
            dialled.host,
            user=dialled.user or None,
            port=dialled.port,
            config=_fabrics_own(),
            connect_timeout=settings.connect_timeout,
            connect_kwargs=options,
            gateway=gateway,
        )
        self.client.set_missing_host_key_policy(_Policy(known))
        sudo = _sudo(self.user, sudo_password)
        self._ours.lock = RunLock(
            self, node.name, self.user, sudo=sudo, password=sudo_password, timeout=settings.connect_timeout
        )
        options["transport_factory"] = self._transport
        self._ours.dialled = dialled
        self._ours.node = replace(node, host=self.host, port=self.port)
        if gateway is None:
            self.gateway = self._by_ssh_config(node.host, hops if hops is not None else {}, through)

    def __setattr__(self, name: str, value: object) -> None:
        """As Invoke sets them: in the config, unless the connection has the attribute. To find out it lists all attributes for each."""
        if name in vars(self) or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def node(self) -> Node:
        ours: _Ours = self._ours
        return ours.node

    def get_gateway(self) -> None:
        """Fabric's own gateways accept any host key: ours are made by `_by_ssh_config`."""
        return

    def _by_ssh_config(self, name: str, hops: dict[str, Connection], through: tuple[str, ...]) -> Connection | None:
        """The way through ProxyJump's hosts, each one's key checked by our rule. `hops` are shared by all nodes.

        `through` are the hosts that lead here already, so that `Host *` does not send a bastion through itself. Raises UsageError for a hop
        that has no form.
        """
        ours, way = self._ours, (*through, name, self.host)
        gateway: Connection | None = None
        chain = ""
        for text in filter(None, ours.dialled.jump.split(",")):  # visited one after the other
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

    def login(self) -> keys.Login:
        """How to log in: with SSH_KEY alone if there is one, else as the operator's OpenSSH does. Raises KeyUnusable for that SSH_KEY."""
        ours = self._ours
        dialled = ours.dialled
        agent = dialled.agent or ("" if ours.environment.settings.simulated else os.environ.get("SSH_AUTH_SOCK", ""))
        if ours.node.key:
            return keys.named(ours.node.key, self.user, agent, dialled.certificates)
        return keys.usual(self.user, agent, dialled.identities, dialled.only, dialled.certificates)

    def _transport(self, sock: Any, **options: Any) -> paramiko.Transport:
        """A transport that asks first for the kinds of host keys that are known, as OpenSSH does; paramiko asks for one kind only."""
        transport = self._ours.transport = _Transport(sock, **options)
        # paramiko's own 15 s for handshake and login together would end before CONNECT_TIMEOUT does, with a bare EOFError
        transport.handshake_timeout = self._ours.timeout + LOGIN
        security = transport.get_security_options()
        name = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        first = [kind for kind in self._ours.known.algorithms(name) if kind in security.key_types]
        security.key_types = [*first, *(kind for kind in security.key_types if kind not in first)]
        # before the others those that need no MAC of their own, which paramiko reckons in Python
        security.ciphers = sorted(security.ciphers, key=lambda name: "gcm" not in name)
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
        end = time.monotonic() + TURNED_AWAY
        pause = 0.25
        while True:
            try:
                self._connect()
                break
            except KubefabError:
                raise
            except Exception as error:
                said = self.unreachable(error)
                self._end_proxy()
                if self._ours.transport:  # its thread and its socket would stay
                    self._ours.transport.close()
                if not _turned_away(error) or time.monotonic() > end:
                    raise said from error
            # a moment of its own for each of many nodes that were turned away together
            Event().wait(random.uniform(pause / 2, pause))
            pause = min(2 * pause, 4.0)
        self.transport.set_keepalive(KEEPALIVE)
        if self._ours.lock.owner:
            try:
                self._ours.lock.acquire()
            except KubefabError:
                self.close()  # without the lock this link may not be used: the next caller tries to acquire it again
                raise

    def _connect(self) -> None:
        self._ours.transport = None
        login = self.login()
        self._ours.tried = login.tried
        self.connect_kwargs["auth_strategy"] = login
        try:
            if self._ours.dialled.command:
                self.connect_kwargs["sock"] = self._proxy()
            elif self.gateway is None:
                self.connect_kwargs["sock"] = self._socket()
            else:
                self.gateway.open()
            super().open()
        finally:
            login.agent.close()
            self.connect_kwargs.pop("auth_strategy", None)
            self.connect_kwargs.pop("sock", None)

    def _proxy(self) -> socket.socket:
        """A socket whose other end is ProxyCommand's input and output; paramiko's own class never notices that the command has ended."""
        self._end_proxy()
        near, far = socket.socketpair()
        with far:
            # the operator's own line, which OpenSSH gives to a shell too
            command = [
                "/bin/sh",
                "-c",
                f"exec {self._ours.dialled.command}",
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

    def rest(self) -> None:
        """Close the link until something uses it again, unless a command runs over it: one that looks at many nodes may have begun that."""
        if self._ours.sessions.idle:
            with suppress(EOFError, OSError):
                self.close()

    def leave(self) -> None:
        """Close the link for good, at once: the thread that reads it would look only now and then whether it is to end."""
        transport = self._ours.transport
        if transport and isinstance(transport.sock, socket.socket):
            with suppress(OSError):
                transport.sock.shutdown(socket.SHUT_RDWR)
        self.close()

    def _socket(self) -> socket.socket:
        host = self.host.encode() if self.host.isascii() else self.host  # a str loads Python's tables of Unicode names
        sock = socket.create_connection((host, self.port), timeout=self._ours.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER)
        return sock

    def root(
        self, text: str, timeout: float, heard: Callable[[bytes], None] | None = None, *, more: bool = False
    ) -> tuple[int, bytes]:
        """Run a bash script as root; returns its exit code and output (standard error in it), without what a login shell or sudo said before.

        `timeout` is in seconds. `heard` gets the output piece by piece as it comes. `more`: another command follows, whose session is got ready
        while this one runs.  Raises Unreachable when the connection fails or breaks, StepFailed on time-out and when sudo refuses.
        """
        self.open()
        password = self._ours.sudo_password if self.user != "root" else None
        sudo = _sudo(self.user, password)
        if password:
            line = f"exec {sudo}bash -c {shlex.quote(_RECEIVE)}"
            return self._exec(line, text, timeout, password, heard, more=more)
        path = f"/tmp/.kubefab-{secrets.token_hex(8)}"
        # the shell that made the file removes it: neither a link cut in mid-script nor a sudo that refuses leaves one. A file of that
        # name that another user made is neither written to nor removed
        store = f"umask 077 && set -C && : > {path} && trap 'rm -f {path}' EXIT HUP TERM PIPE && cat >> {path}"
        return self._exec(f"{store} && {sudo}{_RUN} {path} </dev/null", text, timeout, heard=heard, more=more)

    def command(self, line: str, timeout: float, *, sudo: bool = False) -> tuple[int, bytes]:
        """Run one line in the login user's shell, or as root in bash; returns its exit code and output (standard error in it).

        `timeout` is in seconds.  Raises as `root` does.
        """
        if sudo:
            return self.root(line, timeout)
        self.open()
        return self._exec(line, "", timeout, login=True)

    def send(self, path: str, pieces: Iterable[bytes], timeout: float) -> None:
        """Write a file of root's on the node, with mode 0700 and whole or not at all, from pieces that are read as they are sent.

        `path` is absolute and ours, `timeout` is in seconds. Raises as `root` does, and StepFailed where the file cannot be written.
        """
        self.open()
        part = shlex.quote(f"{path}.part")
        # what is there instead of the end of a stream that was cut short must not pass for the file
        receive = (
            f"umask 077; cat >{part} && tail -c {len(_END)} {part} | grep -qxF {shlex.quote(_END.decode().strip())} && "
            f"truncate -s -{len(_END)} {part} && chmod 0700 {part} && sync {part} && mv -f {part} {shlex.quote(path)}"
        )
        password = self._ours.sudo_password if self.user != "root" else None
        line = (
            f"exec {_sudo(self.user, password)}bash -c {shlex.quote((_LET_IN if password else _SAY_READY) + receive)}"
        )
        code, output = self._exec(line, chain(pieces, (_END,)), timeout, password)
        if code != 0:
            raise StepFailed(
                f"{self.node.name}: {path} cannot be written", output=output.decode("utf-8", "replace")[-2000:]
            )

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
            if lock.channel:  # beside it the run's commands need one more session: before the first of them sshd shows whether it allows that
                self.ready()
            Thread(target=lock.beat, args=(ended, partial(self._close_with, ended)), daemon=True).start()
            yield
        finally:
            ended.set()
            self._unready()
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

    def open_channel(self, opened: Callable[[int], None] | None = None) -> paramiko.Channel:
        """A new session over the open link. A caller with a slot of `Sessions` gives what notes that its session is open.

        Where sshd refuses it, wait for a moment, and with a slot for another session to end. Raises KubefabError where sshd does not allow as
        many as a run needs, else what paramiko raises.
        """
        ours = self._ours
        end, pause = time.monotonic() + NO_SESSION, 0.05
        gave = False
        while True:
            held = self._held()
            try:
                channel: paramiko.Channel = self.transport.open_session(timeout=ours.timeout)
                if opened:
                    opened(held)
                return channel
            except paramiko.ChannelException as refusal:
                gave |= self._unready()
                forbidden = refusal.code == paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
                if forbidden and not (held or ours.sessions.peak or gave):
                    raise
            over = time.monotonic() > end
            if opened and ours.sessions.fewer(certain=over):
                end = time.monotonic() + NO_SESSION
            elif over:
                before = ours.sessions.peak > held
                if before:  # a command whose end was not waited for: a new link has sessions of its own
                    self.close()
                raise no_session(self.node.name, held, before)
            else:
                Event().wait(pause)
                pause = min(2 * pause, 0.5)

    def _held(self) -> int:
        """How many sessions the run lock has open: 1 or 0."""
        channel = self._ours.lock.channel
        return int(channel is not None and not channel.closed)

    def ready(self) -> None:
        """Open the link, and on it a session whose sh waits for a line, so that the next command need not wait for a shell. Raises as `root` does."""
        self.open()
        ours = self._ours
        with ours.readying:
            if any(not channel.closed for channel, _ in ours.spare):
                return
            try:
                self._keep(self.open_channel())
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise self.unreachable(error) from error

    def _ready_next(self) -> None:
        """Get a session ready beside a command that runs, unless another thread does. Where sshd allows none there, commands open their own."""
        ours = self._ours
        if ours.alone is self.transport or not ours.readying.acquire(blocking=False):
            return
        try:
            if not ours.spare:
                self._keep(self.transport.open_session(timeout=ours.timeout))
        # where it was the link, the command that runs says so itself
        except (KubefabError, paramiko.SSHException, EOFError, OSError):
            ours.alone = self.transport
        finally:
            ours.readying.release()

    def _keep(self, channel: paramiko.Channel) -> None:
        """Start sh in a session, and keep that for the next command. Raises as `_enter` does; a login without a shell is that command's error."""
        ours = self._ours
        try:
            ours.spare.append((channel, self._enter(channel)))
        except BaseException as error:
            channel.close()
            ours.refusal = error if isinstance(error, KubefabError) else None
            raise

    def _unready(self) -> bool:
        """End the session that `ready` began; returns whether there was one."""
        with suppress(IndexError):
            channel, _ = self._ours.spare.pop()
            with suppress(EOFError, OSError, paramiko.SSHException):
                channel.close()
            return True
        return False

    def _readied(self, opened: Callable[[int], None], end: float) -> tuple[paramiko.Channel | None, bool]:
        """The session that `ready` began, for a caller with a slot, and whether _SHELL has been read from it; None: there is none.

        Waits until `end` for one that another thread is getting ready. Raises what that one met, once.
        """
        ours = self._ours
        if ours.readying.acquire(timeout=max(0.0, end - time.monotonic())):
            refusal, ours.refusal = ours.refusal, None
            ours.readying.release()
            if refusal:  # what another thread has waited for already
                raise refusal
        with suppress(IndexError):  # another thread was faster
            while True:
                channel, entered = ours.spare.pop()
                if not channel.closed:
                    opened(self._held())
                    return channel, entered
        return None, False

    def begin(self, line: str) -> paramiko.Channel:
        """A session in which sh runs this one line, whatever the user's login shell is; its standard input follows the line.

        What the channel prints begins with the login shell's own words and _SHELL. Raises Unreachable where the login does not run it, KubefabError
        as `open_channel` does, else what paramiko raises.
        """
        channel = self.open_channel()
        try:
            self._begin(channel, line)
        except BaseException:
            channel.close()
            raise
        return channel

    def _begin(self, channel: paramiko.Channel, line: str, end: float = math.inf) -> bool:
        """Have sh run this line in a session. Returns, and raises, as `_enter` does."""
        entered = self._enter(channel, end)
        channel.sendall(f"{line}\n".encode())
        return entered

    def _enter(self, channel: paramiko.Channel, end: float = math.inf) -> bool:
        """Start sh in a session, which waits for its line; returns whether _SHELL has been read. Raises TimeoutError when that is after `end`."""
        ours, transport = self._ours, self.transport
        channel.settimeout(ours.timeout)
        channel.set_combine_stderr(True)
        fresh = ours.entered is not transport
        _run(channel, _ENTER, wait=fresh)
        if fresh:  # once a link: nothing is sent before it is certain that sh reads it, and not another shell that a start file runs
            said = _until(channel, min(end, time.monotonic() + max(LOGIN, ours.timeout)), _SHELL)
            if _SHELL not in said:
                if time.monotonic() > end:
                    raise TimeoutError
                if channel.eof_received:
                    channel.status_event.wait(ours.timeout)
                raise login_refused(self._way(), channel.exit_status, bytes(said))
            ours.entered = transport
        return fresh

    def unreachable(self, error: BaseException) -> Unreachable:
        """A transport's error in words."""
        return unreachable(error, self._way())

    def _way(self) -> Way:
        ours, transport = self._ours, self._ours.transport
        # `get_banner` knows it only while the link is there
        banner: bytes | str = getattr(transport and transport.auth_handler, "banner", None) or (
            transport.said if transport else ""
        )
        said = banner.decode("utf-8", "replace") if isinstance(banner, bytes) else banner
        through = self.gateway.host if isinstance(self.gateway, Connection) else ""
        halfway = transport is not None and transport.is_alive() and not transport.initial_kex_done
        return Way(
            ours.node,
            ours.environment.name,
            ours.timeout,
            ours.dialled.command,
            self.user,
            through,
            said,
            ours.tried,
            halfway,
        )

    def _exec(
        self,
        command: str,
        stdin: str | Iterable[bytes],
        timeout: float,
        password: Secret | None = None,
        heard: Callable[[bytes], None] | None = None,
        *,
        login: bool = False,
        more: bool = False,
    ) -> tuple[int, bytes]:
        """Run a command in sh, or one in the user's login shell, and give what it prints.

        One in sh says _READY when it begins: what the login shell and sudo say before is not its output, and where it never begins, sudo may have
        refused it.  With sudo's password, what goes to it is held back until then.  Raises as `root` does.
        """
        with self._ours.sessions.slot() as opened:
            end = time.monotonic() + timeout
            channel, entered = (None, True) if login else self._readied(opened, end)
            begun = login
            try:
                output = bytearray()
                if channel:
                    channel.sendall(f"{command}\n".encode())
                else:
                    channel = self.open_channel(opened)
                    if login:
                        channel.set_combine_stderr(True)
                        _run(channel, command, wait=True)
                    else:
                        entered = self._begin(channel, command, end)
                channel.settimeout(timeout)
                if password:
                    channel.sendall(f"{password.reveal()}\n".encode())
                    output = _until(channel, min(end, time.monotonic() + self._ours.timeout), _READY, b"try again")
                    begun = _READY in output
                if begun or not password:
                    del output[:]
                    if password:
                        channel.sendall(f"{_BEGIN}\n".encode())
                    for piece in (stdin.encode(),) if isinstance(stdin, str) else stdin:
                        channel.settimeout(max(0.1, end - time.monotonic()))
                        channel.sendall(piece)
                channel.shutdown_write()
                if more:
                    self._ready_next()
                while chunk := channel.recv(1 << 16):
                    output += chunk
                    if not begun and _READY in output:
                        begun, chunk = True, bytes(output.partition(_READY)[2])
                        output = bytearray(chunk)
                    if heard and begun:
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
                if channel:
                    channel.close()
        if code == -1:
            self.close()
            raise broken(self.node.name)
        if not begun:
            _, shell, said = bytes(output).rpartition(_SHELL)
            if not (shell or entered):
                raise login_refused(self._way(), code, said)
            if code != 0 and self.user != "root" and SUDO_REFUSED.search(said):
                raise sudo_refused(self.node.name, self.user, said)
            output = bytearray(said)
        return code, bytes(output[-CAPTURE_LIMIT:])


# The only line that a login shell is given: sh, csh, tcsh and fish read it alike, which is why it has no !, backslash or second kind of
# quotes outside of its '…'. What is to be done follows on standard input, and first the line that sh evaluates.
_ENTER = """exec sh -c 'echo "@@kubefab shell"; IFS= read -r k && eval "$k"'"""
_SHELL = b"@@kubefab shell\n"
_READY, _BEGIN = b"\n@@kubefab ready\n", "@@kubefab begin"
_SAY_READY = r'printf "\n@@kubefab ready\n"; '  # before that line, sudo speaks of host names, and startup files greet
_RUN = f"""bash -c '{_SAY_READY}exec bash "$0"'"""
_END = (
    b"\n@@kubefab end"  # behind a file that is sent; without a newline, as grep would add the last one that is missing
)
# What root's bash does first when sudo has let it in, where that takes a password, which comes on the same standard input: one that sudo did not
# ask for (it remembers, or NOPASSWD) is passed over, never run.
_LET_IN = f'{_SAY_READY}while IFS= read -r line && [ "$line" != "{_BEGIN}" ]; do :; done; '
# Then the script comes there, into a file that only root can touch; in a file of the login user's, a process of that user could change it
# before it runs.
_RECEIVE = (
    f"{_LET_IN}unset line; umask 077; "
    "f=$(mktemp /run/kubefab-script.XXXXXXXX 2>/dev/null || mktemp /tmp/.kubefab-XXXXXXXXXXXXXXXX) || exit; "
    'trap \'rm -f -- "$f"\' EXIT; cat >"$f" && bash "$f" </dev/null'
)


def _run(channel: paramiko.Channel, command: str, *, wait: bool) -> None:
    """Run a command in a session. Without `wait` what follows is sent at once, and a refusal shows by the session's end, which comes without output.

    Raises what paramiko raises.
    """
    if wait:
        channel.exec_command(command)
        return
    request = paramiko.Message()
    request.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
    request.add_int(channel.remote_chanid)
    request.add_string("exec")
    request.add_boolean(True)  # the answer is passed over by paramiko, as no thread waits for it
    request.add_string(command)
    transport: Any = channel.get_transport()
    transport._send_user_message(request)


def _until(channel: paramiko.Channel, end: float, mark: bytes, refusal: bytes = b"") -> bytearray:
    """What comes until the mark, the refusal (sudo that asks once more: a second try may lock the user out), the channel's end, or time is up."""
    output = bytearray()
    while mark not in output and not (refusal and refusal in output) and len(output) < ANSWER_LIMIT:
        channel.settimeout(max(0.1, end - time.monotonic()))
        try:
            chunk = channel.recv(4096)
        except TimeoutError:
            break
        if not chunk:
            break
        output += chunk
    return output


def _sudo(user: str, password: Secret | None) -> str:
    """What goes before a command that root is to run; empty for root."""
    return "" if user == "root" else f"{SUDO} -S -p '' " if password else f"{SUDO} -n "


def _turned_away(error: Exception) -> bool:
    """Whether the server ended the connection before it said that it is one: sshd with too many logins at once does (MaxStartups)."""
    return "protocol banner" in str(error) and isinstance(error.__context__, EOFError | ConnectionError)


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
        self.dialled: ssh_config.Way
        self.tried = ""  # which keys were offered, in words
        self.proxy: subprocess.Popen[bytes] | None = None
        self.lock: RunLock
        self.sessions = Sessions(SESSIONS)
        # an open session whose sh waits for the next command's line, with whether _SHELL has been read from it; or none
        self.spare: list[tuple[paramiko.Channel, bool]] = []
        self.readying = Lock()  # held by the thread that opens it
        self.refusal: KubefabError | None = None  # why the login came to no shell there, until a command was given it
        self.alone: Any = None  # the transport whose sshd has refused a session beside one that runs
        self.transport: _Transport | None = None  # the last one, also where it did not come to a link
        self.entered: Any = None  # the transport over which a login shell has run our line


def _hop(text: str) -> tuple[str, str, int]:
    """The user, host and port (0: not named) of one of ProxyJump's hosts. Raises UsageError."""
    try:
        return bastion(text.strip().removeprefix("ssh://"))
    except ValueError as error:
        remedy = "correct it there, or set SSH_JUMP in hosts.env, which goes before it"
        raise UsageError(f"ProxyJump {text!r} in ~/.ssh/config: {error}", remedy) from None


def outcome(
    connection: Connection,
    name: str,
    text: str,
    timeout: float,
    heard: Callable[[str], None] | None = None,
    *,
    more: bool = False,
) -> script.Outcome:
    """Send a rendered script and read what it did; `heard` gets each line of a live one's output, masked. `more` is `Connection.root`'s.

    Raises StillRunning if an earlier run's step holds the node.
    """
    lines = Lines(script.LIVE)

    def piece(data: bytes) -> None:
        for line in lines.feed(data):
            heard(line)  # type: ignore[misc]  # it is there where this is called

    answer = connection.root(text, timeout, piece if heard else None, more=more)
    return _unlocked(connection, name, script.parse(*answer))


def _unlocked(connection: Connection, name: str, result: script.Outcome) -> script.Outcome:
    """The outcome. Raises StillRunning if an earlier run's step holds the node."""
    if result.code == script.LOCKED and result.command == 0:
        raise StillRunning(
            f"{connection.node.name}: {name}: a step of an earlier run is still running there",
            "wait for it to end (`ps -ef` on the node shows it), then run again",
        )
    return result


def received(connection: Connection, name: str, text: str, timeout: float, sink: Sink) -> script.Outcome:
    """Send a script that sends files (script.sending), and pass them to `sink` as they come.

    Raises as `outcome` does, Malformed for an answer without the form, StepFailed if it ends before all files have come.
    """
    incoming = Incoming(sink)
    node = connection.node.name
    try:
        code, _ = connection.root(text, timeout, incoming.feed)
    except FormError as error:
        raise Malformed(f"{node}: {name}: {error}", "run this again", field=error.field) from None
    done = _unlocked(connection, name, incoming.outcome(code))
    if done.code == 0 and not incoming.whole:
        raise StepFailed(f"{node}: {name}: the files did not come whole", "run this again")
    return done
