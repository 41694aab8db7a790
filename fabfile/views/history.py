"""The nodes and phases of a bootstrap: `--limit`, `--only-failed`, `--from`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..inventory import Environment, Node
from ..phases import BOOTSTRAP, Phase
from ..records import dataclass
from ..run.journal import journals, read
from ..text.nearest import did_you_mean


@dataclass(frozen=True)
class Past:
    """An earlier run: its nodes, its phases (by name), and the nodes that it did not finish.

    `stopped` maps each of these to the phase it stopped in, or to "" if the journal names none, as after a kill.
    """

    nodes: frozenset[str]
    phases: tuple[str, ...]
    stopped: Mapping[str, str]


def past(events: Iterable[Mapping[str, Any]]) -> Past:
    """Read a journal: its `run` event names the nodes and phases, its `node` events say how each node ended."""
    nodes: frozenset[str] = frozenset()
    phases: tuple[str, ...] = ()
    ends: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("event") == "run":
            nodes, phases = frozenset(event.get("nodes", ())), tuple(event.get("phases", ()))
        elif event.get("event") == "node":
            ends[str(event.get("node"))] = event
    stopped = {
        name: str(ends.get(name, {}).get("phase") or "") for name in nodes if ends.get(name, {}).get("state") != "done"
    }
    return Past(nodes, phases, stopped)


def unfinished(runs: Iterable[Past]) -> set[str]:
    """The nodes that still need a bootstrap after these runs, which are given oldest first.

    A node is done once runs have finished every phase from the one where it stopped to the last; a reset makes it start again.
    """
    order = [phase.name for phase in BOOTSTRAP]
    due: dict[str, int] = {}  # node → number of the phase to continue with
    for run in runs:
        numbers = [order.index(name) for name in run.phases if name in order]
        for node in run.nodes:
            if not numbers:
                due[node] = 0
            elif node in run.stopped:
                at = order.index(run.stopped[node]) if run.stopped[node] in order else numbers[0]
                due[node] = min(at, due.get(node, at)) if numbers[0] > due.get(node, at) else at
            elif node in due and numbers[0] <= due[node]:
                due[node] = max(due[node], numbers[-1] + 1)
    return {node for node, at in due.items() if at < len(order)}


def chosen_nodes(environment: Environment, nodes: tuple[Node, ...], only_failed: bool = False) -> tuple[Node, ...]:
    """Those of `nodes` to work on, in their order; none if no node failed. Raises UsageError if there was no run."""
    if not only_failed:
        return nodes
    paths = journals(environment.state / "journal")
    if not paths:
        raise UsageError(f"{environment.name} has no earlier run", "leave --only-failed out")
    failed = unfinished(_since_the_last_complete_bootstrap(environment, paths))
    return tuple(node for node in nodes if node.name in failed)


def _since_the_last_complete_bootstrap(environment: Environment, paths: Sequence[Path]) -> list[Past]:
    """The newest run over all nodes and phases and the runs after it, oldest first; earlier runs do not count."""
    runs: list[Past] = []
    every_node = {node.name for node in environment.nodes}
    for path in reversed(paths):
        runs.append(past(read(path)))
        if every_node <= runs[-1].nodes and all(phase.name in runs[-1].phases for phase in BOOTSTRAP):
            break
    return runs[::-1]


def phases_from(phases: Sequence[Phase], name: str) -> tuple[Phase, ...]:
    """The phases from the named one on. Raises UsageError for an unknown name."""
    names = [phase.name for phase in phases]
    if name and name not in names:
        raise UsageError(
            f"--from: there is no phase {name}",
            f"{did_you_mean(name, names, '--from {}')}one of {', '.join(names)}",
        )
    return tuple(phases[names.index(name) if name else 0 :])
