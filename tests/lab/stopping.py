"""Makes this process, which is to run a command of ours, stop by itself in the steps that a test names.

A test that watches the journal and then kills comes some time later, on a busy machine a step later. Here the thread that carries out the
step writes its name to the descriptor and stops the whole process (SIGSTOP), when the step's script has been sent, or a part of the file
that goes before it. What then happens on the node goes on without us; on this side nothing does, until the test kills or continues it.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import paramiko

from fabfile.run.journal import Journal

# What goes over a new channel: the line that sh evaluates, the script or a file's first part, and a file's second part.
WHOLE = 3


def stop_in(steps: frozenset[str], descriptor: int) -> None:
    """Stop in the middle of each of these steps, once; `step@node` is one on that node."""
    here = threading.local()  # which step this thread has begun, and what it may still send
    write, send, sent = Journal.write, paramiko.Channel.sendall, paramiko.Channel.shutdown_write
    seen: set[str] = set()

    def stop() -> None:
        here.left = 0
        os.write(descriptor, f"{here.step}\n".encode())
        os.kill(os.getpid(), signal.SIGSTOP)

    def written(journal: Journal, event: str, **fields: Any) -> None:
        write(journal, event, **fields)
        names = {str(fields.get("step")), f"{fields.get('step')}@{fields.get('node')}"} & steps - seen
        if event == "start" and names:
            seen.update(names)
            here.step, here.left = names.pop(), WHOLE

    def piece(channel: paramiko.Channel, data: bytes) -> None:
        send(channel, data)
        if getattr(here, "left", 0):
            here.left -= 1
            if not here.left:
                stop()

    def whole(channel: paramiko.Channel) -> None:
        sent(channel)
        if getattr(here, "left", 0):
            stop()

    Journal.write, paramiko.Channel.sendall, paramiko.Channel.shutdown_write = written, piece, whole  # type: ignore[method-assign]
