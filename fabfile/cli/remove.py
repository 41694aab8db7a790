"""`inv cluster.remove`: a worker leaves its cluster in order; or its machine is gone, and only its Node is left to delete."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import KubefabError, Unreachable, UsageError
from . import draining
from .common import ATTENDING, Options, command, described, exit_with, one_node, print_json, several

if TYPE_CHECKING:
    from ..context import Choices
    from ..inventory import Environment, Node
    from ..nodes.facts import NodeFacts
    from ..nodes.workload import Attachment, Workload
    from ..phases.drain import Hindrance
    from .session import Session


@command(
    "env", *ATTENDING, optional=["yes"],
    help={
        **draining.HELP,
        "node": "the workers to remove, each by its name; several with commas",
        "gone": "for a machine that will not come back: it must not answer, and its node must not be Ready",
        "plan": "only show what is in its way, and what would be done",
    },
)  # fmt: skip
def remove(
    *,
    node: str = "",
    yes: str | bool = "",
    force_pods: str = "",
    delete_emptydir_data: bool = False,
    gone: bool = False,
    foreign: str = "",
    purge: bool = False,
    keep_images: bool = False,
    plan: bool = False,
    options: Options,
) -> None:
    """Take workers off in order: drain, delete, reset, audit."""
    from ..context import Choices
    from .confirm import agreed
    from .reset import named
    from .session import opened

    environment = described(options)
    if not environment.settings.release.configured:
        raise UsageError("nodes are removed from Kubernetes 1.35 and later; nothing was touched", "`fab -H w2 reset`")
    words = several("--node", node)
    if not words:
        raise UsageError("no node named; nothing was touched", "`inv cluster.remove --node w2`")
    choices = Choices(
        whole_cluster=False,
        purge=purge,
        keep_images=keep_images,
        force_pods=draining.forced(force_pods),
        delete_emptydir=delete_emptydir_data,
    )
    asking = not (plan or agreed(environment, yes) or environment.settings.simulated)
    if not environment.settings.simulated and not gone:
        _workers(environment, words)
    if asking and (options.json or not sys.stdin.isatty()):
        raise UsageError(
            f"removing nodes of {environment.name} needs a confirmation; nothing was touched",
            f"--yes {environment.name}",
        )
    with opened(options) as session:
        if gone:
            code = _forget(session, words, choices, options, asking=asking, plan=plan)
        else:
            nodes = _workers(session.environment, words)
            chosen = _with(choices, foreign=named("--foreign", foreign, nodes))
            code = _take_off(session, nodes, chosen, options, asking=asking, plan=plan)
    exit_with(code)


def _with(choices: Choices, **changes: Any) -> Choices:
    from dataclasses import replace

    return replace(choices, **changes)


def _workers(environment: Environment, words: Sequence[str]) -> list[Node]:
    """The workers of these names. Raises UsageError for another name, a group of several, and a control plane."""
    nodes = [one_node(environment, word) for word in words]
    for one in nodes:
        if one.control_plane:
            raise UsageError(
                f"{one.name} is the control plane, and the cluster is in it; nothing was touched",
                f"`inv cluster.reset {environment.option}` ends the whole cluster",
            )
    return list(dict.fromkeys(nodes))


def _take_off(
    session: Session, nodes: list[Node], choices: Choices, options: Options, *, asking: bool, plan: bool
) -> int:
    from ..nodes.facts import facts_of
    from ..phases import RESET
    from ..phases.drain import hindrances
    from ..phases.leave import ends_in_order
    from ..views import results
    from .confirm import confirm
    from .reset import refuse_stops

    environment = session.environment
    seen, control = draining.surveyed(session, nodes)
    facts = facts_of(seen)
    away = [one for one in nodes if one.name not in facts]
    if away:
        raise _away(environment, away, seen)
    called = draining.members(environment, seen, nodes)
    drains = {name: node for name, node in called.items() if ends_in_order(control, facts[node], name)}
    found = draining.asked(session, seen, list(drains))
    rows = hindrances(found, drains, choices)
    crowded = _crowded(found, called, choices)
    if plan:
        _show(session, nodes, facts, choices, rows, called, options)
        if crowded and not options.json:
            session.console.print(crowded.message, soft_wrap=True)
        return 0
    if not options.json and not options.quiet:
        draining.show(session.console, rows, called)
    refuse_stops(environment, nodes, facts, choices)
    if why := draining.refusal(rows, called) or crowded:
        raise why
    if asking:
        confirm(environment, nodes)
    result = session.run([RESET], nodes, choices)
    if not result.failed:
        session.summary(result, [RESET])
        for line in _lines(environment, nodes):
            session.console.print(line, soft_wrap=True)
    if options.json:
        print_json(_data(environment, results.of_run(environment.name, result), nodes, ()))
    return result.exit_code


def _silent(said: object) -> bool:
    """Whether a survey found nothing at all at a node's address."""
    return isinstance(said, Unreachable) and said.silent


def _away(environment: Environment, away: Sequence[Node], seen: Mapping[str, Any]) -> KubefabError:
    """Why nodes that cannot be observed are not removed, and what to do with each that will not come back."""
    names = ",".join(one.name for one in away)
    gone = f"`inv cluster.remove --node {names} --gone {environment.option}`"
    what = "\n".join(f"{one.name}: {seen[one.name].message.removeprefix(f'{one.name}: ')}" for one in away)
    unreached = all(_silent(seen[one.name]) for one in away)
    remedy = (
        f"bring it back, then run this again; if it will not come back: {gone}"
        if unreached
        else seen[away[0].name].remedy
    )
    return KubefabError(what, f"no node was touched; {remedy}")


def _crowded(found: Workload, called: Mapping[str, str], choices: Choices) -> KubefabError | None:
    """Why the others cannot take what runs there: pods of others than Kubernetes and kubefab that have room nowhere."""
    from ..phases.drain import homeless
    from ..text.cleaning import listed
    from ..views.contents import standard

    labels = ("app", "k8s-app", "component")
    left = [
        pod
        for pod in homeless(found, called, choices)
        if not standard(pod.namespace, [pod.labels.get(k, "") for k in labels])
    ]
    if not left:
        return None
    takes = [place.name for place in found.places if place.open and place.name not in called]
    names = [pod.title for pod in left]
    what = (
        f"no other node takes pods: {listed(names, 3)}"
        if not takes
        else f"{listed(names, 3)}: no room on {listed(takes, 6)} for what {'it asks' if len(left) == 1 else 'they ask'} for"
    )
    forced = f"--force-pods {','.join(names[:20])}"
    return KubefabError(
        what,
        f"no node was touched; add a node first, or ask for less. To remove it all the same, while they wait for room: {forced}",
    )


def _show(
    session: Session, nodes: Sequence[Node], facts: Mapping[str, NodeFacts], choices: Choices, rows: Sequence[Hindrance],
    called: Mapping[str, str], options: Options,
) -> None:  # fmt: skip
    from ..phases import RESET
    from ..views import plan as planning

    planned = list(planning.plan(session.environment, [RESET], nodes, facts, choices))
    draining.show_plan(session, planned, rows, called, options)


def _lines(environment: Environment, nodes: Sequence[Node]) -> list[str]:
    """What is left to do by hand: the lines of hosts.env."""
    lines = [one.line for one in nodes if one.line]
    if not lines:
        return []
    again = (
        f"the next `inv cluster.bootstrap {environment.option}` would join {'it' if len(lines) == 1 else 'them'} again"
    )
    return [f"now take {' and '.join(lines)} out: while {'it is' if len(lines) == 1 else 'they are'} there, {again}"]


# --- a machine that will not come back


def _forget(
    session: Session, words: Sequence[str], choices: Choices, options: Options, *, asking: bool, plan: bool
) -> int:
    from ..nodes.facts import facts_of
    from ..phases import GONE
    from ..views import plan as planning
    from ..views import results
    from .confirm import ask

    environment = session.environment
    nodes = [one for word in words for one in environment.nodes if one.name == word]
    _workers(environment, [one.name for one in nodes])
    seen, control = draining.surveyed(session, nodes)
    for one in nodes:
        said = seen[one.name]
        if not _silent(said):
            why = f" ({said.message.removeprefix(f'{one.name}: ')})" if isinstance(said, KubefabError) else ""
            again = f"`inv cluster.remove --node {one.name} {environment.option}`"
            what = f"{one.name}: something answers at its address{why}; nothing was touched"
            raise KubefabError(what, f"without --gone: {again}")
    called = _objects(environment, control, seen, words, nodes)
    if ready := [name for name in called if control.node_ready(name)]:
        raise KubefabError(
            f"node {' and '.join(ready)} is Ready: its machine is there; nothing was touched",
            "without --gone it is drained first; a machine that hosts.env lacks needs its line there",
        )
    attached = [one for one in draining.asked(session, seen, ()).attachments if one.node in called]
    chosen = _with(choices, gone=frozenset(called))
    for volume in attached if not options.json else ():
        session.console.print(f"{volume.node}: volume {volume.volume or volume.name} is attached to it", soft_wrap=True)
    if plan:
        planned = list(planning.plan(environment, [GONE], environment.control_planes, facts_of(seen), chosen))
        draining.show_plan(session, planned, (), called, options)
        return 0
    if asking:
        print(
            f"delete node {', '.join(called)} of {environment.name}; its pods start on others, and what is only on its disks is lost"
        )
        ask(environment.name)
    result = session.run([GONE], [environment.control_plane], chosen)
    if not result.failed:
        session.summary(result, [GONE])
        for line in _owed(environment, nodes, attached):
            session.console.print(line, soft_wrap=True)
    if options.json:
        print_json(_data(environment, results.of_run(environment.name, result), nodes, attached))
    return result.exit_code


def _objects(
    environment: Environment, control: NodeFacts, seen: Mapping[str, Any], words: Sequence[str], nodes: Sequence[Node]
) -> dict[str, str]:
    """The Nodes that these words mean, each with the word: of a node of hosts.env, or of one that the cluster has and hosts.env lacks."""
    from ..text.nearest import did_you_mean
    from ..views.contents import strangers

    called = draining.members(environment, seen, nodes)
    strange = strangers(environment, control, ())
    for word in words:
        if word in (one.name for one in nodes):
            if word not in called.values():
                raise KubefabError(
                    f"{word}: the cluster has no node of it; nothing was touched", "take its line out of hosts.env"
                )
        elif word in strange:
            called[word] = word
        else:
            known = [*(one.name for one in environment.workers), *strange]
            raise UsageError(
                f"--node {word}: no such node; nothing was touched",
                f"{did_you_mean(word, known)}one of {', '.join(known[:12])}",
            )
    return called


def _owed(environment: Environment, nodes: Sequence[Node], attached: Sequence[Attachment]) -> list[str]:
    """What a person must know afterwards: volumes that may still be attached, and what the machine is owed if it comes back after all."""
    lines = []
    if attached:
        named = ", ".join(one.volume or one.name for one in attached)
        lines.append(
            f"still attached to it until the storage's controller detaches {'it' if len(attached) == 1 else 'them'}: {named}"
        )
    if nodes:
        names = ",".join(one.name for one in nodes)
        lines.append(
            f"if {names} comes back after all, it still has its part of the cluster: `inv cluster.remove --node {names} {environment.option}` "
            "resets it, as long as hosts.env has its line"
        )
    return [*lines, *_lines(environment, nodes)]


def _data(
    environment: Environment, run: dict[str, Any], nodes: Sequence[Node], attached: Sequence[Attachment]
) -> dict[str, Any]:
    volumes = [{"node": one.node, "volume": one.volume or one.name} for one in attached]
    return {**run, "lines": [one.line for one in nodes if one.line], "attached": volumes}
