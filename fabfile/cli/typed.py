"""What was typed, between Invoke's reading of its own options and of the tasks: `-- COMMAND` is the task `run`, a mistake has its nearest name.

Invoke and Fabric make their program objects themselves and load our table of contents in the middle of `Program.run`, so that
the running object can be given these steps then, and stays what it is otherwise.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from invoke import Exit
from invoke.exceptions import ParseError
from invoke.parser.parser import Lexicon

from ..errors import UsageError
from .common import with_errors_printed

RUN = "run"  # the task that takes a command; `cluster.run` in `inv`


def understand(module: str) -> None:
    """Add these steps to the program of that module, `fabric.main` or `invoke.main`, where that program is running."""
    program = getattr(sys.modules.get(module), "program", None)
    if program is not None and not isinstance(program.parse_tasks, partial):
        program._make_parser = partial(parser_of, program._make_parser)
        program.parse_tasks = partial(_parse_tasks, program, program.parse_tasks)
        program.parse_cleanup = partial(_explained, program, program.parse_cleanup)


class _Contexts(Lexicon):
    """The tasks' contexts, which Invoke's parser copies one and all, a third of the time in which it starts, and then again the one that it needs."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Contexts:
        return self


def parser_of(make: Callable[[], Any]) -> Any:
    """Program._make_parser, whose parser copies only the context of a task that is named."""
    parser = make()
    object.__setattr__(parser.contexts, "__class__", _Contexts)  # a Lexicon makes keys of its attributes
    return parser


def _parse_tasks(program: Any, parse: Callable[[], None]) -> None:
    """Program.parse_tasks, with what follows `--` as the command of `run`, which need not be named beside `fab -H`."""
    core = program.core
    command = "" if program.args.complete.value else core.remainder
    if command and core.unparsed and core.unparsed[0].startswith("-") and RUN in program.collection.task_names:
        core.unparsed.insert(0, RUN)
    if asked := _asked_about(program, core.unparsed):
        core[0].args.help.value = asked
        core.unparsed.clear()
    try:
        parse()
    except ParseError as error:
        context = error.context
        if command and context and context.name in (RUN, f"cluster.{RUN}") and context.missing_positional_args:
            core.unparsed.append(command)
            core.remainder = ""
        _explained(program, parse)


def _asked_about(program: Any, words: list[str]) -> str:
    """The task whose help `cluster.restore --help` asks for, or "". Invoke would take `--help` for the file that this task needs."""
    at = min((words.index(word) for word in ("--help", "-h") if word in words), default=0)
    return _task_among(program, reversed(words[:at])) if at else ""


def _explained(program: Any, step: Callable[[], None]) -> None:
    """Do a step of the program. What it refuses is printed in our words; the process then ends with 2, as for any wrong command line."""
    try:
        step()
    except ParseError as error:
        mistake = _mistake(program, error)
    except Exit as ended:
        if not (ended.message or "").startswith("Sub-collection"):
            raise
        mistake = _no_list(program)
    else:
        return

    def refuse() -> None:
        raise mistake

    with_errors_printed(refuse)


def _mistake(program: Any, error: ParseError) -> UsageError:
    """Invoke's error (invoke/parser/parser.py has the sentences) with what was probably meant."""
    text, context = str(error), error.context
    task = context.name if context else None
    where, more = (task, f"`{program.called_as} --help {task}`") if task else (program.called_as, _lists(program))
    if found := re.fullmatch(r"No idea what '(.+)' is!", text, re.S):
        word = found[1]
        return _no_option(program, context, word) if word.startswith("-") else _no_task(program, context, word)
    if found := re.match(r"Flag <\w+: ([\w-]+)", text):
        return UsageError(f"{where}: --{found[1]} needs a value", f"{more} says which")
    if found := re.search(r"required positional arguments: (.+)", text):
        return UsageError(f"{where} needs its {found[1].replace(chr(39), '')}", f"{more} says how it is written")
    return UsageError(f"{where}: {text}", more)


def _meant(word: str, known: Iterable[str]) -> str:
    from ..text.nearest import did_you_mean  # here: only a mistake needs it

    return did_you_mean(word, known)


def _no_option(program: Any, context: Any, word: str) -> UsageError:
    from ..text.cleaning import listed  # here: only a mistake needs it

    own = program.initial_context
    known = {flag for known in (context or own, own) for flag in (*known.flags, *known.inverse_flags)}
    if context and context.name:
        others = [name for name, task in program.parser.contexts.items() if word in task.flags]
        have = f"{listed(others, 4)} {'have' if others[1:] else 'has'} it; " if others else _meant(word, known)
        return UsageError(
            f"{context.name} has no option {word}", f"{have}`{program.called_as} --help {context.name}` lists its own"
        )
    of_tasks = {flag for task in program.parser.contexts.values() for flag in task.flags}
    if word in of_tasks:
        return UsageError(
            f"{program.called_as} itself has no option {word}", f"write {word} after the task that takes it"
        )
    near = _meant(word, known | of_tasks)
    return UsageError(f"{program.called_as} has no option {word}", f"{near}`{program.called_as} --help` lists its own")


def _no_task(program: Any, context: Any, word: str) -> UsageError:
    before = next((a for a, b in pairwise(program.argv) if b == word), "")
    own = program.initial_context
    flags = {**own.flags, **(context.flags if context else {})}
    if before in flags and flags[before].takes_value and flags[before].name != "help":
        return UsageError(f"{before} is given twice", f"name several nodes with commas, like {before} w1,w2")
    if before == "-e" and not (context and context.name):
        return UsageError(
            f"-e {word}: before a task, -e is Invoke's own --echo", "write the long form, --env; or -e after the task"
        )
    names = program.collection.task_names
    every = dict(_names(program))
    if any(name.startswith(f"{word}.") for name in names):
        return UsageError(f"{word} is no task", f"`{program.called_as} -l {word}` lists the tasks in it")
    if word == "help":
        about = _task_among(program, program.argv)
        return UsageError(
            f"{program.called_as} has no task help",
            f"`{program.called_as} --help {about}` explains it" if about else _lists(program),
        )
    found = _meant(word, every)
    for short, name in every.items():  # `bootstrap` for cluster.bootstrap
        found = found.replace(f" {short}?", f" {name}?")
    return UsageError(f"{program.called_as} has no task {word}", f"{found}{_lists(program)}")


def _names(program: Any) -> Iterator[tuple[str, str]]:
    """What a task may be called by somebody who half remembers it, with its name."""
    for name, aliases in program.collection.task_names.items():
        yield name.rpartition(".")[2], name
        for known in (name, *aliases):
            yield known, known


def _task_among(program: Any, words: Iterable[str]) -> str:
    """The first of these words that is a task's name, or ""."""
    known = {name for _, name in _names(program)}
    return next((word for word in words if word in known), "")


def _no_list(program: Any) -> UsageError:
    word = program.args.list.value
    return UsageError(
        f"{program.called_as} has no tasks under {word}",
        f"{_meant(word, program.collection.collections)}{_lists(program)}",
    )


def _lists(program: Any) -> str:
    return f"`{program.called_as} -l` lists all tasks"
