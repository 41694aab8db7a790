"""Change only what is ours: what is on a machine belongs to others until it is proved to be this cluster's."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

import rehearsal
from fabfile import phases
from fabfile.identity import RECORD
from fabfile.nodes import script
from fabfile.nodes.facts import IDENTITY, STATE
from fabfile.run.pipelines import Run
from printed import own
from rehearsal import shell
from rehearsal.cluster import DATABASE
from rehearsal.host import Host, Link, Unit
from rehearsal.machine import Machine
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed, Outcome

Change = Callable[[Host], None]
DESTRUCTIVE = {
    "reset.kubeadm",
    "reset.network",
    "reset.files",
    "master.clear",
    "join.clear",
    "reset.node",
    "reset.drain",
}


def changed(**changes: Change) -> Callable[[Simulation, Run], None]:
    """A hook that changes machines before the command begins."""

    def arrange(simulation: Simulation, run: Run) -> None:
        for name, change in changes.items():
            change(simulation.hosts[name])

    return arrange


def bootstrap(bed: Bed, **changes: Change) -> Outcome:
    return bed.run(phases.BOOTSTRAP, hook=changed(**changes))


def healthy(bed: Bed) -> Outcome:
    outcome = bed.bootstrap()
    assert set(outcome.states.values()) == {"done"}, {n: (e.message, e.output) for n, e in outcome.failed.items()}
    facts = bed.facts()
    assert all(facts["cp1"].node_ready(one.hostname) for one in facts.values())
    assert bed.bootstrap().result.steps == 0
    return outcome


def nothing_taken(outcome: Outcome) -> None:
    assert not {name for _, name in outcome.simulation.ran} & DESTRUCTIVE


def printed(outcome: Outcome, node: str, line: str) -> None:
    """Run on the model the command that a message asks a person to type on that node."""
    simulation = outcome.simulation
    machine = Machine(
        simulation.hosts[node],
        simulation.cluster,
        simulation.settling,
        simulation._settings,
        0,
        lambda: simulation._latest,
    )
    code, output = shell.run(machine, script.render("typed", (line,)))
    assert code == 0, output


# --- etcd's data


@pytest.mark.parametrize("path", [DATABASE, "/var/lib/etcd/default/member/snap/db"])
def test_a_foreign_etcd_on_the_control_plane_stops_each_run_and_stays(bed: Bed, path: str) -> None:
    for run in (bootstrap(bed, cp1=lambda host: host.write(path, "precious\n")), bed.bootstrap(), bed.bootstrap()):
        assert set(run.failed) == {"cp1"} and "/var/lib/etcd holds data" in run.failed["cp1"].message
        assert "move it away" in run.failed["cp1"].remedy
        nothing_taken(run)
        assert run.simulation.hosts["cp1"].files[path].text == "precious\n"
    assert set(bed.reset().states.values()) == {"done"}
    moved = bootstrap(bed, cp1=lambda host: host.remove("/var/lib/etcd"))
    assert set(moved.states.values()) == {"done"}


def test_a_foreign_etcd_on_a_worker_survives_every_reset(bed: Bed) -> None:
    path = "/var/lib/etcd/default/member/snap/db"

    def patroni(host: Host) -> None:
        host.write(path, "patroni\n")
        host.write(DATABASE, "another\n")

    bed.healthy()
    bootstrap(bed, w2=patroni)
    for outcome in (bed.reset(on=["w2"]), bed.bootstrap(), bed.reset()):
        assert set(outcome.states.values()) == {"done"}, {n: (e.message, e.output) for n, e in outcome.failed.items()}
        files = outcome.simulation.hosts["w2"].files
        assert (files[path].text, files[DATABASE].text) == ("patroni\n", "another\n")
    assert DATABASE not in outcome.simulation.hosts["cp1"].files, "the cluster's own is gone"


def test_a_failed_preflight_does_not_count_as_a_started_init(bed: Bed) -> None:
    refused = bootstrap(bed, cp1=lambda host: setattr(host, "cpus", 1))
    assert "NumCPU" in refused.failed["cp1"].output
    assert f"{STATE}/init-started" not in refused.simulation.hosts["cp1"].files
    again = bootstrap(bed, cp1=lambda host: setattr(host, "cpus", 2))
    assert set(again.states.values()) == {"done"}
    nothing_taken(again)


def unplugged(host: Host) -> None:
    host.remove("/var/lib/etcd/member")


def switched_off(host: Host) -> None:
    unplugged(host)
    host.units["kubelet"].active = False
    for pod in host.pods:
        pod.running = False


@pytest.mark.parametrize(
    ("lose", "says"), [(unplugged, "its etcd began empty"), (switched_off, "the data of its etcd are gone")]
)
def test_a_lost_etcd_disk_changes_no_node_and_recovers_when_restored(bed: Bed, lose: Change, says: str) -> None:
    bed.healthy()
    with rehearsal.running(bed.environment) as simulation:
        kept = simulation.hosts["cp1"].files[DATABASE].text
    for lost in (bootstrap(bed, cp1=lose), bed.bootstrap()):
        assert set(lost.failed) == {"cp1"} and says in lost.failed["cp1"].message
        nothing_taken(lost)
        assert lost.simulation.hosts["cp1"].active("kubelet") == (lose is unplugged), (
            "the kubelet is not started over an empty etcd"
        )
    match = re.search(r"`(systemctl stop kubelet[^`]*)`", lost.failed["cp1"].remedy)
    assert match

    def put_back(host: Host) -> None:
        host.files.pop(DATABASE, None)
        host.write(DATABASE, kept, "600")

    printed(lost, "cp1", match[1])
    stopped = {pod.name: pod.running for pod in lost.simulation.hosts["cp1"].pods}
    assert not any(stopped.values())

    def carried_out(host: Host) -> None:
        host.units["kubelet"].active = False
        for pod in host.pods:
            pod.running = False
        put_back(host)

    assert set(bootstrap(bed, cp1=carried_out).states.values()) == {"done"}
    healthy(bed)


def test_a_cluster_whose_etcd_disk_stays_lost_can_be_reset_and_rebuilt(bed: Bed) -> None:
    bed.healthy()
    assert bed.follow(bootstrap(bed, cp1=switched_off)) == ["inv cluster.reset --env rehearsal"]
    healthy(bed)


# --- other clusters


def test_a_running_k3s_survives_bootstrap_and_reset(bed: Bed) -> None:
    def k3s(host: Host) -> None:
        host.units["k3s-agent"] = Unit(True, True)
        host.links["cni0"], host.links["flannel.1"] = Link(["10.42.1.1/24"], 1450), Link(["10.42.1.0/32"], 1450)

    for outcome in (
        bootstrap(bed, w2=k3s),
        bed.bootstrap(),
        bed.reset(on=["w2"]),
        bed.reset(on=["w2"], foreign=["w2"]),
    ):
        assert set(outcome.failed) == {"w2"} and "k3s-agent.service runs here" in outcome.failed["w2"].message
        assert "k3s-agent-uninstall.sh" in outcome.failed["w2"].remedy
        assert {name for where, name in outcome.simulation.ran if where == "w2"} == {"observe"}
        assert {"cni0", "flannel.1"} <= set(outcome.simulation.hosts["w2"].links)


@pytest.mark.parametrize("member", ["w2", "cp1"])
def test_a_member_of_another_cluster_is_refused_as_control_plane(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    bed.healthy()
    with rehearsal.running(bed.environment) as simulation:
        theirs = deepcopy(simulation.hosts[member])
    theirs.write(IDENTITY, theirs.files[IDENTITY].text.replace('"rehearsal"', '"prod"'))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "second"))
    second = Bed(tmp_path / "second")

    def taken(host: Host) -> None:
        for name in ("files", "folders", "packages", "held", "units", "pods", "images", "modules", "sysctls", "cri"):
            setattr(host, name, deepcopy(getattr(theirs, name)))
        host.links |= {name: link for name, link in deepcopy(theirs.links).items() if name in ("cni0", "flannel.1")}

    first = second.run(phases.BOOTSTRAP, hook=changed(cp1=taken))
    before = first.simulation.hosts["cp1"].dump()
    for outcome in (first, second.bootstrap(), second.reset(on=["cp1"])):
        assert "of environment prod, not of rehearsal" in outcome.failed["cp1"].message
        assert "--foreign cp1" in outcome.failed["cp1"].remedy
        assert {name for where, name in outcome.simulation.ran if where == "cp1"} == {"observe"}
    assert {**outcome.simulation.hosts["cp1"].dump(), "clock": 0} == {**before, "clock": 0}
    assert len(second.follow(outcome)) == 1
    assert set(second.bootstrap().states.values()) == {"done"}


def test_a_renamed_host_is_reported_by_both_names_and_not_joined_again(bed: Bed) -> None:
    bed.healthy()
    for outcome in (bootstrap(bed, w2=lambda host: setattr(host, "hostname", "w2-renamed")), bed.bootstrap()):
        assert set(outcome.failed) == {"w2"}
        assert "is node w2 of the cluster, and its hostname is now w2-renamed" in outcome.failed["w2"].message
        assert "hostnamectl set-hostname w2" in outcome.failed["w2"].remedy
        nothing_taken(outcome)
    assert bootstrap(bed, w2=lambda host: setattr(host, "hostname", "w2")).result.steps == 0
    assert len(bed.follow(bootstrap(bed, w2=lambda host: setattr(host, "hostname", "w2-renamed")))) == 1
    assert set(healthy(bed).simulation.cluster.members) == {"cp1", "w1", "w2-renamed"}, (
        "the old Node object was deleted with it"
    )


def test_a_clone_does_not_remove_the_original_node(bed: Bed) -> None:
    bed.healthy()
    outcome = bed.reset("w1:duplicate-hostname", on=["w1"])
    assert set(outcome.simulation.cluster.members) == {"cp1", "w2"}, (
        "its own Node object was deleted, whatever its present name"
    )


# --- the operator's record


def test_without_the_record_a_run_works_and_writes_it_again(bed: Bed) -> None:
    bed.healthy()
    record = bed.environment.state / RECORD
    known = record.read_text()
    record.unlink()
    assert bed.bootstrap().result.steps == 0
    assert record.read_text() == known
    bed.reset()
    assert not record.exists()


def test_without_record_and_control_plane_a_workers_reset_needs_consent(bed: Bed) -> None:
    bed.healthy()
    record = bed.environment.state / RECORD
    assert bed.reset("cp1:host-down", on=["w1"]).states == {"w1": "done"}
    healthy(bed)
    record.unlink()
    asked = bed.reset("cp1:host-down", on=["w1"])
    assert "--foreign w1" in asked.failed["w1"].remedy
    nothing_taken(asked)


def test_a_recreated_cluster_is_adopted_only_with_consent(bed: Bed) -> None:
    bed.healthy()
    record = bed.environment.state / RECORD
    old = record.read_text()
    bed.reset()
    healthy(bed)
    record.write_text(old)
    refused = bed.bootstrap()
    nothing_taken(refused)
    adopt = next(line for line in own(refused.failed["cp1"].remedy) if "--adopt" in line)
    assert bed.typed(adopt).returncode == 0
    assert bed.bootstrap().result.steps == 0


def test_a_cluster_of_an_earlier_kubefab_is_adopted_once_and_reported(bed: Bed) -> None:
    def earlier(host: Host) -> None:
        host.remove(IDENTITY)

    bed.healthy()
    (bed.environment.state / RECORD).unlink()
    outcome = bootstrap(bed, cp1=earlier, w1=earlier, w2=earlier)
    assert set(outcome.states.values()) == {"done"}, outcome.failed
    assert outcome.result.steps == 3
    assert sum("that an earlier kubefab made here" in line for line in outcome.recorder.lines) == 3
    healthy(bed)
    assert set(bed.reset().states.values()) == {"done"}
