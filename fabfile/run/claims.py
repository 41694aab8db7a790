"""Which machine each node is: two lines of the inventory that are one machine, or that share a hostname, must not both be worked on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from threading import Event, Lock

CLAIM_WAIT = 1.0  # seconds for the nodes before it; one that cannot be reached delays the others no longer


class Claims:
    """What each node was observed to be, for `nodes` by name in the inventory's order.

    A node waits for those before it that are still under way, and is compared only with those that hold one of its claims.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self._rank = {name: number for number, name in enumerate(nodes)}
        self._guard = Lock()
        self._under_way: dict[str, Event] = {}  # set when a node's claim is known, or will never be
        self._claims: dict[str, list[tuple[str, str]]] = {}
        self._holders: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._unique: set[str] = set()  # nodes that share no claim with an earlier one

    def begin(self, node: str) -> None:
        """The node's pipeline has begun: those after it in the inventory wait a moment for its claim."""
        with self._guard:
            self._under_way[node] = Event()

    def end(self, node: str) -> None:
        """The node's pipeline has ended, with a claim or without."""
        with self._guard:
            self._settle(node)

    def _settle(self, node: str) -> None:
        if known := self._under_way.pop(node, None):
            known.set()

    def duplicate_of(self, node: str, *, hostname: str = "", machine_id: str = "") -> str:
        """Name an earlier node that has one of the same, like "hostname as w1 (node-1)"; "" if there is none.

        One that is empty is unknown, and like no other.
        """
        mine = [(kind, value) for kind, value in (("hostname", hostname), ("machine-id", machine_id)) if value]
        with self._guard:
            for claim in self._claims.get(node, ()):  # it was observed before
                self._holders[claim].remove(node)
            self._claims[node] = mine
            for claim in mine:
                self._holders[claim].append(node)
            self._settle(node)
            before = [known for name, known in self._under_way.items() if self._earlier(name, node)]
        end = time.monotonic() + CLAIM_WAIT
        for known in before:
            known.wait(max(0.0, end - time.monotonic()))
        with self._guard:
            for kind, value in mine:
                for other in self._holders[kind, value]:
                    if other != node and (self._earlier(other, node) or other in self._unique):
                        return f"{kind} as {other} ({value})"
            self._unique.add(node)
        return ""

    def _earlier(self, one: str, other: str) -> bool:
        return self._rank[one] < self._rank[other]
