"""Bootstrap, observe and reset on simulated nodes, without faults."""

from __future__ import annotations

import ipaddress
from collections import Counter
from pathlib import Path

import pytest

from fabfile import inventory
from fabfile.context import Choices
from fabfile.phases import RESET
from fabfile.phases.reset import residue
from fabfile.run.pipelines import Run
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed

# What a first bootstrap waits for on each node, phase by phase: scripts, of which each is two round trips over an open link (a session, and
# the answer), and polls of one wait as one. Beside them a link has those of tests/unit/test_connection.py. Workers' joins work on cp1 too.
SCRIPTS = {
    "cp1": {"observe": 4, "prep": 3, "install": 7, "registry": 1, "master": 3, "network": 4, "join": 4, "addons": 8},
    "w1": {"observe": 4, "prep": 3, "install": 7, "registry": 1, "join": 4, "addons": 1},
}


def test_bootstrap_makes_a_healthy_cluster(bed: Bed) -> None:
    outcome = bed.bootstrap(workers=3)
    assert set(outcome.states.values()) == {"done"}
    assert outcome.result.exit_code == 0
    ran = outcome.simulation.ran
    for node, most in SCRIPTS.items():
        names = {script for name, script in ran if name == node and script != "observe"}
        waited = Counter(script.partition(".")[0] for script in names)
        waited["observe"] = ran.count((node, "observe"))
        # where one node's wait is over before another looks, a script is not sent
        assert not waited - Counter(most), "more makes a far node slower"
        assert not Counter(most) - waited - Counter(addons=1), "fewer is better: change the table"
    order = [
        ran.index(("cp1", step))
        for step in ("network.flannel", "addons.monitoring", "network.pods", "addons.influxdb-ready")
    ]
    assert order == sorted(order), (
        "the add-ons' pods are made while the pod network comes up, and its proof comes before theirs"
    )
    facts = bed.facts()
    control = facts["cp1"]
    assert control.initialised
    assert all(control.node_ready(name) for name in facts)
    assert control.retention.default and control.retention.duration
    for name, one in facts.items():
        links = {link: ipaddress.ip_interface(one.links[link].addresses[0]) for link in ("flannel.1", "cni0")}
        assert all(address.ip in bed.environment.settings.pod_cidr for address in links.values()), name


def test_a_second_bootstrap_has_no_steps(bed: Bed) -> None:
    bed.healthy()
    again = bed.bootstrap()
    assert again.result.steps == 0
    assert set(again.states.values()) == {"done"}
    assert sorted(again.simulation.ran) == [("cp1", "observe"), ("w1", "observe"), ("w2", "observe")], "one look each"


def test_reset_takes_everything_back(bed: Bed) -> None:
    before = bed.facts()
    bed.bootstrap()
    outcome = bed.reset()
    assert set(outcome.states.values()) == {"done"}
    after = bed.facts()
    for name, facts in after.items():
        assert residue(facts) == []
        assert facts.links == before[name].links
        assert facts.sysctls["net.ipv4.ip_forward"] == before[name].sysctls["net.ipv4.ip_forward"]
        assert facts.firewall_rules == 0
        host = outcome.simulation.hosts[name]
        assert host.rules == ["-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"], "the host's own rules stay"


def test_after_reset_bootstrap_works_again(bed: Bed) -> None:
    bed.healthy()
    bed.reset()
    again = bed.bootstrap()
    assert set(again.states.values()) == {"done"}
    assert all(bed.facts()["cp1"].node_ready(name) for name in ("cp1", "w1", "w2"))


def test_purge_removes_the_packages_too(bed: Bed) -> None:
    bed.healthy()
    bed.run([RESET], choices=Choices(purge=True))
    facts = bed.facts()
    assert all(one.packages == {} for one in facts.values())


def test_one_worker_is_reset_and_joins_again(bed: Bed) -> None:
    bed.healthy()
    outcome = bed.reset(on=["w2"])
    assert outcome.states == {"w2": "done"}
    facts = bed.facts()
    assert residue(facts["w2"]) == []
    assert facts["cp1"].node_object("w2") is None
    assert facts["cp1"].node_ready("w1")
    assert set(bed.bootstrap().states.values()) == {"done"}
    assert bed.facts()["cp1"].node_ready("w2")


def test_more_workers_join_a_cluster_that_runs(bed: Bed) -> None:
    bed.healthy(workers=1)
    grown = bed.bootstrap(workers=3)
    assert set(grown.states) == {"cp1", "w1", "w2", "w3"}
    assert set(grown.states.values()) == {"done"}
    assert set(bed.bootstrap().states) == {"cp1", "w1", "w2", "w3"}, "the number of workers is remembered"


def test_a_cluster_on_rocky_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bed = Bed(tmp_path, systems={"cp1": "dnf", "w1": "dnf", "w2": "apt"})
    assert set(bed.bootstrap().states.values()) == {"done"}
    assert bed.bootstrap().result.steps == 0
    assert set(bed.reset().states.values()) == {"done"}
    assert all(residue(facts) == [] for facts in bed.facts().values())


@pytest.mark.parametrize("release", ["1.35", "1.37", "1.36.2"])
def test_other_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bed = Bed(tmp_path, f"KUBERNETES={release}\n")
    assert set(bed.bootstrap().states.values()) == {"done"}
    assert bed.facts()["w1"].packages["kubelet"].startswith(release)


def test_a_private_registry_is_proved_before_kubeadm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    registry = "REGISTRY=http://registry.example:5000/k8s\nREGISTRY_USER=bot\nREGISTRY_PASSWORD=s3cr3t-planted\nREGISTRY_MIRRORS=registry.k8s.io\n"
    bed = Bed(tmp_path, f"{registry}PROXY=http://bot:s3cr3t-too@proxy.example:3128\n")
    outcome = bed.bootstrap()
    assert set(outcome.states.values()) == {"done"}
    host = outcome.simulation.hosts["w1"]
    assert "registry.example:5000/k8s/pause:3.10.2" in host.images
    assert host.files["/etc/containerd/certs.d/registry.example:5000/hosts.toml"].mode == "600"
    # the proxy of the whole run, changed, and taken back, on a living cluster
    drop_in, variables = "/etc/systemd/system/containerd.service.d/kubefab-proxy.conf", "/etc/kubefab/proxy.env"
    apt = "/etc/apt/apt.conf.d/00kubefab-proxy"
    assert [host.files[path].mode for path in (drop_in, variables, apt)] == ["644", "600", "600"]
    for old, new, steps in (("proxy.example", "other.example", 2), ("PROXY=", "# ", 1)):
        bed.file.write_text(bed.file.read_text().replace(old, new))
        bed.environment = inventory.load("rehearsal", variables={"KUBEFAB_HOSTS": str(bed.file)})
        again = bed.bootstrap()
        hosts = again.simulation.hosts.values()
        assert again.result.steps == steps * len(hosts) and bed.bootstrap().result.steps == 0
        assert all(("other.example" in (one.read(variables) or "")) == (steps == 2) for one in hosts)
    assert not any(one.exists(path) for one in hosts for path in (drop_in, variables, apt, "/etc/kubefab"))
    refused = bed.reset()
    assert set(refused.states.values()) == {"done"}
    assert (
        not outcome.simulation.hosts["w1"].exists("/etc/containerd/certs.d/registry.example:5000")
        or not bed.facts()["w1"].traces
    )


def test_more_workers_than_threads_that_work_at_once(bed: Bed) -> None:
    """200 of them, measured, are in benchmarks/parts.py."""
    bed.edit("REHEARSAL_FORKS=3")
    outcome = bed.bootstrap(workers=12)
    assert set(outcome.states.values()) == {"done"}
    assert len(outcome.states) == 13


def test_swap_is_off_for_the_cluster_and_back_after_it(bed: Bed) -> None:
    outcome = bed.bootstrap("w2:swap-on")
    assert set(outcome.states.values()) == {"done"}
    assert bed.facts()["w2"].swaps == ()
    assert bed.facts()["w2"].fstab_swaps == ()
    bed.reset()
    assert bed.facts()["w2"].swaps == ("/swapfile",)
    assert len(bed.facts()["w2"].fstab_swaps) == 1


def test_metrics_survive_their_pods_but_not_a_reset(bed: Bed) -> None:
    folder = "/var/lib/kubefab/influxdb"
    outcome = bed.bootstrap()
    hosts = outcome.simulation.hosts
    assert [name for name, host in hosts.items() if host.exists(folder)] == ["cp1"]
    assert [name for name, host in hosts.items() for pod in host.pods if "influxdb" in pod.name] == ["cp1"]

    def taken_away(simulation: Simulation, run: Run) -> None:
        simulation.hosts["cp1"].remove(folder)

    fixed = bed.run(hook=taken_away)
    assert set(fixed.states.values()) == {"done"}
    assert fixed.simulation.hosts["cp1"].exists(folder)
    assert bed.bootstrap().result.steps == 0
    assert not bed.reset().simulation.hosts["cp1"].exists(folder)
