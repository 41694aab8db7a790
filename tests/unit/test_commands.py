"""The command line as a person uses it: lists, help, refusals; and every command that a hint names exists."""

from __future__ import annotations

import ast
import copy
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import fabfile
import tasks
from cli import BIN, PROJECT, run, started
from fabfile.errors import KubefabError
from reading import tree

INV = set(tasks.ns.task_names) | {alias for names in tasks.ns.task_names.values() for alias in names}
FAB = set(fabfile.ns.task_names) | {alias for names in fabfile.ns.task_names.values() for alias in names}


# --- tables of contents


@pytest.mark.parametrize("program", ["fab", "inv"])
def test_the_list_reads_like_a_table_of_contents(program: str) -> None:
    done = started(program, "-l")
    assert done.returncode == 0, done.stderr
    chapters = [f"{n} · " for n in range(1, 9)]
    assert all(chapter in done.stdout for chapter in chapters)
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    for line in done.stdout.splitlines():
        name = re.match(r"^  (\S+)", line)
        if name:
            assert len(line.split()) > 1, f"{name[1]} is listed without a word about it"


def test_the_phases_are_the_same_in_both_programs() -> None:
    assert {"prep", "install", "registry", "init", "master", "network", "join", "addons", "reset"} <= FAB & INV


def test_what_a_person_types() -> None:
    assert {f"cluster.{n}" for n in ("bootstrap", "reset", "plan", "status", "info", "kubeconfig")} <= INV
    assert {"lab.up", "lab.down", "lab.status", "rehearsal.faults", "rehearsal.down"} <= INV


def _tasks() -> Iterator[tuple[str, object]]:
    for name in tasks.ns.task_names:
        yield name, copy.deepcopy(tasks.ns[name])  # Invoke takes the help texts out when it is asked for the options


@pytest.mark.parametrize(("name", "task"), list(_tasks()), ids=[n for n, _ in _tasks()])
def test_every_task_and_every_option_is_explained(name: str, task: object) -> None:
    assert task.__doc__
    for argument in task.get_arguments():  # type: ignore[attr-defined]
        assert argument.help, f"{name} --{argument.name} has no help text"


@pytest.mark.parametrize(("name", "task"), list(_tasks()), ids=[n for n, _ in _tasks()])
def test_every_command_that_takes_an_environment_takes_its_file_too(name: str, task: object) -> None:
    options = [argument.names for argument in task.get_arguments()]  # type: ignore[attr-defined]
    takes = any("env" in names for names in options) or name in ("cluster.list", "cluster.check")  # of all environments
    assert takes == (("hosts-file",) in options), "without a letter: -h is help"


# --- without a named node nothing changes


@pytest.mark.parametrize(
    "argv",
    [
        ("fab", "reset"),
        ("inv", "reset"),
        ("fab", "prep"),
        ("inv", "prep"),
        ("fab", "init"),
        ("fab", "reset", "--purge"),
    ],
)
def test_without_a_node_a_phase_refuses_and_touches_nothing(argv: tuple[str, ...], home: Path) -> None:
    before = sorted(home.rglob("*"))
    done = run(*argv)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nothing was touched" in done.stderr
    assert "-H" in done.stderr
    assert sorted(home.rglob("*")) == before


USAGE = [
    (("fab", "-H", "wokers", "join"), "did you mean workers?"),
    (("fab", "-H", "203.0.113.9", "reset"), "no node or group '203.0.113.9'"),
    (("fab", "-H", "localhost", "reset"), "no node or group 'localhost'"),
    (("inv", "prep", "--on", "w99"), "no node or group 'w99'"),
    (("inv", "cluster.bootstrap", "--env", "rehersal"), "did you mean rehearsal?"),
    (("inv", "cluster.plan", "--env", "nowhere"), "no environment 'nowhere'"),
    (("fab", "-H", "w1", "init"), "concerns control-plane nodes"),
    (("inv", "cluster.bootstrap", "--env", "aws", "--fault", "w1:host-down"), "--fault is for simulated nodes"),
    (("inv", "cluster.bootstrap", "--env", "aws", "--workers", "9"), "--workers is for simulated nodes"),
    (("inv", "cluster.bootstrap", "--workers", "x"), "--workers x: not a number"),
    (("inv", "cluster.history", "--count", "-3"), "--count -3: not a number"),
    (("inv", "cluster.bootstrap", "--limit", ","), "--limit , names nothing"),
    (("inv", "cluster.doctor", "--on", " ,"), "--on  , names nothing"),
    (("inv", "cluster.upgrade", "--env", "aws", "--plan", "--accept", ","), "--accept , names nothing"),
    (("inv", "cluster.remove", "--env", "aws", "--node", ","), "--node , names nothing"),
    (("inv", "cluster.bootstrap", "--kubernetes", "1.20"), "no recipe for Kubernetes 1.20"),
    (("inv", "cluster.status", "--purge"), "reset, cluster.reset, cluster.remove have it; "),
    (("inv", "cluster.reset", "--env", "aws"), "needs a confirmation; nothing was touched"),
    (("inv", "cluster.reset", "--env", "aws", "--yes", "datacenter"), "the environment chosen is aws (by --env)"),
    (("inv", "cluster.reset", "--yes", "aws"), "the environment chosen is rehearsal (the default)"),
    (("fab", "-H", "w1", "reset", "--yes", "aws"), "is not this environment's name; nothing was touched"),
    (
        ("fab", "-H", "w1", "reset", "--env", "aws", "--yes"),
        "the environment's name is what confirms; nothing was touched",
    ),
    (("inv", "cluster.reset", "--env", "aws", "--yes", "yes"), "--yes yes: the environment's name is what confirms"),
    (("inv", "cluster.reset", "--env", "aws", "--yes", "y"), "--yes aws"),
    (("inv", "reset", "--on", "w1", "--yes=true"), "--yes rehearsal"),
    (("fab", "-H", "w1", "reset", "--force-drain", "w2"), "--force-drain w2: not a node that is to be reset"),
    (("fab", "-H", "w1", "reset", "--force-drain", "all"), "--force-drain all: not a node that is to be reset"),
    (("fab", "-H", "all", "reset", "--env", "aws"), "needs a confirmation; nothing was touched"),
]


@pytest.mark.parametrize(("argv", "message"), USAGE, ids=[" ".join(argv) for argv, _ in USAGE])
def test_a_wrong_command_line_exits_2_before_any_connection(argv: tuple[str, ...], message: str) -> None:
    done = run(*argv)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_several_names_with_commas_and_blanks_are_those_nodes() -> None:
    done = run("inv", "cluster.plan", "--phase", "prep", "--limit", "w2, w1")
    assert done.returncode == 0 and "w1, w2 prep" in done.stdout and "cp1" not in done.stdout, done.stdout


@pytest.mark.parametrize("options", [("--check",), ("--observe",)])
def test_a_plan_of_nodes_that_do_not_answer_says_so_and_exits_1(home: Path, options: tuple[str, ...]) -> None:
    nowhere = {
        "KUBEFAB_GONE_CONTROL_PLANE": "127.0.0.1 port=1 private=10.9.0.1",
        "KUBEFAB_GONE_WORKER_1": "127.0.0.1 port=2 private=10.9.0.2",
        "KUBEFAB_GONE_POD_CIDR": "10.44.0.0/16",
    }
    done = run("inv", "cluster.plan", "--env", "gone", *options, HOME=str(home), **nowhere)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == "no node answered\n"
    assert "connection refused" in done.stderr and "what is to do on cp1, w1 is not known" in done.stderr


def test_a_refused_release_leaves_no_journal(home: Path) -> None:
    run("inv", "cluster.bootstrap", "--kubernetes", "1.20", HOME=str(home))
    assert "no runs yet" in run("inv", "cluster.history", HOME=str(home)).stdout


def test_a_locale_without_our_symbols_loses_only_the_symbols() -> None:
    done = started("inv", "cluster.plan", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "? prep.modules" in done.stdout


def test_a_file_that_cannot_be_written_is_named(home: Path) -> None:
    done = run("inv", "cluster.bootstrap", HOME=str(home), XDG_STATE_HOME="/proc/nowhere")
    assert done.returncode == 1 and "✗ /proc/nowhere" in done.stderr and "Traceback" not in done.stderr


def test_a_closed_pipe_does_not_stop_a_run(home: Path) -> None:
    shell = f"{shlex.quote(str(BIN / 'inv'))} cluster.bootstrap | head -1; exit ${{PIPESTATUS[0]}}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", shell], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""
    assert run("inv", "cluster.status", HOME=str(home)).returncode == 0


def test_a_broken_inventory_exits_2_with_every_problem(tmp_path: Path) -> None:
    done = run("inv", "cluster.info", KUBEFAB_FORKS="none", KUBEFAB_REHEARSAL_RETENTION="forever")
    assert done.returncode == 2
    assert "2 problems" in done.stderr
    assert "KUBEFAB_FORKS" in done.stderr
    assert "KUBEFAB_REHEARSAL_RETENTION" in done.stderr


# --- from any folder below the project, without a connection


@pytest.mark.parametrize("folder", [".", "fabfile/phases", "lab", "rehearsal", "tests/unit/golden"])
def test_commands_work_from_any_folder_of_the_project(folder: str) -> None:
    done = run("inv", "cluster.plan", "--env", "aws", folder=PROJECT / folder)
    assert done.returncode == 0, done.stderr
    assert "kubeadm init" in done.stdout
    assert run("fab", "reset", folder=PROJECT / folder).returncode == 2


def test_commands_work_from_any_folder_with_the_hosts_file_that_is_there_or_named(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine" / "below", tmp_path / "other"
    for folder, address in ((mine.parent, "198.51.100.1"), (other, "198.51.100.2")):
        folder.mkdir()
        (folder / "hosts.env").write_text(f"STAGING_CONTROL_PLANE={address}\n")
    mine.mkdir()

    def card(*options: str, folder: Path = mine, **variables: str) -> str:
        done = run("inv", "-r", str(PROJECT), "cluster.info", "--env", "staging", *options, folder=folder, **variables)
        return done.stdout if done.returncode == 0 else done.stderr

    assert "https://198.51.100.1:6443" in card() and "--hosts-file" not in card()
    assert "https://198.51.100.2:6443" in card(KUBEFAB_HOSTS="../../other/hosts.env")
    named = card("--hosts-file", "../../other/hosts.env", KUBEFAB_HOSTS="nowhere", folder=mine)
    assert "https://198.51.100.2:6443" in named
    again = f"inv cluster.kubeconfig --env staging --hosts-file {other}/hosts.env"
    assert again in " ".join(named.split()), "a command that the card prints means the same cluster"
    assert "no environment 'staging'" in card(folder=PROJECT) and "--hosts-file nowhere: " in card(
        "--hosts-file=nowhere"
    )
    drill = run("inv", "-r", str(PROJECT), "rehearsal.status", folder=mine)
    assert "rehearsal: no simulated nodes yet" in drill.stdout, "the rehearsal is available in every folder"
    refused = run("fab", "-r", str(PROJECT), "-H", "w7", "prep", "--env", "staging", folder=mine)
    assert refused.returncode == 2 and "no node or group 'w7' in environment staging" in refused.stderr


def test_the_info_card_of_the_manuals_cluster() -> None:
    done = run("inv", "cluster.info", "--env", "aws")
    assert done.returncode == 0, done.stderr
    for url in ("https://13.124.31.81:6443", "http://13.124.31.81:31447", "http://13.124.31.81:30315"):
        assert url in done.stdout


def test_a_plan_never_shows_the_published_token() -> None:
    done = run("inv", "cluster.plan", "--env", "aws", "--commands")
    assert "5fcddc13c9193dd1" not in done.stdout + done.stderr


# --- hints

_SOURCES = [p for folder in ("fabfile", "lab", "rehearsal") for p in sorted((PROJECT / folder).rglob("*.py"))] + [
    PROJECT / "tasks.py"
]
_INV_NAMES = re.compile(r"\binv (?!-)([a-z_.-]+[a-z])(?!\.?[a-z*])")
_FAB_NAMES = re.compile(r"\bfab -H \S+ ([a-z][a-z-]*)")


def _strings(path: Path) -> Iterator[str]:
    """Every string of a module; the parts of an f-string are joined."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _named(texts: Iterator[str]) -> set[tuple[str, str]]:
    found = set()
    for text in texts:
        found |= {("inv", name) for name in _INV_NAMES.findall(text)}
        found |= {("fab", name) for name in _FAB_NAMES.findall(text)}
    return found


def test_every_command_that_a_message_names_exists() -> None:
    for path in _SOURCES:
        for program, name in _named(_strings(path)):
            assert name in (INV if program == "inv" else FAB), f"{path} speaks of `{program} {name}`"


def test_a_printed_command_names_the_environment_by_its_option() -> None:
    """`Environment.option` adds the file if an option named it; `--env {environment.name}` would be another file's environment."""
    not_yet = ("--env {prefix('').lower()}", "--env {right.lower()}")  # an environment that the file does not have yet
    for path in _SOURCES:
        written = re.findall(r"--env \{[^}]*\}", path.read_text(encoding="utf-8"))
        wrong = [text for text in written if text not in ("--env {self.name}", "--env {yes}", *not_yet)]
        assert wrong == [], path


# --- the question before a reset


def asked(monkeypatch: pytest.MonkeyPatch, answer: object, count: int) -> None:
    from fabfile.cli.confirm import confirm
    from making import environment

    def typed(text: str) -> str:
        if isinstance(answer, type):
            raise answer
        return str(answer)

    monkeypatch.setattr("builtins.input", typed)
    env = environment(2)
    confirm(env, (*env.workers, env.control_plane)[:count])


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, ["reset 1 node of test: w1 (10.2.0.11)", "what is only on this node is lost"]),
        (2, ["reset 2 nodes of test: w1 (10.2.0.11), w2 (10.2.0.12)", "what is only on these nodes is lost"]),
        (3, ["reset all 3 nodes of test:", "cp1 (192.0.2.1, 10.2.0.1)", "Everything in that cluster is lost"]),
    ],
)
def test_the_question_counts_and_names_the_nodes_with_their_addresses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: int, words: list[str]
) -> None:
    asked(monkeypatch, "test", count)
    out = capsys.readouterr().out
    assert all(word in out for word in words), out


def test_the_question_names_the_file_of_nodes_that_are_not_the_projects_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fabfile.cli.confirm import confirm
    from making import environment

    monkeypatch.setattr("builtins.input", lambda text: "test")
    env = replace(environment(1), origin=Path("/clusters/hosts.env"))
    confirm(env, env.workers)
    assert "reset 1 node of test (/clusters/hosts.env): w1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [(KeyboardInterrupt, 130, "stopped at the question"), (EOFError, 1, "not confirmed"), ("tset", 1, "not confirmed")],
)
def test_a_reset_without_the_typed_name_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: object, code: int, message: str
) -> None:
    with pytest.raises(KubefabError) as caught:
        asked(monkeypatch, answer, 1)
    assert (
        caught.value.exit_code == code
        and message in caught.value.message
        and "nothing was touched" in caught.value.message
    )
