"""What Invoke does not know gets its nearest name, and `-- COMMAND` is the task `run`; nothing is connected to."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from fabric.main import make_program
from hypothesis import given
from hypothesis import strategies as st
from invoke import Exit
from invoke.exceptions import ParseError
from invoke.program import Program

import fabfile
import tasks
from cli import PROJECT, run
from fabfile.cli import typed
from fabfile.errors import UsageError
from tools import programs

# copies: Invoke takes the help texts out of a task when it is asked for its options
COLLECTIONS = {"inv": copy.deepcopy(tasks.ns), "fab": copy.deepcopy(fabfile.ns)}
INV, FAB = (sorted(COLLECTIONS[name].task_names) for name in ("inv", "fab"))


def program_of(*argv: str) -> Program:
    """The program when it has read its own options, with our parser of tasks."""
    program = make_program() if argv[0] == "fab" else Program(version="x")
    program.create_config()
    program.parse_core(list(argv))
    program.collection = program.scoped_collection = COLLECTIONS[argv[0]]
    program._make_parser = partial(typed.parser_of, program._make_parser)
    return program


def parsed(*argv: str) -> Program:
    """The program after it has read this command line with our steps, without running a task."""
    program = program_of(*argv)
    typed._parse_tasks(program, program.parse_tasks)
    return program


def refused(*argv: str) -> UsageError:
    """What is said of a command line that Invoke refuses."""
    program = program_of(*argv)
    with pytest.raises(ParseError) as caught:
        program.parse_tasks()
        program.parse_cleanup()
    return typed._mistake(program, caught.value)


def test_a_task_that_is_named_twice_has_options_of_its_own_each_time() -> None:
    program = parsed("inv", "prep", "--on", "w1", "prep", "--on", "w2", "--verbose")
    assert [(task.args.on.value, task.args.verbose.value) for task in program.tasks] == [("w1", False), ("w2", True)]
    assert program.parser.contexts["prep"].args.on.value == "", "and the next one begins with none"


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        ("inv cluster.bootstap", "inv has no task cluster.bootstap", "did you mean cluster.bootstrap? `inv -l`"),
        ("inv bootstrap", "inv has no task bootstrap", "did you mean cluster.bootstrap? "),
        ("inv bootstap", "inv has no task bootstap", "did you mean cluster.bootstrap? "),
        ("inv help", "inv has no task help", "`inv -l` lists all tasks"),
        ("inv help cluster.plan", "inv has no task help", "`inv --help cluster.plan` explains it"),
        ("inv cluster", "cluster is no task", "`inv -l cluster` lists the tasks in it"),
        ("fab -H all mastr", "fab has no task mastr", "did you mean master? `fab -l`"),
        ("fab -H all prep instal", "fab has no task instal", "did you mean install? "),
        ("inv --help cluster.pln", "inv has no task cluster.pln", "did you mean cluster.plan? "),
        ("inv cluster.plan --enf aws", "cluster.plan has no option --enf", "did you mean --env? `inv --help cluster.plan`"),
        ("inv cluster.plan --comands", "cluster.plan has no option --comands", "did you mean --commands? "),
        ("inv cluster.plan --enf=aws", "cluster.plan has no option --enf", "did you mean --env? "),
        ("inv cluster.plan --help-me", "cluster.plan has no option --help-me", "did you mean --help? "),
        ("inv cluster.status -x", "cluster.status has no option -x", "`inv --help cluster.status` lists its own"),
        ("inv cluster.plan -v", "cluster.plan has no option -v", "prep, install, registry, init and "),
        ("inv cluster.status --purge", "cluster.status has no option --purge", "reset, cluster.reset, cluster.remove have it; "),
        ("inv --evn aws cluster.plan", "inv has no option --evn", "did you mean --env? "),
        ("fab --env aws -H w1 prep", "fab itself has no option --env", "write --env after the task that takes it"),
        ("fab -H w1 -H w2 prep", "-H is given twice", "name several nodes with commas, like -H w1,w2"),
        ("inv prep --on w1 --on w2", "--on is given twice", "like --on w1,w2"),
        ("fab -H w1 -e aws -- uptime", "-e aws: before a task, -e is Invoke's own --echo", "write the long form, --env"),
        ("inv cluster.plan --env", "cluster.plan: --env needs a value", "`inv --help cluster.plan` says which"),
        ("inv cluster.run --on w1", "cluster.run needs its command", "`inv --help cluster.run`"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_nearest_name(line: str, message: str, remedy: str) -> None:
    error = refused(*line.split(" "))
    assert error.message == message and remedy in error.remedy


@given(st.sampled_from([("inv", name) for name in INV] + [("fab", name) for name in FAB]), st.data())
def test_a_task_with_one_slip_is_never_run_and_its_name_or_a_nearer_one_is_proposed(
    task: tuple[str, str], data: st.DataObject
) -> None:
    program, name = task
    at = data.draw(st.integers(0, len(name) - 1))
    slip = name[:at] + data.draw(st.sampled_from(["", name[at] * 2, "q"])) + name[at + 1 :]
    if slip in COLLECTIONS[program].task_names or slip in ("", "init"):
        return
    error = refused(program, slip)
    proposed = error.remedy.partition("did you mean ")[2].partition("?")[0]
    every = {n for known, aliases in COLLECTIONS[program].task_names.items() for n in (known, *aliases)}
    assert proposed in every or (len(name) < 5 and not proposed) or "lists the tasks in it" in error.remedy, (
        error.remedy
    )


def test_every_option_with_one_letter_too_many_is_proposed_again() -> None:
    program = parsed("inv", "cluster.plan")
    for name, context in program.parser.contexts.items():
        for option in context.flag_names():
            if option.startswith("--"):
                remedy = typed._no_option(program, context, f"{option}{option[-1]}").remedy
                assert f"did you mean {option}?" in remedy, f"{name} {option}"


@pytest.mark.parametrize("asked", ["--help", "-h"])
@pytest.mark.parametrize("before", [(), ("--env", "lab")], ids=["", "--env lab"])
def test_help_behind_any_task_is_that_tasks_help_also_where_the_task_needs_a_word(
    asked: str, before: tuple[str, ...]
) -> None:
    for program, name in [*(("inv", name) for name in INV), *(("fab", name) for name in FAB)]:
        asking = parsed(program, name, *before, asked, "--json")
        assert (asking.args.help.value, [task.name for task in asking.tasks]) == (name, []), name


def test_help_in_what_a_command_is_given_is_not_ours() -> None:
    (task,) = parsed("fab", "-H", "w1", "run", "--", "ls --help").tasks
    assert task.args.command.value == "ls --help"
    (task,) = parsed("inv", "cluster.run", "ls --help").tasks
    assert task.args.command.value == "ls --help"


@pytest.mark.parametrize(
    ("line", "task", "command"),
    [
        ("fab -H w1 run -- uptime", "run", "uptime"),
        ("fab -H w1 --sudo -- id -u", "run", "id -u"),
        ("fab -H w1 --env aws --timeout 5 -- id -u", "run", "id -u"),
        ("fab -H w1 prep run -- prep", "run", "prep"),
        ("inv cluster.run --on w1 -- a -- b", "cluster.run", "a -- b"),
        ("inv cluster.plan cluster.run -o w1 --sudo -- reset", "cluster.run", "reset"),
    ],
)
def test_what_follows_the_two_dashes_is_the_command_of_run(line: str, task: str, command: str) -> None:
    program = parsed(*line.split(" "))
    assert (program.tasks[-1].name, program.tasks[-1].args.command.value) == (task, command)
    assert program.core.remainder == "", "Fabric itself has nothing left to run"
    assert ("sudo" in line) == program.tasks[-1].args.sudo.value


@pytest.mark.parametrize(
    "line", ["fab -H w1 prep -- uptime", "inv cluster.run -o w1 a -- b", "inv cluster.plan -- uptime"]
)
def test_a_command_that_no_task_takes_is_left_for_the_refusal(line: str) -> None:
    assert parsed(*line.split(" ")).core.remainder


def test_a_mistake_exits_2_and_runs_nothing_before_it(tmp_path: Path) -> None:
    done = run("fab", "-H", "w1", "prep", "instal", HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "") and "✗ fab has no task instal" in done.stderr
    done = run("inv", "-l", "clustr", HOME=str(tmp_path))
    assert done.returncode == 2 and "did you mean cluster?" in done.stderr


def test_the_running_program_gets_the_steps_once(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(version="x")
    monkeypatch.setattr("invoke.main.program", program)
    typed.understand("invoke.main")
    step = program.parse_tasks
    typed.understand("invoke.main")
    assert program.parse_tasks is step and isinstance(step, partial)


# --- the programs of make's .venv


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("b in")
    programs.write(folder)
    return folder


def test_both_ways_of_make_write_the_programs() -> None:
    rules = (PROJECT / "Makefile").read_text()
    assert rules.count("\t@$(BIN)/python -X utf8 -m tools.programs\n") == 2
    assert rules.count(" tools/programs.py | $(BIN)/pip\n") == 2, (
        "a .venv that is there gets a change with the next make"
    )


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("fab", "-H", "cp1,nowhere", "--", "uname"), 2, "no node or group 'nowhere' in environment rehearsal"),
        (("fab", "--", "uname"), 2, "no nodes named; nothing was touched"),
        (("fab", "--version"), 0, "kubefab 0."),
        (("inv", "-V"), 0, "kubefab 0."),
        (("fab", "-H"), 2, "✗ fab: --hosts needs a value"),
        (("inv", "-c"), 2, "✗ inv: --collection needs a value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_written_program_in_its_own_process(
    bin_folder: Path, argv: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [str(bin_folder / argv[0]), *argv[1:]],
        cwd=PROJECT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code and said in done.stdout + done.stderr, done


@pytest.mark.parametrize(
    "asked", [("inv", "-l"), ("inv", "-V"), ("inv", "--help", "cluster.plan"), ("fab", "-l"), ("inv", "cluster.list")]
)
def test_a_reader_that_goes_before_the_end_is_no_error(bin_folder: Path, asked: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [str(bin_folder / asked[0]), *asked[1:]],
            cwd=PROJECT,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_program_runs_in_a_folder_whose_name_a_kernel_would_cut(tmp_path: Path) -> None:
    folder = tmp_path / "두 마디"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    programs.write(folder, str(folder / "python"))
    first, second, *_ = (folder / "fab").read_text(encoding="utf-8").splitlines()
    assert first == "#!/bin/sh" and str(folder / "python") in second
    compile((folder / "fab").read_bytes(), "fab", "exec")


@pytest.mark.parametrize(
    ("folder", "variables", "seen"),
    [
        ("한글", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "1 ascii"),
        (
            "plain",
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            f"{int(not sys.prefix.isascii())} ascii",
        ),
        ("한글", {"LC_ALL": "C.UTF-8"}, "0 utf-8"),
        # a name in EUC-KR: no locale in UTF-8 can write it, and it is tried once only
        (
            os.fsdecode("한글".encode("euc-kr")),
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            "1 ascii",
        ),
    ],
    ids=["ascii", "ascii, plain path", "utf-8", "euc-kr path"],
)
def test_a_path_that_the_locale_cannot_write_is_read_as_utf_8_and_the_screen_keeps_its_encoding(
    folder: str, variables: dict[str, str], seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 3.12 on Python loads no compiled module (yaml's) from a path with bytes that its file names' encoding has no letters for."""
    project = tmp_path / folder
    (project / "tools").mkdir(parents=True)
    (project / "tools/programs.py").write_text(
        "import os, sys\n"
        "def run(module):\n"
        "    print(sys.flags.utf8_mode, sys.stdout.encoding, module, [os.fsencode(word) for word in sys.argv[1:]])\n"
    )
    monkeypatch.setattr(programs, "PROJECT", project)
    programs.write(tmp_path)
    done = subprocess.run(
        [tmp_path / "inv", "--on", "노드", ""], env=variables, capture_output=True, timeout=60, check=False
    )
    words = [b"--on", "노드".encode(), b""]
    assert done.stdout.decode("ascii").startswith(f"{seen} invoke.main {words}\n"), (done.stdout, done.stderr)


def test_outside_the_project_nothing_is_run(bin_folder: Path, tmp_path: Path) -> None:
    """Fabric's own would connect to a host of that name there."""
    done = subprocess.run(
        [str(bin_folder / "fab"), "-H", "127.0.0.1:1", "--", "uname"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and "Can't find any collection" in done.stderr


def test_the_version_is_that_of_the_project() -> None:
    lines = run("inv", "cluster.version").stdout.splitlines()
    assert f'version = "{lines[0].removeprefix("kubefab ")}"\n' in (PROJECT / "pyproject.toml").read_text()
    assert [line.split()[0] for line in lines] == ["kubefab", "python", "fabric", "invoke", "paramiko"]


def test_a_refusal_ends_the_program() -> None:
    with pytest.raises(Exit) as ended:
        parsed("inv", "cluster.plan", "--enf")
    assert ended.value.code == 2


def test_a_program_that_has_done_its_work_ends_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["inv", "cluster.list"])
    monkeypatch.setattr(Program, "run", lambda self: None)
    with pytest.raises(SystemExit) as ended:
        programs.run("invoke.main")
    assert not ended.value.code
