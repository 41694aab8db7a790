"""A worker leaves its cluster: it is drained where its pods can still end in order, then its Node object is deleted."""

from __future__ import annotations

from collections.abc import Iterator

from ..context import Context
from ..identity import judge, own_nodes
from ..nodes.facts import NodeFacts
from ..steps import Action, Step, Stop, command
from .drain import cordoned, drained

_FORCED = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--disable-eviction", "--timeout=30s")


def leave(ctx: Context) -> Iterator[Action]:
    """Cordon, drain and delete the Node. Where the kubelet does not run, only delete it: pods there cannot end in order.

    Only the Node of this machine, and only in a cluster that is this environment's: a name alone proves neither.
    """
    control = ctx.control
    if control is None or not judge(ctx.environment, ctx.environment.control_plane, control, None, ctx.record).workable:
        return
    names = list(own_nodes(control, ctx.node, ctx.facts))
    if any(ends_in_order(control, ctx.facts, name) for name in names) and ctx.node.name not in ctx.choices.force_drain:
        hint = f"For a pod that came just now, run this again: it asks. {meant(ctx.fab('reset'), ctx.node.name)}"
        yield from drained(ctx, "reset", hint=hint)
    for name in names:
        yield from _deleted(ctx, control, name)


def meant(reset: str, name: str) -> str:
    """How pods are deleted whatever their budgets say; `reset` is the command line that resets the node of that name."""
    return f"Meant all the same: `{reset} --force-drain {name}` deletes them"


def ends_in_order(control: NodeFacts, facts: NodeFacts, name: str) -> bool:
    """Whether pods on the Node of that name, which is the machine with these facts, can end in order: its kubelet runs, and the API hears from it."""
    return facts.unit("kubelet").active and not control.node_silent(name)


def _deleted(ctx: Context, control: NodeFacts, name: str) -> Iterator[Action]:
    delete = (command("kubectl", "delete", "node", name, "--ignore-not-found"),)
    if not ends_in_order(control, ctx.facts, name):
        dead = (
            "the API no longer hears from its kubelet"
            if ctx.facts.unit("kubelet").active
            else "its kubelet does not run"
        )
        title = f"take the node out of the cluster, not drained: {dead}, so its pods cannot end in order"
        yield Step("reset.node", title, delete, on="control-plane")
        return
    if ctx.node.name in ctx.choices.force_drain:
        yield from cordoned(ctx, "reset", name, None)
        forced = f"{command('kubectl', 'drain', name, *_FORCED)} || true"
        yield Step("reset.drain", "delete its pods, whatever their budgets say", (forced,), on="control-plane")
    yield Step("reset.node", "take the node out of the cluster", delete, on="control-plane")


def gone(ctx: Context) -> Iterator[Action]:
    """On the control plane: delete the Nodes of machines that will not come back. Never one that is Ready: its machine is there."""
    for name in sorted(ctx.choices.gone):
        if ctx.facts.node_object(name) is None:
            continue
        if ctx.facts.node_ready(name):
            yield Stop(
                "gone.ready", f"node {name} is Ready: its machine is there", "without --gone it is drained first"
            )
            return
        title = f"take node {name} out of the cluster: its machine will not come back"
        yield Step("gone.node", title, (command("kubectl", "delete", "node", name, "--ignore-not-found"),))
