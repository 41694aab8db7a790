"""A worker leaves its cluster: it is drained where its pods can still end in order, then its Node object is deleted.

Source: kubernetes.io "Safely Drain a Node", "Specifying a Disruption Budget". `kubectl drain` asks again every 5 s where a budget
allows no eviction. We run it for a few seconds at a time and without the node's lock, so that nodes are drained side by side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..context import Context
from ..identity import judge, own_nodes
from ..nodes.facts import NodeFacts
from ..steps import Action, Step, Wait, command
from ..text.cleaning import listed

_FLAGS = ("--ignore-daemonsets", "--delete-emptydir-data", "--force")
_LABELS = '{range .items[*]}{"pod "}{.metadata.namespace}{" "}{.metadata.name}{" "}{.metadata.labels}{"\\n"}{end}'
_BUDGETS = '{range .items[*]}{"budget "}{.metadata.namespace}{" "}{.metadata.name}{" "}{.spec.selector}{"\\n"}{end}'


def leave(ctx: Context) -> Iterator[Action]:
    """Cordon, drain and delete the Node. Where the kubelet does not run, only delete it: pods there cannot end in order.

    Only the Node of this machine, and only in a cluster that is this environment's: a name alone proves neither.
    """
    control = ctx.control
    if control is None or not judge(ctx.environment, ctx.environment.control_plane, control, None, ctx.record).workable:
        return
    for name in own_nodes(control, ctx.node, ctx.facts):
        yield from _one(ctx, control, name)


def _one(ctx: Context, control: NodeFacts, name: str) -> Iterator[Action]:
    delete = command("kubectl", "delete", "node", name, "--ignore-not-found")
    dead = (
        "its kubelet does not run"
        if not ctx.facts.unit("kubelet").active
        else "the API no longer hears from its kubelet"
    )
    if control.node_silent(name) or not ctx.facts.unit("kubelet").active:
        title = f"take the node out of the cluster, not drained: {dead}, so its pods cannot end in order"
        yield Step("reset.node", title, (delete,), on="control-plane")
        return
    yield Step("reset.cordon", "no new pods on this node", (command("kubectl", "cordon", name),), on="control-plane")
    if ctx.node.name in ctx.choices.force_drain:
        forced = command("kubectl", "drain", name, *_FLAGS, "--disable-eviction", "--timeout=30s")
        yield Step(
            "reset.drain", "delete its pods, whatever their budgets say", (f"{forced} || true",), on="control-plane"
        )
    else:
        yield _drained(ctx, name)
    yield Step("reset.node", "take the node out of the cluster", (delete,), on="control-plane")


def _drained(ctx: Context, name: str) -> Wait:
    drain = command("kubectl", "drain", name, *_FLAGS, "--timeout=8s")
    pods = command(
        "kubectl", "get", "pods", "-A", "--field-selector", f"spec.nodeName={name}", "-o", f"jsonpath={_LABELS}"
    )
    budgets = command("kubectl", "get", "poddisruptionbudgets", "-A", "-o", f"jsonpath={_BUDGETS}")
    return Wait(
        "reset.drain",
        f"node {name} is drained",
        probe=f"{drain} 2>&1 || {{ {pods}; {budgets}; }} 2>&1",
        until=undrained,
        deadline=ctx.settings.drain_timeout,
        interval=1,
        on="control-plane",
        hint="make room for these pods on another node, or change the budget; then run this again. Meant all the same: "
        f"`{ctx.fab('reset')} --force-drain {ctx.node.name}` deletes them. To keep the node: "
        f"`{command('kubectl', 'uncordon', name)}` on the control plane",
    )


def undrained(output: str) -> str | None:
    """None once `kubectl drain` has drained the node; otherwise the pods that stay, each with the budget that keeps it.

    `output` is what the probe printed: drain's own lines, then `pod` and `budget` rows.
    """
    if re.search(r"^node/\S+ drained$", output, flags=re.M):
        return None
    refused = dict.fromkeys(
        re.findall(r'^error when evicting pods/"([^"]+)" -n "([^"]+)".*disruption budget', output, flags=re.M)
    )
    staying = [f"pod {namespace}/{pod} stays: {_budget_of(namespace, pod, output)}" for pod, namespace in refused]
    slow = dict.fromkeys(re.findall(r'error when waiting for pod "([^"]+)" in namespace "([^"]+)"', output))
    staying += [f"pod {namespace}/{pod} has not ended yet" for pod, namespace in slow]
    if not staying:
        return (output.strip().splitlines() or ["no answer"])[-1][-160:]
    return listed(staying, 3, "; ")


def _budget_of(namespace: str, pod: str, output: str) -> str:
    labels = next((labels for place, name, labels in _rows("pod", output) if (place, name) == (namespace, pod)), None)
    found = [
        name
        for place, name, selector in _rows("budget", output)
        if place == namespace and labels is not None and _selects(selector, labels)
    ]
    if not found:
        return "a PodDisruptionBudget allows no disruption"
    return f"PodDisruptionBudget {' and '.join(found)} allow{'s' * (len(found) == 1)} no disruption"


def _rows(kind: str, output: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for words in (line.split(" ", 3) for line in output.splitlines()):
        if len(words) < 3 or words[0] != kind:
            continue
        try:
            value = json.loads(words[3]) if len(words) > 3 and words[3] else {}
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield words[1], words[2], value


def _selects(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether a label selector of the API selects these labels: all its terms must match; an empty selector selects everything."""
    wanted, terms = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if not isinstance(wanted, dict) or not isinstance(terms, list):
        return False
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _meets(term, labels) for term in terms if isinstance(term, dict)
    )


def _meets(term: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    has, listed = labels.get(str(term.get("key"))), term.get("values") or []
    match term.get("operator"):
        case "In":
            return has in listed
        case "NotIn":
            return has not in listed
        case "Exists":
            return has is not None
        case "DoesNotExist":
            return has is None
    return False
