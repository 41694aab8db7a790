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
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", *others]
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


OTHERS_TESTS = """
import os, pytest, signal, warnings
def note(text):
    with open("ran", "a") as file: file.write(text + "\\n")
@pytest.fixture(scope="class")
def shared():
    yield
    note("down")
class TestGood:
    @pytest.mark.parametrize("number", range(8))
    def test_good(self, number, shared, capfd):
        note(f"good {number}")
        os.system("echo 여기")
        assert capfd.readouterr().out == "여기\\n"
def test_bad(): note("bad"); print("what it saw"); assert False
def test_skipped(): note("skipped"); pytest.skip("why not")
def test_dies(): note("dies"); os.kill(os.getpid(), signal.SIGKILL)
def test_warns(): note("warns"); warnings.warn("careful")
@pytest.mark.parametrize("number", range(8))
def test_later(number): note(f"later {number}")
"""


@pytest.mark.parametrize(
    ("options", "closing"),
    [
        (("--processes", "3"), "2 failed, 17 passed, 1 skipped, 1 warning in "),
        (("--processes", "1"), "2 failed, 17 passed, 1 skipped, 1 warning in "),
        (("--processes", "1", "-x"), "1 failed, 8 passed in "),
    ],
    ids=["three", "one", "until a failure"],
)
def test_several_processes_run_each_test_once_and_one_that_dies_fails_its_test_only(
    options: tuple[str, ...], closing: str, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text("from processes import pytest_addoption, pytest_runtestloop")
    (tmp_path / "test_others.py").write_text(OTHERS_TESTS, encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *options]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(PROJECT / "tests"),
    }
    done = subprocess.run(
        argv,
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    ran = sorted(line for line in (tmp_path / "ran").read_text().splitlines() if line != "down")
    assert done.returncode == 1 and done.stdout.splitlines()[-1].startswith(closing), done.stdout
    assert "assert False" in done.stdout and "what it saw" in done.stdout
    if "-x" not in options:
        every = [f"{name} {number}" for name in ("good", "later") for number in range(8)]
        assert ran == sorted([*every, "bad", "skipped", "dies", "warns"])
        assert "died in this test" in done.stdout and "why not" in done.stdout and "careful" in done.stdout
    if "1" in options:
        assert (tmp_path / "ran").read_text().count("down") == 1  # what tests share is made once
