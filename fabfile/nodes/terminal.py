"""A shell on a node in the operator's own terminal, over our Connection: its user, key, port, way and host-key rule.

Fabric's `Connection.shell` leaves the terminal in cbreak mode, where Ctrl-Z and Ctrl-\\ act here instead of there, asks for a vt100
whatever the terminal is, and keeps all that was shown.
"""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paramiko

from .connection import Connection
from .failures import broken

STATUS = 10.0  # seconds for the exit status after the shell's last output


def shell(connection: Connection, stdin: int, stdout: int) -> int:
    """Run the user's login shell until it ends; returns its exit code. `stdin` and `stdout` are descriptors, `stdin` a terminal's.

    Raises Unreachable when the connection fails or breaks.
    """
    connection.open()
    try:
        channel = connection.open_channel()
        columns, lines = os.get_terminal_size(stdin)
        channel.get_pty(os.environ.get("TERM") or "vt100", columns, lines)
        channel.invoke_shell()
        with channel, _raw(stdin), _resizing(channel, stdin):
            _pump(channel, stdin, stdout)
            channel.status_event.wait(STATUS)
            code = channel.exit_status
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise connection.unreachable(error) from error
    if code is None or code < 0:
        raise broken(connection.node.name)
    return int(code)


def _pump(channel: paramiko.Channel, stdin: int, stdout: int) -> None:
    """Carry bytes both ways until the shell has ended."""
    watched: list[Any] = [channel, stdin]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if channel in ready:
            data = channel.recv(1 << 15)
            if not data:
                return
            while data:
                data = data[os.write(stdout, data) :]
        if stdin in ready:
            typed = os.read(stdin, 4096)
            if typed and not channel.closed:
                channel.sendall(typed)
            else:
                channel.shutdown_write()
                watched = [channel]


@contextmanager
def _raw(stdin: int) -> Iterator[None]:
    before = termios.tcgetattr(stdin)
    tty.setraw(stdin)
    try:
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


@contextmanager
def _resizing(channel: paramiko.Channel, stdin: int) -> Iterator[None]:
    def resized(*_: object) -> None:
        columns, lines = os.get_terminal_size(stdin)
        channel.resize_pty(columns, lines)

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
