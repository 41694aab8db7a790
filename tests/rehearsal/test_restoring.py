"""A cluster brought back from a backup, on the machine that lost its data and on a new one; what is refused; and a power cut at every command."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import pyrage
import pytest

import rehearsal
import rehearsal.shell as model
from cli import Done
from fabfile.backups import names
from fabfile.backups.archive import Reader
from fabfile.backups.contents import FILES, Restoring
from fabfile.context import Choices
from fabfile.inventory import PROJECT
from fabfile.phases import METRICS, RESTORE
from fabfile.run.apply import Archive
from rehearsal.bash import Call
from rehearsal.host import Host
from rehearsal.machine import Halted, Machine
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed

KEY = pyrage.x25519.Identity.generate()
DATA, MANIFEST = "/var/lib/etcd/member", "/etc/kubernetes/manifests/etcd.yaml"
KEPT = "ConfigMap/default/before"
SCHEMA = json.loads((PROJECT / "docs/schema/results.json").read_text(encoding="utf-8"))


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """A cluster with one object and some metrics, its backup, and an object that came later."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Bed(tmp_path, f"REHEARSAL_BACKUP_RECIPIENT={KEY.to_public()}\n")
    made.healthy(workers=1)
    apply(made, "before")
    measured(made, "of three weeks")
    done = made.typed("inv cluster.backup --metrics")
    assert done.returncode == 0, done.stderr
    apply(made, "after")
    (tmp_path / "key").write_text(str(KEY))
    yield made
    rehearsal.down(made.environment)


def apply(bed: Bed, name: str) -> None:
    with rehearsal.running(bed.environment) as simulation:
        simulation.cluster.apply({"kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}, 0.0)


def saved(bed: Bed) -> Path:
    return names.found_in(names.folder_of(bed.environment))[0].path


def restore(bed: Bed, tmp_path: Path, more: str = "") -> Done:
    return bed.typed(f"inv cluster.restore {saved(bed)} --identity {tmp_path / 'key'}{more}")


def lose(bed: Bed) -> None:
    """etcd's disk is lost, with the machine's power: nothing of etcd runs, and its folder is empty."""
    with rehearsal.running(bed.environment) as simulation:
        host = simulation.hosts["cp1"]
        host.remove(DATA)
        host.units["kubelet"].active = False
        for pod in host.pods:
            pod.running = False


def assert_back(bed: Bed, uid: str, joins: float) -> None:
    """The cluster is the one of the backup: its uid and objects, and not what came later; the worker was not joined again."""
    with rehearsal.running(bed.environment) as simulation:
        cluster, host = simulation.cluster, simulation.hosts["cp1"]
        assert simulation.settling.api_up(simulation._latest)
        assert cluster.uid == uid and KEPT in cluster.objects and "ConfigMap/default/after" not in cluster.objects
        assert cluster.members["w1"].joined == joins
        left = [path for path in host.files if "/restor" in path and path.startswith("/var/lib/kubefab")]
        assert not left and "/var/lib/kubefab/etcd.yaml" not in host.files
    assert bed.bootstrap(workers=1).result.steps == 0


def measured(bed: Bed, *points: str) -> list[str]:
    """What InfluxDB has; from now on it has these."""
    with rehearsal.running(bed.environment) as simulation:
        before = simulation.cluster.influx.points
        simulation.cluster.influx.points = list(points)
        simulation.cluster.touch()
        return before


def known(bed: Bed) -> tuple[str, float]:
    with rehearsal.running(bed.environment) as simulation:
        return simulation.cluster.uid, simulation.cluster.members["w1"].joined


LATE = {
    "kind": "Deployment",
    "metadata": {"name": "late", "namespace": "default"},
    "spec": {"template": {"metadata": {"labels": {"app": "late"}}, "spec": {"containers": [{"image": "registry.k8s.io/pause:3.10.1"}]}}},
}  # fmt: skip


def test_a_cluster_that_lives_goes_back_and_what_came_since_is_listed(bed: Bed, tmp_path: Path) -> None:
    """A pod, a worker and a volume that came after the backup: counted before, named after; the worker is in the cluster again at the end."""
    uid, joins = known(bed)
    assert not bed.bootstrap(workers=2).failed
    with rehearsal.running(bed.environment) as simulation:
        simulation.cluster.apply(LATE, 0.0)
        volume = f"/var/lib/kubelet/pods/{'a' * 32}/volumes/kubernetes.io~csi/pvc-1/mount"
        simulation.hosts["w1"].mounts.append(f"ext4 {volume}")
    live = restore(bed, tmp_path)
    assert live.returncode == 1 and "--discard-live" in live.stderr
    done = restore(bed, tmp_path, " --discard-live --json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    jsonschema.Draft202012Validator({**SCHEMA, "$ref": "#/$defs/cluster.restore"}).validate(said)
    made, lost = said["since"]["made"], said["unknown"]
    assert (made["ConfigMap"], made["Deployment"]) == (["default/after"], ["default/late"])
    assert lost["nodes"] == [{"node": "w2", "hostname": "w2"}], lost
    assert lost["volumes"] == [{"node": "w1", "volume": "pvc-1"}], lost
    assert any(one["pod"].startswith("default/late-") for one in lost["pods"]), lost
    assert not lost["without_machine"] and not lost["error"], lost
    assert said["verified"] and said["checks"], said["checks"]
    assert "made since, and lost:" in done.stderr and "w2 was joined after the backup" in done.stderr
    assert_back(bed, uid, joins)
    with rehearsal.running(bed.environment) as simulation:
        assert simulation.cluster.members["w2"].joined > joins


def test_a_lost_disk_and_a_new_machine(bed: Bed, tmp_path: Path) -> None:
    """One story: after the disk is lost, all but this command refuse; then a new, empty machine."""
    uid, joins = known(bed)
    lose(bed)
    lost = bed.bootstrap(workers=1).failed["cp1"]
    assert "inv cluster.restore FILE" in lost.remedy
    done = restore(bed, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_back(bed, uid, joins)
    assert bed.typed(f"inv cluster.backup --to {tmp_path}/bare").returncode == 0
    (bare,) = (tmp_path / "bare").iterdir()
    without = bed.typed(f"inv cluster.restore {bare} --identity {tmp_path / 'key'} --metrics")
    assert without.returncode == 2 and "it was taken without --metrics" in without.stderr

    measured(bed)
    with rehearsal.running(bed.environment) as simulation:
        old = simulation.hosts["cp1"]
        new = Host.new("cp1", old.hostname, old.address, old.number, control_plane=True, seed=7)
        new.clock = old.clock
        vars(old).clear()
        vars(old).update(vars(new))
    again = restore(bed, tmp_path, " --metrics")
    assert again.returncode == 0, again.stdout + again.stderr
    assert_back(bed, uid, joins)
    assert measured(bed, "of today") == ["of three weeks"], "into a database that is new"
    more = restore(bed, tmp_path, " --metrics")
    assert more.returncode == 0 and "stays as it is" in more.stdout, more.stdout + more.stderr
    assert measured(bed) == ["of three weeks", "of today"], (
        "the cluster lives: they are added, and nothing else is done"
    )
    with rehearsal.running(bed.environment) as simulation:
        assert not [path for path in simulation.hosts["cp1"].files if "/influxdb/.kubefab" in path]


WRONG = [
    ({"uid": "99999999-8888-7777-6666-555555555555"}, "this machine has cluster"),
    ({"ca": "sha256:" + "0" * 64}, "the CA on this machine is"),
    ({"address": "10.9.9.9"}, "give the machine the private address"),
    ({"hostname": "other"}, "hostnamectl set-hostname other"),
    ({"kubernetes": "1.30.1"}, "KUBERNETES=1.30"),
]


def wanted(bed: Bed) -> tuple[Reader, Restoring]:
    reader = Reader(saved(bed), [KEY])
    record, texts = reader.whole()
    return reader, Restoring(
        record,
        {name.removeprefix(FILES): text.decode() for name, text in texts.items() if name.startswith(f"{FILES}/")},
    )


def test_another_clusters_backup_changes_nothing(bed: Bed) -> None:
    lose(bed)
    with rehearsal.running(bed.environment) as simulation:
        before = dict(simulation.hosts["cp1"].files)
    reader, want = wanted(bed)
    for changes, words in WRONG:
        other = replace(want, record=replace(want.record, **changes))  # type: ignore[arg-type]
        outcome = bed.run(
            [RESTORE], on=["master"], choices=Choices(restoring=other), archive=Archive(gives=reader.pieces)
        )
        error = outcome.failed["cp1"]
        assert words in f"{error.message} {error.remedy}", error.message
        assert outcome.simulation.hosts["cp1"].files == before


def test_a_damaged_backup_and_another_key_touch_nothing(bed: Bed, tmp_path: Path) -> None:
    lose(bed)
    path = saved(bed)
    (tmp_path / "other").write_text(str(pyrage.x25519.Identity.generate()))
    wrong = bed.typed(f"inv cluster.restore {path} --identity {tmp_path / 'other'}")
    assert wrong.returncode == 1 and "another key" in wrong.stderr
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    damaged = restore(bed, tmp_path)
    assert damaged.returncode == 1 and "damaged" in damaged.stderr
    with rehearsal.running(bed.environment) as simulation:
        assert MANIFEST in simulation.hosts["cp1"].files and not simulation.hosts["cp1"].exists(
            "/var/lib/kubefab/restore"
        )


def test_a_power_cut_at_any_command_loses_nothing_and_the_next_run_goes_on(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each moment: the data of before are somewhere; no etcd may start empty. And the same command ends well afterwards."""
    uid, joins = known(bed)
    reader, want = wanted(bed)
    choices = Choices(restoring=replace(want, discard_live=True))
    real = model.dispatch
    cuts: list[str] = []
    current: list[Simulation] = []
    seen: Counter[str] = Counter()  # commands of each step in this run
    following: defaultdict[str, int] = defaultdict(lambda: 1)  # the command of each step that is cut next

    def cutting(machine: Machine, call: Call) -> int:
        name = current[0].ran[-1][1] if machine.host.name == "cp1" and current else ""
        if name.startswith("restore."):
            seen[name] += 1
            if seen[name] == following[name]:
                # each command where etcd's data are in hand, and some of each other step
                following[name] += 1 if name == "restore.etcd" else 6
                cuts.append(name)
                raise Halted
        return real(machine, call)

    monkeypatch.setattr(model, "dispatch", cutting)
    ends = False
    while not ends:
        seen.clear()
        mark = len(cuts)
        with rehearsal.running(bed.environment) as simulation:
            host = simulation.hosts["cp1"]
            host.halted = False
            host.write(f"{DATA}/precious{mark}", "")
        outcome = bed.run(
            [RESTORE],
            on=["master"],
            choices=choices,
            archive=Archive(gives=reader.pieces),
            hook=lambda simulation, run: current.__setitem__(slice(None), [simulation]),
        )
        host = outcome.simulation.hosts["cp1"]
        assert [path for path in host.files if path.endswith(f"/precious{mark}")], f"lost after {cuts[-1]}"
        assert MANIFEST not in host.files or f"{DATA}/snap/db" in host.files, (
            f"an empty etcd would start after {cuts[-1]}"
        )
        ends = outcome.states == {"cp1": "done"} and len(cuts) == mark
    steps = {"stop", "send", "etcd", "files", "ready", "start", "api", "node", "done"}
    assert cuts.count("restore.etcd") > 7 and {f"restore.{step}" for step in steps} <= set(cuts), cuts
    current.clear()
    assert_back(bed, uid, joins)


def test_a_power_cut_while_the_metrics_come_back_doubles_and_loses_none(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, want = wanted(bed)
    measured(bed, "of today")
    real, at, seen, where = model.dispatch, 0, 0, set[str]()
    current: list[Simulation] = []

    def cutting(machine: Machine, call: Call) -> int:
        nonlocal seen
        name = current[0].ran[-1][1]
        seen += name.startswith("metrics.")
        if seen == at and name.startswith("metrics."):
            where.add(name)
            raise Halted
        return real(machine, call)

    states = {}
    while states != {"cp1": "done"}:
        at, seen = at + 1, 0
        with rehearsal.running(bed.environment) as simulation:
            host = simulation.hosts["cp1"]
            host.halted = False
            for pod in host.pods:
                pod.running = True
        with monkeypatch.context() as patch:
            patch.setattr(model, "dispatch", cutting)
            outcome = bed.run(
                [METRICS],
                on=["master"],
                choices=Choices(restoring=want),
                archive=Archive(gives=reader.pieces),
                hook=lambda simulation, run: current.__setitem__(slice(None), [simulation]),
            )
        states = outcome.states
    assert where == {"metrics.room", "metrics.restore", "metrics.done"} and at > 8, (at, where)
    assert measured(bed) == ["of three weeks", "of today"]
    assert not [path for path in outcome.simulation.hosts["cp1"].files if "/influxdb/.kubefab" in path]


def test_a_full_disk_in_a_restore_is_named_and_nothing_is_lost(bed: Bed, tmp_path: Path) -> None:
    lose(bed)
    done = restore(bed, tmp_path, " --fault cp1:disk-full")
    assert done.returncode == 1
    uid, joins = known(bed)
    assert restore(bed, tmp_path).returncode == 0
    assert_back(bed, uid, joins)
