"""What runs on a cluster's nodes, as its API says, and whether it may be evicted: asked on the control plane, read once, bounded.

The API itself is asked whether a pod may be evicted, by a drain of which it carries out nothing (`--dry-run=server`): budgets, webhooks
and whatever else has a word in it answer as they would to the real one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from typing import TYPE_CHECKING, Any

from ..errors import KubefabError
from ..records import dataclass
from ..steps import command
from ..text import forms
from ..text.masking import masked_tail
from . import script

if TYPE_CHECKING:
    from .connection import Connection

TIMEOUT = 60.0  # seconds
LIMIT = 4 << 20  # bytes of an answer; about 8,000 pods
TRIALS = 4  # nodes that are tried at the same time
# a budget's refusal has a line of its own; others come in one line at the end, in brackets where they are several
_REFUSED = re.compile(
    r'error when evicting pods/"([^"\n]+)" -n "([^"\n]+)"(?: \(will retry after 5s\))?: '
    r"(.*?)(?=,? error when evicting pods/|\]?, continuing command|\]?$)",
    re.M,
)


@dataclass(frozen=True)
class Pod:
    """A pod on a node. `owner` is its controller, `ReplicaSet web-5d9c`; empty for one that nothing makes again.

    `scratch` are its volumes that end with it (emptyDir); `milli` and `memory` what its containers ask for, in thousandths of a processor
    and in bytes; `fixed` says that it belongs to its node: a DaemonSet's, or a static pod's mirror.
    """

    namespace: str
    name: str
    node: str = ""
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    scratch: tuple[str, ...] = ()
    milli: int = 0
    memory: int = 0
    fixed: bool = False
    ended: bool = False

    @property
    def title(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Budget:
    """A PodDisruptionBudget: how many of its pods may go now, how many there should be, how many of them must stay."""

    namespace: str
    name: str
    selector: Mapping[str, Any] | None = None
    allowed: int = 0
    expected: int = 0
    desired: int = 0

    @property
    def never(self) -> bool:
        """Whether it allows none also while all its pods are well: no waiting helps."""
        return self.desired >= self.expected

    def covers(self, pod: Pod) -> bool:
        return self.namespace == pod.namespace and self.selector is not None and selects(self.selector, pod.labels)


@dataclass(frozen=True)
class Attachment:
    """A volume that is attached to a node: by whom, and the PersistentVolume's name."""

    name: str
    node: str
    volume: str = ""


@dataclass(frozen=True)
class Place:
    """What a node offers to pods, in the units of Pod; `open` says that it takes new ones: Ready, not cordoned, no taint that keeps all off."""

    name: str
    open: bool = False
    milli: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Workload:
    """All of it. `refused` has the pods that the API would not let go, with its words, by (namespace, name)."""

    pods: tuple[Pod, ...] = ()
    budgets: tuple[Budget, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    places: tuple[Place, ...] = ()
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)


def _rows(*columns: str) -> str:
    return "jsonpath={range .items[*]}" + '{"\\t"}'.join(f"{{{column}}}" for column in columns) + '{"\\n"}{end}'


_META = (".metadata.namespace", ".metadata.name")
PODS = _rows(
    *_META, ".spec.nodeName", ".status.phase", ".metadata.labels", ".metadata.ownerReferences",
    ".metadata.annotations.kubernetes\\.io/config\\.mirror", ".spec.volumes[?(@.emptyDir)].name", ".spec.containers[*].resources.requests",
)  # fmt: skip
BUDGETS = _rows(
    *_META, ".spec.selector", ".status.disruptionsAllowed", ".status.expectedPods", ".status.desiredHealthy"
)
ATTACHMENTS = _rows(".metadata.name", ".spec.nodeName", ".spec.source.persistentVolumeName")
# by whom a node's volumes are held: its pods with their claims (an ephemeral volume's has its pod's name before its own), and whose each volume is
HOLDERS = _rows(
    *_META, ".status.phase", ".metadata.ownerReferences", ".metadata.annotations.kubernetes\\.io/config\\.mirror",
    ".spec.volumes[*].persistentVolumeClaim.claimName", ".spec.volumes[?(@.ephemeral)].name",
)  # fmt: skip
CLAIMED = _rows(".metadata.name", ".spec.claimRef.namespace", ".spec.claimRef.name")
PLACES = _rows(
    ".metadata.name", ".spec.unschedulable", ".status.allocatable", ".spec.taints", ".status.conditions[?(@.type==\"Ready\")].status"
)  # fmt: skip


def get(kind: str, columns: str, *more: str) -> str:
    """The shell line that lists all objects of a kind, one a row."""
    return command("timeout", "20", "kubectl", "--request-timeout=15s", "get", kind, "-A", *more, "-o", columns)


def attached(node: str) -> str:
    """The shell line that lists the volumes that are attached to a node, and where there are any in the cluster, by whom; for `still_attached`."""
    pods = get("pods", HOLDERS, "--field-selector", f"spec.nodeName={node}")
    whose = f"echo '@@ pods' && {pods} 2>&1 && echo '@@ volumes' && {get('persistentvolumes', CLAIMED)} 2>&1"
    rows = f"rows=$({get('volumeattachments', ATTACHMENTS)} 2>&1)"
    return f'{rows} || {{ echo "$rows"; false; }} && echo "$rows" && if [ -n "$rows" ]; then {whose}; fi && echo \'@@ end\''


def still_attached(output: str, node: str) -> list[str] | None:
    """The volumes that a drain must see go: those attached to a node, less those that a pod which stays there (`Pod.fixed`) uses.

    Such a pod's volume stays as long as the pod. It is known by its PersistentVolume's claim, which the pod names: what is not known so
    is waited for. None where the list is not whole. Raises FormError.
    """
    try:
        sections = script.sections(f"@@ attachments\n{output}").found
    except forms.FormError:
        raise
    except ValueError:
        return None
    held: set[tuple[str, str]] = set()
    for namespace, name, phase, owners, mirror, claims, ephemeral in _table(sections, "pods", 7):
        kinds = [one["kind"] for one in _json(owners, _OWNERS, []) if one.get("controller")]
        if (mirror or "DaemonSet" in kinds) and phase not in ("Succeeded", "Failed"):
            held |= {(namespace, claim) for claim in claims.split()}
            held |= {(namespace, f"{name}-{volume}") for volume in ephemeral.split()}
    stays = {row[0] for row in _table(sections, "volumes", 3) if (row[1], row[2]) in held}
    rows = [row for row in _table(sections, "attachments", 3) if row[1] == node and not (row[2] and row[2] in stays)]
    return [forms.text(row[2] or row[0], 80) for row in rows]


def ask(control: Connection, nodes: Collection[str]) -> Workload:
    """What runs in the cluster of this control plane, and which pods of the named nodes the API would not let go now.

    Raises KubefabError where it does not answer, or with what has not the form that it must have.
    """
    names = [forms.Name(node) for node in nodes]
    lines = tuple(
        f"echo '@@ {section}'; {get(kind, columns)}"
        for section, kind, columns in (
            ("pods", "pods", PODS),
            ("budgets", "poddisruptionbudgets", BUDGETS),
            ("attachments", "volumeattachments", ATTACHMENTS),
            ("places", "nodes", PLACES),
        )
    )
    found = _answer(control, (*lines, "echo '@@ end'"), TIMEOUT)
    with ThreadPoolExecutor(TRIALS) as pool:
        trials = list(pool.map(lambda name: _answer(control, (trial(name), "echo '@@ end'"), TIMEOUT), names))
    try:
        return parse(found, [said.get("trial", "") for said in trials])
    except forms.FormError as error:
        what = f"{control.node.name}: what its API says of pods has not the form that it must have: {error}"
        raise KubefabError(what, "nothing was touched; look there at what says so") from None


def trial(name: str) -> str:
    """The shell line that asks the API for every eviction of a drain of that node; nothing is evicted, and nothing is cordoned."""
    drain = command(
        "kubectl", "drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--dry-run=server", "--timeout=2s"
    )  # fmt: skip
    return f"echo '@@ trial'; {drain} 2>&1 || true"


def _answer(control: Connection, lines: tuple[str, ...], timeout: float) -> dict[str, str]:
    from .connection import outcome  # here: phases load this module, and a plan needs no SSH

    text = script.render("workload", lines, lock=False, limit=LIMIT)
    done = outcome(control, "workload", text, timeout)
    if done.code:
        why = masked_tail(done.output) or "no answer"
        raise KubefabError(
            f"what runs in the cluster cannot be read: {why}", "`inv cluster.doctor`, then run this again"
        )
    return dict(script.sections(done.output).found)


def parse(said: Mapping[str, str], trials: Sequence[str] = ()) -> Workload:
    """The answer's sections, as values. Raises FormError: what cannot be read counts neither as gone nor as allowed."""
    return Workload(
        pods=tuple(_pod(row) for row in _table(said, "pods", 9)),
        budgets=tuple(_budget(row) for row in _table(said, "budgets", 6)),
        attachments=tuple(
            Attachment(forms.text(row[0], 253), _name(row[1], "node"), forms.text(row[2], 253))
            for row in _table(said, "attachments", 3)
        ),
        places=tuple(_place(row) for row in _table(said, "places", 5)),
        refused={key: why for text in trials for key, why in refusals(text).items()},
    )


def refusals(output: str) -> dict[tuple[str, str], str]:
    """The pods that `kubectl drain` was not allowed to evict, by (namespace, name), with the API's words."""
    found: dict[tuple[str, str], str] = {}
    for name, namespace, why in _REFUSED.findall(output):
        if forms.Name.fits(name) and forms.Name.fits(namespace) and not why.startswith("global timeout reached"):
            found.setdefault((namespace, name), forms.text(why, 200))
    return found


def _table(said: Mapping[str, str], section: str, columns: int) -> Iterator[list[str]]:
    for line in said.get(section, "").splitlines():
        row = line.split("\t")
        if len(row) > 1:  # kubectl's warnings have no columns
            if len(row) != columns:
                raise forms.FormError(section, line, f"a row of {columns} columns")
            yield row


def _name(text: str, what: str) -> str:
    """An object's name, or nothing."""
    return forms.name(text, what) if text else ""


def _pod(row: Sequence[str]) -> Pod:
    namespace, name, node, phase, labels, owners, mirror, scratch, requests = row
    controller = next((one for one in _json(owners, _OWNERS, []) if one.get("controller")), None)
    kind = controller["kind"] if controller else ""
    asked = [forms.strings(one, "requests") for one in _several(requests)]
    return Pod(
        forms.name(namespace, "namespace"),
        forms.name(name, "pod"),
        _name(node, "node"),
        f"{forms.text(kind, 60)} {controller['name']}" if controller else "",
        _json(labels, forms.strings, {}),
        tuple(forms.text(word, 63) for word in scratch.split()),
        sum(milli(one.get("cpu", "0")) for one in asked),
        sum(size(one.get("memory", "0")) for one in asked),
        fixed=bool(mirror) or kind == "DaemonSet",
        ended=phase in ("Succeeded", "Failed"),
    )


_OWNERS = forms.many(forms.record({"kind!": forms.string, "name!": forms.name, "controller": forms.flag}))
_TAINTS = forms.many(forms.record({"key!": forms.string, "effect!": forms.string}))


def _budget(row: Sequence[str]) -> Budget:
    namespace, name, selector, *counts = row
    allowed, expected, desired = (forms.number(count or "0", "count of a budget") for count in counts)
    chosen = forms.data(selector, "selector") if selector else None
    return Budget(
        forms.name(namespace, "namespace"),
        forms.name(name, "budget"),
        chosen if isinstance(chosen, dict) else None,
        allowed,
        expected,
        desired,
    )


def _place(row: Sequence[str]) -> Place:
    name, unschedulable, allocatable, taints, ready = row
    offers = _json(allocatable, forms.strings, {})
    keeps_off = any(one["effect"] in ("NoSchedule", "NoExecute") for one in _json(taints, _TAINTS, []))
    free = ready == "True" and unschedulable != "true" and not keeps_off
    return Place(forms.name(name, "node"), free, milli(offers.get("cpu", "0")), size(offers.get("memory", "0")))


def _json(text: str, check: forms.Check, default: Any) -> Any:
    return check(forms.data(text, "the API's answer"), "the API's answer") if text else default


def _several(text: str) -> Iterator[Any]:
    """JSON values one after the other, as jsonpath prints those that `[*]` finds."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise forms.FormError("requests", text, "JSON") from None
        yield value
        at += len(text[at:]) - len(text[at:].lstrip())


# Source: kubernetes.io "Quantity"; n and u are what metrics have, E notation is legal too
_SCALES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)
}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(?:[eE]([0-9]{1,2})|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)")


def quantity(text: str) -> float:
    """A quantity of the API, like `250m`, `1.5Gi` or `2e3`. Raises FormError."""
    form = _QUANTITY.fullmatch(text)
    if not form:
        raise forms.FormError("quantity", text, "a quantity like 250m or 1Gi")
    return float(form[1]) * (10.0 ** int(form[2]) if form[2] else _SCALES[form[3] or ""])


def milli(text: str) -> int:
    """Thousandths of a processor, rounded up."""
    return -int(-quantity(text) * 1000 // 1)


def size(text: str) -> int:
    """Bytes, rounded up."""
    return -int(-quantity(text) // 1)


# --- selectors


def selects(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
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
