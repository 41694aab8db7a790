"""What a phase is, and what it says to those who run, plan or show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field

from ..context import Context
from ..inventory import Environment, Role
from ..nodes.facts import NodeFacts
from ..records import dataclass
from ..steps import Action, Gate


def _no_files(environment: Environment) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Phase:
    """A chapter of the manual. Its interpreters ask these fields, never its name.

    - `run`: facts in, actions out. `roles`: the nodes that it concerns.
    - `follows`: phases that must have nothing left to do on a node before this one changes it; a run that begins later is refused.
    - `waits_for`: by role, the gate that must be open before it starts; `opens`: by role, the gate that it opens when it ends.
    - `observe_before`: the roles for which it decides from facts that earlier phases change: such a node is observed again before it;
      `observe_after`: other nodes need facts that it changed.
    - `meanwhile`: what its last waits wait for, the first steps of the next phase do not need, so those are carried out before them.
    - `needs_api`: it asks the cluster, so it cannot be judged where the API does not answer.
    - `needs_images`: a plan takes the pinned images for pulled when it comes to this phase.
    - `admits`: it makes a node a member of the cluster.
    - `takes_back`: it undoes the others; `residue` then names what it left, which must be nothing.
    - `empties`: whether it drains this node, which stays in the cluster; all of a run's are looked at before the first one begins.
    - `certificates`: it decides from the certificates that a control plane's ports show; the observing script asks for them.
    - `files`: paths whose digests it compares; the observing script reports them.
    """

    name: str
    title: str
    run: Callable[[Context], Iterator[Action]]
    roles: frozenset[Role]
    follows: tuple[Phase, ...] = ()
    waits_for: Mapping[Role, Gate] = field(default_factory=dict)
    opens: Mapping[Role, Gate] = field(default_factory=dict)
    observe_before: frozenset[Role] = frozenset()
    observe_after: bool = False
    meanwhile: bool = False
    needs_api: bool = False
    needs_images: bool = False
    admits: bool = False
    takes_back: bool = False
    empties: Callable[[Context], bool] | None = None
    certificates: bool = False
    residue: Callable[[NodeFacts], list[str]] | None = None
    files: Callable[[Environment], Iterable[str]] = _no_files
