"""The manual's phases as tasks, each for the nodes that `fab -H` or `inv --on` names. phases/ says what is to do on them."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from .common import CHANGING, Options, command, exit_with, print_json, targets
from .draining import HELP, forced
from .reset import reset


def _task(name: str, about: str, phase: str = "", *aliases: str, drains: bool = False) -> Any:
    """The task of one phase, which is called `phase` where that differs from the task's name; `drains`: it may drain a node."""

    def run(*, options: Options) -> None:
        _one_phase(phase or name, options)

    def draining(*, force_pods: str = "", delete_emptydir_data: bool = False, options: Options) -> None:
        _one_phase(phase or name, options, force_pods, delete_emptydir_data)

    made = draining if drains else run
    made.__doc__, made.__name__ = about, name
    return command(
        "env",
        "on",
        *CHANGING,
        name=name,
        aliases=aliases,
        help=HELP if drains else {},
    )(made)


def _one_phase(name: str, options: Options, force_pods: str = "", delete_emptydir: bool = False) -> None:
    """Run one phase on the nodes that were named; exits with the run's code. Raises UsageError before anything is connected to."""
    from ..context import Choices
    from ..phases import EVERY
    from ..views import results
    from .session import opened

    names, phase = targets(options), EVERY[name]
    choices = Choices(force_pods=forced(force_pods), delete_emptydir=delete_emptydir)
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
            session.summary(result, [phase])
        if options.json:
            print_json(results.of_run(session.environment.name, result))
    exit_with(result.exit_code)


TASKS = (
    _task("prep", "1 · Prepare: leftovers, swap, modules, sysctls"),
    _task("install", "2 · Install containerd and Kubernetes, pinned, held"),
    _task("registry", "3 · Registry login and CA, a canary pull, images"),
    _task("init", "4 · kubeadm init, until the API answers", "master", "master", drains=True),
    _task("network", "5 · Flannel, until cni0 and flannel.1 are right"),
    _task("join", "6 · kubeadm join, until each worker is Ready", drains=True),
    _task("addons", "7 · Dashboard, InfluxDB, Telegraf, retention policy"),
    reset,
)
