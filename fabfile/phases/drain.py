"""The one drain: a node's pods go elsewhere in order, before the node leaves, reboots or is upgraded.

What is in its way is found before anything is changed (`hindrances`), on all nodes that a command is about to drain. Then the node is
cordoned, by a patch that also writes our annotation: a cordon without it is another person's, and is never taken away. Its pods are evicted
within DRAIN_TIMEOUT, and their volumes detached. What fails meanwhile undoes our cordon (`Step.undo`).

Source: kubernetes.io "Safely Drain a Node", "API-initiated Eviction", "Specifying a Disruption Budget". `kubectl drain` asks again every
5 s where a budget allows no eviction. We run it for a few seconds at a time and without the node's lock, so that nodes are drained side by side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from ..context import Choices, Context
from ..identity import own_nodes
from ..nodes.facts import NodeFacts
from ..nodes.workload import Budget, Pod, Workload, attached, selects, still_attached
from ..records import dataclass
from ..steps import Action, Step, Wait, command
from ..text import forms
from ..text.cleaning import listed

CORDONED = "kubefab.dev/cordoned"  # the annotation of a Node that we cordoned: its value is the environment's name
ROOM = "make room for these pods on another node, or change the budget"
CONSENT = "A pod that stays is deleted all the same with --force-pods NAMESPACE/NAME, its data in emptyDir with --delete-emptydir-data"
# Our own pods' emptyDir volumes are their /tmp and the like: by namespace, the values of their label `app`.
_OWN = {"kube-system": ("headlamp", "kube-web-view"), "monitoring": ("monitoring-influxdb",)}
_LABELS = '{range .items[*]}{"pod "}{.metadata.namespace}{" "}{.metadata.name}{" "}{.metadata.labels}{"\\n"}{end}'
_BUDGETS = '{range .items[*]}{"budget "}{.metadata.namespace}{" "}{.metadata.name}{" "}{.spec.selector}{"\\n"}{end}'


# --- before anything is changed


@dataclass(frozen=True)
class Hindrance:
    """A pod that a drain meets and cannot simply move.

    `kind`: a `budget` that allows no eviction now (`waits`: it may, once its other pods are well), `bare`: nothing makes the pod again,
    `scratch`: what it wrote into its emptyDir volumes is lost, `refused`: the API said something else. `budget` and `allowed` are the
    budget's; `whose` is the pod's controller. `agreed`: the operator named it.
    """

    node: str
    pod: str
    kind: Literal["budget", "bare", "scratch", "refused"]
    seen: str
    budget: str = ""
    allowed: int | None = None
    whose: str = ""
    waits: bool = False
    agreed: bool = False

    @property
    def stops(self) -> bool:
        """Whether nothing is to be drained because of it."""
        return not self.agreed and not self.waits

    @property
    def remedy(self) -> str:
        """What makes it go away: an option, or what to change in the cluster."""
        if self.kind == "scratch":
            return "--delete-emptydir-data"
        forced = f"--force-pods {self.pod}"
        return forced if self.kind == "bare" else f"make room for it on another node, or change the budget; or {forced}"


def ways(stops: Iterable[Hindrance]) -> list[str]:
    """How a person gets these out of the way, all of a kind together: by a change in the cluster, or by an option of the command."""
    stops = list(stops)
    named = dict.fromkeys(row.pod for row in stops if row.kind != "scratch")
    said = []
    if any(row.kind in ("budget", "refused") for row in stops):
        said.append(ROOM)
    if named:
        said.append(f"to delete {'it' if len(named) == 1 else 'them'} all the same: --force-pods {','.join(named)}")
    if any(row.kind == "scratch" for row in stops):
        said.append("to lose what is in emptyDir: --delete-emptydir-data")
    return said


def hindrances(found: Workload, nodes: Collection[str], choices: Choices) -> list[Hindrance]:
    """What a drain of these nodes (names in the API) meets, from what the API answered (nodes/workload.py); pods of DaemonSets stay.

    `choices` are the operator's consents; a node of `force_drain` is not drained but emptied, whatever it has.
    """
    rows: list[Hindrance] = []
    for pod in found.pods:
        if pod.node not in nodes or pod.fixed or pod.ended:
            continue
        forced = pod.title in choices.force_pods
        budgets = [budget for budget in found.budgets if budget.covers(pod)]
        refused = found.refused.get((pod.namespace, pod.name))
        whose = pod.owner
        if not pod.owner:
            seen = f"pod {pod.title} has no controller: nothing makes it again"
            rows.append(Hindrance(pod.node, pod.title, "bare", seen, agreed=forced))
        if pod.scratch and not _own(pod.namespace, pod.labels):
            seen = f"pod {pod.title} has data in emptyDir {' and '.join(pod.scratch[:3])}, which is lost"
            agreed = forced or choices.delete_emptydir
            rows.append(Hindrance(pod.node, pod.title, "scratch", seen, whose=whose, agreed=agreed))
        if refused is not None:
            rows.append(_refused(pod, budgets, refused, whose, forced))
    return rows


def _own(namespace: str, labels: Mapping[str, Any]) -> bool:
    """Whether it is one of our own pods, which have nothing to lose."""
    return labels.get("app") in _OWN.get(namespace, ())


def _refused(pod: Pod, budgets: list[Budget], why: str, whose: str, forced: bool) -> Hindrance:
    if "disruption budget" not in why or not budgets:
        seen = f"pod {pod.title} stays: {why}"
        return Hindrance(pod.node, pod.title, "refused", seen, whose=whose, agreed=forced)
    holding = [budget for budget in budgets if not budget.allowed] or budgets
    names = [budget.name for budget in holding]
    return Hindrance(
        pod.node,
        pod.title,
        "budget",
        f"pod {pod.title} stays: {allows_none(names)}",
        f"{pod.namespace}/{names[0]}",
        min(budget.allowed for budget in holding),
        whose,
        waits=not any(budget.never for budget in holding),
        agreed=forced,
    )


def homeless(found: Workload, nodes: Collection[str], choices: Choices) -> list[Pod]:
    """The pods of these nodes that have room on no other one: by what containers ask for, against what the others still have.

    Without affinities and tolerations, which only the scheduler knows: what it returns has no room for sure where nodes are alike.
    """
    free = {place.name: [place.milli, place.memory] for place in found.places if place.open and place.name not in nodes}
    for pod in found.pods:
        if pod.node in free and not pod.ended:
            free[pod.node][0] -= pod.milli
            free[pod.node][1] -= pod.memory
    going = [pod for pod in found.pods if pod.node in nodes and pod.owner and not (pod.fixed or pod.ended)]
    left = []
    for pod in sorted(going, key=lambda pod: (-pod.memory, -pod.milli, pod.title)):
        room = next((one for one in free.values() if one[0] >= pod.milli and one[1] >= pod.memory), None)
        if room is not None:
            room[0] -= pod.milli
            room[1] -= pod.memory
        elif pod.title not in choices.force_pods:
            left.append(pod)
    return left


def allows_none(budgets: list[str]) -> str:
    """`PodDisruptionBudget web allows no disruption`."""
    return f"PodDisruptionBudget {' and '.join(budgets)} allow{'s' * (len(budgets) == 1)} no disruption"


# --- the drain


def drained(ctx: Context, prefix: str, *, hint: str = CONSENT) -> Iterator[Action]:
    """Cordon this machine's Node unless it is cordoned, move its pods, wait until its volumes are detached.

    `prefix` is the phase's name, with which the steps' ids begin; `hint` is how a person agrees where pods stay. Nothing where the
    cluster has no Node of this machine. A failure, Ctrl-C and a lost connection undo our cordon; the cordon of a run that was killed is
    known by its annotation, and this goes on from it.
    """
    control = _control(ctx)
    for name in own_nodes(control, ctx.node, ctx.facts) if control else ():
        undo = None if foreign_cordon(ctx, name) else _undone(ctx, prefix, name)
        yield from cordoned(ctx, prefix, name, undo)
        yield _evicted(ctx, prefix, name, undo, hint)
        yield Wait(
            f"{prefix}.volumes",
            f"no volume is attached to node {name}, but of pods that stay",
            probe=attached(name),
            until=_detached(name),
            deadline=ctx.settings.drain_timeout,
            interval=1,
            on="control-plane",
            hint="the storage's controller detaches them: `kubectl describe volumeattachments` on the control plane shows what it says",
            undo=undo,
        )


def cordoned(ctx: Context, prefix: str, name: str, undo: Step | None) -> Iterator[Action]:
    """The step that cordons a Node with our annotation; nothing where it is cordoned."""
    if _node(ctx, name).get("spec", {}).get("unschedulable"):
        return
    ours = json.dumps({"metadata": {"annotations": {CORDONED: ctx.environment.name}}, "spec": {"unschedulable": True}})
    yield Step(
        f"{prefix}.cordon",
        "no new pods on this node",
        (
            f"now=$({command('kubectl', 'get', 'node', name, '-o', 'jsonpath={.spec.unschedulable}')})",
            # one patch: no moment has the cordon without the annotation
            f'if [ "$now" != true ]; then {command("kubectl", "patch", "node", name, "--type=merge", "-p", ours)}; fi',
        ),
        on="control-plane",
        undo=undo,
    )


def uncordoned(ctx: Context, prefix: str, *, after: bool = False, also: tuple[str, ...] = ()) -> Iterator[Action]:
    """Let the node take pods again, if the cordon is ours; nothing if it is not cordoned. `also` are annotations that go with it.

    `after`: actions of `drained` in the same plan come before, so it will be cordoned by us, unless it is another person's now.
    """
    control = _control(ctx)
    for name in own_nodes(control, ctx.node, ctx.facts) if control else ():
        if foreign_cordon(ctx, name) or not (after or cordoned_by(ctx, name)):
            continue
        annotation = command("kubectl", "get", "node", name, "-o", f"jsonpath={{.metadata.name}} {_ANNOTATION}")
        yield Wait(
            f"{prefix}.uncordon",
            "the node takes pods again",
            probe=f"{_uncordon(ctx, name, also)}; {annotation} 2>&1",
            until=partial(_unmarked, name),
            deadline=60,
            interval=1,
            on="control-plane",
            changes=True,
            hint=f"`{command('kubectl', 'uncordon', name)}` on the control plane does the same",
        )


def _unmarked(name: str, seen: str) -> str | None:
    """None where the probe's last words are the Node's name alone: it has no cordon of ours any more."""
    lines = seen.splitlines()
    return None if lines and lines[-1].split() == [name] else forms.text(seen) or "no answer"


_ANNOTATION = "{.metadata.annotations." + CORDONED.replace(".", "\\.") + "}"


def _uncordon(ctx: Context, name: str, also: tuple[str, ...] = ()) -> str:
    """The shell line that takes a cordon away, as long as it has our annotation."""
    nothing = json.dumps(
        {"metadata": {"annotations": dict.fromkeys((CORDONED, *also))}, "spec": {"unschedulable": None}}
    )
    asked = command("kubectl", "get", "node", name, "--ignore-not-found", "-o", f"jsonpath={_ANNOTATION}")
    patch = command("kubectl", "patch", "node", name, "--type=merge", "-p", nothing)
    return f'if [ "$({asked})" = {command(ctx.environment.name)} ]; then {patch}; fi'


def _undone(ctx: Context, prefix: str, name: str) -> Step:
    return Step(
        f"{prefix}.uncordon", f"node {name} takes pods again", (_uncordon(ctx, name),), on="control-plane", timeout=60
    )  # fmt: skip


def _control(ctx: Context) -> NodeFacts | None:
    return ctx.control or (ctx.facts if ctx.node.control_plane else None)


def _node(ctx: Context, name: str) -> Mapping[str, Any]:
    control = _control(ctx)
    return (control.node_object(name) if control else None) or {}


def cordoned_by(ctx: Context, name: str) -> bool:
    """Whether this Node has our cordon."""
    return our_cordon(_node(ctx, name), ctx.environment.name)


def our_cordon(node: Mapping[str, Any], environment: str) -> bool:
    """Whether a Node of the API is cordoned, and by us."""
    mark = node.get("metadata", {}).get("annotations", {}).get(CORDONED)
    return bool(node.get("spec", {}).get("unschedulable")) and mark == environment


def foreign_cordon(ctx: Context, name: str) -> bool:
    """Whether this Node is cordoned, and not by us."""
    return bool(_node(ctx, name).get("spec", {}).get("unschedulable")) and not cordoned_by(ctx, name)


def _evicted(ctx: Context, prefix: str, name: str, undo: Step | None, hint: str) -> Wait:
    choices = ctx.choices
    scratch = ("--delete-emptydir-data",) if choices.delete_emptydir else ()
    drain = command("kubectl", "drain", name, "--ignore-daemonsets", *scratch, "--timeout=8s")
    pods = command(
        "kubectl", "get", "pods", "-A", "--field-selector", f"spec.nodeName={name}", "-o", f"jsonpath={_LABELS}"
    )
    budgets = command("kubectl", "get", "poddisruptionbudgets", "-A", "-o", f"jsonpath={_BUDGETS}")
    first = [_deleted(name, *title.split("/", 1)) for title in sorted(choices.force_pods)]
    if not choices.delete_emptydir:
        first += [_deleted(name, namespace, f"app in ({','.join(apps)})") for namespace, apps in _OWN.items()]
    return Wait(
        f"{prefix}.drain",
        f"node {name} is drained",
        probe=f"{'; '.join([*first, drain])} 2>&1 || {{ {pods}; {budgets}; }} 2>&1",
        until=partial(undrained, agreed=choices.force_pods),
        deadline=ctx.settings.drain_timeout,
        interval=1,
        on="control-plane",
        hint=f"{ROOM}; then run this again. {hint}"
        + ("" if undo else f". Node {name} was cordoned by others before, and stays so"),
        undo=undo,
    )


def _deleted(node: str, namespace: str, which: str) -> str:
    """The shell line that deletes pods on that node: the one of that name, which the operator named, or those that a selector selects."""
    selector = which if " " in which else ""
    place = f"spec.nodeName={node}" + ("" if selector else f",metadata.name={forms.Name(which)}")
    words = (
        "-n",
        forms.Name(namespace),
        "delete",
        "pods",
        *(("-l", selector) if selector else ()),
        "--field-selector",
        place,
    )
    return f"{command('kubectl', *words, '--ignore-not-found', '--wait=false')} 2>&1"


def _detached(node: str) -> Callable[[str], str | None]:
    def until(output: str) -> str | None:
        left = still_attached(output, node)
        if left is None:
            return forms.text(output) or "no answer"
        return listed([f"volume {one} is still attached" for one in left], 3, "; ") or None

    return until


_CONSENT = re.compile(
    r"cannot delete (?:[^:\[\]]*?)\(use (--[a-z-]+) to override\): ((?:[a-z0-9.-]+/[a-z0-9.-]+(?:, )?)+)"
)


def undrained(output: str, agreed: Collection[str] = ()) -> str | None:
    """None once `kubectl drain` has drained the node; otherwise the pods that stay, each with the budget that keeps it.

    `output` is what the probe printed: drain's own lines, then `pod` and `budget` rows. The pods that are `agreed` are deleted already.
    """
    if re.search(r"^node/\S+ drained$", output, flags=re.M):
        return None
    refused = dict.fromkeys(
        re.findall(r'^error when evicting pods/"([^"]+)" -n "([^"]+)".*disruption budget', output, flags=re.M)
    )
    staying = [f"pod {namespace}/{pod} stays: {_budget_of(namespace, pod, output)}" for pod, namespace in refused]
    slow = dict.fromkeys(re.findall(r'error when waiting for pod "([^"]+)" in namespace "([^"]+)"', output))
    staying += [f"pod {namespace}/{pod} has not ended yet" for pod, namespace in slow]
    ending = {f"{place}/{pod}" for place, pod, labels in _named("pod", output) if _own(place, labels)} | set(agreed)
    for option, pods in dict.fromkeys(_CONSENT.findall(output)):
        named = pods.removesuffix(", ").split(", ")
        staying += [f"pod {pod} has not ended yet" for pod in named if pod in ending]
        if others := [pod for pod in named if pod not in ending]:
            has = "has data in emptyDir" if option == "--delete-emptydir-data" else "has no controller"
            staying += [f"pod {pod} stays: it {has}" for pod in others]
    if not staying:
        return (output.strip().splitlines() or ["no answer"])[-1][-160:]
    return listed(list(dict.fromkeys(staying)), 3, "; ")


def _budget_of(namespace: str, pod: str, output: str) -> str:
    labels = next((labels for place, name, labels in _named("pod", output) if (place, name) == (namespace, pod)), None)
    found = [
        name
        for place, name, selector in _named("budget", output)
        if place == namespace and labels is not None and selects(selector, labels)
    ]
    return allows_none(found) if found else "a PodDisruptionBudget allows no disruption"


def _named(kind: str, output: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for words in (line.split(" ", 3) for line in output.splitlines()):
        if len(words) < 3 or words[0] != kind:
            continue
        try:
            value = json.loads(words[3]) if len(words) > 3 and words[3] else {}
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield words[1], words[2], value
