"""A node's words never control the terminal, however they are printed, and are never markup."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fabfile.cli.progress import Progress, print_error, print_table
from fabfile.errors import KubefabError, StepFailed
from fabfile.text.cleaning import listed
from fabfile.text.screen import Screen, verdict
from reading import tree

PROJECT = Path(__file__).parents[2]
EVIL = "w1\x1b]52;c;cm0=\x07\x1b]0;mine\x07\x1b[2J\x9b2J\u202e\x08\x7f\ud800 [/bin/httpd] [red]x[/] :warning: ✓ cluster done"
OURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # rich's own: colours, cursor


def screen(terminal: bool) -> Screen:
    return Screen(file=io.StringIO(), force_terminal=terminal, width=200)


def printed(console: Console) -> str:
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b]" not in text
    left = OURS.sub("", text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", left.replace("\r", ""))
    left.encode()
    return left


@pytest.mark.parametrize("terminal", [True, False])
def test_printed_text_cannot_control_the_terminal(terminal: bool) -> None:
    console = screen(terminal)
    console.print(EVIL)
    console.print(Text(EVIL), soft_wrap=True)
    console.print(Padding(Text(EVIL), (0, 4)))
    console.print(verdict(False, EVIL))
    table = Table()
    table.add_column(EVIL)
    table.add_row(EVIL)
    print_table(console, table)
    text = printed(console)
    assert text.count("[/bin/httpd] [red]x[/] :warning:") >= 4
    assert r"\x1b]52;c;cm0=" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_text_cannot_control_the_terminal(terminal: bool) -> None:
    console = screen(terminal)
    with console.status(EVIL) as working:
        working.update(EVIL)
        console.print(working.renderable)
    assert "[/bin/httpd]" in printed(console)


@pytest.mark.parametrize("terminal", [True, False])
def test_errors_cannot_control_the_terminal(terminal: bool) -> None:
    console = screen(terminal)
    print_error(console, KubefabError(EVIL, EVIL, EVIL), title=EVIL)
    print_error(console, StepFailed(EVIL, EVIL, f"no space left on device {EVIL}"))
    with Progress(["w1"], console=console) as progress:
        progress.doing("w1", "join", EVIL)
        progress.note(EVIL)
        progress._spoke = -1e9
        progress.heartbeat(1e9)
    printed(console)


SOURCES = [
    *PROJECT.glob("fabfile/**/*.py"),
    PROJECT / "tasks.py",
    *PROJECT.glob("rehearsal/*.py"),
    *PROJECT.glob("lab/*.py"),
]


def test_every_file_prints_by_the_screen() -> None:
    for path in SOURCES:
        nodes = list(ast.walk(tree(path)))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        no_other_console_and_no_markup(path, calls)
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        assert not any("[/]" in text for text in texts), path
        plain_print_is_not_used_for_a_nodes_words(path, calls)


def no_other_console_and_no_markup(path: Path, calls: list[ast.Call]) -> None:
    """Only Screen cleans what it prints, so no code may print by another console."""
    for call in calls:
        name = (
            call.func.attr
            if isinstance(call.func, ast.Attribute)
            else call.func.id
            if isinstance(call.func, ast.Name)
            else ""
        )
        if path.name != "screen.py":
            assert name not in ("Console", "Status", "from_markup", "Spinner") or (name, path.name) == (
                "Spinner",
                "progress.py",
            ), ast.unparse(call)
            assert not any(keyword.arg == "markup" for keyword in call.keywords), ast.unparse(call)


# `print` bypasses the console: it may print JSON, whose text is ASCII, and text that comes only from hosts.env and the command line.
FROM_NODES = {
    "facts",
    "seen",
    "output",
    "error",
    "message",
    "reason",
    "remedy",
    "stdout",
    "stderr",
    "finding",
    "detail",
    "evidence",
    "told",
    "observed",
    "holder",
}


def plain_print_is_not_used_for_a_nodes_words(path: Path, calls: list[ast.Call]) -> None:
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == "print" and call.args and path.parent.name != "lab":
            said = ast.unparse(call.args[0])
            named = {
                n.id if isinstance(n, ast.Name) else n.attr
                for n in ast.walk(call.args[0])
                if isinstance(n, ast.Name | ast.Attribute)
            }
            assert said.startswith("jsonlib.dumps(") or not named & FROM_NODES, f"{said}: by Screen().print"


@pytest.mark.parametrize(
    ("words", "separator", "text"),
    [
        ((), ", ", ""),
        (("w1", "w2"), ", ", "w1, w2"),
        (("w1", "w2", "w3"), ", ", "w1, w2 and 1 more"),
        (("a stays", "b stays", "c stays", "d stays"), "; ", "a stays; b stays; and 2 more"),
    ],
)
def test_a_long_list_is_shortened_and_counted(words: tuple[str, ...], separator: str, text: str) -> None:
    assert listed(words, 2, separator) == text
