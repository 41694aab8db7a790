"""What the phase commands of `fab` and the cluster commands of `inv` share: options, the guard, errors, confirmation."""

from __future__ import annotations

import functools
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from invoke import Argument, Context, Exit, Task, task

from ..context import Choices
from ..errors import EXIT_FAILED, EXIT_INTERRUPTED, Interrupted, KubefabError, UsageError
from ..inventory import Environment, Node
from ..inventory import names as environment_names
from ..inventory.settings import KEYS
from ..phases import Phase
from ..run.result import RunResult
from ..text.cleaning import listed
from ..text.screen import Screen, verdict
from .executor import MARK
from .progress import print_error, seconds
from .session import Options, Session, opened

F = TypeVar("F", bound=Callable[..., Any])

for _stream in (sys.stdout, sys.stderr):
    if isinstance(_stream, io.TextIOWrapper):  # a locale without our signs (EUC-KR, C) is to cost them, not the command
        _stream.reconfigure(errors="replace")

HELP = {
    "env": "environment of hosts.env; default: KUBEFAB_ENV, else the rehearsal",
    "on": "nodes: master, workers (slaves), all, a node's name or address; several with commas",
    "ask-sudo-pass": "ask for the sudo password, for users without NOPASSWD",
    "fault": "rehearsal only: a fault, as NODE:FAULT, several allowed; `inv rehearsal.faults` lists them",
    "workers": "rehearsal only: how many workers",
    "kubernetes": "release, like 1.36 or 1.37.1; default: the environment's",
    "recipe": "the same as --kubernetes: 1.5 is the manual's own",
    "yes": "the environment's name, instead of being asked for it",
    "json": "print data for scripts",
    "purge": "also remove the packages and their repositories",
    "force-drain": "nodes whose pods are deleted although a PodDisruptionBudget keeps them; several with commas",
    "keep-images": "leave pulled images on the nodes",
    "foreign": "nodes that are to be emptied though they are not this cluster's, each by its name; several with commas",
    "kubeconfig": "put the cluster into your kubeconfig (reset takes it out again)",
}


def explained(function: F) -> F:
    """Errors as text with a next action and the right exit code, never a traceback."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except KubefabError as error:
            raise _told(error) from None
        except KeyboardInterrupt:  # Invoke would exit with 1
            raise Exit(code=EXIT_INTERRUPTED) from None
        except BrokenPipeError:  # whoever read our output has gone; the interpreter is not to try once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=EXIT_FAILED) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise _told(
                KubefabError(
                    f"{where}{error.strerror or error}", "is it there, yours to read and write, and with room left?"
                )
            ) from None

    return cast(F, wrapper)


def _told(error: KubefabError) -> Exit:
    """The error printed; what ends the command with its exit code."""
    print_error(Screen(stderr=True), error)
    return Exit(code=error.exit_code)


class _Number(Argument):
    """A number's option: Invoke itself answers `--workers x` with a traceback."""

    def set_value(self, value: Any, cast: bool = True) -> None:
        if cast and not str(value).isdecimal():
            raise _told(UsageError(f"--{self.name} {value}: not a number from 0", f"write it like --{self.name} 5"))
        super().set_value(value, cast)


class _Task(Task[Any]):
    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments = super().get_arguments(ignore_unknown_help)
        for argument in arguments:
            if argument.kind is int:
                argument.__class__ = _Number
        return arguments


def command(**kwargs: Any) -> Callable[[Callable[..., Any]], Any]:
    """`invoke.task` with our help texts and error handling."""

    def decorate(function: Callable[..., Any]) -> Any:
        names = function.__code__.co_varnames[1 : function.__code__.co_argcount]
        texts = {
            name.replace("_", "-"): HELP[name.replace("_", "-")] for name in names if name.replace("_", "-") in HELP
        }
        return task(klass=_Task, help={**texts, **kwargs.pop("help", {})}, **kwargs)(explained(function))

    return decorate


def release(kubernetes: str, recipe: str) -> str:
    """The release that `--kubernetes` or `--recipe` names; empty for the environment's own. Raises UsageError for none."""
    wanted = kubernetes or recipe
    if kubernetes and recipe and kubernetes != recipe:
        raise UsageError(f"--kubernetes {kubernetes} and --recipe {recipe} are two releases", "name one of them")
    try:
        return str(KEYS["KUBERNETES"].metadata["parse"](wanted)) if wanted else ""
    except ValueError as error:
        raise UsageError(f"--{'kubernetes' if kubernetes else 'recipe'}: {error}", "1.5 is the manual's own") from None


def targets(c: Context, on: str) -> tuple[str, ...]:
    """The nodes that `-H` or `--on` name. Raises UsageError for none: nothing may ever run on the operator's machine."""
    hosts = tuple(name for name in on.split(",") if name) or tuple(c.config.get("kubefab", {}).get("hosts", ()))
    if not hosts:
        raise UsageError(
            "no nodes named; nothing was touched",
            "name them: `fab -H all prep`, `fab -H workers join`, `fab -H w2 reset`; or the whole cluster: `inv cluster.reset`",
        )
    return hosts


def one_phase(c: Context, phase: Phase, options: Options, choices: Choices | None = None) -> None:
    """Run one phase on the named nodes; exits with the run's code."""
    names = targets(c, ",".join(options.on))
    with opened(options) as session:
        nodes = session.environment.select(names)
        concerned = [node for node in nodes if node.role in phase.roles]
        if not concerned:
            roles = ", ".join(sorted(phase.roles))
            raise UsageError(
                f"{phase.name} concerns {roles} nodes, and {', '.join(names)} has none", f"`fab --help {phase.name}`"
            )
        result = session.run([phase], concerned, choices)
        if not result.failed:
            summary(session, result, [phase])
    exit_with(result.exit_code)


def summary(session: Session, result: RunResult, phases: Sequence[Phase]) -> None:
    """The one closing line of a run that went well."""
    count = len(result.nodes)
    nodes = f"{count} node{'s' * (count != 1)}"
    unit = " simulated" if session.simulation else ""
    name = session.environment.name
    if result.steps == 0:
        session.console.print(verdict(True, f"{name}: nothing to do on {nodes} ({seconds(result.seconds)}{unit})"))
    else:
        what = phases[0].title if len(phases) == 1 else "cluster"
        steps = f"{result.steps} step{'s' * (result.steps != 1)}"
        session.console.print(
            verdict(True, f"{name}: {what} done on {nodes}, {steps} ({seconds(result.seconds)}{unit})")
        )


_YES = re.compile(r"y|yes|true|1|on|ok", re.I)


def agreed(environment: Environment, yes: str | bool) -> bool:
    """Whether `--yes` says this environment's name; True is the option without a value. Raises UsageError for anything else.

    A name that is not the chosen environment's stops every command, a rehearsal's too: two names were given, and one is a mistake.
    """
    if not yes:
        return False
    name = environment.name
    if yes == name:
        return True
    if yes is True or _YES.fullmatch(yes):
        said = "--yes" if yes is True else f"--yes {yes}"
        raise UsageError(f"{said}: the environment's name is what confirms; nothing was touched", f"--yes {name}")
    told = f"--yes {yes} is not this environment's name; nothing was touched: the environment chosen is {name} ({_chosen()})"
    raise UsageError(told, f"--yes {name}" + (f"; or --env {yes} --yes {yes}" if yes in environment_names() else ""))


def _chosen() -> str:
    """How the environment was chosen, as far as the command line and the variables show."""
    if any(word == "--env" or word.startswith(("--env=", "-e")) for word in sys.argv[1:]):
        return "by --env"
    return f"by KUBEFAB_ENV={os.environ['KUBEFAB_ENV']}" if os.environ.get("KUBEFAB_ENV") else "the default"


def confirm(environment: Environment, nodes: Sequence[Node]) -> None:
    """Ask for the environment's name before nodes are reset. Raises KubefabError when another word comes, Interrupted for Ctrl-C.

    The manual's own list (X1, release 1.5) takes whatever Docker holds, which is said too.
    """
    name, count = environment.name, len(nodes)
    print(
        f"reset {'all ' * (count > 1 and count == len(environment.nodes))}{count} node{'s' * (count != 1)} of {name}: {described(nodes)}"
    )
    if environment.control_plane in nodes:
        print("Everything in that cluster is lost, its metrics too.")
    else:
        print(
            f"Pods go to other nodes where they can; what is only on {'this node' if count == 1 else 'these nodes'} is lost."
        )
    if environment.settings.release.runtime == "docker":
        print(f"So is every Docker container and image on {'it' if count == 1 else 'them'}, whosever it is.")
    try:
        typed = input(f"Type {name} to go on: ").strip()
    except EOFError:  # Ctrl-D
        typed = ""
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped at the question; nothing was touched", f"run it again and type {name}, or --yes {name}"
        ) from None
    if typed != name:
        raise KubefabError("not confirmed; nothing was touched", f"run it again and type {name}, or --yes {name}")


def described(nodes: Sequence[Node]) -> str:
    """Nodes with the addresses that hosts.env has for them."""
    return listed(
        [f"{node.name} ({node.host}{f', {node.address}' * (node.address != node.host)})" for node in nodes], 12
    )


def exit_with(code: int) -> None:
    """End the command with this exit code; 0 goes on."""
    if code:
        raise Exit(code=code)


def exit_unless(good: bool) -> None:
    """Exit 1 for a read command that found something wrong."""
    exit_with(0 if good else EXIT_FAILED)


def mark_phase(task_object: Any) -> Any:
    """Tell NodeExecutor that this task takes its nodes by name."""
    setattr(task_object, MARK, True)
    return task_object
