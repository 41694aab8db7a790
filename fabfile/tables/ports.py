"""Which ports a cluster needs open, and between whom (digest E4): the one table.

It feeds docs/ports.md, the doctor's tests between nodes and `inv cluster.security-group`.
Sources: the manual's note on ports; kubernetes.io "Ports and Protocols"; flannel docs/backends.md; for 1.5
kubeadm's own defaults (discovery 9898) and heapster's (the kubelet's read-only port 10255).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..inventory import Environment, Node, Role
from ..inventory.settings import Settings
from ..records import dataclass

TCP, UDP = "TCP", "UDP"
ADMIN, CONTROL, WORKERS, NODES = "you", "control plane", "workers", "nodes"
KUBEADM, LEGACY = "kubeadm", "legacy"  # the recipes, by the names of their releases
_BOTH = (KUBEADM, LEGACY)
_ROLES: dict[str, tuple[Role, ...]] = {
    ADMIN: (),
    CONTROL: ("control-plane",),
    WORKERS: ("worker",),
    NODES: ("control-plane", "worker"),
}


@dataclass(frozen=True)
class Rule:
    """Ports `first` to `last` of `target` that `source` must reach; both are roles.

    `recipes` need this rule.  `setting` is the key of hosts.env that changes the port; `manual` is true if the
    manual lists it.
    """

    first: int
    last: int
    protocol: str
    source: str
    target: str
    purpose: str
    recipes: tuple[str, ...] = _BOTH
    setting: str = ""
    manual: bool = False

    @property
    def ports(self) -> str:
        """`6443`, or `30000-32767`."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def concerns(self, source: Node, target: Node) -> bool:
        """True if this rule lets `source` reach `target`; a node needs no rule for its own ports."""
        return source != target and source.role in _ROLES[self.source] and target.role in _ROLES[self.target]


def _one(port: int, protocol: str, source: str, target: str, purpose: str, **more: Any) -> Rule:
    return Rule(port, port, protocol, source, target, purpose, **more)


TABLE = (
    _one(22, TCP, ADMIN, NODES, "SSH", setting="SSH_PORT"),
    _one(6443, TCP, ADMIN, CONTROL, "API over TLS, for kubectl", setting="API_PORT", manual=True),
    _one(6443, TCP, WORKERS, CONTROL, "API over TLS, for kubelets and pods", setting="API_PORT", manual=True),
    _one(9898, TCP, WORKERS, CONTROL, "API: discovery, for kubeadm join", recipes=(LEGACY,), manual=True),
    _one(10250, TCP, CONTROL, WORKERS, "kubelet: logs, exec"),
    _one(10255, TCP, NODES, NODES, "kubelet, read-only, for heapster", recipes=(LEGACY,)),
    _one(8472, UDP, NODES, NODES, "flannel's VXLAN, both ways", manual=True),
    _one(8285, UDP, NODES, NODES, "flannel's udp backend, both ways", recipes=(LEGACY,), manual=True),
    _one(31447, TCP, ADMIN, NODES, "dashboard", setting="DASHBOARD_PORT", manual=True),
    _one(30315, TCP, ADMIN, NODES, "InfluxDB", setting="INFLUXDB_PORT", manual=True),
    Rule(30000, 32767, TCP, ADMIN, NODES, "NodePorts", recipes=(LEGACY,), manual=True),
)


def required(environment: Environment) -> list[Rule]:
    """The rules that this cluster needs, with its own ports; no rules for a role that it does not have."""
    settings = environment.settings
    recipe = settings.release.name
    rules: dict[Rule, None] = {}
    for rule in TABLE:
        if recipe not in rule.recipes or _absent(rule, environment):
            continue
        if not rule.setting:
            rules[rule] = None
        for port in sorted(_PORTS[rule.setting](environment)) if rule.setting else ():
            rules[replace(rule, first=port, last=port)] = None
    return list(rules)


def _absent(rule: Rule, environment: Environment) -> bool:
    between_nodes = ADMIN not in (rule.source, rule.target)
    return (between_nodes and not environment.workers) or (
        rule.setting == "DASHBOARD_PORT" and _without_dashboard(environment.settings)
    )


def _without_dashboard(settings: Settings) -> bool:
    return settings.dashboard == "none" and not settings.release.dashboard


def _ssh_ports(environment: Environment) -> set[int]:
    return {node.port or environment.settings.ssh_port for node in environment.nodes}


_PORTS: dict[str, Callable[[Environment], set[int]]] = {
    "SSH_PORT": _ssh_ports,
    "API_PORT": lambda e: {e.settings.api_port},
    "DASHBOARD_PORT": lambda e: {e.settings.dashboard_port},
    "INFLUXDB_PORT": lambda e: {e.settings.influxdb_port},
}


def table() -> str:
    """The table in docs/ports.md."""
    rows = ["| from | to | port | for | release |", "|---|---|---|---|---|"]
    for rule in TABLE:
        setting = f" (`{rule.setting}`)" if rule.setting else ""
        release = {_BOTH: "all", (KUBEADM,): "1.35 and later", (LEGACY,): "1.5"}[rule.recipes]
        release += ", later as you need" * (rule.first != rule.last)
        port = f"{rule.protocol} {rule.ports.replace('-', '–')}"
        rows.append(f"| {rule.source} | {rule.target} | {port} | {rule.purpose}{setting} | {release} |")
    return "\n".join(rows)
