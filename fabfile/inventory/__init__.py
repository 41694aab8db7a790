"""hosts.env and its overlays, read and checked as a whole: names in, a frozen `Environment` out.

Layers, later ones win key by key: hosts.env, the state folder's hosts.env of that environment (written
by `lab.up`), hosts.local.env (ignored by git), and process variables named KUBEFAB_<KEY>.
Nothing here connects to anything.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs
from dotenv.parser import parse_stream

from ..errors import UsageError
from ..text import masking
from ..text.forms import Hostname
from . import images
from .settings import KEYS, Settings, bastion, login_name, plain_word, port

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_ENVIRONMENT = "rehearsal"
GROUPS = {
    "all": "all",
    "master": "control-plane",
    "masters": "control-plane",
    "control-plane": "control-plane",
    "controlplane": "control-plane",
    "workers": "workers",
    "worker": "workers",
    "slaves": "workers",
    "slave": "workers",
}
_NODE_KEY = re.compile(r"^(?:(?P<env>[A-Z][A-Z0-9]*)_)?(?P<role>CONTROL_PLANE|MASTER|WORKER_\d+|SLAVE_\d+)$")
_NODE_WORDS = ("private", "name", "user", "port", "key", "jump", "instance")
_KUBERNETES_PORTS = (
    2379,
    2380,
    2381,
    10248,
    10249,
    10250,
    10256,
    10257,
    10259,
)  # kubernetes.io/docs/reference/networking/ports-and-protocols


@dataclass(frozen=True)
class Node:
    """One machine: where SSH finds it, the address its peers use, and its place in the cluster."""

    name: str
    host: str
    address: str
    control_plane: bool
    user: str = ""
    port: int = 22
    key: str = ""
    jump: str = ""
    instance: str = ""

    @property
    def role(self) -> str:
        return "control-plane" if self.control_plane else "worker"

    @property
    def behind_nat(self) -> bool:
        """True where SSH dials another address than peers do (an AWS elastic IP is 1:1 NAT)."""
        return self.host != self.address


@dataclass(frozen=True)
class Environment:
    """One cluster as the inventory describes it."""

    name: str
    control_plane: Node
    workers: tuple[Node, ...]
    settings: Settings
    remarks: tuple[str, ...] = ()  # what the operator must know of the files that it was read from

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.control_plane, *self.workers)

    @property
    def state(self) -> Path:
        return state_folder(self.name)

    @property
    def endpoint(self) -> str:
        """host:port at which nodes reach the API."""
        return f"{bracketed(self.control_plane.address)}:{self.settings.api_port}"

    def select(self, names: Iterable[str]) -> tuple[Node, ...]:
        """The nodes that groups, node names or addresses mean, in inventory order.

        Raises UsageError for a name that is none of them, with the nearest one.
        """
        wanted: set[str] = set()
        for name in names:
            found = self._matching(name.strip())
            if not found:
                known = [*(n.name for n in self.nodes), "master", "slaves", "workers", "all"]
                near = "".join(f"did you mean {other}? " for other in difflib.get_close_matches(name, known, n=1))
                raise UsageError(
                    f"no node or group {name!r} in environment {self.name}",
                    f"{near}Nodes: {', '.join(n.name for n in self.nodes[:12])}"
                    f"{', …' * (len(self.nodes) > 12)}; groups: master, slaves (or workers), all",
                )
            wanted |= {node.name for node in found}
        return tuple(node for node in self.nodes if node.name in wanted)

    def _matching(self, name: str) -> tuple[Node, ...]:
        group = GROUPS.get(name.lower())
        if group == "all":
            return self.nodes
        if group:
            return (self.control_plane,) if group == "control-plane" else self.workers
        numbered = re.fullmatch(r"(?:slave|worker)[-_]?(\d+)", name.lower())
        alias = f"w{numbered[1]}" if numbered else name
        exact = tuple(n for n in self.nodes if n.name in (name, alias))
        return exact or tuple(n for n in self.nodes if name in (n.host, n.address))


@dataclass(frozen=True)
class Problem:
    """One thing wrong in an inventory file."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n    → {self.remedy}"


@dataclass(frozen=True)
class _Value:
    text: str
    where: str
    folder: Path
    file: Path | None = None


def bracketed(address: str) -> str:
    """The address as it stands before `:port`: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def state_folder(environment: str) -> Path:
    """Where kubefab keeps what belongs to one environment on the operator's machine (journal, known_hosts)."""
    return platformdirs.user_state_path("kubefab") / environment


def private_folder(folder: Path) -> Path:
    """Make a folder of the state, and those above it, for their owner only; what an earlier release left open is closed."""
    base = platformdirs.user_state_path("kubefab")
    for part in (*reversed(folder.parents), folder):
        if part == base or base in part.parents:
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
            if part.stat().st_mode & 0o077:
                part.chmod(0o700)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def load(
    name: str | None = None,
    *,
    project: Path = PROJECT,
    variables: Mapping[str, str] | None = None,
) -> Environment:
    """Read one environment; `name` defaults to KUBEFAB_ENV, then the rehearsal.

    Checks every file as a whole.  Raises UsageError that lists all problems, each with its line and remedy.
    """
    variables = os.environ if variables is None else variables
    name = (name or variables.get("KUBEFAB_ENV") or DEFAULT_ENVIRONMENT).lower()
    problems: list[Problem] = []
    values = _read_layers(name, project, variables, problems)
    known = _environments(values)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        problems.insert(
            0,
            Problem(
                "hosts.env",
                f"no environment {name!r}",
                f"{f'did you mean {near[0]}? ' if near else ''}known: {', '.join(sorted(known)) or 'none'}; "
                f"an environment begins with {name.upper()}_CONTROL_PLANE=<address>",
            ),
        )
    _check_keys(values, known, problems)
    environment = _build(name, values, problems) if name in known else None
    if problems or environment is None:
        listing = "\n".join(map(str, problems))
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
        raise UsageError(f"the inventory has {count}:\n{listing}", "fix them and run the same command again")
    return replace(environment, remarks=(*_exposed(name, values, project), *_shared(environment, values)))


def _register(settings: Settings) -> None:
    """Everything secret in the settings, in the forms in which it travels, is the masker's from here on."""
    for key in KEYS.values():
        if key.metadata["secret"]:
            masking.register(getattr(settings, key.name))
    masking.register(settings.token.partition(".")[2])  # in 1.5 the second half alone is a bearer token
    _ = settings.registry_login


def _exposed(name: str, values: Mapping[str, _Value], project: Path) -> Iterator[str]:
    """Files with secrets that others on this machine can read. hosts.env is in the repository: no secret is meant to be there."""
    for key, spec in KEYS.items():
        value = values.get(f"{name.upper()}_{key}") or values.get(key)
        if not spec.metadata["secret"] or not value or not value.text or value.file in (None, project / "hosts.env"):
            continue
        assert value.file
        mode = value.file.stat().st_mode & 0o777
        if mode & 0o077:
            yield f"{value.where} holds {key}, and others on this machine can read that file (mode {mode:04o}): `chmod 600 {value.file}`"
            return


def _shared(environment: Environment, values: Mapping[str, _Value]) -> Iterator[str]:
    """Machines that stand in another environment too: told, not refused, as two may take turns. What is on a machine says whose it is."""
    if environment.settings.simulated:
        return
    own = {address: node.name for node in environment.nodes for address in (node.host, node.address)}
    for key, value in values.items():
        match = _NODE_KEY.match(key)
        if not match or not match["env"] or match["env"].lower() == environment.name:
            continue
        words = [
            word.removeprefix("private=")
            for word in value.text.split()
            if "=" not in word or word.startswith("private=")
        ]
        for address in dict.fromkeys(word for word in words if word in own):
            yield f"{own[address]} ({address}) is {key} as well ({value.where}): a machine belongs to one cluster, and the other is refused there"


def names(project: Path = PROJECT) -> list[str]:
    """The environments that hosts.env and hosts.local.env describe, in the order in which they stand there."""
    return list(_environments(_read_layers("", project, {}, [])))


def _read_layers(name: str, project: Path, variables: Mapping[str, str], problems: list[Problem]) -> dict[str, _Value]:
    base = project / "hosts.env"
    if not base.exists():
        problems.append(
            Problem("hosts.env", "is not there", f"expected at {base}; the repository holds one to start from")
        )
    values: dict[str, _Value] = {}
    overlay = state_folder(name) / "hosts.env" if name else None
    for path in (base, overlay, project / "hosts.local.env"):
        if path and path.exists():
            values |= _read(path, project, problems)
    for variable, text in variables.items():
        key = variable.removeprefix("KUBEFAB_")
        node = _NODE_KEY.match(key)
        ours = key in KEYS or _setting_name(key, {name}) or (node and (node["env"] or "").lower() == name)
        if key != variable and key != "ENV" and ours:
            values[key] = _Value(text, f"environment variable {variable}", Path.cwd())
    return values


def _read(path: Path, project: Path, problems: list[Problem]) -> dict[str, _Value]:
    label = str(path.relative_to(project)) if path.is_relative_to(project) else str(path)
    found: dict[str, _Value] = {}
    with path.open(encoding="utf-8") as stream:
        try:
            bindings = list(parse_stream(stream))
        except UnicodeDecodeError as error:
            problems.append(Problem(label, f"is not UTF-8 text ({error.reason})", "save it as UTF-8"))
            return found
    for binding in bindings:
        skipped = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:skipped].count("\n")
        where = f"{label}:{line}"
        if binding.error:
            text = binding.original.string.strip().splitlines()[0]
            key = text.split("=", 1)[0].strip()
            problems.append(Problem(where, f"{key[:40]!r} is not KEY=value", "quote the value, or close the quotes"))
        elif binding.key is None:
            continue
        elif binding.value is None:
            problems.append(
                Problem(where, f"{binding.key} has no value", f"write {binding.key}=… or take the line out")
            )
        elif binding.key in found:
            first = found[binding.key].where.rsplit(":", 1)[1]
            problems.append(Problem(where, f"{binding.key} is defined twice (first in line {first})", "take one out"))
        else:
            found[binding.key] = _Value(binding.value, where, path.parent, path)
    return found


def _environments(values: Mapping[str, _Value]) -> dict[str, None]:
    """Names of environments, by their control-plane keys, in order."""
    return {
        match["env"].lower(): None
        for match in map(_NODE_KEY.match, values)
        if match and match["env"] and match["role"] in ("CONTROL_PLANE", "MASTER")
    }


def _setting_name(key: str, environments: Iterable[str]) -> str:
    """The setting that `key` sets, for all environments or one of those named; "" if none."""
    if key in KEYS:
        return key
    prefix, _, rest = key.partition("_")
    return rest if rest in KEYS and prefix.lower() in environments else ""


def _check_keys(values: Mapping[str, _Value], known: Iterable[str], problems: list[Problem]) -> None:
    known = set(known)
    for key, value in values.items():
        node = _NODE_KEY.match(key)
        if _setting_name(key, known) or key == "KUBEFAB_ENV":
            continue
        if node and node["env"] and node["env"].lower() in known:
            continue
        prefix = next((f"{env.upper()}_" for env in known if key.startswith(f"{env.upper()}_")), "")
        bare = [*KEYS, "CONTROL_PLANE", "WORKER_1"]
        near = difflib.get_close_matches(key, [*bare, *(prefix + k for k in bare)] if prefix else bare, n=1)
        problems.append(
            Problem(
                value.where,
                f"unknown key {key}",
                f"did you mean {near[0]}?" if near else "see the README's table of settings",
            )
        )


def _build(name: str, values: Mapping[str, _Value], problems: list[Problem]) -> Environment | None:
    settings = _settings(name, values, problems)
    _register(settings)  # before any problem is told
    nodes: list[tuple[Node, _Value]] = []
    control_plane: Node | None = None
    for key, value in sorted(values.items(), key=_node_order):
        match = _NODE_KEY.match(key)
        if not match or (match["env"] or "").lower() != name:
            continue
        is_control_plane = match["role"] in ("CONTROL_PLANE", "MASTER")
        default = "cp1" if is_control_plane else f"w{match['role'].rsplit('_', 1)[1]}"
        node = _node(default, is_control_plane, key, value, settings, problems)
        if node is None:
            continue
        if is_control_plane and control_plane is not None:
            problems.append(
                Problem(value.where, f"{key}: a second control plane", "kubefab runs one control plane a cluster")
            )
            continue
        control_plane = node if is_control_plane else control_plane
        nodes.append((node, value))
    problems.extend(_clashes(nodes, settings))
    if control_plane is None:
        return None
    return Environment(name, control_plane, tuple(n for n, _ in nodes if not n.control_plane), settings)


def _node_order(item: tuple[str, _Value]) -> tuple[int, int]:
    number = re.search(r"_(?:WORKER|SLAVE)_(\d+)$", item[0])
    return (1, int(number[1])) if number else (0, 0)


def _settings(name: str, values: Mapping[str, _Value], problems: list[Problem]) -> Settings:
    chosen: dict[str, Any] = {}
    for key, spec in KEYS.items():
        own = f"{name.upper()}_{key}"
        source = own if own in values else key
        if source not in values or (values[source].text == "" and spec.default == ""):
            continue
        value = values[source]
        try:
            chosen[spec.name] = spec.metadata["parse"](value.text)
        except ValueError as error:
            problems.append(Problem(value.where, f"{source} {error}", f"{spec.metadata['about']}"))
            continue
        if spec.metadata["path"] and value.text:
            path = value.folder / Path(value.text).expanduser()
            chosen[spec.name] = str(path)
            if not path.is_file():
                problems.append(Problem(value.where, f"{source}: no file {path}", spec.metadata["about"]))
            elif key == "IMAGE_DIGESTS":
                problems.extend(
                    Problem(f"{path.name}:{line}", what, remedy) for line, what, remedy in _read_digests(path)
                )
    return Settings(**chosen)


def _read_digests(path: Path) -> list[tuple[int, str, str]]:
    try:
        return images.parse(path.read_text(encoding="utf-8"))[1]
    except UnicodeDecodeError as error:
        return [(1, f"is not UTF-8 text ({error.reason})", "save it as UTF-8")]


def _node(
    default: str, control_plane: bool, key: str, value: _Value, settings: Settings, problems: list[Problem]
) -> Node | None:
    words = value.text.split()
    mark = len(problems)
    form = f"write {key}=<address> [private=<address>] [name=…] [user=…] [port=…] [key=…] [jump=…] [instance=…]"
    options: dict[str, str] = {}
    for word in words[1:]:
        option, equals, text = word.partition("=")
        if not equals or option not in _NODE_WORDS:
            near = difflib.get_close_matches(option, _NODE_WORDS, n=1)
            problems.append(
                Problem(
                    value.where, f"{key}: {word!r} is not understood", f"did you mean {near[0]}=…?" if near else form
                )
            )
        else:
            options[option] = text
    host = words[0] if words else ""
    address = options.get("private", host)
    for text in dict.fromkeys((host, address)):
        if not _is_address(text):
            problems.append(Problem(value.where, f"{key}: {text!r} is not an IP address", form))
        elif why := _no_machine(text):
            problems.append(Problem(value.where, f"{key}: {text} is {why}", "write the address of one machine"))
    name = options.get("name", default)
    if not Hostname.fits(name) or name in GROUPS:
        remedy = "lower-case letters, digits, - and ., at most 63 characters, and not a group's name"
        problems.append(Problem(value.where, f"{key}: name {name!r} cannot be used", remedy))
    for option, parse in (("port", port), ("jump", bastion), ("user", login_name), ("instance", plain_word)):
        try:
            if option in options:
                parse(options[option])
        except ValueError as error:
            problems.append(Problem(value.where, f"{key}: {option} {error}", form))
    ssh_key = settings.ssh_key
    if "key" in options:
        ssh_key = str(value.folder / Path(options["key"]).expanduser())
        if not Path(ssh_key).is_file():
            problems.append(Problem(value.where, f"{key}: no file {ssh_key}", "the private key that logs in there"))
    if len(problems) > mark:
        return None
    return Node(
        name=name,
        host=host,
        address=address,
        control_plane=control_plane,
        user=options.get("user", settings.ssh_user),
        port=port(options["port"]) if "port" in options else settings.ssh_port,
        key=ssh_key,
        jump=options.get("jump", settings.ssh_jump),
        instance=options.get("instance", ""),
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _no_machine(text: str) -> str:
    """Why an address is no single machine's; empty if it may be one's."""
    address = ipaddress.ip_address(text)
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified or text == "255.255.255.255":
        return "every machine's address, and so none's"
    if address.is_link_local:
        return "a link-local address, which no other network reaches"
    return ""


def _clashes(nodes: list[tuple[Node, _Value]], settings: Settings) -> Iterator[Problem]:
    """What is wrong between values that are each right by themselves."""
    seen: dict[str, tuple[str, str]] = {}
    for node, value in nodes:
        for kind, text in (
            ("name", node.name),
            *(("address", a) for a in dict.fromkeys((_dialled(node), node.address))),
        ):
            other = seen.setdefault(f"{kind} {text}", (node.name, value.where))
            if other != (node.name, value.where):
                yield Problem(value.where, f"{kind} {text} is used twice (also {other[1]})", "every node needs its own")
    for node, value in nodes:
        if not settings.simulated and len(nodes) > 1 and ipaddress.ip_address(node.address).is_loopback:
            what = f"{node.name}: its peers would use {node.address}, which is each machine's own"
            yield Problem(value.where, what, "name its private address: private=10.2.0.1")
    for url, keys in (("PACKAGES_URL", "PACKAGES_KEY_FINGERPRINT"), ("CONTAINERD_URL", "CONTAINERD_KEY_FINGERPRINT")):
        if (
            not settings.manual
            and not getattr(settings, url.lower()).startswith("https://")
            and not getattr(settings, keys.lower())
        ):
            what = f"{url} is not https:// and {keys} is empty: anybody in between could install packages of their own as root"
            yield Problem("hosts.env", what, f"use https://, or set {keys}")
    for node, value in nodes:
        if ipaddress.ip_address(node.address).version != 4:
            remedy = "name its private address too: private=10.2.0.1. SSH may well go to an IPv6 address"
            yield Problem(
                value.where, f"{node.name}: its peers would use {node.address}, and kubefab's clusters are IPv4", remedy
            )
    ranges = {"POD_CIDR": settings.pod_cidr, "SERVICE_CIDR": settings.service_cidr}
    if settings.node_cidr:
        ranges["NODE_CIDR"] = settings.node_cidr
    for label, network in ranges.items():
        if network.version != 4:
            yield Problem("hosts.env", f"{label} {network}: kubefab's clusters are IPv4", "write it like 10.44.0.0/16")
    if settings.dashboard != "none" and settings.dashboard_port == settings.influxdb_port:
        yield Problem(
            "hosts.env", f"DASHBOARD_PORT and INFLUXDB_PORT are both {settings.influxdb_port}", "choose two NodePorts"
        )
    if settings.api_port in (*_KUBERNETES_PORTS, *(node.port for node, _ in nodes if node.control_plane)):
        what = f"API_PORT {settings.api_port} is taken on the control plane by etcd, another component or SSH"
        yield Problem("hosts.env", what, "6443 is usual, 443 works")
    labels = list(ranges)
    for index, first in enumerate(labels):
        for second in labels[index + 1 :]:
            if ranges[first].version == ranges[second].version and ranges[first].overlaps(ranges[second]):
                yield Problem(
                    "hosts.env",
                    f"{first} {ranges[first]} overlaps {second} {ranges[second]}",
                    "choose ranges apart from each other",
                )
    for node, value in nodes:
        for label in ("POD_CIDR", "SERVICE_CIDR"):
            if any(ipaddress.ip_address(a) in ranges[label] for a in (node.host, node.address)):
                yield Problem(
                    value.where, f"{node.name} has an address inside {label} {ranges[label]}", f"choose another {label}"
                )
    pods = settings.pod_cidr
    room = 2 ** max(0, 24 - pods.prefixlen)
    if pods.version == 4 and (pods.prefixlen > 24 or room < len(nodes)):
        what = f"POD_CIDR {pods} has room for {room} nodes, the inventory has {len(nodes)}"
        yield Problem("hosts.env", what, "flannel gives each node a /24: take a wider range")


def _dialled(node: Node) -> str:
    """Simulated nodes share a loopback address and differ by port."""
    return f"{node.host}:{node.port}" if ipaddress.ip_address(node.host).is_loopback else node.host


def with_nodes(environment: Environment, nodes: Iterable[Node]) -> Environment:
    """The environment with other machines behind its names (the rehearsal's simulated ones)."""
    nodes = tuple(nodes)
    return replace(
        environment,
        control_plane=next(n for n in nodes if n.control_plane),
        workers=tuple(n for n in nodes if not n.control_plane),
    )


def with_release(environment: Environment, kubernetes: str) -> Environment:
    """The environment with another Kubernetes release; empty for its own."""
    return (
        replace(environment, settings=replace(environment.settings, kubernetes=kubernetes))
        if kubernetes
        else environment
    )
