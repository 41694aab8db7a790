"""Our Connection over real SSH, against servers in this process that work well or misbehave."""

from __future__ import annotations

import errno
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from paramiko.hostkeys import HostKeys
from ssh_bench import SCRIPT, Bench, bench

from fabfile.errors import KubefabError, StepFailed, Unreachable
from fabfile.inventory import Node
from fabfile.nodes import run_lock, script
from fabfile.nodes.connection import _ENTER, _SHELL, Connection, outcome
from fabfile.nodes.group import NodeGroup
from fabfile.nodes.hostkeys import KnownHosts
from rehearsal.login import Login
from rehearsal.server import Dropped, Endpoint, Exchange, key_from, new_key_seed

__all__ = ["bench"]  # a fixture


def test_a_script_returns_its_exit_code_and_output(bench: Bench) -> None:
    seen: list[str] = []

    def run(text: str) -> tuple[int, bytes]:
        seen.append(text)
        return 3, b"##kubefab 1 3\nout\n"

    _, node = bench.serve(run=run)
    with bench.connect(node) as connection:
        result = outcome(connection, "test.step", SCRIPT, 10)
    assert (result.code, result.command, result.output) == (3, 1, "out\n")
    assert seen == [SCRIPT]


def test_connections_share_a_configuration_and_none_writes_into_it(bench: Bench) -> None:
    nodes = [bench.serve()[1] for _ in range(2)]
    with bench.connect(nodes[0]) as first, bench.connect(nodes[1]) as second:
        before = repr(dict(first.config))
        assert first.config is second.config
        for connection in (first, second):
            connection.open()
            connection.root(SCRIPT, 10)
        assert (first.port, second.port) == (nodes[0].port, nodes[1].port) and first.port != second.port
        assert repr(dict(first.config)) == before


def test_a_new_host_key_is_reported_once_and_stored_privately(bench: Bench) -> None:
    endpoint, node = bench.serve()
    for _ in range(2):
        with bench.connect(node) as connection:
            connection.root(SCRIPT, 10)
    assert bench.new_keys == [(f"[127.0.0.1]:{node.port}", str(endpoint.host_key.fingerprint))]
    assert bench.known.path.stat().st_mode & 0o777 == 0o600
    again = KnownHosts(bench.known.path)
    again.check(f"[127.0.0.1]:{node.port}", endpoint.host_key)


def test_a_changed_host_key_stops_with_the_remedy(bench: Bench) -> None:
    endpoint, node = bench.serve()
    with bench.connect(node) as connection:
        connection.root(SCRIPT, 10)
    endpoint.host_key = key_from(new_key_seed())
    with pytest.raises(Unreachable, match="host key has CHANGED") as caught:
        bench.connect(node).root(SCRIPT, 10)
    assert str(bench.known.path) in caught.value.remedy
    assert endpoint.commands == 1


def test_the_client_asks_for_the_key_type_in_known_hosts(bench: Bench) -> None:
    """known_hosts was filled by hand with the RSA key only: the server's newer key, which paramiko prefers, is not a changed key."""
    endpoint, node = bench.serve()
    rsa = paramiko.RSAKey.generate(1024)
    endpoint.more_keys = (rsa,)
    bench.known.path.write_text(f"[127.0.0.1]:{node.port} ssh-rsa {rsa.get_base64()}\n")
    bench.known = KnownHosts(bench.known.path, lambda host, fingerprint: bench.new_keys.append((host, fingerprint)))
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 10)[0] == 0
    assert bench.new_keys == []


def test_a_server_without_the_known_kind_of_key_is_refused_by_that_kind(bench: Bench) -> None:
    _, node = bench.serve()
    rsa = paramiko.RSAKey.generate(1024)
    bench.known.path.write_text(f"[127.0.0.1]:{node.port} ssh-rsa {rsa.get_base64()}\n")
    bench.known = KnownHosts(bench.known.path)
    with pytest.raises(Unreachable, match=r"it shows ssh-ed25519 .*, and no ssh-rsa key, which it is known by"):
        bench.connect(node).open()


@pytest.mark.parametrize("kind", ["hashed", "pattern", "revoked", "authority"])
def test_no_script_goes_to_a_host_whose_key_known_hosts_does_not_confirm(bench: Bench, kind: str) -> None:
    endpoint, node = bench.serve()
    host, other = f"[127.0.0.1]:{node.port}", key_from(new_key_seed())
    lines = {
        "hashed": f"{HostKeys.hash_host(host)} ssh-ed25519 {other.get_base64()}",
        "pattern": f"[127.0.0.*]:{node.port} ssh-ed25519 {other.get_base64()}",
        "revoked": f"@revoked * ssh-ed25519 {endpoint.host_key.get_base64()}",
        "authority": f"@cert-authority * ssh-ed25519 {other.get_base64()}",
    }
    bench.known.path.write_text(lines[kind] + "\n")
    bench.known = KnownHosts(bench.known.path)
    with pytest.raises(Unreachable, match=r"w1 .*(CHANGED|revoked|certificate authority)"):
        bench.connect(node).root(SCRIPT, 10)
    assert endpoint.commands == 0


def ssh_config(bench: Bench, home: Path, text: str) -> None:
    bench.settings = replace(bench.settings, simulated=False)
    (home / ".ssh").mkdir(exist_ok=True)
    (home / ".ssh" / "config").write_text(text)


def behind(bench: Bench, home: Path, way: str) -> tuple[list[Endpoint], Endpoint, Node]:
    """Two bastions, b1 and b2, named so in ~/.ssh/config, and a node that is reached in the given way."""
    bastions = [bench.serve(name) for name in ("b1", "b2")]
    target, node = bench.serve()
    hosts = "".join(
        f"Host {n.name}\n HostName 127.0.0.1\n Port {n.port}\n User ops\n IdentityFile {bench.key_file}\n"
        for _, n in bastions
    )
    ssh_config(
        bench, home, f"{hosts}Host 127.0.0.1\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n {way}\n"
    )
    return [end for end, _ in bastions], target, node


def test_the_host_key_of_every_proxyjump_hop_is_checked(bench: Bench, home: Path) -> None:
    (first, second), target, node = behind(bench, home, "ProxyJump b1,b2")
    group = NodeGroup(bench.environment(node), [node, replace(node, name="w2")], bench.known)
    assert group.of(node).root(SCRIPT, 10)[0] == 0
    assert [host for host, _ in bench.new_keys] == [f"[127.0.0.1]:{end.port}" for end in (first, second, target)], (
        "visited in the order of ssh_config(5)"
    )
    assert [len(end.links) for end in (first, second)] == [1, 1], "and shared by all nodes"
    group.close()
    for end in (first, second):
        before, end.host_key = end.host_key, key_from(new_key_seed())
        commands = target.commands
        group = NodeGroup(bench.environment(node), [node], bench.known)
        with pytest.raises(Unreachable, match=r"bastion b[12] .*host key has CHANGED"):
            group.of(node).root(SCRIPT, 10)
        assert target.commands == commands
        group.close()
        end.host_key = before


@pytest.mark.parametrize("way", ["ProxyJump none", "ProxyCommand none", "ProxyJump none\n ProxyCommand false"])
def test_proxyjump_none_connects_directly(bench: Bench, home: Path, way: str) -> None:
    (first, _), _, node = behind(bench, home, way)
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 10)[0] == 0
    assert not first.links


def test_a_bastion_for_all_hosts_is_not_reached_through_itself(bench: Bench, home: Path) -> None:
    (first, _), _, node = behind(bench, home, "ForwardAgent no")
    with (home / ".ssh" / "config").open("a") as config:
        config.write("Host *\n ProxyJump b1\n")
    group = NodeGroup(bench.environment(node), [node], bench.known)
    assert group.of(node).root(SCRIPT, 10)[0] == 0
    assert len(first.links) == 1
    group.close()


def test_ssh_jump_overrides_ssh_config(bench: Bench, home: Path) -> None:
    (first, second), _, node = behind(bench, home, "ProxyCommand false")
    target = replace(node, jump=f"ops@127.0.0.1:{second.port}")
    (home / ".ssh" / "config").write_text("Host other\n ProxyCommand false\n")
    group = NodeGroup(bench.environment(target), [target], bench.known)
    assert group.of(target).root(SCRIPT, 10)[0] == 0
    assert (len(first.links), len(second.links)) == (0, 1)
    group.close()


def test_through_proxycommand_the_host_key_is_still_checked(bench: Bench, home: Path) -> None:
    relay = home / "relay.py"
    relay.write_text(RELAY)
    (_, _), target, node = behind(bench, home, f"ProxyCommand {shlex.quote(sys.executable)} {relay} %h %p && true")
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 10)[0] == 0
    assert len(bench.new_keys) == 1
    target.host_key = key_from(new_key_seed())
    with pytest.raises(Unreachable, match="host key has CHANGED"):
        bench.connect(node).root(SCRIPT, 10)


RELAY = """
import os, socket, sys, threading
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def back():
    while data := link.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    link.sendall(data)
"""


def test_a_client_key_that_the_server_rejects(bench: Bench) -> None:
    endpoint, node = bench.serve()
    endpoint.client_key = key_from(new_key_seed()).get_base64()
    with pytest.raises(Unreachable, match=r"login as ops with key .* was refused") as caught:
        bench.connect(node).root(SCRIPT, 10)
    assert "SSH_USER" in caught.value.remedy


def test_a_refused_connection(bench: Bench) -> None:
    _, node = bench.serve()
    bench.farm.refuse("w1")
    with pytest.raises(Unreachable, match="connection refused"):
        bench.connect(node).root(SCRIPT, 10)
    bench.farm.listen_again("w1")
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 10)[0] == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_is_reported_as_this_machines_problem(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(connection: Connection) -> socket.socket:
        raise OSError(number, "Too many open files")

    monkeypatch.setattr(Connection, "_socket", full)
    _, node = bench.serve()
    with pytest.raises(
        Unreachable, match=r"Too many open files on your own machine \(its limit for a process is \d+\)"
    ) as caught:
        bench.connect(node).root(SCRIPT, 10)
    assert "ulimit -n" in caught.value.remedy


def test_a_silent_server_times_out(bench: Bench) -> None:
    endpoint, node = bench.serve()
    endpoint.silent = True
    bench.settings = replace(bench.settings, connect_timeout=0.3)
    with pytest.raises(Unreachable, match="w1"):
        bench.connect(node).root(SCRIPT, 10)


@pytest.mark.parametrize(
    "kex", [b"", b"\x00\x00\x00\x0c\x04\x14"], ids=["the banner alone", "the beginning of a packet"]
)
def test_a_handshake_that_stops_in_the_middle_says_so(bench: Bench, kex: bytes) -> None:
    """The machine answers, so it is not `silent`; and the link that did not come about leaves no thread behind."""
    _, node = bench.serve()
    bench.settings = replace(bench.settings, connect_timeout=1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def answer() -> None:
            held.append(listener.accept()[0])
            held[0].sendall(b"SSH-2.0-slow\r\n" + kex)

        threading.Thread(target=answer, daemon=True).start()
        connection = bench.connect(replace(node, port=listener.getsockname()[1]))
        with pytest.raises(Unreachable, match=r"its handshake has not ended within 1 s") as caught:
            connection.root(SCRIPT, 10)
        assert "CONNECT_TIMEOUT" in caught.value.remedy and not caught.value.silent
        transport = connection._ours.transport
        assert transport is not None
        transport.join(10)
        assert not transport.is_alive()
        held[0].close()


def test_a_connection_cut_during_a_command_is_unreachable_not_failed(bench: Bench) -> None:
    def run(text: str) -> tuple[int, bytes]:
        raise Dropped(b"half of the out")

    _, node = bench.serve(run=run)
    with pytest.raises(Unreachable) as caught:
        bench.connect(node).root(SCRIPT, 10)
    assert caught.value.message.startswith("w1")


def test_after_a_cut_the_same_connection_reconnects(bench: Bench) -> None:
    answers: list[bytes] = []

    def run(text: str) -> tuple[int, bytes]:
        if not answers:
            answers.append(b"")
            raise Dropped
        return 0, b"second"

    _, node = bench.serve(run=run)
    with bench.connect(node) as connection:
        with pytest.raises(Unreachable):
            connection.root(SCRIPT, 10)
        assert connection.root(SCRIPT, 10) == (0, b"second")


@pytest.mark.parametrize("cut", [1, 40, len(SCRIPT) // 2, len(SCRIPT) - 6, len(SCRIPT) - 3])
def test_an_incomplete_script_runs_nothing(bench: Bench, cut: int) -> None:
    ran: list[str] = []

    def run(text: str) -> tuple[int, bytes]:
        ran.append(text)
        return 0, b""

    endpoint, node = bench.serve(run=run)
    endpoint.cut_after = cut
    with pytest.raises(Unreachable):
        bench.connect(node).root(SCRIPT, 10)
    assert ran == []


def test_a_time_out_names_the_node_and_what_may_still_run(bench: Bench) -> None:
    release = threading.Event()

    def run(text: str) -> tuple[int, bytes]:
        release.wait(20)
        return 0, b""

    _, node = bench.serve(run=run)
    try:
        with bench.connect(node) as connection, pytest.raises(StepFailed, match="w1: no end after 0 s") as caught:
            connection.root(SCRIPT, 0.2)
    finally:
        release.set()
    assert "still run" in caught.value.remedy


def test_slow_answers_and_late_closes_lose_no_output(bench: Bench) -> None:
    endpoint, node = bench.serve(run=lambda text: (7, b"late"))
    endpoint.delay, endpoint.linger = 0.1, 0.2
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 10) == (7, b"late")


def test_sudo_that_asks_for_a_password(bench: Bench) -> None:
    _, node = bench.serve(sudo="password", password="open sesame")
    with pytest.raises(StepFailed, match="sudo refused user ops") as caught:
        bench.connect(node).root(SCRIPT, 10)
    assert "--ask-sudo-pass" in caught.value.remedy
    assert "a password is required" in caught.value.output
    with bench.connect(node, password="open sesame") as connection:
        assert connection.root(SCRIPT, 10) == (0, b"hello\n##kubefab 1 0\n")


def test_a_wrong_sudo_password_is_a_refusal(bench: Bench) -> None:
    _, node = bench.serve(sudo="password", password="open sesame")
    with bench.connect(node, password="guess") as connection, pytest.raises(StepFailed, match="sudo refused user ops"):
        connection.root(SCRIPT, 10)


def test_a_user_outside_sudoers_is_a_refusal(bench: Bench) -> None:
    _, node = bench.serve(sudo="denied", password="mine")
    with bench.connect(node, password="mine") as connection, pytest.raises(StepFailed, match="sudo refused user ops"):
        connection.root(SCRIPT, 10)


SUDO_SAYS = [
    "sudo: a password is required\n",
    "sudo: a terminal is required to read the password; either use the -S option to read from standard input\n",
    "We trust you have received the usual lecture.\n" * 40 + "sudo: a password is required\n",
    "sudo: no password was provided\nsudo: 1 incorrect password attempt\n",
    "ops is not in the sudoers file.  This incident will be reported.\n",
    "Sorry, user ops may not run sudo on w1.\n",
    "Sorry, user ops is not allowed to execute '/usr/bin/bash /tmp/.kubefab-1' as root on w1.\n",
    "sudo: sorry, you must have a tty to run sudo\n",
]
UNRESOLVED = "sudo: unable to resolve host w1: Name or service not known\n"
LET_THROUGH = [
    UNRESOLVED + "##kubefab 1 1\n[ERROR Port-6443]: Port 6443 is in use\n",
    UNRESOLVED + "cat: /etc/kubernetes/admin.conf: No such file or directory\n",
    "##kubefab 1 1\npsql: a password is required\n",
    "@@ os\ndebian\n@@ log\nops is not in the sudoers file\n",
    "psql: a password is required\n",
]


@pytest.mark.parametrize("said", SUDO_SAYS)
def test_each_refusal_of_sudo_is_recognised(bench: Bench, said: str) -> None:
    _, node = bench.serve(sudo="denied", refusal=said)
    with bench.connect(node) as connection, pytest.raises(StepFailed, match="sudo refused user ops"):
        connection.root(SCRIPT, 10)


@pytest.mark.parametrize("said", LET_THROUGH)
def test_a_failed_script_is_not_mistaken_for_a_refusal_by_sudo(bench: Bench, said: str) -> None:
    _, node = bench.serve(run=lambda text: (1, said.encode()))
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 10) == (1, said.encode())


def test_what_sudo_says_before_the_script_is_no_part_of_its_output(bench: Bench) -> None:
    """A host name that does not resolve, as on many clouds: sudo says so before each command."""
    _, node = bench.serve(run=lambda text: (0, b"apiVersion: v1\n"))
    heard: list[bytes] = []
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 10, heard.append) == (0, b"apiVersion: v1\n")
        assert connection.command("cat /etc/kubernetes/admin.conf", 10, sudo=True) == (0, b"apiVersion: v1\n")
    assert b"".join(heard) == b"apiVersion: v1\n"


def test_a_megabyte_comes_back_whole(bench: Bench) -> None:
    big = b"".join(b"%07d\n" % n for n in range(1 << 17))
    _, node = bench.serve(run=lambda text: (0, big))
    with bench.connect(node) as connection:
        assert connection.root(SCRIPT, 30) == (0, big)


def test_output_beyond_the_limit_keeps_its_end(bench: Bench) -> None:
    _, node = bench.serve(run=lambda text: (0, b"x" * (5 << 20) + b"the end"))
    with bench.connect(node) as connection:
        code, output = connection.root(SCRIPT, 30)
    assert code == 0
    assert output.endswith(b"xthe end")
    assert len(output) <= 4 << 20


def test_unicode_both_ways(bench: Bench) -> None:
    text = script.render("test.step", ("echo 준비됨 ✓",))
    _, node = bench.serve(run=lambda got: (0, "##kubefab 1 0\n준비됨 ✓\n".encode() if got == text else b""))
    with bench.connect(node) as connection:
        assert outcome(connection, "test.step", text, 10).output == "준비됨 ✓\n"


def test_a_step_of_an_earlier_run_that_is_still_running_is_reported(bench: Bench) -> None:
    _, node = bench.serve(run=lambda text: (75, b"##kubefab 0 75\n"))
    with (
        bench.connect(node) as connection,
        pytest.raises(StepFailed, match="a step of an earlier run is still running there"),
    ):
        outcome(connection, "test.step", SCRIPT, 10)


def test_forty_scripts_at_once_on_one_node(bench: Bench) -> None:
    _, node = bench.serve(run=lambda text: (0, text.rsplit("echo number-", 1)[1].split("\n")[0].encode()))
    with bench.connect(node) as connection, ThreadPoolExecutor(40) as pool:
        answers = list(
            pool.map(
                lambda n: connection.root(script.render("test.step", (f"echo number-{n}",), lock=False), 30), range(40)
            )
        )
    assert answers == [(0, str(n).encode()) for n in range(40)]


def test_forty_nodes_at_once(bench: Bench) -> None:
    nodes = [bench.serve(f"w{n}", lambda text, n=n: (0, b"%d" % n))[1] for n in range(40)]
    group = NodeGroup(bench.environment(nodes[0]), nodes, bench.known)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda node: group.of(node).root(SCRIPT, 30), nodes))
    group.close()
    assert answers == [(0, b"%d" % n) for n in range(40)]
    assert len(bench.new_keys) == 40


def test_through_a_bastion(bench: Bench) -> None:
    bastion_end, bastion = bench.serve("bastion")
    targets = [replace(bench.serve(f"w{n}")[1], jump=f"ops@127.0.0.1:{bastion.port}") for n in (1, 2)]
    group = NodeGroup(bench.environment(targets[0]), targets, bench.known)
    for target in targets:
        assert group.of(target).root(SCRIPT, 10)[0] == 0
    assert len(bastion_end.links) == 1
    group.close()
    assert bastion_end.commands == 0


def test_a_bastion_that_is_down_is_named(bench: Bench) -> None:
    _, bastion = bench.serve("bastion")
    bench.farm.refuse("bastion")
    _, node = bench.serve()
    target = replace(node, jump=f"ops@127.0.0.1:{bastion.port}")
    group = NodeGroup(bench.environment(target), [target], bench.known)
    with pytest.raises(Unreachable, match=r"bastion 127\.0\.0\.1"):
        group.of(target).root(SCRIPT, 10)


@pytest.mark.parametrize("jump", [False, True])
def test_threads_that_wait_for_a_dead_machine_share_one_timeout(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, jump: bool
) -> None:
    tries: list[int] = []

    def dead(connection: Connection) -> socket.socket:
        tries.append(1)
        end = time.monotonic() + 30
        # a busy machine takes its time until the others wait for this one
        while len(tries) == 1 and len(connection._ours.opening._waiters) < 19 and time.monotonic() < end:  # type: ignore[attr-defined]
            time.sleep(0.01)
        raise TimeoutError("timed out")

    monkeypatch.setattr(Connection, "_socket", dead)
    node = Node(
        "w1", "127.0.0.1", "10.2.1.1", False, "ops", 22, str(bench.key_file), jump="ops@192.0.2.1" if jump else ""
    )
    nodes = [replace(node, name=f"w{n}") for n in range(20)]
    group = NodeGroup(bench.environment(node), nodes, bench.known)

    def reach(one: Node) -> str:
        with pytest.raises(Unreachable) as caught:
            group.of(one if jump else nodes[0]).open()
        return caught.value.message

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(reach, nodes))) == 1
    assert len(tries) == 1
    reach(nodes[0])
    assert len(tries) == 2, "a later caller tries again"


def test_scripts_are_never_on_a_command_line(bench: Bench) -> None:
    commands: list[str] = []
    login = Login(lambda text: (0, b""))

    def handler(exchange: Exchange) -> tuple[int, bytes]:
        commands.append(exchange.command)
        return login(exchange)

    endpoint = bench.farm.add("w1", handler, key_from(new_key_seed()), bench.client_key)
    node = Node("w1", "127.0.0.1", "10.2.1.1", False, "ops", endpoint.port, str(bench.key_file))
    secret = script.render("test.step", ("echo s3cr3t-planted",))
    with bench.connect(node) as connection:
        connection.root(secret, 10)
    assert commands
    assert not any("s3cr3t" in command for command in commands)


# --- what a far node costs: each of these is waited for, a round trip each


def test_the_round_trips_of_a_link_its_lock_and_two_scripts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside them there are those of TCP, the key exchange and the service (4), the login shell's answer, `held`, and each script's output."""
    waited: list[str] = []

    def counted(kind: type, name: str) -> None:
        real = getattr(kind, name)

        def call(self: object, *args: object, **options: object) -> object:
            waited.append(name)
            return real(self, *args, **options)

        monkeypatch.setattr(kind, name, call)

    counted(paramiko.Transport, "auth_publickey")
    counted(paramiko.Transport, "open_session")
    counted(paramiko.Channel, "_wait_for_event")
    _, node = bench.serve("cp1")
    with bench.connect(node) as connection, connection.hold("me"):
        for _ in range(2):
            assert outcome(connection, "test.step", SCRIPT, 10).code == 0
    login, lock, first, second = (
        "auth_publickey",
        ["open_session", "_wait_for_event"],
        ["open_session"],
        ["open_session"],
    )
    assert waited == [login, *lock, *first, *second], (
        "the lock's check for another session is the first script's session"
    )


def test_nodes_are_connected_to_ahead_each_once(bench: Bench) -> None:
    served = [bench.serve(name) for name in ("cp1", "w1", "w2")]
    nodes = [node for _, node in served]
    bench.farm.refuse("w2")
    group = NodeGroup(bench.environment(nodes[0]), nodes, bench.known)
    group.ahead(nodes)
    with pytest.raises(Unreachable):
        group.of(nodes[2]).root(SCRIPT, 10)
    for node in nodes[:2]:
        assert outcome(group.of(node), "test.step", SCRIPT, 10).code == 0
    assert [len(endpoint.links) for endpoint, _ in served] == [1, 1, 0]
    group.close()


def test_more_nodes_than_forks_are_not_connected_to_ahead(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [bench.serve(name)[1] for name in ("cp1", "w1")]
    environment = replace(bench.environment(nodes[0]), settings=replace(bench.settings, forks=1))
    begun: list[Connection] = []
    monkeypatch.setattr(NodeGroup, "_begin", staticmethod(begun.append))
    NodeGroup(environment, nodes, bench.known).ahead(nodes)
    assert begun == []


@pytest.mark.parametrize("password", ["", "open sesame"])
def test_only_one_run_holds_the_run_lock(bench: Bench, password: str) -> None:
    seen: list[str] = []

    def run(text: str) -> tuple[int, bytes]:
        seen.append(text)
        return 0, b"somebody since noon\n" if "head" in text else b""

    sudo = {"sudo": "password", "password": password} if password else {}
    _, node = bench.serve(run=run, **sudo)
    with bench.connect(node, password=password) as first, bench.connect(node, password=password) as second:
        taken = pytest.raises(KubefabError, match="another run works on this cluster: somebody since noon")
        with first.hold("somebody since noon"), taken, second.hold("me"):
            pass
        with second.hold("me"):
            pass
    assert [text for text in seen if "me" in text.split()] == ["echo me > /run/kubefab-run.lock"]


@pytest.mark.parametrize(
    "chatter",
    [
        "sudo: unable to resolve host w1: Name or service not known\n",
        "held up: 3 updates\n",
        "welcome ",
        "x: No such file or directory\n",
    ],
)
def test_a_login_banner_does_not_hide_the_run_lock(bench: Bench, chatter: str) -> None:
    _, node = bench.serve(chatter=chatter)
    with bench.connect(node) as first, bench.connect(node) as second:
        with (
            first.hold("somebody"),
            pytest.raises(KubefabError, match="another run works on this cluster"),
            second.hold("me"),
        ):
            pass
        with second.hold("me"):
            pass


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("sudo", "password"), [("password", "typo"), ("password", ""), ("denied", "open sesame"), ("denied", "")]
)
def test_a_run_lock_that_sudo_refuses_fails_at_once(bench: Bench, sudo: str, password: str) -> None:
    _, node = bench.serve(sudo=sudo, password="open sesame")
    with (
        bench.connect(node, password=password) as connection,
        pytest.raises(StepFailed, match="sudo refused user ops"),
        connection.hold("me"),
    ):
        pass


def test_a_run_lock_with_an_unknown_holder_is_still_refused(bench: Bench) -> None:
    def run(text: str) -> tuple[int, bytes]:
        if "head" in text:
            raise Dropped
        return 0, b""

    _, node = bench.serve(run=run)
    taken = pytest.raises(KubefabError, match="another run works on this cluster: its name cannot be read")
    with bench.connect(node) as first, bench.connect(node) as second, first.hold("somebody"), taken, second.hold("me"):
        pass


def test_without_flock_a_run_goes_on_without_the_lock(bench: Bench) -> None:
    _, node = bench.serve(lacks="flock")
    with bench.connect(node) as connection, connection.hold("me"):
        assert connection.root(SCRIPT, 10)[0] == 0


@pytest.mark.timeout(30)
def test_acquiring_the_run_lock_has_a_time_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabfile.nodes.run_lock.PATIENCE", -4.5)
    bench.settings = replace(bench.settings, connect_timeout=0.5)
    endpoint, node = bench.serve()

    def hang(exchange: Exchange) -> tuple[int, bytes]:
        exchange.write(b"@@kubefab shell\n")
        return 0, exchange.read(patient=True)

    endpoint.handler = hang
    with (
        bench.connect(node) as connection,
        pytest.raises(Unreachable, match="cannot acquire the run lock: no answer in time"),
        connection.hold("me"),
    ):
        pass


def test_the_run_lock_is_released_when_its_holder_disconnects(bench: Bench) -> None:
    endpoint, node = bench.serve()
    with bench.connect(node) as first, bench.connect(node) as second:
        with first.hold("somebody"):
            endpoint.drop()
        with second.hold("me"):
            pass


def test_a_reconnect_acquires_the_run_lock_again(bench: Bench) -> None:
    endpoint, node = bench.serve()
    with bench.connect(node) as first, bench.connect(node) as second, first.hold("me"):
        endpoint.drop()
        with suppress(Unreachable):  # unless the connection noticed the drop and was reopened by then
            first.root(SCRIPT, 10)
        first.open()
        with pytest.raises(KubefabError, match="another run works on this cluster"), second.hold("somebody"):
            pass


def test_a_reconnect_fails_when_another_run_holds_the_lock(bench: Bench) -> None:
    endpoint, node = bench.serve()
    with bench.connect(node) as first, bench.connect(node) as second, first.hold("me"):
        endpoint.drop()
        first.close()
        with second.hold("somebody"):
            for _ in range(2):  # the first caller, and a later one
                with pytest.raises(KubefabError, match="another run works on this cluster"):
                    first.open()
        for ask in (first.open, first.ensure_held):
            with pytest.raises(KubefabError, match="another run has worked on this cluster meanwhile"):
                ask()
    with bench.connect(node) as first, first.hold("me"):
        first.root(SCRIPT, 10)


def let_go(endpoint: Endpoint) -> None:
    """Do what a node does a minute after the holder's last heartbeat: release the lock but keep the connection."""
    for link in endpoint.links:
        next(iter(link.held.values())).close()  # the lock's channel is the oldest


def test_a_suspended_run_stops_if_another_run_took_its_lock(bench: Bench) -> None:
    endpoint, node = bench.serve()
    with bench.connect(node) as first, bench.connect(node) as second, first.hold("me"):
        first.root(SCRIPT, 10)
        let_go(endpoint)
        with second.hold("somebody"), pytest.raises(KubefabError, match="another run works on this cluster"):
            first.root(SCRIPT, 10)
        with pytest.raises(KubefabError, match="another run has worked on this cluster meanwhile"):
            first.root(SCRIPT, 10)


def test_a_suspended_run_acquires_its_lock_again_if_it_is_still_free(bench: Bench) -> None:
    endpoint, node = bench.serve()
    with bench.connect(node) as first, bench.connect(node) as second, first.hold("me"):
        let_go(endpoint)
        while not first._ours.lock.lost:  # until the client has noticed
            time.sleep(0.01)
        first.ensure_held()
        with pytest.raises(KubefabError, match="another run works on this cluster"), second.hold("somebody"):
            pass


def test_checking_the_lock_needs_no_round_trip(bench: Bench) -> None:
    endpoint, node = bench.serve()
    with bench.connect(node) as connection:
        connection.ensure_held()
        assert not connection.is_connected, "without a lock to hold"
        with connection.hold("me"):
            before = endpoint.commands
            for _ in range(50):
                connection.ensure_held()
            assert endpoint.commands == before


@pytest.mark.parametrize("slept", [44, 46])
def test_after_a_suspend_the_lock_counts_as_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch, slept: int) -> None:
    """The channel looks open until the first packet returns, but by the clock the node has released the lock."""
    endpoint, node = bench.serve()
    with bench.connect(node) as connection, connection.hold("me"):
        before, now = endpoint.commands, run_lock.now()
        monkeypatch.setattr(run_lock, "now", lambda: now + slept)
        connection.ensure_held()
        assert (endpoint.commands > before) == (slept > 45), "acquired again over a new connection"


class Holder:
    """The command that acquires the run lock, run by real bash on a lock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.path = folder / "run.lock"
        monkeypatch.setattr(run_lock, "RUN_LOCK", str(self.path))
        monkeypatch.setattr(run_lock, "PATIENCE", 1)

    def take(self, owner: str, *, again: bool = False) -> tuple[subprocess.Popen[bytes], int | None]:
        """Start the holder; returns it, and its exit code if it ended without the lock."""
        process = subprocess.Popen(
            ["bash", "-c", run_lock.command(owner, again=again)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout
        return process, None if process.stdout.read(6) == b"\nheld\n" else process.wait(20)


@pytest.fixture
def holder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Holder:
    return Holder(monkeypatch, tmp_path)


def test_only_root_can_use_the_lock_file(holder: Holder) -> None:
    for before in (None, 0o644):
        if before:
            holder.path.chmod(before)
        process, code = holder.take("me: fab 'x' $(y)")
        assert code is None
        assert holder.path.stat().st_mode & 0o777 == 0o600
        assert holder.path.read_text().splitlines() == ["me: fab 'x' $(y)", holder.path.read_text().splitlines()[1]]
        process.communicate(b"")


def test_only_a_lock_holder_of_the_same_run_is_killed(holder: Holder) -> None:
    innocent = subprocess.Popen(["sleep", "60"])
    try:
        holder.path.write_text(f"me\n{innocent.pid}\n")  # the pid now belongs to another process
        mine, code = holder.take("me")
        assert code is None and innocent.poll() is None
        _, refused = holder.take("somebody")
        assert refused == 75 and mine.poll() is None
        later, code = holder.take("me", again=True)
        assert code is None and mine.wait(20) != 0, "after a broken connection the holder of the same run is replaced"
        later.communicate(b"")
        for text in ("me\n-1\n", "me\n1; touch x\n", "me\n", ""):
            holder.path.write_text(text)
            process, code = holder.take("me")
            assert code is None
            process.communicate(b"")
    finally:
        innocent.kill()
        innocent.wait()


def test_a_lock_that_another_run_held_meanwhile_is_not_acquired_again(holder: Holder) -> None:
    for owner in ("me", "somebody"):
        process, code = holder.take(owner)
        assert code is None
        process.communicate(b"")
    assert holder.take("me", again=True)[1] == 76
    process, code = holder.take("me")
    assert code is None, "a new run may"
    process.communicate(b"")
    holder.path.unlink()
    process, code = holder.take("me", again=True)
    assert code is None, "the machine was rebooted: nothing says that another run held the lock"
    process.communicate(b"")


def test_losing_the_run_lock_closes_the_connection_and_its_commands(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fabfile.nodes.run_lock.HEARTBEAT", 0.05)
    asleep = threading.Event()
    endpoint, node = bench.serve(run=lambda text: (0, str(asleep.wait(20) if "hello" in text else "").encode()))
    with bench.connect(node) as connection, connection.hold("me"), ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(connection.root, SCRIPT, 20)
        while endpoint.commands < 2:
            time.sleep(0.01)
        let_go(endpoint)
        with pytest.raises(Unreachable):
            under_way.result(10)
        asleep.set()


def test_stopping_the_farm_frees_its_ports(bench: Bench) -> None:
    _, node = bench.serve()
    with bench.connect(node) as connection:
        connection.root(SCRIPT, 10)
        bench.farm.stop()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", node.port)) != 0
    bench.farm.__init__()  # type: ignore[misc]  # the fixture stops it again


# --- how a script is stored, in real shells


class Stored:
    """The commands with which a connection stores and runs a script, and a stand-in for sudo."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.bench, self.monkeypatch, self.folder = bench, monkeypatch, folder
        self.seen: list[tuple[str, str]] = []

    def command(self, user: str = "ops", password: str = "") -> str:
        """The command that stores and runs that user's script."""
        self.monkeypatch.setattr(Connection, "open", lambda connection: None)
        self.monkeypatch.setattr(
            Connection,
            "_exec",
            lambda connection, command, *rest, **more: self.seen.append((command, rest[0])) or (0, b""),
        )
        _, node = self.bench.serve(f"n{len(self.seen)}")
        self.bench.connect(replace(node, user=user), password=password).root("x", 1)
        return self.seen[-1][0]

    def run(self, shell: str, command: str, stdin: str, sudo: str = 'exec "$@"') -> tuple[int, str]:
        """Run the command as that login shell is given it; `sudo` is what the stand-in does with the words after sudo's own flags."""
        tool = self.folder / "sudo"
        tool.write_text(f'#!/bin/bash\nwhile [[ $1 == -* ]]; do [ "$1" = -p ] && shift; shift; done\n{sudo}\n')
        tool.chmod(0o755)
        done = subprocess.run(
            [shutil.which(shell) or shell, "-c", _ENTER],
            input=f"{command}\n{stdin}",
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "HOME": str(self.folder)},
        )
        return done.returncode, (done.stdout + done.stderr).partition(_SHELL.decode())[2]


@pytest.fixture
def stored(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stored:
    return Stored(bench, monkeypatch, tmp_path)


SHELLS = [
    shell if shutil.which(shell) else pytest.param(shell, marks=pytest.mark.skip(reason=f"{shell} is not installed"))
    for shell in ("sh", "bash", "fish", "tcsh", "zsh")
]
WHOLE = 'main() {\nls -l "$0"\nrm -f -- "$0"\necho ran; exit 3\n}\nmain\n'
KEEPS = 'main() {\necho ran "$0"; exit 3\n}\nmain\n'  # a script that does not delete itself: the shell does


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("user", ["ops", "root"])
def test_no_script_file_is_left_behind(stored: Stored, shell: str, user: str) -> None:
    for text, sudo, code in (
        (WHOLE, 'exec "$@"', 3),
        (KEEPS, 'exec "$@"', 3),
        (WHOLE[:40], 'exec "$@"', 2),
        ("", 'exec "$@"', 0),
        (WHOLE, "exit 1", 1),
    ):
        command = stored.command(user)
        path = re.search(r"/tmp/\.kubefab-[0-9a-f]{16}", command)
        assert path
        ended, said = stored.run(shell, command, text, sudo)
        assert ended == (3 if user == "root" and sudo == "exit 1" else code), said
        assert not Path(path[0]).exists()
        if text == WHOLE and ended == 3:
            assert said.startswith("\n@@kubefab ready\n-rw------- "), "0600 from the first byte"


@pytest.mark.parametrize("shell", SHELLS)
def test_an_existing_file_of_the_scripts_name_is_not_touched(stored: Stored, shell: str) -> None:
    command = stored.command()
    path = Path(re.findall(r"/tmp/\.kubefab-[0-9a-f]{16}", command)[0])
    for link in (False, True):
        target = stored.folder / "somebodys"
        target.write_text("theirs")
        path.symlink_to(target) if link else path.write_text("theirs")
        try:
            code, said = stored.run(shell, command, WHOLE)
            assert code != 0 and "ran" not in said
            assert path.read_text() == "theirs" and target.read_text() == "theirs"
        finally:
            path.unlink()


@pytest.mark.parametrize("asks", [True, False])
def test_with_a_sudo_password_the_script_file_belongs_to_root(stored: Stored, asks: bool) -> None:
    """A file of the login user could be changed by the user's processes. A password that sudo did not ask for is not run as shell."""
    command = stored.command(password="touch pwned")
    sudo = 'read -r password; [ "$password" = "touch pwned" ] || exit 1; exec "$@"' if asks else 'exec "$@"'
    code, said = stored.run("sh", command, f"touch pwned\n@@kubefab begin\n{KEEPS}", sudo)
    assert code == 3 and said.startswith("\n@@kubefab ready\n")
    path = Path(said.split("ran ")[1].strip())
    assert path.parent == Path("/run") or path.name.startswith(".kubefab-")
    assert not path.exists()
    assert not (stored.folder / "pwned").exists() and not Path("pwned").exists()
    assert "touch pwned" not in command


def test_after_a_wrong_sudo_password_no_script_is_sent(bench: Bench) -> None:
    tried: list[str] = []
    login = Login(lambda text: (0, b""), sudo="password", password="open sesame")
    judge = login._refusal
    login._refusal = lambda given: tried.append(given or "") or judge(given)  # type: ignore[method-assign,func-returns-value]
    endpoint = bench.farm.add("w1", login, key_from(new_key_seed()), bench.client_key)
    node = Node("w1", "127.0.0.1", "10.2.1.1", False, "ops", endpoint.port, str(bench.key_file))
    with bench.connect(node, password="guess") as connection, pytest.raises(StepFailed, match="sudo refused user ops"):
        connection.root(SCRIPT, 10)
    assert tried == ["guess"]


def test_all_nodes_are_asked_and_each_error_stays_with_its_node(bench: Bench) -> None:
    nodes = [bench.serve(f"w{number}")[1] for number in range(4)]
    group = NodeGroup(bench.environment(nodes[0]), nodes, bench.known)

    def ask(node: Node) -> str:
        if node.name == "w2":
            raise Unreachable("w2: no answer")
        return f"I am {node.name}"

    seen = group.each(nodes, ask)
    assert list(seen) == ["w0", "w1", "w2", "w3"]
    assert isinstance(seen["w2"], Unreachable)
    assert [seen[name] for name in ("w0", "w1", "w3")] == ["I am w0", "I am w1", "I am w3"]
    assert group.each([], ask) == {}
    with pytest.raises(ZeroDivisionError):  # a mistake of ours is no node's error
        group.each(nodes, lambda node: 1 // 0)


def test_what_has_begun_goes_on_while_its_caller_does_something_else(bench: Bench) -> None:
    """Two questions to the same nodes are on the way together, and neither is waited for before its answers are taken."""
    nodes = [bench.serve(f"w{number}")[1] for number in range(2)]
    group = NodeGroup(bench.environment(nodes[0]), nodes, bench.known)
    together, free = threading.Barrier(2 * len(nodes) + 1, timeout=30), threading.Event()

    def ask(node: Node) -> str:
        together.wait()
        assert free.wait(30)
        return node.name

    first, second = group.begin(nodes, ask), group.begin(nodes, ask)
    together.wait()
    free.set()
    assert first() == second() == {"w0": "w0", "w1": "w1"}


@pytest.mark.parametrize(("sudo", "password"), [("free", ""), ("free", "open sesame"), ("password", "open sesame")])
def test_a_file_is_sent_whatever_sudo_asks(bench: Bench, sudo: str, password: str) -> None:
    kept: dict[str, str] = {}
    login = Login(
        lambda text: (0, b""),
        keep=lambda path, text: (kept.__setitem__(path, text), (0, b""))[1],
        sudo=sudo,
        password="open sesame",
    )  # type: ignore[arg-type]
    endpoint = bench.farm.add("w1", login, key_from(new_key_seed()), bench.client_key)
    node = Node("w1", "127.0.0.1", "10.2.1.1", False, "ops", endpoint.port, str(bench.key_file))
    with bench.connect(node, password=password) as connection:
        connection.send("/var/lib/kubefab/restore/x", iter([b"one\n", b"two"]), 10)
    assert kept == {"/var/lib/kubefab/restore/x": "one\ntwo"}


def test_a_refused_sudo_gets_no_file(bench: Bench) -> None:
    _, node = bench.serve(sudo="password", password="open sesame")
    with bench.connect(node, password="guess") as connection, pytest.raises(StepFailed, match="sudo refused user ops"):
        connection.send("/x", iter([b"secret"]), 10)
