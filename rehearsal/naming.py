"""Which nodes a rehearsal has, by name and address. It loads nothing heavy: a plan shows them without starting one."""

from __future__ import annotations

from dataclasses import replace

from fabfile.errors import UsageError
from fabfile.inventory import Environment, Node, with_nodes

from .store import latest

STATE_FILE = "rehearsal.state"
LOOPBACK = "127.0.0.1"
USER = "ops"
FEWER = 6  # workers than there are parts of POD_CIDR: the control plane has one, and a spare is left for nodes that come again


def with_its_nodes(environment: Environment) -> Environment:
    """The environment with the nodes that its next simulation has, as it is remembered; nothing is started or written."""
    meta = latest(environment.state / STATE_FILE).get("meta", {})
    described = {node.name: node for node in environment.nodes}
    made = (
        Node(name, LOOPBACK, address_of(number), number == 0, USER)
        for number, name in enumerate(names_of(environment, meta.get("workers")))
    )
    return with_nodes(environment, [labelled(node, described.get(node.name)) for node in made])


def names_of(environment: Environment, workers: int | None) -> list[str]:
    """The nodes' names, control plane first. Raises UsageError for too many."""
    listed = [node.name for node in environment.workers]
    count = workers or len(listed) or environment.settings.simulated_workers
    most = max(0, (1 << max(0, 24 - environment.settings.pod_cidr.prefixlen)) - FEWER)
    if count > most:
        raise UsageError(f"--workers {count}: at most {most}", "flannel gives each node a /24 of POD_CIDR")
    taken = listed[:count]
    more = (f"w{number}" for number in range(1, count + len(listed) + 1))
    taken += [
        name for _, name in zip(range(count - len(taken)), (name for name in more if name not in listed), strict=False)
    ]
    return [environment.control_plane.name, *taken]


def address_of(number: int) -> str:
    """The address of the node of that number among its peers."""
    return "10.2.0.10" if number == 0 else f"10.2.{1 + (number - 1) // 250}.{1 + (number - 1) % 250}"


def labelled(node: Node, described: Node | None) -> Node:
    """A simulated node with what its line in hosts.env says of it, but for addresses."""
    return replace(node, labels=described.labels, taints=described.taints, line=described.line) if described else node
