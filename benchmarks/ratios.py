"""Ratios, all within one run on one machine: what observing and an unchanged bootstrap cost beside plain ssh, and how that grows.

    python benchmarks/ratios.py                      # simulated nodes, 10 and 200
    python benchmarks/ratios.py --env lab            # the lab's real nodes: reads only, and an unchanged bootstrap
    python benchmarks/ratios.py --start              # what starting a command costs beside `ansible --version` (see --ansible)

Absolute times are this machine's; the ratios are what to look at.  Every number is the median of `--rounds`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from fabfile import inventory, phases  # noqa: E402
from fabfile.inventory import Environment, Node  # noqa: E402
from fabfile.nodes.group import connected  # noqa: E402
from fabfile.run.observer import looking  # noqa: E402
from fabfile.run.pipelines import Run  # noqa: E402
from fabfile.run.retry import Clock, RealClock  # noqa: E402


@dataclass(frozen=True)
class Opened:
    """An environment with a clock for each of its nodes."""

    environment: Environment
    clock: Callable[[str], Clock]


@contextmanager
def opened(name: str, workers: int) -> Iterator[Opened]:
    """Simulated nodes of that number, or the real ones of an environment."""
    environment = inventory.load(name)
    if not environment.settings.simulated:
        real = RealClock()
        yield Opened(environment, lambda _: real)
        return
    import rehearsal

    with rehearsal.running(environment, workers=workers) as simulation:
        yield Opened(simulation.environment, simulation.clock)


def observe(there: Opened) -> None:
    """Observe every node once: all that an unchanged bootstrap and `status` do."""
    with looking(there.environment, clock=there.clock) as observer:
        seen = observer.survey(there.environment.nodes)
        failed = [str(error) for error in seen.values() if isinstance(error, Exception)]
        assert not failed, failed[0]


def bootstrap(there: Opened) -> int:
    """All phases; returns how many steps that took."""
    with connected(there.environment) as group:
        run = Run(there.environment, group, _Silent(), clock=there.clock)
        result = run.run(phases.BOOTSTRAP, there.environment.nodes)
        assert not result.failed, result.failed[0].error
        return result.steps


class _Silent:
    def doing(self, node: str, phase: str, text: str) -> None: ...

    def phase_done(self, node: str, phase: str, steps: int, seconds: float) -> None: ...

    def node_done(self, node: str, result: object) -> None: ...

    def note(self, text: str) -> None: ...


def plain_ssh(there: Opened) -> None:
    """Run `true` on every node with OpenSSH's client, as many at a time as kubefab."""
    with _every_core(), ThreadPoolExecutor(there.environment.settings.forks) as pool:
        list(pool.map(_true, there.environment.nodes))


@contextmanager
def _every_core() -> Iterator[None]:
    """A rehearsal keeps its threads on one core: other processes are not to suffer from it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _true(node: Node) -> None:
    options = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        "-o",
        "BatchMode=yes",
    ]
    key = ["-i", node.key, "-o", "IdentitiesOnly=yes"] if node.key else []
    user = f"{node.user}@" if node.user else ""
    line = ["ssh", *options, *key, "-p", str(node.port), f"{user}{node.host}", "true"]
    subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def median(action: Callable[[], object], rounds: int) -> float:
    """Seconds that an action takes."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(name: str, workers: int, rounds: int) -> dict[str, float]:
    """One size: nodes, and seconds for each thing."""
    with opened(name, workers) as there:
        first = 0.0
        if there.environment.settings.simulated:
            started = time.perf_counter()
            bootstrap(there)
            first = time.perf_counter() - started
        found = {
            "nodes": float(len(there.environment.nodes)),
            "ssh_true": median(lambda: plain_ssh(there), rounds),
            "observe": median(lambda: observe(there), rounds),
            "unchanged_bootstrap": median(lambda: bootstrap(there), rounds),
        }
    return {**found, "first_bootstrap": first} if first else found


def starts(ansible: str, rounds: int) -> dict[str, float]:
    """CPU seconds, user and system, of a few commands; the least of `rounds`, taken in turns so that the machine's mood meets all."""
    inv, fab = (str(Path(sys.executable).with_name(name)) for name in ("inv", "fab"))
    with tempfile.TemporaryDirectory() as empty:  # Invoke by itself: what no project can go below
        Path(empty, "tasks.py").write_text("import invoke\n\n\n@invoke.task\ndef nothing(c): ...\n")
        commands = {
            "inv -l, one task": ([inv, "-l"], empty),
            "inv -l": ([inv, "-l"], PROJECT),
            "inv --complete": ([inv, "--complete", "--", "inv", "cluster."], PROJECT),
            "inv --complete --env": ([inv, "--complete", "--", "inv", "cluster.plan", "--env", "r"], PROJECT),
            "fab --version": ([fab, "--version"], PROJECT),
            "fab -l": ([fab, "-l"], PROJECT),
            "inv cluster.plan": ([inv, "cluster.plan"], PROJECT),
        }
        if ansible:
            commands["ansible --version"] = ([ansible, "--version"], PROJECT)
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, (argv, folder) in commands.items():
                taken[name].append(_cpu_seconds(argv, folder))
    return {name: min(seconds) for name, seconds in taken.items()}


def _cpu_seconds(argv: list[str], folder: str | Path) -> float:
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, argv
    return usage.ru_utime + usage.ru_stime


def report_starts(found: dict[str, float]) -> Iterator[str]:
    """Lines for a person: CPU seconds, and the ratio to ansible's, or to Invoke's own where Ansible is not here."""
    other = "ansible --version" if "ansible --version" in found else "inv -l, one task"
    for name, seconds in found.items():
        yield f"{name:<22} {seconds:6.3f} s of CPU   {seconds / found[other]:5.2f} x {other}"


def report(rows: Sequence[dict[str, float]]) -> Iterator[str]:
    """Lines for a person."""
    for row in rows:
        yield f"{row['nodes']:.0f} nodes"
        yield f"  ssh true, every node            {row['ssh_true']:7.2f} s"
        for key in ("observe", "unchanged_bootstrap", "first_bootstrap"):
            if key in row:
                yield f"  {key.replace('_', ' '):<30}  {row[key]:7.2f} s   {row[key] / row['ssh_true']:5.1f} x ssh true"
        if "first_bootstrap" in row:
            yield f"  unchanged / first bootstrap     {row['unchanged_bootstrap'] / row['first_bootstrap']:7.2f}"
    if len(rows) > 1:
        few, many = rows[0], rows[-1]
        times = many["nodes"] / few["nodes"]
        for key in ("ssh_true", "observe", "unchanged_bootstrap", "first_bootstrap"):
            if key in few and key in many:
                growth = many[key] / few[key]
                yield f"{many['nodes']:.0f} / {few['nodes']:.0f} nodes ({times:.1f} x as many): {key.replace('_', ' ')} {growth:.1f} x"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="rehearsal", help="rehearsal, or a healthy environment of real nodes")
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 200], help="rehearsal only: sizes to compare")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of which the median counts")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    parser.add_argument("--start", action="store_true", help="only what starting a command costs, in CPU seconds")
    parser.add_argument(
        "--ansible", default=shutil.which("ansible") or "", help="with --start: Ansible's program, to compare with"
    )
    arguments = parser.parse_args()
    if arguments.start:
        found = starts(arguments.ansible, max(arguments.rounds, 7))
        print(json.dumps(found, indent=2) if arguments.json else "\n".join(report_starts(found)))
        return
    rows = []
    simulated = inventory.load(arguments.env).settings.simulated
    for nodes in arguments.nodes if simulated else arguments.nodes[:1]:
        if simulated:
            with tempfile.TemporaryDirectory() as state:
                os.environ["XDG_STATE_HOME"] = state  # the operator's own rehearsal stays as it is
                rows.append(measure(arguments.env, nodes - 1, arguments.rounds))
        else:
            rows.append(measure(arguments.env, 0, arguments.rounds))
        print(f"measured {rows[-1]['nodes']:.0f} nodes", file=sys.stderr)
    print(json.dumps(rows, indent=2) if arguments.json else "\n".join(report(rows)))


if __name__ == "__main__":
    main()
