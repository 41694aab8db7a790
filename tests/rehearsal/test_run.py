"""`inv cluster.run`: one command on many nodes; the same answers are printed once, and the exit code is the worst."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import Done, run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def inv(home: Path, *argv: str) -> Done:
    return run("inv", "cluster.run", *argv, HOME=str(home), XDG_STATE_HOME=str(home / "state"))


def test_equal_answers_are_printed_once(home: Path) -> None:
    done = inv(home, "echo there", "--on", "all")
    assert (done.returncode, done.stdout) == (0, "cp1, w1, w2\n  there\n")


def test_each_node_answers_for_itself(home: Path) -> None:
    done = inv(home, "hostname", "--on", "workers")
    assert (done.returncode, done.stdout) == (0, "w1\n  w1\nw2\n  w2\n")


def test_the_exit_code_is_the_worst_and_a_dead_node_stops_no_other(home: Path) -> None:
    done = inv(home, "echo there; exit 3", "--on", "w1")
    assert (done.returncode, done.stdout) == (3, "w1  exit 3\n  there\n")
    done = inv(home, "hostname", "--on", "all", "--fault", "w1:host-down")
    assert done.returncode == 255
    assert "w2\n  w2" in done.stdout and "w1" in done.stderr


def test_sudo_and_json(home: Path) -> None:
    data = json.loads(inv(home, "id -u", "--on", "w1", "--sudo", "--json").stdout)
    assert data == {"w1": {"exit": 0, "output": "0\n", "error": None}}


def test_without_nodes_it_refuses(home: Path) -> None:
    done = inv(home, "reboot")
    assert done.returncode == 2 and "nothing was touched" in done.stderr
