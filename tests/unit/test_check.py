"""`inv cluster.check` and `inv cluster.list`: every environment, without a connection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import Done, run

GOOD = "A_CONTROL_PLANE=10.9.9.9\nA_WORKER_1=10.9.9.10\nB_CONTROL_PLANE=10.9.9.11\nB_KUBERNETES=1.37\n"


def inv(tmp_path: Path, text: str, *argv: str) -> Done:
    path = tmp_path / "hosts.env"
    path.write_text(text)
    return run("inv", *argv, "--hosts-file", str(path), HOME=str(tmp_path))


def test_every_environment_is_checked(tmp_path: Path) -> None:
    done = inv(tmp_path, GOOD, "cluster.check")
    assert done.returncode == 0
    assert "✓ a: 1 control plane, 1 worker, Kubernetes 1.36" in done.stdout
    assert "✓ b: 1 control plane, 0 workers, Kubernetes 1.37" in done.stdout


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ("B_WORKER_1=nonsense\n", {"b"}),
        ("C_CONTROL_PLANE=10.9.9.12\nC_POD_CIDR=10.9.0.0/16\n", {"c"}),
        ("A_SSH_PROT=22\n", {"a", "b"}),  # a key of no known environment is a mistake of the whole file
    ],
)
def test_a_mistake_in_any_environment_is_found(tmp_path: Path, wrong: str, names: set[str]) -> None:
    done = inv(tmp_path, GOOD + wrong, "cluster.check", "--json")
    assert done.returncode == 2
    rows = {row["environment"]: row for row in json.loads(done.stdout)}
    assert {name for name, row in rows.items() if not row["valid"] and name in ("a", "b", "c")} == names
    assert all(bool(row["error"]) != row["valid"] for row in rows.values())
    assert all(row["error"]["next"] for row in rows.values() if not row["valid"])
    said = inv(tmp_path, GOOD + wrong, "cluster.check")
    assert said.returncode == 2 and said.stderr.count("✗") == 1, "one mistake is one error"
    assert wrong.split("=")[0].splitlines()[-1].partition("_")[2] in said.stderr or "POD_CIDR" in said.stderr


def test_the_list_has_every_environment_and_node(tmp_path: Path) -> None:
    done = inv(tmp_path, f"{GOOD}C_CONTROL_PLANE=nonsense\n", "cluster.list", "--json")
    assert done.returncode == 0
    rows = {row["environment"]: row for row in json.loads(done.stdout)}
    assert [node["node"] for node in rows["a"]["nodes"]] == ["cp1", "w1"]
    assert rows["a"]["nodes"][1] == {"node": "w1", "role": "worker", "host": "10.9.9.10", "address": "10.9.9.10"}
    assert rows["b"]["kubernetes"] == "1.37" and rows["rehearsal"]["simulated"] and not rows["c"]["valid"]
    text = inv(tmp_path, GOOD, "cluster.list").stdout
    assert "10.9.9.10" in text and "simulated" in text


def test_a_missing_file_exits_2(tmp_path: Path) -> None:
    assert run("inv", "cluster.check", "--hosts-file", "/nowhere", HOME=str(tmp_path)).returncode == 2
