"""What is in the way of a drain, found before anything is changed: asked, shown, refused or agreed to. phases/drain.py judges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import KubefabError, UsageError
from .common import print_json, several

if TYPE_CHECKING:
    from rich.console import Console

    from ..inventory import Environment, Node
    from ..nodes.facts import NodeFacts
    from ..nodes.workload import Workload
    from ..phases.drain import Hindrance
    from ..views.plan import Planned
    from .common import Options
    from .session import Session

HELP = {
    "force-pods": "pods that are deleted though nothing makes them again or a budget keeps them, each as NAMESPACE/NAME; several with commas",
    "delete-emptydir-data": "what pods have in emptyDir volumes may be lost",
}


def forced(text: str) -> frozenset[str]:
    """The pods of --force-pods. Raises UsageError."""
    from ..text.forms import Name

    named = frozenset(several("--force-pods", text))
    for word in sorted(named):
        namespace, slash, name = word.partition("/")
        if not (slash and Name.fits(namespace) and Name.fits(name)):
            raise UsageError(
                f"--force-pods {word}: not a pod; nothing was touched", "--force-pods shop/web-0,shop/web-1"
            )
    return named


def members(environment: Environment, seen: Mapping[str, Any], nodes: Sequence[Node]) -> dict[str, str]:
    """The names in the API of these nodes, each with its node's name here; `seen` has facts, or errors, by the node's name."""
    from ..context import answering
    from ..identity import is_machine, own_nodes
    from ..nodes.facts import NodeFacts

    control = answering(environment, seen)
    found: dict[str, str] = {}
    if control is None:
        return found
    for node in nodes:
        facts = seen.get(node.name)
        names = (
            list(own_nodes(control, node, facts))
            if isinstance(facts, NodeFacts)
            else [str(one["metadata"]["name"]) for one in control.nodes if is_machine(one, node, NodeFacts())]
        )
        found |= dict.fromkeys(names, node.name)
    return found


def looked(session: Session, nodes: Sequence[Node]) -> tuple[dict[str, Any], NodeFacts | None]:
    """What a survey of the control planes and of these nodes brought, and the facts of the control plane; None: none was observed."""
    from ..context import answering

    environment = session.environment
    seen = session.observer().survey(dict.fromkeys((*environment.control_planes, *nodes)))
    return seen, answering(environment, seen)


def surveyed(session: Session, nodes: Sequence[Node]) -> tuple[dict[str, Any], NodeFacts]:
    """The same, of a control plane whose API answers. Raises KubefabError."""
    environment = session.environment
    seen, control = looked(session, nodes)
    if control is None:
        error = seen[environment.control_plane.name]
        raise error if isinstance(error, KubefabError) else KubefabError("no control plane was observed")
    if not control.initialised:
        raise KubefabError(
            f"the API on {environment.control_plane.name} does not answer; nothing was touched",
            f"`inv cluster.doctor {environment.option}` says why. Without it no node can be drained",
        )
    return seen, control


def asked(session: Session, seen: Mapping[str, Any], names: Sequence[str]) -> Workload:
    """What runs in the cluster, and what its API would not evict from the nodes of those names. Raises KubefabError."""
    from ..context import answering_node
    from ..nodes.workload import ask

    control = answering_node(session.environment, seen) or session.environment.control_plane
    return ask(session.group.of(control), names)


def refusal(rows: Sequence[Hindrance], called: Mapping[str, str]) -> KubefabError | None:
    """Why nothing is drained; None if nothing stops it. `called` has a node's name here by its name in the API."""
    from ..phases.drain import ways

    stops = [row for row in rows if row.stops]
    if not stops:
        return None
    what = "\n".join(dict.fromkeys(f"{called.get(row.node, row.node)}: {row.seen}" for row in stops))
    return KubefabError(what, f"no node was touched; {'; '.join(ways(stops))}; then run this again")


def show(console: Console, rows: Sequence[Hindrance], called: Mapping[str, str]) -> None:
    """The table of what a drain meets: node, pod, budget, how many may go now, whose it is, and what follows from it."""
    from rich.table import Table

    from .progress import print_table

    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "pod", "budget", "allowed now", "whose", ""):
        table.add_column(heading, no_wrap=True)
    words = {"bare": "nothing makes it again", "scratch": "data in emptyDir is lost", "refused": "the API refuses"}
    for row in rows:
        state = "agreed" if row.agreed else "waited for" if row.waits else "stops"
        said = f"{words[row.kind]}: {state}" if row.kind in words else state
        allowed = "" if row.allowed is None else str(row.allowed)
        table.add_row(called.get(row.node, row.node), row.pod, row.budget, allowed, row.whose, said)
    print_table(console, table)


def as_data(rows: Sequence[Hindrance], called: Mapping[str, str]) -> list[dict[str, Any]]:
    """The same as JSON values."""
    return [
        {"node": called.get(row.node, row.node), "pod": row.pod, "kind": row.kind, "seen": row.seen, "budget": row.budget or None,
         "allowed": row.allowed, "whose": row.whose or None, "stops": row.stops}
        for row in rows
    ]  # fmt: skip


def losses(rows: Sequence[Hindrance], called: Mapping[str, str]) -> list[str]:
    """Lines that say what a drain loses for good."""
    return [f"{called.get(row.node, row.node)}: {row.seen}" for row in rows if row.kind in ("bare", "scratch")]


def show_plan(
    session: Session, planned: Sequence[Planned], rows: Sequence[Hindrance], called: Mapping[str, str], options: Options
) -> None:
    """Print what would be done, and before it what is in its way."""
    from ..views import plan as planning

    environment = session.environment
    if options.json:
        data = [planning.as_data(one, environment) for one in planned]
        document = {"environment": environment.name, "observed": True, "plan": data, "unseen": []}
        print_json({**document, "hindrances": as_data(rows, called)})
        return
    show(session.console, rows, called)
    planning.show(session.console, planned, environment, commands=options.verbose)
