"""For every test: the lab's tests run only when they are named, and each process of `pytest -n` uses one core."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).resolve().parent
LAB = TESTS / "lab"

# An example's duration depends on how busy the machine is. In CI the examples of a commit are always the same; people's runs find new ones.
settings.register_profile("kubefab", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("kubefab")


def _named(config: pytest.Config) -> list[Path]:
    """The files and folders named on pytest's command line."""
    return [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]


def _lab_is_left_out(config: pytest.Config) -> bool:
    return not any(path.is_relative_to(LAB) for path in _named(config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto` means two processes per core: tests wait a third of their time, for silent connections and commands that are cut off."""
    return min(8, 2 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """In a fresh checkout one process of `pytest -n` compiles the tests, most of a collection's time, and the others wait for what it keeps."""
    with Path(__file__).open() as lock:
        if os.environ.get("PYTEST_XDIST_WORKER") and not sys.dont_write_bytecode:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_SH)
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests stay until the end: the garbage collector need not look at them each time, a twelfth of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, *gc.get_threshold()[1:])  # as our programs do


def pytest_configure(config: pytest.Config) -> None:
    """The simulation runs on one core (threads of one interpreter); two processes of `pytest -n 2` must not choose the same one."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(scope="session", autouse=True)
def this_machine_is_no_node() -> Iterator[None]:
    """Assert that no test changed this machine: steps are for simulated nodes, containers or folders, even if root runs the tests."""
    before = _of_a_node()
    yield
    assert _of_a_node() == before, "a test has run a node's steps on this machine"


def _of_a_node() -> dict[Path, int]:
    """The files that kubefab writes first on a node and that exist here, with the time of their last change in nanoseconds."""
    from fabfile.nodes import keeping

    return {path: path.stat().st_mtime_ns for path in map(Path, (keeping.STATE, keeping.NOTE)) if path.exists()}


@pytest.fixture(autouse=True)
def no_secrets_of_others() -> Iterator[None]:
    """Forget the secrets that a test registered: otherwise the filter would grow with every test."""
    from forgetting import forgetting

    with forgetting():
        yield


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keep long texts out of test names: one may be a random key, and then each pytest process would have other names."""
    return argname if isinstance(val, str) and len(val) > 60 else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`pytest` and `pytest tests` start nothing on real nodes; `pytest tests/lab` does."""
    return True if collection_path == LAB and _lab_is_left_out(config) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _lab_is_left_out(config) and any(LAB.is_relative_to(path) for path in _named(config)):
        terminalreporter.write_line(
            "not run: real nodes: make test-lab (root, Docker; about 50 minutes, 25 more the first time)"
        )
