"""What the status says beside the phases: cordons, machines that want a reboot, nodes of the cluster that hosts.env lacks, and the reverse."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from ..context import answering
from ..errors import KubefabError
from ..identity import evidence, judge, own_nodes, recall
from ..inventory import Environment
from ..inventory.layers import prefix
from ..nodes.facts import NodeFacts
from ..phases.drain import our_cordon
from ..records import dataclass
from ..steps import command
from ..text import forms
from .contents import strangers

Cordon = Literal["ours", "others"]
OURS: Final = "ours"
OTHERS: Final = "others"


@dataclass(frozen=True)
class Remark:
    """A sentence about one node. `listed`: hosts.env has it; `ready` is the API's answer for one that it lacks."""

    node: str
    text: str
    listed: bool = True
    ready: bool = False


def cordons(environment: Environment, observed: Mapping[str, NodeFacts | KubefabError]) -> dict[str, Cordon]:
    """Whose cordon is on which node, by the node's name here; nodes without one are left out."""
    control = answering(environment, observed)
    found: dict[str, Cordon] = {}
    for node in environment.nodes:
        facts = observed.get(node.name)
        for name in own_nodes(control, node, facts) if control and isinstance(facts, NodeFacts) else ():
            one = control.node_object(name) or {} if control else {}
            if one.get("spec", {}).get("unschedulable"):
                found[node.name] = OURS if our_cordon(one, environment.name) else OTHERS
    return found


def remarks(environment: Environment, observed: Mapping[str, NodeFacts | KubefabError]) -> Iterator[Remark]:
    """Every remark, in the order of the nodes; nodes that hosts.env lacks at the end."""
    control, option = answering(environment, observed), environment.option
    owners = cordons(environment, observed)
    for node in environment.nodes:
        facts = observed.get(node.name)
        if not isinstance(facts, NodeFacts):
            continue
        mine = list(own_nodes(control, node, facts)) if control else []
        if owners.get(node.name) == OURS:
            free = f"`{command('kubectl', 'uncordon', *mine[:1])}` on the control plane"
            yield Remark(node.name, f"cordoned by a run of ours that did not end: the same command goes on; or {free}")
        elif node.name in owners:
            yield Remark(
                node.name, "cordoned, not by kubefab: it takes no new pods, and no command of ours changes that"
            )
        if facts.reboot_needed and facts.in_cluster and environment.settings.release.configured:
            again = f"`inv cluster.reboot --node {node.name} {option}`"
            yield Remark(
                node.name, f"a reboot is required, by what was installed since the last one: {again} drains it first"
            )
        if (
            control
            and control.initialised
            and control.nodes
            and not mine
            and _part(environment, node.name, facts, control)
        ):
            ways = f"`inv cluster.bootstrap {option}` joins it again, `inv cluster.remove --node {node.name} {option}` resets it"
            yield Remark(node.name, f"it has its part of the cluster, but the cluster has no node of it: {ways}")
    yield from _strange(environment, observed, control)


def _part(environment: Environment, name: str, facts: NodeFacts, control: NodeFacts) -> bool:
    """Whether this worker is ours, was once in the cluster, and has still something of it: a reset is owed to it."""
    node = next(one for one in environment.nodes if one.name == name)
    verdict = judge(environment, node, facts, control, recall(environment))
    return not node.control_plane and verdict.workable and "joined" in facts.undo and bool(evidence(facts))


def _strange(
    environment: Environment, observed: Mapping[str, NodeFacts | KubefabError], control: NodeFacts | None
) -> Iterator[Remark]:
    if control is None or not control.initialised:
        return
    option = environment.option
    hostnames = [facts.hostname for facts in observed.values() if isinstance(facts, NodeFacts)]
    for name in strangers(environment, control, hostnames):
        ready = control.node_ready(name)
        addresses = (control.node_object(name) or {}).get("status", {}).get("addresses", ())
        internal = next((str(one["address"]) for one in addresses if one["type"] == "InternalIP"), "")
        line = f"{prefix(environment.name)}_WORKER_{_free(environment)}='{_where(environment, internal)} name={name}'"
        off = f"`inv cluster.remove --node {name} {option}`"
        gone = f"`inv cluster.remove --node {name} --gone {option}`"
        kept = f"with a line there ({line}), `inv cluster.bootstrap {option}` keeps it and {off} takes it off"
        if ready:
            text = f"in the cluster, and not in hosts.env: {kept}"
        else:
            text = f"in the cluster, not Ready, and not in hosts.env: if its machine will not come back, {gone}; if it will, {kept}"
        yield Remark(name, text, listed=False, ready=ready)


def _where(environment: Environment, internal: str) -> str:
    """Where a line finds a machine of that internal address; ADDRESS where SSH dials another one than peers do, which only a person knows."""
    if not forms.is_address(internal):
        return "ADDRESS"
    # simulated nodes are found by any address
    apart = any(node.behind_nat for node in environment.workers or environment.nodes)
    return f"ADDRESS private={internal}" if apart and not environment.settings.simulated else internal


def _free(environment: Environment) -> int:
    """A number that no worker's line has."""
    taken = [int(found[1]) for node in environment.workers if (found := re.search(r"_(\d+) in ", node.line))]
    return max([len(environment.workers), *taken]) + 1
