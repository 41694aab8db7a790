"""`inv cluster.report`: where a run's time went."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .common import Options, command, described, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..inventory import Environment
    from ..views.timing import Timing


@command(
    "env",
    "json",
    help={"run": "its number in cluster.history; default: the newest", "html": "write a page with the timeline here"},
)
def report(*, run: int = 0, html: str = "", options: Options) -> None:
    """Where a run's time went; the critical path."""
    from ..run.journal import read
    from ..text.screen import Screen
    from ..text.whole import write_whole
    from ..views import timing

    environment = described(options)
    found = timing.read_run(read(_journal_of(environment, run)))
    if html:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.began))
        write_whole(Path(html), timing.html(found, f"{environment.name}, {began}"), 0o644)
    if options.json:
        print_json(timing.data(found))
        return
    console = Screen()
    _print_timing(console, found)
    if html:
        console.print(f"written: {html}", soft_wrap=True)


def _journal_of(environment: Environment, run: int) -> Path:
    """The journal of run number `run`; 0: the newest. Raises UsageError when there is none."""
    from ..run.journal import journals

    paths = journals(environment.state / "journal")
    if not paths:
        raise UsageError(f"{environment.name} has no journal yet", "run a bootstrap first")
    if not 0 <= run <= len(paths):
        raise UsageError(
            f"there is no run {run} of {environment.name}", f"1 to {len(paths)}; `inv cluster.history` lists them"
        )
    return paths[run - 1]


def _print_timing(console: Console, timing: Timing) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..phases import EVERY
    from ..views.timing import critical_path, path_seconds, waits
    from .progress import print_table, seconds

    console.print(
        f"{timing.command}: {timing.outcome} in {seconds(timing.seconds)}, {timing.steps} steps", soft_wrap=True
    )
    phases = [name for name in EVERY if any(name == phase for _, phase in timing.phases)]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("node", *phases, "waited"):
        table.add_column(heading, justify="left" if heading == "node" else "right", no_wrap=True)
    waited = waits(timing)
    for node in timing.nodes[:30]:
        cells = (f"{timing.phases[node, phase]:.1f}" if (node, phase) in timing.phases else "" for phase in phases)
        name = Text(node, "red" if timing.states.get(node) != "done" else "")
        table.add_row(name, *cells, f"{waited.get(node, 0.0):.1f}")
    print_table(console, table)
    path = critical_path(timing)
    length = path_seconds(path)
    if length:
        console.print(f"critical path {seconds(length)}, the run took {timing.seconds / length:.2f} of it:")
        for span in (s for s in path if s.seconds >= 0.05):
            console.print(f"  {span.start:>7.1f} s  {span.node:<6} {span.name:<24} {span.seconds:>6.1f} s")
    for node, error in timing.errors.items():
        first = error.splitlines()[0].removeprefix(f"{node}: ")
        console.print(Text.assemble(("✗ ", "red"), f"{node}: {first}"), soft_wrap=True)
