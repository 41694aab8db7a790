"""The phases in the manual's order: one pure function a file, facts in, steps out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..context import Context
from ..inventory import Environment
from ..legacy import phases as manual
from ..steps import Action
from .addons import addons
from .guard import building, taking_back
from .install import install
from .join import join
from .master import master
from .network import network
from .prep import prep
from .registry import registry
from .reset import reset


@dataclass(frozen=True)
class Phase:
    """A chapter of the manual.

    `roles` are the nodes it concerns.  `needs` names, by role, the gate that must be open before it starts (see
    gates.py).  `fresh` phases decide from facts that earlier phases change, so the node is observed anew before them.
    """

    name: str
    title: str
    run: Callable[[Context], Iterator[Action]]
    roles: frozenset[str]
    needs: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False


_ALL = frozenset({"control-plane", "worker"})
_CONTROL, _WORKER = frozenset({"control-plane"}), frozenset({"worker"})

PREP = Phase("prep", "prepare", building("prep", prep), _ALL)
INSTALL = Phase("install", "install", building("install", install), _ALL)
REGISTRY = Phase("registry", "registry", building("registry", registry), _ALL)
MASTER = Phase("master", "control plane", building("master", master), _CONTROL, fresh=True)
NETWORK = Phase("network", "network", building("network", network), _CONTROL, fresh=True)
JOIN = Phase("join", "join", building("join", join), _WORKER, needs={"worker": "master"}, fresh=True)
ADDONS = Phase("addons", "add-ons", building("addons", addons), _ALL, needs={"worker": "addons"}, fresh=True)
RESET = Phase("reset", "reset", taking_back(reset), _ALL)

BOOTSTRAP = (PREP, INSTALL, REGISTRY, MASTER, NETWORK, JOIN, ADDONS)
EVERY = {phase.name: phase for phase in (*BOOTSTRAP, RESET)}

_MANUAL = {
    phase.name: phase
    for phase in (
        replace(PREP, run=building("prep", manual.prep)),
        replace(INSTALL, run=building("install", manual.install)),
        replace(REGISTRY, run=building("registry", manual.registry)),
        replace(MASTER, run=building("master", manual.master)),
        replace(NETWORK, run=building("network", manual.network)),
        replace(
            JOIN, run=building("join", manual.join), needs={"worker": "network"}
        ),  # N2 looks at every pod: workers come after it
        replace(ADDONS, run=building("addons", manual.addons), roles=_CONTROL, needs={}),
        replace(RESET, run=taking_back(manual.reset)),
    )
}


def for_release(environment: Environment, phases: Sequence[Phase]) -> list[Phase]:
    """The same chapters as the environment's recipe has them: the manual's own for 1.5, otherwise as they are."""
    return [_MANUAL[phase.name] for phase in phases] if environment.settings.manual else list(phases)
