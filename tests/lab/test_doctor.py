"""The doctor on real nodes: each thing is broken for real, found by its code, mended, and no longer found. Then verify, the same way."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from lab import nodes as machines
from lab_bed import Lab

DOCTOR = ("inv", "cluster.doctor", "--env", "lab", "--json")
NFT = "nft add table inet kubefab_test; nft add chain inet kubefab_test in '{ type filter hook input priority -300; }'; nft add rule inet kubefab_test in "
UNNFT = "nft delete table inet kubefab_test"
CP1, W1, W2 = "172.30.44.10", "172.30.44.21", "172.30.44.22"


def examine(lab: Lab, *more: str, expect: int = 1, **variables: str) -> dict[str, Any]:
    done = lab.run(*DOCTOR, *more, expect=expect, **variables)
    found: dict[str, Any] = json.loads(done.output)
    return found


def findings(report: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [f for f in report["findings"] if f["code"] == code]


@dataclass(frozen=True)
class Break:
    """Something to break on `node`: the finding's code and severity, the node it names, words of its evidence or remedy."""

    name: str
    node: str
    make: str
    mend: str
    code: str
    named: tuple[str, ...]
    words: tuple[str, ...] = ()
    error: bool = True
    variables: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


BREAKS = (
    Break(
        "udp-one-way", "w1", NFT + f"ip saddr {CP1} udp dport 8472 drop", UNNFT, "KF-NET-UDP8472", ("w1",),
        ("UDP 8472 from cp1: ", "the other way is open", "from w2 it is open", "security group of w1, inbound UDP 8472 from 172.30.44.0/24"),
    ),
    Break("udp-from-all", "w2", NFT + "udp dport 8472 drop", UNNFT, "KF-NET-UDP8472", ("w2",), ("from cp1, w1",)),
    Break("kubelet-port-rejected", "w2", NFT + "tcp dport 10250 reject with tcp reset", UNNFT, "KF-NET-TCP10250", ("w2",), ("rejected by a firewall",)),
    Break(
        "machine-id", "w2", "cp /etc/machine-id /run/own-id; echo $W1_ID > /etc/machine-id",
        "cat /run/own-id > /etc/machine-id; rm /run/own-id", "KF-ID-MACHINE", ("w1", "w2"), ("cloned",),
    ),
    Break(
        "resolver-loop", "w2", "cp /etc/resolv.conf /run/own-resolver; echo 'nameserver 127.0.0.11' > /etc/resolv.conf",
        "cat /run/own-resolver > /etc/resolv.conf; rm /run/own-resolver", "KF-DNS-LOOP", ("w2",), ("Loop detected",),
    ),
    Break(
        "registry-password", "", "", "", "KF-REG-LOGIN", ("cp1", "w1", "w2"), ("refuses the login as kubefab", "HTTP 401"),
        variables={"KUBEFAB_LAB_REGISTRY_PASSWORD": "not-the-password"},
    ),
    Break(
        "packages-url", "", "", "", "KF-SRC-PACKAGES", ("cp1", "w1", "w2"), ("HTTP 404",),
        variables={"KUBEFAB_LAB_PACKAGES_URL": "http://172.30.44.2/nothing"},
    ),
    Break("unlisted", "cp1", "systemctl stop kubelet.service containerd.service", "systemctl start containerd kubelet", "KF-CRI-DOWN", ("cp1",)),
    # last: for ten minutes the kernel remembers the small path that these two leave behind
    Break("small-mtu", "w1", "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500; ip route flush cache", "KF-NET-MTU", ("w1",), ("w1: 1400",), error=True),
    Break("flannel-mtu", "w1", "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500; ip route flush cache", "KF-FLN-MTU", ("w1",), ("VXLAN takes 50",)),
)  # fmt: skip


@pytest.mark.parametrize("broken", BREAKS, ids=str)
def test_what_is_broken_is_found_by_its_code(healthy: Lab, broken: Break) -> None:
    lab = healthy
    other = lab.sh("w1", "cat /etc/machine-id")
    if broken.node:
        lab.sh(broken.node, f"W1_ID={other}; {broken.make}")
    try:
        report = examine(lab, expect=1 if broken.error else 0, **broken.variables)
    finally:
        if broken.node:
            lab.sh(broken.node, broken.mend)
    found = findings(report, broken.code)
    named = [f for f in found if tuple(f["nodes"]) == broken.named]
    assert named, report["findings"]
    text = " ".join(f"{f['evidence']} {f['remedy']}" for f in named)
    for word in broken.words:
        assert word in text, text
    lab.eventually("all is well again", lambda: not findings(json.loads(lab.end(lab.start(*DOCTOR)).output), broken.code), 120)


def test_a_frozen_node_is_a_finding_and_holds_up_nobody(healthy: Lab) -> None:
    lab = healthy
    machines.pause("w2")
    try:
        started = time.monotonic()
        report = examine(lab, KUBEFAB_LAB_CONNECT_TIMEOUT="4")
        took = time.monotonic() - started
    finally:
        machines.unpause("w2")
    assert [f["nodes"] for f in findings(report, "KF-SSH-UNREACHABLE")] == [["w2"]]
    assert took < 40
    assert {(r["from"], r["to"]) for r in report["pairs"]} >= {("w1", "cp1"), ("cp1", "w1")}
    lab.eventually("w2 is Ready", lambda: lab.ready()["w2"])


def test_before_there_is_a_cluster_the_ports_are_tested_with_listeners(healthy: Lab) -> None:
    lab = healthy
    lab.reset("--keep-images")
    lab.sh("w1", NFT + f"ip saddr {W2} udp dport 8472 drop")
    lab.sh("cp1", NFT + "tcp dport 6443 drop")
    try:
        report = examine(lab)
    finally:
        lab.sh("w1", UNNFT)
        lab.sh("cp1", UNNFT)
    assert "from w2: " in findings(report, "KF-NET-UDP8472")[0]["evidence"]
    assert "from you, w1, w2" in " ".join(f["evidence"] for f in findings(report, "KF-NET-TCP6443")).replace("w1, w2, you", "you, w1, w2")
    assert {r["state"] for r in examine(lab, expect=0)["pairs"]} == {"open"}


# --- verify

VERIFY = ("inv", "cluster.verify", "--env", "lab", "--json")


def spaces(lab: Lab) -> str:
    return lab.kubectl("get namespaces -l kubefab.dev/verify=true -o name")


def test_verify_proves_a_healthy_cluster_and_takes_itself_away(healthy: Lab) -> None:
    report = json.loads(healthy.run(*VERIFY).output)
    assert {c["state"] for c in report["checks"]} == {"ok"}, report
    assert len(report["checks"]) == 10
    assert spaces(healthy) == ""
