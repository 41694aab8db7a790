"""The command lines that our texts print: found in the source, their placeholders filled, read by the parser of `inv` and `fab` itself."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import fabric.main
import invoke.main
from invoke.parser import Parser

import fabfile
import tasks as table_of_contents
from fabfile.errors import KubefabError
from fabfile.inventory import PROJECT, Environment, load, with_release
from fabfile.inventory.settings import KEYS
from fabfile.phases import EVERY
from fabfile.recipes.kubeadm import recipe_for
from lab.errors import LabError
from lab.versions import releases
from reading import tree

SPAN = re.compile(r"`([^`\n]+)`")
STAGING = "staging"  # the pages' own example of an inventory
PROGRAMS = {"inv": (invoke.main.program, table_of_contents.ns), "fab": (fabric.main.program, fabfile.ns)}


class Printed(NamedTuple):
    """A command line, and the place of the text that prints it."""

    where: str
    line: str


# What the expressions in our f-strings stand for, and the words in capitals that a person replaces.
VALUES = {
    "environment.option": "--env rehearsal", "fleet.environment.option": "--env rehearsal", "self.environment.option": "--env rehearsal", "session.environment.option": "--env rehearsal",
    "ctx.environment.option": "--env rehearsal", "self.settings.release.option": "", "self.environment.settings.release.option": "", "ctx.settings.release.option": "",
    "environment.name": "rehearsal", "ctx.environment.name": "rehearsal", "self.node.name": "w1", "ctx.node.name": "w1",
    "claim.uid": "5cd67f52-8a90-4e05-9f0c-1a3ab1c3e0e5", "phase.name": "join", "shlex.quote(core.remainder)": "uptime", "nodes": "all", "where": "--on w1", "again": "--env rehearsal",
    "version": "1.37.1", "to": "1.37", "newest": "1.37.1", "now": "1.37.1", "following": "1.37", "plane": "1.37.1",
    "there": "1.36", "row.types": "inv cluster.bootstrap", "phase": "join", "name": "w1", "control.name": "cp1", "options": "--env rehearsal",
    "option": "--env rehearsal", "chart.environment.option": "--env rehearsal", "names": "w1", "one.name": "w1", "node.name": "w1",
}  # fmt: skip
PLACES = {"NODE": "w1", "NODES": "w1,w2", "UID": "5cd67f52-8a90-4e05-9f0c-1a3ab1c3e0e5", "NAME": "rehearsal", "ENV": "rehearsal",
          "ENVIRONMENT": "rehearsal", "FILE": "images.lock", "PHASE": "join", "COMMAND": "uptime", "…": "all"}  # fmt: skip
_TASK = re.compile(r"\w+(?:\.\w+)*\.fab\((?:patient, )?(?:'(\w+)'|(\*missing)).*\)|(?:ctx\.)?init\(.*\)", re.S)


def filled(expression: str) -> str:
    """What an expression of an f-string prints, as an example; the expression itself in braces where no example is known."""
    if found := _TASK.fullmatch(expression):
        tasks = (
            (found[1],) if found[1] else ("prep", "install") if found[2] else ("prep", "install", "registry", "init")
        )
        return "fab -H w1 " + " ".join(f"{task} --env rehearsal" for task in tasks)
    return VALUES.get(expression, f"{{{expression}}}")


def own(text: str) -> list[str]:
    """The command lines of ours in a text: those in backticks, each without the words before and after it."""
    lines = (re.sub(r"^[A-Z_]+=\S+ ", "", line) for line in SPAN.findall(text))
    return [line for line in lines if re.match(r"(inv|fab) ", line)]


@cache
def in_source() -> tuple[Printed, ...]:
    """Every command line in backticks that a text of ours holds, or that is a text of its own; documentation strings left out."""
    paths = (path for folder in ("fabfile", "lab", "rehearsal") for path in sorted((PROJECT / folder).rglob("*.py")))
    return tuple(found for path in paths for found in _in_file(path))


def _in_file(path: Path) -> Iterator[Printed]:
    file = tree(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    notes = {id(node.body[0].value) for node in ast.walk(file) if isinstance(node, documented) and node.body
             and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node, text in _texts(file):
        if id(node) not in notes:
            where = f"{path.relative_to(PROJECT)}:{node.lineno}"
            whole = [text] if re.match(r"(inv|fab) (\w+\.|-)", text) else []
            yield from (Printed(where, line) for line in [*SPAN.findall(text), *whole])


def _texts(node: ast.AST) -> Iterator[tuple[Any, str]]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node, node.value
    elif isinstance(node, ast.JoinedStr):
        yield node, "".join(_part(part) for part in node.values)
        for part in node.values:
            yield from _texts(part.value) if isinstance(part, ast.FormattedValue) else ()
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _part(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else filled(ast.unparse(part.value))  # type: ignore[attr-defined]


def wrong(line: str) -> str:
    """What `inv` or `fab` would refuse in this line, "" for nothing: task, options and their values. Runs nothing."""
    words = [PLACES.get(word, word) for word in shlex.split(re.sub(r"[\[\]]", " ", line).replace("NODE:", "w1:"))]
    program, _ = PROGRAMS[words[0]]
    if words[-1] == "…":  # `fab -H …`: any task may follow
        return ""
    try:
        core = Parser(initial=program.initial_context, ignore_unknown=True).parse_argv(words[1:])
        unparsed, command = core.unparsed, core.remainder
        if (
            command and words[0] == "fab" and (not unparsed or unparsed[0].startswith("-"))
        ):  # as fabfile/cli/typed.py does
            unparsed = ["run", *unparsed]
        if command and unparsed and unparsed[0] in ("run", "cluster.run"):
            unparsed, command = [*unparsed, command], ""
        if command:
            return "-- COMMAND, and no task that runs it"
        found = Parser(contexts=[c for c in _contexts(words[0]) if {c.name, *c.aliases} & {*unparsed}]).parse_argv(
            unparsed
        )
        if not found and not any(
            core[0].args[name].value for name in ("list", "help", "version", "dry", "print-completion-script")
        ):
            return "names no task"
        for task in found:
            options = {name: argument.value for name, argument in task.args.items()}
            if (task.name or "").startswith("lab."):  # its lab serves several releases
                releases(options.pop("kubernetes", None) or "")
            _values(options)
        if "hosts" in core[0].args and core[0].args.hosts.value:
            _aws().select(core[0].args.hosts.value.split(","))
    except (KubefabError, LabError, ValueError, invoke.exceptions.ParseError) as error:
        return str(error)
    return ""


@cache
def _aws() -> Environment:
    """An environment of the project's own hosts.env that has workers; it is only read."""
    return load("aws", variables={})


@cache  # the parser copies what it changes: all that it is given
def _contexts(program: str) -> Any:
    return PROGRAMS[program][1].to_contexts()


def _values(options: dict[str, Any]) -> None:
    """Raise KubefabError or ValueError for a value that its task would refuse."""
    if options.get("env") not in (None, "", STAGING):
        _aws() if options["env"] == "aws" else load(options["env"], variables={})
    if options.get("on"):
        _aws().select(options["on"].split(","))
    for name in ("phase", "from"):
        if options.get(name) and options[name] not in {*EVERY, "init"}:
            raise ValueError(f"no phase {options[name]}")
    for name in ("kubernetes", "recipe"):
        if wanted := options.get(name):
            recipe_for(with_release(_aws(), KEYS["KUBERNETES"].metadata["parse"](wanted)))
