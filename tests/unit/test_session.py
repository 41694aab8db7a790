"""The locks of a run: only one run at a time may change a cluster, and what stops a run that cannot acquire them."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from fabfile.cli.common import Options
from fabfile.cli.session import FILES, Session, _interruptible, _lock, _many_files, opened
from fabfile.errors import KubefabError, StepFailed, Unreachable, UsageError
from fabfile.inventory import private_folder
from fabfile.nodes.group import NodeGroup, operator
from fabfile.nodes.hostkeys import KnownHosts
from making import environment


class ControlPlane:
    """The connection over which the run lock is acquired: `link` and `lock` are the errors that connecting and locking raise."""

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
    return Session(environment(), control, None, "inv cluster.bootstrap")  # type: ignore[arg-type]


def test_a_run_holds_the_run_lock() -> None:
    control = ControlPlane()
    with session(control)._cluster_lock():
        assert control.held
    assert not control.held


def test_other_nodes_are_prepared_while_the_control_plane_is_down() -> None:
    control = ControlPlane(link=Unreachable("cp1: connection refused"))
    with session(control)._cluster_lock():
        assert not control.held


@pytest.mark.parametrize(
    "why",
    [
        StepFailed("cp1: sudo refused user ops"),
        Unreachable("cp1: broke"),
        KubefabError("another run works on this cluster"),
    ],
)
def test_a_run_stops_if_a_reachable_control_plane_refuses_the_run_lock(why: KubefabError) -> None:
    with pytest.raises(type(why), match=why.message), session(ControlPlane(lock=why))._cluster_lock():
        pytest.fail("the run went on without the lock")


def test_a_user_without_a_name_is_named_by_number_and_can_connect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_name(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # counts as unset; the test restores it
    monkeypatch.setattr("pwd.getpwuid", no_name)
    env = environment()
    group = NodeGroup(env, env.nodes, KnownHosts(tmp_path / "known_hosts"))
    assert len(group) == len(env.nodes)
    assert operator() == f"uid {os.getuid()}"


class Leaving:
    """A run that is ended at once; returns what happened, in order. `deleting` delays the token's deletion."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deleting: Event | None = None) -> None:
        self.happened: list[str] = []
        monkeypatch.setattr(os, "_exit", self.exit)
        stopping = Event()

        def drop() -> None:
            if deleting:
                deleting.wait(20)
            self.happened.append("token deleted")

        self.run: Any = SimpleNamespace(stopping=stopping, stop=stopping.set, tokens=SimpleNamespace(delete=drop))
        self.group: Any = SimpleNamespace(close=lambda: self.happened.append("links closed"))
        self.progress: Any = SimpleNamespace(
            note=lambda text: self.happened.append("note"), restore_terminal=lambda: self.happened.append("terminal")
        )

    def exit(self, code: int) -> None:
        self.happened.append(f"exit {code}")
        raise Ended

    def __enter__(self) -> Leaving:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def gets(self, *signals: int) -> list[str]:
        with pytest.raises(Ended), _interruptible(self.run, self.group, self.progress):
            for number in signals:
                signal.raise_signal(number)
        return self.happened


class Ended(Exception):
    pass


def test_ctrl_c_twice_deletes_the_token_and_restores_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Leaving(monkeypatch).gets(signal.SIGINT, signal.SIGINT) == [
        "note",
        "token deleted",
        "terminal",
        "links closed",
        "exit 130",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_signals_end_a_run_like_ctrl_c(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The first one stops after the running steps, the second one at once, whichever they are."""
    at_once = ["note", "token deleted", "terminal", "links closed"]
    assert Leaving(monkeypatch).gets(number, number) == [*at_once, f"exit {128 + number}"]
    assert Leaving(monkeypatch).gets(number, signal.SIGINT) == [*at_once, "exit 130"]
    assert Leaving(monkeypatch).gets(signal.SIGINT, number) == [*at_once, f"exit {128 + number}"]
    assert signal.getsignal(number) == signal.SIG_DFL


def test_nohup_still_ignores_hangups(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert Leaving(monkeypatch).gets(signal.SIGHUP, signal.SIGINT, signal.SIGINT)[-1] == "exit 130"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_token_that_cannot_be_deleted_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabfile.cli.session.TOKEN_PATIENCE", 0.1)
    never = Event()
    try:
        assert Leaving(monkeypatch, never).gets(signal.SIGINT, signal.SIGINT) == [
            "note",
            "terminal",
            "links closed",
            "exit 130",
        ]
    finally:
        never.set()


def test_the_limit_of_open_files_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        _many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (
            min(hard, FILES) if hard != resource.RLIM_INFINITY else FILES,
            hard,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_local_lock_file_is_private_and_no_link_is_followed(home: Path) -> None:
    env = environment()
    with _lock(env):
        assert (env.state / "lock").stat().st_mode & 0o777 == 0o600
        assert env.state.stat().st_mode & 0o777 == 0o700 and env.state.parent.stat().st_mode & 0o777 == 0o700
    (env.state / "lock").unlink()
    (home / "somebodys").write_text("theirs")
    (env.state / "lock").symlink_to(home / "somebodys")
    with pytest.raises(OSError), _lock(env):
        pass
    assert (home / "somebodys").read_text() == "theirs"


def test_an_open_state_folder_is_made_private(home: Path) -> None:
    env = environment()
    env.state.mkdir(parents=True)
    env.state.chmod(0o755)
    env.state.parent.chmod(0o755)
    private_folder(env.state / "journal")
    assert {path.stat().st_mode & 0o777 for path in (env.state.parent, env.state, env.state / "journal")} == {0o700}


def test_a_wrong_name_is_said_before_connections_are_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 5,000 nodes that takes ten seconds."""
    monkeypatch.setattr("fabfile.cli.session.connected", lambda *_, **__: pytest.fail("connections are prepared"))
    with pytest.raises(UsageError, match="no node or group 'typo'"), opened(Options("aws", on=("typo",))):
        pytest.fail("it was opened")
