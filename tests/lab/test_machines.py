"""Machines as people have them, on real nodes: what stops prep, and what keeps a living node or the operator out; each printed command is typed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab_bed import Done, Lab

PREP = ("fab", "-H", "w2", "prep", "--env", "lab")
CP = "172.30.44.10"
NEW = "172.30.44.250"
GATEWAY = "172.30.44.2"


def typed(lab: Lab, node: str, done: Done, beginning: str) -> None:
    """Type the command between backticks that begins so, on a node."""
    found = re.findall(r"`([^`]+)`", done.output)
    lab.sh(node, next(line for line in found if line.startswith(beginning)))


NFT = (
    "nft add table inet fw; nft 'add chain inet fw forward { type filter hook forward priority 0; policy drop; }'; "
    "nft add rule inet fw forward ct state established,related accept; nft add rule inet fw forward iifname eth0 tcp dport 22 accept"
)
# what is wrong on the machine, what is said, the command that is printed (or how it is put right), and what takes it all back
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
            if printed:
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


@contextmanager
def dialled_at(lab: Lab, folder: Path) -> Iterator[dict[str, str]]:
    """cp1 with one more address, which hosts.env has operators dial."""
    # with promotion the second address stays when the first one goes, and has the network's route then
    lab.sh("cp1", f"sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1; ip addr add {NEW}/24 dev eth0")
    home = lab.with_line(folder, f'"{CP} name=cp1"', f'"{NEW} private={CP} name=cp1"')
    known = (home / "known_hosts").read_text()
    (home / "known_hosts").write_text(known + re.sub(rf"^\[?{re.escape(CP)}\b", NEW, known, flags=re.M))
    try:
        yield {"XDG_STATE_HOME": str(folder)}
    finally:
        lab.sh("cp1", f"ip addr del {NEW}/24 dev eth0; ip route replace default via {GATEWAY}")


def test_an_address_that_the_api_is_not_certified_for_and_one_that_is_gone(healthy: Lab, tmp_path: Path) -> None:
    lab = healthy
    ca = tmp_path / "ca.crt"
    ca.write_text(lab.sh("cp1", "cat /etc/kubernetes/pki/ca.crt") + "\n")

    def reached() -> bool:
        asked = ["curl", "-sS", "--max-time", "5", "--cacert", str(ca), f"https://{NEW}:6443/readyz"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "ok"

    with dialled_at(lab, tmp_path) as state:
        assert not reached(), "x509"
        done = lab.run("inv", "cluster.kubeconfig", "--env", "lab", expect=1, **state)
        assert f"and not for {NEW}: kubectl refuses it" in done.output, str(done)
        assert (
            "KF-CRT-NAME"
            in lab.run("inv", "cluster.doctor", "--env", "lab", "--no-network", "--on", "cp1", expect=1, **state).output
        )
        assert "`inv cluster.renew --env lab`" in done.output, str(done)
        lab.run("inv", "cluster.renew", "--env", "lab", **state)
        lab.eventually("the API's certificate is for the new address", reached)
        lab.run("inv", "cluster.kubeconfig", "--env", "lab", **state)
        assert "nothing to do" in lab.bootstrap(**state).output

        lab.sh("cp1", f"ip addr del {CP}/24 dev eth0")
        try:
            lab.eventually(
                "the API is gone", lambda: lab.kubectl("--request-timeout=3s get --raw=/readyz", check=False) != "ok"
            )
            done = lab.bootstrap(expect=1, **state)
            assert (
                f"this control plane was made for the address {CP}, and no interface has it any more; this machine has {NEW}"
                in done.output
            )
        finally:
            lab.sh("cp1", f"ip addr add {CP}/24 dev eth0")
        lab.bootstrap(**state)
    assert lab.ready() == dict.fromkeys(lab.names, True)


def test_a_hardened_sshd_is_worked_with_or_named(healthy: Lab) -> None:
    """As Lynis asks for: two sessions a link, of which the run lock holds one. With one there is none left for a command."""
    lab, file = healthy, "/etc/ssh/sshd_config.d/10-hardened.conf"
    lab.sh("cp1", f"printf 'MaxSessions 2\\nAllowTcpForwarding no\\n' >{file}; systemctl restart ssh")
    try:
        assert "nothing to do" in lab.bootstrap().output
        lab.run("inv", "cluster.verify", "--env", "lab")
        lab.sh("cp1", f"sed -i s/2/1/ {file}; systemctl restart ssh")
        done = lab.bootstrap(expect=1)
        assert "MaxSessions of its sshd is 1" in done.output, str(done)
    finally:
        lab.sh("cp1", f"rm {file}; systemctl restart ssh")
    assert "nothing to do" in lab.bootstrap().output
