"""What an inventory describes: nodes, environments, and where their state is kept on the operator's machine."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from ..records import dataclass
from ..text.cleaning import listed
from ..text.nearest import did_you_mean
from .find import LAB, NAME
from .labels import Taint
from .settings import Settings

Role = Literal["control-plane", "worker"]
Group = Literal["all", "control-plane", "workers"]
GROUPS: dict[str, Group] = {
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


@dataclass(frozen=True)
class Node:
    """One machine: where SSH finds it, the address that its peers use, and its place in the cluster.

    `host` is an address, or a name as `ssh` takes it; `port` is 0 where ~/.ssh/config says it; `line` is where it is described,
    "AWS_WORKER_2 in hosts.env:17", empty for a simulated node without a line.
    """

    name: str
    host: str
    address: str
    control_plane: bool
    user: str = ""
    port: int = 22
    key: str = ""
    jump: str = ""
    instance: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    line: str = field(default="", compare=False)

    @property
    def role(self) -> Role:
        return "control-plane" if self.control_plane else "worker"

    @property
    def outside(self) -> str:
        """What programs other than SSH dial from the operator's machine. An alias of ~/.ssh/config, a name without a dot, means nothing to them."""
        return self.host if "." in self.host or ":" in self.host else self.address

    @property
    def behind_nat(self) -> bool:
        """True where SSH dials another address than peers do (an AWS elastic IP is 1:1 NAT)."""
        return self.host != self.address


@dataclass(frozen=True)
class Source:
    """A file of the operator's, read: its name without suffixes, and what it holds."""

    name: str
    path: Path
    text: str = field(repr=False)  # it may hold secrets


@dataclass(frozen=True)
class Hook:
    """A script of the operator's that runs before or after a phase, on each node (`node`) or on this machine for it (`local`).

    `label` distinguishes several of one kind: `disks` of `before-install-disks.node.sh`.
    """

    when: Literal["before", "after"]
    phase: str
    label: str
    on: Literal["node", "local"]
    path: Path
    text: str = field(repr=False)  # it may hold secrets


@dataclass(frozen=True)
class Environment:
    """One cluster as the inventory describes it.

    `control_planes` is never empty, and init runs on its first. `remarks` are what the operator must know of the files
    that it was read from. `origin` is the hosts.env that describes it, None for the project's own; `hosts_file` is the
    same file if an option named it, so that a command that we print has to name it again.
    `addons` are the operator's own manifests, `hooks` their scripts.
    """

    name: str
    control_planes: tuple[Node, ...]
    workers: tuple[Node, ...]
    settings: Settings
    remarks: tuple[str, ...] = ()
    origin: Path | None = None
    hosts_file: Path | None = None
    addons: tuple[Source, ...] = ()
    hooks: tuple[Hook, ...] = ()

    @property
    def control_plane(self) -> Node:
        """The control plane that init runs on."""
        return self.control_planes[0]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (*self.control_planes, *self.workers)

    @property
    def state(self) -> Path:
        return state_folder(self.name, self.origin)

    @property
    def unmade(self) -> bool:
        """Whether it is the project's lab, whose nodes `inv lab.up` has yet to make: until then their addresses may be another machine's."""
        return (
            self.origin is None and self.name == LAB and not (self.settings.simulated or (self.state / NAME).exists())
        )

    @property
    def option(self) -> str:
        """The words by which a printed command means this environment: `--env staging`, and its file if an option named that."""
        return f"--env {self.name}" + (f" --hosts-file {shlex.quote(str(self.hosts_file))}" if self.hosts_file else "")

    @property
    def endpoint(self) -> str:
        """host:port at which nodes reach the API."""
        return f"{bracketed(self.control_plane.address)}:{self.settings.api_port}"

    @property
    def pods_on_control_plane(self) -> bool:
        """Whether ordinary pods may run on the control plane: as SCHEDULE_ON_CONTROL_PLANE says; without it, while there is no worker."""
        asked = self.settings.schedule_on_control_plane
        return not self.workers if asked is None else asked

    def select(self, names: Iterable[str]) -> tuple[Node, ...]:
        """The nodes that groups, node names or addresses mean, in inventory order.

        Raises UsageError for a name that is none of them, with the nearest one, and for a name or an address of several nodes.
        """
        wanted: set[str] = set()
        for name in names:
            found = self._matching(name.strip())
            if not found:
                known = [*(n.name for n in self.nodes), "master", "slaves", "workers", "all"]
                raise UsageError(
                    f"no node or group {name!r} in environment {self.name}",
                    f"{did_you_mean(name, known)}Nodes: {_listed(self.nodes)}; groups: master, slaves (or workers), all",
                )
            if len(found) > 1 and name.strip().lower() not in GROUPS:
                raise UsageError(
                    f"{name.strip()} means {len(found)} nodes of {self.name}: {_listed(found)}; nothing was touched",
                    "name the one that is meant by its own name, or by an address that only it has",
                )
            wanted |= {node.name for node in found}
        return tuple(node for node in self.nodes if node.name in wanted)

    def _matching(self, name: str) -> tuple[Node, ...]:
        group = GROUPS.get(name.lower())
        if group == "all":
            return self.nodes
        if group:
            return self.control_planes if group == "control-plane" else self.workers
        numbered = re.fullmatch(r"(?:slave|worker)[-_]?(\d+)", name.lower())
        alias = f"w{numbered[1]}" if numbered else name
        return tuple(n for n in self.nodes if n.name in (name, alias) or name in (n.host, n.address))


def _listed(nodes: Sequence[Node]) -> str:
    """The nodes' names, of many the first dozen."""
    return listed([node.name for node in nodes], 12)


def with_nodes(environment: Environment, nodes: Iterable[Node]) -> Environment:
    """The environment with other machines behind its names (the rehearsal's simulated ones)."""
    nodes = tuple(nodes)
    return replace(
        environment,
        control_planes=tuple(n for n in nodes if n.control_plane),
        workers=tuple(n for n in nodes if not n.control_plane),
    )


def with_release(environment: Environment, kubernetes: str) -> Environment:
    """The environment with another Kubernetes release; empty for its own."""
    if not kubernetes:
        return environment
    return replace(environment, settings=replace(environment.settings, kubernetes=kubernetes))


def bracketed(address: str) -> str:
    """The address as it is written before `:port`: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def state_folder(environment: str, origin: Path | None = None) -> Path:
    """Where kubefab keeps what belongs to one environment on the operator's machine: journals, known_hosts, lock, cluster's uid.

    For a hosts.env that is not the project's own, the name is followed by eight hex digits of the file's path: two files may
    each have a `staging`, and a name of an environment has no dash. A file that is moved begins with an empty folder.
    """
    mark = f"-{hashlib.sha256(os.fsencode(origin)).hexdigest()[:8]}" if origin else ""
    return _state() / f"{environment}{mark}"


def _state() -> Path:
    """The folder of all environments' state."""
    import platformdirs  # here: completion of names of environments needs no state

    return platformdirs.user_state_path("kubefab")


def private_folder(folder: Path) -> Path:
    """Make a folder of the state, and those above it, for their owner only; close one that an earlier release left open."""
    base = _state()
    for part in (*reversed(folder.parents), folder):
        if part == base or base in part.parents:
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
            if part.stat().st_mode & 0o077:
                part.chmod(0o700)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
