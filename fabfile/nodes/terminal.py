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
from contextlib import contextmanager, suppress
from types import FrameType
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
        with channel, _raw(stdin), _resized() as resized:
            _pump(channel, stdin, stdout, resized)
            channel.status_event.wait(STATUS)
            code = channel.exit_status
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise connection.unreachable(error) from error
    if code is None or code < 0:
        raise broken(connection.node.name)
    return int(code)


def _pump(channel: paramiko.Channel, stdin: int, stdout: int, resized: int) -> None:
    """Carry bytes both ways until the shell has ended; `resized` can be read when the terminal has another size."""
    watched: list[Any] = [channel, resized, stdin]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if channel in ready:
            data = channel.recv(1 << 15)
            if not data:
                return
            while data:
                data = data[os.write(stdout, data) :]
        if resized in ready:
            os.read(resized, 1024)
            channel.resize_pty(*os.get_terminal_size(stdin))
        if stdin in ready:
            typed = os.read(stdin, 4096)
            if typed and not channel.closed:
                channel.sendall(typed)
            else:
                channel.shutdown_write()
                watched = [channel, resized]


@contextmanager
def _raw(stdin: int) -> Iterator[None]:
    """The terminal as it was at the end, also where the process is to end: SIGTERM, or SIGHUP of a terminal that is closed."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = termios.tcgetattr(stdin)
    handlers = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    tty.setraw(stdin)
    try:
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _resized() -> Iterator[int]:
    """A descriptor that can be read after each SIGWINCH. The handler itself sends nothing: paramiko may be sending at that moment."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def note(number: int, frame: FrameType | None) -> None:
        with suppress(BlockingIOError):
            os.write(writing, b"w")

    before = signal.signal(signal.SIGWINCH, note)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(reading)
        os.close(writing)
