"""An sshd that allows less than by default: few sessions, no forwarding, few logins at once, logins that run nothing."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import paramiko
import pytest
from ssh_bench import SCRIPT, Bench, bench

from fabfile.errors import KubefabError, StepFailed, Unreachable
from fabfile.inventory import Node
from fabfile.nodes import connection as module
from fabfile.nodes.connection import Connection
from fabfile.nodes.failures import Way, unreachable
from fabfile.nodes.group import NodeGroup
from fabfile.nodes.sessions import Sessions
from rehearsal.server import Endpoint

__all__ = ["bench"]  # a fixture

NOLOGIN = "System is booting up. Unprivileged users are not permitted to log in yet. See pam_nologin(8)."


@pytest.mark.parametrize("ahead", [True, False], ids=["sessions are got ready", "each command opens its own"])
@pytest.mark.parametrize("allowed", [2, 3, 10])
def test_with_few_sessions_every_script_runs_over_the_one_link_and_the_lock_stays(
    bench: Bench, allowed: int, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # short: only the end of another session helps; yet the server may take a moment to end one whose answer is here
    monkeypatch.setattr(module, "NO_SESSION", 0.5)
    most: list[int] = []
    running: list[int] = []
    guard, ready = threading.Lock(), threading.Barrier(min(allowed - 1, 2))

    def run(text: str) -> tuple[int, bytes]:
        if text != SCRIPT:  # the lock's file
            return 0, b""
        with guard:
            running.append(1)
            most.append(len(running))
        if len(most) < 3:
            ready.wait(10)  # the first two are there at the same time where that is allowed
        with guard:
            running.pop()
        return 0, b"hello\n##kubefab 1 0\n"

    endpoint, node = bench.serve("cp1", run)
    endpoint.max_sessions = allowed
    with bench.connect(node) as connection:
        if ahead:
            connection.ready()
        with connection.hold("me"), ThreadPoolExecutor(12) as pool:
            lock = connection._ours.lock.channel
            codes = [code for code, _ in pool.map(lambda _: connection.root(SCRIPT, 20, more=ahead), range(24))]
            assert codes == [0] * 24
            _same_link(connection, endpoint, lock)
    assert max(most) <= allowed - 1


def _same_link(connection: Connection, endpoint: Endpoint, lock: paramiko.Channel | None) -> None:
    assert connection._ours.lock.channel is lock and lock is not None and not lock.closed
    assert len(endpoint.links) == 1


@pytest.mark.parametrize("allowed", [1, 10])
def test_beside_a_script_the_next_ones_session_is_got_ready_where_sshd_allows_that(bench: Bench, allowed: int) -> None:
    """Where it does not, that is tried once a link, and each script opens its own."""

    def run(text: str) -> tuple[int, bytes]:
        time.sleep(0.2)  # the next session is asked for while this one is open
        return 0, b"hello\n##kubefab 1 0\n"

    endpoint, node = bench.serve("cp1", run)
    endpoint.max_sessions = allowed
    opened: list[bool] = []
    with bench.connect(node) as connection:
        connection.ready()
        enter = connection._enter
        connection._enter = lambda *given: opened.append(True) or enter(*given)  # type: ignore[method-assign,func-returns-value]
        for left in (3, 2, 1, 0):
            assert connection.root(SCRIPT, 5, more=left > 0)[0] == 0
            assert bool(connection._ours.spare) == (allowed > 1 and left > 0)
        assert (connection._ours.alone is connection.transport) == (allowed == 1)
    assert len(opened) == 3, "the first one's was there"


@pytest.mark.parametrize("ahead", [True, False], ids=["a session is got ready", "none is"])
def test_max_sessions_1_is_named_before_anything_runs_where_the_lock_needs_one(
    bench: Bench, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NO_SESSION", 1.0 if ahead else 0.1)
    ran: list[str] = []
    endpoint, node = bench.serve("cp1", lambda text: ran.append(text) or (0, b""))  # type: ignore[func-returns-value]
    endpoint.max_sessions = 1
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 5)[0] == 0, "one after the other is enough where no lock is held"
        if ahead:
            connection.ready()
        with (
            pytest.raises(KubefabError, match=r"cp1: MaxSessions of its sshd is 1.*the run lock holds one") as caught,
            connection.hold("me"),
        ):
            raise AssertionError("the run began")
        assert "MaxSessions 10" in caught.value.remedy and not isinstance(caught.value, Unreachable)
    assert ran.count(SCRIPT) == 1


def test_a_command_that_still_has_its_session_is_not_taken_for_max_sessions_1(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NO_SESSION", 0.1)
    endpoint, node = bench.serve("cp1")
    with bench.connect(node) as connection:
        connection.root(SCRIPT, 5)
        endpoint.max_sessions = 0
        with pytest.raises(Unreachable, match="an earlier command still has one"):
            connection.root(SCRIPT, 5)
        assert not connection.is_connected, "a new link has sessions of its own"


def test_a_refused_slot_lowers_the_bound_and_the_last_one_waits_for_none() -> None:
    sessions = Sessions(8)
    inner, ended = threading.Event(), threading.Event()

    def second() -> bool:
        with sessions.slot():
            inner.set()
            return sessions.fewer(certain=False) and ended.is_set()

    with ThreadPoolExecutor(1) as pool:
        with sessions.slot():
            assert not sessions.fewer(certain=True)
            later = pool.submit(second)
            assert inner.wait(5)
            ended.set()
        assert later.result(5), "it waited until the first had ended"
    assert sessions._most == 1


@pytest.mark.parametrize("kind", ["AllowTcpForwarding", "no machine there"])
def test_a_bastion_that_does_not_forward_is_named_with_its_directive(bench: Bench, kind: str) -> None:
    hop, between = bench.serve("hop")
    _, target = bench.serve("w1")
    hop.forwarding = kind != "AllowTcpForwarding"
    if hop.forwarding:
        target = replace(target, port=1)
    target = replace(target, jump=f"ops@127.0.0.1:{between.port}")
    group = NodeGroup(bench.environment(target), [target], bench.known)
    with pytest.raises(Unreachable) as caught:
        group.of(target).root(SCRIPT, 5)
    said = caught.value.message + caught.value.remedy
    assert "the bastion 127.0.0.1" in said and said.startswith("w1 ")
    assert all(
        (word in said) == (not hop.forwarding) for word in ("AllowTcpForwarding", "DisableForwarding", "PermitOpen")
    )


def test_logins_that_are_turned_away_before_ssh_begins_are_repeated(bench: Bench) -> None:
    """sshd's MaxStartups: a hundred nodes behind one address log in at the same moment."""
    endpoint, node = bench.serve()
    endpoint.turns_away = 30
    nodes = [replace(node, name=f"w{number}") for number in range(40)]
    group = NodeGroup(bench.environment(node), nodes, bench.known)
    answers = group.each(nodes, lambda one: group.of(one).root(SCRIPT, 20)[0])
    group.close()
    assert set(answers.values()) == {0}


def test_a_server_that_always_turns_away_is_named_with_its_words(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURNED_AWAY", 0.2)
    endpoint, node = bench.serve()
    endpoint.turns_away = 1000
    with pytest.raises(Unreachable, match="closed before SSH begins") as caught:
        bench.connect(node).open()
    assert "MaxStartups" in caught.value.remedy and "Exceeded MaxStartups" in caught.value.message


LOGINS = [
    ((1, "This account is currently not available.\n"), "login shell of ops is nologin", "usermod --shell /bin/bash ops"),
    ((142, 'Please login as the user "ubuntu" rather than the user "root".\n\n'), "names the user ubuntu", "SSH_USER=ubuntu"),
    ((142, "Please login as the user ec2-user rather than the user root.\n"), "names the user ec2-user", "SSH_USER=ec2-user"),
    ((1, "WARNING: Your password has expired.\nPassword change required but no TTY available.\n"), "password of ops has expired", "chage"),
    ((254, '"System is booting up. Unprivileged users are not permitted to log in yet. See pam_nologin(8)."\n'), "starting", "/run/nologin"),
    ((1, "Your account has expired; please contact your system administrator.\n"), "account of ops has expired", "chage -E -1 ops"),
    ((254, "down for maintenance\n"), "lets only root in", "/etc/nologin"),
    ((1, ""), "runs no command of ours: it ends with exit code 1", "getent passwd ops"),
    ((0, "Welcome! This is a menu.\n"), "it ends with exit code 0", "command="),
    ((1, 'Please login as the user "$(reboot)" rather than the user "root".\n'), "exit code 1", "getent passwd ops"),
]  # fmt: skip


@pytest.mark.parametrize(("instead", "what", "todo"), LOGINS)
def test_a_login_that_runs_nothing_is_named_in_one_sentence(
    bench: Bench, instead: tuple[int, str], what: str, todo: str
) -> None:
    for use in ("script", "lock"):
        _, node = bench.serve(f"{use}1", instead=instead)
        with bench.connect(node) as connection, pytest.raises(Unreachable) as caught:
            if use == "script":
                connection.root(SCRIPT, 5)
            else:
                with connection.hold("me"):
                    raise AssertionError("the run began")
        assert what in caught.value.message and todo in caught.value.remedy
        assert instead[1].strip() in caught.value.output
        assert "reboot" not in caught.value.message + caught.value.remedy


def test_nothing_is_sent_to_a_shell_that_a_start_file_runs_instead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .bashrc that ends in `exec fish`: that shell reads standard input, and would run each line of a script as its own command."""
    monkeypatch.setattr(module, "LOGIN", 0.3)
    bench.settings = replace(bench.settings, connect_timeout=0.3)
    read: list[str] = []
    done = threading.Event()

    def shell(text: str) -> tuple[int, bytes]:
        read.append(text)
        done.set()
        return 0, b""

    for password in ("", "open sesame"):
        done.clear()
        _, node = bench.serve(f"w{len(read)}", shell, instead=(-1, ""))
        with bench.connect(node, password=password) as connection, pytest.raises(Unreachable, match="runs no command"):
            connection.root(SCRIPT, 5)
        assert done.wait(5)
    assert read == ["", ""]


def test_a_login_that_comes_to_no_shell_is_waited_for_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that needs the session that is being got ready has its error; the next command tries again."""
    monkeypatch.setattr(module, "LOGIN", 0.5)
    bench.settings = replace(bench.settings, connect_timeout=0.5)
    endpoint, node = bench.serve(instead=(-1, ""))
    with bench.connect(node) as connection, ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(connection.ready)
        while not connection._ours.readying.locked():
            time.sleep(0.01)
        for times in (1, 2):
            with pytest.raises(Unreachable, match="runs no command"):
                connection.root(SCRIPT, 5)
            assert endpoint.commands == times
        assert isinstance(ahead.exception(5), Unreachable)


@pytest.mark.parametrize(
    ("says", "what"),
    [
        (f"{NOLOGIN}\n", "lets only root in"),
        ("Your account has expired; please contact us\n", "ops has expired"),
    ],
)
def test_what_pam_says_before_it_ends_the_login_is_read_from_the_banner(bench: Bench, says: str, what: str) -> None:
    endpoint, node = bench.serve()
    endpoint.bars = says
    with pytest.raises(Unreachable, match=what):
        bench.connect(node).open()


def test_requiretty_is_a_refusal_with_the_line_that_ends_it(bench: Bench) -> None:
    _, node = bench.serve(sudo="denied", refusal="sudo: sorry, you must have a tty to run sudo\n")
    with (
        bench.connect(node) as connection,
        pytest.raises(StepFailed, match=r"sudo refused user ops: .*\(requiretty\)") as caught,
    ):
        connection.root(SCRIPT, 5)
    assert "Defaults:ops !requiretty" in caught.value.remedy


def test_the_operators_own_line_still_runs_in_the_login_shell(bench: Bench) -> None:
    seen: list[str] = []

    def run(text: str) -> tuple[int, bytes]:
        seen.append(text)
        return 0, b"fish, version 3.6.0\n"

    _, node = bench.serve(run=run)
    with bench.connect(node) as connection:
        assert connection.command("fish --version", 5) == (0, b"fish, version 3.6.0\n")
    assert seen == ["fish --version"]


ENDED = paramiko.AuthenticationException("Authentication failed: transport shut down or saw EOF")
REFUSED = paramiko.AuthenticationException("Authentication failed.")
POLICY = "Authorised use only. You must change your password every 90 days; an account that has expired is deleted."


@pytest.mark.parametrize(("error", "banner", "what", "todo"), [
    (ENDED, NOLOGIN, "lets only root in", "/run/nologin"),
    (ENDED, "", "the server ended the login of ops with 9 of your agent", "MaxAuthTries"),
    (ENDED, "Access denied by policy", "(Access denied by policy)", "MaxAuthTries"),
    (ENDED, POLICY, "the server ended the login of ops", "MaxAuthTries"),
    (REFUSED, POLICY, "login as ops with 9 of your agent was refused", "SSH_USER"),
    (socket.gaierror(-2, "Name or service not known"), "", "192.0.2.1 is neither a name", "hosts.env"),
    (REFUSED, "", "login as ops with 9 of your agent was refused", "SSH_USER"),
    (paramiko.BadAuthenticationType("", ["password", "keyboard-interactive"]), "", "it wants password, keyboard-interactive from ops", "SSH_USER"),
])  # fmt: skip
def test_a_login_that_the_server_ends_is_not_a_refused_key(error: Exception, banner: str, what: str, todo: str) -> None:
    node = Node("w1", "192.0.2.1", "10.2.1.1", False)
    said = unreachable(error, Way(node, "a", 5, user="ops", said=banner, tried="9 of your agent"))
    assert what in said.message and todo in said.remedy
