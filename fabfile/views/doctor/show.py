"""The doctor's report for people: findings worst first, the table of node pairs where one is blocked, one line when all is well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...inventory import Environment
from ...text.cleaning import spans
from ...text.masking import mask
from ...text.screen import verdict
from ..folding import folded, own_words
from .examine import Report
from .finding import ERROR, NOTE, WARNING, Finding
from .node_pairs import CLOSED, OPEN, UNTESTED, YOU, grid

_MARKS = {ERROR: ("✗", "bold red"), WARNING: ("!", "yellow"), NOTE: ("·", "dim")}
WORDS = 8  # nodes; above, the table shows one letter a cell


def show(console: Console, report: Report, *, matrix: bool = False) -> None:
    """Print it."""
    show_findings(console, report.environment, report.findings)
    closed = [r for r in report.results if r.state == CLOSED]
    if report.results and (closed or matrix):
        console.print()
        console.print(_table(report))
    _closing(console, report)


def show_findings(console: Console, environment: Environment, findings: Iterable[Finding]) -> None:
    """Print findings, in their order."""
    for title, found in _blocks(environment, findings):
        mark, style = _MARKS[found.severity]
        console.print(Text.assemble((f"{mark} {found.code}", style), f"  {title}"), soft_wrap=True)
        _indented(console, Text(mask(found.evidence), "dim" if found.severity == NOTE else ""), 4)
        if found.remedy:
            _indented(console, Text.assemble(("→ ", "cyan"), mask(found.remedy)), 4)


def _blocks(environment: Environment, findings: Iterable[Finding]) -> Iterator[tuple[str, Finding]]:
    """The findings with their nodes as text; those of one node each that differ in its name and address only are one block."""
    named = [(found.nodes[0] if len(found.nodes) == 1 else "", found) for found in findings]
    own = own_words(environment.nodes)
    texts = lambda f: (f.code, f.severity, f.evidence, f.remedy, *(f.nodes if len(f.nodes) != 1 else ()))  # noqa: E731
    for same in folded(named, texts, own):
        if same.names == ("",):
            yield spans(same.first.nodes), same.first
        else:
            yield same.title, replace(same.first, remedy=same.remedy(same.first.remedy))


def _indented(console: Console, text: Text, columns: int) -> None:
    """Wrapped within the terminal; in a pipe a line stays a line."""
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, columns)))
    else:
        console.print(Text(" " * columns).append_text(text), soft_wrap=True)


def _table(report: Report) -> Table:
    reached = {r.target for r in report.results} | {r.source for r in report.results}
    targets = [name for name in report.nodes if name in reached]
    names = ([YOU] if any(r.source == YOU for r in report.results) else []) + targets
    cells = grid(names, report.results)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    wide = len(targets) <= WORDS
    table.add_column("from ↓ to →", no_wrap=True)
    for index, name in enumerate(targets, 1):
        table.add_column(name if wide else str(index), justify="center", no_wrap=not wide)
    for index, (name, row) in enumerate(zip(names, cells, strict=True), 0 if names[:1] == [YOU] else 1):
        label = name if wide or name == YOU else f"{index} {name}"
        table.add_row(label, *(_cell(cell, wide) for cell in row))
    return table


def _cell(cell: str, wide: bool) -> Text:
    style = {"ok": "green", "?": "yellow", "": ""}.get(cell, "bold red")
    if wide or len(cell) < 2:
        return Text(cell, style)
    if cell == "ok":
        return Text("·", style)
    parts = cell.split()
    letter = "M" if parts == ["MTU"] else "U" if parts == ["8472"] else "T" if len(parts) == 1 else "X"
    return Text(letter, style)


def _closing(console: Console, report: Report) -> None:
    counts = {severity: sum(f.severity == severity for f in report.findings) for severity in (ERROR, WARNING, NOTE)}
    states = {state: sum(r.state == state for r in report.results) for state in (OPEN, CLOSED, UNTESTED)}
    nodes = f"{len(report.nodes)} node{'s' * (len(report.nodes) != 1)}"
    pairs = ""
    if report.results:
        pairs = f", {states[OPEN]} of {len(report.results)} tests between them open"
    counted = [f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items() if n]
    what = ", ".join(counted) or "nothing wrong"
    console.print(
        verdict(report.healthy, f"{report.environment.name}: {what} on {nodes}{pairs} ({report.seconds:.1f} s)"),
        soft_wrap=True,
    )
