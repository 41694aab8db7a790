"""Lets only one process at a time build the lab or change it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from .items import Say
from .paths import cache_dir


@contextmanager
def exclusive(say: Say) -> Iterator[None]:
    """Hold the lab's lock; while another process holds it, say so and wait."""
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say(f"waiting for another lab command (process {file.read().strip() or 'unknown'}) to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
