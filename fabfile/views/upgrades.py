"""The upgrade as a whole: to which release, what is in its way, in which waves, and how far each node is. No node is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..context import Choices, Context, answering
from ..errors import KubefabError, UsageError
from ..identity import own_nodes, recall
from ..inventory import Environment, Node, with_release
from ..inventory.settings import KEYS
from ..nodes.facts import NodeFacts, facts_of
from ..phases import ADDONS, AHEAD, ETCD, KUBELET, NETWORK, PLANE, TOOLS, Phase
from ..phases import upgrade as steps
from ..phases.drain import our_cordon
from ..phases.examined import Check
from ..recipes.changes import numbers
from ..recipes.kubeadm import RELEASES, recipe_for
from ..recipes.packages import PINNED
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


# --- what is in its way


def begun(facts: Mapping[str, NodeFacts], version: str) -> bool:
    """Whether a node has a package of that release: what was begun is ended, and what was examined before it began is not asked again."""
    return any(one.release(name) == version for one in facts.values() for name in PINNED)


def hindrances(environment: Environment, version: str, seen: Mapping[str, object]) -> Iterator[Check]:
    """What is in the way of an upgrade to that release, all at once. `seen` has facts or an error by the node's name."""
    option, control = environment.option, environment.control_plane
    for name, found in seen.items():
        if isinstance(found, KubefabError):
            yield _against("nodes.unseen", name, found.message.removeprefix(f"{name}: "), found.remedy)
    central = seen.get(control.name)
    if not isinstance(central, NodeFacts):
        return
    begun = central.release("kubeadm") == version
    if not central.in_cluster:
        yield _against(
            "nodes.api",
            control.name,
            "there is no cluster yet",
            f"`inv cluster.bootstrap {option} --kubernetes {version}` makes one",
        )
        return
    if not central.api_ready and not begun:
        yield _against("nodes.api", control.name, "the API does not answer", f"`inv cluster.doctor {option}` says why")
        return
    now = present(central)
    if now and (skew := _skew(now, version, option)):
        yield _against("versions.skew", control.name, *skew)
        return
    if not central.api_ready:
        return
    for node in environment.nodes:
        facts = seen.get(node.name)
        if isinstance(facts, NodeFacts):
            yield from _of_node(environment, node, facts, central, version)


def left_out(environment: Environment, facts: Mapping[str, NodeFacts], only: Sequence[Node]) -> Iterator[Check]:
    """Workers that an earlier run of ours left cordoned, and that are not among those asked for: no further one is cordoned before they are done."""
    control = answering(environment, facts)
    for node in environment.workers if control else ():
        if node in only or node.name not in facts:
            continue
        names = own_nodes(control, node, facts[node.name]) if control else []
        if any(our_cordon((control.node_object(name) if control else None) or {}, environment.name) for name in names):
            seen = "cordoned by a run of ours that did not end, and --limit leaves it out: no further node is drained before it is back"
            yield _against("nodes.cordoned", node.name, seen, f"--limit with {node.name} as well, or no --limit")


def _against(id: str, node: str, seen: str, remedy: str) -> Check:
    return Check(id, "stop", f"{node}: {seen}", remedy)


def _skew(now: str, version: str, option: str) -> tuple[str, str] | None:
    """Why the cluster does not go from one release to the other in one upgrade."""
    here, there = numbers(now), numbers(version)
    if there < here:
        return (
            f"the control plane runs {now}, and Kubernetes does not go back to {version}",
            f"`inv cluster.upgrade {option} --to {now}` ends what was begun",
        )
    if here[:2] == there[:2] or (here[0], here[1] + 1) == there[:2]:
        return None
    following = f"{here[0]}.{here[1] + 1}"
    return (
        f"the control plane runs {now}: it goes one minor release at a time, and {version} is further",
        f"`inv cluster.upgrade {option} --to {following}` first",
    )


def _of_node(
    environment: Environment, node: Node, facts: NodeFacts, central: NodeFacts, version: str
) -> Iterator[Check]:
    listed, old = central.node_object(facts.hostname) is not None, central.kubelet_release(facts.hostname)
    if not listed:
        yield _against(
            "nodes.ready",
            node.name,
            "it is not in the cluster",
            f"`inv cluster.bootstrap {environment.option} --limit {node.name}`, with the release that is there, brings it in",
        )
        return
    plane = present(central)
    if old and plane and numbers(old)[:2] < numbers(plane)[:2] < numbers(version)[:2]:
        yield _against(
            "versions.half",
            node.name,
            f"its kubelet is still {old}, the control plane {plane}: an upgrade that did not end",
            f"`inv cluster.upgrade {environment.option} --to {plane}` first",
        )
    if not central.node_ready(facts.hostname) and facts.release("kubeadm") != version:
        yield _against(
            "nodes.ready",
            node.name,
            "it is not Ready",
            f"`inv cluster.doctor {environment.option}` says why; to leave it out: --limit with the others",
        )


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
    version = recipe_for(environment).version  # what was begun is ended first: it is cordoned
    workers.sort(key=lambda node: facts[node.name].release("kubeadm") != version)
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
