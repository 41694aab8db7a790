"""--limit, --only-failed, --from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabfile import phases
from fabfile.choosing import chosen_nodes, phases_from, unfinished
from fabfile.errors import UsageError
from fabfile.journal import Journal
from making import environment

ENV = environment()


def _node(name: str, state: str) -> dict[str, Any]:
    return {"event": "node", "node": name, "state": state}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], set()),
        ([_node("cp1", "done"), _node("w1", "failed"), _node("w2", "blocked")], {"w1", "w2"}),
        ([_node("w1", "interrupted")], {"w1"}),
        ([{"event": "start", "node": "w1"}, _node("cp1", "done")], {"w1"}),  # killed
        ([{"event": "observed", "node": "w1"}], {"w1"}),  # killed even earlier
        ([{"event": "observed", "node": "cp1"}, _node("w1", "done"), {"event": "end", "exit": 0}], set()),  # cp1 was only looked at
        ([{"event": "run"}, {"event": "end", "exit": 0}, {"event": "plan", "node": None}], set()),
    ],
)
def test_who_did_not_finish(events: list[dict[str, Any]], expected: set[str]) -> None:
    assert unfinished(events) == expected


def test_only_failed_reads_the_newest_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabfile.inventory.state_folder", lambda name: tmp_path)
    with pytest.raises(UsageError, match="no earlier run"):
        chosen_nodes(ENV, only_failed=True)
    journal = Journal(tmp_path / "journal", "inv cluster.bootstrap")
    for event in (_node("cp1", "done"), _node("w1", "failed"), _node("w2", "done")):
        journal.write(**event)
    journal.close()
    assert [n.name for n in chosen_nodes(ENV, only_failed=True)] == ["w1"]
    assert chosen_nodes(ENV, "w2", only_failed=True) == ()
    assert chosen_nodes(ENV) == ENV.nodes
    assert [n.name for n in chosen_nodes(ENV, "workers")] == ["w1", "w2"]


def test_from() -> None:
    assert phases_from(phases.BOOTSTRAP, "") == phases.BOOTSTRAP
    assert [p.name for p in phases_from(phases.BOOTSTRAP, "network")] == ["network", "join", "addons"]
    with pytest.raises(UsageError, match="no phase nonsense"):
        phases_from(phases.BOOTSTRAP, "nonsense")
