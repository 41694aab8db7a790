"""The options of `inv` and `fab` themselves: each works or is refused by name, and none is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabric.main import Fab
from invoke.program import Program

from cli import run, started
from fabfile.cli.core_options import HONOURED, REFUSED, check
from fabfile.errors import UsageError

PROGRAMS = {"inv": Program(version="x"), "fab": Fab(name="fab", version="x")}
SHOWN = sorted(
    {(program, max(a.names, key=len)) for program, p in PROGRAMS.items() for a in (*p.core_args(), *p.task_args())}
)
VALUES = {"hide": "out", "command-timeout": "3", "identity": "key", "ssh-config": "file", "connect-timeout": "3"}


@pytest.mark.parametrize(("program", "option"), SHOWN)
def test_every_shown_option_works_or_is_refused(program: str, option: str) -> None:
    """A newer Invoke or Fabric with an additional option fails here until we decide how to treat it."""
    assert (option in HONOURED) != (option in REFUSED), f"{program} --{option}"


@pytest.mark.parametrize(("program", "option"), [(program, option) for program, option in SHOWN if option in REFUSED])
def test_a_refused_option_is_named_with_what_to_type(program: str, option: str) -> None:
    parser = PROGRAMS[program]
    parser.create_config()
    parser.parse_core([program, f"--{option}", *([VALUES[option]] if option in VALUES else [])])
    with pytest.raises(UsageError) as caught:
        check(parser.core, [])
    assert caught.value.message == f"--{option}: {REFUSED[option][0]}" and caught.value.remedy


@pytest.mark.parametrize(
    "argv",
    [("inv", "--dry", "cluster.bootstrap"), ("fab", "-R", "-H", "w1", "reset"), ("fab", "-i", "k", "-H", "w1", "prep")],
)
def test_a_refused_option_changes_nothing(argv: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*argv, HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path / "state"))
    assert done.returncode == 2 and done.stdout == ""
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("inv", "cluster.plan", "--", "uptime"), "none of the named tasks runs what follows --"),
        (("fab", "-H", "w1", "prep", "--", "uptime"), "none of the named tasks runs what follows --"),
        (("fab", "-H", "w1", "reset", "--on", "w2"), "-H w1 and reset --on w2"),
        (("fab", "-H", "w1", "prep", "install", "--env", "staging"), "prep (the default), install staging"),
        (("fab", "-H", "w1", "prep", "--env", "staging", "install"), "prep staging, install (the default)"),
        (("inv", "cluster.plan", "--env", "aws", "cluster.info", "--env", "lab"), "cluster.plan aws, cluster.info lab"),
    ],
)
def test_an_ambiguous_command_line_is_refused(argv: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = run(*argv, HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path / "state"))
    assert done.returncode == 2 and done.stdout == ""
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "state").exists()


def test_several_tasks_in_one_environment_are_run() -> None:
    done = run("inv", "cluster.sizing", "--env", "aws", "cluster.security-group", "--env", "aws")
    assert done.returncode == 0 and "aws ec2" in done.stdout


def test_the_installed_scripts_refuse_too(tmp_path: Path) -> None:
    done = started("inv", "--dry", "cluster.reset", HOME=str(tmp_path))
    assert done.returncode == 2 and "cluster.plan --observe" in done.stderr
