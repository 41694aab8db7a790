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


@pytest.mark.parametrize(
    "argv",
    [
        ("fab", "-H", "w1,w2", "--", "cat", "/etc/hostname;", "exit", "4"),
        ("fab", "-H", "w1,w2", "--env", "rehearsal", "--", "cat /etc/hostname; exit 4"),
        ("inv", "cluster.run", "-o", "w1,w2", "--", "cat /etc/hostname; exit 4"),
    ],
    ids=" ".join,
)
def test_what_follows_the_two_dashes_is_run_as_cluster_run_runs_it(home: Path, argv: tuple[str, ...]) -> None:
    done = run(*argv, HOME=str(home), XDG_STATE_HOME=str(home / "state"))
    assert (done.returncode, done.stdout, done.stderr) == (4, "w1  exit 4\n  w1\nw2  exit 4\n  w2\n", "")


def test_the_readmes_own_example(home: Path) -> None:
    done = inv(home, "uptime", "--on", "workers")
    assert done.returncode == 0 and done.stdout.startswith("w1, w2\n   up 0:00")


def test_sudo_and_json(home: Path) -> None:
    data = json.loads(inv(home, "id -u", "--on", "w1", "--sudo", "--json").stdout)
    assert data == {"w1": {"exit": 0, "output": "0\n", "error": None}}


def test_without_nodes_it_refuses(home: Path) -> None:
    done = inv(home, "reboot")
    assert done.returncode == 2 and "nothing was touched" in done.stderr


def test_verbose_shows_what_a_phases_commands_print_and_quiet_its_last_line(home: Path) -> None:
    def phase(*options: str) -> Done:
        return run("fab", "-H", "w1", "install", *options, HOME=str(home), XDG_STATE_HOME=str(home / "state"))

    assert run("fab", "-H", "all", "prep", "-q", HOME=str(home), XDG_STATE_HOME=str(home / "state")).stdout.startswith(
        "✓ "
    )
    said = phase("-v").stdout.splitlines()
    assert "w1   │ kubelet set on hold." in said and said[-1].startswith("✓ ")
    done = phase("-q", "--fault", "w1:host-down")
    assert done.returncode == 1 and done.stdout.startswith("\n✗ w1"), "only errors"
