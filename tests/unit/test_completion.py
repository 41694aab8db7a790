"""Tab completion: it offers environments and nodes where an option takes them, with Invoke's own script for bash."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from cli import BIN, PROJECT
from fabfile.cli.completion import values

NODES = """
ALPHA_CONTROL_PLANE=192.0.2.1
ALPHA_WORKER_1=192.0.2.2
ALPHA_WORKER_2=192.0.2.3
BETA_CONTROL_PLANE=192.0.2.11 name=boss
BETA_WORKER_1=192.0.2.12
"""


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "hosts.env"
    path.write_text(NODES)
    monkeypatch.setenv("KUBEFAB_HOSTS", str(path))
    monkeypatch.setenv("KUBEFAB_ENV", "beta")
    return path


def completed(line: str) -> list[str]:
    """Bash's completions of a line's last word, with the script that the program prints."""
    program, *_ = words = line.split(" ")
    script = f"""
        source <({program} --print-completion-script bash)
        COMP_WORDS=({" ".join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
        [[ $(complete -p {program}) =~ -F.([^ ]+) ]] && "${{BASH_REMATCH[1]}}" {program} {shlex.quote(words[-1])} {shlex.quote(words[-2])}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith(("KUBEFAB_", "HOME"))}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=PROJECT,
        env={**variables, "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("inv cluster.status --env al", ["alpha"]),
        ("inv cluster.doctor --env alpha --on w", ["w1", "w2", "workers"]),
        ("fab -H w1,b", ["w1,boss"]),
        ("inv cluster.boots", ["cluster.bootstrap"]),
        ("inv cluster.status --kub", ["--kubernetes"]),
    ],
)
def test_a_real_bash_completes(hosts: Path, line: str, offered: list[str]) -> None:
    assert completed(line) == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("inv cluster.status --env", ["lab", "rehearsal", "alpha", "beta"]),
        ("inv cluster.status --env ", ["lab", "rehearsal", "alpha", "beta"]),
        ("inv cluster.status --env=be", ["--env=beta"]),
        ("inv cluster.status --env = be", ["beta"]),
        ("inv cluster.status -e be", ["beta"]),
        ("inv -e be", []),  # Invoke's own --echo
        ("inv cluster.bootstrap --limit ", ["all", "master", "workers", "slaves", "boss", "w1"]),
        ("inv cluster.bootstrap --env=alpha --limit cp1,w", ["cp1,workers", "cp1,w1", "cp1,w2"]),
        ("fab -H b", ["boss"]),
        ("fab -H all prep --env alpha --on c", ["cp1"]),
        ("inv cluster.doctor --env nowhere --on w", []),
        ("inv cluster.status --json", []),
        ("inv cluster.st", []),
        ("inv", []),
    ],
)
def test_values_of_options(hosts: Path, line: str, offered: list[str]) -> None:
    assert values(line.split(" ")) == offered


def test_an_unreadable_inventory_offers_no_completions(hosts: Path) -> None:
    hosts.write_text("ALPHA_CONTROL_PLANE='\n")
    assert values(["inv", "prep", "--env", "alpha", "--on", "w"]) == []
    hosts.unlink()
    assert values(["inv", "prep", "--env", ""]) == values(["inv", "prep", "--on", ""]) == []
