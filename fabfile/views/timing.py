"""Timings of a run from its journal: by node and phase, the critical path, and the waits. Pure: events in, no output.

A span is one thing done on one node.  The critical path is followed backwards from the span that ended last: the span
before it is on the same node or, if the node waited at a gate, the one that opened the gate.  The difference between the
path's length and the run's is unused time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import jinja2

from ..phases import EVERY
from ..records import dataclass

Outcome = Literal["done", "failed", "interrupted", "cut off"]
SLACK = 0.15  # seconds between two spans that follow each other
_OPENERS = {"master": "master", "network": "network", "addons": "addons", "members": "join"}


@dataclass(frozen=True)
class Span:
    """Something that took time on a node, in seconds since the run's start. `phase` is "observe" for observing."""

    node: str
    name: str
    phase: str
    start: float
    end: float
    ok: bool = True

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Passed:
    """A node passed a gate at second `at`, after waiting `seconds`."""

    node: str
    gate: str
    at: float
    seconds: float


@dataclass
class Timing:
    """One run, as its journal records it."""

    command: str = ""
    began: float = 0.0
    pid: int = 0
    seconds: float = 0.0
    exit: int | None = None
    steps: int = 0
    spans: list[Span] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    phases: dict[tuple[str, str], float] = field(default_factory=dict)
    opened: dict[tuple[str, str], float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> list[str]:
        return list(dict.fromkeys([*self.states, *(s.node for s in self.spans)]))

    @property
    def outcome(self) -> Outcome:
        """`done`, `failed` or `interrupted`; `cut off` if the run was killed."""
        outcomes: dict[int | None, Outcome] = {None: "cut off", 0: "done", 130: "interrupted"}
        return outcomes.get(self.exit, "failed")

    @property
    def unfinished(self) -> list[str]:
        """The nodes that did not finish: --only-failed continues with them."""
        return [node for node in self.nodes if self.states.get(node) != "done"]


def read_run(events: Iterable[Mapping[str, Any]]) -> Timing:
    """Read a journal's events. The journal of a killed run is read as far as it goes."""
    timing = Timing()
    zero: float | None = None
    last = 0.0
    for event in events:
        kind, node = event.get("event"), str(event.get("node", ""))
        last = max(last, float(event.get("at", 0.0)))
        if kind == "run":
            timing.command, timing.began = str(event.get("command", "")), float(event.get("at", 0.0))
            timing.pid = int(event.get("pid", 0))
            continue
        if kind == "end" and not node:
            timing.seconds, timing.exit, timing.steps = float(event["seconds"]), int(event["exit"]), int(event["steps"])
            continue
        if not node:
            continue
        took = float(event.get("seconds", 0.0))
        at = float(event.get("t", float(event.get("at", 0.0)) - timing.began))
        if zero is None:
            zero = at - took
        zero = min(zero, at - took) if "t" in event else 0.0
        _take(timing, str(kind), node, event, at, took)
    _shift(timing, zero or 0.0)
    if timing.exit is None:
        timing.seconds = max((s.end for s in timing.spans), default=last - timing.began)
    return timing


def _take(timing: Timing, kind: str, node: str, event: Mapping[str, Any], at: float, took: float) -> None:
    if kind in ("end", "failed"):
        step = str(event.get("step", ""))
        timing.spans.append(Span(node, step, step.split(".")[0], at - took, at, kind == "end"))
    elif kind == "observed":
        timing.spans.append(Span(node, "observe", "observe", at - took, at))
    elif kind == "passed":
        timing.passed.append(Passed(node, str(event.get("gate", "")), at, took))
    elif kind == "phase":
        name = str(event.get("phase", ""))
        timing.phases[node, name] = took
        timing.opened[node, name] = at
    elif kind == "node":
        timing.states[node] = str(event.get("state", ""))
        if event.get("error"):
            timing.errors[node] = str(event["error"])


def _shift(timing: Timing, zero: float) -> None:
    timing.spans = sorted(
        (Span(s.node, s.name, s.phase, s.start - zero, s.end - zero, s.ok) for s in timing.spans), key=lambda s: s.start
    )
    timing.passed = [Passed(p.node, p.gate, p.at - zero, p.seconds) for p in timing.passed]
    timing.opened = {key: at - zero for key, at in timing.opened.items()}


def alive(pid: int) -> bool:
    """Whether the process that wrote a journal still runs on this machine."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:  # the process of another user
        return True
    except OSError:
        return False
    return True


def critical_path(timing: Timing) -> list[Span]:
    """The chain of spans that determines the run's length, first to last."""
    if not timing.spans:
        return []
    current = max(timing.spans, key=lambda s: s.end)
    path = [current]
    while True:
        before = _before(timing, current)
        if before is None or before in path:
            return path[::-1]
        path.append(before)
        current = before


def _before(timing: Timing, span: Span) -> Span | None:
    earlier = [
        s
        for s in timing.spans
        if s.node == span.node and s.end <= span.start + SLACK and s is not span and s.start < span.start
    ]
    own = max(earlier, key=lambda s: s.end, default=None)
    since = own.end if own else 0.0
    stood = [
        p
        for p in timing.passed
        if p.node == span.node and p.seconds > SLACK and since - SLACK <= p.at <= span.start + SLACK
    ]
    if stood:
        gate = max(stood, key=lambda p: p.at)
        opener = _opener(timing, gate, span.node)
        if opener is not None and (own is None or opener.end > own.end):
            return opener
    return own


def _opener(timing: Timing, gate: Passed, waiting: str) -> Span | None:
    """The last span of the phase that opened this gate."""
    phase = _OPENERS.get(gate.gate, gate.gate)
    ends = [
        (at, node)
        for (node, name), at in timing.opened.items()
        if name == phase and node != waiting and at <= gate.at + SLACK
    ]
    if not ends:
        return None
    at, node = min(ends) if gate.gate == "members" else max(ends)
    return max((s for s in timing.spans if s.node == node and s.end <= at + SLACK), key=lambda s: s.end, default=None)


def path_seconds(path: Sequence[Span]) -> float:
    """The path's length in seconds: the time during which at least one of its spans was active."""
    total, until = 0.0, 0.0
    for span in path:
        total += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total


def slowest(timing: Timing, count: int = 5) -> list[Span]:
    """The longest spans."""
    return sorted(timing.spans, key=lambda s: -s.seconds)[:count]


def waits(timing: Timing) -> dict[str, float]:
    """The seconds that each node waited at gates."""
    found: dict[str, float] = {}
    for one in timing.passed:
        found[one.node] = found.get(one.node, 0.0) + one.seconds
    return found


def data(timing: Timing) -> dict[str, Any]:
    """The timing as JSON values."""
    path = critical_path(timing)
    length = path_seconds(path)
    return {
        "command": timing.command,
        "began": timing.began,
        "seconds": round(timing.seconds, 3),
        "outcome": timing.outcome,
        "steps": timing.steps,
        "nodes": {
            node: {
                "state": timing.states.get(node, "cut off"),
                "phases": {name: round(s, 3) for (n, name), s in timing.phases.items() if n == node},
                "waited": round(waits(timing).get(node, 0.0), 3),
                "error": timing.errors.get(node),
            }
            for node in timing.nodes
        },
        "critical_path": [
            {"node": s.node, "step": s.name, "start": round(s.start, 3), "seconds": round(s.seconds, 3)} for s in path
        ],
        "critical_seconds": round(length, 3),
        "ratio": round(timing.seconds / length, 3) if length else None,
    }


# --- a picture

_COLOURS = {
    "observe": "#9aa5b1", "prep": "#7c9a5e", "install": "#3f7cac", "registry": "#7e6bb0", "master": "#c8553d",
    "network": "#2a9d8f", "join": "#d9922b", "addons": "#a23b72", "reset": "#6b6b6b",
}  # fmt: skip
WIDTH, ROW, LEFT, TOP = 1000, 26, 90, 28


def html(timing: Timing, title: str) -> str:
    """A self-contained page without scripts and requests; it opens offline."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    path = critical_path(timing)
    length = path_seconds(path)
    total = max([timing.seconds, *(s.end for s in timing.spans)], default=1.0) or 1.0
    scale = (WIDTH - LEFT - 10) / total
    rows = {node: index for index, node in enumerate(timing.nodes)}
    bars = [
        {
            "x": LEFT + s.start * scale, "y": TOP + rows[s.node] * ROW + 4, "width": max(1.5, s.seconds * scale), "height": ROW - 8,
            "fill": _COLOURS.get(s.phase, "#888") if s.ok else "#d00000", "critical": s in path, "label": f"{s.node} {s.name}: {s.seconds:.1f} s",
        }
        for s in timing.spans
    ]  # fmt: skip
    stood = [
        {
            "x": LEFT + max(0.0, p.at - p.seconds) * scale,
            "y": TOP + rows[p.node] * ROW + ROW / 2,
            "to": LEFT + p.at * scale,
            "label": f"{p.node} waits for {p.gate}: {p.seconds:.1f} s",
        }
        for p in timing.passed
        if p.seconds > SLACK and p.node in rows
    ]
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 1e9) if total / s <= 12)
    ticks = [{"x": LEFT + n * step * scale, "text": f"{n * step:g} s"} for n in range(int(total / step) + 1)]
    phases = [name for name in EVERY if any(p == name for _, p in timing.phases)]
    return environment.get_template("timing.html.j2").render(
        title=title, timing=timing, bars=bars, stood=stood, ticks=ticks, rows=rows, path=path, length=length, total=timing.seconds,
        ratio=timing.seconds / length if length else None, width=WIDTH, height=TOP + len(rows) * ROW + 6, row=ROW, top=TOP, left=LEFT,
        colours={p: _COLOURS[p] for p in ("observe", *phases) if p in _COLOURS}, phases=phases, slowest=slowest(timing, 8), waits=waits(timing),
    )  # fmt: skip
