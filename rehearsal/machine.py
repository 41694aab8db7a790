"""One machine as commands see it: its model, the cluster's model, the faults in force, and the time commands take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from fabfile.inventory.settings import Settings

from .cluster import Cluster, Settling
from .host import Host

LOCKER = 2176  # the pid of unattended-upgrades, while it holds the package lock


class Halted(Exception):
    """The machine went down during a command; it stays down until this process ends."""


@dataclass
class Machine:
    """What a command handler gets.

    Conditions are judged by `now`, the latest virtual time of all machines.  Events are stamped with the machine's own
    `host.clock`, so that no machine has to wait for another machine's clock.
    """

    host: Host
    cluster: Cluster
    settling: Settling
    settings: Settings
    seed: int
    horizon: Callable[[], float]
    folder: str = "/"  # the script's working directory
    started: float = 0.0  # virtual time when this process began

    @property
    def now(self) -> float:
        return max(self.host.clock, self.horizon())

    @property
    def hostname(self) -> str:
        return self.settling.shown(self.host, "duplicate-hostname").hostname

    def fault(self, name: str) -> str | None:
        """The fault's value ("" without one) if it is in force on this machine, else None."""
        return self.settling.fault(self.host, name)

    def spend(self, seconds: float, label: str = "") -> None:
        """Let about that many virtual seconds pass; the same seed, machine and label always give the same time."""
        spread = int(hashlib.sha256(f"{self.seed}/{self.host.name}/{label}".encode()).hexdigest()[:4], 16) / 0xFFFF
        self.host.clock += seconds * (0.9 + 0.3 * spread)

    @property
    def api_up(self) -> bool:
        return self.settling.api_up(self.now)

    @property
    def skew(self) -> float:
        """Seconds by which this machine's date is wrong."""
        value = self.fault("clock-skew")
        return 0.0 if value is None else float(value or -3600)

    @property
    def lock_left(self) -> float:
        """Virtual seconds for which the package lock is still held."""
        value = self.fault("apt-locked")
        return 0.0 if value is None else max(0.0, self.started + float(value or 120) - self.host.clock)

    # --- what redirections and globs see

    def read_file(self, path: str) -> str | None:
        """A file's text; /proc shows the lock's holder only while it holds the lock."""
        if path == f"/proc/{LOCKER}/comm":
            return "unattended-upgr\n" if self.lock_left > 0 else None
        return self.host.read(self.absolute(path))

    def write_file(self, path: str, text: str, *, append: bool = False) -> None:
        self.host.write(self.absolute(path), text, append=append)

    def absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.folder.rstrip('/')}/{path}"

    def glob(self, pattern: str) -> list[str]:
        return self.host.glob(pattern)
