"""Cached build items: each is built once per recipe, in its own folder, and is never left incomplete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .pace import measured

Say = Callable[[str], None]
# make(work, out, inputs): `work` is scratch, `out` becomes the item, `inputs` maps a needed item to its folder.
Make = Callable[[Path, Path, dict[str, Path]], None]
# fetch(work): downloads what `make` needs, before it and while other items are built.
Fetch = Callable[[Path], None]


@dataclass(frozen=True)
class Item:
    """Something to build.

    `recipe` is everything that decides the content, `needs` are the items it is made from, and `seconds` is its time
    with a cold cache on a machine with two cores (only for the estimate of the time left). `compiles` means that these
    are CPU seconds.
    """

    name: str
    recipe: object
    make: Make
    needs: tuple[str, ...] = ()
    seconds: float = 5.0
    compiles: bool = False
    fetch: Fetch | None = None


@dataclass
class Cache:
    """A folder of finished items; an interrupted build never leaves unfinished ones in it."""

    root: Path
    say: Say
    clock: Callable[[], float] = time.monotonic
    pace: Callable[[], float] = measured
    keys: dict[str, str] = field(default_factory=dict)

    def key(self, item: Item) -> str:
        """The name of the item's folder: its name and a hash of its recipe and of the items it is made from."""
        if item.name not in self.keys:
            needed = [self.keys[n] for n in item.needs]
            text = json.dumps([item.name, item.recipe, needed], sort_keys=True, default=repr)
            self.keys[item.name] = f"{item.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return self.keys[item.name]

    def folder(self, item: Item) -> Path:
        """Where the item is, or will be."""
        return self.root / "items" / self.key(item)

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """The `items` (needed ones first) that are not in the cache yet."""
        return [i for i in items if not self.folder(i).is_dir()]

    def build(self, items: Sequence[Item]) -> dict[str, Path]:
        """Build the missing items in the given order; returns the folder of every item."""
        missing = self.missing(items)
        folders = {i.name: self.folder(i) for i in items}
        paces = {True: self.pace() if any(i.compiles for i in missing) else 1.0, False: 1.0}
        spent, expected = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
        started = self.clock()
        with self._fetching(missing) as fetched:
            for number, item in enumerate(missing, start=1):
                left = sum(i.seconds * paces[i.compiles] for i in missing[number - 1 :])
                self.say(
                    f"[{number}/{len(missing)}] building {item.name} "
                    f"(elapsed {duration(self.clock() - started)}, about {duration(left)} left)"
                )
                begun = self.clock()
                self._await(item, fetched)
                self._make(item, folders)
                took = self.clock() - begun
                spent[item.compiles] += took
                expected[item.compiles] += item.seconds
                paces[item.compiles] = spent[item.compiles] / expected[item.compiles]
                self.say(f"[{number}/{len(missing)}] {item.name} built in {duration(took)}")
        return folders

    @contextmanager
    def _fetching(self, missing: Sequence[Item]) -> Iterator[dict[str, Future[None]]]:
        """Create empty folders for the items, and run their fetches one after another in the background."""
        for item in missing:
            shutil.rmtree(self._scratch(item), ignore_errors=True)
            (self._scratch(item) / "out").mkdir(parents=True)
            (self._scratch(item) / "work").mkdir()
        with ThreadPoolExecutor(max_workers=1) as ahead:
            try:
                yield {i.name: ahead.submit(i.fetch, self._scratch(i) / "work") for i in missing if i.fetch}
            finally:
                ahead.shutdown(cancel_futures=True)

    def _await(self, item: Item, fetched: dict[str, Future[None]]) -> None:
        """Wait for the item's fetch. If any fetch has failed, raise its error at once, before more is built in vain."""
        for done in fetched.values():
            if done.done():
                done.result()
        if item.name in fetched and not fetched[item.name].done():
            self.say(f"waiting for what {item.name} needs from elsewhere")
            fetched[item.name].result()

    def _scratch(self, item: Item) -> Path:
        return self.root / "scratch" / f"{item.name}-{os.getpid()}"

    def _make(self, item: Item, folders: dict[str, Path]) -> None:
        scratch = self._scratch(item)
        out, work = scratch / "out", scratch / "work"
        item.make(work, out, {n: folders[n] for n in item.needs})
        final = self.folder(item)
        final.parent.mkdir(parents=True, exist_ok=True)
        out.rename(final)
        shutil.rmtree(scratch, ignore_errors=True)


def duration(seconds: float) -> str:
    """`4 s`, `2 min 05 s`."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
