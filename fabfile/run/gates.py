"""What nodes wait for in each other: the only coupling between the per-node pipelines.

- `seen`: the control plane was looked at, or cannot be; what it was made with is known before another node is touched.
- `master`: the API answers; workers join then.
- `network`: flannel is applied; a worker's flannel.1 is looked for only then.
- `members`: a worker is in (or none will come); add-ons have a place to run.
- `addons`: add-ons are applied; every node has its first pod.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

SEEN, MASTER, NETWORK, MEMBERS, ADDONS = "seen", "master", "network", "members", "addons"


class Blocked(Exception):
    """What this node waits for failed elsewhere; its text says what and where."""


class Gates:
    """Named gates that open once, or fail once with a reason; and the clock reading at which they did."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._state: dict[str, tuple[str, float]] = {}

    def open(self, name: str, at: float = 0.0) -> None:
        """Let everybody through; the first call counts."""
        self._settle(name, "", at)

    def fail(self, name: str, reason: str, at: float = 0.0) -> None:
        """Turn everybody away with `reason`, unless it is open already."""
        self._settle(name, reason, at)

    def _settle(self, name: str, reason: str, at: float) -> None:
        with self._changed:
            self._state.setdefault(name, (reason, at))
            self._changed.notify_all()

    def wait(self, name: str, stopping: Callable[[], bool]) -> float:
        """Return the clock reading at which the gate opened; raises Blocked if it failed or the run stops."""
        with self._changed:
            while name not in self._state:
                if stopping():
                    raise Blocked("the run was stopped")
                self._changed.wait(0.2)
            reason, at = self._state[name]
        if reason:
            raise Blocked(reason)
        return at

    def settled(self, name: str) -> bool:
        with self._changed:
            return name in self._state
