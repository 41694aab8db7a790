"""Starts `fab` and `inv` for the lab's tests: each in a process of its own, forked from one that has imported everything; or the installed ones.

An import takes most of a second of the processors that the nodes need, and there are hundreds of commands. `python spawning.py DESCRIPTOR`
is that process; it is asked over a socket. A command may be one that stops by itself in the steps that a test names (stopping.py).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
_MOST = 1 << 20  # bytes of a message
_LOOK = 0.02  # seconds from one look for commands that have ended to the next


class Running:
    """A command, with what tests use of a Popen."""

    def __init__(self, spawner: Spawner, pid: int, args: Sequence[str], output: int) -> None:
        self.pid, self.args, self.returncode = pid, list(args), None
        self._spawner, self._output = spawner, output

    returncode: int | None

    def poll(self) -> int | None:
        self._spawner.hear(0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit code, when it has ended. Raises TimeoutExpired."""
        end = time.monotonic() + timeout
        while self.returncode is None:
            left = end - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._spawner.hear(left)
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, None]:
        """What it printed, when it has ended. Raises TimeoutExpired."""
        end, data = time.monotonic() + timeout, b""
        while select.select([self._output], [], [], max(0.0, end - time.monotonic()))[0]:
            piece = os.read(self._output, 1 << 16)
            if not piece:
                break
            data += piece
        self.wait(max(0.1, end - time.monotonic()))
        os.close(self._output)
        return data.decode("utf-8", "replace"), None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Spawner:
    """The process that forks, and the commands that it has begun."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, __file__, str(theirs.fileno())]
        self._server = subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        theirs.close()
        self._running: dict[int, Running] = {}
        self._ended: dict[int, int] = {}

    def start(
        self,
        argv: Sequence[str],
        folder: Path,
        variables: Mapping[str, str],
        steps: Sequence[str] = (),
        stops: int = -1,
        *,
        installed: bool = False,
    ) -> Running:
        """Begin a command; with `steps` it stops in each of them, and says so to the descriptor `stops`. `installed`: as a person starts it."""
        reading, writing = os.pipe()
        request = {
            "argv": list(argv), "folder": str(folder), "variables": dict(variables), "steps": list(steps), "installed": installed,
        }  # fmt: skip
        socket.send_fds(self._socket, [json.dumps(request).encode()], [writing, *((stops,) if steps else ())])
        os.close(writing)
        pid = None
        while pid is None:
            pid = self._read().get("pid")
        self._running[pid] = Running(self, pid, argv, reading)
        return self._running[pid]

    def hear(self, seconds: float) -> None:
        """Take in what is said of commands that have ended, within so many seconds."""
        while select.select([self._socket], [], [], seconds)[0]:
            self._read()
            seconds = 0

    def _read(self) -> dict[str, Any]:
        data = self._socket.recv(_MOST)
        if not data:
            raise EOFError("the process that starts our commands has died")
        said: dict[str, Any] = json.loads(data)
        if "ended" in said:
            self._running.pop(said["ended"]).returncode = said["code"]
        return said


def serve(asked: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each request; returns only in the child, with the request and its descriptors."""
    children: set[int] = set()
    while True:
        ready = select.select([asked], [], [], _LOOK if children else None)[0]
        for child in list(children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                children.discard(child)
                asked.send(json.dumps({"ended": child, "code": os.waitstatus_to_exitcode(status)}).encode())
        if not ready:
            continue
        data, descriptors, _, _ = socket.recv_fds(asked, _MOST, 2)
        if not data:
            os._exit(0)
        child = os.fork()
        if not child:
            asked.close()
            return json.loads(data), list(descriptors)
        children.add(child)
        asked.send(json.dumps({"pid": child}).encode())
        for one in descriptors:
            os.close(one)


def become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Run the command of the request in this process, and end it."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, one in enumerate((nothing, descriptors[0], descriptors[0])):
        os.dup2(one, number)
    for one in (nothing, descriptors[0]):
        os.close(one)
    sys.stdin, sys.stdout, sys.stderr = (
        # as an interpreter has them in a pipe: standard error line by line, so that it comes before a document that is written at the end
        open(number, mode, 1 if number == 2 else -1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    sys.argv = [str(BIN / request["argv"][0]), *request["argv"][1:]]
    if request["installed"]:
        os.execve(sys.argv[0], sys.argv, request["variables"])
    os.environ.clear()
    os.environ.update(request["variables"])
    if request["steps"]:
        stop_in(frozenset(request["steps"]), descriptors[1])
    try:
        programs.run(programs.PROGRAMS[request["argv"][0]])
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            end(ended.code or 0)
        print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    end(1)


if __name__ == "__main__":
    sys.path[:0] = [str(PROJECT), str(PROJECT / "tests"), str(Path(__file__).parent)]
    from stopping import stop_in

    from cli import end, imported
    from tools import programs

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    imported()
    del sys.path[:3]
    become(*serve(socket.socket(fileno=int(sys.argv[1]))))
