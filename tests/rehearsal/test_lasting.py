"""A lasting setting is edited under a living cluster: nothing changes, every command reports it, and each printed remedy works."""

from __future__ import annotations

import pytest

from fabfile import phases
from fabfile.views.plan import plan
from fabfile.views.status import BROKEN, status
from rehearsal_bed import Bed

EDITS = {
    "REHEARSAL_POD_CIDR=10.55.0.0/16": ("POD_CIDR 10.44.0.0/16", "POD_CIDR=10.44.0.0/16"),
    "REHEARSAL_SERVICE_CIDR=10.112.0.0/12": ("SERVICE_CIDR 10.96.0.0/12", "SERVICE_CIDR=10.96.0.0/12"),
    "REHEARSAL_DNS_DOMAIN=corp.local": ("DNS_DOMAIN cluster.local", "DNS_DOMAIN=cluster.local"),
    "REHEARSAL_API_PORT=443": ("API_PORT 6443", "API_PORT=6443"),
}


@pytest.mark.parametrize("line", EDITS)
def test_a_changed_lasting_setting_is_refused_and_restoring_it_helps(bed: Bed, line: str) -> None:
    bed.healthy()
    bed.edit(line)
    refused = bed.bootstrap()
    assert set(refused.states.values()) == {"failed"}
    assert {script for _, script in refused.simulation.ran} == {"observe"}
    for error in refused.failed.values():
        assert EDITS[line][0] in error.message and line.partition("=")[2] in error.message
        assert f"set {EDITS[line][1]} again" in error.remedy
    for phase in (phases.NETWORK, phases.JOIN, phases.ADDONS):
        alone = bed.run([phase])
        assert {script for _, script in alone.simulation.ran} == {"observe"}
        assert not any(result.steps for result in alone.result.nodes.values())
    bed.edit(f"REHEARSAL_{EDITS[line][1]}")
    assert bed.bootstrap().result.steps == 0


def test_status_plan_and_doctor_report_it(bed: Bed) -> None:
    bed.healthy()
    bed.edit("REHEARSAL_POD_CIDR=10.55.0.0/16")
    facts = bed.facts()
    assert {cell.state for row in status(bed.environment, facts) for cell in row.cells} == {BROKEN}
    stops = [
        action
        for planned in plan(bed.environment, phases.BOOTSTRAP, bed.environment.nodes, facts)
        for action in planned.actions
    ]
    assert stops and all("10.44.0.0/16" in getattr(action, "reason", "") for action in stops)
    report = bed.examined()
    found = [finding for finding in report.findings if finding.code == "KF-SET-LASTING"]
    assert [finding.nodes for finding in found] == [("cp1",)] and not report.healthy


def test_a_new_cluster_can_use_the_new_value(bed: Bed) -> None:
    bed.healthy()
    bed.edit("REHEARSAL_POD_CIDR=10.55.0.0/16")
    assert [line.split()[1] for line in bed.follow(bed.bootstrap())] == ["cluster.reset", "cluster.bootstrap"]
    assert str(bed.facts()["cp1"].made.pod_cidrs[0]) == "10.55.0.0/16"


def test_a_failed_init_is_repeated_with_the_new_value(bed: Bed) -> None:
    assert "cp1" in bed.bootstrap("cp1:init-hangs").failed
    bed.edit("REHEARSAL_POD_CIDR=10.55.0.0/16")
    assert set(bed.bootstrap().states.values()) == {"done"}
