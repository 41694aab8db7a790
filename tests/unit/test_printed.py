"""What a message advises works: each command line that a text of ours prints is understood by the program that it is for."""

from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest
from forgetting import forgetting

from fabfile.text import advice
from fabfile.views.signatures import likely
from printed import PROGRAMS, SPAN, Printed, in_source, own, wrong
from test_docs import TASKS
from tools import docs

# Programs that a message may tell a person to type, on a node or here, and their sub-commands (None: it has none).
SUBCOMMANDS: dict[str, frozenset[str] | None] = {
    "apt-get": frozenset({"check", "install", "remove"}), "apt-mark": frozenset({"hold"}), "chage": None, "chmod": None, "chronyc": frozenset({"makestep"}),
    "crictl": frozenset({"ps", "rmi", "logs", "stop"}), "curl": None, "df": None, "dnf": frozenset({"install", "remove"}),
    "docker": frozenset({"swarm"}), "dpkg": None, "eval": None, "puttygen": None, "ssh": None, "ssh-add": None, "ssh-agent": None, "ssh-keygen": None, "etcdutl": frozenset({"snapshot"}), "export": None, "find": None,
    "firewall-cmd": None, "free": None, "fuser": None, "getent": frozenset({"passwd"}), "echo": None, "grep": None, "hostnamectl": frozenset({"set-hostname"}), "ip": None,
    "ip6tables": None, "iptables": None, "journalctl": None, "k0s": frozenset({"stop", "reset"}),
    "kubeadm": frozenset({"certs", "config", "init", "token", "upgrade", "reset"}),
    "kubectl": frozenset({"get", "describe", "logs", "label", "uncordon", "drain", "delete", "create", "edit"}),
    "mkdir": None, "mv": None, "modprobe": None, "openssl": frozenset({"x509"}), "ps": None, "resolvectl": frozenset({"status"}), "rm": None,
    "rpm": None, "snap": frozenset({"remove"}), "ss": None, "ssh-keyscan": None, "systemctl": frozenset(
        {"cat", "daemon-reload", "daemon-reexec", "restart", "stop", "status", "disable", "list-units", "list-unit-files"}),
    "systemd-machine-id-setup": None,
    "nft": None, "timedatectl": frozenset({"set-ntp"}), "ulimit": None, "uname": None, "usermod": None,
    "x": None,  # what our code puts there: apt-get or dnf, a kubectl line of leave.py
}  # fmt: skip
# In backticks, and nothing that a text asks a person to type: quoted words of the manual, lines of a file, a part of a line.
QUOTED = re.compile(
    r"image:tag sha256:…|kubernetes-xenial main|DURATION 0d|in the way|-n NAMESPACE|--kubernetes 1\.36|\{node\.host\} private=.*"
    r"|\{canonical\(host\)\} \{kind\} …|\{test\.replace.*|\{line\}|KUBEFAB_RETENTION_SHORTEN=yes fab .*"
)
PROSE = ("fabfile/legacy/commands.py", "fabfile/text/advice.py")  # the table of differences; a pattern


@cache  # not when the module is read: each process of pytest reads every module
def ours() -> tuple[Printed, ...]:
    return tuple(found for found in in_source() if re.match(r"(inv|fab) ", found.line))


def printed_on_nodes() -> list[tuple[str, str]]:
    on_nodes = [
        found
        for found in in_source()
        if " " in found.line and found not in ours() and found.where.startswith("fabfile/")
    ]
    return [(p.where, p.line) for p in on_nodes if not QUOTED.fullmatch(p.line) and not p.where.startswith(PROSE)]


def test_the_texts_are_found() -> None:
    assert len(ours()) > 60 and len(printed_on_nodes()) > 70
    assert {"inv cluster.doctor", "fab -H w1 reset --env rehearsal --foreign w1"} <= {found.line for found in ours()}


@pytest.mark.parametrize(("environment", "release"), [("", ""), ("--env aws", "--kubernetes 1.5")])
def test_every_command_of_ours_is_parsed_as_it_is_printed(environment: str, release: str) -> None:
    """Also with what is added to it where the environment and the release were named on the command line."""
    advice.asked(environment, release)
    try:
        found = {(p.where, p.line): own(advice.complete(f"`{p.line}`"))[0] for p in ours()}
    finally:
        advice.asked("")
    assert {place: wrong(line) for place, line in found.items() if wrong(line) or "{" in line} == {}
    if environment:
        lacking = [line for line in found.values() if "--env" not in line and " cluster." in line]
        assert {line.split()[1] for line in lacking} <= advice.NO_ENVIRONMENT | {"cluster.run"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("inv cluster.plan --observe --commands", ""),
        ("inv cluster.plan --obseve", "--obseve"),
        ("inv cluster.statsu", "cluster.statsu"),
        ("inv cluster.status --purge", "--purge"),
        ("inv cluster.plan --phase jion", "no phase jion"),
        ("inv cluster.bootstrap --kubernetes 1.4", "1.4"),
        ("inv cluster.bootstrap --kubernetes 1.36,1.37", "1.36,1.37"),
        ("inv lab.up --kubernetes 1.36,1.37.2", ""),
        ("inv lab.up --kubernetes 1.36,latest", "latest"),
        ("inv cluster.status --env awss", "awss"),
        ("fab -H w1,w2 install --env aws", ""),
        ("fab -H w9 install", "w9"),
        ("fab -H w1 uninstall", "uninstall"),
        ("inv cluster.digests --file", "needed value"),
        ("inv -l", ""),
        ("inv --help cluster.bootstrap", ""),
        ("inv --env aws cluster.plan", "--env"),
        ("fab -H w1 --env aws -- rm --force x", ""),
        ("fab -H w1 --purge -- uptime", "uptime"),
        ("fab -H w1 prep -- uptime", "no task that runs it"),
        ("inv -- uptime", "no task that runs it"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, reason: str) -> None:
    assert reason in wrong(line) if reason else not wrong(line)


def test_what_is_known_of_our_commands_options_is_so() -> None:
    """Of those that a text prints: the parser would refuse an option too many, and nothing else would miss one too few."""
    for name in {
        found.line.split()[1] for found in ours() if re.match(r"inv (cluster|rehearsal)\.", found.line)
    } & TASKS["inv"].keys():
        assert ("--env" not in TASKS["inv"][name]) == (name in advice.NO_ENVIRONMENT), name
        assert ("--kubernetes" in TASKS["inv"][name]) == (name in advice.RELEASES), name


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("`inv cluster.doctor` tests it", "`inv cluster.doctor --env staging` tests it"),
        ("`fab -H NODE reset`, then `inv cluster.bootstrap`",
         "`fab -H NODE reset --env staging --kubernetes 1.5`, then `inv cluster.bootstrap --env staging --kubernetes 1.5`"),
        ("`inv cluster.reset --env other --kubernetes 1.36`", "`inv cluster.reset --env other --kubernetes 1.36`"),
        ("`inv cluster.list` and inv cluster.plan", "`inv cluster.list` and inv cluster.plan"),
        ("`fab -H … -- COMMAND`", "`fab -H … -- COMMAND`"),
        ("`kubectl get nodes`, kubectl", "`kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes`, kubectl"),
    ],
)  # fmt: skip
def test_a_command_line_gets_what_it_lacks_once(text: str, complete: str) -> None:
    advice.asked("--env staging", " --kubernetes 1.5")
    try:
        assert advice.complete(text) == complete == advice.complete(complete)
    finally:
        advice.asked("")


def test_the_known_failures_name_the_environment_that_was_asked_for() -> None:
    advice.asked("--env staging")
    try:
        known = likely("[ERROR FileAvailable--etc-kubernetes-manifests]")
        assert known and "`fab -H NODE reset --env staging`" in known.remedy
    finally:
        advice.asked("")


def test_each_line_for_a_node_is_bash_and_of_a_known_program() -> None:
    """Placeholders are words in capitals: a line with … in it cannot be typed."""
    lines = printed_on_nodes()
    assert [place for place, line in lines if "…" in line and not line.startswith("export ")] == []
    checked = "".join(f"( {re.sub(r'{[^}]*}', 'x', line)} )\n" for _, line in lines)
    done = subprocess.run(["bash", "-n"], input=checked, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    unknown = {(place, call) for place, line in lines for call in calls(line) if not known_call(call)}
    assert unknown == set()


def calls(line: str) -> list[str]:
    """The simple commands of a line; what our code puts into it is x."""
    line = re.sub(r"\{[^{}]*\}", "x", line)
    return [part.strip() for part in re.split(r"&&|\|\||[;|]|\$\(|\)", re.sub(r"'[^']*'", "x", line)) if part.strip()]


def known_call(call: str) -> bool:
    program, *words = call.split()
    words = [
        word
        for before, word in zip([program, *words], words, strict=False)
        if before not in ("-n", "--kubeconfig", "-l")
    ]
    wanted = SUBCOMMANDS.get(program, frozenset())
    return wanted is None or next((word for word in words if not word.startswith("-")), "") in wanted | {"x"}


def test_a_line_for_a_node_that_no_one_can_type_is_found() -> None:
    assert not known_call("kubectl frobnicate pods") and not known_call("kubctl get pods")
    assert known_call("kubectl -n kube-system get pods") and known_call("journalctl -u kubelet -n 50")


def test_no_page_and_no_text_advises_the_reset_of_a_control_plane_alone() -> None:
    """The manual's N4 takes the cluster with it there: only what is not ours, or a reset that did not end, is reset by node (guard.py)."""
    places = {p.where.rsplit(":", 1)[0] for p in ours() if re.search(r"^fab -H (\S+) reset", p.line)}
    assert places <= {
        "fabfile/context.py", "fabfile/phases/guard.py", "fabfile/phases/leave.py", "fabfile/identity.py", "fabfile/views/signatures.py",
        "fabfile/cli/common.py", "fabfile/legacy/coverage.py", "fabfile/cli/remove.py",
    }  # fmt: skip
    pages = [(docs.PROJECT / page).read_text(encoding="utf-8") for page in docs.files()]
    assert not [line for text in pages for line in SPAN.findall(text) if re.match(r"fab -H (cp\d|master) reset", line)]
    assert set(PROGRAMS) == {"inv", "fab"}


def test_what_one_test_asked_for_no_other_reads() -> None:
    before = advice.complete("`inv cluster.status`")
    with forgetting():
        advice.asked("--env other", "--kubernetes 1.5")
        assert advice.complete("`inv cluster.status`") != before
    assert advice.complete("`inv cluster.status`") == before
