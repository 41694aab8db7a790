"""`inv cluster.reboot`: one node after the other, drained, rebooted, and proved before the next. phases/reboot.py says what is done on one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import KubefabError, UsageError
from . import draining
from .common import ATTENDING, Options, command, described, exit_with, one_node, print_json, several

if TYPE_CHECKING:
    from ..inventory import Environment, Node
    from ..nodes.facts import NodeFacts
    from ..run.result import RunResult
    from .session import Session


@command(
    "env", *ATTENDING,
    help={
        **draining.HELP,
        "node": "the nodes to reboot, each by its name; several with commas",
        "all": "every node, workers first",
        "plan": "only show what is in its way, and what would be done",
    },
)  # fmt: skip
def reboot(
    *,
    node: str = "",
    all: bool = False,
    force_pods: str = "",
    delete_emptydir_data: bool = False,
    plan: bool = False,
    options: Options,
) -> None:
    """Reboot nodes, one at a time, each drained first."""
    from ..context import Choices
    from .session import opened

    environment = described(options)
    if not environment.settings.release.configured:
        raise UsageError(
            "nodes are rebooted of Kubernetes 1.35 and later; nothing was touched", "drain it and reboot it by hand"
        )
    words = several("--node", node)
    if bool(words) == all:
        raise UsageError("one of --node and --all; nothing was touched", "`inv cluster.reboot --node w2`, or --all")
    choices = Choices(whole_cluster=False, force_pods=draining.forced(force_pods), delete_emptydir=delete_emptydir_data)
    if not environment.settings.simulated:
        _chosen(environment, words)
    with opened(options) as session:
        code = _reboot(session, _chosen(session.environment, words), choices, options, all=all, plan=plan)
    exit_with(code)


def _chosen(environment: Environment, words: Sequence[str]) -> list[Node]:
    """The nodes of these names, or all of them; control planes last. Raises UsageError."""
    nodes = list(dict.fromkeys(one_node(environment, word) for word in words)) if words else list(environment.nodes)
    return sorted(nodes, key=lambda one: one.control_plane)


def _reboot(session: Session, nodes: list[Node], choices: Any, options: Options, *, all: bool, plan: bool) -> int:
    from dataclasses import replace

    from ..nodes.facts import facts_of
    from ..phases import REBOOT, REBOOTS
    from ..phases.drain import hindrances
    from ..views import plan as planning
    from ..views import results

    environment = session.environment
    seen, control = draining.surveyed(session, nodes)
    facts = facts_of(seen)
    away = [one for one in nodes if one.name not in facts]
    if away:
        what = "\n".join(seen[one.name].message for one in away)
        raise KubefabError(what, f"no node was touched; {seen[away[0].name].remedy}")
    called = draining.members(environment, seen, nodes)
    if lacking := [one.name for one in nodes if one.name not in called.values()]:
        again = f"`inv cluster.status {environment.option}` says what it is"
        raise KubefabError(f"{' and '.join(lacking)}: the cluster has no node of it; nothing was touched", again)
    left = {name for name in called if _mark(control, name)}
    if all and left and left != set(called):
        nodes = [one for one in nodes if any(called[name] == one.name for name in left)]
        called = {name: one for name, one in called.items() if name in left}
        if not options.quiet:
            session.console.print(
                f"goes on with what was left of an earlier run: {', '.join(one.name for one in nodes)}", soft_wrap=True
            )
    boots = {name: _leaves(environment, control, facts[one], name) for name, one in called.items()}
    choices = replace(choices, reboots=boots)
    only = environment.control_plane.name if len(environment.control_planes) == 1 else ""
    drains = [name for name, one in called.items() if one != only and boots[name] == facts[one].booted]
    rows = hindrances(draining.asked(session, seen, drains), drains, choices)
    if plan:
        planned = list(planning.plan(environment, [REBOOT], nodes, facts, choices))
        draining.show_plan(session, planned, rows, called, options)
        return 0
    if not options.json and not options.quiet:
        draining.show(session.console, rows, called)
    if why := draining.refusal(rows, called):
        raise why
    result = session.run([REBOOTS], environment.control_planes, choices)
    done: list[Node] = []
    for one in () if result.failed else nodes:
        each = session.run([REBOOT], [one], choices)
        result = _joined(result, each) if done else each
        if result.failed:
            break
        done.append(one)
    if not result.failed:
        session.summary(result, [REBOOT])
    elif done and not options.json:
        names = ", ".join(one.name for one in done)
        session.console.print(f"rebooted before that: {names}; the others were not touched", soft_wrap=True)
    if options.json:
        print_json(results.of_run(environment.name, result))
    return result.exit_code


def _mark(control: NodeFacts, name: str) -> str:
    """The boot that a Node is to leave by an earlier run that did not end; empty without one."""
    from ..phases.reboot import PENDING

    return str((control.node_object(name) or {}).get("metadata", {}).get("annotations", {}).get(PENDING, ""))


def _leaves(environment: Environment, control: NodeFacts, facts: NodeFacts, name: str) -> str:
    """The boot that this node is to leave: the one it has, or the earlier one that a run which did not end made it leave already."""
    mark = _mark(control, name)
    drained = bool((control.node_object(name) or {}).get("spec", {}).get("unschedulable"))
    single = control.hostname == name and len(environment.control_planes) == 1  # it is not drained
    return mark if mark and (drained or single) else facts.booted


def _joined(first: RunResult, then: RunResult) -> RunResult:
    """One result of two runs, one after the other."""
    from ..run.result import RunResult

    return RunResult({**first.nodes, **then.nodes}, first.seconds + then.seconds, then.journal)
