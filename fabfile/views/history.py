"""Which nodes and phases a bootstrap is for: `--limit`, `--only-failed`, `--from`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..inventory import Environment, Node
from ..phases import BOOTSTRAP, EVERY, Phase
from ..run.journal import journals, read


@dataclass(frozen=True)
class Past:
    """An earlier run: the nodes and phases (by name) that it was for, and where each node stopped that came to no good end.

    `stopped` has the phase, or empty where the journal names none, as a killed run's.
    """

    nodes: frozenset[str]
    phases: tuple[str, ...]
    stopped: Mapping[str, str]


def past(events: Iterable[Mapping[str, Any]]) -> Past:
    """Read a journal. One that does not say what its run was for is read for the nodes and phases that turn up in it."""
    nodes: set[str] = set()
    phases: tuple[str, ...] = ()
    command = ""
    turned_up: set[str] = set()
    only_looked_at: set[str] = set()
    ends: dict[str, Mapping[str, Any]] = {}
    planned: set[str] = set()
    whole = False
    for event in events:
        node = event.get("node")
        if event.get("event") == "run":
            command, nodes, phases = (
                str(event.get("command", "")),
                set(event.get("nodes", ())),
                tuple(event.get("phases", ())),
            )
        if not isinstance(node, str):
            whole = whole or ("exit" in event)
            continue
        (only_looked_at if event.get("event") == "observed" else turned_up).add(node)
        if event.get("event") == "node":
            ends[node] = event
        if event.get("event") == "plan":
            planned.add(str(event.get("phase", "")))
    nodes = nodes or (turned_up if whole else turned_up | only_looked_at)
    if not phases:
        words = {word.removeprefix("cluster.") for word in command.split()}
        one_phase = (
            {"reset"} if "reset" in words else planned if "bootstrap" not in words and len(planned) == 1 else set()
        )
        phases = tuple(name for name in EVERY if name in one_phase) or tuple(phase.name for phase in BOOTSTRAP)
    stopped = {
        name: str(ends.get(name, {}).get("phase") or "") for name in nodes if ends.get(name, {}).get("state") != "done"
    }
    return Past(frozenset(nodes), phases, stopped)


def unfinished(runs: Iterable[Past]) -> set[str]:
    """The nodes that a bootstrap is still due on after these runs, oldest first.

    A node is done once a run came to a good end on it from the phase where it had stopped through the last one; a reset puts
    it back to the beginning.
    """
    order = [phase.name for phase in BOOTSTRAP]
    due: dict[str, int] = {}  # by node, which phase it is to go on with
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


def chosen_nodes(environment: Environment, limit: str = "", only_failed: bool = False) -> tuple[Node, ...]:
    """The nodes to work on, in inventory order; none when nothing failed. Raises UsageError for unknown names or where no run was."""
    names = [name for name in limit.split(",") if name]
    if limit and not names:
        raise UsageError(f"--limit {limit} names no node", "--limit w1,w2")
    nodes = environment.select(names) if limit else environment.nodes
    if not only_failed:
        return nodes
    paths = journals(environment.state / "journal")
    if not paths:
        raise UsageError(f"{environment.name} has no earlier run", "leave --only-failed out")
    failed = unfinished(_since_the_last_whole_bootstrap(environment, paths))
    return tuple(node for node in nodes if node.name in failed)


def _since_the_last_whole_bootstrap(environment: Environment, paths: Sequence[Path]) -> list[Past]:
    """Runs oldest first, from the newest that was for all nodes and phases; what was before it does not count."""
    runs: list[Past] = []
    everybody = {node.name for node in environment.nodes}
    for path in reversed(paths):
        runs.append(past(read(path)))
        if everybody <= runs[-1].nodes and all(phase.name in runs[-1].phases for phase in BOOTSTRAP):
            break
    return runs[::-1]


def phases_from(phases: Sequence[Phase], name: str) -> tuple[Phase, ...]:
    """The phases from the named one on. Raises UsageError for a name that is none."""
    names = [phase.name for phase in phases]
    if name and name not in names:
        raise UsageError(f"--from: there is no phase {name}", f"one of {', '.join(names)}")
    return tuple(phases[names.index(name) if name else 0 :])
