"""The locks of a run: one changing run a cluster, whoever starts it, and what stops a run that cannot have them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from fabfile.connection import NodeGroup, operator
from fabfile.errors import KubefabError, StepFailed, Unreachable
from fabfile.hostkeys import KnownHosts
from fabfile.session import Session, _interruptible
from making import environment


class ControlPlane:
    """The one connection that a cluster's lock is taken over: `link` and `lock` are what goes wrong with each."""

    def __init__(self, link: KubefabError | None = None, lock: KubefabError | None = None) -> None:
        self.link, self.lock, self.held = link, lock, False

    def of(self, node: Any) -> ControlPlane:
        return self

    def open(self) -> None:
        if self.link:
            raise self.link

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        self.open()
        if self.lock:
            raise self.lock
        self.held = True
        yield
        self.held = False


def session(control: ControlPlane) -> Session:
    return Session(environment(), control, None, Console(), "inv cluster.bootstrap")  # type: ignore[arg-type]


def test_a_run_holds_the_clusters_lock() -> None:
    control = ControlPlane()
    with session(control)._cluster_lock():
        assert control.held
    assert not control.held


def test_a_control_plane_that_is_down_does_not_keep_the_others_from_being_prepared() -> None:
    control = ControlPlane(link=Unreachable("cp1: connection refused"))
    with session(control)._cluster_lock():
        assert not control.held


@pytest.mark.parametrize("why", [StepFailed("cp1: sudo refused user ops"), Unreachable("cp1: broke"), KubefabError("another run works on this cluster")])
def test_a_lock_that_cannot_be_taken_over_a_link_that_works_stops_the_run(why: KubefabError) -> None:
    with pytest.raises(type(why), match=why.message), session(ControlPlane(lock=why))._cluster_lock():
        pytest.fail("the run went on without the lock")


def test_a_user_without_a_name_is_called_by_number_and_can_connect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # as good as unset; what becomes of it is taken back
    monkeypatch.setattr("pwd.getpwuid", nobody)
    env = environment()
    group = NodeGroup(env, env.nodes, KnownHosts(tmp_path / "known_hosts"))
    assert len(group) == len(env.nodes)
    assert operator() == f"uid {os.getuid()}"


def test_ctrl_c_twice_gives_the_terminal_back_and_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Exception):
        pass

    def end(code: int) -> None:
        happened.append(f"exit {code}")
        raise Ended

    happened: list[str] = []
    monkeypatch.setattr(os, "_exit", end)
    stopping = Event()
    run: Any = SimpleNamespace(stopping=stopping, stop=stopping.set)
    group: Any = SimpleNamespace(close=lambda: happened.append("links closed"))
    progress: Any = SimpleNamespace(note=lambda text: happened.append("told"), give_back=lambda: happened.append("terminal"))
    with pytest.raises(Ended), _interruptible(run, group, progress):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert happened == ["told", "terminal", "links closed", "exit 130"]
