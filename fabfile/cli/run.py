"""`inv cluster.run` and `fab -H … -- COMMAND`: one command on many nodes, as Ansible's ad-hoc mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import KubefabError
from .common import Options, command, exit_with, print_json, targets

if TYPE_CHECKING:
    from ..inventory import Node

LONGEST = 86400.0  # seconds: a day, where no time-out was asked for
NOT_RUN = 255  # the exit code of a node that could not be reached, as ssh's own


class Answer(NamedTuple):
    """What the command did on one node; `error` where it did not run, with `code` 255 then, as ssh has it."""

    code: int
    output: str = ""
    error: KubefabError | None = None


@command(
    "env",
    "on",
    "fault",
    "json",
    "ask_sudo_pass",
    positional=("command",),
    help={
        "command": "the command, as you would type it on the node, in quotes",
        "sudo": "as root",
        "timeout": "seconds for each node; default: a day",
    },
)
def run(*, command: str, sudo: bool = False, timeout: int = 0, options: Options) -> None:
    """One command on many nodes, side by side."""
    exit_with(execute(command, options, sudo=sudo, timeout=timeout))


def execute(line: str, options: Options, *, sudo: bool = False, timeout: float = 0) -> int:
    """Run `line` in the login shell of each named node and print what it said; returns the worst exit code.

    `timeout` is in seconds for each node; 0: a day. Raises UsageError where no node is named.
    """
    from ..text.masking import mask
    from .session import opened

    names = targets(options)
    with opened(options) as session:
        nodes = session.environment.select(names)

        def ask(node: Any) -> Answer:
            code, output = session.group.of(node).command(line, timeout or LONGEST, sudo=sudo)
            return Answer(code, mask(output.decode("utf-8", "replace")))

        with session.console.status(f"{len(nodes)} nodes"):
            said = session.group.each(nodes, ask)
    answers = {
        name: answer if isinstance(answer, Answer) else Answer(NOT_RUN, error=answer) for name, answer in said.items()
    }
    if options.json:
        print_json({name: as_data(name, answer) for name, answer in answers.items()})
    else:
        _show(answers, nodes)
    return max((answer.code for answer in answers.values()), default=0)


def as_data(name: str, answer: Answer) -> dict[str, Any]:
    """One node's answer as JSON values: exit code, output, error (None where the command ran)."""
    from ..views import results

    error = results.of_error(answer.error, name) if answer.error else None
    return {"exit": answer.code, "output": answer.output, "error": error}


def _show(answers: Mapping[str, Answer], nodes: Iterable[Node]) -> None:
    from rich.text import Text

    from ..text.cleaning import clean
    from ..text.screen import Screen
    from ..views.folding import folded
    from .progress import print_errors

    console, beside = Screen(), Screen(stderr=True)
    print_errors(beside, {name: answer.error for name, answer in answers.items() if answer.error}, nodes)
    ran = [(name, answer) for name, answer in answers.items() if not answer.error]
    for same in folded(ran, lambda one: (str(one.code), one.output.rstrip()), {}):
        answer = same.first
        code = "" if answer.code == 0 else f"  exit {answer.code}"
        console.print(
            Text.assemble((same.title, "bold green" if answer.code == 0 else "bold red"), (code, "red")),
            soft_wrap=True,
        )
        for text in clean(answer.output).splitlines():
            console.print(f"  {text}", soft_wrap=True)
