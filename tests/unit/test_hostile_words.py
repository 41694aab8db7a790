"""A node's words are never unquoted in a shell line, and reach another node's script only with a valid format."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.context import Choices
from fabfile.inventory import Environment
from fabfile.nodes.facts import Link, NodeFacts
from fabfile.nodes.observe import parse_facts
from fabfile.phases import BOOTSTRAP, RESET, for_release
from fabfile.steps import Action, Step, Stop
from fabfile.text.forms import FormError, Hostname
from fabfile.views.dated import Dated
from fabfile.views.doctor import between_nodes
from fabfile.views.doctor.chart import Chart, Patient
from fabfile.views.doctor.cluster import cluster
from fabfile.views.doctor.finding import guarded
from fabfile.views.doctor.questions import NodeAnswers
from making import ALL_STAMPED, context, control_plane, environment, member

ENV = environment()
CANARY = "w1$(touch canary);canary`canary`"
RECORDED = Path(__file__).parent / "recorded"


class Forged(Hostname):
    """A hostname that no format check saw: quoting must protect us if a check has a gap."""

    def __deepcopy__(self, memo: object) -> Forged:
        return self


def forged(text: str) -> Hostname:
    return str.__new__(Forged, text)


def shell_lines(actions: list[Action]) -> Iterator[str]:
    """All that goes to a shell: commands, probes, evidence, remedies; and the lines that a person is asked to paste."""
    for action in actions:
        if isinstance(action, Step):
            yield from (*action.commands, action.hint)
        elif isinstance(action, Stop):
            yield action.remedy
        else:
            yield from (action.probe, *action.evidence, action.hint)
            for remedy in action.remedies:
                yield from remedy.commands


def all_actions(env: Environment, facts: NodeFacts, node: str, control: NodeFacts) -> list[Action]:
    found: list[Action] = []
    for phase in for_release(env, (*BOOTSTRAP, RESET)):
        chosen = next(n for n in env.nodes if n.name == node)
        if chosen.role in phase.roles:
            for choices in (Choices(), Choices(whole_cluster=False, purge=True)):
                found += phase.run(context(env, facts, node=node, control=control, choices=choices))
    return found


def in_many_states(name: Hostname) -> Iterator[tuple[NodeFacts, str, NodeFacts]]:
    """(facts, node, control plane's facts) that produce every line with a hostname in it."""
    control = control_plane(ENV, members=("cp1", "w1"), stamped=ALL_STAMPED)
    listed = replace(control, nodes=(*control.nodes, {"metadata": {"name": name}, "status": {}}))
    for facts in (
        member(ENV),
        member(ENV, links={"flannel.1": Link("flannel.1")}),
        NodeFacts(hostname=Hostname("w1"), os_id="debian", machine_id="0" * 32),
    ):
        object.__setattr__(facts, "hostname", name)
        for seen in (control, listed):
            yield facts, "w1", seen
    bare = control_plane(ENV, reporting=frozenset(), links={})
    object.__setattr__(bare, "hostname", name)
    yield bare, "cp1", bare


@pytest.mark.parametrize("kubernetes", ["1.36", "1.5"])
def test_a_host_name_with_an_invalid_format_is_still_quoted(kubernetes: str) -> None:
    env = environment(kubernetes=kubernetes, token="abcdef.0123456789abcdef") if kubernetes == "1.5" else ENV
    seen = 0
    for facts, node, control in in_many_states(forged(CANARY)):
        for line in shell_lines(all_actions(env, facts, node, control)):
            seen += quote(CANARY) in line
            quoted = line.replace(quote(CANARY), "").replace(quote(f"spec.nodeName={CANARY}"), "")
            assert "canary" not in quoted.replace(f"for the pod on {CANARY}", ""), line
    assert seen > 8 or kubernetes == "1.5"


PIECES = st.sampled_from(
    [
        CANARY,
        '"canary"',
        "canary",
        "'canary'",
        "canary\ncanary",
        "${canary}",
        "canary/../canary",
        "10.44.1.0;canary",
        "canary:canary",
    ]
)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(["control-plane", "worker", "debian-12"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 60), PIECES), min_size=1, max_size=3),
)
def test_no_words_of_a_node_reach_any_shell_line(name: str, changes: list[tuple[int, int, str]]) -> None:
    """Except a hostname, an image and a name in the API: their formats have no shell characters."""
    lines = (RECORDED / f"{name}.txt").read_text().split("\n")
    for place, column, piece in changes:
        at = place % len(lines)
        lines[at] = lines[at][:column] + piece + lines[at][column:]
    try:
        facts = parse_facts("\n".join(lines))
    except ValueError:
        return
    control = facts if name == "control-plane" else control_plane(ENV)
    for action_of in (
        lambda: all_actions(ENV, facts, "cp1" if name == "control-plane" else "w1", control),
        lambda: all_actions(ENV, member(ENV), "w1", control),
    ):
        for line in shell_lines(action_of()):
            for word in line.split():
                if "canary" in word:
                    assert Hostname.fits(word.rpartition("=")[2].strip("`'\",.:;()")) or "/" in word, line


# --- the doctor


EVIL = "10.44.1.0\ntouch canary"


def test_an_invalid_address_makes_no_member() -> None:
    node = ENV.nodes[1]
    for bad in (EVIL, "$(touch canary)", "10.44.1.0 touch"):
        with pytest.raises(FormError):
            between_nodes.Member(node, overlay=bad)
    with pytest.raises(FormError):
        between_nodes.Member(node, mtu="1450; touch canary")  # type: ignore[arg-type]


def test_a_line_of_the_pair_tests_is_never_a_command(tmp_path: Path) -> None:
    """The script itself, in a real bash, with a line that came from elsewhere."""
    source, peer = (between_nodes.Member(n, overlay="10.44.1.0") for n in ENV.nodes[:2])
    object.__setattr__(
        peer, "overlay", f"{EVIL}\n$(touch {tmp_path}/canary)\n{tmp_path}/canary\ntouch {tmp_path}/canary"
    )
    text = between_nodes.try_script(
        source,
        [
            between_nodes.Test(source.name, peer.name, "udp", 8472),
            between_nodes.Test(source.name, peer.name, "overlay"),
        ],
        {peer.name: peer},
        "nonce",
    )
    text = text.replace("/dev/udp/", f"{tmp_path}/no/")
    (tmp_path / "sent").write_text(text)
    done = subprocess.run(["bash", str(tmp_path / "sent")], capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert "@@ end" in done.stdout
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "said",
    [
        "tcp w1 " + "9" * 5000 + " open\n@@ end",
        "mtu w1 nic 1500 " + "9" * 5000 + "\n@@ end",
        "mtu w1 nic 1500 ²\n@@ end",
        "tcp w1 ² open\n@@ end",
        "tcp\nmtu\n@@ end",
        "mtu a b c \n@@ end",
    ],
)
def test_invalid_answers_of_the_pair_tests(said: str) -> None:
    tried = between_nodes.parse_try(said)
    assert all(seen.isdigit() and len(seen) < 10 for seen in tried.mtu.values())
    between_nodes.parse_listen(f"@@ tool python3\nup tcp {'9' * 5000}\nbusy udp x\nready\n")
    between_nodes.parse_gather(f"got {'9' * 5000} nonce w1\ngot 1 nonce w1\x1b[2J\n@@ end", "nonce")


def test_remedies_quote_the_names_that_a_node_reported() -> None:
    control = control_plane(ENV, members=("cp1",))
    facts = replace(control, nodes=(*control.nodes, {"metadata": {"name": CANARY}, "status": {}}))
    probe = NodeAnswers(
        certificates=(Dated(f"/etc/kubernetes/pki/{CANARY}.crt", 0.0),),
        tokens=(Dated("", 0.0, CANARY),),
        tools=frozenset({"curl"}),
    )
    patients = tuple(
        Patient(n, facts if n.control_plane else member(ENV, n.name), probe if n.control_plane else None)
        for n in ENV.nodes
    )
    found = list(cluster(Chart(ENV, patients, now=1e9), patients[0]))
    assert {"KF-API-STRANGER", "KF-CRT-UNREADABLE", "KF-TOK-FOREVER"} <= {f.code for f in found}
    for finding in found:
        assert "$(" not in finding.remedy.replace(quote(CANARY), "").replace(
            quote(f"/etc/kubernetes/pki/{CANARY}.crt"), ""
        )


def test_a_check_that_crashes_on_one_node_stops_no_other_check() -> None:
    def check() -> Iterator[object]:
        yield "one"
        raise OverflowError("cannot convert \x1b[2J float infinity to integer")

    seen = list(guarded(check, "what it fetches", ("w1",)))  # type: ignore[arg-type]
    assert seen[0] == "one"
    assert (seen[1].code, seen[1].nodes) == ("KF-DOC-PARTIAL", ("w1",))
    assert "\x1b" not in seen[1].evidence
    assert json.dumps(seen[1].data())
