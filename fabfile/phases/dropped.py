"""What the new release of an upgrade no longer has, and this cluster still uses: feature gates, flags, APIs, cgroups' version.

A component that is given a gate or a flag which it does not know does not start.  The tables are in recipes/changes.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from ..nodes.facts import KUBELET_ENV, NodeFacts
from ..recipes.changes import CHANGES, Change, between, etcd_of, numbers, unknown
from ..recipes.kubelet import Flag, flags
from ..recipes.packages import Apt, family
from ..records import dataclass
from ..text.cleaning import listed, spans
from .examined import Check, Fleet

_EXTRA = {"kube-apiserver": "apiServer", "kube-controller-manager": "controllerManager", "kube-scheduler": "scheduler"}


def unlisted(fleet: Fleet) -> Iterator[Check]:
    for minor in unknown(fleet.entering):
        yield Check("versions.unknown", "note", f"{minor}: kubefab knows no list of what it drops; read its CHANGELOG")


@dataclass(frozen=True)
class _Gates:
    """Feature gates of one place: as names and values, or what could not be read of them."""

    where: str
    values: Mapping[str, bool] = field(default_factory=dict)


def _listed_gates(text: str) -> dict[str, bool]:
    """The gates of a flag, "A=true,B=false"."""
    pairs = (word.partition("=") for word in text.split(","))
    return {name.strip(): value.strip().lower() in ("true", "t", "1") for name, _, value in pairs if name.strip()}


def _mapped(found: object) -> dict[str, bool]:
    """The gates of a configuration file."""
    return (
        {str(name): value for name, value in found.items() if isinstance(value, bool)}
        if isinstance(found, dict)
        else {}
    )


def _extra(cluster: Mapping[str, Any], section: str) -> list[tuple[str, str]]:
    """extraArgs of a section of ClusterConfiguration: a list of name and value since v1beta4, a mapping before."""
    part: Any = cluster
    for word in section.split("."):
        part = part.get(word) if isinstance(part, dict) else None
    args = part.get("extraArgs") if isinstance(part, dict) else None
    if isinstance(args, list):
        return [(str(one.get("name", "")), str(one.get("value", ""))) for one in args if isinstance(one, dict)]
    return [(str(name), str(value)) for name, value in args.items()] if isinstance(args, dict) else []


def _gates(fleet: Fleet) -> Iterator[_Gates]:
    """The feature gates that the new release will be given, of the cluster as a whole: what kubeadm renders manifests and configurations from."""
    for name, section in _EXTRA.items():
        for flag, value in _extra(fleet.control.configured, section):
            if flag == "feature-gates":
                yield _Gates(f"{section}.extraArgs of ConfigMap kubeadm-config ({name})", _listed_gates(value))
    yield _Gates("featureGates of ConfigMap kubelet-config", _mapped(fleet.kubelets.get("featureGates")))
    settings = fleet.environment.settings
    yield _Gates("KUBELET_CONFIG in hosts.env", _mapped(settings.kubelet_config.get("featureGates")))
    yield _Gates("KUBE_PROXY_CONFIG in hosts.env", _mapped(settings.kube_proxy_config.get("featureGates")))


def _kubelet_flags(facts: NodeFacts) -> Iterator[Flag]:
    unread = KUBELET_ENV[1] if isinstance(family(facts), Apt) else KUBELET_ENV[0]
    return flags(line for line in facts.kubelet if line.file != unread)


def _changes(old: str, new: str) -> list[tuple[str, Change]]:
    return [(minor, CHANGES[minor]) for minor in between(old, new) if minor in CHANGES]


def _wrong(fleet: Fleet, place: _Gates, minor: str, change: Change) -> Iterator[Check]:
    """The gates of one place that a release does not know, or no longer lets be changed."""
    gone = sorted(set(place.values) & change.gates)
    locked = sorted(
        f"{name}={str(value).lower()}"
        for name, value in place.values.items()
        if change.locked.get(name, value) != value
    )
    for names, why in ((gone, "does not know"), (locked, "no longer allows")):
        if names:
            seen = f"{place.where} has {listed(names, 4)}, which {minor} {why}: what reads it would not start"
            yield Check("dropped.gates", "stop", seen, _taken_out(fleet, place.where, names))


def kubelets(fleet: Fleet) -> Iterator[Check]:
    """Flags and gates of its own with which a node's kubelet does not start, in each release from its present one on.

    That of a worker may be older than the control plane's, which was upgraded before without it.
    """
    for node, facts in fleet.observed:
        for minor, change in _changes(fleet.kubelet(facts), fleet.target):
            for one in _kubelet_flags(facts):
                where = f"{one.file}:{one.line} on {node.name}"
                if one.name == "feature-gates" and one.value:
                    yield from _wrong(fleet, _Gates(where, _listed_gates(one.value)), minor, change)
                if one.name in change.kubelet_flags:
                    seen = f"{where} gives the kubelet {one}, which {minor} does not know: it would not start"
                    remedy = f"take it out of {one.file} there, then `systemctl restart kubelet`"
                    yield Check("dropped.flags", "stop", seen, remedy)


def settings(fleet: Fleet) -> Iterator[Check]:
    """Feature gates and flags of the whole cluster with which a component of the new release does not start."""
    changes = _changes(fleet.lowest, fleet.target)
    if not changes:
        return
    found = [one for place in _gates(fleet) for minor, change in changes for one in _wrong(fleet, place, minor, change)]
    yield from found
    wrong = bool(found)
    own = set(_mapped(fleet.control.configured.get("featureGates")))
    for minor, change in changes:
        if names := sorted(own & change.kubeadm_gates):
            wrong = True
            seen = f"featureGates of ConfigMap kubeadm-config has {listed(names, 4)}, which kubeadm of {minor} does not know"
            yield Check("dropped.gates", "stop", seen, _taken_out(fleet, "ConfigMap kubeadm-config", names))
        for name, _ in _extra(fleet.control.configured, "etcd.local"):
            if any(name == flag or (flag.endswith("*") and name.startswith(flag[:-1])) for flag in change.etcd_flags):
                wrong = True
                seen = f"etcd.local.extraArgs of ConfigMap kubeadm-config has {name}, which etcd {etcd_of(minor)} does not know: it would not start"
                yield Check("dropped.flags", "stop", seen, _taken_out(fleet, "ConfigMap kubeadm-config", [name]))
    if not wrong and fleet.control.configured and fleet.kubelets:
        yield Check(
            "dropped.gates",
            "ok",
            f"no feature gate and no flag of the cluster's configuration is unknown to {fleet.entering[-1]}",
        )


def _taken_out(fleet: Fleet, where: str, names: Sequence[str]) -> str:
    what = "it" if len(names) == 1 else "them"
    for config in ("kubeadm-config", "kubelet-config"):
        if f"ConfigMap {config}" in where:
            return f"take {what} out: `kubectl -n kube-system edit configmap {config}` on {fleet.node.name}"
    return f"take {what} out of {where}"


def apis(fleet: Fleet) -> Iterator[Check]:
    """APIs that the new release no longer serves: objects that nothing takes over, requests, and our own and the operator's manifests."""
    if not fleet.entering:
        return
    wrong = False
    for key, names in fleet.said.objects.items():
        wrong = True
        api, _, resource = key.partition(" ")
        seen = f"there are objects of {api} ({resource}: {listed(names, 3)}), which {fleet.entering[-1]} drops without a successor"
        group, _, version = api.rpartition("/")
        remedy = f"delete them: `kubectl delete {resource}.{version}.{group} --all -A`"
        yield Check("apis.objects", "stop", seen, remedy)
    gone = [one for one in fleet.said.requested if one.removed and numbers(one.removed) <= numbers(fleet.target)[:2]]
    for one in gone:
        wrong = True
        seen = f"{one.api} is asked for, and {one.removed} no longer serves it: whatever asks for it would fail"
        remedy = (
            "find what asks (`kubectl get --raw /metrics | grep apiserver_requested_deprecated_apis` on the control plane) and update it; "
            "the count begins again when the API server starts again"
        )
        yield Check("apis.requested", "stop", seen, remedy)
    dropped = {api for minor in fleet.entering if minor in CHANGES for api in CHANGES[minor].dropped}
    for addon in fleet.addons:
        for document in addon.documents:
            if str(document.get("apiVersion", "")) in dropped:
                wrong = True
                seen = f"{addon.where} has a {document.get('kind')} of {document['apiVersion']}, which {fleet.entering[-1]} no longer serves"
                yield Check(
                    "apis.manifests",
                    "stop",
                    seen,
                    "write it with the version that replaces it, then apply it by a bootstrap",
                )
    if not wrong:
        yield Check("apis.requested", "ok", f"nothing was seen that asks for an API which {fleet.entering[-1]} drops")


def cgroup(fleet: Fleet) -> Iterator[Check]:
    old = [node.name for node, facts, _ in fleet.seen if facts.cgroup and facts.cgroup != "cgroup2fs"]
    if old and numbers(fleet.target)[:2] >= (1, 35) and fleet.kubelets.get("failCgroupV1") is not False:
        seen = f"{spans(old)} {'has' if len(old) == 1 else 'have'} cgroup v1, with which a kubelet of 1.35 and later does not start"
        yield Check(
            "cgroup.version",
            "stop",
            seen,
            "boot these machines with cgroup v2 (`systemd.unified_cgroup_hierarchy=1`), or set failCgroupV1: false in ConfigMap kubelet-config",
        )
