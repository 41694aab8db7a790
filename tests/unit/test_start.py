"""The start of our commands: what each imports, in a real process. `python -m benchmarks --only start` measures the time."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import started
from fabfile.inventory import PROJECT

OURS = {"fabfile", "lab", "rehearsal", "tools"}
LIGHT = re.compile(r"fabfile|fabfile\.(errors|records)|fabfile\.cli(\.\w+)?|(lab|rehearsal)(\.entry)?|lab\.errors")
WORKING = {f"fabfile.cli.{name}" for name in ("session", "progress", "confirm", "notices", "executor", "core_options")}
SSH = {"paramiko", "fabric", "cryptography", "fabfile.nodes.connection", "fabfile.cli.session", "rehearsal.simulation"}
SCREEN = {"rich", "fabfile.cli.progress"}


@functools.cache
def imported(*argv: str) -> frozenset[str]:
    """The modules that a command imports in addition to those of the program itself."""
    done = started(*argv, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr[-2000:]
    names = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:"))
    own = imported(argv[0], "--version") if "--version" not in argv else frozenset()
    return frozenset(names) - own


@pytest.mark.parametrize(
    "argv",
    [
        ("inv", "-l"),
        ("inv", "--complete", "--", "inv", "cluster."),
        ("inv", "--complete", "--", "inv", "cluster.plan", "--"),
        ("inv", "--help", "cluster.bootstrap"),
        ("fab", "-l"),
        ("fab", "--help", "reset"),
    ],
    ids=" ".join,
)
def test_a_listing_imports_the_table_of_contents_only(argv: tuple[str, ...]) -> None:
    modules = imported(*argv)
    windows = {"_wmi"}  # Python's own `platform` asks for it on every system
    assert {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - windows <= OURS
    ours = {name for name in modules if name.partition(".")[0] in OURS}
    assert "fabfile.cli.common" in ours and not ours & WORKING
    assert {name for name in ours if not LIGHT.fullmatch(name)} == set()


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("sizing", SSH | SCREEN | {"jinja2", "fabfile.phases"}),
        ("security-group", SSH | SCREEN | {"jinja2", "fabfile.phases"}),
        ("info", SSH | {"fabfile.phases"}),
        ("history", SSH),
        ("plan", SSH),
        ("manual", SSH),
    ],
)
def test_a_command_imports_what_it_needs(command: str, without: set[str]) -> None:
    assert imported("inv", f"cluster.{command}") & without == set()


def test_bytecode_is_kept_unless_the_operator_forbids_it(tmp_path: Path) -> None:
    """Invoke switches bytecode off, and then each command would compile all of its modules again."""
    started("inv", "-l", PYTHONPYCACHEPREFIX=str(tmp_path / "forbidden"), PYTHONDONTWRITEBYTECODE="1")
    started("inv", "-l", PYTHONPYCACHEPREFIX=str(tmp_path / "kept"))
    kept, forbidden = ({path.name for path in (tmp_path / name).rglob("*.pyc")} for name in ("kept", "forbidden"))
    assert any(name.startswith("common.") for name in kept) and not forbidden


def test_a_run_loads_nothing_that_it_may_not_need() -> None:
    """Invoke's test double, and tenacity before something is waited for, bring asyncio and ssl: a fifth of all that is loaded."""
    names = "tools.programs, tasks, fabfile.cli.session, fabfile.run.pipelines, fabfile.cli.progress"
    code = f"import {names}, sys; print(*{{'asyncio', 'ssl', 'tenacity', 'unittest', 'jinja2'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
