"""Whole processes, from start to exit, in turn."""

from __future__ import annotations

import os
import select
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LONGEST = 600.0  # seconds that one process may take
TAIL = 3000  # characters of its output that an error shows


class Failed(Exception):
    """A process that did not do what is measured: its time would say nothing."""


@dataclass(frozen=True)
class Contender:
    """One thing that is measured: several processes at the same time, or one. Its time ends when the last has ended."""

    key: str
    commands: tuple[Sequence[str | Path], ...]
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    proof: Callable[[str], str] = lambda _output: ""  # what is wrong with its output; "" if nothing is


@dataclass(frozen=True)
class Took:
    """What one turn cost: seconds by the wall, seconds of CPU of all its processes on this machine, MiB of the largest."""

    wall: float
    cpu: float
    peak: float


def once(contender: Contender) -> Took:
    """Run it once. Raises Failed unless each of its processes ends with 0 and the output is as it should be."""
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [Path(scratch, str(number)) for number in range(len(contender.commands))]
        files = [path.open("wb") for path in outputs]
        started = time.perf_counter()
        processes = [
            subprocess.Popen(
                [str(word) for word in command],
                cwd=contender.folder,
                env={**os.environ, **contender.variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for command, file in zip(contender.commands, files, strict=True)
        ]
        cpu = peak = 0.0
        watch = _Watch(processes, LONGEST)
        try:
            for process in processes:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                cpu += usage.ru_utime + usage.ru_stime
                peak = max(peak, usage.ru_maxrss / 1024)
        finally:
            watch.end()
        wall = time.perf_counter() - started
        for file in files:
            file.close()
        texts = [path.read_text(errors="replace") for path in outputs]
    for process, command, text in zip(processes, contender.commands, texts, strict=True):
        wrong = f"exit {process.returncode}" if process.returncode else contender.proof(text)
        if wrong:
            words = " ".join(str(word) for word in command)
            raise Failed(f"{contender.key}: {wrong}\n$ {words}\n{text[-TAIL:]}")
    return Took(wall, cpu, peak)


@contextmanager
def beside(
    command: Sequence[str], says: str, seconds: float, variables: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A process of ours that serves until the block ends: its standard input is closed then. Raises RuntimeError unless it `says` so in time."""
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).resolve().parent.parent,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        if not ready or process.stdout.readline().strip() != says:
            raise RuntimeError(f"{' '.join(command)}: not {says!r} within {seconds:.0f} s")
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Watch:
    """Ends processes of ours that take longer than they may: a benchmark that hangs measures nothing."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
        import threading

        self._processes = processes
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def _kill(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)

    def end(self) -> None:
        self._timer.cancel()
        self._kill()


def in_turn(contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]) -> dict[str, list[Took]]:
    """Each of them once a round, in an order that rotates, so that the machine's mood and who came before meet all alike."""
    found: dict[str, list[Took]] = {one.key: [] for one in contenders}
    for number in range(rounds):
        at = number % len(contenders)
        for one in (*contenders[at:], *contenders[:at]):
            took = once(one)
            found[one.key].append(took)
            say(f"{one.key}: {took.wall:.2f} s")
    return found


@dataclass(frozen=True)
class Spread:
    """Several turns of one thing."""

    median: float
    least: float
    most: float
    turns: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values), len(values))
