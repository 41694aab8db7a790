"""What the drains of a run will meet, asked before its first cordon: of all nodes at once, as `inv cluster.upgrade` and `reboot` do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..context import Choices, answering, answering_node
from ..errors import KubefabError
from ..identity import own_nodes
from ..inventory import Node
from ..nodes.facts import NodeFacts, facts_of
from ..nodes.workload import ask
from ..phases.drain import hindrances
from ..phases.follow import stays
from .observer import Observer


def foreseen(
    observer: Observer, nodes: Sequence[Node], empties: Callable[[Node, NodeFacts], bool], choices: Choices
) -> KubefabError | None:
    """Why these nodes cannot all be emptied, or why that could not be asked; None where they can.

    `empties` says of a node and its facts whether the run will drain it; a node that cannot be observed fails by itself.
    """
    environment = observer.environment
    facts = facts_of(observer.survey(dict.fromkeys((*environment.control_planes, *nodes))))
    control, where = answering(environment, facts), answering_node(environment, facts)
    if control is None or where is None or not control.initialised:
        return None
    drained = [node for node in nodes if node.name in facts and empties(node, facts[node.name])]
    called = {name: node.name for node in drained for name in own_nodes(control, node, facts[node.name])}
    try:
        return stays(hindrances(ask(observer.group.of(where), list(called)), called, choices), called)
    except KubefabError as error:
        return error
