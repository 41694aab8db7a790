"""The two test commands: nothing starts on real nodes unless asked, and a machine that cannot run a lab is refused first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import run, started
from lab.needs import lacking

PROJECT = Path(__file__).resolve().parents[2]


def test_plain_pytest_skips_the_lab_and_says_so() -> None:
    others = [f"--ignore={PROJECT / 'tests' / name}" for name in ("unit", "rehearsal")]
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--collect-only", *others]
    own = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}  # with -q it says less
    done = subprocess.run(
        argv, cwd=PROJECT, env=own, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert "not run: real nodes: make test-lab" in done.stdout
    assert "no tests collected" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        (["tests"], True),
        (["."], True),
        (["tests/unit", "tests/rehearsal"], True),
        (["tests/lab"], False),
        (["tests/lab/test_story.py::test_x"], False),
        (["tests/unit", "tests/lab/test_dnf.py"], False),
    ],
    ids=str,
)
def test_the_labs_tests_run_when_they_are_named(
    request: pytest.FixtureRequest, arguments: list[str], left_out: bool
) -> None:
    hooks = request.config.pluginmanager.get_plugin(str(PROJECT / "tests" / "conftest.py"))
    asked = SimpleNamespace(args=arguments, invocation_params=SimpleNamespace(dir=PROJECT))
    assert hooks.pytest_ignore_collect(PROJECT / "tests" / "lab", asked) == (True if left_out else None)
    assert hooks.pytest_ignore_collect(PROJECT / "tests" / "unit", asked) is None


PROGRAMS = {"dockerd", "docker", "apt-get"}


@pytest.mark.parametrize(
    ("platform", "root", "programs", "says"),
    [
        ("linux", True, PROGRAMS, ""),
        ("linux", True, {"apt-get"}, ""),
        ("linux", True, {"docker"}, ""),
        ("linux", True, {"dockerd"}, ""),
        ("linux", True, set(), "Docker"),
        ("linux", False, PROGRAMS, "root (sudo)"),
        ("linux", False, set(), "root (sudo) and Docker"),
        ("darwin", True, PROGRAMS, "Linux (this is darwin)"),
        ("darwin", False, set(), "Linux (this is darwin)"),
    ],
)
def test_what_a_machine_lacks_for_a_lab(platform: str, root: bool, programs: set[str], says: str) -> None:
    assert lacking(platform, root, programs.__contains__) == says


def test_the_lab_check_needs_no_virtual_environment() -> None:
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import lab.needs"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "argv",
    [("inv", "cluster.info", "--env", "aws"), ("fab", "reset"), ("inv", "cluster.sizing", "--nodes", "x")],
    ids=" ".join,
)
def test_a_forked_command_behaves_like_a_started_one(argv: tuple[str, ...]) -> None:
    one, other = run(*argv), started(*argv)
    assert (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)
