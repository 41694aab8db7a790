"""The manual's own commands, in its order, on the model: digest I1 to X1. Their downloads no longer exist; on the model they work."""

from __future__ import annotations

import json

import pytest

from fabfile.inventory.settings import Settings
from fabfile.nodes import script
from rehearsal import shell
from rehearsal.cluster import Cluster, Settling
from rehearsal.host import Host
from rehearsal.machine import Machine

TOKEN = "b00af9.5fcddc13c9193dd1"
URL = Settings().manifests_url
INSTALL = (
    f"curl {Settings().legacy_key_url} | apt-key add -",
    "echo 'deb http://apt.kubernetes.io/ kubernetes-xenial main' > /etc/apt/sources.list.d/kubernetes.list",
    "apt-get update",
    "apt-get install -y docker.io",
    "apt-get install -y kubelet kubeadm kubectl kubernetes-cni",
    f"mkdir -p /etc/docker && cd /etc/docker && curl {URL}/daemon > daemon.json",
    "systemctl restart docker",
)
RESET = (
    "kubeadm reset",
    "rm -rf .kube/",
    "systemctl stop kubelet docker",
    "rm -rf /var/lib/cni/ /var/lib/kubelet/* /etc/cni/",
    *(f"ifconfig {name} down || true" for name in ("cni0", "flannel.1", "weave", "datapath", "docker0")),
    "systemctl start docker",
    "docker rm -v $(docker ps -aq) || true",
    "docker rmi $(docker images -aq) || true",
    "systemctl restart docker",
    "systemctl start kubelet",
)
STATEMENT = 'CREATE RETENTION POLICY "default" ON k8s DURATION 0d REPLICATION 1 DEFAULT; SHOW RETENTION POLICIES'
INFLUX = (
    "kubectl run influxcli --restart=Never --rm -it --image=cburki/influxdb-shell -- "
    f"--host=monitoring-influxdb.kube-system --port=8086 --database=k8s --execute '{STATEMENT}'"
)


class Pair:
    """The manual's master and slave."""

    def __init__(self) -> None:
        self.hosts = {
            name: Host.new(name, name, f"10.2.0.{number + 10}", number, control_plane=number == 0, seed=1)
            for number, name in enumerate(("master", "slave"))
        }
        self.cluster = Cluster()
        self.settling = Settling(self.cluster, self.hosts, lambda host, fault: None)

    def run(self, name: str, *lines: str) -> str:
        machine = Machine(self.hosts[name], self.cluster, self.settling, Settings(), 1, self.now)
        code, output = shell.run(machine, script.render("manual.step", lines))
        assert code == 0, output.decode()
        return script.parse(code, output).output

    def now(self) -> float:
        return max(host.clock for host in self.hosts.values())

    def wait(self, seconds: float) -> None:
        for host in self.hosts.values():
            host.clock += seconds


@pytest.fixture
def pair() -> Pair:
    made = Pair()
    for name in made.hosts:
        made.run(name, *INSTALL)
    made.run(
        "master", f"kubeadm init --token={TOKEN} --api-advertise-addresses=10.2.0.10 --pod-network-cidr=10.44.0.0/16"
    )
    made.run("master", f"kubectl apply -f '{URL}/flannel?network=10.44.0.0/16'")
    made.run("slave", f"kubeadm join --token={TOKEN} 10.2.0.10")
    made.wait(60)
    return made


def test_master_and_slave_come_up(pair: Pair) -> None:
    assert "NotReady" not in pair.run("master", "kubectl get nodes")
    rows = pair.run("master", "kubectl -n kube-system get pods --no-headers").splitlines()
    assert rows
    assert all("Running" in row for row in rows), rows
    for name in pair.hosts:
        links = {link["ifname"]: link["addr_info"] for link in json.loads(pair.run(name, "ip -j addr"))}
        assert links["flannel.1"][0]["local"].startswith("10.44.")


def test_dashboard_and_monitoring(pair: Pair) -> None:
    pair.run("master", f"kubectl create -f {URL}/dashboard", f"kubectl create -f {URL}/monitoring")
    pair.wait(60)
    assert "default,0s,168h0m0s,1,true" in pair.run("master", INFLUX)
    assert "cni0" in pair.hosts["slave"].links


def test_a_wrong_token_waits_for_ever(pair: Pair) -> None:
    pair.run("slave", *RESET)
    with pytest.raises(AssertionError, match="will try again"):
        pair.run("slave", "kubeadm join --token=aaaaaa.0123456789abcdef 10.2.0.10")


def test_reset_and_again(pair: Pair) -> None:
    for name in pair.hosts:
        pair.run(name, *RESET)
        assert pair.hosts[name].pods == []
        assert not pair.hosts[name].links["cni0" if name == "master" else "flannel.1"].up, (
            "ifconfig down leaves the link"
        )
    pair.run(
        "master", f"kubeadm init --token={TOKEN} --api-advertise-addresses=10.2.0.10 --pod-network-cidr=10.44.0.0/16"
    )
    pair.run("slave", f"kubeadm join --token={TOKEN} 10.2.0.10")
    assert "slave" in pair.run("master", "kubectl get nodes")
