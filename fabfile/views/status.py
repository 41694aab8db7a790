"""The status of each node, phase by phase, from the phases that would change it. It also works on unfinished and absent clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from ..context import Context, answering
from ..errors import KubefabError
from ..identity import recall
from ..inventory import Environment, Node
from ..nodes.facts import NodeFacts
from ..phases import BOOTSTRAP, for_release
from ..recipes.kubeadm import recipe_for
from ..records import dataclass
from ..steps import Step, Stop
from .folding import folded, own_words

State = Literal["done", "to do", "broken", "waiting"]
DONE: Final = "done"
TO_DO: Final = "to do"
BROKEN: Final = "broken"
WAITING: Final = "waiting"


@dataclass(frozen=True)
class Cell:
    """One phase on one node."""

    phase: str
    state: State
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One node. `ready` is the API's answer; None if the API did not say."""

    node: Node
    cells: tuple[Cell, ...]
    ready: bool | None
    reason: str = ""

    @property
    def healthy(self) -> bool:
        return bool(self.cells) and all(cell.state == DONE for cell in self.cells) and self.ready is not False


def status(environment: Environment, observed: Mapping[str, NodeFacts | KubefabError]) -> Sequence[Row]:
    """One row for each node, from the observed facts; the row of an unreachable node has the reason."""
    recipe, record = recipe_for(environment), recall(environment)
    control = answering(environment, observed)
    rows = []
    for node in environment.nodes:
        facts = observed.get(node.name)
        if not isinstance(facts, NodeFacts):
            rows.append(Row(node, (), None, facts.message if facts else "not asked"))
            continue
        cells = []
        for phase in for_release(environment, BOOTSTRAP):
            if node.role not in phase.roles:
                continue
            if phase.needs_api and not (control and control.initialised):
                lost = phase.admits and facts.joined
                cells.append(Cell(phase.name, BROKEN if lost else WAITING, "the API does not answer"))
                continue
            actions = list(phase.run(Context(environment, node, facts, recipe, control=control, record=record)))
            stops = [a for a in actions if isinstance(a, Stop)]
            if stops:
                cells.append(Cell(phase.name, BROKEN, stops[0].reason))
            elif actions:
                # neither a wait at the beginning nor the note of whose the machine is says why something is to do
                changes = [a for a in actions if isinstance(a, Step) and not a.id.endswith(".identity")] or actions
                cells.append(Cell(phase.name, TO_DO, getattr(changes[0], "title", "")))
            else:
                cells.append(Cell(phase.name, DONE))
        ready = control.node_ready(facts.hostname) if control and control.initialised else None
        rows.append(Row(node, tuple(cells), ready))
    return rows


def reasons(rows: Sequence[Row]) -> Iterator[str]:
    """Lines that say why nodes are not done, each reason once, with its nodes."""
    said: list[tuple[str, tuple[str, str]]] = []
    for row in rows:
        name = row.node.name
        if row.reason:
            said.append((name, ("", row.reason.removeprefix(f"{name}: "))))
        phases: dict[tuple[str, str], list[str]] = {}  # by state and reason: one cause may stop every phase
        for cell in row.cells:
            if cell.state not in (DONE, WAITING) and cell.reason:
                phases.setdefault((cell.state, cell.reason), []).append(cell.phase)
        said += [(name, (", ".join(some), f"{state}: {reason}")) for (state, reason), some in phases.items()]
    for same in folded(said, lambda one: one, own_words(row.node for row in rows)):
        where, why = same.first
        yield f"{same.title}{' ' * bool(where)}{where}: {same.remedy(why)}"
