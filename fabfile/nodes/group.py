"""The connections of one environment's nodes, and how all of them are asked at once."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TypeVar

from ..errors import KubefabError, UsageError
from ..inventory import Environment, Node
from ..inventory.settings import bastion
from ..text.masking import Secret
from .connection import Connection
from .hostkeys import KnownHosts
from .libraries import fabric

K = TypeVar("K")
T = TypeVar("T")


def begun(items: Sequence[K], ask: Callable[[K], T], width: int) -> Callable[[], list[T | KubefabError]]:
    """Begin to `ask` every item, in threads, `width` at a time. What is returned waits for the answers.

    Where `ask` raises KubefabError, that error is in place of the answer.
    """

    def one(item: K) -> T | KubefabError:
        try:
            return ask(item)
        except KubefabError as error:
            return error

    pool = ThreadPoolExecutor(max(1, min(len(items), width)))
    answers = pool.map(one, items)
    pool.shutdown(wait=False)
    return lambda: list(answers)


def at_once(items: Sequence[K], ask: Callable[[K], T], width: int) -> list[T | KubefabError]:
    """The answers of all items that `begun` asks."""
    return begun(items, ask, width)()


def operator() -> str:
    """Who runs this; the number where that user has no name, as in a container with a uid of its own.

    Fabric and paramiko ask for it as well, and would end in a traceback: the number is then the name for the whole process.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # by Python's version and platform
        os.environ["LOGNAME"] = f"uid {os.getuid()}"
        return os.environ["LOGNAME"]


class NodeGroup(fabric.Group):
    """The connections of one environment's nodes, as a Fabric group; opened when first used.

    Fabric's own group methods run in lockstep and without a bound: the runner drives the members instead.
    """

    def __init__(
        self, environment: Environment, nodes: Iterable[Node], known: KnownHosts, sudo_password: Secret | None = None
    ) -> None:
        super().__init__()
        operator()
        self._forks = environment.settings.forks
        self._jumps: dict[str, Connection] = {}
        self._by_name: dict[str, Connection] = {}
        nodes = list(nodes)
        for node in nodes:
            gateway = self._gateway(node, environment, known) if node.jump else None
            connection = Connection(node, environment, known, sudo_password, gateway, hops=self._jumps)
            self._by_name[node.name] = connection
            self.append(connection)
        for connection in {node.key: self._by_name[node.name] for node in nodes if node.key}.values():
            connection.login().agent.close()  # a key that cannot be used is said once, and not by each node

    def _gateway(self, node: Node, environment: Environment, known: KnownHosts) -> Connection:
        """One connection a bastion, shared: a link of its own for each node runs into sshd's MaxStartups."""
        if node.jump not in self._jumps:
            user, host, port = bastion(node.jump)
            between = Node(f"bastion {host}", host, host, False, user=user, port=port, key=node.key)
            self._jumps[node.jump] = Connection(between, environment, known, hops=self._jumps)
        return self._jumps[node.jump]

    def ahead(self, nodes: Iterable[Node]) -> None:
        """Begin to connect to these nodes, and to get a shell there, each in a thread of its own, and return at once.

        Where that fails, the command that uses the connection gets the error.

        More than FORKS of them are left until they are used.
        """
        nodes = list(nodes)
        if len(nodes) <= self._forks:
            for node in nodes:
                Thread(target=self._begin, args=(self.of(node),), daemon=True, name=f"ahead-{node.name}").start()

    @staticmethod
    def _begin(connection: Connection) -> None:
        with suppress(Exception):  # the command that uses it gets the error
            connection.ready()

    def of(self, node: Node) -> Connection:
        """A node's connection."""
        return self._by_name[node.name]

    def begin(self, nodes: Iterable[Node], ask: Callable[[Node], T]) -> Callable[[], dict[str, T | KubefabError]]:
        """Begin to `ask` all these nodes, FORKS of them at a time. What is returned waits for the answers, as `each` has them."""
        nodes = list(nodes)
        answers = begun(nodes, ask, self._forks)
        return lambda: dict(zip((node.name for node in nodes), answers(), strict=True))

    def each(self, nodes: Iterable[Node], ask: Callable[[Node], T]) -> dict[str, T | KubefabError]:
        """`ask` of all these nodes at the same time, FORKS of them at a time; each error stays with its node.

        Returns {"cp1": the answer, "w1": Unreachable(…)}, in the nodes' order.
        """
        return self.begin(nodes, ask)()

    def close(self) -> None:
        """Close every link, targets before bastions."""
        for connection in self._by_name.values():
            connection.leave()
        for jump in self._jumps.values():
            jump.close()


@contextmanager
def connected(
    environment: Environment,
    *,
    sudo_password: Secret | None = None,
    on_new_key: Callable[[str, str], None] | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[NodeGroup]:
    """The connections to all nodes of an environment, with its known host keys; closed at the end.

    Each is opened when it is first used. `on_new_key` and `warn` are KnownHosts'. Raises KubefabError for known host keys that cannot be read,
    and UsageError for a lab that is not up.
    """
    if environment.unmade:
        raise UsageError("there is no lab on this machine", "`inv lab.up` makes its nodes; then run this again")
    known = KnownHosts(environment.state / "known_hosts", on_new_key, warn)
    group = NodeGroup(environment, environment.nodes, known, sudo_password)
    try:
        yield group
    finally:
        group.close()
