"""The 1.5 recipe from start to end on simulated machines of 2017, and each of the manual's branches by its fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rehearsal
from fabfile import phases
from fabfile.context import Choices
from fabfile.legacy import phases as legacy
from fabfile.run.pipelines import Run
from rehearsal.commands import host2017
from rehearsal.host import Unit
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed

TOKEN = "rehear.sal0000000000000"
EXTRA = f"REHEARSAL_KUBERNETES=1.5\nREHEARSAL_TOKEN={TOKEN}\n"


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Bed(tmp_path, EXTRA)
    yield made
    rehearsal.down(made.environment)


def all_done(bed: Bed, *faults: str) -> list[str]:
    """Bootstrap and assert that every node is done; returns what was reported."""
    outcome = bed.bootstrap(*faults)
    assert outcome.states == {"cp1": "done", "w1": "done", "w2": "done"}, outcome.recorder.lines
    return outcome.recorder.lines


def test_bootstrap_nothing_to_do_reset_and_again(bed: Bed) -> None:
    outcome = bed.bootstrap()
    assert outcome.states == {"cp1": "done", "w1": "done", "w2": "done"}, outcome.recorder.lines
    facts = outcome.result.nodes["cp1"].facts
    assert facts and facts.api_ready and facts.os_version == "16.04"
    assert {
        name: [a for a in facts.links[name].addresses if a.startswith("10.44.")] != [] for name in ("cni0", "flannel.1")
    } == {"cni0": True, "flannel.1": True}
    assert facts.packages["docker.io"] and "containerd.io" not in facts.packages
    again = bed.bootstrap()
    assert again.states == outcome.states and again.result.steps == 0
    reset = bed.reset()
    assert reset.states == outcome.states
    assert bed.reset().result.steps == 0
    all_done(bed)


def test_an_unchanged_cluster_needs_one_observation_only(bed: Bed) -> None:
    bed.healthy()
    assert {name for _, name in bed.bootstrap().simulation.ran} == {"observe"}


def test_the_token_is_in_no_journal_and_in_no_report(bed: Bed) -> None:
    lines = all_done(bed)
    failed = bed.run([phases.RESET]).recorder.lines
    for text in ("\n".join(lines + failed), bed.written()):
        assert TOKEN not in text and TOKEN.split(".")[1] not in text


def test_without_ifconfig_the_interfaces_are_read_from_ip(bed: Bed) -> None:
    def strip(simulation: Simulation, run: Run) -> None:
        for host in simulation.hosts.values():
            del host.packages["net-tools"]

    outcome = bed.run(hook=strip)
    assert outcome.states == {"cp1": "done", "w1": "done", "w2": "done"}, outcome.recorder.lines
    assert bed.reset().states == outcome.states


def test_p1_p2_leftovers_are_reset_and_rebooted_away(bed: Bed) -> None:
    refused = bed.run(phases.BOOTSTRAP, "w2:stale-cni0")
    assert set(refused.failed) == {"w2"} and "--foreign w2" in refused.failed["w2"].remedy, (
        "it is unknown whose they are"
    )
    assert bed.follow(refused)
    bed.run([phases.INSTALL], on=["w2"])

    def busy(simulation: Simulation, run: Run) -> None:
        host = simulation.hosts["w2"]
        host.packages["docker.io"], host.units["docker"] = "1.12", Unit(True, True)
        host.containers = ["shop-db"]
        host.make_folder("/etc/docker")

    stopped = bed.run(phases.BOOTSTRAP, "w2:stale-cni0", hook=busy)
    assert set(stopped.failed) == {"w2"} and "shop-db" in stopped.failed["w2"].message
    assert "`inv cluster.bootstrap --env rehearsal --kubernetes 1.5 --yes rehearsal`" in stopped.failed["w2"].remedy
    assert {script for where, script in stopped.simulation.ran if where == "w2"} == {"observe"}
    assert stopped.simulation.hosts["w2"].containers == ["shop-db"]

    before = {name: host.boot_id for name, host in stopped.simulation.hosts.items()}
    assert len(bed.follow(stopped)) == 1
    assert {name for name, facts in bed.facts().items() if facts.boot_id != before[name]} == {"w2"}
    assert bed.bootstrap().result.steps == 0


def test_m2_a_hanging_init_points_to_the_aws_network_and_is_undone_next_time(bed: Bed) -> None:
    outcome = bed.bootstrap("cp1:init-hangs")
    assert outcome.blocked == {"w1", "w2"}
    assert "AWS" in outcome.failed["cp1"].remedy and "M2" in outcome.failed["cp1"].remedy
    all_done(bed)


def test_n2_pods_are_pending_and_creating_before_they_run(bed: Bed) -> None:
    lines = "\n".join(all_done(bed))
    assert "Pending" in lines or "ContainerCreating" in lines


def test_n3_j3_after_a_minute_the_kubelet_is_restarted(bed: Bed) -> None:
    lines = "\n".join(all_done(bed, "w1:flannel-after-restart"))
    assert (
        "w1: flannel.1 in 10.44.0.0/16 (J2, J3): still no flannel.1 after 60 s; restart the kubelet (J2, J3)" in lines
    )


@pytest.mark.parametrize(
    ("fault", "seen"), [("flannel-missing", "no flannel.1"), ("flannel-wrong-range", "not in 10.44.0.0/16")]
)
def test_n4_in_the_end_a_reset_is_advised_which_then_helps(bed: Bed, fault: str, seen: str) -> None:
    outcome = bed.bootstrap(f"w2:{fault}")
    assert outcome.states == {"cp1": "done", "w1": "done", "w2": "failed"}
    assert seen in outcome.failed["w2"].message
    advised = bed.follow(outcome)
    assert [line.split("--")[0] for line in advised] == [
        "fab -H w2 reset ", "inv cluster.bootstrap ", "inv cluster.reset ", "inv cluster.bootstrap ",
    ]  # fmt: skip
    assert bed.bootstrap().result.steps == 0


def test_j1_a_dead_worker_fails_only_itself(bed: Bed) -> None:
    outcome = bed.bootstrap("w1:host-down")
    assert outcome.states == {"cp1": "done", "w1": "failed", "w2": "done"}
    all_done(bed)


def test_a4_the_policy_is_asked_for_until_it_is_there(bed: Bed) -> None:
    lines = "\n".join(all_done(bed, "cp1:influx-flaky"))
    assert "(A5)" not in lines


def test_a5_without_a_policy_the_pods_are_deleted_and_it_is_tried_again(bed: Bed) -> None:
    assert "delete the influxdb and heapster pods (A5)" in "\n".join(all_done(bed, "cp1:influx-stuck"))


def test_x1_x2_nothing_is_left_and_the_machines_were_rebooted(bed: Bed) -> None:
    bed.healthy()
    boots = {name: facts.boot_id for name, facts in bed.facts().items()}
    outcome = bed.reset()
    assert set(outcome.states.values()) == {"done"}
    for name, facts in bed.facts().items():
        assert legacy.residue(facts) == []
        assert not facts.undo and not facts.firewall_rules
        assert facts.boot_id != boots[name]
        assert facts.packages["kubeadm"], "the manual leaves the packages"


def test_purge_takes_the_packages_too(bed: Bed) -> None:
    bed.healthy()
    outcome = bed.run([phases.RESET], choices=Choices(purge=True))
    assert set(outcome.states.values()) == {"done"}, outcome.recorder.lines
    assert not any("kubeadm" in facts.packages for facts in bed.facts().values())


def test_other_systems_are_refused_with_what_is_supported(bed: Bed) -> None:
    def newer(simulation: Simulation, run: Run) -> None:
        simulation.hosts["w1"].release |= {"VERSION_ID": "24.04", "PRETTY_NAME": "Ubuntu 24.04.3 LTS"}

    outcome = bed.run(hook=newer)
    assert outcome.states == {"cp1": "done", "w1": "failed", "w2": "done"}
    assert "Ubuntu 16.04" in outcome.failed["w1"].remedy


def test_a_machine_of_2017(bed: Bed) -> None:
    with rehearsal.running(bed.environment) as simulation:
        assert all(host2017.is_xenial(host) for host in simulation.hosts.values())


def test_the_doctor_finds_nothing_wrong_with_it(bed: Bed) -> None:
    """Neither before nor after bootstrap: 1.5 has its own marks, residue and cgroups."""

    def codes() -> list[str]:
        return [f"{finding.code} {finding.evidence}" for finding in bed.examined().findings]

    assert codes() == []
    all_done(bed)
    assert codes() == []
