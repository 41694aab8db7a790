"""The doctor's checks, one case a line: what a node shows, and the finding's code. The packets are real, on loopback."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fabfile.backups.latest import Latest
from fabfile.errors import StepFailed, Unreachable
from fabfile.inventory import Environment, Node
from fabfile.nodes.facts import FileDigest, Identity, KubeletLine, Link, NodeFacts, Unit
from fabfile.nodes.filters import Chain
from fabfile.nodes.sources import Source
from fabfile.text.masking import mask
from fabfile.views.dated import Dated
from fabfile.views.doctor import ERROR, NOTE, WARNING, Finding, Report, between_nodes, clocks, node_pairs, show
from fabfile.views.doctor.chart import Chart, Patient
from fabfile.views.doctor.clocks import Reading, skews
from fabfile.views.doctor.cluster import cluster
from fabfile.views.doctor.examine import Doctor, _patient
from fabfile.views.doctor.examine import member as as_member
from fabfile.views.doctor.finding import merged
from fabfile.views.doctor.fleet import fleet
from fabfile.views.doctor.machine import machine, refusals
from fabfile.views.doctor.questions import Answer, Disk, NodeAnswers, doctor_script, parse_answers, questions
from fabfile.views.doctor.sources import sources
from making import ALL_STAMPED, CA, OTHER_CA, OTHER_UID, UID, api_node, control_plane, environment, fresh, member

ENV = environment()
NOW, DAY = 1_790_000_000.0, 86400.0
ASKED = questions(ENV, "debian", "bookworm")
GIB = 1 << 20
PROBE = NodeAnswers(
    memory_kib=4 * GIB, available_kib=3 * GIB, modules={"overlay": True, "br_netfilter": True}, kernel_config="/boot/config",
    time={"NTPSynchronized": "yes"}, tools=frozenset({"curl", "python3", "ping"}), disks={"/var/lib/kubelet": Disk(50 * GIB, 40 * GIB, 1000, 900)},
    http={**{f"source {s}": Answer(200, 0.1) for s in ASKED.sources}, **{f"registry {r}": Answer(401, 0.1) for r in ASKED.registries}},
    names=dict.fromkeys(ASKED.names, "192.0.2.9"),
)  # fmt: skip


def nic(node: Node, mtu: int = 1500) -> dict[str, Link]:
    return {"eth0": Link("eth0", (f"{node.address}/16",), mtu)}


def patients(env: Environment = ENV, **more: Any) -> tuple[Patient, ...]:
    """Fresh machines without any fault."""
    return tuple(
        Patient(n, fresh(n.name, links=nic(n), product_uuid=f"uuid-{n.name}", boot_id=f"boot-{n.name}", **more), PROBE)
        for n in env.nodes
    )


def running(env: Environment = ENV) -> tuple[Patient, ...]:
    """A cluster without any fault."""
    names = [n.name for n in env.nodes]
    control = control_plane(env, members=names, stamped=ALL_STAMPED)
    found = []
    for index, node in enumerate(env.nodes):
        facts = control if node.control_plane else member(env, node.name)
        links = {**facts.links, **nic(node)}
        links["flannel.1"] = Link("flannel.1", (f"10.44.{index}.0/32",), 1450)
        found.append(Patient(node, replace(facts, links=links), PROBE))
    return tuple(found)


def judged(all_of_them: tuple[Patient, ...], env: Environment = ENV, **more: Any) -> dict[str, list[Finding]]:
    chart = Chart(env, all_of_them, now=NOW, **more)
    found = list(fleet(chart))
    for patient in all_of_them:
        found += [
            *refusals(chart, patient),
            *machine(chart, patient),
            *sources(chart, patient, ASKED),
            *cluster(chart, patient),
        ]
    by_code: dict[str, list[Finding]] = {}
    for finding in found:
        by_code.setdefault(finding.code, []).append(finding)
    return by_code


def with_facts(all_of_them: tuple[Patient, ...], name: str, **changes: Any) -> tuple[Patient, ...]:
    return tuple(replace(p, facts=replace(p.facts, **changes)) if p.name == name else p for p in all_of_them)


def with_probe(all_of_them: tuple[Patient, ...], name: str, **changes: Any) -> tuple[Patient, ...]:
    return tuple(
        replace(p, answers=replace(p.answers or PROBE, **changes)) if p.name == name else p for p in all_of_them
    )


@pytest.mark.parametrize("make", [patients, running])
def test_no_finding_on_healthy_machines(make: Any) -> None:
    found = [f for those in judged(make()).values() for f in those]
    assert found == []


@pytest.mark.parametrize(("says", "made"), [("1.36", "1.5.1"), ("1.5", "1.36.4")])
def test_a_cluster_of_the_other_recipe_is_not_judged_by_this_one(says: str, made: str) -> None:
    env = environment(kubernetes=says, token="abcdef.0123456789abcdef")
    packages = {"kubelet": f"{made}-00", "kubeadm": f"{made}-00"}
    all_of_them = with_facts(running(), "cp1", packages=packages)
    none: Any = None  # no node is asked
    doctor = Doctor(env, none, asked=dict.fromkeys((node.name for node in env.nodes), ASKED))
    (found,) = doctor._checks(Chart(env, all_of_them, now=NOW))
    assert found.code == "KF-SET-LASTING" and made in found.evidence and f"--kubernetes {made}" in found.remedy
    same = environment(kubernetes="1.36.4")
    assert len(list(doctor._checks(Chart(same, with_facts(running(same), "cp1", swaps=("/dev/sdb1",)), now=NOW)))) > 0


DOCKER_APT = "https://download.docker.com/linux/debian"
DROPS = Chain("nft", "inet", "fw", "forward", "forward", "drop")
FACTS: list[tuple[str, str, dict[str, Any]]] = [
    ("KF-OS-UNSUPPORTED", ERROR, {"os_id": "plan9"}),
    ("KF-OS-REBOOT", WARNING, {"reboot_needed": True}),
    ("KF-KRN-CGROUP", ERROR, {"cgroup": "tmpfs"}),
    ("KF-CPU-FEW", NOTE, {"cpus": 1}),
    ("KF-MEM-SMALL", WARNING, {"memory_kib": 700 << 10}),
    ("KF-SWAP-ON", NOTE, {"swaps": ("/swapfile",)}),
    ("KF-SWAP-ON", NOTE, {"swap_units": ("zramswap.service",)}),
    (
        "KF-SRC-OLD",
        WARNING,
        {
            "sources": (
                Source("/etc/apt/sources.list.d/k.list", 1, "deb", "https://apt.kubernetes.io/", "kubernetes-xenial"),
            )
        },
    ),
    (
        "KF-STOP-PREP-SOURCES",
        ERROR,
        {"sources": (Source("/etc/apt/sources.list.d/d.list", 1, "deb", DOCKER_APT, "bookworm", signed_by="/k.asc"),)},
    ),
    ("KF-STOP-PREP-APT", ERROR, {"apt_fault": "Malformed entry 1 in list file /etc/apt/sources.list.d/x.list (Suite)"}),
    (
        "KF-STOP-PREP-KUBELET",
        ERROR,
        {"kubelet": (KubeletLine("/etc/default/kubelet", 1, "KUBELET_EXTRA_ARGS=--container-runtime=remote"),)},
    ),
    ("KF-STOP-INSTALL-CONTAINERD-SETTINGS", ERROR, {"containerd": {"root": "/data/containerd"}}),
    ("KF-DNS-NONE", ERROR, {"resolvers": ()}),
    ("KF-DNS-LOOP", ERROR, {"resolvers": ("127.0.0.1",)}),
    ("KF-DNS-MANY", NOTE, {"resolvers": ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")}),
    ("KF-NET-ADDRESS", ERROR, {"links": {"eth0": Link("eth0", ("10.9.9.9/16",), 1500)}}),
    ("KF-ID-HOSTNAME", ERROR, {"hostname": "w2"}),
    ("KF-ID-MACHINE", ERROR, {"machine_id": "id-w2"}),
    ("KF-ID-UUID", WARNING, {"product_uuid": "uuid-w2"}),
    ("KF-CRI-DOCKER", NOTE, {"units": {"docker": Unit(True, True)}}),
    ("KF-NET-MTU", WARNING, {"links": nic(ENV.workers[0], 9001)}),
    ("KF-NET-FILTER", ERROR, {"filters": (DROPS,)}),
]


@pytest.mark.parametrize(("code", "severity", "changes"), FACTS, ids=[row[0] for row in FACTS])
def test_findings_from_facts(code: str, severity: str, changes: dict[str, Any]) -> None:
    found = judged(with_facts(patients(), "w1", **changes))
    assert code in found, sorted(found)
    assert found[code][0].severity == severity
    assert "w1" in found[code][0].nodes
    assert found[code][0].evidence


def test_a_rehearsal_reports_a_nat_address_too() -> None:
    env = environment(simulated="yes")
    assert judged(with_facts(patients(env), "w1", links={"eth0": Link("eth0", ("10.9.9.9/16",), 1500)}), env)[
        "KF-NET-ADDRESS"
    ]


def test_systemd_resolveds_stub_is_not_a_dns_loop() -> None:
    assert judged(with_facts(patients(), "w1", resolvers=("127.0.0.53",))) == {}


def test_a_firewall_that_forwards_nothing_is_found_on_a_member_too() -> None:
    (found,) = judged(with_facts(running(), "w1", filters=(DROPS,)))["KF-NET-FILTER"]
    assert found.severity == ERROR and found.nodes == ("w1",)
    assert "table inet fw, chain forward (hook forward)" in found.evidence
    assert "nft 'insert rule inet fw forward ip saddr 10.44.0.0/16 accept;" in found.remedy


SOURCE = f"source {next(iter(ASKED.sources))}"
REGISTRY = f"registry {next(iter(ASKED.registries))}"
PROBES: list[tuple[str, str, dict[str, Any]]] = [
    ("KF-KRN-MODULE", WARNING, {"modules": {"overlay": False}}),
    ("KF-KRN-CONFIG", WARNING, {"kernel_config": ""}),
    ("KF-OS-SELINUX", NOTE, {"selinux": "Enforcing"}),
    ("KF-PKG-LOCK", WARNING, {"lock": "unattended-upgr (1423)"}),
    ("KF-MEM-PRESSURE", WARNING, {"available_kib": 50 << 10}),
    ("KF-DISK-PRESSURE", WARNING, {"disks": {"/var/lib/kubelet": Disk(400 * GIB, 30 * GIB)}}),
    ("KF-DISK-INODES", WARNING, {"disks": {"/var/lib/kubelet": Disk(50 * GIB, 40 * GIB, 1000, 10)}}),
    ("KF-NET-FIREWALLD", NOTE, {"services": frozenset({"firewalld"})}),
    ("KF-NET-CLOUDSETUP", WARNING, {"services": frozenset({"nm-cloud-setup.timer"})}),
    ("KF-TIME-NOSYNC", NOTE, {"time": {}}),
    ("KF-SRC-CURL", ERROR, {"tools": frozenset()}),
    ("KF-DNS-RESOLVE", ERROR, {"names": {"pkgs.k8s.io": "FAILED"}}),
    ("KF-SRC-PACKAGES", ERROR, {"http": {**PROBE.http, SOURCE: Answer(404, 0.1)}}),
    ("KF-REG-UPSTREAM", ERROR, {"http": {**PROBE.http, REGISTRY: Answer(0, 4.0, "curl: (28) timed out")}}),
    ("KF-NET-ROUTE", ERROR, {"routes": ("10.44.0.0/16 dev tun0 scope link",)}),
    ("KF-NET-ROUTE", ERROR, {"routes": ("10.44.3.0/24 via 10.2.0.1 dev eth0",)}),
    ("KF-NET-ROUTE", NOTE, {"routes": ("10.0.0.0/8 via 10.9.0.1 dev eth1",)}),
    (
        "KF-SRC-PACKAGES",
        ERROR,
        {"http": {**PROBE.http, SOURCE: Answer(302, 0.1, "curl: (6) Could not resolve host: cdn.example")}},
    ),
    ("KF-NET-NIC", WARNING, {"toward": "10.2.0.1 dev eth1 src 192.168.7.7 uid 0"}),
    ("KF-KEY-EXPIRED", ERROR, {"keys": (Dated("https://pkgs.k8s.io/key", NOW - DAY, "9A296436"),)}),
    ("KF-KEY-EXPIRES", NOTE, {"keys": (Dated("https://pkgs.k8s.io/key", NOW + 20 * DAY, "9A296436"),)}),
]


@pytest.mark.parametrize(("code", "severity", "changes"), PROBES, ids=[row[0] for row in PROBES])
def test_findings_from_the_doctors_own_questions(code: str, severity: str, changes: dict[str, Any]) -> None:
    found = judged(with_probe(patients(), "w1", **changes))
    assert code in found, sorted(found)
    assert (found[code][0].severity, found[code][0].nodes) == (severity, ("w1",))


@pytest.mark.parametrize(
    ("answer", "canary", "code"),
    [
        (Answer(200, 0.1), Answer(200, 0.1), ""),
        (Answer(401, 0.1), Answer(401, 0.1), "KF-REG-LOGIN"),
        (Answer(0, 0.1, "curl: (60) SSL certificate problem: self-signed"), Answer(0, 0.1), "KF-REG-TLS"),
        (Answer(0, 4.0, "curl: (7) Failed to connect"), Answer(0, 4.0), "KF-REG-DOWN"),
        (Answer(200, 0.1), Answer(404, 0.1), "KF-REG-IMAGE"),
    ],
)
def test_the_private_registry(answer: Answer, canary: Answer, code: str) -> None:
    env = environment(registry="reg.example:5000", registry_user="me", registry_password="s3cret-pass-word")
    some = with_probe(patients(env), "w1", http={**PROBE.http, "private": answer, "canary": canary})
    assert {c for c in judged(some, env) if c.startswith("KF-REG")} == ({code} if code else set())


def test_a_registry_that_lets_anybody_pull_by_a_token_is_no_error() -> None:
    env = environment(registry="harbor.example")
    some = with_probe(patients(env), "w1", http={**PROBE.http, "private": Answer(401, 0.1)})
    assert [f.severity for f in judged(some, env)["KF-REG-LOGIN"]] == [NOTE]


def test_an_image_without_a_host_is_docker_hubs() -> None:
    asked = questions(
        environment(influxdb_image="influxdb:1.8", flannel_image="flannel/flannel:v1"), "debian", "bookworm"
    )
    assert "docker.io" in asked.registries
    assert not {"influxdb", "influxdb:1.8", "flannel"} & {*asked.registries, *asked.names}


def test_the_same_failure_is_reported_once_whatever_its_duration() -> None:
    some = patients()
    for name, took in (("cp1", "0 ms"), ("w1", "12 ms"), ("w2", "4001 milliseconds")):
        some = with_probe(
            some,
            name,
            http={**PROBE.http, SOURCE: Answer(0, 0.1, f"curl: (7) Failed to connect after {took}: refused")},
        )
    assert [f.nodes for f in merged(judged(some)["KF-SRC-PACKAGES"], ["cp1", "w1", "w2"])] == [("cp1", "w1", "w2")]


def test_a_redirect_is_followed_to_its_target() -> None:
    """`curl -I` without -L answers 302 there, although the target is broken."""
    dead = Answer(302, 0.2, "curl: (6) Could not resolve host: prod-cdn.packages.k8s.io")
    (found,) = judged(with_probe(patients(), "w1", http={**PROBE.http, SOURCE: dead}))["KF-SRC-PACKAGES"]
    assert found.evidence.endswith("HTTP 302, then (6) Could not resolve host: prod-cdn.packages.k8s.io")
    assert "curl -ILv" in found.remedy and "a firewall towards the outside" in found.remedy


def certificate(days: float, begins: float = -100) -> dict[str, Any]:
    return {"certificates": (Dated("/etc/kubernetes/pki/apiserver.crt", NOW + days * DAY, begins=NOW + begins * DAY),)}


IN_USE: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("KF-CRT-EXPIRED", ERROR, {}, certificate(-1)),
    ("KF-CRT-EXPIRES", ERROR, {}, certificate(3)),
    ("KF-CRT-EXPIRES", WARNING, {}, certificate(40)),
    ("KF-CRT-FUTURE", ERROR, {}, certificate(300, begins=1)),
    ("KF-CRT-UNREADABLE", WARNING, {}, {"certificates": (Dated("/x.crt", 0),)}),
    ("KF-CRI-SILENT", ERROR, {}, {"containerd": {"cri": "unknown service runtime.v1.RuntimeService"}}),
    ("KF-CRI-OLD", WARNING, {}, {"containerd": {"version": "v1.7.27"}}),
    ("KF-FLN-MISSING", ERROR, {"links": nic(ENV.workers[0])}, {}),
    (
        "KF-FLN-MTU",
        ERROR,
        {"links": {**nic(ENV.workers[0]), "flannel.1": Link("flannel.1", ("10.44.1.0/32",), 1500)}},
        {},
    ),
    ("KF-SWAP-ON", WARNING, {"swaps": ("/swapfile",)}, {}),
    ("KF-SWAP-ON", WARNING, {"swap_units": ("zramswap.service",)}, {}),
    ("KF-KRN-SYSCTL", ERROR, {"sysctls": {}}, {}),
    ("KF-VER-LOOSE", WARNING, {"held": frozenset()}, {}),
    ("KF-OLD-CLUSTER", ERROR, {"ca_hash": OTHER_CA, "undo": frozenset()}, {}),
]


@pytest.mark.parametrize(("code", "severity", "facts", "probe"), IN_USE, ids=[f"{row[0]}-{row[1]}" for row in IN_USE])
def test_a_cluster_in_use(code: str, severity: str, facts: dict[str, Any], probe: dict[str, Any]) -> None:
    found = judged(with_probe(with_facts(running(), "w1", **facts), "w1", **probe))
    assert code in found, sorted(found)
    assert (found[code][0].severity, found[code][0].nodes) == (severity, ("w1",))
    assert found[code][0].remedy


def test_containerds_default_configuration_is_fine_before_install() -> None:
    """containerd.io comes with the CRI plugin off; reset restores that configuration."""
    silent = {"containerd": {"cri": "unknown service runtime.v1.RuntimeService", "SystemdCgroup": "false"}}
    files = {"/etc/containerd/config.toml": FileDigest("00", "644")}
    used = judged(with_probe(with_facts(running(), "w1", files=files), "w1", **silent))
    assert {"KF-CRI-SILENT", "KF-CRI-CONFIG"} <= set(used)
    out = {"files": files, "undo": frozenset(), "traces": frozenset(), "units": {"containerd": Unit(True, True)}}
    free = judged(with_probe(with_facts(running(), "w1", **out), "w1", **silent))
    assert not {"KF-CRI-SILENT", "KF-CRI-CONFIG"} & set(free)


@pytest.mark.parametrize(("version", "severity"), [("1.36.1", WARNING), ("1.31.0", ERROR), ("1.37.0", ERROR)])
def test_version_skew(version: str, severity: str) -> None:
    one = running()
    packages = {**one[1].facts.packages, "kubelet": f"{version}-1.1"}
    found = judged(with_facts(one, "w1", packages=packages))
    assert found["KF-VER-SKEW"][0].severity == severity
    newest = max(version, "1.36.4")
    assert f"--to {newest}` ends an upgrade that was begun" in found["KF-VER-SKEW"][0].remedy, (
        "kubeadm is another release"
    )
    packages = dict.fromkeys(packages, f"{version}-1.1")
    remedy = judged(with_facts(one, "w1", packages=packages))["KF-VER-SKEW"][0].remedy
    minor = version.rpartition(".")[0]
    assert (f"set KUBERNETES={minor}, which this cluster runs" in remedy) is (version == "1.37.0"), remedy
    assert ("`inv cluster.upgrade --env test` upgrades to that" in remedy) is (version != "1.37.0"), remedy


def test_flannel_on_the_wrong_interface_and_a_node_not_ready() -> None:
    one = running()
    nodes = [dict(n) for n in one[0].facts.nodes]
    nodes[1] = {"metadata": {"name": "w1", "annotations": {"flannel.alpha.coreos.com/public-ip": "192.168.7.7"}},
                "status": {"conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}]}}  # fmt: skip
    found = judged(with_facts(one, "cp1", nodes=tuple(nodes)))
    assert "192.168.7.7" in found["KF-FLN-NIC"][0].evidence
    assert "cni plugin not initialized" in found["KF-API-NOTREADY"][0].evidence


def test_leftovers_are_an_error_outside_a_cluster_only() -> None:
    left = with_facts(patients(), "w1", links={**nic(ENV.workers[0]), "flannel.1": Link("flannel.1")})
    chart = Chart(ENV, with_facts(left, "cp1", api_ready=True, ca_hash=CA), now=NOW)
    codes = {f.code for f in cluster(chart, chart.patients[1])} | {f.code for f in refusals(chart, chart.patients[1])}
    assert codes & {"KF-OLD-RESIDUE", "KF-OLD-LEFTOVERS"} == {"KF-OLD-LEFTOVERS"}, "the same thing once"


def test_firewall_rules_alone_are_a_warning_whose_remedy_is_a_reboot() -> None:
    one = with_facts(patients(), "w1", firewall_rules=7)
    found = judged(one)
    assert found["KF-OLD-RESIDUE"][0].severity == WARNING
    assert "7 firewall rules" in found["KF-OLD-RESIDUE"][0].evidence
    assert "reboot" in found["KF-OLD-RESIDUE"][0].remedy


@pytest.mark.parametrize(
    ("node", "changes", "code"),
    [
        ("cp1", {"others": ("unit k3s.service",)}, "KF-OWN-ELSE"),
        ("w1", {"others": ("unit k3s-agent.service",)}, "KF-OWN-ELSE"),
        ("cp1", {"traces": frozenset({"/etc/kubernetes/manifests/kube-apiserver.yaml"})}, "KF-OLD-CONTROL"),
        (
            "cp1",
            {"undo": frozenset({"init-started", "initialised"}), "identity": Identity("test"), "traces": frozenset()},
            "KF-OWN-EMPTY",
        ),
    ],
)
def test_a_machine_that_contradicts_its_identity_is_one_finding(node: str, changes: dict[str, Any], code: str) -> None:
    found = judged(with_facts(patients(), node, **changes))
    owner = {c for c in found if c.startswith(("KF-OWN", "KF-OLD", "KF-STOP"))}
    assert owner == {code} and len(found[code]) == 1 and found[code][0].severity == ERROR and found[code][0].remedy


def test_an_unknown_node_is_reported_only_when_all_nodes_were_examined() -> None:
    """Kubernetes knows nodes by hostname, which may differ from hosts.env's name; an unexamined node's hostname is unknown."""
    hosts = {"cp1": "ip-10-2-0-1", "w1": "ip-10-2-0-11", "w2": "ip-10-2-0-12"}
    listed = [api_node(host) for host in hosts.values()]
    some = running()
    for name, host in hosts.items():
        some = with_facts(some, name, hostname=host)
    some = with_facts(some, "cp1", nodes=tuple(listed))
    assert "KF-API-STRANGER" not in judged(some)
    assert "KF-API-STRANGER" not in judged(some[:1])
    assert "KF-API-STRANGER" not in judged(some[:2], unreachable={"w2": Unreachable("w2: no answer", "look")})
    odd = with_facts(some, "cp1", nodes=(*listed, api_node("w1", address="10.9.9.9")))
    assert [f.evidence for f in judged(odd)["KF-API-STRANGER"]] == [
        "the cluster has a node w1 that hosts.env does not name"
    ]
    renamed = api_node("w1")
    renamed["status"]["addresses"] = [{"type": "InternalIP", "address": ENV.workers[0].address}]
    assert "KF-API-STRANGER" not in judged(with_facts(some, "cp1", nodes=(*listed, renamed)))


def test_tokens() -> None:
    tokens = (Dated("", 0, "abcdef"), Dated("", NOW + 40 * DAY, "ghijkl"), Dated("", NOW + 1800, "mnopqr"))
    found = judged(with_probe(running(), "cp1", tokens=tokens))
    assert "abcdef" in found["KF-TOK-FOREVER"][0].evidence
    assert [f.evidence.split()[2] for f in found["KF-TOK-LONG"]] == ["ghijkl"]


def test_an_unreachable_node_is_a_finding_and_a_partial_answer_a_note() -> None:
    some = patients()[:2]
    found = judged(
        (some[0], replace(some[1], answers=None, unexamined=("all",))),
        unreachable={"w2": Unreachable("w2: no answer", "look")},
    )
    assert (found["KF-SSH-UNREACHABLE"][0].evidence, found["KF-SSH-UNREACHABLE"][0].remedy) == ("no answer", "look")
    assert found["KF-DOC-PARTIAL"][0].severity == NOTE
    found = judged(some, unreachable={"w2": StepFailed("w2: observing failed", "log in there")})
    assert found["KF-DOC-UNOBSERVED"][0].severity == ERROR


def test_an_incomplete_examination_names_the_node_and_what_is_missing() -> None:
    """If a node does not answer one round, the report names the node and what was not examined on it."""
    node, facts = ENV.workers[0], fresh("w1")
    slow = StepFailed("w1: no end within 75 s", "")
    partial = _patient(node, facts, slow, slow)
    assert partial.answers is None
    assert [words.split(" (")[1] for words in partial.unexamined] == ["no end within 75 s)", "no end within 75 s)"]
    assert "its clock" in partial.unexamined[1]
    tools = _patient(node, facts, replace(PROBE, cut=("signing keys: gpg is not installed",)), Reading(0, 0.1))
    found = judged((tools,))["KF-DOC-PARTIAL"]
    assert [(f.nodes, f.evidence) for f in found] == [(("w1",), "not examined: signing keys: gpg is not installed")]


def test_a_node_that_goes_silent_between_rounds_is_not_a_closed_port() -> None:
    members = {n.name: between_nodes.Member(n) for n in ENV.nodes}
    up = between_nodes.parse_listen("@@ tool perl\nup udp 8472\nready\n@@ end\n")
    there = {"w1": up, "w2": up}
    datagram = between_nodes.Test("w1", "w2", "udp", 8472)
    sent = {"w1": between_nodes.parse_try("udp w2 8472 sent\n@@ end\n")}
    assert between_nodes.parse_gather("up udp 8472\nready\ngot 8472", "n0nce") is None
    rows = [
        node_pairs.judge(datagram, members, there, sent, {}),
        node_pairs.judge(datagram, members, there, {"w1": between_nodes.parse_try("udp w2")}, {"w2": frozenset()}),
        node_pairs.judge(
            datagram,
            members,
            {"w1": up, "w2": between_nodes.parse_listen("@@ tool perl\nup ud")},
            sent,
            {"w2": frozenset()},
        ),
        node_pairs.judge(datagram, members, there, sent, {"w2": frozenset()}),
    ]
    assert [(r.state, r.at, r.detail) for r in rows] == [
        (node_pairs.UNTESTED, "w2", "w2 did not say what arrived"),
        (node_pairs.UNTESTED, "w1", "w1 did not answer"),
        (node_pairs.UNTESTED, "w2", "its listeners did not start"),
        (node_pairs.CLOSED, "", "the datagrams did not arrive"),
    ]
    assert [f.nodes for f in node_pairs.findings(ENV, rows[:2], {})] == [("w2",), ("w1",)]


def test_an_answered_overlay_ping_outweighs_a_dropped_datagram() -> None:
    """The datagram ends at the machine behind the tunnel, whose INPUT chain may drop it; packets of pods are forwarded."""
    members = {n.name: between_nodes.Member(n, "10.44.1.0", 1500, 1450) for n in ENV.nodes}
    test, there = (
        node_pairs.Test("w1", "w2", "overlay", 8472),
        {"w2": between_nodes.Listening(tool="perl", up=frozenset({("udp", node_pairs.OVERLAY_PORT)}))},
    )
    arrived: dict[str, frozenset[tuple[str, int]]] = {"w2": frozenset()}
    for ping, state in (("1450", node_pairs.OPEN), ("no-answer", node_pairs.CLOSED), ("", node_pairs.CLOSED)):
        sent = {"w1": between_nodes.Tried({}, {("w2", "overlay"): ping} if ping else {})}
        assert node_pairs.judge(test, members, there, sent, arrived).state == state


# --- clocks


def test_clock_skew_is_against_the_median_and_not_less_than_its_error() -> None:
    readings = {"cp1": Reading(100.0, 0.01), "w1": Reading(100.02, 0.03), "w2": Reading(-500.0, 0.01)}
    assert skews(readings)["cp1"] == 0.0
    assert skews(readings)["w2"] == pytest.approx(-600.0, abs=0.1)
    found = judged(patients(), clocks=readings)["KF-TIME-SKEW"]
    assert [(f.nodes, f.severity) for f in found] == [(("w2",), ERROR)]
    assert skews({"cp1": Reading(9.0, 0.1)}) == {"cp1": 0.0}


@given(st.floats(-1e6, 1e6), st.floats(0, 30), st.floats(0, 1))
def test_exec_latency_is_part_of_the_clock_error(offset: float, latency: float, share: float) -> None:
    """Whenever during the exchange the node read its clock, the true offset is within the reading's error."""
    read = clocks.reading(1000.0, 1000.0 + latency, 1000.0 + latency * share + offset)
    assert abs(read.offset - offset) <= read.error + 1e-6


# --- pairs


def judge(
    state: str = "", arrived: bool = False, up: bool = True, held: bool = False, kind: str = "tcp"
) -> node_pairs.Result:
    members = {n.name: between_nodes.Member(n, mtu=1500) for n in ENV.nodes}
    test = between_nodes.Test("w1", "w2", kind, 8472 if kind == "udp" else 10250)
    there = between_nodes.Listening(
        "python3" if up or held else "",
        frozenset({(kind, test.port)}) if up else frozenset(),
        frozenset({(kind, test.port)}) if held else frozenset(),
    )
    tried = between_nodes.Tried(
        {("w2", test.port): state} if state else {}, {("w2", "nic"): state} if kind == "mtu" else {}
    )
    got = {"w2": frozenset({("w1", 8472)} if arrived else ())}
    return node_pairs.judge(test, members, {"w2": there}, {"w1": tried}, got)


@pytest.mark.parametrize(
    ("result", "state", "word"),
    [
        (judge("open"), node_pairs.OPEN, ""),
        (judge("dropped"), node_pairs.CLOSED, "dropped"),
        (judge("refused", held=True, up=False), node_pairs.CLOSED, "rejected by a firewall"),
        (judge("refused", up=False), node_pairs.UNTESTED, "no listener tool on w2"),
        (judge("failed No route to host"), node_pairs.CLOSED, "No route to host"),
        (judge(kind="udp", arrived=True), node_pairs.OPEN, ""),
        (judge(kind="udp"), node_pairs.CLOSED, "did not arrive"),
        (judge(kind="udp", up=False), node_pairs.UNTESTED, "no listener tool on w2"),
        (judge("1500", kind="mtu"), node_pairs.OPEN, "1500"),
        (judge("1400", kind="mtu"), node_pairs.CLOSED, "1400 of 1500"),
        (judge("no-answer", kind="mtu"), node_pairs.UNTESTED, "ping is not answered"),
    ],
)
def test_the_verdict_on_one_pair(result: node_pairs.Result, state: str, word: str) -> None:
    assert result.state == state
    assert word in result.detail


def test_the_table_of_pairs_names_the_missing_rule_and_fits_80_columns() -> None:
    results = [
        node_pairs.Result(a, b, "UDP 8472", node_pairs.CLOSED if b == "w2" else node_pairs.OPEN, "the datagrams did not arrive" if b == "w2" else "")
        for a in ("cp1", "w1", "w2") for b in ("cp1", "w1", "w2") if a != b
    ]  # fmt: skip
    found = list(node_pairs.findings(ENV, results, {"w2": "ufw"}))
    assert [(f.code, f.nodes) for f in found] == [("KF-NET-UDP8472", ("w2",))]
    assert "the other way is open" in found[0].evidence
    assert "security group of w2, inbound UDP 8472" in found[0].remedy
    assert "ufw allow" in found[0].remedy
    nowhere = replace(ENV, settings=replace(ENV.settings, node_cidr=None))
    (found_there,) = node_pairs.findings(nowhere, results, {})
    assert found_there.remedy.count("iptables -I INPUT -p udp --dport 8472 -s ") == 2, "a line for each source"
    console = Console(record=True, width=80, force_terminal=False)
    show(console, Report(ENV, tuple(found), tuple(results), 1.0, ("cp1", "w1", "w2")))
    table = [line for line in console.export_text().splitlines() if line.startswith(("from", "cp1 ", "w1 ", "w2 "))]
    assert len(table) == 4
    assert all(len(line) <= 80 for line in table)


def test_every_pair_and_role_is_tested_and_many_nodes_are_sampled() -> None:
    members = {p.name: as_member(ENV, p) for p in patients()}
    tests = node_pairs.tests(ENV, members)
    assert {(t.source, t.target) for t in tests} == {(a.name, b.name) for a in ENV.nodes for b in ENV.nodes if a != b}
    assert ("w1", "cp1", 6443) in {(t.source, t.target, t.port) for t in tests}
    assert ("cp1", "w1", 10250) in {(t.source, t.target, t.port) for t in tests}
    many = environment(workers=199)
    pairs = node_pairs.pairs(many.nodes)
    assert len(pairs) < 200 * 12
    assert {(a.name, b.name) for a, b in pairs} >= {(n.name, "cp1") for n in many.workers} | {
        ("cp1", n.name) for n in many.workers
    }


def free_port(kind: int) -> int:
    """A port below the range that the kernel gives to sockets that ask for any: no other test takes it meanwhile."""
    while True:
        with socket.socket(socket.AF_INET, kind) as s, suppress(OSError):
            s.bind(("127.0.0.1", random.randrange(20000, 32000)))
            return int(s.getsockname()[1])


def run(text: str, tmp_path: Path) -> str:
    """Run a script as the connection does: from a file of its own."""
    path = tmp_path / "script"
    path.write_text(text)
    return subprocess.run(
        ["bash", str(path)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    ).stdout


@pytest.mark.parametrize("tool", ["python3", "perl", "socat"])
def test_real_packets(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listen, send and gather on loopback: what is open, refused and received; and nothing is left behind."""
    if not shutil.which(tool):
        pytest.skip(f"no {tool} here")
    folder = tmp_path / "listening"
    monkeypatch.setattr(between_nodes, "FOLDER", str(folder))
    tcp, udp, closed = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    a, b = (between_nodes.Member(Node(name, "127.0.0.1", "127.0.0.1", False), tcp=(tcp,)) for name in ("a", "b"))
    listening = between_nodes.parse_listen(run(between_nodes.listen_script(b, [udp], (tool,)), tmp_path))
    assert (listening.tool, listening.refused) == (tool, "")
    assert listening.up == {("tcp", tcp), ("udp", udp)}
    tests = [
        between_nodes.Test("a", "b", "tcp", tcp),
        between_nodes.Test("a", "b", "tcp", closed),
        between_nodes.Test("a", "b", "udp", udp),
    ]
    tried = between_nodes.parse_try(run(between_nodes.try_script(a, tests, {"b": b}, "n0nce"), tmp_path))
    assert tried.whole
    assert tried.tcp == {("b", tcp): "open", ("b", closed): "refused"}
    again = between_nodes.parse_listen(run(between_nodes.listen_script(b, [udp], (tool,)), tmp_path))
    assert again.refused, "one doctor at a time"
    assert between_nodes.parse_gather(run(between_nodes.gather_script(), tmp_path), "n0nce") == {("a", udp)}
    assert not folder.exists()
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", tcp)) != 0, "the listener has ended"


def test_without_python_or_perl_nothing_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(between_nodes, "FOLDER", str(tmp_path / "f"))
    listening = between_nodes.parse_listen(
        run(
            between_nodes.listen_script(between_nodes.Member(ENV.workers[0], tcp=(1,)), [8472], ("no-such-tool",)),
            tmp_path,
        )
    )
    assert listening == between_nodes.Listening()
    assert not (tmp_path / "f").exists()


# --- the doctor's own script


def test_the_doctors_script_reads_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(ASKED, sources={}, registries={}, names=("localhost",), key_url="")
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    output = run(doctor_script(ENV, ENV.workers[0], asked), tmp_path)
    probe = parse_answers(output, asked)
    assert probe.memory_kib > 0
    assert probe.names["localhost"]
    assert list((tmp_path / "t").iterdir()) == []


def test_the_manuals_release_is_judged_by_its_own_rules() -> None:
    env = environment(kubernetes="1.5", token="abcdef.0123456789abcdef")
    asked = questions(env, "ubuntu", "xenial")
    assert env.settings.legacy_packages_url in asked.sources.values()
    assert not [url for url in asked.sources.values() if "pkgs.k8s.io" in url]
    some = tuple(
        replace(p, answers=replace(PROBE, http={}, names={})) for p in patients(env, os_id="ubuntu", os_version="16.04")
    )
    old = with_facts(some, "w1", cgroup="tmpfs", swaps=("/swapfile",))
    found = judged(old, env)
    assert {name for f in found.get("KF-KRN-CGROUP", []) for name in f.nodes} == {"cp1", "w2"}
    assert "KF-SWAP-ON" not in found


def test_the_manuals_release_without_its_token_is_a_finding() -> None:
    env = environment(kubernetes="1.5")
    some = tuple(
        replace(p, answers=replace(PROBE, http={}, names={}))
        for p in patients(env, os_id="ubuntu", os_version="16.04", cgroup="tmpfs")
    )
    assert judged(some, env)["KF-TOK-NONE"][0].severity == ERROR
    assert judged(with_facts(some, "cp1", api_ready=True), env)["KF-TOK-NONE"][0].severity == NOTE


def test_the_registrys_login_is_on_no_command_line() -> None:
    env = environment(registry="reg.example:5000", registry_user="me", registry_password="s3cret-pass-word")
    text = doctor_script(env, env.workers[0], questions(env, "debian", "bookworm"))
    assert text.count("s3cret-pass-word") == 1, "in the script, which travels on standard input"
    assert "printf '%s' \"$registry_curl\" | ask" in text, "to curl by its standard input; printf is bash's own"
    assert "s3cret-pass-word" not in mask("user = me:s3cret-pass-word")


@given(st.text(max_size=300))
def test_garbled_answers_are_a_value_error_at_worst(text: str) -> None:
    with pytest.raises((ValueError, LookupError)):
        parse_answers(text, ASKED)
    between_nodes.parse_listen(text)
    between_nodes.parse_try(text)
    between_nodes.parse_gather(text, "n")


def test_findings_are_merged_worst_first() -> None:
    one = Finding("KF-B", WARNING, ("w2",), "e")
    found = merged([one, replace(one, nodes=("w1",)), Finding("KF-A", ERROR, ("cp1",), "x")], ["cp1", "w1", "w2"])
    assert [(f.code, f.nodes) for f in found] == [("KF-A", ("cp1",)), ("KF-B", ("w1", "w2"))]


def test_data_is_for_scripts() -> None:
    report = Report(ENV, (Finding("KF-A", ERROR, ("cp1",), "token abcdef.0123456789abcdef"),), (), 1.0, ("cp1",))
    data: Mapping[str, Any] = report.data()
    assert not data["healthy"]
    assert "0123456789abcdef" not in str(data)


def test_no_facts_at_all_is_no_crash() -> None:
    judged(tuple(Patient(n, NodeFacts(), NodeAnswers()) for n in ENV.nodes))


def test_every_code_is_in_the_documentation_and_the_other_way_round() -> None:
    project = Path(__file__).parents[2]
    page = (project / "docs/doctor.md").read_text()
    source = "\n".join(path.read_text() for path in (project / "fabfile/views/doctor").glob("*.py"))
    documented = set(re.findall(r"`(KF-[A-Z0-9-]+)`", page)) - {"KF-NET-UDP8472"}
    assert documented == set(re.findall(r'"(KF-[A-Z]+-[A-Z0-9]+)"', source))


@pytest.mark.parametrize("kubernetes", ["1.36.4", "1.5"])
def test_a_printed_command_names_the_release_where_it_has_to(kubernetes: str) -> None:
    env = environment(workers=1, kubernetes=kubernetes)
    patient = Patient(env.workers[0], NodeFacts(hostname="w1"))  # type: ignore[arg-type]
    chart = Chart(env, (patient,), now=NOW)
    assert chart.fab(patient, "prep") == chart.context(patient).fab("prep")
    assert ("--kubernetes 1.5" in chart.fab(patient, "prep")) == (kubernetes == "1.5")


# --- the last backup


@pytest.mark.parametrize(("latest", "severity"), [
    (Latest(), NOTE), (Latest("/gone", NOW, OTHER_UID), NOTE), (Latest("/gone", NOW, UID, gone=True), WARNING), (Latest(__file__, NOW - 8 * 86400, UID), WARNING),
    (Latest(__file__, NOW - 6 * 86400, UID), None), (Latest(__file__, NOW + 60, UID), None), (None, None),
])  # fmt: skip
def test_an_old_backup_is_a_warning_and_none_a_note(latest: Latest | None, severity: str | None) -> None:
    env = environment(1)
    chart = Chart(env, (Patient(env.control_plane, control_plane(env)),), now=NOW, latest=latest)
    assert [one.severity for one in cluster(chart, chart.patients[0]) if one.code == "KF-BAK-OLD"] == (
        [severity] if severity else []
    )
