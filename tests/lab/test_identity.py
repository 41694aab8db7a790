"""Change only what is ours, on real nodes: the cases of rehearsal/test_identity.py with real kubeadm, etcd and systemd.

Chapters share one cluster; each first makes it healthy and finally restores the machines. A command in a message is taken
from the message and run as it is printed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab_bed import OFF, Done, Lab

KEPT = "/root/etcd-of-the-lost-disk"
DATA = "/var/lib/etcd/member"
PRECIOUS = f"{DATA}/snap/db"
# What a reset, an init or a join would change: our files, and the pods that every node of this cluster has.
_LIFE = (
    "sha256sum /etc/kubernetes/*.conf /etc/containerd/config.toml /var/lib/kubefab/identity; hostname; ip -o link | grep -oE ' (cni0|flannel.1):'; "
    "crictl pods -q --state ready --name 'kube-(proxy|flannel)' | sort"
)


def life(lab: Lab, name: str) -> str:
    return lab.sh(name, _LIFE)


def uid(lab: Lab, kubeconfig: str = "admin") -> str:
    """The uid of kube-system, which identifies the cluster for its life."""
    return lab.kubectl(
        f"--kubeconfig=/etc/kubernetes/{kubeconfig}.conf get namespace kube-system -o jsonpath='{{.metadata.uid}}'",
        check=False,
    )


def refused(lab: Lab, done: Done, node: str, step: str) -> None:
    """Assert that the last run stopped at that step of that node, and that no changing step began there."""
    ended = {e["node"]: e["step"] for e in lab.steps() if e["event"] == "node" and e["state"] == "failed"}
    assert ended == {node: step}, str(done)
    assert [e for e in lab.steps() if e["event"] == "start" and e["node"] == node] == [], str(done)


def command(done: Done, form: str) -> str:
    """The command of that form which the message prints between backticks."""
    found = re.search(rf"`({form})`", done.output)
    assert found, str(done)
    return found[1]


# --- the cluster's own etcd


@contextmanager
def lost_disk(lab: Lab) -> Iterator[None]:
    """cp1 after it lost power and etcd's disk: nothing runs, and etcd's folder is empty. At the end it is restored."""
    closed = [f"input ip saddr {worker.host} tcp dport 6443 drop" for worker in lab.environment.workers]
    # a kubelet that sees an empty cluster ends its pods: stop it, so that every change on the workers would be ours
    with lab.firewall("cp1", *closed):
        lab.sh("cp1", f"systemctl stop kubelet; crictl stop $(crictl ps -q); mv {DATA} {KEPT}")
        try:
            yield
        finally:
            lab.sh(
                "cp1",
                f"[ ! -e {KEPT} ] || {{ systemctl stop kubelet; crictl stop $(crictl ps -q); rm -rf {DATA}; mv {KEPT} {DATA}; }}",
            )


def test_a_lost_etcd_disk_changes_no_node_and_recovers_when_restored(healthy: Lab) -> None:
    lab = healthy
    workers = [worker.name for worker in lab.environment.workers]
    own, before = uid(lab), {name: life(lab, name) for name in workers}
    with lost_disk(lab):
        for _ in range(2):
            lost = lab.bootstrap(expect=1)
            refused(lab, lost, "cp1", "prep.empty")
            assert "the data of its etcd are gone from /var/lib/etcd" in lost.output
            assert (
                lab.sh("cp1", "systemctl is-active kubelet; ls -A /var/lib/etcd; pgrep -x etcd", check=False)
                == "inactive"
            )
            assert {name: life(lab, name) for name in workers} == before

        lab.sh("cp1", "systemctl start kubelet")  # as a boot does: kubeadm's etcd starts empty
        lab.eventually("a new cluster is there", lambda: uid(lab, "super-admin") not in ("", own))
        began = lab.bootstrap(expect=1)
        refused(lab, began, "cp1", "prep.empty")
        assert f"the one that was made here ({own}): its etcd began empty" in began.output
        assert {name: life(lab, name) for name in workers} == before
        lab.sh("cp1", command(began, "systemctl stop kubelet; [^`]*"))
        lab.sh("cp1", f"rm -rf {DATA}; mv {KEPT} {DATA}")
    lab.bootstrap()
    assert uid(lab) == own
    lab.eventually("all nodes are Ready", lambda: lab.ready() == dict.fromkeys(lab.names, True))
    assert {name: life(lab, name) for name in workers} == before
    assert "nothing to do" in lab.bootstrap().output


# --- a member under another name


def test_a_renamed_host_is_reported_by_both_names_and_stays_a_member(healthy: Lab) -> None:
    lab = healthy
    lab.sh("w2", "hostname w2-renamed")
    try:
        before = life(lab, "w2")
        done = lab.bootstrap(expect=1)
        refused(lab, done, "w2", "prep.renamed")
        assert f"is node {lab.hosts['w2']} of the cluster, and its hostname is now w2-renamed" in done.output
        assert life(lab, "w2") == before
        assert lab.ready() == dict.fromkeys(lab.names, True), "the node is a member still, under its name"
        for line in (
            command(done, f"hostnamectl set-hostname {lab.hosts['w2']}"),
            command(done, "systemctl restart kubelet"),
        ):
            lab.sh("w2", line)
        assert lab.sh("w2", "hostname") == lab.hosts["w2"]
    finally:
        lab.sh("w2", "hostname $w2")
    lab.eventually("w2 is Ready", lambda: lab.ready()["w2"])
    assert "nothing to do" in lab.bootstrap().output


# --- two environments, one machine


@dataclass(frozen=True)
class Other:
    """A separate environment with its own state folder, the lab's package sources, and one of the lab's machines."""

    lab: Lab
    state: Path

    def names(self, address: str) -> None:
        folder = self.state / "kubefab" / "other"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = (self.lab.environment.state / "hosts.env").read_text().splitlines()
        kept = [line.replace("LAB_", "OTHER_", 1) for line in lines if re.match(r"LAB_(?!CONTROL_PLANE|WORKER_)", line)]
        (folder / "hosts.env").touch(mode=0o600)
        (folder / "hosts.env").write_text(
            "\n".join([f'OTHER_CONTROL_PLANE="{address} name=x1"', "OTHER_POD_CIDR=10.45.0.0/16", *kept]) + "\n"
        )
        shutil.copy(self.lab.environment.state / "known_hosts", folder)

    def refused(self, *argv: str) -> Done:
        return self.lab.run(
            *argv,
            "--env",
            "other",
            *(["--yes", "other"] if "reset" in argv[-1] else []),
            expect=1,
            XDG_STATE_HOME=str(self.state),
        )


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ("w2", "this machine is worker w2 of environment lab, not of other"),
        ("cp1", "this machine is the control plane cp1 of environment lab, not of other"),
    ],
    ids=["a worker", "its control plane"],
)
def test_a_machine_of_this_cluster_is_not_adopted_by_another(
    healthy: Lab, tmp_path: Path, node: str, says: str
) -> None:
    lab = healthy
    host = next(one.host for one in lab.environment.nodes if one.name == node)
    flannel = "-n kube-flannel get configmap/kube-flannel-cfg daemonset/kube-flannel-ds -o jsonpath='{.items[*].data}{.items[*].metadata.generation}'"
    before = (life(lab, node), lab.kubectl(flannel), uid(lab))
    other = Other(lab, tmp_path)
    other.names(host)
    for _ in range(2):
        done = other.refused("inv", "cluster.bootstrap")
        assert f"another cluster's: {says}" in done.output, str(done)
        assert ("LAB_CONTROL_PLANE as well" in done.output) == (node == "cp1"), (
            "hosts.env itself names the lab's control plane only"
        )
        assert (life(lab, node), lab.kubectl(flannel), uid(lab)) == before
    assert says in other.refused("fab", "-H", "x1", "reset").output
    whole = other.refused("inv", "cluster.reset")
    assert says in whole.output and "no node was touched" in whole.output
    assert (life(lab, node), lab.kubectl(flannel), uid(lab)) == before
    assert lab.ready() == dict.fromkeys(lab.names, True)
    assert "nothing to do" in lab.bootstrap().output


# --- what belongs to other programs


HELD = """
kubectl create deployment held --image={image} --replicas=0 -- sleep 600
kubectl patch deployment held -p '{{"spec": {{"template": {{"spec": {{"nodeName": "{node}", "terminationGracePeriodSeconds": 0}}}}}}}}'
kubectl scale deployment held --replicas=1
kubectl create poddisruptionbudget held-pdb --selector=app=held --min-available=1
kubectl rollout status deployment held --timeout=180s
"""


def test_a_budget_keeps_its_pod_and_the_node_stays(healthy: Lab) -> None:
    """kubefab waits DRAIN_TIMEOUT for a budget; tests/unit/test_leave.py has the default, two minutes."""
    lab = healthy
    lab.sh("cp1", "set -e\n" + HELD.format(image=lab.environment.settings.probe_image, node=lab.hosts["w2"]))
    try:
        before = life(lab, "w2")
        pod = lab.kubectl("get pods -l app=held -o jsonpath='{.items[*].metadata.name}'")
        done = lab.run(*OFF, expect=1, KUBEFAB_LAB_DRAIN_TIMEOUT="15")
        assert f"pod default/{pod} stays: PodDisruptionBudget held-pdb allows no disruption" in done.output, str(done)
        assert lab.ready()["w2"] and life(lab, "w2") == before
        assert lab.kubectl(f"get pod {pod} -o jsonpath='{{.status.phase}}'") == "Running"
        assert lab.kubectl("get node $w2 -o jsonpath='{.spec.unschedulable}'") == ""
    finally:
        lab.kubectl("uncordon $w2")
        lab.kubectl("delete deployment/held pdb/held-pdb --ignore-not-found")


def test_debians_etcd_on_a_worker_survives_its_reset(healthy: Lab) -> None:
    lab = healthy
    lab.sh("w2", "install -d -m 700 /var/lib/etcd/default/member; echo patroni >/var/lib/etcd/default/member/x")
    try:
        lab.run(*OFF)
        assert "w2" not in lab.ready()
        assert lab.sh("w2", "cat /var/lib/etcd/default/member/x; ls -A /var/lib/etcd") == "patroni\ndefault"
    finally:
        lab.sh("w2", "rm -r /var/lib/etcd/default")
    lab.off = True


K3S = """
install -d /etc/rancher/k3s
ip link add cni0 type bridge; ip addr add 10.42.1.1/24 dev cni0
ip link add flannel.1 type vxlan id 1 dstport 8472 dev eth0; ip addr add 10.42.1.0/32 dev flannel.1
cp /bin/sleep /usr/local/bin/k3s
printf '[Service]\\nExecStart=/usr/local/bin/k3s 99999\\n' >/etc/systemd/system/k3s-agent.service
systemctl daemon-reload; systemctl start k3s-agent
"""
NO_K3S = """
systemctl stop k3s-agent; rm -f /etc/systemd/system/k3s-agent.service /usr/local/bin/k3s; systemctl daemon-reload
ip link delete flannel.1; ip link delete cni0; rm -rf /etc/rancher
"""
ALIVE = "systemctl is-active k3s-agent; systemctl show -p MainPID k3s-agent; ls /etc/rancher; ip -br addr show cni0; ip -br addr show flannel.1; iptables-save | wc -l"


def test_a_running_k3s_is_not_changed(without_w2: Lab) -> None:
    lab = without_w2
    lab.sh("w2", "set -e\n" + K3S)
    try:
        before = lab.sh("w2", ALIVE)
        assert before.startswith("active\n") and "10.42.1.1/24" in before
        for argv in (
            ("inv", "cluster.bootstrap", "--env", "lab"),
            OFF,
            (*OFF, "--foreign", "w2"),
            ("inv", "cluster.reset", "--env", "lab", "--yes", "lab"),
        ):
            done = lab.run(*argv, expect=1)
            assert "k3s-agent.service runs here, and kubefab did not make it" in done.output, str(done)
            assert "`k3s-agent-uninstall.sh`" in done.output, str(done)
            assert lab.sh("w2", ALIVE) == before
        assert lab.ready() == {"cp1": True, "w1": True}, "the whole reset touched no other node either"
    finally:
        lab.sh("w2", NO_K3S)
    lab.bootstrap()
    lab.eventually("w2 is Ready", lambda: lab.ready() == dict.fromkeys(lab.names, True))


# --- no cluster: conftest puts it after the doctor's last chapter


def test_foreign_etcd_data_on_a_new_control_plane_stop_each_run(lab: Lab) -> None:
    lab.reset("--keep-images")
    lab.sh("cp1", f"install -d -m 700 {DATA}/snap; echo precious >{PRECIOUS}")
    try:
        for _ in range(2):
            done = lab.bootstrap(expect=1)
            assert {e["node"]: e["step"] for e in lab.steps() if e["event"] == "node" and e["state"] == "failed"} == {
                "cp1": "master.etcd"
            }, str(done)
            assert "/var/lib/etcd holds data (member)" in done.output
            assert lab.sh("cp1", f"cat {PRECIOUS}; ls /var/lib/kubefab/init-started 2>/dev/null || true") == "precious"
        lab.sh("cp1", command(done, "mkdir [^`]*etcd.kept [^`]*"))
        assert lab.sh("cp1", "cat /var/lib/etcd.kept/member/snap/db; ls -A /var/lib/etcd") == "precious"
        assert "kubeadm init" in lab.run("inv", "cluster.plan", "--env", "lab", "--observe").output
    finally:
        lab.sh("cp1", "rm -rf /var/lib/etcd.kept /var/lib/etcd/member")
    lab.reset("--keep-images")
