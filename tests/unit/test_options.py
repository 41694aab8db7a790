"""The options that commands share: declared once, in a fixed order, and handed to a command as one value."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
from invoke import Collection, Exit
from invoke.parser import Parser

import tasks
from cli import run
from fabfile.cli.common import Options, command
from fabfile.cli.phases import TASKS
from fabfile.errors import UsageError

CONTEXT = SimpleNamespace(config={})
EVERY = ("env", "on", "workers", "fault", "kubernetes", "recipe", "json", "ask_sudo_pass", "verbose", "quiet")
seen: list[object] = []


@command(*EVERY, help={"before": "b", "after": "a"})
def all_of_them(*, before: str = "", options: Options, after: int = 0) -> None:
    """Takes every shared option."""
    seen.append((before, options, after))


@command("env")
def failing(*, options: Options) -> None:
    """Fails."""
    raise UsageError(f"no {options.env}", "another")


def test_a_command_gets_the_shared_options_as_one_value() -> None:
    given = {"env": "aws", "on": "w1,,w2", "fault": ["w1:x"], "recipe": "1.5", "json": True, "workers": 3}
    all_of_them.body(CONTEXT, before="b", **given)
    expected = Options("aws", on=("w1", "w2"), workers=3, faults=("w1:x",), kubernetes="1.5", json=True)
    assert seen.pop() == ("b", expected, 0)


def test_nodes_named_with_fabs_option_are_those_of_on() -> None:
    """An own --on goes before: core_options refuses both together."""
    hosts = SimpleNamespace(config={"kubefab": {"hosts": ("master",)}})
    all_of_them.body(hosts)
    all_of_them.body(hosts, on="w1")
    assert [options.on for _, options, _ in (seen.pop(0), seen.pop(0))] == [("master",), ("w1",)]  # type: ignore[misc]


def test_every_option_has_its_letter_or_none_whatever_the_command() -> None:
    arguments = all_of_them.get_arguments()
    assert [argument.names[0] for argument in arguments] == [
        "env", "on", "workers", "fault", "kubernetes", "recipe", "json", "ask-sudo-pass", "hosts-file", "verbose", "quiet", "before", "after",
    ]  # fmt: skip
    assert all(argument.help for argument in all_of_them.get_arguments()), "asked a second time"
    letters: dict[str, str] = {}
    for task in (*TASKS, *tasks.cluster.tasks.values()):
        for argument in task.get_arguments():
            for short in argument.names[1:]:
                assert letters.setdefault(short, argument.name) == argument.name, task.name
    assert letters == {"e": "env", "l": "limit", "o": "on", "y": "yes", "v": "verbose", "q": "quiet"}


@pytest.mark.parametrize(
    "argv",
    [("cluster.plan", "-h"), ("cluster.plan", "--env", "aws", "-h"), ("cluster.report", "-h"), ("-h", "cluster.reset")],
)
def test_h_is_help_everywhere(argv: tuple[str, ...]) -> None:
    done = run("inv", *argv)
    assert done.returncode == 0 and done.stdout.startswith("Usage: inv") and "--env" in done.stdout


def test_errors_of_a_command_are_printed_with_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended:
        failing.body(CONTEXT, env="moon")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "\n✗ no moon\n→ another\n"


def test_an_unknown_shared_option_is_refused_where_it_is_declared() -> None:
    with pytest.raises(TypeError, match="not shared options: enw"):
        command("enw")


def test_what_is_typed_for_one_task_reaches_no_other() -> None:
    """Invoke gives each task on a line a deep copy of its options; ours copy only what changes."""
    parser = Parser(contexts=Collection(*TASKS, tasks.cluster).to_contexts(ignore_unknown_help=True))
    for _ in range(2):
        line = ["cluster.plan", "--env", "aws", "prep", "--fault", "w1:a", "--fault", "w2:b", "prep", "--fault", "w3:c"]
        plan, first, second = parser.parse_argv(line)
        assert (plan.args.env.value, first.args.env.value) == ("aws", "")
        assert (first.args.fault.value, second.args.fault.value) == (["w1:a", "w2:b"], ["w3:c"])
        (status,) = parser.parse_argv(["cluster.status"])
        assert status.args.env.value == ""


def test_a_copied_task_keeps_its_help() -> None:
    @command("env", help={"own": "words"})
    def made(*, own: str = "", options: Options) -> None:
        """Made."""

    assert copy.deepcopy(made).get_arguments()[-1].help == made.get_arguments()[-1].help == "words"
