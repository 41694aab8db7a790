"""How many nodes are worked on at the same time: FORKS of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Lock

ONWARD, BEGINS = range(2)  # who gets a free slot: a node that goes on, then one that begins


class Slots:
    """A number of slots. A free one goes to the lowest rank that waits, and of these to the one that waits longest."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._guard = Lock()
        self._queue: list[tuple[int, int, Lock]] = []
        self._order = count()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def acquire(self, rank: int) -> None:
        """Wait for a slot."""
        with self._guard:
            if self._free:
                self._free -= 1
                return
            turn = Lock()
            turn.acquire()
            heapq.heappush(self._queue, (rank, next(self._order), turn))
        turn.acquire()  # until `release` hands a slot over

    def release(self) -> None:
        """Give a slot back."""
        with self._guard:
            if self._queue:
                heapq.heappop(self._queue)[-1].release()
            else:
                self._free += 1

    @contextmanager
    def held(self, rank: int) -> Iterator[None]:
        """Hold a slot while the block runs."""
        self.acquire(rank)
        try:
            yield
        finally:
            self.release()
