"""What nodes wait for in each other: the only coupling between the per-node pipelines. Gates, and turns: one node after the other.

- `seen`: the control plane was looked at, or cannot be; what it was made with is known before another node is touched.
- `master`: the API answers; workers join then.
- `network`: flannel is applied; a worker's flannel.1 is looked for only then.
- `members`: a worker is in (or none will come); add-ons have a place to run.
- `addons`: add-ons are applied; every node has its first pod.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from threading import Condition, Event, Lock
from typing import Final

from ..steps import Gate

SEEN: Final = "seen"
MASTER: Final = "master"
NETWORK: Final = "network"
MEMBERS: Final = "members"
ADDONS: Final = "addons"

TEXT: Mapping[Gate, str] = {
    SEEN: "the first look at the control plane",
    MASTER: "the control plane's API",
    NETWORK: "flannel on the control plane",
    MEMBERS: "the first worker",
    ADDONS: "the add-ons on the control plane",
}


class Blocked(Exception):
    """Raised when a gate that this node waits for has failed; the message names the node and the cause."""


class Gates:
    """Named gates that open once, or fail once with a reason; and the clock reading at which they did."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._state: dict[Gate, tuple[str, float]] = {}
        self._moved: dict[Gate, Event] = defaultdict(Event)  # set once there is nothing more to wait for
        self._stopped = False

    def open(self, name: Gate, at: float = 0.0) -> None:
        """Open the gate, unless it was opened or failed before."""
        self._settle(name, "", at)

    def fail(self, name: Gate, reason: str, at: float = 0.0) -> None:
        """Fail the gate with `reason`, unless it was opened or failed before."""
        self._settle(name, reason, at)

    def _settle(self, name: Gate, reason: str, at: float) -> None:
        with self._guard:
            self._state.setdefault(name, (reason, at))
            self._moved[name].set()

    def stop(self) -> None:
        """End the waiting at every gate that is not settled."""
        with self._guard:
            self._stopped = True
            for moved in self._moved.values():
                moved.set()

    def wait(self, name: Gate) -> float:
        """Return the clock reading at which the gate opened; raises Blocked if it failed or `stop` was called."""
        with self._guard:
            moved = self._moved[name]
            if self._stopped:
                moved.set()
        moved.wait()
        with self._guard:
            reason, at = self._state.get(name, ("the run was stopped", 0.0))
        if reason:
            raise Blocked(reason)
        return at

    def settled(self, name: Gate) -> bool:
        """Whether the gate was opened or failed."""
        with self._guard:
            return name in self._state


class Turns:
    """What one node after the other does, by name; a node at which it failed keeps the others from it."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._held: dict[str, str] = {}  # by the name of the turn: the node that has it
        self._ended: dict[str, tuple[float, str]] = {}  # the clock reading at its last end, and why it is free for good

    def take(self, name: str, node: str, stopping: Callable[[], bool]) -> float:
        """Wait for the turn, unless the node has it; returns the clock reading at which it was free. Raises Blocked if it failed elsewhere."""
        with self._changed:
            while self._held.get(name, node) != node:
                if stopping():
                    raise Blocked("the run was stopped")
                self._changed.wait(0.2)
            at, why = self._ended.get(name, (0.0, ""))
            if why:
                raise Blocked(why)
            self._held[name] = node
            return at

    def free(self, name: str) -> bool:
        """Whether no node has the turn."""
        return name not in self._held

    def end(self, node: str, but: str, at: float, why: str = "") -> None:
        """The node gives back its turns except `but`; with `why`, no other node gets them."""
        with self._changed:
            for name in [name for name, holder in self._held.items() if holder == node and name != but]:
                del self._held[name]
                self._ended[name] = at, why
            self._changed.notify_all()
