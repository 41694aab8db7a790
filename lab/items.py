"""Cached build items: each is made once per recipe, in its own folder, and never left half done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Say = Callable[[str], None]
# make(work, out, inputs): `work` is scratch, `out` becomes the item, `inputs` maps a needed item to its folder.
Make = Callable[[Path, Path, dict[str, Path]], None]


@dataclass(frozen=True)
class Item:
    """Something to build.

    `recipe` is everything that decides the content, `needs` the items it is made from, and `seconds` what it
    takes from a cold cache on a machine with two cores (only for the estimate of the time left).
    """

    name: str
    recipe: object
    make: Make
    needs: tuple[str, ...] = ()
    seconds: float = 5.0


@dataclass
class Cache:
    """Folder of finished items; interrupting a build at any point leaves only finished ones."""

    root: Path
    say: Say
    clock: Callable[[], float] = time.monotonic
    keys: dict[str, str] = field(default_factory=dict)

    def key(self, item: Item) -> str:
        """Name of the item's folder: its name and a hash of its recipe and of what it is made from."""
        if item.name not in self.keys:
            needed = [self.keys[n] for n in item.needs]
            text = json.dumps([item.name, item.recipe, needed], sort_keys=True, default=repr)
            self.keys[item.name] = f"{item.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return self.keys[item.name]

    def folder(self, item: Item) -> Path:
        """Where the item is, or will be."""
        return self.root / "items" / self.key(item)

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """Those of `items` (needed ones first) that are not in the cache yet."""
        return [i for i in items if not self.folder(i).is_dir()]

    def build(self, items: Sequence[Item]) -> dict[str, Path]:
        """Make what is missing, in the given order, and return the folder of every item."""
        missing = self.missing(items)
        folders = {i.name: self.folder(i) for i in items}
        started = self.clock()
        done_seconds = 0.0
        for number, item in enumerate(missing, start=1):
            spent = self.clock() - started
            left = estimate(spent, done_seconds, sum(i.seconds for i in missing[number - 1 :]))
            self.say(f"[{number}/{len(missing)}] building {item.name} (elapsed {duration(spent)}, about {duration(left)} left)")
            begun = self.clock()
            self._make(item, folders)
            done_seconds += item.seconds
            self.say(f"[{number}/{len(missing)}] {item.name} built in {duration(self.clock() - begun)}")
        return folders

    def _make(self, item: Item, folders: dict[str, Path]) -> None:
        scratch = self.root / "scratch" / f"{item.name}-{os.getpid()}"
        shutil.rmtree(scratch, ignore_errors=True)
        out, work = scratch / "out", scratch / "work"
        out.mkdir(parents=True)
        work.mkdir()
        item.make(work, out, {n: folders[n] for n in item.needs})
        final = self.folder(item)
        final.parent.mkdir(parents=True, exist_ok=True)
        out.rename(final)
        shutil.rmtree(scratch, ignore_errors=True)


def estimate(spent: float, done_seconds: float, left_seconds: float) -> float:
    """Seconds left, given what the finished items took against what they were expected to take."""
    pace = spent / done_seconds if done_seconds > 0 else 1.0
    return left_seconds * pace


def duration(seconds: float) -> str:
    """`4 s`, `2 min 05 s`."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
