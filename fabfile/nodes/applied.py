"""What the API has of the operator's own add-ons: the rows that the control plane prints for the files that were applied there."""

from __future__ import annotations

from collections.abc import Iterable

from ..text import forms
from .facts import Applied

STAMP, ADDON = "kubefab.dev/digest", "kubefab.dev/addon"  # an annotation and a label of each object

_FIELDS = (
    r".metadata.labels.kubefab\.dev/addon", r".metadata.annotations.kubefab\.dev/digest", ".apiVersion", ".kind", ".metadata.namespace",
    ".metadata.name", ".metadata.generation", ".status.observedGeneration", ".spec.replicas", ".status.updatedReplicas",
    ".status.availableReplicas", ".status.desiredNumberScheduled", ".status.numberAvailable",
)  # fmt: skip
COLUMNS = ",".join(f"C{number}:{field}" for number, field in enumerate(_FIELDS))
NONE = "<none>"


def rows(lines: Iterable[str]) -> tuple[Applied, ...]:
    """The objects in the printed rows. A row without its form is left out, as if that object were not there: nothing is done to it."""
    found = []
    for words in (line.split() for line in lines):
        if len(words) != len(_FIELDS):
            continue
        addon, stamp, version, kind, namespace, name, *numbers = ("" if word == NONE else word for word in words)
        good = (
            forms.has(addon, r"|[a-z0-9][a-z0-9.-]*", 63)
            and forms.has(stamp, r"|[0-9a-f]{16}")
            and forms.has(version, r"[a-z0-9][a-z0-9./-]*")
            and forms.has(kind, r"[A-Za-z][A-Za-z0-9]*", 63)
            and (not namespace or forms.Name.fits(namespace))
            and forms.has(name, r"[A-Za-z0-9][A-Za-z0-9._:-]*", 253)
            and all(forms.has(number, r"|[0-9]{1,9}") for number in numbers)
        )
        if good:
            group = version.rpartition("/")[0]
            found.append(Applied(addon, stamp, group, kind, namespace, name, _fault(kind, *numbers)))
    return tuple(found)


def _fault(kind: str, made: str, seen: str, wanted: str, new: str, up: str, places: str, ready: str) -> str:
    """Why a workload is not rolled out; empty if it is, and for every other kind.

    A DaemonSet is, when one of its pods is available: a node that is down must not keep it. Sources: kubernetes.io "Deployments",
    `kubectl rollout status` (pkg/polymorphichelpers/rollout_status.go).
    """
    if kind not in ("Deployment", "StatefulSet", "DaemonSet"):
        return ""
    if int(seen or 0) < int(made or 0):
        return "not seen by its controller yet"
    if kind == "DaemonSet":
        return "" if places == "0" or int(ready or 0) else "no pod available"
    if kind == "Deployment" and int(new or 0) < int(wanted or 1):
        return f"{new or 0} of {wanted or 1} pods are new"
    return "" if int(up or 0) >= int(wanted or 1) else f"{up or 0} of {wanted or 1} pods available"
