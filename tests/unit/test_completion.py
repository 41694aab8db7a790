"""Tab completion: it offers environments, nodes, phases, releases and faults where they are taken; in bash, zsh and fish."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from cli import BIN, PROJECT, run
from fabfile.cli.completion import SCRIPTS, values

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


def completed(lines: Iterable[str]) -> list[list[str]]:
    """Bash's completions of each line's last word, with the script that the program prints."""
    script = "source <(inv cluster.completion bash)\n"
    for line in lines:
        program, *_ = words = line.split(" ")
        script += f"""
            COMPREPLY=() COMP_WORDS=({" ".join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
            [[ $(complete -p {program}) =~ -F.([^ ]+) ]] && "${{BASH_REMATCH[1]}}" {program} {shlex.quote(words[-1])} {shlex.quote(words[-2])}
            echo "${{COMPREPLY[@]}}"
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
    return [sorted(line.split()) for line in done.stdout.splitlines()]


OFFERED = {
    "inv cluster.status --env al": ["alpha"],
    "inv cluster.doctor --env alpha --on w": ["w1", "w2", "workers"],
    "fab -H w1,b": ["w1,boss"],
    "inv cluster.boots": ["cluster.bootstrap"],
    "inv cluster.bootstrap --fault boss : flannel-mi": ["flannel-missing"],  # the three words that bash makes
    "inv cluster.status --kub": ["--kubernetes"],
}


def test_a_real_bash_completes(hosts: Path) -> None:
    assert completed(OFFERED) == list(OFFERED.values())


OTHERS = (
    ("inv cluster.status --env al", "alpha"),
    ("inv cluster.boots", "cluster.bootstrap"),
    ("inv cluster.bootstrap --fault boss:flannel-mi", "boss:flannel-missing"),
    ("fab -H w1,bo", "w1,boss"),
)


def _variables(home: Path) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if name.startswith("KUBEFAB_")}
    return {**known, "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "TERM": "dumb", "HOME": str(home)}


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_a_real_fish_completes(hosts: Path, tmp_path: Path) -> None:
    asked = "; ".join(
        f"complete -C {shlex.quote(line)}" for line, _ in (*OTHERS, ("inv cluster.status --hosts-file READ", ""))
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"inv cluster.completion fish | source; {asked}"],
        cwd=PROJECT, env=_variables(tmp_path), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [*(word for _, word in OTHERS), "README.md"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_a_real_zsh_completes(hosts: Path, tmp_path: Path) -> None:
    near, far = os.openpty()
    process = subprocess.Popen(
        ["zsh", "-f", "-i"],
        cwd=PROJECT,
        env=_variables(tmp_path),
        stdin=far,
        stdout=far,
        stderr=far,
        start_new_session=True,
    )
    os.close(far)
    shown = b""

    def until(words: str) -> None:
        nonlocal shown
        while words.encode() not in shown:
            shown += os.read(near, 4096)
        shown = b""

    try:
        os.write(
            near, b"unsetopt zle_bracketed_paste; source <(inv cluster.completion zsh); COLUMNS=200; echo LOA''DED\n"
        )
        until("LOADED")
        for line, word in OTHERS:
            os.write(near, f"{line}\t".encode())
            until(word.removeprefix(line.split()[-1]) or word)  # what the Tab has added
            os.write(near, b"\x15")
    finally:
        process.kill()
        process.wait()
        os.close(near)


def test_every_script_is_read_by_its_shell_and_another_name_gets_the_nearest() -> None:
    for shell in SCRIPTS:
        if shutil.which(shell):
            done = subprocess.run(
                [shell, "-n"], input=SCRIPTS[shell], capture_output=True, text=True, timeout=60, check=False
            )
            assert (done.returncode, done.stderr) == (0, "")
    done = run("inv", "cluster.completion", "zhs")
    assert done.returncode == 2 and "did you mean zsh?" in done.stderr


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
        ("inv cluster.bootstrap --from j", ["join"]),
        ("inv cluster.plan --phase re", ["registry", "reset"]),
        ("inv cluster.bootstrap --kubernetes 1.3", ["1.35", "1.36", "1.37"]),
        ("inv cluster.releases --to 1.", ["1.35", "1.36", "1.37"]),
        ("inv cluster.backup --to 1.", []),
        ("inv cluster.shell", ["boss", "w1"]),
        ("inv cluster.logs w", ["w1"]),
        ("inv cluster.logs --env alpha cp1 --unit k", ["kubelet"]),
        ("inv cluster.bootstrap --fault", ["all:", "master:", "workers:", "slaves:", "boss:", "w1:"]),
        ("inv cluster.bootstrap --fault w1:fl", ["w1:flat", "w1:flow"]),
        ("inv cluster.bootstrap --fault w1 : fl", ["flat", "flow"]),
        ("inv cluster.bootstrap --fault w1 :", ["deaf", "flat", "flow"]),
        ("inv cluster.bootstrap --fault=w1:d", ["--fault=w1:deaf"]),
        ("inv cluster.status -o b", ["boss"]),
        ("inv cluster.reset -v w", []),
        ("inv cluster.status --json", []),
        ("inv cluster.st", []),
        ("inv", []),
    ],
)
def test_values_of_options(hosts: Path, line: str, offered: list[str]) -> None:
    assert values(line.split(" "), lambda: ("deaf", "flat", "flow")) == offered


def test_an_unreadable_inventory_offers_no_completions(hosts: Path) -> None:
    hosts.write_text("ALPHA_CONTROL_PLANE='\n")
    assert values(["inv", "prep", "--env", "alpha", "--on", "w"]) == []
    hosts.unlink()
    assert values(["inv", "prep", "--env", ""]) == values(["inv", "prep", "--on", ""]) == []
