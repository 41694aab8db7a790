"""SSH servers in this process: one loopback port for each node, real SSH in front, a Python function behind.

In: node names with a handler `(exchange) -> (exit code, output)`.  Out: ports.  Nothing is ever executed on this
machine; the handler decides what a command does.  `Endpoint` has the switches that make a server misbehave (silent,
refusing, slow, another host key), and a handler may raise `Dropped` to cut the connection.

Threads: one accepts for all nodes, each connection has paramiko's own, each command has one while it runs.
"""

from __future__ import annotations

import io
import logging
import math
import os
import random
import re
import selectors
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Protocol

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    MSG_CHANNEL_SUCCESS,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)

from .naming import LOOPBACK

PORTS = range(20000, 32000)  # below the ranges from which systems take clients' ports
SHELL = ""  # the command of an interactive login shell
STUCK = 60.0  # seconds without reading or writing after which a client counts as gone


class Exchange(Protocol):
    """A command as its handler sees it."""

    command: str

    def read(self, *, patient: bool = False) -> bytes:
        """Standard input until its end; `patient` waits for the end without a time limit."""

    def readline(self, ends: bytes = b"\n") -> bytes:
        """One line of standard input, which ends in one of these characters; at the input's end, what is left of it."""

    def write(self, data: bytes) -> None:
        """Output before the command ends."""

    @property
    def gone(self) -> bool:
        """Whether the client has closed the channel or its connection broke."""

    @property
    def size(self) -> tuple[int, int]:
        """Lines and columns of the client's terminal; zeros without one."""


Handler = Callable[[Exchange], tuple[int, bytes]]

logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class Dropped(Exception):
    """A handler raises this to cut the connection during a command; `output` is still sent first."""

    def __init__(self, output: bytes = b"") -> None:
        super().__init__("link cut")
        self.output = output


def new_key_seed() -> bytes:
    """32 random bytes for `key_from`."""
    return os.urandom(32)


@lru_cache(maxsize=512)  # a command begins with the keys of the one before
def key_from(seed: bytes) -> paramiko.PKey:
    """The ed25519 key made from these 32 bytes."""
    return paramiko.Ed25519Key.from_private_key(io.StringIO(private_text(seed)))


@lru_cache(maxsize=512)
def private_text(seed: bytes) -> str:
    """The same key as the text of a private key file."""
    return (
        Ed25519PrivateKey.from_private_bytes(seed)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        .decode()
    )


@dataclass
class Endpoint:
    """One node's server: where it listens, what answers, and how it misbehaves.

    `silent`: accepts connections and never sends anything.  `delay`: seconds before each answer.  `linger`: seconds between
    the exit status and closing the channel.  `cut_after`: the connection is cut after that many bytes of a command's input.
    `more_keys`: host keys of other types, for clients that ask for one of those.  `max_sessions`, `forwarding` are sshd's MaxSessions and
    AllowTcpForwarding.  `turns_away`: so many connections more are closed before SSH begins, as by MaxStartups.
    `bars`: with these words as a banner the connection is closed once the key is accepted, as PAM does it.
    """

    name: str
    host_key: paramiko.PKey
    user: str
    client_key: str
    handler: Handler
    port: int = 0
    silent: bool = False
    delay: float = 0.0
    linger: float = 0.0
    cut_after: int = 0
    more_keys: tuple[paramiko.PKey, ...] = ()
    max_sessions: int = 10
    forwarding: bool = True
    turns_away: int = 0
    bars: str = ""
    listener: socket.socket | None = None
    commands: int = 0
    links: set[_Link] = field(default_factory=set, repr=False)
    mute: list[socket.socket] = field(default_factory=list, repr=False)

    def drop(self) -> None:
        """Cut every connection, as a power failure does."""
        for link in list(self.links):
            link.cut()


class Farm:
    """All the servers of one process. Use it as a context manager: it closes every port and connection at the end."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(target=self._accept, name="rehearsal-accept", daemon=True)
        self._thread.start()

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def add(
        self,
        name: str,
        handler: Handler,
        host_key: paramiko.PKey,
        client_key: paramiko.PKey,
        *,
        user: str = "ops",
        port: int = 0,
    ) -> Endpoint:
        """Listen for one more node, on `port` if it is free, else on another one: `port` of the result says which."""
        endpoint = Endpoint(name, host_key, user, client_key.get_base64(), handler)
        endpoint.listener = _listen(port)
        endpoint.port = endpoint.listener.getsockname()[1]
        self.endpoints[name] = endpoint
        self._watch(endpoint)
        return endpoint

    def refuse(self, name: str) -> None:
        """Close the node's port and connections: connecting is refused from now on."""
        endpoint = self.endpoints[name]
        with self._lock:
            listener, endpoint.listener = endpoint.listener, None
            if listener is not None:
                self._selector.unregister(listener)
                listener.close()
        endpoint.drop()

    def listen_again(self, name: str) -> None:
        """Undo `refuse`, on the same port."""
        endpoint = self.endpoints[name]
        if endpoint.listener is None:
            endpoint.listener = _listen(endpoint.port, only=True)
            self._watch(endpoint)

    def stop(self) -> None:
        self._stopping = True
        self._wake.send(b"x")
        self._thread.join(5)
        for endpoint in self.endpoints.values():
            if endpoint.listener is not None:
                endpoint.listener.close()
            for sock in endpoint.mute:
                sock.close()
            endpoint.drop()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def port_owner(self, port: int) -> Endpoint | None:
        return next((e for e in list(self.endpoints.values()) if e.port == port), None)

    def _watch(self, endpoint: Endpoint) -> None:
        with self._lock:
            assert endpoint.listener is not None
            self._selector.register(endpoint.listener, selectors.EVENT_READ, endpoint)
        self._wake.send(b"x")

    def _accept(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                endpoint = key.data
                if endpoint is None:
                    self._woken.recv(4096)
                    continue
                with suppress(OSError):
                    sock, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    self._greet(endpoint, sock)

    def _greet(self, endpoint: Endpoint, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if endpoint.silent:
            endpoint.mute.append(sock)
            return
        if endpoint.turns_away:
            endpoint.turns_away -= 1
            sock.sendall(b"Exceeded MaxStartups\r\n")
            sock.close()
            return
        link = _Link(sock, endpoint, self)
        endpoint.links.add(link)
        for host_key in (endpoint.host_key, *endpoint.more_keys):
            link.add_server_key(host_key)
        link.start_server(event=threading.Event(), server=link.rules)


def _listen(port: int, *, only: bool = False) -> socket.socket:
    """A listening socket on `port`, else (unless `only`) on a free port of PORTS, chosen at random."""
    others = (random.SystemRandom().choice(PORTS) for _ in range(0 if only else 200))
    for candidate in chain([port] if port else [], others):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, candidate))
            sock.listen(128)
        except OSError:
            sock.close()
            continue
        sock.setblocking(False)
        return sock
    raise OSError(f"no free port on {LOOPBACK} in {PORTS.start}-{PORTS.stop - 1}")


class _Exchange:
    """The `Exchange` over a channel; after `cut_after` bytes of input it sets `cut`, and the connection is cut."""

    def __init__(
        self, command: str, channel: paramiko.Channel, cut_after: int, sizes: dict[int, tuple[int, int]]
    ) -> None:
        self.command, self.cut, self._sizes = command, False, sizes
        self._channel, self._cut_after = channel, cut_after
        self._ahead = b""  # what came together with the line that was read last

    def read(self, *, patient: bool = False) -> bytes:
        self._channel.settimeout(None if patient else STUCK)
        data, self._ahead = bytearray(self._ahead), b""
        limit = self._cut_after or math.inf
        with suppress(OSError):
            while len(data) < limit and (chunk := self._channel.recv(1 << 16)):
                data += chunk
        if len(data) >= limit:
            del data[self._cut_after :]
            self.cut = True
        return bytes(data)

    def readline(self, ends: bytes = b"\n") -> bytes:
        self._channel.settimeout(STUCK)
        data, end = bytearray(self._ahead), re.compile(b"[%s]" % ends)
        with suppress(OSError):
            while not end.search(data) and (chunk := self._channel.recv(1 << 16)):
                data += chunk
        found = end.search(data)
        line = bytes(data[: found.end() if found else len(data)])
        self._ahead = bytes(data[len(line) :])
        return line

    def write(self, data: bytes) -> None:
        with suppress(OSError):
            self._channel.sendall(data)

    @property
    def gone(self) -> bool:
        return bool(self._channel.closed)

    @property
    def size(self) -> tuple[int, int]:
        return self._sizes.get(self._channel.get_id(), (0, 0))


class _Link(paramiko.Transport):
    """One client's connection.

    A command starts when the reply "exec accepted" has been written, never earlier: an answer that closes the
    channel before that reply makes clients report "Channel closed".
    """

    _active_check_timeout = 5.0  # paramiko's own 0.1 s would wake this process 2000 times a second with 200 nodes
    # the cheapest: 200 nodes shake hands in this one process, and paramiko compares each packet's separate MAC byte by byte in Python
    _preferred_kex = ("curve25519-sha256@libssh.org",)
    _preferred_ciphers = ("aes128-gcm@openssh.com",)

    def __init__(self, sock: socket.socket, endpoint: Endpoint, farm: Farm) -> None:
        sock.setblocking(True)
        super().__init__(sock)
        self.daemon = True
        self.endpoint, self.farm = endpoint, farm
        self.rules = _Rules(self)
        self.accepted: dict[int, tuple[paramiko.Channel, str]] = {}
        self.sessions: set[int] = set()
        self.tunnels: dict[int, int] = {}
        self.sizes: dict[int, tuple[int, int]] = {}  # lines and columns of a channel's terminal
        self.held: dict[int, paramiko.Channel] = {}  # paramiko itself keeps only weak references to open channels

    def run(self) -> None:
        try:
            super().run()
        finally:
            self.endpoint.links.discard(self)

    def cut(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.close()

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc]
        raw = data.asbytes()
        if raw[0] == MSG_CHANNEL_SUCCESS:
            job = self.accepted.pop(int.from_bytes(raw[1:5], "big"), None)
            if job:
                threading.Thread(
                    target=self._serve, args=job, name=f"rehearsal-{self.endpoint.name}", daemon=True
                ).start()

    def _queue_incoming_channel(self, channel: paramiko.Channel) -> None:
        self.held[channel.get_id()] = channel
        port = self.tunnels.pop(channel.get_id(), None)
        if port:
            threading.Thread(target=_tunnel, args=(channel, port), name="rehearsal-tunnel", daemon=True).start()

    def _serve(self, channel: paramiko.Channel, command: str) -> None:
        endpoint = self.endpoint
        endpoint.commands += 1
        exchange = _Exchange(command, channel, endpoint.cut_after, self.sizes)
        try:
            code, output = endpoint.handler(exchange)
            cut = exchange.cut
        except Dropped as dropped:
            code, output, cut = -1, dropped.output, True
        except Exception:  # a bug in the handler must show as a bug instead of hanging its client
            code, output, cut = 70, traceback.format_exc().encode(), False
        channel.settimeout(STUCK)
        if endpoint.delay:
            time.sleep(endpoint.delay)
        with suppress(OSError, EOFError, paramiko.SSHException):  # the client may have gone
            if output:
                channel.sendall(output)
            if cut:
                self.cut()
                return
            self.sessions.discard(channel.get_id())
            channel.send_exit_status(code)
            channel.shutdown_write()
            if endpoint.linger:
                time.sleep(endpoint.linger)
            channel.close()
        self.held.pop(channel.get_id(), None)


class _Rules(paramiko.ServerInterface):
    """What a node's server accepts: one user with one key, commands, and tunnels to other nodes of the farm."""

    def __init__(self, link: _Link) -> None:
        self.link = link

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def get_banner(self) -> tuple[str, str]:
        return self.link.endpoint.bars, "en"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        endpoint = self.link.endpoint
        if endpoint.bars:
            self.link.cut()
        good = username == endpoint.user and key.get_base64() == endpoint.client_key
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind != "session":
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        link = self.link
        link.sessions -= {number for number in link.sessions if number in link.held and link.held[number].closed}
        if len(link.sessions) >= link.endpoint.max_sessions:
            return OPEN_FAILED_CONNECT_FAILED
        link.sessions.add(chanid)
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.link.accepted[channel.remote_chanid] = (channel, command.decode())
        return True

    def check_channel_pty_request(
        self, channel: paramiko.Channel, term: bytes, width: int, height: int, *pixels_and_modes: object
    ) -> bool:
        self.link.sizes[channel.get_id()] = (height, width)
        return True

    def check_channel_window_change_request(
        self, channel: paramiko.Channel, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        self.link.sizes[channel.get_id()] = (height, width)
        return True

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        self.link.accepted[channel.remote_chanid] = (channel, SHELL)
        return True

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        host, port = destination
        if not self.link.endpoint.forwarding:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        if host != LOOPBACK or self.link.farm.port_owner(port) is None:
            return OPEN_FAILED_CONNECT_FAILED
        self.link.tunnels[chanid] = port
        return OPEN_SUCCEEDED


def _tunnel(channel: paramiko.Channel, port: int) -> None:
    """Copy bytes both ways between a channel and a port of this farm until one side ends."""
    gone = (OSError, EOFError, paramiko.SSHException)
    try:
        sock = socket.create_connection((LOOPBACK, port), timeout=10)
    except OSError:
        with suppress(*gone):
            channel.close()
        return
    sock.settimeout(None)

    def inward() -> None:
        with suppress(*gone):
            while data := channel.recv(1 << 16):
                sock.sendall(data)
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=inward, name="rehearsal-tunnel", daemon=True).start()
    with suppress(*gone):
        while data := sock.recv(1 << 16):
            channel.sendall(data)
    with suppress(*gone):
        channel.close()
    sock.close()


@contextmanager
def farm() -> Iterator[Farm]:
    """A farm without nodes; it is stopped at the end."""
    with Farm() as made:
        yield made
