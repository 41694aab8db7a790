"""The operator's ~/.ssh/config and keys, in the forms in which people have them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ssh_bench import SCRIPT, Bench, bench

from fabfile.errors import Unreachable, UsageError
from fabfile.inventory import Node
from fabfile.nodes import keys, ssh_config
from fabfile.nodes.group import NodeGroup
from fabfile.nodes.ssh_config import resolve

__all__ = ["bench"]  # a fixture

HAVE = pytest.mark.skipif(
    not (shutil.which("ssh") and shutil.which("ssh-keygen") and shutil.which("ssh-agent")),
    reason="OpenSSH is not installed",
)
READERS = [pytest.param("OpenSSH", marks=HAVE), "paramiko"]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "paramiko":
        monkeypatch.setattr(ssh_config.shutil, "which", lambda name: None)
    return str(request.param)


def configure(home: Path, text: str) -> None:
    (home / ".ssh").mkdir(exist_ok=True)
    (home / ".ssh" / "config").write_text(text)


def test_an_alias_gives_host_user_port_keys_and_the_way(home: Path, reader: str) -> None:
    configure(
        home,
        """
Host cp1
  HostName 192.0.2.10
  User ubuntu
  Port 2222
  IdentityFile ~/.ssh/not_here
  IdentityFile none
  IdentitiesOnly yes
  IdentityAgent "/tmp/a b/agent"
Host w1
  ProxyJump ops@b1:22,b2
Host w2
  ProxyCommand nc -x %h:%p %r %n 100%%
Host w3
  ProxyJump none
Host *
  ForwardAgent $SSH_AUTH_SOCK
  User ops
""",
    )
    cp1 = resolve("cp1", "", 0)
    assert (cp1.host, cp1.user, cp1.port) == ("192.0.2.10", "ubuntu", 2222)
    assert cp1.identities == (str(home / ".ssh" / "not_here"), "none") and cp1.only
    assert cp1.agent == "/tmp/a b/agent" or reader == "paramiko"
    over = resolve("cp1", "me", 22)
    assert (over.host, over.user, over.port) == ("192.0.2.10", "me", 22), "the inventory goes before the file"
    assert resolve("w1", "", 0).jump == "ops@b1:22,b2" and not resolve("w1", "", 0).command
    assert resolve("w2", "", 23).command == "nc -x w2:23 ops w2 100%"
    assert (resolve("w3", "", 0).jump, resolve("w3", "", 0).command, resolve("w3", "", 0).port) == ("", "", 22)


@HAVE
def test_include_and_match_are_read_as_openssh_reads_them(home: Path) -> None:
    configure(
        home,
        """
Include conf.d/*
Match host w1 user ops
  ProxyJump b1
Match exec "test %h = 192.0.2.7"
  Port 77
""",
    )
    (home / ".ssh" / "conf.d").mkdir()
    (home / ".ssh" / "conf.d" / "a").write_text("Host w1\n HostName 192.0.2.1\nHost w7\n HostName 192.0.2.7\n")
    # a relative Include is of the folder of this user's entry, which a test does not touch
    (home / ".ssh" / "config").write_text(
        (home / ".ssh" / "config")
        .read_text()
        .replace("conf.d", f"{home}/.ssh/conf.d")
        .replace("host w1", "originalhost w1")
    )
    assert resolve("w1", "ops", 0).host == "192.0.2.1" and resolve("w1", "ops", 0).jump == "b1"
    assert resolve("w1", "root", 0).jump == ""
    assert resolve("w7", "", 0).port == 77


@pytest.mark.parametrize("text", [
    "Include {home}/.ssh/more\n", "Host a\nMatch tagged vpn\n  ProxyJump 192.0.2.1\n", "Match localnetwork 10.0.0.0/8\n  Port 1\n",
    "Match !frobbed x\n", "Host *\n  Include {home}/.ssh/more\n",
])  # fmt: skip
def test_without_openssh_what_paramiko_cannot_know_is_refused_with_its_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(ssh_config.shutil, "which", lambda name: None)
    configure(home, text.format(home=home))
    (home / ".ssh" / "more").write_text("Host *\n  ProxyJump 192.0.2.1\n")
    with pytest.raises(UsageError, match=r"\.ssh/config:[12]: (Include|Match )") as caught:
        resolve("w1", "", 0)
    assert "jump=" in caught.value.remedy


@pytest.mark.parametrize("text", [
    'Host "a\n', "Host *\n  ProxyJump ops@[::1\n", "Match\n", "Match host\n", "Host *\n  ProxyCommand nc %Z\n", "Host *\n  Port many\n",
    "Host *\n ProxyUseFdpass yes\n ProxyCommand nc -F %h %p\n", "\xff\xfe", "Host *\n  HostName\n", "\x00",
])  # fmt: skip
def test_a_wrong_config_is_one_sentence_or_harmless(home: Path, reader: str, text: str) -> None:
    configure(home, "")
    (home / ".ssh" / "config").write_bytes(text.encode("latin-1"))
    try:
        way = resolve("w1", "", 0)
    except UsageError as error:
        assert "config" in error.message and error.remedy and "\n" not in error.message
    else:
        assert way.host == "w1" and not way.command and way.port == 22


@given(st.text('HostMach \t="\n%!*,[]none0:@#\\', max_size=60))
def test_any_text_is_read_or_refused_without_openssh(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setattr(ssh_config.shutil, "which", lambda name: None)
        configure(home, text)
        try:
            resolve("w1", "", 0)
        except UsageError as error:
            assert error.remedy


def test_without_any_config_openssh_is_not_asked(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def asked(*words: object, **more: object) -> None:
        raise AssertionError("OpenSSH was asked")

    monkeypatch.setattr(ssh_config.subprocess, "run", asked)
    monkeypatch.setattr(ssh_config.shutil, "which", lambda name: "/usr/bin/ssh")
    system = tmp_path / "ssh_config"
    monkeypatch.setattr(ssh_config, "SYSTEM", str(system))
    for text in (
        "",
        "Include /etc/ssh/ssh_config.d/*.conf\n# Port 77\nHost *\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n",
    ):
        system.write_text(text)
        assert resolve("10.0.0.1", "ops", 22) == ssh_config.Way("10.0.0.1", "ops", 22)
    for text in ("Host *\n  ProxyJump b1\n", "Match all\n", "Include /opt/more\n", "Port=77\n", "Host 10.*\n"):
        system.write_text(text)
        with pytest.raises(AssertionError, match="was asked"):
            resolve("10.0.0.1", "ops", 22)
    system.write_text("")
    configure(home, "")
    with pytest.raises(AssertionError, match="was asked"):
        resolve("10.0.0.1", "ops", 22)


def test_a_user_without_a_home_has_no_config_and_no_keys(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setenv("LOGNAME", "uid 4711")
    monkeypatch.setattr("pwd.getpwuid", none)
    monkeypatch.setattr(ssh_config, "_silent", lambda: False)
    assert resolve("192.0.2.1", "ops", 22).host == "192.0.2.1"
    assert list(keys.usual("ops", "", (), only=False).keys) == []


@HAVE
def test_openssh_names_file_and_line_of_what_it_refuses(home: Path) -> None:
    configure(home, "Host *\n  Frobnicate yes\n")
    with pytest.raises(UsageError, match=r"\.ssh/config: line 2: Bad configuration option: frobnicate"):
        resolve("w1", "", 0)


def test_a_host_is_reached_by_its_alias_and_its_key_is_known_by_its_address(bench: Bench, home: Path) -> None:
    _, node = bench.serve()
    bench.settings = replace(bench.settings, simulated=False)
    configure(
        home,
        f"Host box\n HostName 127.0.0.1\n Port {node.port}\n User ops\n IdentityFile {bench.key_file}\n ForwardAgent yes\n",
    )
    alias = replace(node, host="box", port=0, user="", key="")
    with bench.connect(alias) as connection:
        assert connection.root(SCRIPT, 10)[0] == 0
    assert [host for host, _ in bench.new_keys] == [f"[127.0.0.1]:{node.port}"]


# --- keys


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent of OpenSSH, without keys."""
    path = tmp_path / "agent"
    running = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE)
    assert running.stdout and running.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield path
    running.terminate()
    running.wait()
    running.stdout.close()


def keygen(*words: str) -> None:
    subprocess.run(["ssh-keygen", "-q", *words], check=True, capture_output=True)


def reach(bench: Bench, node: Node, key: Path | str) -> int:
    bench.settings = replace(bench.settings, simulated=False)
    node = replace(node, key=str(key))
    group = NodeGroup(bench.environment(node), [node], bench.known)
    try:
        return group.of(node).root(SCRIPT, 10)[0]
    finally:
        group.close()


def typed(remedy: str) -> str:
    """The command line in a remedy."""
    found = re.search(r"`([^`]+)`", remedy)
    assert found, remedy
    return found[1]


@HAVE
def test_an_encrypted_key_that_the_agent_holds_logs_in_and_one_that_it_does_not_names_ssh_add(
    bench: Bench, home: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, node = bench.serve()
    keygen("-p", "-N", "open sesame", "-f", str(bench.key_file))
    with pytest.raises(UsageError, match="has a passphrase, and no agent holds its key") as caught:
        reach(bench, node, bench.key_file)
    ask = home / "ask"
    ask.write_text("#!/bin/sh\necho 'open sesame'\n")
    ask.chmod(0o700)
    variables = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["bash", "-c", typed(caught.value.remedy)], check=True, env=variables, capture_output=True)
    assert reach(bench, node, bench.key_file) == 0
    subprocess.run(
        ["ssh-keygen", "-y", "-P", "open sesame", "-f", str(bench.key_file)],
        check=True,
        stdout=(home / "id.pub").open("w"),
    )
    assert reach(bench, node, home / "id.pub") == 0, "as OpenSSH takes it"
    subprocess.run(["ssh-add", "-D"], check=True, capture_output=True)
    with pytest.raises(UsageError, match="the public half of a key"):
        reach(bench, node, home / "id.pub")
    monkeypatch.delenv("SSH_AUTH_SOCK")
    with pytest.raises(UsageError) as caught:
        reach(bench, node, bench.key_file)
    done = subprocess.run(
        ["bash", "-c", f"{typed(caught.value.remedy)} && ssh-add -l; ssh-agent -k"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ED25519" in done.stdout


@HAVE
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8", "CRLF", "BOM"])
def test_a_private_key_is_read_in_each_form_that_openssh_writes(tmp_path: Path, kind: str, form: str) -> None:
    path = tmp_path / "id"
    bits = ("-b", "1024") if kind == "rsa" else ()
    keygen("-t", kind, *bits, "-N", "", "-f", str(path), *(("-m", form) if form not in ("CRLF", "BOM") else ()))
    if form == "CRLF":
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    if form == "BOM":
        path.write_bytes(b"\xef\xbb\xbf\n" + path.read_bytes().rstrip(b"\n"))
    (key,) = keys.load(path, keys.Agent(""))
    assert key.get_base64() == Path(f"{path}.pub").read_text().split()[1]
    assert key.can_sign()


@HAVE
@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
def test_an_encrypted_key_is_never_called_refused_or_damaged(tmp_path: Path, form: str) -> None:
    path = tmp_path / "id"
    keygen("-t", "rsa", "-b", "1024", "-N", "secret", "-m", form, "-f", str(path))
    for public in (True, False):
        with pytest.raises(keys.KeyUnusable, match="has a passphrase") as caught:
            keys.load(path, keys.Agent(""))
        assert "ssh-add" in caught.value.remedy
        if public:
            Path(f"{path}.pub").unlink()


@HAVE
def test_pkcs8_of_openssl_logs_in(bench: Bench, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    _, node = bench.serve()
    key = serialization.load_ssh_private_key(bench.key_file.read_bytes(), None)
    bench.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    assert bench.key_file.read_text().startswith("-----BEGIN PRIVATE KEY")
    assert reach(bench, node, bench.key_file) == 0


UNUSABLE = [
    ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", 0o600, "PuTTY's form", "puttygen {path} -O private-openssh -o {stem}"),
    ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me\n", 0o644, "public half", "name the private key"),
    ("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n", 0o644, "public half", "name the private key"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n", 0o600, "cannot be read", "ssh-keygen -y -f {path}"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n", 0o600, "cannot be read", "ssh-keygen -y -f {path}"),
    ("", 0o600, "is no private key", "ssh-keygen -y"),
    ("-----BEGIN RSA PRIVATE KEY-----".encode("utf-16").decode("latin-1"), 0o600, "is UTF-16 text", "plain text"),
    ("\x00\x01binary", 0o600, "is no private key", "ssh-keygen -y"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\n", 0o644, "others on this machine can read", "chmod 600 {path}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "mode", "what", "todo"), UNUSABLE)
def test_a_file_that_is_no_usable_key_says_what_it_is_and_what_to_type(
    tmp_path: Path, text: str, mode: int, what: str, todo: str
) -> None:
    path = tmp_path / "my key.ppk"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(mode)
    with pytest.raises(keys.KeyUnusable) as caught:
        keys.load(path, keys.Agent(""))
    assert what in caught.value.message
    assert todo.format(path=shlex.quote(str(path)), stem=shlex.quote(str(path.with_suffix("")))) in caught.value.remedy


@given(
    st.binary(max_size=80),
    st.sampled_from(
        [
            b"",
            b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
            b"-----BEGIN PRIVATE KEY-----\n",
            b"ssh-rsa ",
            b"PuTTY-User-Key-File-",
        ]
    ),
)
def test_any_file_is_a_key_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    path = tmp_path_factory.mktemp("key") / "id"
    path.write_bytes(head + data)
    path.chmod(0o600)
    with pytest.raises(keys.KeyUnusable):
        keys.load(path, keys.Agent(""))


@HAVE
def test_identity_files_that_are_not_there_are_passed_over_and_the_agent_is_asked(
    bench: Bench, home: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, node = bench.serve()
    configure(home, "Host *\n  IdentityFile ~/.ssh/not_here\n  IdentityFile none\n")
    subprocess.run(["ssh-add", str(bench.key_file)], check=True, capture_output=True)
    assert reach(bench, node, "") == 0
    configure(home, "Host *\n  IdentityFile ~/.ssh/not_here\n  IdentitiesOnly yes\n")
    with pytest.raises(Unreachable, match="login as ops with no key was refused"):
        reach(bench, node, "")
    configure(home, f"Host *\n  IdentityAgent {agent}\n")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    assert reach(bench, node, "") == 0


def test_an_agent_that_does_not_answer_holds_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "AGENT_PATIENCE", 0.1)
    for name in ("none", "", str(tmp_path / "not_here")):
        assert keys.Agent(name).get_keys() == ()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        assert keys.Agent(str(tmp_path / "silent")).get_keys() == ()
