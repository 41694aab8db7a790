"""Which nodes and phases a bootstrap is for: `--limit`, `--only-failed`, `--from`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import UsageError
from .inventory import Environment, Node
from .journal import journals, read
from .phases import Phase


def unfinished(events: Iterable[Mapping[str, Any]]) -> set[str]:
    """The nodes that did not come to a good end in a run, by its journal; in a killed run also those that never came to one."""
    seen: set[str] = set()
    done: set[str] = set()
    only_looked_at: set[str] = set()
    whole = False
    for event in events:
        node = event.get("node")
        if not isinstance(node, str):
            whole = whole or ("exit" in event)
            continue
        (only_looked_at if event.get("event") == "observed" else seen).add(node)
        if event.get("event") == "node":
            (done.add if event.get("state") == "done" else done.discard)(node)
    return (seen if whole else seen | only_looked_at) - done


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
    failed = unfinished(read(paths[-1]))
    return tuple(node for node in nodes if node.name in failed)


def phases_from(phases: Sequence[Phase], name: str) -> tuple[Phase, ...]:
    """The phases from the named one on. Raises UsageError for a name that is none."""
    names = [phase.name for phase in phases]
    if name and name not in names:
        raise UsageError(f"--from: there is no phase {name}", f"one of {', '.join(names)}")
    return tuple(phases[names.index(name) if name else 0 :])
