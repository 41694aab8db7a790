"""What the operator sees while a run works and when it ends. A failure shows node, step, command, output and the next action.

A terminal has a live line for each node at work. A pipe has plain lines, and a heartbeat line after SILENCE without one.
With more than CROWD nodes there is one line a phase instead of one a node and phase.  With `-v` there are also the steps' titles and
what their commands print, as it comes; with `-q` nothing before the end.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import copy
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..errors import KubefabError
from ..text.cleaning import spans
from ..text.masking import mask
from ..text.screen import Screen
from ..views.folding import Fold, folded, own_words
from ..views.results import cause

if TYPE_CHECKING:  # what prints an error needs no SSH
    from ..inventory import Node
    from ..run.result import NodeResult, RunResult

CROWD = 12  # nodes
LIVE_ROWS = 14  # nodes that have a live line at the same time
SILENCE = 30.0  # seconds


def seconds(value: float) -> str:
    """A duration in seconds as text for people: 4.2 s, 38 s, 2 min 05 s."""
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 99.5:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


class Progress:
    """Reporter for a terminal or a pipe; a context manager around a run.

    `width` is that of the column of names in characters, at least: runs of one command that concern different nodes have one column.
    """

    def __init__(
        self,
        nodes: list[str],
        *,
        width: int = 1,
        console: Console | None = None,
        simulated: bool = False,
        verbose: bool = False,
        quiet: bool = False,
    ) -> None:
        self.console = console or Screen()
        self._nodes = nodes
        self._crowd = len(nodes) > CROWD
        self._width = max((width, *map(len, nodes)))
        self._unit = " simulated" if simulated else ""
        self._lock = Lock()
        self._current: dict[str, tuple[str, str, float]] = {}
        self._phases: dict[str, list[tuple[str, int, float]]] = defaultdict(list)
        self._done = 0
        self._spoke = time.monotonic()
        self._ended = Event()
        self._verbose, self._quiet = verbose, quiet
        live = self.console.is_terminal and not quiet
        self._live = (
            Live(console=self.console, refresh_per_second=8, transient=True, get_renderable=self._render)
            if live
            else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        else:
            Thread(target=self._keep_alive, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        if self._live:
            self._live.stop()

    def restore_terminal(self) -> None:
        """Show the cursor again, for a process that ends while the live lines are drawn."""
        if self._live:
            # the terminal may be closed, or this is a signal handler that interrupted a write: the process ends anyway
            with suppress(OSError, RuntimeError, ValueError):
                self.console.file.write("\n\x1b[?25h")
                self.console.file.flush()

    # --- Reporter

    def doing(self, node: str, phase: str, text: str) -> None:
        with self._lock:
            before = self._current.get(node)
            started = before[2] if before and before[0] == phase else time.monotonic()
            self._current[node] = (phase, mask(text), started)
        if self._verbose and phase and (before is None or before[:2] != (phase, mask(text))):
            self._line(Text.assemble((f"{node:<{self._width}}  ", "bold"), f"{phase}: {mask(text)}"))

    def heard(self, node: str, line: str) -> None:
        """A line that a command on this node printed, masked."""
        self._line(Text.assemble((f"{node:<{self._width}}  ", "bold"), (f"│ {line}", "dim")))

    def phase_done(self, node: str, phase: str, steps: int, seconds_taken: float) -> None:
        with self._lock:
            self._phases[phase].append((node, steps, seconds_taken))
        if steps and not self._crowd:
            self._print(node, phase, f"{steps} step{'s' * (steps != 1)}", seconds_taken)

    def node_done(self, node: str, result: NodeResult) -> None:
        with self._lock:
            self._current.pop(node, None)
            self._done += 1
        if result.state != "done":
            style = {"failed": "bold red", "blocked": "yellow"}.get(result.state, "yellow")
            what = result.error.message.splitlines()[0] if result.error else ""
            prefix = f"{node}: "
            self._line(
                Text.assemble(
                    (f"{node:<{self._width}}  ", "bold"), (f"{result.state:<9} ", style), what.removeprefix(prefix)
                )
            )

    def note(self, text: str) -> None:
        self._line(Text(mask(text), style="yellow"))

    # --- rendering

    def _print(self, node: str, phase: str, what: str, taken: float) -> None:
        self._line(
            Text.assemble(
                (f"{node:<{self._width}}  ", "bold"),
                f"{phase:<9} ",
                (f"{what:<9} ", "green"),
                (f"{seconds(taken):>8}{self._unit}", "dim"),
            )
        )

    def _line(self, text: Text) -> None:
        self._spoke = time.monotonic()
        if self._quiet:
            return
        # rich raises SystemExit when the reader has closed the pipe; OSError: the log's disk is full. The run continues
        with suppress(SystemExit, OSError):
            self.console.print(text, soft_wrap=not self.console.is_terminal)

    def _keep_alive(self) -> None:
        while not self._ended.wait(max(0.1, self._spoke + SILENCE - time.monotonic())):
            self.heartbeat(time.monotonic())

    def heartbeat(self, now: float) -> None:
        """After SILENCE without a line, print how many nodes are done, which phases the others are in, and which works longest.

        `now` is time.monotonic()'s.
        """
        with self._lock:
            current = dict(self._current)
            done = self._done
        if now - self._spoke < SILENCE or not current:
            return
        phases = ", ".join(
            f"{count} {phase}"
            for phase, count in Counter(phase or "observe" for phase, _, _ in current.values()).most_common()
        )
        name, (phase, text, started) = min(current.items(), key=lambda item: item[1][2])
        longest = f"{name} {phase or 'observe'}, {seconds(now - started)}: {text}"
        self._line(Text(f"… {done} of {len(self._nodes)} nodes done, at work: {phases}; longest {longest}", "dim"))

    def _render(self) -> Group:
        now = time.monotonic()
        with self._lock:
            current = dict(self._current)
            done = self._done
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=self._width, no_wrap=True)
        table.add_column(width=9, no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        at_work = [name for name in self._nodes if name in current]
        for name in at_work[:LIVE_ROWS]:
            phase, text, started = current[name]
            table.add_row(Text(name, "bold"), phase, Text(text, "dim"), f"{now - started:.0f} s")
        rows: list[RenderableType] = [table]
        if len(at_work) > LIVE_ROWS or self._crowd:
            rows.append(Text(f"{done} of {len(self._nodes)} nodes done, {len(at_work)} at work", "dim"))
        return Group(*rows, Spinner("dots", style="dim") if at_work else Text(""))

    def crowd_summary(self) -> None:
        """Print one line a phase, if there are more than CROWD nodes: how many were changed, and which took longest."""
        if not self._crowd:
            return
        for phase, rows in self._phases.items():
            worked = [row for row in rows if row[1]]
            if worked:
                slowest = max(worked, key=lambda row: row[2])
                self._line(
                    Text(
                        f"{phase:<9} {len(worked)} of {len(rows)} nodes changed, slowest {slowest[0]} {seconds(slowest[2])}{self._unit}"
                    )
                )


def print_failures(
    console: Console, result: RunResult, command: str, nodes: Iterable[Node] = (), *, without_done: str = ""
) -> None:
    """Print the end of a failed run: each error once, with its nodes, the nodes that waited for them, and `command` to run again.

    `nodes` are the inventory's; `without_done` is the option by which the command leaves out nodes that are done, if it has one.
    """
    failed = [(r.node, (r.step or r.phase, r.error)) for r in result.failed if r.state == "failed" and r.error]
    for same in folded(failed, lambda one: (one[0], *_texts(one[1])), own_words(nodes)):
        step, error = same.first
        print_error(console, _for_all(same, error), title=f"{same.title} · {step}")
    blocked = [r.node for r in result.failed if r.state == "blocked"]
    if blocked:
        because = " because of that" if failed else ""
        console.print(Text.assemble((f"not started or not finished{because}:", "yellow"), f" {spans(blocked)}"))
    interrupted = [r.node for r in result.failed if r.state == "interrupted"]
    if interrupted:
        console.print(Text.assemble(("stopped by you:", "yellow"), f" {spans(interrupted)}"))
    console.print(f"fix it, then run this again; it goes on from here:\n  {command}", soft_wrap=True)
    done = len(result.nodes) - len(result.failed)
    if without_done and done:
        console.print(
            f"or without the {done} that {'is' if done == 1 else 'are'} done:\n  {command} {without_done}",
            soft_wrap=True,
        )


def print_errors(console: Console, errors: Mapping[str, KubefabError], nodes: Iterable[Node]) -> None:
    """Print the errors of nodes by name, each error once; `nodes` are the inventory's."""
    for same in folded(errors.items(), _texts, own_words(nodes)):
        print_error(console, _for_all(same, same.first), title=same.title if len(same.names) > 1 else "")


def _texts(error: KubefabError) -> tuple[str, ...]:
    return type(error).__name__, error.message, error.remedy, error.output


def _for_all(same: Fold[Any], error: KubefabError) -> KubefabError:
    """The first node's error, as it reads for all of them."""
    if len(same.names) > 1:
        error = copy(error)
        error.message = error.message.removeprefix(f"{same.names[0]}: ")
        error.remedy = same.remedy(error.remedy)
    return error


def print_table(console: Console, table: Table) -> None:
    """Print a table; in a pipe, which has no width, without shortening any name."""
    (console if console.is_terminal else Screen(file=console.file, width=1000)).print(table)


def print_error(console: Console, error: KubefabError, title: str = "") -> None:
    """Print one error: what and where, the end of the output, a likely cause if we know one, and what to do next."""
    console.print()
    console.print(
        Text.assemble(("✗ ", "bold red"), (f"{title}\n" if title else "", "bold"), error.message), soft_wrap=True
    )
    for line in error.output.splitlines():
        console.print(Text(f"  │ {line}", "dim"), soft_wrap=True)
    known = cause(error)
    if known:
        console.print(Text.assemble(("likely: ", "bold"), f"{known.cause} ({known.source})"), soft_wrap=True)
        console.print(Text.assemble(("→ ", "bold cyan"), known.remedy), soft_wrap=True)
    if error.remedy:
        console.print(Text.assemble(("→ ", "bold cyan"), error.remedy), soft_wrap=True)
