"""The labels and taints of a node's line on its Node: set, changed, and taken off when they are taken out of the file.

What is ours is noted on the Node itself, with its value (`NOTE`): only what has that key and that value still is changed or taken
off.  Taints of a new worker are set by its kubelet when it registers (kubeadm's nodeRegistration), before any note can be there;
a mark on the machine proves those.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..context import Context
from ..identity import own_nodes
from ..inventory import Node
from ..inventory.labels import EFFECTS, RESERVED, Taint, is_key, is_value
from ..nodes.facts import STATE
from ..recipes.kubeadm import digest
from ..records import dataclass
from ..steps import Action, Step, Stop, Wait, command
from ..text import forms
from ..text.cleaning import listed
from ..text.masking import masked_tail

NOTE = "kubefab.dev/node"  # an annotation
SHARED = "untainted"  # the mark of a control plane whose taint kubefab took off, below /var/lib/kubefab


def mark(node: Node) -> str:
    """The name of the mark of a node that registers with taints, below /var/lib/kubefab; empty without taints."""
    return f"taints-{digest(*map(str, node.taints))}" if node.taints else ""


def marking(node: Node) -> tuple[str, ...]:
    """The shell line that makes the mark, before the machine registers."""
    return (f"touch {STATE}/{mark(node)}",) if node.taints else ()


@dataclass(frozen=True)
class _Marks:
    """Labels by key, and the values of taints by key and effect (`gpu:NoSchedule`)."""

    labels: Mapping[str, str]
    taints: Mapping[str, str]

    def text(self) -> str:
        """As it is noted."""
        return json.dumps(
            {"labels": dict(self.labels), "taints": dict(self.taints)}, sort_keys=True, separators=(",", ":")
        )

    def __bool__(self) -> bool:
        return bool(self.labels or self.taints)


def _wanted(node: Node) -> _Marks:
    return _Marks(dict(node.labels), {taint.name: taint.value for taint in node.taints})


def _found(item: Mapping[str, Any]) -> _Marks:
    taints = item.get("spec", {}).get("taints", ())
    return _Marks(
        item["metadata"].get("labels", {}), {f"{one['key']}:{one['effect']}": one.get("value", "") for one in taints}
    )


def _noted(item: Mapping[str, Any]) -> _Marks | None:
    """What the note says; None without one. What has not the form of a label or taint is left out: a note proves, it does not command."""
    text = item["metadata"].get("annotations", {}).get(NOTE)
    if text is None:
        return None
    try:
        said = _NOTE(forms.data(text, "note"), "note")
    except forms.FormError:
        return _Marks({}, {})
    return _Marks(
        {key: value for key, value in said.get("labels", {}).items() if is_key(key) and is_value(value)},
        {name: value for name, value in said.get("taints", {}).items() if _is_name(name) and is_value(value)},
    )


_NOTE = forms.record({"labels": forms.strings, "taints": forms.strings})


def _is_name(text: str) -> bool:
    key, _, effect = text.rpartition(":")
    return effect in EFFECTS and is_key(key)


@dataclass(frozen=True)
class _Changes:
    """What is to do on one Node: to set, to take off, what is noted before and after; and what others have set."""

    put: _Marks
    off: _Marks
    before: _Marks
    note: _Marks
    foreign: tuple[str, ...] = ()
    noted: bool = True
    there: frozenset[str] = frozenset()  # keys to set that the Node has with another value, which is ours
    registers: bool = False  # the Node comes with its taints

    def __bool__(self) -> bool:
        return bool(self.put or self.off or (self.note.text() != self.before.text() and (self.note or self.noted)))


def _changes(node: Node, item: Mapping[str, Any], marks: Iterable[str]) -> _Changes:
    wanted, found, noted = _wanted(node), _found(item), _noted(item)
    before = noted or _Marks({}, {})
    registered = noted is None and bool(mark(node)) and mark(node) in marks
    claimed = {name: value for name, value in wanted.taints.items() if registered and found.taints.get(name) == value}
    ours = _Marks(before.labels, {**before.taints, **claimed})
    pairs = ((wanted.labels, found.labels, ours.labels), (wanted.taints, found.taints, ours.taints))
    put = [{k: v for k, v in want.items() if have.get(k) != v} for want, have, _ in pairs]
    foreign = [
        f"{k}={have[k]}"
        for change, (_, have, own) in zip(put, pairs, strict=True)
        for k in change
        if k in have and own.get(k) != have[k]
    ]
    off = [{k: v for k, v in own.items() if k not in want and have.get(k) == v} for want, have, own in pairs]
    # a label that was there already with that value is not made ours
    note = [
        {k: v for k, v in want.items() if k in change or own.get(k) == v}
        for change, (want, _, own) in zip(put, pairs, strict=True)
    ]
    there = frozenset(k for change, (_, have, _) in zip(put, pairs, strict=True) for k in change if k in have)
    return _Changes(_Marks(*put), _Marks(*off), before, _Marks(*note), tuple(foreign), noted is not None, there)


def labels(ctx: Context, *, phase: str, registers: bool) -> Iterator[Action]:
    """Make the Node's labels and taints what the node's line says. `registers`: the Node is made by an earlier step of this phase."""
    name = str(ctx.facts.hostname)
    if registers:
        changes = _Changes(
            _wanted(ctx.node), _Marks({}, {}), _Marks({}, {}), _wanted(ctx.node), noted=False, registers=True
        )
    else:
        item = _own(ctx)
        if item is None:
            return
        changes = _changes(ctx.node, item, ctx.facts.undo)
    if changes.foreign:
        keys = " ".join(f"{word.rpartition('=')[0]}-" for word in changes.foreign)
        verb = "taint" if any(":" in word for word in changes.foreign) else "label"
        yield Stop(
            f"{phase}.labels",
            f"the Node {name} has {', '.join(changes.foreign)}, which kubefab did not set, and the line of {ctx.node.name} says otherwise",
            f"nothing of it is touched: write that value in hosts.env; or, if it may go, `kubectl {verb} node {name} {keys}` on the control plane",
        )
        return
    if not changes:
        return
    yield Step(
        f"{phase}.labels",
        _title(changes),
        tuple(_commands(name, changes)),
        on="control-plane",
        hint=f"`kubectl describe node {name}` on the control plane shows its labels and taints",
    )
    yield Wait(
        f"{phase}.labelled",
        "the Node has the labels and taints of its line",
        probe=command("kubectl", "get", "node", name, "-o", "json") + " 2>&1",
        until=lambda seen: _missing(ctx, seen),
        deadline=30,
        interval=1,
        on="control-plane",
        hint=f"something else changes the Node {name}: `kubectl get node {name} -o yaml --show-managed-fields` on the control plane names it",
    )


def _own(ctx: Context) -> Mapping[str, Any] | None:
    """The Node of this machine; None where the API has none that is proved to be its."""
    control, name = ctx.facts if ctx.node.control_plane else ctx.control, str(ctx.facts.hostname)
    return control.node_object(name) if control and name in own_nodes(control, ctx.node, ctx.facts) else None


def scheduling(ctx: Context) -> Iterator[Action]:
    """Take kubeadm's taint off the control plane's Node, or put it back, as SCHEDULE_ON_CONTROL_PLANE says.

    Without that line it is put back only where kubefab took it off: an operator who did so by hand keeps it off.
    """
    item, name = _own(ctx), str(ctx.facts.hostname)
    if item is None:
        return
    there, shared = RESERVED.name in _found(item).taints, ctx.environment.pods_on_control_plane
    asked = ctx.settings.schedule_on_control_plane is not None
    why = "SCHEDULE_ON_CONTROL_PLANE" if asked else "no worker" if shared else "there are workers"
    if there and shared:
        lines = (*sharing(ctx), command("kubectl", "taint", "node", name, f"{RESERVED}-"))
        yield Step("master.scheduling", f"ordinary pods may run on the control plane ({why})", lines)
    elif not there and not shared and (asked or SHARED in ctx.facts.undo):
        # first the taint: with the mark gone and no taint, nothing would put it back
        lines = (command("kubectl", "taint", "node", name, str(RESERVED)), f"rm -f {STATE}/{SHARED}")
        title = f"new ordinary pods no longer come to the control plane ({why}); those that run there stay"
        yield Step("master.scheduling", title, lines)


def sharing(ctx: Context) -> tuple[str, ...]:
    """The shell line that notes that kubefab keeps the taint off this control plane; none where it does not."""
    return (f"touch {STATE}/{SHARED}",) if ctx.environment.pods_on_control_plane else ()


def _missing(ctx: Context, seen: str) -> str | None:
    try:
        item = forms.NODE(forms.data(seen, "node"), "node")
    except forms.FormError:
        return masked_tail(seen) or "no answer"
    left = _changes(ctx.node, item, ())
    return listed([*_words(left.put, ""), *_words(left.off, "still ")], 3) or None


def _words(marks: _Marks, begin: str) -> list[str]:
    return [
        *(f"{begin}label {key}={value}" for key, value in marks.labels.items()),
        *(f"{begin}taint {_taint(name, value)}" for name, value in marks.taints.items()),
    ]


def _taint(name: str, value: str) -> Taint:
    key, _, effect = name.rpartition(":")
    return Taint(key, effect, value)


def _title(changes: _Changes) -> str:
    words = [*_words(changes.put, ""), *_words(changes.off, "without ")]
    return (
        f"the Node's labels and taints: {listed(words, 6)}"
        if words
        else "note which labels and taints of the Node are kubefab's"
    )


def _commands(name: str, changes: _Changes) -> Iterator[str]:
    """The note first, so that nothing of ours is ever without it; last the note without what was taken off.

    A value that is there is replaced only where it was seen, and is ours: what somebody sets meanwhile makes kubectl refuse.
    """
    first = _Marks({**changes.before.labels, **changes.note.labels}, {**changes.before.taints, **changes.note.taints})
    note = ("kubectl", "annotate", "node", name, "--overwrite")
    replace = ("--overwrite",) if changes.there else ()
    put, off = changes.put, changes.off
    if first.text() != changes.before.text():
        yield command(*note, f"{NOTE}={first.text()}")
    labelled = [*(f"{key}={value}" for key, value in put.labels.items()), *(f"{key}-" for key in off.labels)]
    if labelled:
        yield command("kubectl", "label", "node", name, *replace, *labelled)
    tainted = [*(str(_taint(*pair)) for pair in put.taints.items()), *(f"{taint}-" for taint in off.taints)]
    if tainted and not changes.registers:
        yield command("kubectl", "taint", "node", name, *replace, *tainted)
    if changes.note.text() != first.text():
        yield command(*note, f"{NOTE}={changes.note.text()}" if changes.note else f"{NOTE}-")
