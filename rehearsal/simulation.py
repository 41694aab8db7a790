"""The simulated nodes of one process: servers in front, models behind, virtual clocks, and the state kept for the next one."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from paramiko import PKey

from fabfile.errors import UsageError
from fabfile.identity import RECORD
from fabfile.inventory import Environment, Node, with_nodes
from fabfile.text.whole import write_whole

from . import faults as fault_table
from . import hostile, shell
from .cluster import Cluster, Settling
from .commands import host2017
from .host import APT, Host
from .login import Login, Sudo
from .machine import Halted, Machine
from .naming import LOOPBACK, STATE_FILE, USER, address_of, labelled, names_of
from .server import Dropped, Endpoint, Exchange, Farm, Handler, key_from, new_key_seed, private_text
from .store import Store, latest, locked

KEY_FILE, LOCK_FILE = "rehearsal_ed25519", "rehearsal.lock"
SUDO_PASSWORD = "rehearsal"
VERSION = 4


class NodeClock:
    """One node's clock in virtual seconds: a sleep returns at once."""

    def __init__(self, simulation: Simulation, host: Host) -> None:
        self._simulation, self._host = simulation, host

    def now(self) -> float:
        return self._host.clock

    def sleep(self, seconds: float) -> None:
        with self._simulation.lock:
            self._host.clock += seconds
            self._simulation.passed(self._host)

    def advance_to(self, moment: float) -> None:
        """Set the clock forward to `moment`, at which the node that this one waited for was ready."""
        with self._simulation.lock:
            self._host.clock = max(self._host.clock, moment)
            self._simulation.passed(self._host)


class Simulation:
    """Simulated nodes that answer from construction to `close()`.

    `environment` has them as its nodes; `ran` lists (node, script name) of every script in order, for tests.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        workers: int | None,
        faults: Sequence[str],
        seed: int,
        systems: Mapping[str, str],
    ) -> None:
        self.lock = threading.RLock()
        self.ran: list[tuple[str, str]] = []
        self._closing = threading.Event()
        self._store = Store(environment.state / STATE_FILE)
        self._cores = _one_core()
        self._farm = Farm()
        try:
            self._open(environment, workers, faults, seed, systems)
        except BaseException:
            self._farm.stop()
            self._store.close()
            _run_on(self._cores)
            raise

    def _open(
        self,
        environment: Environment,
        workers: int | None,
        faults: Sequence[str],
        seed: int,
        systems: Mapping[str, str],
    ) -> None:
        state = self._store.path.parent
        meta = self._store.values.get("meta", {})
        if meta and meta.get("version") != VERSION:
            raise UsageError(
                "the simulated nodes were left by another version of kubefab",
                "`inv rehearsal.down`, then run this again",
            )
        names = names_of(environment, workers or meta.get("workers"))
        self.seed = seed or int(meta.get("seed", 0))
        key_seed = bytes.fromhex(meta["key"]) if meta else new_key_seed()
        self._key_file = state / KEY_FILE
        _write(self._key_file, private_text(key_seed))
        self.hosts: dict[str, Host] = {}
        self.cluster = Cluster.load(self._store.values["cluster"]) if "cluster" in self._store.values else Cluster()
        self._ports: dict[str, list[object]] = dict(self._store.values.get("ports", {}))
        for key, value in self._store.values.items():
            if key.startswith("host/"):
                files = self._store.values[key.replace("host/", "files/", 1)]
                host = Host.load(value | {"files": files})
                files.update(host.files)  # the same values, which are kept already
                host.halted = True  # until this run's inventory turns out to have it
                self.hosts[host.name] = host
        for number, name in enumerate(names):
            if name not in self.hosts:
                address = address_of(number)
                self.hosts[name] = Host.new(
                    name, name, address, number, control_plane=number == 0, seed=self.seed, like=systems.get(name, APT)
                )
                if environment.settings.release.runtime == "docker":
                    host2017.furnish(self.hosts[name])
            self.hosts[name].halted = False
        latest = max(host.clock for host in self.hosts.values())
        for host in self.hosts.values():
            host.clock = latest
        self._latest = self._started = latest
        plain = with_nodes(environment, [self._node(name, 0) for name in names])
        self.faults = fault_table.parse(faults, plain)
        fault_table.begin(self.faults, self.hosts)
        if not any("api-late" in own for own in self.faults.of.values()):
            self.cluster.ready_at = min(self.cluster.ready_at, latest)
        self.settling = Settling(self.cluster, self.hosts, self.faults.value)
        self._saved_generation = -1
        self._moved: set[str] = set()
        client = key_from(key_seed)
        self.endpoints = {name: self._serve(name, client) for name in names}
        self._known_hosts(state / "known_hosts")
        described = {node.name: node for node in environment.nodes}
        made = [self._node(name, self.endpoints[name].port) for name in names]
        self.environment = with_nodes(environment, [labelled(node, described.get(node.name)) for node in made])
        self._settings = self.environment.settings
        self._store.put(
            {"meta": {"version": VERSION, "workers": len(names) - 1, "seed": self.seed, "key": key_seed.hex()}}
        )
        self._store.put({key: value for name in names for key, value in self._saved(self.hosts[name]).items()})
        self._save(self.hosts[names[0]])

    def _node(self, name: str, port: int) -> Node:
        host = self.hosts[name]
        return Node(name, LOOPBACK, host.address, host.control_plane, USER, port or 1, str(self._key_file))

    # --- servers

    def _serve(self, name: str, client: PKey) -> Endpoint:
        host = self.hosts[name]
        remembered = self._ports.get(name)
        port, seed = (int(str(remembered[0])), bytes.fromhex(str(remembered[1]))) if remembered else (0, new_key_seed())
        in_force = self.faults.of.get(name, {})
        sudo: Sudo = "password" if "sudo-password" in in_force else "free"
        login: Handler = Login(
            lambda text: hostile.changed(in_force, *self.ask(host, text)),
            USER,
            partial(self._keep, host),
            sudo,
            SUDO_PASSWORD,
        )
        if in_force.keys() & {"hostile-endless", "hostile-silent"}:
            login = partial(self._stall, in_force)
        endpoint = self._farm.add(name, login, key_from(seed), client, user=USER, port=port)
        if endpoint.port != port:
            self._moved.add(name)
        self._ports[name] = [endpoint.port, seed.hex()]
        if "host-key-changed" in in_force:
            endpoint.host_key = key_from(new_key_seed())
        if "host-down" in in_force:
            self._farm.refuse(name)
        return endpoint

    def _stall(self, own: Mapping[str, str], exchange: Exchange) -> tuple[int, bytes]:
        hostile.stalls(own, exchange, self._closing)
        return 0, b""

    def _known_hosts(self, path: Path) -> None:
        """Remove known_hosts lines of ports that moved, and add the old key of a node whose key a fault changes."""
        self._store.put({"ports": self._ports})
        kept = []
        current = {f"[{LOOPBACK}]:{endpoint.port}": name for name, endpoint in self.endpoints.items()}
        for line in path.read_text().splitlines() if path.exists() else ():
            if current.get(line.split(" ")[0], "") not in self._moved | {""}:
                kept.append(line)
        for name, endpoint in self.endpoints.items():
            place = f"[{LOOPBACK}]:{endpoint.port}"
            if "host-key-changed" in self.faults.of.get(name, {}) and not any(
                line.startswith(f"{place} ") for line in kept
            ):
                key = key_from(bytes.fromhex(str(self._ports[name][1])))
                kept.append(f"{place} {key.get_name()} {key.get_base64()}")
        if kept or path.exists():
            _write(path, "".join(f"{line}\n" for line in kept))

    def ask(self, host: Host, text: str) -> tuple[int, bytes]:
        """The exit code and output of a script on a machine. Raises Dropped where the machine goes down meanwhile."""
        with self.lock:
            self.ran.append((host.name, text.split("\n", 1)[0].removeprefix("# kubefab: ")))
            machine = Machine(
                host,
                self.cluster,
                self.settling,
                self._settings,
                self.seed,
                lambda: self._latest,
                started=self._started,
            )
            try:
                return shell.run(machine, text)
            except Halted:
                host.halted = True
                host.reboot()
                self._farm.refuse(host.name)
                raise Dropped from None
            finally:
                self.passed(host)
                self._save(host)

    def _keep(self, host: Host, path: str, text: str) -> tuple[int, bytes]:
        """A file comes from the operator's machine."""
        with self.lock:
            self.ran.append((host.name, f"send {path}"))
            if "disk-full" in self.faults.of.get(host.name, {}):
                return 1, b"cat: write error: No space left on device\n"
            host.write(path, text, "700")
            self._save(host)
        return 0, b""

    # --- time and state

    def clock(self, name: str) -> NodeClock:
        """The clock of one of this environment's nodes."""
        return NodeClock(self, self.hosts[name])

    def passed(self, host: Host) -> None:
        """Note that this machine's clock moved."""
        self._latest = max(self._latest, host.clock)

    def _save(self, host: Host) -> None:
        values = self._saved(host)
        if self.cluster.generation != self._saved_generation:
            values["cluster"] = self.cluster.dump()
            self._saved_generation = self.cluster.generation
        self._store.put(values)

    def _saved(self, host: Host) -> dict[str, dict[str, Any]]:
        """What is kept of a machine."""
        values = host.dump()
        files = values.pop("files")
        return {f"host/{host.name}": values, f"files/{host.name}": files}

    def close(self) -> None:
        """Stop the servers and save the nodes with what happened to their pods meanwhile."""
        self._closing.set()
        self._farm.stop()
        with self.lock:
            hosts = {key: value for host in self.hosts.values() for key, value in self._saved(host).items()}
            self._store.put(hosts | {"cluster": self.cluster.dump()})
            self._store.close()
        _run_on(self._cores)


def _write(path: Path, text: str) -> None:
    """Write the file whole, unless it says that already."""
    if not path.exists() or path.read_text() != text:
        write_whole(path, text)


def _one_core() -> set[int]:
    """Keep this thread, and the threads it starts, on one core; returns its former cores (none if the system cannot do this).

    Client, servers and models share one interpreter lock: passing it between cores takes 1.6 times as long.
    """
    if not hasattr(os, "sched_setaffinity"):
        return set()
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        return set()
    _run_on({sorted(cores)[os.getpid() % len(cores)]})
    return cores


def _run_on(cores: set[int]) -> None:
    with suppress(OSError):  # a sandbox may forbid this
        if cores:
            os.sched_setaffinity(0, cores)


def remembered(environment: Environment) -> list[dict[str, Any]]:
    """The nodes in the state file: name, address, system, pods, virtual seconds. Reads without taking the lock."""
    hosts = [
        Host.load(values | {"files": {}})
        for key, values in latest(environment.state / STATE_FILE).items()
        if key.startswith("host/")
    ]
    return [
        {
            "name": host.name,
            "address": host.address,
            "system": host.release["PRETTY_NAME"],
            "pods": len(host.pods),
            "seconds": round(host.clock, 1),
        }
        for host in sorted(hosts, key=lambda host: host.number)
    ]


def remove(environment: Environment) -> bool:
    """Delete the simulated nodes of this environment; True if there were any."""
    path = environment.state / STATE_FILE
    lock = locked(path)  # raises while another command uses them
    found = path.exists() and path.stat().st_size > 0
    os.close(lock)
    for name in (STATE_FILE, KEY_FILE, "known_hosts", LOCK_FILE, RECORD):
        with suppress(FileNotFoundError):
            (environment.state / name).unlink()
    return found
