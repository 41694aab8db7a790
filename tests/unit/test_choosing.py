"""--limit, --only-failed, --from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabfile import phases
from fabfile.errors import UsageError
from fabfile.run.journal import Journal
from fabfile.views.history import Past, chosen_nodes, past, phases_from, unfinished
from making import environment

ENV = environment()


def _node(name: str, state: str, **more: str) -> dict[str, Any]:
    return {"event": "node", "node": name, "state": state, **more}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([_node("cp1", "done"), _node("w1", "failed"), _node("w2", "blocked")], {"w1", "w2"}),
        ([_node("cp1", "done"), _node("w1", "interrupted"), _node("w2", "done")], {"w1"}),
        ([{"event": "start", "node": "w1"}, _node("cp1", "done"), _node("w2", "done")], {"w1"}),  # killed
        ([_node("cp1", "done"), _node("w1", "done"), _node("w2", "done"), {"event": "end", "exit": 0}], set()),
        ([{"event": "observed", "node": "w1"}, {"event": "plan", "node": None}], {"cp1", "w1", "w2"}),  # killed
        ([], {"cp1", "w1", "w2"}),  # killed before a node answered
    ],
)
def test_who_did_not_finish_in_a_run(events: list[dict[str, Any]], expected: set[str]) -> None:
    assert unfinished([past([{"event": "run", "nodes": ["cp1", "w1", "w2"], "phases": ["prep"]}, *events])]) == expected


@pytest.mark.parametrize("events", [[], [{"event": "run"}, {"event": "end", "exit": 0}], [_node("w1", "failed")]])
def test_a_journal_that_names_no_nodes_counts_for_none(events: list[dict[str, Any]]) -> None:
    assert unfinished([past(events)]) == set()


WHOLE = tuple(phase.name for phase in phases.BOOTSTRAP)
EVERY_NODE = frozenset({"cp1", "w1", "w2"})


def _run(
    *done: str, of: frozenset[str] | set[str] = EVERY_NODE, phases: tuple[str, ...] = WHOLE, **stopped: str
) -> Past:
    """A run that finished on `done`; `stopped` maps nodes to the phase that failed. Nodes in neither were never reached."""
    return Past(frozenset(of), phases, {**{name: "" for name in of if name not in done}, **stopped})


FAILED = _run("cp1", "w1", w2="join")
STORIES = [
    ("the last bootstrap counts", [FAILED, _run("cp1", "w1", "w2")], set()),
    (
        "a run for some nodes leaves the others as they were",
        [_run("cp1", w1="join", w2="join"), _run("w1", of={"w1"})],
        {"w2"},
    ),
    (
        "a phase by itself does not finish what comes after it",
        [FAILED, _run("w2", of={"w2"}, phases=("join",))],
        {"w2"},
    ),
    (
        "phase by phase it is finished too",
        [FAILED, *(_run("w2", of={"w2"}, phases=(name,)) for name in WHOLE[WHOLE.index("join") :])],
        set(),
    ),
    (
        "what came before the phase where it stopped does not count",
        [FAILED, _run("w2", of={"w2"}, phases=("prep",))],
        {"w2"},
    ),
    ("a later phase does not replace it", [FAILED, _run("w2", of={"w2"}, phases=("addons",))], {"w2"}),
    (
        "from the phase where it stopped to the end",
        [FAILED, _run("w2", of={"w2"}, phases=WHOLE[WHOLE.index("join") :])],
        set(),
    ),
    (
        "a phase that fails on a finished node",
        [_run(*EVERY_NODE), _run(of={"w1"}, phases=("join",), w1="join")],
        {"w1"},
    ),
    ("a node that was reset", [FAILED, _run("w2", of={"w2"}, phases=("reset",))], {"w2"}),
    ("a finished node that was reset", [_run(*EVERY_NODE), _run("w1", of={"w1"}, phases=("reset",))], {"w1"}),
    ("a reset that was killed", [_run(*EVERY_NODE), _run(phases=("reset",))], EVERY_NODE),
    ("killed before the first answer", [_run(*EVERY_NODE), _run()], EVERY_NODE),
]


@pytest.mark.parametrize(("runs", "expected"), [story[1:] for story in STORIES], ids=[story[0] for story in STORIES])
def test_only_failed_after_several_runs(runs: list[Past], expected: set[str]) -> None:
    assert unfinished(runs) == expected


def _write(folder: Path, number: int, command: str, *events: dict[str, Any], **about: Any) -> None:
    journal = Journal(folder / "journal", command, **about)
    for event in events:
        journal.write(**event)
    journal.close()
    journal.path.rename(folder / "journal" / f"20260101T00000{number}-1.jsonl")


def test_only_failed_reads_the_journals_since_the_last_complete_bootstrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fabfile.inventory.model.state_folder", lambda name, origin: tmp_path)
    with pytest.raises(UsageError, match="no earlier run"):
        chosen_nodes(ENV, ENV.nodes, only_failed=True)
    about = {"nodes": ["cp1", "w1", "w2"], "phases": WHOLE}
    _write(tmp_path, 0, "inv cluster.bootstrap", _node("cp1", "failed"), **about)
    _write(
        tmp_path,
        1,
        "inv cluster.bootstrap",
        _node("cp1", "done"),
        _node("w1", "failed", phase="join"),
        _node("w2", "done"),
        **about,
    )
    assert [n.name for n in chosen_nodes(ENV, ENV.nodes, only_failed=True)] == ["w1"]
    assert chosen_nodes(ENV, ENV.select(["w2"]), only_failed=True) == ()
    assert chosen_nodes(ENV, ENV.workers) == ENV.workers
    _write(tmp_path, 2, "fab -H w1 reset", _node("w1", "done"), nodes=["w1"], phases=["reset"])
    assert [n.name for n in chosen_nodes(ENV, ENV.nodes, only_failed=True)] == ["w1"], (
        "it was reset as the hint said, and must be set up again"
    )


def test_from() -> None:
    assert phases_from(phases.BOOTSTRAP, "") == phases.BOOTSTRAP
    assert phases_from(phases.BOOTSTRAP, "network") == phases.BOOTSTRAP[phases.BOOTSTRAP.index(phases.NETWORK) :]
    with pytest.raises(UsageError, match="no phase nonsense"):
        phases_from(phases.BOOTSTRAP, "nonsense")
