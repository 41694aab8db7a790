"""Backups of simulated nodes, by the commands as they are typed: what is in them, what stops them, what they leave on the node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

import rehearsal
import rehearsal.shell as model
from cli import Done
from fabfile.backups import names
from fabfile.backups.archive import Reader, Writer
from fabfile.backups.contents import ETCDUTL, SNAPSHOT, name_of
from fabfile.phases import BACKUP
from fabfile.phases.backup import STAGE
from fabfile.run.apply import Archive
from rehearsal.bash import Call
from rehearsal.host import Host
from rehearsal.machine import Halted, Machine
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed

KEY = pyrage.x25519.Identity.generate()


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Bed(tmp_path, f"REHEARSAL_BACKUP_RECIPIENT={KEY.to_public()}\n")
    made.healthy(workers=1)
    yield made
    rehearsal.down(made.environment)


def control(bed: Bed) -> Host:
    with rehearsal.running(bed.environment) as simulation:
        return simulation.hosts["cp1"]


def in_clear(bed: Bed) -> list[str]:
    return [path for path in control(bed).files if path.startswith("/var/lib/kubefab/backup")]


def saved(bed: Bed) -> list[Path]:
    return [one.path for one in names.found_in(names.folder_of(bed.environment))]


def backup(bed: Bed, more: str = "") -> Done:
    return bed.typed(f"inv cluster.backup{more}")


def test_backups_from_the_first_to_the_one_that_pushes_it_out(bed: Bed, tmp_path: Path) -> None:
    """One story: a whole one, encrypted; faults, each of which leaves no file here and nothing in clear there; the API dead; an empty etcd."""
    assert "no backup of this cluster was taken from here" in bed.typed("inv cluster.status").stdout
    done = backup(bed)
    assert done.returncode == 0, done.stderr
    (first,) = saved(bed)
    record, texts = Reader(first, [KEY]).whole()
    with rehearsal.running(bed.environment) as simulation:
        host, uid = simulation.hosts["cp1"], simulation.cluster.uid
    assert (record.uid, record.node, record.address, record.kubernetes) == (
        uid,
        "cp1",
        host.address,
        host.packages["kubelet"].split("-")[0],
    )
    for path in (
        "/etc/kubernetes/pki/sa.key",
        "/etc/kubernetes/pki/etcd/ca.key",
        "/var/lib/kubelet/config.yaml",
        "/var/lib/kubefab/identity",
    ):
        assert texts[f"files{path}"].decode() == host.files[path].text
    assert uid in b"".join(Reader(first, [KEY]).pieces(SNAPSHOT)).decode() and b"etcdutl" in b"".join(
        Reader(first, [KEY]).pieces(ETCDUTL)
    )
    assert not in_clear(bed) and str(first) in bed.typed("inv cluster.status").stdout

    for fault, words in (
        ("disk-full", "no space left"),  # in mid-snapshot
        ("host-down", "refused"),
    ):
        failed = backup(bed, f" --fault cp1:{fault}")
        assert failed.returncode == 1 and words in failed.stdout + failed.stderr, failed.stderr
        assert saved(bed) == [first] and not in_clear(bed) and len(list(first.parent.iterdir())) == 1

    with rehearsal.running(bed.environment) as simulation:  # killed with its power: what it left is removed first
        simulation.hosts["cp1"].write("/var/lib/kubefab/backup/etcd-snapshot.db", "all secrets", "600")
        for pod in simulation.hosts["cp1"].pods:
            if pod.labels.get("component") == "kube-apiserver":
                pod.running = False
    blind = backup(bed, " --metrics")
    assert blind.returncode == 1 and "InfluxDB is reached through it" in blind.stdout + blind.stderr, blind.stdout
    done = backup(bed, " --keep 1 --json")
    assert done.returncode == 0 and not in_clear(bed), done.stderr
    (second,) = saved(bed)
    assert second != first and Reader(second, [KEY]).whole()[0].uid == uid

    with rehearsal.running(bed.environment) as simulation:  # etcd lost its disk, and began empty
        del simulation.hosts["cp1"].files["/var/lib/etcd/member/snap/db"]
        for pod in simulation.hosts["cp1"].pods:
            pod.running = True
    refused = backup(bed, " --keep 1")
    assert refused.returncode == 1 and saved(bed) == [second], refused.stdout

    (tmp_path / "key").write_text(str(KEY))
    good = bed.typed(f"inv cluster.backups --check --identity {tmp_path / 'key'}")
    assert good.returncode == 0 and "whole" in good.stdout
    second.write_bytes(second.read_bytes()[:-1])
    assert bed.typed(f"inv cluster.backups --check --identity {tmp_path / 'key'}").returncode == 1


def test_an_etcd_of_another_cluster_is_not_saved_while_the_api_is_dead(bed: Bed) -> None:
    """The machine's own file names the cluster, and etcd itself is asked for it: no API is needed to see that it holds another one.

    The line that the printed timer runs takes the first one.
    """
    (line,) = re.findall(r"^ExecStart=(.+)$", bed.typed("inv cluster.backup --timer --keep 3").stdout, flags=re.M)
    done = bed.typed(shlex.join(["inv", *shlex.split(line)[1:]]))
    assert done.returncode == 0 and "--keep 3" in line, done.stderr
    (first,) = saved(bed)
    with rehearsal.running(bed.environment) as simulation:
        simulation.hosts["cp1"].write("/var/lib/etcd/member/snap/db", "99999999-8888-7777-6666-555555555555\n")
        simulation.cluster.shelf["99999999-8888-7777-6666-555555555555"] = {
            **{
                name: value
                for name, value in simulation.cluster.dump().items()
                if name in ("members", "tokens", "objects", "applied_at", "influx", "admins")
            }
        }
        for pod in simulation.hosts["cp1"].pods:
            if pod.labels.get("component") == "kube-apiserver":
                pod.running = False
    refused = backup(bed)
    assert refused.returncode == 1 and "does not hold cluster" in refused.stdout + refused.stderr, refused.stdout
    assert saved(bed) == [first] and not in_clear(bed)


def test_a_power_cut_at_any_command_leaves_no_half_backup_here_and_the_next_one_cleans_up_there(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backup(bed).returncode == 0  # the tools are there
    real, where, seen, at, cuts, left = model.dispatch, "", 0, 0, 0, 0
    current: list[Simulation] = []

    def cutting(machine: Machine, call: Call) -> int:
        nonlocal seen, where
        seen += current[0].ran[-1][1].startswith("backup.")
        if seen == at:
            where = current[0].ran[-1][1]
            raise Halted
        return real(machine, call)

    done = False
    while not done:
        seen, at = 0, at + (2 if where == "backup.snapshot" else 7)
        with rehearsal.running(bed.environment) as simulation:
            simulation.hosts["cp1"].halted = False
            for pod in simulation.hosts["cp1"].pods:
                pod.running = True
        writer = Writer(tmp_path / "to", "rehearsal", "", lambda path: name_of(path, STAGE))
        with monkeypatch.context() as patch:
            patch.setattr(model, "dispatch", cutting)
            outcome = bed.run(
                [BACKUP],
                on=["master"],
                archive=Archive(takes=writer),
                hook=lambda simulation, run: current.__setitem__(slice(None), [simulation]),
            )
        writer.abandon()
        assert not (tmp_path / "to").exists() or not list((tmp_path / "to").iterdir())
        done = seen < at
        assert outcome.states == {"cp1": "done" if done else "failed"} and (bool(writer.files) or not done)
        cuts += not done
        left += any(path.startswith(STAGE) for path in outcome.simulation.hosts["cp1"].files)
    assert cuts > 4 and left > 0, (cuts, left)
    assert not in_clear(bed)
