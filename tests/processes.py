"""`pytest --processes N`: the tests are collected once, then N forks of the process run them.

Each has a stretch of the tests in their order, so that what a module's tests share stays in one process; one that has no more takes half of
the longest stretch that is left. The process that collected prints, and counts. A process that dies fails the test it ran, and the others go on.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from types import SimpleNamespace
from typing import Any
from warnings import WarningMessage

import pytest


@dataclass
class Process:
    """One fork as its parent sees it: `items` are the numbers of the tests that it was given and has not reported, `stretch` what it is to get."""

    pid: int
    link: Connection
    stretch: deque[int]
    items: deque[int] = field(default_factory=deque)
    ends: bool = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--processes", metavar="N", help="processes that run the tests; 'auto': two for each core, eight at most"
    )


def _wanted(config: pytest.Config) -> int:
    value = config.getoption("processes")
    # tests wait a third of their time, for silent connections and commands that are cut off
    return min(8, 2 * len(_cores())) if value == "auto" else int(value or 0)


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    count = min(_wanted(session.config), len(session.items))
    if not count or session.config.option.collectonly or session.testsfailed:
        return None
    assert threading.active_count() == 1, "a fork has only the thread that forked"
    bounds = [len(session.items) * number // count for number in range(count + 1)]
    processes: list[Process] = []
    try:
        for number in range(count):
            stretch = deque(range(bounds[number], bounds[number + 1]))
            processes.append(_forked(session, number, stretch, processes))
        _hand_out(session, processes)
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
            process.link.close()
    return True


# --- the process that collected


def _hand_out(session: pytest.Session, processes: list[Process]) -> None:
    """Let the processes run all tests, and report each."""
    begun = list(processes)
    for process in begun:
        _begin(process, processes)
    while begun:
        for link in select.select([process.link for process in begun], [], [])[0]:
            process = next(process for process in begun if process.link is link)
            try:
                reports, warnings = pickle.loads(link.recv_bytes())
            except (EOFError, ConnectionResetError):
                begun.remove(process)
                if process.items:
                    died = process.items.popleft()
                    rest = deque([*process.items, *process.stretch])
                    process.stretch.clear()
                    processes.append(_forked(session, len(processes), rest, processes))
                    begun.append(processes[-1])
                    _begin(processes[-1], processes)
                    _tell(session, died, [_of_death(session.items[died], process.pid)], [])
            else:
                _give(process, processes)
                _tell(session, process.items.popleft(), reports, warnings)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)


def _begin(process: Process, processes: list[Process]) -> None:
    """A process has one test more than the one it runs: what tests share is torn down only before one that does not use it."""
    _give(process, processes)
    _give(process, processes)


def _give(process: Process, processes: list[Process]) -> None:
    """Give a process its next test; None when there is none left, and then nothing more."""
    if process.ends:
        return
    if not process.stretch:
        longest = max(processes, key=lambda one: len(one.stretch))
        process.stretch.extend(longest.stretch.pop() for _ in range((len(longest.stretch) + 1) // 2))
        process.stretch.reverse()
    item = process.stretch.popleft() if process.stretch else None
    process.ends = item is None
    if item is not None:
        process.items.append(item)
    with suppress(OSError):  # it has died, and its end is read next
        process.link.send(item)


def _tell(session: pytest.Session, number: int, reports: list[Any], warnings: list[dict[str, Any]]) -> None:
    """Report a test as if it had been run here."""
    hook, item = session.config.hook, session.items[number]
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for warning in warnings:
        hook.pytest_warning_recorded.call_historic(kwargs=warning)
    for data in reports:
        report = (
            hook.pytest_report_from_serializable(config=session.config, data=data) if isinstance(data, dict) else data
        )
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _of_death(item: pytest.Item, pid: int) -> pytest.TestReport:
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", f"process {pid} died in this test", "call")


# --- the forks


class Reports:
    """In a fork, in the place of what prints: it keeps what a test reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.kept: tuple[list[Any], list[dict[str, Any]]] = ([], [])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.kept[0].append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_warning_recorded(
        self, warning_message: WarningMessage, when: str, nodeid: Any, location: tuple[str, int, str] | None
    ) -> None:
        warning_message.source = None  # any object
        self.kept[1].append({"warning_message": warning_message, "when": when, "nodeid": nodeid, "location": location})

    def taken(self) -> bytes:
        kept, self.kept = self.kept, ([], [])
        return pickle.dumps(kept)


def _forked(session: pytest.Session, number: int, stretch: deque[int], others: list[Process]) -> Process:
    ours, theirs = Pipe()
    pid = os.fork()
    if pid:
        theirs.close()
        return Process(pid, ours, stretch)
    code = 1
    try:
        for other in others:
            other.link.close()
        ours.close()
        atexit._clear()  # what the process that collected has to do at its end
        if hasattr(
            os, "sched_setaffinity"
        ):  # a simulation runs on one core (threads of one interpreter): each process on one of its own
            cores = _cores()
            os.sched_setaffinity(0, {cores[number % len(cores)]})
        _run(session, theirs)
        code = 0
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass  # the process that collected ends, too
    except Exception:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(code)


def _run(session: pytest.Session, link: Connection) -> None:
    plugins = session.config.pluginmanager
    capture = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()  # to files of its own
    capture.suspend_global_capture()
    printing = plugins.unregister(name="terminalreporter")
    plugins.register(SimpleNamespace(_tw=printing._tw), "terminalreporter")  # pytest-timeout writes stacks there
    reports = Reports(session.config)
    plugins.register(reports)
    reports.taken()  # warnings of the collection
    number = link.recv()
    while number is not None:
        following = link.recv()
        item, after = (None if one is None else session.items[one] for one in (number, following))
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        link.send_bytes(reports.taken())
        number = following
