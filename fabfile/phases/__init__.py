"""The phases in the manual's order: one pure function a file, facts in, steps out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..context import Context
from ..steps import Action
from .addons import addons
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

PREP = Phase("prep", "prepare", prep, _ALL)
INSTALL = Phase("install", "install", install, _ALL)
REGISTRY = Phase("registry", "registry", registry, _ALL)
MASTER = Phase("master", "control plane", master, _CONTROL, fresh=True)
NETWORK = Phase("network", "network", network, _CONTROL, fresh=True)
JOIN = Phase("join", "join", join, _WORKER, needs={"worker": "master"}, fresh=True)
ADDONS = Phase("addons", "add-ons", addons, _ALL, needs={"worker": "addons"}, fresh=True)
RESET = Phase("reset", "reset", reset, _ALL)

BOOTSTRAP = (PREP, INSTALL, REGISTRY, MASTER, NETWORK, JOIN, ADDONS)
EVERY = {phase.name: phase for phase in (*BOOTSTRAP, RESET)}
