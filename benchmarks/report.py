"""docs/measured.json as tables: what was measured, and the goals beside it with yes or no. `python -m tools.docs` puts them into the pages.

Standard library only: the documentation is made without what is measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "docs/measured.json"
NONE = "–"  # not measured


@dataclass(frozen=True)
class Row:
    """A row of a table: what a person reads, the key of what was measured, and which of its figures."""

    label: str
    key: str
    figure: str = "wall"


@dataclass(frozen=True)
class Table:
    """Rows that are compared with one of them, `beside`, which `name` names in the head."""

    rows: tuple[Row, ...]
    beside: str
    name: str
    unit: str = "seconds"


@dataclass(frozen=True)
class Goal:
    """A measured figure, divided by another or by itself, that must be at most or at least `limit`."""

    label: str
    key: str
    than: str
    sign: str
    limit: float
    figure: str = "wall"
    unit: str = "×"


DISTANCES = (50, 150)  # milliseconds that a round trip to a far node takes longer
FAR = {  # what is measured at each distance, with what a person reads
    "ssh true": "OpenSSH: `true` on every node, side by side",
    "kubefab unchanged": "kubefab: `inv cluster.bootstrap`, nothing to do",
    "ansible checks": "Ansible: the same checks",
    "pyinfra checks": "pyinfra: the same checks",
}


def _far(milliseconds: int) -> Table:
    rows = tuple(Row(label, f"{key}, {milliseconds} ms") for key, label in FAR.items())
    return Table(rows, rows[0].key, "× OpenSSH", f"seconds, nodes {milliseconds} ms away")


TABLES = (
    Table(
        (
            Row("OpenSSH: `true` on every node, side by side", "ssh true"),
            Row("kubefab: `inv cluster.bootstrap`, nothing to do", "kubefab unchanged"),
            Row("kubefab: `inv cluster.status`", "kubefab status"),
            Row("kubefab: `inv cluster.plan --observe`", "kubefab plan --observe"),
            Row("Ansible: the same checks", "ansible checks"),
            Row("Ansible: its whole playbook again, no change", "ansible again"),
            Row("Ansible: `true` on every node, the least it needs", "ansible raw true"),
            Row("pyinfra: the same checks", "pyinfra checks"),
            Row("pyinfra: its whole deploy again, no change", "pyinfra again"),
            Row("pyinfra: `true` on every node, the least it needs", "pyinfra exec true"),
        ),
        "ssh true",
        "× OpenSSH",
    ),
    *(_far(milliseconds) for milliseconds in DISTANCES),
    Table(
        (
            Row("kubefab: bare nodes to a verified cluster", "kubefab from bare"),
            Row("kubefab: the critical path of that run", "critical path"),
            Row("Ansible: the same job", "ansible from bare"),
            Row("pyinfra: the same job", "pyinfra from bare"),
            Row("kubefab: `inv cluster.reset`, with its audit", "kubefab reset"),
            Row("kubefab: the slowest node's part of it", "reset of a node"),
        ),
        "kubefab from bare",
        "× kubefab",
    ),
    Table(
        (
            Row("unchanged bootstrap, 10 simulated nodes", "10 nodes"),
            Row("unchanged bootstrap, 200 simulated nodes", "200 nodes"),
            Row("unchanged bootstrap, 1000 simulated nodes", "1000 nodes"),
            Row("`inv cluster.plan` with 5000 nodes", "plan, 5000 nodes"),
            Row("`fab -H` with a mistyped name among 5000 nodes", "fab -H typo, 5000 nodes"),
        ),
        "10 nodes",
        "× 10 nodes",
    ),
    Table(
        (
            Row("Invoke by itself, one task: `inv -l`", "invoke alone", "cpu"),
            Row("`inv -l`", "inv -l", "cpu"),
            Row("Tab after `--env`", "Tab after --env", "cpu"),
            Row("`ansible --version`", "ansible --version", "cpu"),
        ),
        "ansible --version",
        "× Ansible",
        "seconds of CPU",
    ),
)

GOALS = (
    Goal("unchanged bootstrap beside OpenSSH", "kubefab unchanged", "ssh true", "≤", 3),
    Goal("status beside OpenSSH", "kubefab status", "ssh true", "≤", 3),
    Goal("plan --observe beside OpenSSH", "kubefab plan --observe", "ssh true", "≤", 3),
    *(
        Goal(
            f"unchanged bootstrap beside OpenSSH, {one} ms away",
            f"kubefab unchanged, {one} ms",
            f"ssh true, {one} ms",
            "≤",
            3,
        )
        for one in DISTANCES
    ),
    Goal("Ansible's checks beside an unchanged bootstrap", "ansible checks", "kubefab unchanged", "≥", 30),
    Goal("Ansible's checks beside status", "ansible checks", "kubefab status", "≥", 30),
    Goal("Ansible's checks beside plan --observe", "ansible checks", "kubefab plan --observe", "≥", 30),
    Goal("pyinfra's checks beside an unchanged bootstrap", "pyinfra checks", "kubefab unchanged", "≥", 5),
    Goal("pyinfra's checks beside status", "pyinfra checks", "kubefab status", "≥", 5),
    Goal("pyinfra's checks beside plan --observe", "pyinfra checks", "kubefab plan --observe", "≥", 5),
    Goal("Ansible from bare nodes beside kubefab", "ansible from bare", "kubefab from bare", "≥", 2.5),
    Goal("kubefab from bare nodes beside its critical path", "kubefab from bare", "critical path", "≤", 1.1),
    Goal("reset of a node, side by side", "reset of a node", "", "≤", 5, unit="s"),
    Goal("200 simulated nodes beside 10", "200 nodes", "10 nodes", "≤", 3),
    Goal("memory with 1000 simulated nodes", "1000 nodes", "", "≤", 300, "peak", "MiB"),
    Goal("a mistyped name among 5000 nodes", "fab -H typo, 5000 nodes", "", "≤", 10, unit="s"),
    Goal("plan with 5000 nodes", "plan, 5000 nodes", "", "≤", 10, unit="s"),
)


def load(path: Path = FILE) -> dict[str, Any]:
    """What the last `make bench` found; empty before the first one."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {"machine": {}, "versions": {}, "found": {}}
    return found


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        ["| " + " | ".join(cells) + " |" for cells in (head, *rows)][:1]
        + ["|" + "---|" * len(head)]
        + ["| " + " | ".join(cells) + " |" for cells in rows]
    )


def conditions(data: Mapping[str, Any]) -> str:
    """When, where and with what it was measured."""
    machine = data["machine"]
    here = "{cores} cores, {cpu}, {memory_gib} GiB, {system}".format(**machine) if machine else NONE
    return _lines(
        ("measured", "with"),
        (
            ("day", f"`{machine.get('date', NONE)}`"),
            ("machine", f"`{here}`"),
            ("load average at the start", f"`{machine.get('load', NONE)}`"),
            ("versions", f"`{', '.join(sorted(data['versions'].values())) or NONE}`"),
        ),
    )


def table(data: Mapping[str, Any], which: Table) -> str:
    """One table: median with least and most, and how many times the row beside which it is."""
    found = data["found"]
    rows = []
    for row in which.rows:
        one, base = found.get(row.key), found.get(which.beside)
        spread = one[row.figure] if one else None
        ratio = (
            f"{spread['median'] / base[row.figure]['median']:.1f}"
            if spread and base and base[row.figure]["median"]
            else NONE
        )
        rows.append((row.label, shown(spread), ratio))
    return _lines((" ", which.unit, which.name), rows)


def shown(spread: Mapping[str, float] | None) -> str:
    """A median, with the least and the most where they differ: "2.1 (1.9–2.4)"."""
    if spread is None:
        return NONE
    median, least, most = (_short(spread[name]) for name in ("median", "least", "most"))
    return median if least == most else f"{median} ({least}–{most})"


def _short(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 20 else f"{seconds:.1f}" if seconds >= 2 else f"{seconds:.2f}"


@dataclass(frozen=True)
class Judged:
    """A goal and what was measured for it; None where it was not."""

    goal: Goal
    value: float | None

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.goal.limit if self.goal.sign == "≤" else self.value >= self.goal.limit

    @property
    def answer(self) -> str:
        return {None: NONE, True: "✓", False: "✗"}[self.reached]


def judged(found: Mapping[str, Any]) -> Iterator[Judged]:
    """Each goal with its figure."""
    for goal in GOALS:
        one, than = found.get(goal.key), found.get(goal.than) if goal.than else None
        if one is None or (goal.than and than is None):
            yield Judged(goal, None)
            continue
        yield Judged(goal, one[goal.figure]["median"] / (than[goal.figure]["median"] if than else 1))


def goals(data: Mapping[str, Any]) -> str:
    """The goals, what was measured, and whether it is enough."""
    rows = []
    for one in judged(data["found"]):
        value = NONE if one.value is None else f"{one.value:.1f} {one.goal.unit}"
        rows.append((one.goal.label, f"{one.goal.sign} {one.goal.limit:g} {one.goal.unit}", value, one.answer))
    return _lines(("goal", "limit", "measured", "reached"), rows)


def page(data: Mapping[str, Any] | None = None) -> str:
    """docs/measured.md's part: what was measured; rows and tables without a figure are left out."""
    data = load() if data is None else data
    parts = (conditions(data), *(table(data, one) for one in TABLES), goals(data))
    shown = [[line for line in part.splitlines() if f"| {NONE} | {NONE} |" not in line] for part in parts]
    return "\n\n".join("\n".join(lines) for lines in shown if len(lines) > 2)


def short(data: Mapping[str, Any] | None = None) -> str:
    """README's part: what a person waits for with each of them, in seconds."""
    data = load() if data is None else data

    def cell(key: str) -> str:
        one = data["found"].get(key)
        return f"{_short(one['wall']['median'])} s" if one else NONE

    return _lines(
        ("three lab nodes", "kubefab", "Ansible", "pyinfra"),
        (
            (
                "bare machines to a verified cluster",
                *(cell(f"{who} from bare") for who in ("kubefab", "ansible", "pyinfra")),
            ),
            (
                "nothing to do: every check again",
                cell("kubefab unchanged"),
                cell("ansible checks"),
                cell("pyinfra checks"),
            ),
        ),
    )
