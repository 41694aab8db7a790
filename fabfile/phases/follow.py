"""KUBELET_CONFIG and KUBE_PROXY_CONFIG on a living cluster: what hosts.env says now, in kubeadm's ConfigMaps and in what runs by them.

Ours in a ConfigMap are the fields that hosts.env names, and those that it named before, which a note on each node has; all others stay as
they are. A kubelet gets its file from kubeadm, as in an upgrade, and is restarted: its containers run on. It must then speak with the API,
or the file of before is put back. Sources: kubernetes.io "Reconfiguring a kubeadm cluster", "Configuring each kubelet in your cluster using
kubeadm"; kubeadm app/componentconfigs/kubelet.go, kubeproxy.go (what it fills in).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from shlex import quote
from typing import Any

from ..context import Context
from ..errors import Refused
from ..inventory.components import DECIDED, KUBELET, PROXY, Path, at, is_set, leaves, same, without
from ..nodes.facts import (
    COMPONENT_MAPS,
    COMPONENT_PATCHES,
    KUBELET_CONF,
    KUBELET_CONFIG,
    KUBELET_FLAGS_FILE,
    STATE,
    NodeFacts,
)
from ..recipes.changes import numbers
from ..recipes.flannel import Expected
from ..recipes.kubeadm import merged
from ..recipes.kubelet import SAYS, flags
from ..steps import Action, File, Remedy, Step, Stop, Target, Wait, command
from ..text import forms
from ..text.cleaning import listed
from ..text.masking import mask
from ..text.yamls import dumped
from . import services
from .drain import Hindrance, cordoned_by, drained, uncordoned, ways

SETTING = {KUBELET: "KUBELET_CONFIG", PROXY: "KUBE_PROXY_CONFIG"}
DUE = {
    KUBELET: "kubelet-due",
    PROXY: "kube-proxy-due",
}  # marks: the configuration is new, and what runs by it is not proved yet
BEFORE = f"{STATE}/kubelet-before.yaml"
REFUSED = "refused"
TURN = "kubelets"
RESOLVER: Path = ("resolvConf",)
# What the kubelet keeps of CPUs and memory that it gave to pods: with other values for these it does not start, or counts wrongly. The node is
# drained, and its files of that go (kubernetes.io "Control CPU Management Policies on the Node", changing the policy).
_COUNTED = frozenset(
    {"cpuManagerPolicy", "cpuManagerPolicyOptions", "memoryManagerPolicy", "reservedMemory", "reservedSystemCPUs"}
)
_SHARES = frozenset({"kubeReserved", "systemReserved"})  # likewise, under a policy that gives whole CPUs or memory away
_POLICIES = ("cpuManagerPolicy", "memoryManagerPolicy")
_STATES = "/var/lib/kubelet/cpu_manager_state /var/lib/kubelet/memory_manager_state"


def wanted(ctx: Context, component: str) -> Mapping[str, Any]:
    """What hosts.env says of a component's configuration."""
    return ctx.settings.kubelet_config if component == KUBELET else ctx.settings.kube_proxy_config


def note(ctx: Context, component: str) -> tuple[File, ...]:
    """The file that notes what of hosts.env a component has taken; none where hosts.env says nothing and nothing is noted."""
    said = wanted(ctx, component)
    return (_noted(component, said),) if said or component in ctx.facts.followed else ()


def _noted(component: str, said: Mapping[str, Any]) -> File:
    return File(f"{STATE}/followed-{component}", json.dumps(said, sort_keys=True) + "\n", mode="0600")


def _filled(ctx: Context, component: str) -> dict[str, Any]:
    """What kubeadm's init writes where hosts.env says nothing. The kubelet's it fills in on each node, kube-proxy's only there."""
    if component == KUBELET:
        return {"cgroupDriver": "systemd"}
    return {
        "bindAddress": "0.0.0.0",
        "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf"},
        "clusterCIDR": str(ctx.settings.pod_cidr),
        **({"mode": "iptables"} if numbers(ctx.recipe.minor) >= (1, 37) else {}),
    }


# What kubeadm's defaulting writes into the ConfigMap beside _filled (componentconfigs/kubelet.go, Default), and what differs by cluster.
_DEFAULTED: dict[Path, Any] = {
    ("authentication", "anonymous", "enabled"): False,
    ("authentication", "webhook", "enabled"): True,
    ("authentication", "x509", "clientCAFile"): "/etc/kubernetes/pki/ca.crt",
    ("authorization", "mode"): "Webhook",
    ("healthzBindAddress",): "127.0.0.1",
    ("healthzPort",): 10248,
    ("staticPodPath",): "/etc/kubernetes/manifests",
}
OF_CLUSTER = frozenset({"clusterDNS", "clusterDomain", "resolvConf"})


def of_kubeadm(ctx: Context, component: str) -> dict[Path, Any]:
    """What kubeadm of this release puts into a component's ConfigMap where nothing asks for another, but for OF_CLUSTER."""
    filled = {**dict(leaves(_filled(ctx, component))), **dict(leaves(DECIDED[component]))}
    return filled | (_DEFAULTED if component == KUBELET else {})


def unexplained(ctx: Context, component: str, control: NodeFacts) -> dict[Path, Any]:
    """Fields of the cluster's ConfigMap that neither hosts.env nor kubeadm has put there, as far as is known.

    Without a note of what hosts.env said before, an earlier hosts.env may have, or a person: that cannot be known.
    """
    held = control.components.get(component)
    ours, filled = [path for path, _ in leaves(wanted(ctx, component))], of_kubeadm(ctx, component)
    return {
        path: value
        for path, value in leaves(held.config if held else {})
        if is_set(component, path, value)
        and value not in ("0s", "0")
        and path[0] not in OF_CLUSTER
        and not (path in filled and same(component, path, filled[path], value))
        and not any(one[: len(path)] == path or path[: len(one)] == one for one in ours)
    }


def _unknown(ctx: Context, component: str, control: NodeFacts) -> str:
    """What the first note in a cluster says of the fields that nothing explains; empty where there are none, or it was noted before."""
    strange = unexplained(ctx, component, control) if component not in control.followed else {}
    if not strange:
        return ""
    what = listed([f"{'.'.join(path)} {_shown(value)}" for path, value in strange.items()], 6)
    them = "it" if len(strange) == 1 else "them"
    return (
        f"{COMPONENT_MAPS[component][0]} in the cluster has {what}, and hosts.env does not name {them}. Whether an earlier {SETTING[component]} "
        f"or a person put {them} there cannot be known, so it stays. To take one off: name it in {SETTING[component]}, "
        f"`inv cluster.bootstrap {ctx.environment.option}`, then take it out and run that again"
    )


def _renoted(ctx: Context, component: str, phase: str) -> Iterator[Action]:
    """Note what hosts.env says where all of it is taken and not noted so: of clusters of an earlier kubefab, or a value that is written otherwise."""
    noted, said = ctx.facts.followed.get(component), wanted(ctx, component)
    says = _unknown(ctx, component, ctx.facts) if ctx.node.control_plane else ""
    if says or dict(noted or {}) != dict(said):
        title = f"{SETTING[component]} noted{f': {says}' * bool(says)}"
        yield Step(f"{phase}.{component}-noted", title, (), files=(_noted(component, said),), says=says)


def _gone(ctx: Context, component: str, facts: NodeFacts | None = None) -> list[Path]:
    """The fields that hosts.env named when this node (or that of the facts) took it, and names no more."""
    now = [path for path, _ in leaves(wanted(ctx, component))]
    before = [path for path, _ in leaves((facts or ctx.facts).followed.get(component, {}))]
    return [path for path in before if not any(one[: len(path)] == path or path[: len(one)] == one for one in now)]


def _target(ctx: Context, component: str, held: Mapping[str, Any], control: NodeFacts) -> dict[Path, Any]:
    """The fields of the ConfigMap that differ from hosts.env, with the value that each is to get; None: the field goes."""
    found = {
        path: value
        for path, value in leaves(wanted(ctx, component))
        if not same(component, path, value, at(held, path))
    }
    filled = _filled(ctx, component)
    for path in _gone(ctx, component, control):
        back = at(filled, path)
        if (
            not same(component, path, back, at(held, path))
            if back is not None
            else is_set(component, path, at(held, path))
        ):
            found[path] = back
    return found


def changed(config: Mapping[str, Any], target: Mapping[Path, Any]) -> dict[str, Any]:
    """A configuration with these fields changed, in their places."""
    result = dict(config)
    for path, value in target.items():
        result = without(result, path) if value is None else _put(result, path, value)
    return result


def _put(config: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    name, *rest = path
    inside = config.get(name)
    return {**config, name: _put(inside if isinstance(inside, Mapping) else {}, tuple(rest), value) if rest else value}


def _words(target: Mapping[Path, Any], held: Mapping[str, Any]) -> str:
    """The differences as people read them: the value that is there, then hosts.env's."""
    return listed([f"{'.'.join(path)} {_shown(at(held, path))} → {_shown(value)}" for path, value in target.items()], 6)


def _shown(value: Any) -> str:
    return "(default)" if value is None else forms.text(mask(json.dumps(value)), 60)


def configmap(ctx: Context, component: str, phase: str) -> Iterator[Action]:
    """kubeadm's ConfigMap with the fields of hosts.env. It is refused if somebody changed it since it was seen."""
    control = ctx.facts if ctx.node.control_plane else ctx.control
    held = control.components.get(component) if control else None
    target = _target(ctx, component, held.config, control) if control and held else {}
    if not held or not target:
        return
    (name, key), path = COMPONENT_MAPS[component], COMPONENT_PATCHES[component]
    due = f"touch {STATE}/{DUE[component]}"
    patch = {
        "metadata": {"resourceVersion": held.version},
        "data": {key: dumped(changed(held.config, target))},
    }
    # the note first, so that nothing of ours is ever without it
    claim = merged(dict(control.followed.get(component, {})), dict(wanted(ctx, component))) if control else {}
    on: Target = "" if ctx.node.control_plane else "control-plane"
    yield Step(
        f"{phase}.{name}",
        f"{SETTING[component]} in the cluster's ConfigMap {name}: {_words(target, held.config)}",
        (
            *((due,) if component == PROXY else ()),
            command("kubectl", "-n", "kube-system", "patch", "configmap", name, "--type=merge", "--patch-file", path),
            f"rm -f {path}",
        ),
        files=(_noted(component, claim), File(path, json.dumps(patch) + "\n", mode="0600")),
        says=_unknown(ctx, component, control) if control else "",
        on=on,
        once=bool(on),
        hint=f"a conflict: somebody changed it at this moment. Run this again; `kubectl -n kube-system get configmap {name} -o yaml` shows it",
    )


def _differing(ctx: Context) -> dict[Path, Any]:
    """The fields of this node's kubelet that are not as hosts.env says; None: the field goes."""
    facts, said = ctx.facts, wanted(ctx, KUBELET)
    differs = {
        path: value for path, value in leaves(said) if not same(KUBELET, path, value, at(facts.kubelet_config, path))
    }
    differs |= dict.fromkeys(_gone(ctx, KUBELET))
    if _flag(ctx):
        differs.setdefault(RESOLVER, said.get("resolvConf"))
    return differs


def empties(ctx: Context) -> bool:
    """Whether this node is drained for KUBELET_CONFIG, as its kubelet counts CPUs or memory that it gave away."""
    facts = ctx.facts
    differs = _differing(ctx) if facts.kubelet_config else {}
    return facts.in_cluster and bool(differs or DUE[KUBELET] in facts.undo) and _counted(ctx, differs)


def stays(rows: Iterable[Hindrance], called: Mapping[str, str]) -> Refused | None:
    """Why KUBELET_CONFIG cannot empty these nodes; None where nothing stops it. `called` has a node's name here by its name in the API."""
    found = [row for row in rows if row.stops]
    if not found:
        return None
    what = "\n".join(dict.fromkeys(f"{called.get(row.node, row.node)}: {row.seen}" for row in found))
    return Refused(
        f"KUBELET_CONFIG empties each node before its kubelet takes it, and pods are in the way:\n{what}",
        f"no node was touched; {'; '.join(ways(found))}; then run this again",
    )


def kubelet(ctx: Context, phase: str) -> Iterator[Action]:
    """KUBELET_CONFIG in this member's kubelet, which takes its turn after those of other nodes. The ConfigMap has it by then."""
    facts = ctx.facts
    if not facts.kubelet_config:  # it cannot be read: nothing is decided from it
        return
    differs, flag = _differing(ctx), _flag(ctx)
    if not differs and DUE[KUBELET] not in facts.undo:
        yield from _renoted(ctx, KUBELET, phase)
        return
    due, what = f"{STATE}/{DUE[KUBELET]}", _words(differs, facts.kubelet_config)
    counted = _counted(ctx, differs)
    away = list(drained(ctx, phase)) if counted else []
    undo = next((action.undo for action in away if not isinstance(action, Stop) and action.undo), None)
    runs_on = "its pods went elsewhere" if counted else "its pods run on"
    yield from (replace(action, turn=TURN) for action in away if not isinstance(action, Stop))
    yield Step(
        f"{phase}.kubelet-restart",
        f"the kubelet takes KUBELET_CONFIG{f': {what}' * bool(what)}; {runs_on}",
        (
            f"[ -e {due} ] || cp -p {KUBELET_CONFIG} {BEFORE}",
            f"touch {due}",
            "kubeadm upgrade node phase kubelet-config >/dev/null",
            *flag,
            "systemctl stop kubelet",
            *((f"rm -f {_STATES}",) if counted else ()),
            f"date -u +%FT%T.%6NZ >{due}",
            "systemctl start kubelet",
        ),
        turn=TURN,
        undo=undo,
        evidence=(SAYS,),
    )
    yield replace(_alive(ctx, phase, counted=counted), undo=undo)
    if counted:
        yield from (
            replace(action, turn=TURN) for action in uncordoned(ctx, phase, after=True) if not isinstance(action, Stop)
        )
    # where the ConfigMap changes too, that step says it
    says = _unknown(ctx, KUBELET, facts) if ctx.node.control_plane and not any(configmap(ctx, KUBELET, phase)) else ""
    taken = (f"rm -f {due} {BEFORE}",)
    yield Step(f"{phase}.kubelet-taken", "noted", taken, files=note(ctx, KUBELET), says=says, turn=TURN)


def _counted(ctx: Context, differs: Mapping[Path, Any]) -> bool:
    """Whether the node must be empty for these changes; or a run died while it was emptied for them, which our cordon shows."""
    facts, said = ctx.facts, wanted(ctx, KUBELET)
    given = any(
        str(config.get(name, "None")) not in ("None", "none")
        for config in (facts.kubelet_config, said)
        for name in _POLICIES
    )
    names = {path[0] for path in differs}
    began = DUE[KUBELET] in facts.undo and cordoned_by(ctx, facts.hostname)
    return bool(names & _COUNTED or (given and names & _SHARES)) or began


def _flag(ctx: Context) -> tuple[str, ...]:
    """A shell line that takes off the flag which names the resolver's file, as it is stronger than a resolvConf of hosts.env; or brings it back."""
    there = any(
        flag.name == "resolv-conf" for flag in flags(one for one in ctx.facts.kubelet if one.file == KUBELET_FLAGS_FILE)
    )
    if RESOLVER[0] in wanted(ctx, KUBELET):
        return (f"sed -i -E 's/ ?--resolv-conf=[^ \"]+//' {KUBELET_FLAGS_FILE}",) if there else ()
    given = ctx.recipe.resolver(ctx.facts) if RESOLVER in _gone(ctx, KUBELET) and not there else []
    return tuple(f"sed -i -E '$s|\"$| --{one['name']}={one['value']}\"|' {KUBELET_FLAGS_FILE}" for one in given)


def _alive(ctx: Context, phase: str, *, counted: bool = False) -> Wait:
    """The kubelet that was started speaks with the API: it renewed its lease since, and its Node is Ready; and flannel.1 is there."""
    name, due = quote(ctx.facts.hostname), f"{STATE}/{DUE[KUBELET]}"
    asks = f"kubectl --kubeconfig={KUBELET_CONF} --request-timeout=5s"
    status = """-o jsonpath='{.status.conditions[?(@.type=="Ready")].status}'"""
    renewed = "-o jsonpath='{.spec.renewTime}'"
    back = (
        f"[ ! -e {BEFORE} ] || cp -p {BEFORE} {KUBELET_CONFIG}",
        f"echo {REFUSED} >{due}",
        *((f"rm -f {_STATES}",) if counted else ()),
        "systemctl restart kubelet",
    )
    return Wait(
        f"{phase}.kubelet-alive",
        "the kubelet is back with it",
        probe=f'echo "since $(cat {due})"; echo "lease $({asks} -n kube-node-lease get lease {name} {renewed} 2>/dev/null)"; '
        f'echo "ready $({asks} get node {name} {status} 2>/dev/null)"; ip -j addr',
        until=spoke(ctx),
        deadline=20,
        interval=1,
        remedies=(Remedy("the kubelet's configuration of before is put back", back, after=60),),
        hint=f"what the kubelet says of KUBELET_CONFIG is above, and in `journalctl -u kubelet -n 50` on {ctx.node.name}. Correct it in hosts.env "
        "and run this again; no other node was restarted",
        # what it said when it ended: of the file of before, with which it runs by now, it says nothing
        evidence=(
            "journalctl -u kubelet -n 300 --no-pager -o cat 2>&1 | grep -E '^[EF][0-9]{4} .*run\\.go' | tail -n 2",
        ),
        turn=TURN,
    )


def spoke(ctx: Context) -> Callable[[str], str | None]:
    """`until` of the wait for a kubelet: its lease is newer than its restart, by the node's one clock; Ready; flannel.1."""
    expected = Expected(("flannel.1",), ctx.settings.pod_cidr)

    def until(output: str) -> str | None:
        said = dict(line.split(" ", 1) for line in output.splitlines()[:3] if " " in line)
        since, lease = said.get("since", ""), said.get("lease", "")
        if since == REFUSED:
            return "it did not come up with this configuration, and the one of before was put back"
        if not forms.has(since, forms.MOMENT) or not forms.has(lease, forms.MOMENT) or lease <= since:
            return "it has not spoken with the API since it was restarted"
        if said.get("ready") != "True":
            return "the node is not Ready"
        return expected.until("\n".join(output.splitlines()[3:]))

    return until


def proxy(ctx: Context, phase: str) -> Iterator[Action]:
    """KUBE_PROXY_CONFIG in the cluster, and in kube-proxy's pods, which its DaemonSet replaces one node after the other."""
    facts = ctx.facts
    mapped = list(configmap(ctx, PROXY, phase))
    yield from mapped
    if not mapped and DUE[PROXY] not in facts.undo and not _gone(ctx, PROXY):
        yield from _renoted(ctx, PROXY, phase)
        return
    due = f"{STATE}/{DUE[PROXY]}"
    yield Step(
        f"{phase}.kube-proxy-restart",
        "kube-proxy restarted, one node after the other",
        (f"touch {due}", "kubectl -n kube-system rollout restart daemonset/kube-proxy"),
    )
    yield services.everywhere(ctx, f"{phase}.kube-proxy-ready", "kube-proxy runs with it on every node", whole=True)
    yield Step(f"{phase}.kube-proxy-taken", "noted", (f"rm -f {due}",), files=note(ctx, PROXY))
