"""Timings from journals: spans, the critical path through gates, killed runs, the page."""

from __future__ import annotations

import re
from typing import Any

from fabfile.views import timing as report
from fabfile.views.timing import Timing, critical_path, path_seconds, read_run


def event(kind: str, t: float, node: str = "", **more: Any) -> dict[str, Any]:
    return {"at": 1000.0 + t, "event": kind, **({"node": node, "t": 500.0 + t} if node else {}), **more}


# w1 prepares while cp1 initialises, waits at the gate until 30 s, and joins; w2 is ready early and waits longer.
STORY = [
    event("run", 0, command="inv cluster.bootstrap"),
    event("observed", 1, "cp1", seconds=1.0),
    event("observed", 1, "w1", seconds=1.0),
    event("end", 10, "cp1", step="install.packages", seconds=9.0),
    event("end", 12, "w1", step="install.packages", seconds=11.0),
    event("phase", 10, "cp1", phase="install", steps=1, seconds=9.0),
    event("phase", 12, "w1", phase="install", steps=1, seconds=11.0),
    event("end", 30, "cp1", step="master.init", seconds=20.0),
    event("phase", 30, "cp1", phase="master", steps=1, seconds=20.0),
    event("passed", 30, "w1", gate="master", seconds=18.0),
    event("end", 42, "w1", step="join.join", seconds=12.0),
    event("phase", 42, "w1", phase="join", steps=1, seconds=12.0),
    event("node", 30, "cp1", state="done", steps=2, error=None),
    event("node", 42, "w1", state="done", steps=2, error=None),
    event("end", 43, seconds=43.0, exit=0, steps=4),
]


def test_the_critical_path_goes_through_the_gate() -> None:
    timing = read_run(STORY)
    assert [(s.node, s.name) for s in critical_path(timing)] == [
        ("cp1", "observe"),
        ("cp1", "install.packages"),
        ("cp1", "master.init"),
        ("w1", "join.join"),
    ]
    assert path_seconds(critical_path(timing)) == 42.0
    assert report.data(timing)["ratio"] == round(43 / 42, 3)


def test_times_count_from_the_runs_beginning_on_the_nodes_own_clock() -> None:
    timing = read_run(STORY)
    assert min(s.start for s in timing.spans) == 0
    assert max(s.end for s in timing.spans) == 42
    assert report.waits(timing) == {"w1": 18.0}
    assert timing.phases["cp1", "master"] == 20.0


def test_without_a_wait_the_path_stays_on_its_node() -> None:
    early = [e if e["event"] != "passed" else {**e, "seconds": 0.0} for e in STORY]
    assert {s.node for s in critical_path(read_run(early))} == {"w1"}


def test_a_killed_runs_journal_is_read_as_far_as_it_goes() -> None:
    timing = read_run(STORY[:8])
    assert timing.outcome == "cut off"
    assert timing.seconds == 30.0
    assert timing.unfinished == ["cp1", "w1"]


def test_a_journal_of_an_older_version_has_no_node_clock() -> None:
    old = [{k: v for k, v in e.items() if k != "t"} for e in STORY]
    assert path_seconds(critical_path(read_run(old))) == 42.0


def test_failures_are_named_with_where_they_happened() -> None:
    events = [
        *STORY[:12],
        event("failed", 50, "w1", step="join.ready", seconds=8.0, error="w1: gave up"),
        event("node", 50, "w1", state="failed", steps=2, step="join.ready", error="w1: gave up"),
        event("node", 30, "cp1", state="done"),
        event("end", 51, seconds=51.0, exit=1, steps=4),
    ]
    timing = read_run(events)
    assert (timing.outcome, timing.unfinished) == ("failed", ["w1"])
    assert [s.name for s in timing.spans if not s.ok] == ["join.ready"]


def test_an_empty_journal() -> None:
    timing = read_run([])
    assert critical_path(timing) == []
    assert report.data(timing)["ratio"] is None
    assert "<svg" in report.html(Timing(), "empty")


def test_an_interrupted_run() -> None:
    assert (
        read_run([event("run", 0, command="x"), event("end", 1, seconds=1.0, exit=130, steps=0)]).outcome
        == "interrupted"
    )


def test_the_page_opens_offline_and_escapes_what_it_quotes() -> None:
    events = [*STORY[:-1], event("node", 42, "w1", state="failed", error="w1: <script>alert(1)</script>"), STORY[-1]]
    page = report.html(read_run(events), "aws & friends")
    assert not re.search(r"(src|href)=|https?://|@import|<script", page)
    assert "aws &amp; friends" in page
    assert "&lt;script&gt;" in page
    assert page.count("<rect") == 6
    assert page.count('class="critical"') == 4
    assert "cp1 master.init: 20.0 s" in page
