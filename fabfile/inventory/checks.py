"""What is wrong between values that are each right by themselves; and what the operator must know of the files."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from ..records import dataclass
from ..text.cleaning import listed
from ..text.forms import is_address
from . import quoting
from .components import too_new
from .find import own
from .layers import NODE_KEY, Problem, Value, source
from .model import Environment, Node
from .settings import KEYS, Network, Settings

# kubernetes.io/docs/reference/networking/ports-and-protocols, and what the components listen to on loopback
_KUBERNETES_PORTS = (2379, 2380, 2381, 10248, 10249, 10250, 10256, 10257, 10259)


@dataclass(frozen=True)
class _Inventory:
    """What a check looks at: nodes with the values that they are from, and the settings."""

    name: str
    nodes: Sequence[tuple[Node, Value]]
    settings: Settings
    values: Mapping[str, Value]

    @property
    def ranges(self) -> dict[str, Network]:
        """The cluster's networks by their keys, NODE_CIDR only if it is set."""
        found = {key: getattr(self.settings, key.lower()) for key in ("POD_CIDR", "SERVICE_CIDR", "NODE_CIDR")}
        return {key: network for key, network in found.items() if network is not None}

    def where(self, *keys: str) -> str:
        """File and line, or variable, of the first of these settings that is set; of the control plane where none is."""
        places = [source(key, self.name, self.values)[1] for key in keys]
        places += [self.values.get(f"{self.name.upper()}_{role}") for role in ("CONTROL_PLANE", "MASTER")]
        return next(value.where for value in places if value)


def contradictions(
    name: str, nodes: Sequence[tuple[Node, Value]], settings: Settings, values: Mapping[str, Value]
) -> Iterator[Problem]:
    """What is wrong between the values of environment `name`, in the order of the list below."""
    inventory = _Inventory(name, nodes, settings, values)
    for check in _CHECKS:
        yield from check(inventory)


def _used_twice(inventory: _Inventory) -> Iterator[Problem]:
    seen: dict[str, tuple[str, str]] = {}
    for node, value in inventory.nodes:
        addresses = dict.fromkeys((_dialled(node), node.address))
        for what in (f"name {node.name}", *(f"address {address}" for address in addresses)):
            name, where = seen.setdefault(what, (node.name, value.where))
            if (name, where) != (node.name, value.where):
                yield Problem(value.where, f"{what} is used twice (also {where})", "every node needs its own")


def _loopback(inventory: _Inventory) -> Iterator[Problem]:
    if inventory.settings.simulated or len(inventory.nodes) < 2:
        return
    for node, value in inventory.nodes:
        if ipaddress.ip_address(node.address).is_loopback:
            what = f"{node.name}: its peers would use {node.address}, which is each machine's own"
            yield Problem(value.where, what, "name its private address: private=10.2.0.1")


def _unprotected_packages(inventory: _Inventory) -> Iterator[Problem]:
    settings = inventory.settings
    if not settings.release.signed_packages:
        return
    for url, keys in (("PACKAGES_URL", "PACKAGES_KEY_FINGERPRINT"), ("CONTAINERD_URL", "CONTAINERD_KEY_FINGERPRINT")):
        if not getattr(settings, url.lower()).startswith("https://") and not getattr(settings, keys.lower()):
            what = f"{url} is not https:// and {keys} is empty: anyone on the network path could have packages of their own installed as root"
            yield Problem(inventory.where(url, keys), what, f"use https://, or set {keys}")


def _nodes_are_ipv4(inventory: _Inventory) -> Iterator[Problem]:
    for node, value in inventory.nodes:
        if ipaddress.ip_address(node.address).version != 4:
            what = f"{node.name}: its peers would use {node.address}, and kubefab's clusters are IPv4"
            remedy = "name its private address too: private=10.2.0.1. SSH itself may use an IPv6 address"
            yield Problem(value.where, what, remedy)


def _networks_are_ipv4(inventory: _Inventory) -> Iterator[Problem]:
    for key, network in inventory.ranges.items():
        if network.version != 4:
            what = f"{key} {network}: kubefab's clusters are IPv4"
            yield Problem(inventory.where(key), what, "write it like 10.44.0.0/16")


def _one_node_port(inventory: _Inventory) -> Iterator[Problem]:
    settings = inventory.settings
    if settings.dashboard != "none" and settings.dashboard_port == settings.influxdb_port:
        what = f"DASHBOARD_PORT and INFLUXDB_PORT are both {settings.influxdb_port}"
        yield Problem(inventory.where("DASHBOARD_PORT", "INFLUXDB_PORT"), what, "choose two NodePorts")


def _api_port_is_free(inventory: _Inventory) -> Iterator[Problem]:
    taken = {*_KUBERNETES_PORTS, *(node.port for node, _ in inventory.nodes if node.control_plane)}
    if (port := inventory.settings.api_port) in taken:
        what = f"API_PORT {port} is taken on the control plane by etcd, another component or SSH"
        yield Problem(inventory.where("API_PORT", "SSH_PORT"), what, "6443 is usual, 443 works")


def _networks_are_apart(inventory: _Inventory) -> Iterator[Problem]:
    for (first, one), (second, other) in combinations(inventory.ranges.items(), 2):
        if one.version == other.version and one.overlaps(other):
            what = f"{first} {one} overlaps {second} {other}"
            yield Problem(inventory.where(second, first), what, "choose ranges that do not overlap")


def _nodes_are_outside(inventory: _Inventory) -> Iterator[Problem]:
    for node, value in inventory.nodes:
        for key in ("POD_CIDR", "SERVICE_CIDR"):
            network = inventory.ranges[key]
            if any(is_address(at) and ipaddress.ip_address(at) in network for at in (node.host, node.address)):
                yield Problem(
                    value.where, f"{node.name} has an address inside {key} {network}", f"choose another {key}"
                )


def _labels_are_modern(inventory: _Inventory) -> Iterator[Problem]:
    for node, value in inventory.nodes:
        if (node.labels or node.taints) and not inventory.settings.release.configured:
            what = f"{node.name}: labels= and taints= are for today's releases, not for {inventory.settings.kubernetes}"
            yield Problem(value.where, what, "take them out, or choose a newer KUBERNETES")


def _scheduling_is_modern(inventory: _Inventory) -> Iterator[Problem]:
    settings = inventory.settings
    if settings.schedule_on_control_plane is not None and not settings.release.configured:
        what = f"SCHEDULE_ON_CONTROL_PLANE is for today's releases, not for {settings.kubernetes}"
        yield Problem(inventory.where("SCHEDULE_ON_CONTROL_PLANE"), what, "take the line out")


def _somewhere_for_pods(inventory: _Inventory) -> Iterator[Problem]:
    """The dashboard's pod has no toleration: one node of those that take pods must be without a taint that keeps it away."""
    shared = inventory.settings.schedule_on_control_plane
    takers = [pair for pair in inventory.nodes if shared or not pair[0].control_plane] or list(inventory.nodes)
    away = [pair for pair in takers if any(taint.effect != "PreferNoSchedule" for taint in pair[0].taints)]
    settings = inventory.settings  # a rehearsal's workers need no lines
    if away and len(away) == len(takers) and settings.dashboard != "none" and not settings.simulated:
        what = "every node has a taint that keeps ordinary pods away, so the dashboard's has no place"
        yield Problem(away[-1][1].where, what, "leave one node without taints=, or set DASHBOARD=none")


def _service_range(inventory: _Inventory) -> Iterator[Problem]:
    """kubeadm wants ten addresses at least (MinimumAddressesInServiceSubnet), kube-apiserver 20 bits of them at most."""
    services = inventory.settings.service_cidr
    if services.version == 4 and not 12 <= services.prefixlen <= 28:
        what = f"SERVICE_CIDR {services} is too {'small' if services.prefixlen > 28 else 'large'} for Kubernetes"
        yield Problem(inventory.where("SERVICE_CIDR"), what, "write a range from /12 to /28, like 10.96.0.0/12")


def _nodes_are_in_their_network(inventory: _Inventory) -> Iterator[Problem]:
    network = inventory.settings.node_cidr
    inside = [node for node, _ in inventory.nodes if network and ipaddress.ip_address(node.address) in network]
    if network and inventory.nodes and not inside and not inventory.settings.simulated:
        node = inventory.nodes[0][0]
        what = f"NODE_CIDR {network} has the address of no node ({node.name} is {node.address})"
        yield Problem(
            inventory.where("NODE_CIDR"), what, "write the nodes' private network, or private= in their lines"
        )


def _pod_range(inventory: _Inventory) -> Iterator[Problem]:
    """kubeadm: the network and a node's /24 differ by 16 bits at most (PodSubnetNodeMaskMaxDiff)."""
    pods = inventory.settings.pod_cidr
    if pods.version == 4 and pods.prefixlen < 8:
        what = f"POD_CIDR {pods} is too large for Kubernetes"
        yield Problem(inventory.where("POD_CIDR"), what, "write a range from /8 to /24, like 10.244.0.0/16")


def _room_for_nodes(inventory: _Inventory) -> Iterator[Problem]:
    pods, count = inventory.settings.pod_cidr, len(inventory.nodes)
    room = 2 ** max(0, 24 - pods.prefixlen)
    if pods.version == 4 and (pods.prefixlen > 24 or room < count):
        what = f"POD_CIDR {pods} has room for {room} nodes, the inventory has {count}"
        yield Problem(inventory.where("POD_CIDR"), what, "flannel gives each node a /24: take a wider range")


def _registry_login(inventory: _Inventory) -> Iterator[Problem]:
    settings = inventory.settings  # a password for all environments may be there where this one has no registry
    if settings.registry and settings.registry_password and not settings.registry_user:
        what = "REGISTRY_PASSWORD without REGISTRY_USER: no login would be sent"
        yield Problem(inventory.where("REGISTRY_PASSWORD"), what, "add REGISTRY_USER=…, or take the password out")


def _fields_of_the_release(inventory: _Inventory) -> Iterator[Problem]:
    minor = ".".join(inventory.settings.kubernetes.split(".")[:2])
    for key in ("KUBELET_CONFIG", "KUBE_PROXY_CONFIG"):
        if wrong := too_new(getattr(inventory.settings, key.lower()), minor):
            yield Problem(inventory.where(key), f"{key}: {wrong}", "take it out until the cluster is upgraded")


def _certificates_are_used(inventory: _Inventory) -> Iterator[Problem]:
    """A CA beside plain HTTP is a contradiction: containerd would try HTTPS with it, and fall back."""
    settings = inventory.settings
    if settings.registry_ca and settings.registry and settings.registry.scheme == "http":
        what = f"REGISTRY http://{settings.registry} is plain HTTP, which checks no certificate, and REGISTRY_CA is set"
        yield Problem(inventory.where("REGISTRY", "REGISTRY_CA"), what, "take out http://, or REGISTRY_CA")
    others = {name for name, _, elsewhere in (word.partition("=") for word in settings.registry_mirrors) if elsewhere}
    for name in settings.registry_mirror_ca:
        if name not in others or settings.mirrors[name].scheme == "http":
            why = "is plain HTTP" if name in others else f"REGISTRY_MIRRORS has no {name}=…"
            remedy = f"write {name}=host:port into REGISTRY_MIRRORS, or take the certificate out; REGISTRY's own are in REGISTRY_CA"
            yield Problem(inventory.where("REGISTRY_MIRROR_CA"), f"REGISTRY_MIRROR_CA {name}: {why}", remedy)


_CHECKS: tuple[Callable[[_Inventory], Iterator[Problem]], ...] = (
    _used_twice,
    _loopback,
    _unprotected_packages,
    _registry_login,
    _certificates_are_used,
    _fields_of_the_release,
    _nodes_are_ipv4,
    _networks_are_ipv4,
    _one_node_port,
    _api_port_is_free,
    _networks_are_apart,
    _nodes_are_outside,
    _service_range,
    _nodes_are_in_their_network,
    _pod_range,
    _room_for_nodes,
    _labels_are_modern,
    _scheduling_is_modern,
    _somewhere_for_pods,
)


def _dialled(node: Node) -> str:
    """Simulated nodes share a loopback address and differ by port."""
    loopback = is_address(node.host) and ipaddress.ip_address(node.host).is_loopback
    return f"{node.host}:{node.port}" if loopback else node.host


def readable_secrets(name: str, values: Mapping[str, Value]) -> Iterator[str]:
    """The first file with secrets that others on this machine can read. The project's hosts.env is exempt: it is in the repository."""
    for key, spec in KEYS.items():
        value = values.get(f"{name.upper()}_{key}") or values.get(key)
        public = key == "PROXY" and value is not None and "@" not in value.text  # without a login
        if not spec.metadata["secret"] or not value or not value.text or public or value.file in (None, own()):
            continue
        assert value.file
        mode = value.file.stat().st_mode & 0o777
        if mode & 0o077:
            yield f"{value.where} holds {key}, and others on this machine can read that file (mode {mode:04o}): `chmod 600 {value.file}`"
            return


def in_clear(environment: Environment) -> Iterator[str]:
    """A login that anyone on the way can read."""
    settings = environment.settings
    if settings.registry and settings.registry.scheme == "http" and settings.registry_user:
        yield f"REGISTRY http://{settings.registry} is plain HTTP: everybody on the way to it can read REGISTRY_PASSWORD"


def left_out(environment: Environment) -> Iterator[str]:
    """What hosts.env and the files beside it say for today's releases alone, and the manual's own leaves out: its commands are word for word."""
    settings = environment.settings
    if settings.release.configured:
        return
    why = f"for today's releases, not for {settings.kubernetes}"
    if environment.addons:
        yield f"addons/ is not applied: it is {why}"
    if named := [node.name for node in environment.nodes if node.labels or node.taints]:
        yield f"labels= and taints= of {listed(named, 6)} are not set: they are {why}"
    if settings.proxy:
        yield f"PROXY is not set on the nodes: it is {why}"


def doubtful(name: str, values: Mapping[str, Value]) -> Iterator[str]:
    """Values that dotenv may have cut or changed, where what may have been meant is as valid as what was read."""
    for key, spec in KEYS.items():
        written, value = source(key, name, values)
        if value is None or (spec.metadata["path"] and not value.raw.lstrip().startswith(("'", '"', "$"))):
            continue  # the file is there: it was meant
        for doubt in quoting.doubts(value.raw):
            if doubt.certain or _parses(spec.metadata["parse"], doubt.meant):
                yield f"{value.where}: {doubt.sentence(written, secret=spec.metadata['secret'])}"
    for key, value in values.items():
        node = NODE_KEY.match(key)
        if node and (node["env"] or "").lower() == name:
            yield from (
                f"{value.where}: {d.sentence(key, secret=False)}" for d in quoting.doubts(value.raw) if d.certain
            )


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def in_two_environments(environment: Environment, values: Mapping[str, Value]) -> Iterator[str]:
    """Machines that are in another environment too. Not refused, as two may take turns: what is on a machine says whose it is.

    A machine is known by the address and port at which it is reached, or by its address in the cluster. Of two behind one address
    with a port each, neither is the other; loopback is an address of every machine.
    """
    if environment.settings.simulated:
        return
    own = {
        mark: (node.name, address)
        for node in environment.nodes
        for mark, address in _marks(node.host, node.address, node.port or Settings.ssh_port)
    }
    for key, value in values.items():
        match = NODE_KEY.match(key)
        if not match or not match["env"] or match["env"].lower() == environment.name:
            continue
        host, *words = value.text.split() or [""]
        options = dict(word.split("=", 1) for word in words if "=" in word)
        port = options.get("port") or _of(match["env"], "SSH_PORT", values)
        if _of(match["env"], "SIMULATED", values):
            continue
        marks = (
            mark for mark, _ in _marks(host, options.get("private", host), int(port) if str(port).isdecimal() else 0)
        )
        found = dict(reversed([own[mark] for mark in marks if mark in own]))  # of each node its first mark
        for name, address in found.items():
            yield f"{name} ({address}) is {key} as well ({value.where}): a machine belongs to one cluster and refuses the other"


def _marks(host: str, address: str, port: int) -> Iterator[tuple[tuple[str, int], str]]:
    """What a machine is known by, each with the address in it: where it is reached, and its address in the cluster."""
    yield (host, port), host
    if not (is_address(address) and ipaddress.ip_address(address).is_loopback):
        yield (address, 0), address


def _of(name: str, key: str, values: Mapping[str, Value]) -> Any:
    """A setting of another environment as it is meant; its default where it is not set, or is not valid."""
    _, value = source(key, name, values)
    spec = KEYS[key]
    try:
        return spec.default if value is None else spec.metadata["parse"](value.text)
    except ValueError:
        return spec.default
