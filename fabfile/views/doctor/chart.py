"""What the doctor judges: every node as observed, and the nodes that could not be observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ...backups.latest import Latest
from ...context import Choices, Context, answering
from ...errors import KubefabError
from ...inventory import Environment, Node
from ...nodes.facts import NodeFacts
from ...recipes.kubeadm import Recipe, recipe_for
from ...records import dataclass
from .clocks import Reading
from .questions import NodeAnswers


@dataclass(frozen=True)
class Patient:
    """One reachable node: its facts, and what the doctor's own script saw (None: it did not work there).

    `unexamined` says what was not examined, and why: no finding must mean that nothing is wrong.
    """

    node: Node
    facts: NodeFacts
    answers: NodeAnswers | None = None
    unexamined: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.node.name


@dataclass(frozen=True)
class Chart:
    """All nodes. `now` is the operator's time in seconds since 1970; `latest` the last backup from here, None where it was not looked for."""

    environment: Environment
    patients: tuple[Patient, ...]
    unreachable: Mapping[str, KubefabError] = field(default_factory=dict)
    clocks: Mapping[str, Reading] = field(default_factory=dict)
    now: float = 0.0
    latest: Latest | None = None

    @property
    def recipe(self) -> Recipe:
        return recipe_for(self.environment)

    @property
    def control(self) -> NodeFacts | None:
        """The facts of a control plane that answers, or of the first that could be observed."""
        return answering(self.environment, {patient.name: patient.facts for patient in self.patients})

    @property
    def running(self) -> bool:
        """The API answers."""
        control = self.control
        return control is not None and control.initialised

    def context(self, patient: Patient) -> Context:
        """What a phase would be given for this node."""
        return Context(
            self.environment, patient.node, patient.facts, self.recipe, control=self.control, choices=Choices()
        )

    def fab(self, patient: Patient, phase: str) -> str:
        """The command line that runs one phase on this node."""
        return self.context(patient).fab(phase)
