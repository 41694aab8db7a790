"""What is remembered between commands; a kill at any moment damages nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rehearsal
from cli import PROJECT
from rehearsal.simulation import remembered
from rehearsal.store import Store
from rehearsal_bed import Bed, inv


def test_ports_and_keys_stay_the_same_between_commands(bed: Bed) -> None:
    with rehearsal.running(bed.environment) as first:
        ports = {node.name: node.port for node in first.environment.nodes}
        keys = {name: endpoint.host_key.get_base64() for name, endpoint in first.endpoints.items()}
    with rehearsal.running(bed.environment) as second:
        assert {node.name: node.port for node in second.environment.nodes} == ports
        assert {name: endpoint.host_key.get_base64() for name, endpoint in second.endpoints.items()} == keys


def test_an_occupied_port_moves_without_a_host_key_warning(bed: Bed) -> None:
    import socket

    bed.healthy()
    with rehearsal.running(bed.environment) as simulation:
        port = simulation.environment.workers[0].port
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        assert set(bed.bootstrap().states.values()) == {"done"}


def test_the_same_seed_makes_the_same_machines(bed: Bed, tmp_path: Path) -> None:
    def identities(seed: int) -> dict[str, str]:
        rehearsal.down(bed.environment)
        with rehearsal.running(bed.environment, seed=seed) as simulation:
            return {name: host.machine_id for name, host in simulation.hosts.items()}

    assert identities(7) == identities(7) != identities(8)


def test_waiting_uses_virtual_time_only(bed: Bed) -> None:
    with rehearsal.running(bed.environment) as simulation:
        clock = simulation.clock("w1")
        before = clock.now()
        clock.sleep(3600)
        assert clock.now() == before + 3600
        clock.advance_to(before)
        assert clock.now() == before + 3600
        simulation.clock("cp1").advance_to(before + 7200)
        assert simulation.clock("cp1").now() == before + 7200


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no such call")
def test_a_simulation_uses_one_core_and_restores_the_others(bed: Bed) -> None:
    before = os.sched_getaffinity(0)
    with rehearsal.running(bed.environment):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_an_incomplete_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    store = Store(path)
    store.put({"a": {"x": 1, "y": [1]}})
    store.put({"a": {"x": 1, "y": [1]}, "b": {"z": {}}})
    store.put({"a": {"y": [2]}})
    store.close()
    assert path.read_text().splitlines()[1:] == ['b\t{"z": {}}', 'a\t{"y": [2], "": ["x"]}'], (
        "what changed, and no more"
    )
    with path.open("a") as stream:
        stream.write('a\t{"y": [3]}\tb\t{"z"')
    again = Store(path)
    assert again.values == {"a": {"y": [2]}, "b": {"z": {}}}
    again.put({"c": {}})
    again.close()
    last = Store(path)
    assert last.values == {"a": {"y": [2]}, "b": {"z": {}}, "c": {}}
    last.close()


def test_a_change_within_a_value_is_written(tmp_path: Path) -> None:
    """The machines' own lists are given each time."""
    store = Store(tmp_path / "state.jsonl")
    value = {"pods": [{"name": "a"}], "at": (1, 2)}
    for _ in range(2):
        store.put({"host/a": value})
        value["pods"][0]["name"] += "b"
    store.close()
    again = Store(tmp_path / "state.jsonl")
    assert again.values == {"host/a": {"pods": [{"name": "ab"}], "at": [1, 2]}}
    again.close()


def test_down_deletes_everything(bed: Bed) -> None:
    bed.healthy()
    assert remembered(bed.environment)
    assert rehearsal.down(bed.environment)
    assert not rehearsal.down(bed.environment)
    assert remembered(bed.environment) == []
    left = [path.name for path in bed.environment.state.iterdir()]
    assert not any(name.startswith("rehearsal") or name == "known_hosts" for name in left)


@pytest.mark.parametrize("scripts", [3, 30, 70], ids="after {} scripts".format)
def test_after_a_kill_at_any_moment_the_next_run_continues(tmp_path: Path, scripts: int) -> None:
    """Each script that a machine ran is one line of the rehearsal's state file."""
    words = ("cluster.bootstrap", "--env", "rehearsal", "--workers", "6")
    with subprocess.Popen(
        [sys.executable, "-m", "invoke", *words],
        cwd=PROJECT,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    ) as killed:
        while (
            killed.poll() is None
            and sum(path.read_bytes().count(b"\n") for path in tmp_path.rglob("rehearsal.state")) < scripts
        ):
            time.sleep(0.01)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL, "it ended before it could be killed"
    code, output = inv(tmp_path, *words)
    assert code == 0, output
    code, output = inv(tmp_path, "cluster.bootstrap", "--env", "rehearsal")
    assert code == 0
    assert "nothing to do" in output


def test_the_list_of_faults(tmp_path: Path) -> None:
    code, output = inv(tmp_path, "rehearsal.faults")
    assert code == 0
    assert "flannel-after-restart" in output
