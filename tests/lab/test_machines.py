"""Machines as people have them, on real nodes: firewalls that keep pods apart, and a shorter retention; each printed command is typed."""

from __future__ import annotations

import re

from lab_bed import Done, Lab

PREP = ("fab", "-H", "w2", "prep", "--env", "lab")


def typed(lab: Lab, node: str, done: Done, beginning: str) -> None:
    """Type the command between backticks that begins so, on a node."""
    found = re.findall(r"`([^`]+)`", done.output)
    lab.sh(node, next(line for line in found if line.startswith(beginning)))


NFT = (
    "nft add table inet fw; nft 'add chain inet fw forward { type filter hook forward priority 0; policy drop; }'; "
    "nft add rule inet fw forward ct state established,related accept; nft add rule inet fw forward iifname eth0 tcp dport 22 accept"
)
# what is wrong on the machine, what is said, the command that is printed, and what takes it all back
BEFORE = [
    (NFT, r"table inet fw, chain forward \(hook forward\) drops .*by its policy", "nft '", "nft delete table inet fw"),
    ("iptables -A FORWARD -j REJECT", r"iptables' chain FORWARD \(hook forward\) drops .*by a rule of it", "iptables -I", "iptables -F FORWARD"),
    ("iptables -I INPUT 1 -i cni0 -p tcp --dport 10250 -j DROP", r"iptables' chain INPUT \(hook input\) drops", "iptables -I", "iptables -F INPUT"),
]  # fmt: skip


def test_what_would_get_in_the_way_stops_prep_and_the_printed_command_helps(lab: Lab) -> None:
    lab.reset()
    for broken, said, printed, back in BEFORE:
        try:
            lab.sh("w2", broken)
            done = lab.run(*PREP, expect=1)
            assert re.search(said, done.output), str(done)
            assert lab.sh("w2", "ls /var/lib/kubefab 2>/dev/null || true") == "", "nothing was done"
            typed(lab, "w2", done, printed)
            lab.run(*PREP)
        finally:
            lab.sh("w2", back)
        lab.run("fab", "-H", "w2", "reset", "--env", "lab", "--yes", "lab")


def test_a_rule_that_keeps_pods_from_their_own_kubelet_is_found_on_a_living_node(healthy: Lab) -> None:
    healthy.sh("w1", "iptables -I INPUT 1 -i cni0 -p tcp --dport 10250 -j DROP")
    doctor = ("inv", "cluster.doctor", "--env", "lab", "--no-network", "--on", "w1")
    try:
        done = healthy.run(*doctor, expect=1)
        assert "KF-NET-FILTER" in done.output and "iptables' chain INPUT" in done.output, str(done)
        typed(healthy, "w1", done, "iptables -I")
        assert "KF-NET-FILTER" not in healthy.run(*doctor, expect=0).output
    finally:
        healthy.sh(
            "w1",
            "iptables -D INPUT -i cni0 -p tcp --dport 10250 -j DROP; iptables -D INPUT -s 10.44.0.0/16 -j ACCEPT || true",
        )


def test_a_shorter_retention_is_asked_for_and_then_works_with_a_real_influxdb(healthy: Lab) -> None:
    addons = ("fab", "-H", "cp1", "addons", "--env", "lab")
    try:
        for wanted, duration, shard in (("3d", "72h0m0s", "24h0m0s"), ("12h", "12h0m0s", "1h0m0s")):
            done = healthy.run(*addons, expect=1, KUBEFAB_LAB_RETENTION=wanted)
            assert f"RETENTION={wanted} would delete all that are older" in done.output, str(done)
            healthy.run(*addons, KUBEFAB_LAB_RETENTION=wanted, KUBEFAB_RETENTION_SHORTEN="yes")
            series = healthy.influxdb("SHOW RETENTION POLICIES ON k8s")["series"][0]
            policies = [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
            (policy,) = [p for p in policies if p["name"] == "default"]
            assert (policy["duration"], policy["shardGroupDuration"]) == (duration, shard)
    finally:
        healthy.run(*addons)
