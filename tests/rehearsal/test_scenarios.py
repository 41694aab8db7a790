"""The shared scenarios on simulated nodes; tests/lab/test_scenarios.py runs them on real ones."""

from __future__ import annotations

import pytest

from fabfile.context import Choices
from fabfile.phases import RESET
from rehearsal_bed import Bed
from scenarios import SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_on_simulated_nodes(bed: Bed, scenario: Scenario) -> None:
    bed.healthy()
    off = bed.run([RESET], on=["w2"], choices=Choices(purge=scenario.purge, whole_cluster=False))
    assert off.states == {"w2": "done"}
    outcome = bed.bootstrap(scenario.fault)
    results = outcome.result.nodes
    assert {name: r.phase for name, r in results.items() if r.state != "done"} == (
        {"w2": scenario.phase} if scenario.phase else {}
    )
    assert outcome.result.exit_code == (1 if scenario.phase else 0)
    assert scenario.says in "\n".join(outcome.recorder.lines)
    if scenario.reset:
        assert bed.reset(on=["w2"], foreign=["w2"]).states == {"w2": "done"}
    assert set(bed.bootstrap().states.values()) == {"done"}
    assert bed.bootstrap().result.steps == 0
