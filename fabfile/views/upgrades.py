"""The upgrade as a whole: to which release, what is in its way, in which waves, and how far each node is. No node is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..context import Choices, Context, Runtime, answering
from ..errors import UsageError
from ..identity import recall
from ..inventory import Environment, Node, with_release
from ..inventory.settings import KEYS
from ..nodes.facts import NodeFacts, facts_of
from ..phases import ADDONS, AHEAD, ETCD, KUBELET, NETWORK, PLANE, TOOLS, Phase
from ..phases import upgrade as steps
from ..phases.examined import Fleet
from ..phases.supplies import verdicts
from ..recipes.changes import numbers
from ..recipes.kubeadm import RELEASES, recipe_for
from ..records import dataclass
from ..text.cleaning import spans
from .plan import Planned, plan

CONTROL = (TOOLS, ETCD, PLANE, KUBELET, NETWORK, ADDONS)
WORKER = (KUBELET, ADDONS)
PHASES = (AHEAD, *CONTROL)
_OWN = (AHEAD, TOOLS, ETCD, PLANE, KUBELET)


# --- to which release


def target(environment: Environment, to: str, seen: Mapping[str, object]) -> str:
    """The patch release to go to: `--to 1.37.2` as it is; `--to 1.37`, the newest that we know or that a node of the cluster has.

    Without `--to` hosts.env says it. Raises UsageError for what is no release of ours.
    """
    wanted = to.strip().removeprefix("v") or environment.settings.kubernetes
    try:
        wanted = str(KEYS["KUBERNETES"].metadata["parse"](wanted))
    except ValueError as error:
        raise UsageError(f"--to: {error}", "--to 1.37, or a patch like --to 1.37.2") from None
    asked = with_release(environment, wanted)
    if not asked.settings.release.configured or not environment.settings.release.configured:
        raise UsageError(
            "Kubernetes 1.5 has no upgrade: its kubeadm knows none, and no release may skip another",
            "make a new cluster beside it, and move what runs there",
        )
    recipe_for(asked)
    if wanted.count(".") == 2:
        return wanted
    there = [
        release
        for facts in seen.values()
        if isinstance(facts, NodeFacts)
        for release in (facts.release("kubeadm"), facts.release("kubelet"))
        if release.startswith(f"{wanted}.")
    ]
    return max((RELEASES[wanted][0], *there), key=numbers)


def lowest(facts: Mapping[str, NodeFacts], control: str) -> str:
    """The lowest release that a node of the cluster still has; empty where none was seen."""
    central = facts.get(control)
    found = [present(central)] if central else []
    found += [central.kubelet_release(one.hostname) for one in facts.values()] if central else []
    return min(filter(None, found), key=numbers, default="")


def present(facts: NodeFacts) -> str:
    """The release of a control plane: the lowest of what its static pods and its configuration have; empty where it was not seen."""
    found = [one for one in (*steps.plane_releases(facts).values(), facts.api_release) if one]
    return min(found, key=numbers, default=facts.release("kubelet"))


def resumed(
    environment: Environment, facts: Mapping[str, NodeFacts], choices: Choices, only: Sequence[Node]
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The nodes with which an upgrade goes on, as they are half way, and those that have still to begin; `only` were asked for.

    None goes on before the control plane that has still to begin; while no API answers that could be asked about the others, it goes on alone.
    """
    control, contexts = environment.control_plane, contexts_of(environment, facts, choices)
    due = [
        ctx
        for name, ctx in contexts.items()
        if (ctx.node == control or (ctx.node in only and not ctx.node.control_plane)) and left(ctx)
    ]
    half = [ctx.node for ctx in due if steps.begun(ctx)]
    if any(ctx.node == control for ctx in due):
        answers = facts[control.name].initialised
        half = [node for node in half if answers or node == control] if control in half else []
    return tuple(half), tuple(ctx.node for ctx in due if ctx.node not in half)


# --- in which waves


@dataclass(frozen=True)
class Wave:
    """Nodes that go through some phases at the same time; the next wave begins when all of them are done."""

    title: str
    phases: tuple[Phase, ...]
    nodes: tuple[Node, ...]


def batch_size(text: str, workers: int) -> int:
    """How many workers go at a time: `3`, or `20%` of all workers, at least one. Raises UsageError."""
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    if not number.isdecimal() or int(number) < 1 or (percent and int(number) > 100):
        raise UsageError(
            f"--batch {text}: neither a number from 1 nor a share of the workers", "--batch 2, or --batch 20%"
        )
    return max(1, workers * int(number) // 100) if percent else int(number)


def waves(
    environment: Environment,
    facts: Mapping[str, NodeFacts],
    choices: Choices,
    *,
    only: Sequence[Node],
    batch: int,
    control_plane_only: bool,
) -> list[Wave]:
    """The waves of an upgrade to the environment's release: only what is left to do, so an empty list means that all is done.

    `only` are the nodes that were asked for. The control plane goes before any worker, whether it was asked for or not.
    """
    control = environment.control_plane
    contexts = contexts_of(environment, facts, choices)
    due = [node for node in environment.nodes if node.name in contexts and left(contexts[node.name])]
    workers = [node for node in due if not node.control_plane and node in only and not control_plane_only]
    # what was begun is ended first: it is cordoned
    workers.sort(key=lambda node: not any(asks(contexts[node.name]) for asks in (steps.begun, steps.ours)))
    central = [node for node in due if node == control]
    every = (*central, *workers)
    if not every:
        return []
    made = [Wave("all nodes: packages and images ahead", (AHEAD,), every)]
    if central:
        made.append(Wave("the control plane", CONTROL, tuple(central)))
    batches = [tuple(workers[at : at + batch]) for at in range(0, len(workers), batch)]
    for number, nodes in enumerate(batches, 1):
        count = f" (batch {number} of {len(batches)})" if len(batches) > 1 else ""
        made.append(
            Wave(
                f"{'workers' if len(nodes) > 1 else 'worker'} {spans([node.name for node in nodes])}{count}",
                WORKER,
                nodes,
            )
        )
    return made


def contexts_of(environment: Environment, facts: Mapping[str, NodeFacts], choices: Choices) -> dict[str, Context]:
    """A context for each node that was seen."""
    recipe, record, control = recipe_for(environment), recall(environment), answering(environment, facts)
    return {
        node.name: Context(environment, node, facts[node.name], recipe, control, choices=choices, record=record)
        for node in environment.nodes
        if node.name in facts
    }


def undone(environment: Environment, facts: Mapping[str, NodeFacts], choices: Choices) -> frozenset[str]:
    """The nodes whose containerd may change: those that get the release, and with `next` those that have it too."""
    contexts = contexts_of(environment, facts, choices)
    return frozenset(n for n, ctx in contexts.items() if choices.containerd == "next" or not steps.kubelet_done(ctx))


def runtimes(fleet: Fleet, facts: Mapping[str, NodeFacts]) -> dict[str, Runtime]:
    """The containerd.io that each node is to have, by the node's name; a node that has the release keeps its own, unless `next` is asked for."""
    due = undone(fleet.environment, facts, fleet.choices)
    return {
        name: Runtime(one.version, one.back) for name, one in verdicts(fleet).items() if one.version and name in due
    }


def left(ctx: Context) -> bool:
    """Whether something of the upgrade is left to do on a node, our cordon included."""
    return any(True for phase in _OWN if ctx.node.role in phase.roles for _ in phase.run(ctx))


def planned(
    environment: Environment, made: Iterable[Wave], facts: Mapping[str, NodeFacts], choices: Choices
) -> Iterator[Planned]:
    """What the waves will do, wave by wave: workers are planned as after the control plane's upgrade."""
    now = dict(facts)
    control = environment.control_plane.name
    for wave in made:
        within = [node for node in wave.nodes if node.name in now]
        names = {node.name for node in within} | {control}
        yield from plan(environment, wave.phases, within, {name: now[name] for name in names if name in now}, choices)
        if AHEAD in wave.phases:
            now |= {name: steps.fetched(one) for name, one in contexts_of(environment, now, choices).items()}
        if control in {node.name for node in within} and PLANE in wave.phases:
            now[control] = steps.upgraded(now[control], recipe_for(environment).version)


def states(environment: Environment, seen: Mapping[str, object], choices: Choices) -> dict[str, str]:
    """How far each node is, for people: "1.37.2", or what of it has which release, or why it was not seen."""
    facts = facts_of(seen)
    contexts = contexts_of(environment, facts, choices)
    return {
        node.name: steps.state(contexts[node.name])
        if node.name in contexts
        else str(getattr(seen.get(node.name), "message", "not seen")).removeprefix(f"{node.name}: ")
        for node in environment.nodes
    }


def line_to_change(file: Environment, version: str) -> str:
    """The line of hosts.env that no longer says what the cluster runs, as it must be now; empty where it agrees."""
    says = file.settings.kubernetes
    minor = ".".join(version.split(".")[:2])
    if says in (version, minor):
        return ""
    return f"KUBERNETES={minor if says.count('.') == 1 else version}"
