"""How a run goes and how it ended: what the pipelines report."""

from __future__ import annotations

from dataclasses import field
from typing import Literal, Protocol

from ..errors import Interrupted, KubefabError
from ..nodes.facts import NodeFacts
from ..records import dataclass

State = Literal["done", "failed", "blocked", "interrupted"]


@dataclass
class NodeResult:
    """How one node's pipeline ended.

    `state` is blocked where this node waits for another one that failed; `steps` counts the changes that were applied;
    `seconds` is by phase, like {"prep": 0.4, "install": 31.0}; `facts` is the last observation.
    """

    node: str
    state: State = "done"
    phase: str = ""
    step: str = ""
    error: KubefabError | None = None
    steps: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    facts: NodeFacts | None = None


@dataclass
class RunResult:
    """How a run ended, node by node in inventory order; `seconds` is the whole run's, `journal` the path of a journal that has it all."""

    nodes: dict[str, NodeResult]
    seconds: float = 0.0
    journal: str = ""

    @property
    def failed(self) -> list[NodeResult]:
        """Every node that did not come to its end, whatever the reason."""
        return [r for r in self.nodes.values() if r.state != "done"]

    @property
    def steps(self) -> int:
        """How many changes were applied on all nodes."""
        return sum(r.steps for r in self.nodes.values())

    @property
    def exit_code(self) -> int:
        """The exit code of the command: 0, 1, or 130 for a run that was interrupted."""
        if any(r.state == "interrupted" for r in self.nodes.values()):
            return Interrupted.exit_code
        return 1 if self.failed else 0


class Reporter(Protocol):
    """Hears how the run goes: the live display, or a test's recorder."""

    def doing(self, node: str, phase: str, text: str) -> None: ...

    def phase_done(self, node: str, phase: str, steps: int, seconds: float) -> None: ...

    def node_done(self, node: str, result: NodeResult) -> None: ...

    def note(self, text: str) -> None: ...
