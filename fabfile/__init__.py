"""`fab`'s entry: the manual's phases as tasks, each for the nodes that `-H` names.

The tasks are thin: phases/ says what is to do, runner.py does it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from invoke import Collection

# `fab` puts this folder, not the project's, on the path; rehearsal/ and lab/ stand beside it.
_PROJECT = str(Path(__file__).resolve().parent.parent)
if _PROJECT not in sys.path:
    sys.path.insert(0, _PROJECT)

from . import phases  # noqa: E402
from .cli.common import command, mark_phase, one_phase, release, targets  # noqa: E402
from .cli.session import Options  # noqa: E402
from .context import Choices  # noqa: E402


def _phase_task(name: str, phase: phases.Phase, about: str, *aliases: str) -> Any:
    def run(
        c: Any,
        env: str = "",
        on: str = "",
        fault: list[str] | None = None,
        kubernetes: str = "",
        recipe: str = "",
        ask_sudo_pass: bool = False,
    ) -> None:
        names, chosen = tuple(filter(None, on.split(","))), release(kubernetes, recipe)
        one_phase(
            c, phase, Options(env, names, faults=tuple(fault or ()), kubernetes=chosen, ask_sudo_pass=ask_sudo_pass)
        )

    run.__doc__, run.__name__ = about, name
    return mark_phase(command(name=name, aliases=aliases, iterable=["fault"])(run))


def _reset(
    c: Any,
    env: str = "",
    on: str = "",
    yes: str = "",
    purge: bool = False,
    keep_images: bool = False,
    force_drain: str = "",
    foreign: str = "",
    fault: list[str] | None = None,
    kubernetes: str = "",
    recipe: str = "",
    ask_sudo_pass: bool = False,
) -> None:
    """8 · Take nodes off the cluster, prove them clean"""
    from .cli.resetting import take_off  # what only this task needs

    names = targets(c, on)
    options = Options(
        env, names, faults=tuple(fault or ()), kubernetes=release(kubernetes, recipe), ask_sudo_pass=ask_sudo_pass
    )
    take_off(
        options, names, Choices(keep_images=keep_images, purge=purge), yes=yes, force_drain=force_drain, foreign=foreign
    )


prep = _phase_task("prep", phases.PREP, "1 · Prepare: leftovers, swap, modules, sysctls")
install = _phase_task("install", phases.INSTALL, "2 · Install containerd and Kubernetes, pinned, held")
registry = _phase_task("registry", phases.REGISTRY, "3 · Registry login and CA, a canary pull, images")
init = _phase_task("init", phases.MASTER, "4 · kubeadm init, until the API answers", "master")
network = _phase_task("network", phases.NETWORK, "5 · Flannel, until cni0 and flannel.1 are right")
join = _phase_task("join", phases.JOIN, "6 · kubeadm join, until each worker is Ready")
addons = _phase_task("addons", phases.ADDONS, "7 · Dashboard, InfluxDB, Telegraf, retention policy")
reset = mark_phase(command(name="reset", iterable=["fault"], optional=["yes"])(_reset))

PHASE_TASKS = (prep, install, registry, init, network, join, addons, reset)
ns = Collection(*PHASE_TASKS)
