"""The doctor's scripts on the model: its parsers accept every answer, and each fault that it must find is visible in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import rehearsal
from rehearsal_bed import Bed

pytest.importorskip("fabfile.views.doctor.questions")

from fabfile.inventory import Environment
from fabfile.nodes.group import NodeGroup, connected
from fabfile.views.doctor.between_nodes import (
    OVERLAY_PORT,
    Member,
    Tried,
    gather_script,
    listen_script,
    parse_gather,
    parse_listen,
    parse_try,
    try_script,
)
from fabfile.views.doctor.between_nodes import Test as Trial
from fabfile.views.doctor.clocks import SCRIPT, parse_clock
from fabfile.views.doctor.questions import NodeAnswers, doctor_script, parse_answers, questions


@contextmanager
def group(bed: Bed, *faults: str) -> Iterator[tuple[Environment, NodeGroup]]:
    with (
        rehearsal.running(bed.environment, faults=faults) as simulation,
        connected(simulation.environment) as nodes,
    ):
        yield simulation.environment, nodes


def probes(bed: Bed, *faults: str) -> dict[str, NodeAnswers]:
    found = {}
    with group(bed, *faults) as (environment, nodes):
        asked = questions(environment, "ubuntu", "noble")
        for node in environment.nodes:
            code, output = nodes.of(node).root(doctor_script(environment, node, asked), 30)
            assert code == 0, output
            found[node.name] = parse_answers(output.decode(), asked)
    return found


def test_the_doctors_questions_to_one_machine_are_answered(bed: Bed) -> None:
    fresh = probes(bed)["w1"]
    assert fresh.memory_kib > 1 << 20
    assert set(fresh.macs) == {"ens5"}
    assert all(answer.code for answer in fresh.http.values())
    assert fresh.certificates == ()
    bed.bootstrap()
    running = probes(bed)["cp1"]
    assert running.containerd["cri"] == "ok"
    assert running.containerd["SystemdCgroup"] == "true"
    assert all(certificate.ends > certificate.begins > 0 for certificate in running.certificates)
    assert "8472" in " ".join(running.sockets)


def test_faults_show_in_the_answers(bed: Bed) -> None:
    seen = probes(bed, "w1:apt-locked", "w2:packages-down", "cp1:disk-full", "w1:wrong-nic")
    assert "unattended-upgr" in seen["w1"].lock
    assert "dev ens6" in seen["w1"].toward
    assert any(answer.code == 0 and "Timeout" in answer.error for answer in seen["w2"].http.values())
    assert seen["cp1"].disks["/var/lib/kubelet"].free_kib < 1 << 20


def test_clocks(bed: Bed) -> None:
    with group(bed, "w2:clock-skew=-600") as (environment, nodes):
        read = {node.name: parse_clock(nodes.of(node).root(SCRIPT, 10)[1].decode()) for node in environment.nodes}
    assert abs(read["w1"] - read["cp1"]) < 60
    assert 500 < read["cp1"] - read["w2"] < 700


def wires(bed: Bed, *faults: str) -> tuple[dict[str, Tried], dict[str, frozenset[tuple[str, int]]]]:
    """All pairs: TCP 10250, UDP 8472 or the overlay, and both MTUs."""
    tried, got = {}, {}
    facts = bed.facts()
    with group(bed, *faults) as (environment, nodes):
        members = {}
        for node in environment.nodes:
            link = facts[node.name].links.get("flannel.1")
            overlay, mtu = (link.addresses[0].split("/")[0], link.mtu) if link else ("", 0)
            members[node.name] = Member(node, overlay, 1500, mtu, (10250,), frozenset({8472} if link else ()))
        for node in environment.nodes:
            code, output = nodes.of(node).root(listen_script(members[node.name], [8472]), 30)
            assert parse_listen(output.decode()).tool, (code, output)
        for node in environment.nodes:
            tests = []
            for peer in environment.nodes:
                if peer != node:
                    kind = "overlay" if members[peer.name].overlay else "udp"
                    tests += [
                        Trial(node.name, peer.name, "tcp", 10250),
                        Trial(node.name, peer.name, kind, 8472),
                        Trial(node.name, peer.name, "mtu"),
                    ]
                    if members[peer.name].overlay:
                        tests.append(Trial(node.name, peer.name, "mtu", 0, "overlay"))
            _, output = nodes.of(node).root(try_script(members[node.name], tests, members, "n0nce"), 30)
            tried[node.name] = parse_try(output.decode())
            assert tried[node.name].whole
        for node in environment.nodes:
            _, output = nodes.of(node).root(gather_script(), 30)
            got[node.name] = parse_gather(output.decode(), "n0nce")
    return tried, got


@pytest.mark.parametrize("cluster", [False, True])
def test_packets_between_all_nodes(bed: Bed, cluster: bool) -> None:
    if cluster:
        bed.healthy()
    port = OVERLAY_PORT if cluster else 8472
    tried, got = wires(bed)
    assert all(state == "open" for one in tried.values() for state in one.tcp.values())
    assert got["w1"] == {("cp1", port), ("w2", port)}
    assert tried["w1"].mtu["w2", "nic"] == "1500"
    _, got = wires(bed, "w2:udp-blocked")
    assert got["w2"] == frozenset()
    assert got["w1"] == {("cp1", port), ("w2", port)}, "one way only"


def test_a_wrong_mtu_shows_between_two(bed: Bed) -> None:
    bed.bootstrap("w2:wrong-mtu")
    tried, _ = wires(bed)
    assert tried["w2"].mtu["w1", "overlay"] == "1450"
    assert bed.facts()["w2"].links["flannel.1"].mtu == 8951
