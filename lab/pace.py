"""How fast this machine is now, so that the first estimate of a build is one for this machine."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# What one piece of `work` took a core of the machine on which the items' seconds were measured, with two quiet cores.
REFERENCE_SECONDS = 0.42
REFERENCE_CORES = 2
# More cores than this do not make a compile much faster: some packages wait for others.
USEFUL_CORES = 8


def work(text: bytes) -> None:
    """A fixed piece of work: whole numbers, branches and memory, as in a compile; other threads run meanwhile."""
    for _ in range(4):
        zlib.compress(text, 6)


def measured(cores: int | None = None, clock: Callable[[], float] = time.monotonic) -> float:
    """How long a compile takes here in proportion to the reference machine: 2.0 is twice as long. Takes about a second."""
    used = min(cores or os.cpu_count() or 1, USEFUL_CORES)
    text = b"".join(b"%d %x;" % (n * n, n * 7919) for n in range(60_000))
    began = clock()
    with ThreadPoolExecutor(used) as pool:
        for done in [pool.submit(work, text) for _ in range(used)]:
            done.result()
    return (clock() - began) / REFERENCE_SECONDS * REFERENCE_CORES / used
