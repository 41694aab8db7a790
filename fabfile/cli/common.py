"""What the commands of `inv` and `fab` share: their options, errors on the screen, exit codes.

The table of contents (`inv -l`, completion, `--help`) imports the module of every command.  So a command's module imports at its
top only what is cheap, such as this one, and its function imports first what it works with: rich, SSH, phases, views.
"""

from __future__ import annotations

import copy
import functools
import inspect
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from invoke import Argument, Context, Exit, Task, task

from ..errors import EXIT_FAILED, EXIT_INTERRUPTED, Interrupted, KubefabError, UsageError
from .home import settle

if TYPE_CHECKING:
    from ..inventory import Environment, Node

for _stream in (sys.stdout, sys.stderr):
    # in a locale without our symbols (EUC-KR, C) replace them instead of failing
    if isinstance(_stream, io.TextIOWrapper):
        _stream.reconfigure(errors="replace")

STDOUT = "standard output"  # as the file of an OSError
HOMELESS = settle()  # the folder used in place of a home, for a user who has none
MARK = "kubefab_nodes"  # an attribute of tasks that take their nodes by name: see executor.py

HELP = {
    "env": "environment of hosts.env; default: KUBEFAB_ENV, else the rehearsal",
    "hosts-file": "the hosts.env to read; default: KUBEFAB_HOSTS, else the nearest upwards from here, else the project's",
    "on": "nodes: master, workers (slaves), all, a node's name or address; several with commas",
    "ask-sudo-pass": "ask for the sudo password, for users without NOPASSWD",
    "fault": "rehearsal only: a fault, as NODE:FAULT, several allowed; `inv rehearsal.faults` lists them",
    "workers": "rehearsal only: how many workers",
    "kubernetes": "release, like 1.36 or 1.37.1; default: the environment's",
    "recipe": "the same as --kubernetes: 1.5 is the manual's own",
    "yes": "the environment's name, instead of being asked for it",
    "json": "print the result, or the error, as one JSON document for scripts",
    "purge": "also remove the packages and their repositories",
    "force-drain": "nodes whose pods are deleted although a PodDisruptionBudget keeps them; several with commas",
    "keep-images": "leave pulled images on the nodes",
    "foreign": "nodes that are to be emptied though they are not this cluster's, each by its name; several with commas",
    "verbose": "also what the nodes' commands print, as it comes, each line behind its node",
    "quiet": "only the end: errors, and the last line",
    "kubeconfig": "put the cluster into your kubeconfig (reset takes it out again)",
}

# The shared options with their defaults.
_SHARED: Mapping[str, Any] = {
    "env": "", "on": "", "workers": 0, "fault": None, "kubernetes": "", "recipe": "", "json": False, "ask_sudo_pass": False,
    "hosts_file": "", "verbose": False, "quiet": False,
}  # fmt: skip
# What every command takes that changes nodes, in the order of its help.
CHANGING = ("fault", "kubernetes", "recipe", "json", "ask_sudo_pass", "verbose", "quiet")
# Those of a command that works on a cluster as it is: its release is not to choose.
ATTENDING = tuple(name for name in CHANGING if name not in ("kubernetes", "recipe"))
# The one-letter forms: few, and the same for every command. Beside them `-h` is help.
LETTERS = {"env": "e", "limit": "l", "on": "o", "yes": "y", "verbose": "v", "quiet": "q"}


class Options(NamedTuple):  # a dataclass takes ten times as long to define, and every listing would wait for it
    """What the shared options say; an option that a command does not take has its default."""

    env: str = ""
    hosts_file: str = ""  # every command that takes --env takes --hosts-file
    on: tuple[str, ...] = ()  # groups, names and addresses as typed, with --on or fab's -H
    workers: int = 0
    faults: tuple[str, ...] = ()
    kubernetes: str = ""  # the release that --kubernetes or --recipe names; empty for the environment's own
    json: bool = False
    ask_sudo_pass: bool = False
    verbose: bool = False
    quiet: bool = False


def command(
    *shared: str,
    name: str | None = None,
    aliases: Sequence[str] = (),
    optional: Sequence[str] = (),
    positional: Sequence[str] = (),
    help: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], Any]:
    """Make an Invoke task of a function that takes keyword arguments only, one of them `options`.

    The task has the function's own parameters as options, and the `shared` ones, which it gets as one `Options`.  `help` is
    for its own; `optional` names those whose value may be left out, `positional` those that are typed without their name
    (see invoke.task).  Errors end it as text with the next action and the right exit code, never as a traceback.
    """
    if stray := set(shared) - _SHARED.keys():
        raise TypeError(f"not shared options: {', '.join(sorted(stray))}")
    shared = (*shared, *["hosts_file"] * ("env" in shared))

    def decorate(function: Callable[..., None]) -> Any:
        parameters = _parameters(function, shared)

        @functools.wraps(function)
        def body(context: Context, /, **given: Any) -> None:
            with_errors_printed(lambda: function(options=_options(context, given), **_own(given)))

        body.__signature__ = inspect.Signature([_CONTEXT, *parameters])  # type: ignore[attr-defined]  # Invoke reads it
        dashed = [parameter.name.strip("_").replace("_", "-") for parameter in parameters]
        texts = {**{name: HELP[name] for name in dashed if name in HELP}, **(help or {})}
        iterable = [parameter.name for parameter in parameters if parameter.name == "fault"]
        made = task(
            klass=_Task,
            name=name,
            aliases=aliases,
            optional=optional,
            positional=list(positional),
            iterable=iterable,
            help=texts,
            auto_shortflags=False,
        )(body)
        setattr(made, MARK, "on" in shared)
        return made

    return decorate


_CONTEXT = inspect.Parameter("c", inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _parameters(function: Callable[..., None], shared: Sequence[str]) -> list[inspect.Parameter]:
    """A command's options: the shared ones in the order of `_SHARED`, then its function's own."""
    code, defaults = function.__code__, function.__kwdefaults__ or {}
    own = [name for name in code.co_varnames[: code.co_kwonlyargcount] if name != "options"]
    every = dict.fromkeys(own, inspect.Parameter.empty) | {**_SHARED, **defaults}
    names = [*(name for name in _SHARED if name in shared), *own]
    return [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=every[name]) for name in names]


def _own(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are the command's own, as Invoke gives them."""
    return {name: value for name, value in given.items() if name not in _SHARED}


def _options(context: Context, given: Mapping[str, Any]) -> Options:
    """The shared options, read. Raises UsageError."""
    if given.get("verbose") and given.get("quiet"):
        raise UsageError("--verbose and --quiet; nothing was touched", "give one of them")
    named = several("--on", given.get("on", ""))
    return Options(
        env=given.get("env", ""),
        hosts_file=given.get("hosts_file", ""),
        on=named or tuple(context.config.get("kubefab", {}).get("hosts", ())),
        workers=given.get("workers", 0),
        faults=tuple(given.get("fault") or ()),
        kubernetes=release(given.get("kubernetes", ""), given.get("recipe", "")),
        json=given.get("json", False),
        ask_sudo_pass=given.get("ask_sudo_pass", False),
        verbose=given.get("verbose", False),
        quiet=given.get("quiet", False),
    )


def with_errors_printed(action: Callable[[], None]) -> None:
    """Run a command; whatever goes wrong is printed, and raised as Invoke's Exit with the exit code.

    On a line with `--json` the error is one JSON document on standard output: views/results.py.
    """
    try:
        action()
        print_text("")
    except KubefabError as error:
        raise _printed(error) from None
    except KeyboardInterrupt:  # Invoke would exit with 1
        if asks_for_json():
            raise _printed(Interrupted("interrupted", "the same command again")) from None
        raise Exit(code=EXIT_INTERRUPTED) from None
    except BrokenPipeError:  # the reader closed the pipe
        _silenced()
        raise Exit(code=EXIT_FAILED) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        lost = error.filename == STDOUT
        if lost:
            _silenced()
        remedy = "check that it is there, that you may read and write it, and that the disk has space left"
        raise _printed(KubefabError(f"{where}{error.strerror or error}", remedy), beside=lost) from None


def print_text(text: str) -> None:
    """Print a text that is ours as it is, without a newline of its own. Raises OSError that names standard output, as for a full disk."""
    try:
        if text:
            sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        error.filename = STDOUT
        raise


def _silenced() -> None:
    """Send what standard output still holds to /dev/null: the interpreter's last flush would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printed(error: KubefabError, *, beside: bool = False) -> Exit:
    """Print the error; returns what ends the command with its exit code. With `beside` standard output takes nothing any more."""
    if asks_for_json() and not beside:
        from ..views import results

        try:
            print_json(results.document(error))
            return Exit(code=error.exit_code)
        except OSError:
            _silenced()
    from ..text.screen import Screen
    from .progress import print_error

    print_error(Screen(stderr=True), error)
    return Exit(code=error.exit_code)


def asks_for_json() -> bool:
    """Whether `--json` is on the command line: an error may come before the line is understood."""
    words = sys.argv[1:]
    return "--json" in words[: words.index("--") if "--" in words else None]


def print_json(data: Any) -> None:
    """Print a command's result for scripts: the one document on standard output (docs/schema/results.json)."""
    import json

    print_text(f"{json.dumps(data, indent=2)}\n")


# Invoke makes deep copies of all tasks and of all their options before it reads the command line: a third of what `inv -l` costs.


class _Option(Argument):
    """An option whose deep copy shares what never changes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Option:
        made = object.__new__(type(self))
        made.__dict__ = {**self.__dict__, "_value": copy.copy(self._value)}  # a list, if it may be given several times
        memo[id(self)] = made  # the same one is in several tables of its context
        return made


class _Number(_Option):
    """A number's option: Invoke itself answers `--workers x` with a traceback."""

    def set_value(self, value: Any, cast: bool = True) -> None:
        if cast and not str(value).isdecimal():
            raise _printed(UsageError(f"--{self.name} {value}: not a number from 0", f"write it like --{self.name} 5"))
        super().set_value(value, cast)


class _Task(Task[Any]):
    """A task of such options, whose deep copy shares what never changes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Task:
        return copy.copy(self)

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        texts, self.help = (
            self.help,
            dict(self.help),
        )  # Invoke takes them out: a second call, or a copy, would find none
        arguments = super().get_arguments(ignore_unknown_help)
        self.help = texts
        for argument in arguments:
            argument.__class__ = _Number if argument.kind is int else _Option
            if argument.name in LETTERS:
                argument.names = (argument.name, LETTERS[argument.name])
        return arguments


def several(option: str, text: str) -> tuple[str, ...]:
    """The words of an option that takes several with commas, each once, in their order; none if it was not given.

    Raises UsageError for an option that was given and has no word: it must not mean all.
    """
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if text and not words:
        raise UsageError(
            f"{option} {text} names nothing; nothing was touched", f"name them after {option}, or leave it out"
        )
    return words


def limited(environment: Environment, limit: str) -> tuple[Node, ...]:
    """The nodes that --limit means, in inventory order; all without it. Raises UsageError for unknown names, or none."""
    return environment.select(several("--limit", limit) or ["all"])


def release(kubernetes: str, recipe: str) -> str:
    """The release that `--kubernetes` or `--recipe` names; empty for the environment's own. Raises UsageError for none."""
    from ..inventory.settings import KEYS

    wanted = kubernetes or recipe
    if kubernetes and recipe and kubernetes != recipe:
        raise UsageError(f"--kubernetes {kubernetes} and --recipe {recipe} are two releases", "name one of them")
    try:
        return str(KEYS["KUBERNETES"].metadata["parse"](wanted)) if wanted else ""
    except ValueError as error:
        raise UsageError(f"--{'kubernetes' if kubernetes else 'recipe'}: {error}", "1.5 is the manual's own") from None


def targets(options: Options) -> tuple[str, ...]:
    """The nodes that `-H` or `--on` name. Raises UsageError for none: nothing may ever run on the operator's machine."""
    if not options.on:
        raise UsageError(
            "no nodes named; nothing was touched",
            "name them: `fab -H all prep`, `fab -H workers join`, `fab -H w2 reset`; or the whole cluster: `inv cluster.reset`",
        )
    return options.on


def one_node(environment: Environment, name: str) -> Node:
    """The one node that a name, an address or a group means. Raises UsageError for none, and for several."""
    nodes = environment.select([name])
    if len(nodes) != 1:
        listed = ", ".join(node.name for node in nodes[:12])
        raise UsageError(f"{name} means {len(nodes)} nodes; nothing was touched", f"name one of {listed}")
    return nodes[0]


def described(options: Options) -> Environment:
    """The environment as the inventory has it, with the release that the options name. Connects to nothing. Raises UsageError.

    From here on, printed commands are about this environment and this release.
    """
    from .. import inventory
    from ..text import advice

    environment = inventory.load(options.env or None, hosts_file=options.hosts_file, kubernetes=options.kubernetes)
    named = f"--kubernetes {options.kubernetes}" if options.kubernetes else environment.settings.release.option
    advice.asked(environment.option, named)
    return environment


def exit_with(code: int) -> None:
    """End the command with this exit code; 0 goes on."""
    if code:
        raise Exit(code=code)


def exit_unless(good: bool) -> None:
    """Exit 1 for a read command that found something wrong."""
    exit_with(0 if good else EXIT_FAILED)
