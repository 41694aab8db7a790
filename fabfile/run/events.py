"""What a run writes into its journal, with the time of the node that it concerns.

| event | fields | when |
|---|---|---|
| run | command, pid, nodes, phases | the run began |
| observed | node, seconds | the observing script answered |
| plan | node, phase, steps | a phase decided |
| start, end, failed | node, step, seconds; start: on; failed: error, output | an action began, ended, failed |
| seen, remedy | node, step, seen; remedy: remedy | a wait saw something else than before; it applied a remedy |
| undone | node, on, step | what the run ended in the middle of was taken back |
| passed | node, gate, seconds | a gate was open |
| phase | node, phase, steps, seconds | a phase ended |
| link | node, step, error | an established connection broke |
| crash | node, trace | a fault of kubefab's own |
| node | node, state, phase, step, steps, error | a pipeline ended |
| token | error | the join token could not be deleted |
| end | seconds, exit, steps | the run ended (a line without `node`) |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from .journal import Journal
from .retry import Clock, RealClock

Event = Literal[
    "observed", "plan", "start", "end", "failed", "seen", "remedy", "passed", "phase", "link", "crash", "node", "token",
    "undone"
]  # fmt: skip
_REAL = RealClock()


def real_clock(node: str) -> Clock:
    """The clock of real nodes: this machine's."""
    return _REAL


class Events:
    """The journal and the clocks in one hand.

    `clock` gives a node's clock by its name; `journal` is None where nothing is kept.
    """

    def __init__(self, journal: Journal | None = None, clock: Callable[[str], Clock] | None = None) -> None:
        self.journal = journal
        self.clock = clock or real_clock

    def now(self, node: str) -> float:
        """A node's clock, in seconds."""
        return self.clock(node).now()

    def since(self, node: str, started: float) -> float:
        """Seconds by the node's clock since it read `started`."""
        return round(self.now(node) - started, 3)

    def log(self, event: Event, *, later: bool = False, **fields: object) -> None:
        """Write one event; `t` is the node's own clock, which in a rehearsal is not this machine's. `later` is the journal's."""
        if self.journal:
            if "node" in fields:
                fields["t"] = round(self.now(str(fields["node"])), 3)
            self.journal.write(event, later=later, **fields)
