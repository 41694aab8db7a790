"""The operator's own manifests (`addons/` beside hosts.env), applied and taken away on the control plane.

Each object gets the label `kubefab.dev/addon`, the name of its file, and the digest of what was applied.  The control plane keeps
the files as they were applied: what they list is looked for in the cluster, so that an object which a file lost is found.  Only an
object with that label is changed or deleted.  What holds data or other objects is never deleted (`STAY`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any

from ..context import Context
from ..errors import UsageError
from ..inventory.beside import Addon, key, rendered
from ..inventory.layers import Problem
from ..nodes.applied import ADDON, COLUMNS, STAMP, rows
from ..nodes.facts import STATE, Applied
from ..recipes.kubeadm import digest
from ..records import dataclass
from ..steps import Action, File, Step, Wait
from ..text import yamls
from ..text.cleaning import listed
from ..text.masking import mask, masked_tail

FOLDER = f"{STATE}/addons"
NEW = f"{FOLDER}/new"  # a file is here until it is applied
STAY = frozenset({"Namespace", "CustomResourceDefinition", "PersistentVolume", "PersistentVolumeClaim"})
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_BY = r"BY:.metadata.labels.kubefab\.dev/addon,KIND:.kind,IN:.metadata.namespace,NAME:.metadata.name"


@dataclass(frozen=True)
class Own:
    """One file as it is applied: its objects with our label and stamp on them."""

    addon: Addon
    documents: tuple[Mapping[str, Any], ...]

    @property
    def path(self) -> str:
        """Its path on the control plane."""
        return f"{FOLDER}/{self.addon.name}.yaml"

    @property
    def text(self) -> str:
        return yamls.dumped(*self.documents)


def own(ctx: Context) -> Iterator[Action]:
    """Apply the files whose objects are not as they say, wait for what they run, and take away what files have lost."""
    problems: list[Problem] = []
    found = [_stamped(addon) for addon in rendered(ctx.environment, problems)]
    if problems:
        raise UsageError("\n".join(map(str, problems)), "correct these files, then run this again")
    seen = ctx.facts.addons
    for one in found:
        yield from _one(one, seen)
    names = {one.addon.name for one in found}
    for name in dict.fromkeys(row.addon for row in seen if row.addon and row.addon not in names):
        lost = [row for row in seen if row.addon == name]
        yield Step(
            f"addons.without-{name}",
            f"{name} is in addons/ no more{_losses(lost)}",
            (*_taken_away(lost), f"rm -f {FOLDER}/{name}.yaml"),
            timeout=180,
            hint=_KEPT,
        )


_REFUSED = (
    "the last line names the object of {where} that was refused. One that was there before is not kubefab's: delete or rename it, or, if "
    "that file is meant to have it, `kubectl label KIND NAME {label}` on the control plane (with `-n NAMESPACE` where it is in one). "
    "A kind that is not known needs its CustomResourceDefinition in an earlier file"
)
_KEPT = "an object that does not end has a finalizer: `kubectl get KIND NAME -o yaml` on the control plane names it"


def _stamped(addon: Addon) -> Own:
    """The objects with our label and stamp. Parts that are changed are copied: an anchor of YAML may share them with a selector."""
    made = []
    for document in addon.documents:
        metadata = document["metadata"]
        stamp = digest(yamls.dumped(document))
        labels = {**(metadata.get("labels") or {}), ADDON: addon.name}
        annotations = {**(metadata.get("annotations") or {}), STAMP: stamp}
        made.append({**document, "metadata": {**metadata, "labels": labels, "annotations": annotations}})
    return Own(addon, tuple(made))


def _one(one: Own, seen: Sequence[Applied]) -> Iterator[Action]:
    name = one.addon.name
    mine = {row.key: row for row in seen if row.addon == name}
    wanted = {key(document): document["metadata"]["annotations"][STAMP] for document in one.documents}
    missing = [place for place, stamp in wanted.items() if place not in mine or mine[place].stamp != stamp]
    lost = [row for place, row in mine.items() if place not in wanted]
    new = f"{NEW}/{name}.yaml"
    if (missing or lost) and one.documents:
        text = one.text
        count = f"{len(wanted)} object{'s' * (len(wanted) != 1)}"
        secret = any(document["kind"] == "Secret" for document in one.documents) or mask(text) != text
        yield Step(
            f"addons.{name}",
            f"apply {one.addon.where} ({count}){_losses(lost)}",
            (
                _others(new),
                f"kubectl apply --server-side --force-conflicts -f {new}",
                *(
                    f"kubectl wait --for=condition=Established --timeout=60s crd/{quote(document['metadata']['name'])}"
                    for document in one.documents
                    if document["kind"] == "CustomResourceDefinition"
                ),
                *_taken_away(lost),
                f"mv -f {new} {one.path}",
            ),
            files=(File(new, text, mode="0600", secret=secret),),
            timeout=300,
            hint=_REFUSED.format(where=one.addon.where, label=f"{ADDON}={name}"),
        )
    elif lost:
        yield Step(
            f"addons.{name}",
            f"{one.addon.where} is empty{_losses(lost)}",
            (*_taken_away(lost), f"rm -f {one.path}"),
            hint=_KEPT,
        )
    workloads = [document for document in one.documents if document["kind"] in _WORKLOADS]
    if workloads and (missing or any(row.fault for row in mine.values())):
        spaces = sorted({str(document["metadata"].get("namespace") or "default") for document in workloads})
        yield Wait(
            f"addons.{name}-ready",
            f"what {one.addon.where} runs is rolled out",
            probe=f"kubectl get -f {one.path} --ignore-not-found --no-headers -o custom-columns={quote(COLUMNS)} 2>&1",
            until=lambda answer: _running(answer, [key(document) for document in workloads]),
            deadline=300,
            interval=1,
            needs="members",
            hint=f"`kubectl -n {spaces[0]} describe pods` on the control plane: an image that cannot be pulled, or no node with room",
            evidence=(
                *(f"kubectl -n {quote(space)} get pods -o wide 2>&1" for space in spaces[:3]),
                "kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -n 8",
            ),
        )


def _running(answer: str, wanted: Sequence[tuple[str, str, str, str]]) -> str | None:
    """None once all these workloads are rolled out; otherwise the ones that are not, each with the reason."""
    there = {row.key: row for row in rows(answer.splitlines())}
    if not there:
        return masked_tail(answer) or "no answer"
    left = [
        f"{place[1]} {place[3]}: {there[place].fault if place in there else 'not there'}"
        for place in wanted
        if place not in there or there[place].fault
    ]
    return listed(left, 3, "; ") or None


def _others(path: str) -> str:
    """A shell line that fails where objects of this file exist without our label, and prints their names."""
    return (
        f"others=$(kubectl get -f {path} --ignore-not-found --no-headers -o custom-columns='{_BY}'); "
        "others=$(printf '%s\\n' \"$others\" | grep '^<none> ' || true); "
        """[ -z "$others" ] || { echo "not applied by kubefab (by, kind, namespace, name): $others"; false; }"""
    )


def _losses(lost: Sequence[Applied]) -> str:
    """In a step's title: what is deleted, and what stays although no file has it."""
    gone = [row.title for row in lost if row.kind not in STAY]
    left = [row.title for row in lost if row.kind in STAY]
    deleted = f"; delete {listed(gone, 4)}" if gone else ""
    return deleted + (f"; left, as it may hold what is not ours: {listed(left, 4)}" if left else "")


def _taken_away(lost: Sequence[Applied]) -> Iterator[str]:
    """A shell line for each object, last ones first: it is deleted if it has that file's label now, too."""
    for row in reversed([row for row in lost if row.kind not in STAY]):
        place = f"kubectl{f' -n {quote(row.namespace)}' if row.namespace else ''}"
        what = f"{quote('.'.join(filter(None, (row.kind.lower(), row.group))))} {quote(row.name)}"
        label = r"{.metadata.labels.kubefab\.dev/addon}"
        yield (
            f"""if [ "$({place} get {what} --ignore-not-found -o jsonpath='{label}')" = {row.addon} ]; """
            f"then {place} delete {what} --ignore-not-found --timeout=60s; fi"
        )
