"""The machine that measures: what it is, and whether it is quiet enough."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What a reader needs to know about the machine; `load` is the average of the last minute at the start."""

    date: str
    cores: int
    cpu: str
    memory_gib: int
    system: str
    load: float

    def data(self) -> dict[str, object]:
        return asdict(self)


def here() -> Machine:
    """This machine, now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        cores=cores,
        cpu=_cpu(),
        memory_gib=round(pages / 2**30),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        load=round(os.getloadavg()[0], 2),
    )


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def busy(machine: Machine) -> str:
    """Why nothing should be measured now; "" if the machine is quiet."""
    if machine.load <= machine.cores:
        return ""
    return f"the machine is busy: load average {machine.load} on {machine.cores} cores, so times would say more about it than about us"


def version(argv: Sequence[str | Path], pattern: str = r"\d+(?:\.\d+)+\S*") -> str:
    """The version that a program prints about itself; "?" if it does not."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[0].strip("]),;") if found else "?"
