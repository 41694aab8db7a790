"""What a person sees: plain lines in a pipe, within 80 columns; little when all is well, everything on a failure."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.table import Table

from fabfile.cli.progress import CROWD, SILENCE, Progress, print_error, print_failures, print_table, seconds
from fabfile.errors import KubefabError, StepFailed
from fabfile.run.result import NodeResult, RunResult
from fabfile.text.masking import register


def pipe(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False, highlight=False)


def terminal() -> Console:
    return Console(
        file=io.StringIO(), width=80, force_terminal=True, highlight=False, color_system=None, legacy_windows=False
    )


def text(console: Console) -> str:
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (38.2, "38 s"),
        (99.4, "99 s"),
        (99.6, "1 min 39 s"),
        (125, "2 min 05 s"),
        (3600, "60 min 00 s"),
    ],
)
def test_durations_are_readable(value: float, said: str) -> None:
    assert seconds(value) == said


def test_in_a_pipe_there_is_one_plain_line_a_node_and_phase() -> None:
    console = pipe()
    with Progress(["cp1", "w10"], console=console) as progress:
        progress.doing("cp1", "install", "containerd")
        progress.phase_done("cp1", "install", 5, 12.3)
        progress.phase_done("w10", "prep", 1, 0.4)
        progress.phase_done("w10", "install", 0, 0.1)
    assert text(console) == "cp1  install   5 steps       12 s\nw10  prep      1 step       0.4 s\n"


def test_a_pipe_gets_no_control_characters() -> None:
    console = pipe()
    with Progress(["cp1"], console=console) as progress:
        progress.doing("cp1", "install", "x")
        progress.note("a note")
        progress.node_done("cp1", NodeResult("cp1", "failed", error=KubefabError("cp1: broken")))
    assert "\x1b" not in text(console)
    assert text(console) == "a note\ncp1  failed    broken\n"


def test_a_terminal_shows_each_nodes_step_and_its_duration() -> None:
    console = terminal()
    progress = Progress(["cp1", "w1"], console=console)
    progress.doing("cp1", "master", "kubeadm init 1.36.4 " + "x" * 200)
    progress.doing("w1", "join", "waits for the control plane's API")
    console.print(progress._render())
    shown = text(console)
    assert "cp1" in shown
    assert "kubeadm init 1.36.4" in shown
    assert "waits for the control plane's API" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_an_interrupted_run_restores_the_cursor() -> None:
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    console = terminal()
    with Progress(["cp1"], console=console) as progress:
        assert hidden in text(console) and shown not in text(console)
        progress.restore_terminal()
        assert text(console).endswith(shown)
    plain = pipe()
    Progress(["cp1"], console=plain).restore_terminal()
    assert text(plain) == ""


def test_with_many_nodes_there_is_one_line_a_phase() -> None:
    console = pipe()
    names = [f"w{n}" for n in range(CROWD + 1)]
    with Progress(names, console=console) as progress:
        for number, name in enumerate(names):
            progress.phase_done(name, "install", 5 if number else 0, float(number))
    progress.crowd_summary()
    assert text(console) == f"install   {CROWD} of {CROWD + 1} nodes changed, slowest w{CROWD} {seconds(CROWD)}\n"


def test_in_a_pipe_a_heartbeat_names_the_working_nodes() -> None:
    console = pipe(200)
    progress = Progress(["cp1", "w1", "w2", "w3"], console=console)
    progress.node_done("cp1", NodeResult("cp1"))
    for name, phase, what in (
        ("w1", "install", "packages"),
        ("w2", "join", "waits for flannel.1"),
        ("w3", "join", "x"),
    ):
        progress.doing(name, phase, what)
    progress.heartbeat(progress._spoke + SILENCE - 1)
    assert text(console) == ""
    later = progress._spoke + SILENCE
    progress.heartbeat(later)
    assert re.fullmatch(
        r"… 1 of 4 nodes done, at work: 2 join, 1 install; longest w1 install, 30 s: packages\n", text(console)
    )
    progress.heartbeat(later)
    assert text(console).count("\n") == 1, "it spoke just now"


def test_without_working_nodes_there_is_no_heartbeat() -> None:
    console = pipe()
    progress = Progress(["cp1"], console=console)
    progress.heartbeat(progress._spoke + SILENCE)
    assert text(console) == ""


def test_a_table_in_a_pipe_shortens_no_name() -> None:
    console = pipe(40)
    table = Table(box=None)
    for text_ in ("ip-10-2-0-11.eu-central-1.compute.internal", "done"):
        table.add_column(text_, no_wrap=True)
    print_table(console, table)
    assert "ip-10-2-0-11.eu-central-1.compute.internal" in text(console)


def test_simulated_seconds_are_marked() -> None:
    console = pipe()
    Progress(["cp1"], console=console, simulated=True).phase_done("cp1", "prep", 2, 3.0)
    assert "3.0 s simulated" in text(console)


def test_the_screen_shows_no_secret() -> None:
    register("planted-in-progress")
    console = pipe()
    progress = Progress(["cp1"], console=console)
    progress.note("planted-in-progress")
    progress.doing("cp1", "join", "planted-in-progress")
    console.print(progress._render())
    print_error(console, StepFailed("planted-in-progress", "planted-in-progress", "planted-in-progress"))
    assert "planted" not in text(console)


def test_a_failure_says_node_step_command_output_and_what_to_do() -> None:
    console = pipe()
    failed = NodeResult(
        "w1",
        "failed",
        "install",
        "install.packages",
        StepFailed(
            "w1: packages failed (exit code 100)\n  $ apt-get install", "the last lines say which", "E: no\nE: such"
        ),
    )
    blocked = NodeResult("w2", "blocked", error=KubefabError("w2: waits for cp1"))
    stopped = NodeResult("w3", "interrupted")
    print_failures(
        console,
        RunResult({"cp1": NodeResult("cp1"), "w1": failed, "w2": blocked, "w3": stopped}),
        "inv cluster.bootstrap --env aws",
    )
    shown = text(console)
    for part in (
        "w1 · install.packages",
        "$ apt-get install",
        "│ E: such",
        "→ the last lines say which",
        "w2",
        "stopped by you: w3",
        "inv cluster.bootstrap --env aws",
    ):
        assert part in shown
    assert "cp1\n" not in shown


@pytest.mark.parametrize(
    ("states", "option", "offered"),
    [
        (["done", "failed"], "--only-failed", True),
        (["failed", "blocked"], "--only-failed", False),
        (["done", "failed"], "", False),
    ],
)
def test_only_failed_is_suggested_where_it_helps(states: list[str], option: str, offered: bool) -> None:
    console, result = pipe(), RunResult({f"w{n}": NodeResult(f"w{n}", state) for n, state in enumerate(states)})
    print_failures(console, result, "inv cluster.bootstrap", without_done=option)
    assert ("or without the 1 that is done:\n  inv cluster.bootstrap --only-failed" in text(console)) is offered
    assert ("or without" in text(console)) is offered


def test_square_brackets_in_output_are_not_markup() -> None:
    console = pipe()
    print_error(console, KubefabError("[bold]x[/bold] [/oops]", "[red]y", "[init] using [/etc]"))
    assert "[bold]x[/bold] [/oops]" in text(console)
    assert "[init] using [/etc]" in text(console)


@pytest.mark.parametrize(
    ("states", "code"),
    [(["done"], 0), (["done", "failed"], 1), (["blocked"], 1), (["failed", "interrupted"], 130), ([], 0)],
)
def test_exit_codes(states: list[str], code: int) -> None:
    assert RunResult({str(n): NodeResult(str(n), state) for n, state in enumerate(states)}).exit_code == code


def test_quiet_says_nothing_before_the_end_and_verbose_says_what_commands_print() -> None:
    def said(**how: bool) -> str:
        console = pipe()
        progress = Progress(["cp1", "w10"], console=console, **how)
        with progress:
            progress.doing("w10", "join", "kubeadm join")
            progress.doing("w10", "join", "kubeadm join")
            progress.heard("w10", "[preflight] Running")
            progress.phase_done("w10", "join", 1, 2.0)
            progress.note("stopping")
            progress.node_done("w10", NodeResult("w10", "failed", error=KubefabError("w10: no")))
        return text(console)

    assert said(quiet=True) == ""
    assert said(verbose=True).startswith("w10  join: kubeadm join\nw10  │ [preflight] Running\nw10  join      1 step")
    console = terminal()
    with Progress(["cp1"], console=console, quiet=True) as progress:
        progress.doing("cp1", "prep", "modules")
    assert text(console) == "", "no live lines either"
