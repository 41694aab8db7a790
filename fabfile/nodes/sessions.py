"""How many commands run at once over one link. sshd's MaxSessions bounds it, and is known only by its refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition


class Sessions:
    """Slots for commands over one link, `most` of them to begin with."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._open = 0
        self._proven = 0  # so many were open at once
        self.peak = 0  # so many with those that have no slot: sshd allows at least that
        self._changed = Condition()

    @contextmanager
    def slot(self) -> Iterator[Callable[[int], None]]:
        """One slot while the block runs; waits for a free one. The block calls what it is given once its session is open,
        with how many of ours are open beside those of slots."""
        self._take()
        opened: list[None] = []

        def note(beside: int) -> None:
            opened.append(None)
            with self._changed:
                self._open += 1
                self._proven = max(self._proven, self._open)
                self.peak = max(self.peak, self._open + beside)

        try:
            yield note
        finally:
            with self._changed:
                self._taken -= 1
                self._open -= len(opened)
                self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether no slot is taken."""
        return not self._taken

    def fewer(self, *, certain: bool) -> bool:
        """The session for one's slot was refused: go on with fewer, and wait for a free slot again.

        False at once where no other slot is taken, because none would become free; and, unless it is `certain`, where as many
        were open before: sshd may not have finished one that has ended.
        """
        with self._changed:
            if self._taken < 2 or (self._taken <= self._proven and not certain):
                return False
            self._taken -= 1
            self._most = min(self._most, self._taken)
            self._changed.notify_all()
        self._take()
        return True

    def _take(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self._most)
            self._taken += 1
