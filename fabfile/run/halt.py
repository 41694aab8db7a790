"""Whether a run may go on: it was asked to stop, or it lost the cluster's lock."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from ..errors import Interrupted, KubefabError, Unreachable
from ..inventory import Node


class Halt:
    """Asked before every action.

    `held` raises KubefabError when the cluster's lock is no longer this run's; `note` gets the reason, once a node.
    """

    def __init__(self, held: Callable[[], None], note: Callable[[str], None]) -> None:
        self.stopping = Event()
        self._held, self._note = held, note
        self._lost: KubefabError | None = None

    def check(self, node: Node) -> None:
        """Raise what ends this node's pipeline, if something does: KubefabError for a lost lock, Interrupted for Ctrl-C."""
        if self._lost:
            raise self._without_lock(node, self._lost)
        if self.stopping.is_set():
            raise Interrupted(f"{node.name}: stopped", "run the same command again: it takes up from here")

    def check_lock(self, node: Node) -> None:
        """Before anything is decided or changed: the cluster's lock is this run's, or every node's pipeline ends.

        Raises Unreachable where that cannot be known: another operator may have it by now.
        """
        self.check_held(node)
        self.check(node)

    def check_held(self, node: Node) -> None:
        """The same of the lock alone: before a run that was asked to stop takes something back. Raises as `check_lock` does."""
        try:
            self._held()
        except Unreachable:
            raise
        except KubefabError as error:
            self._lost = error
            self._note(error.message)
        if self._lost:
            raise self._without_lock(node, self._lost)

    @staticmethod
    def _without_lock(node: Node, lost: KubefabError) -> KubefabError:
        return KubefabError(f"{node.name}: {lost.message}", lost.remedy)
