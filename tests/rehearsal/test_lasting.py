"""A setting whose change is refused is edited under a living cluster: nothing changes, every command says so, and each remedy works."""

from __future__ import annotations

from fabfile import phases
from fabfile.views.plan import plan
from fabfile.views.status import BROKEN, status
from rehearsal_bed import Bed

# an edit, what the refusal says of the cluster, and what it says that keeps it
EDITS = {
    "REHEARSAL_POD_CIDR=10.55.0.0/16": ("POD_CIDR 10.44.0.0/16", "POD_CIDR=10.44.0.0/16"),
    "REHEARSAL_SERVICE_CIDR=10.112.0.0/12": ("SERVICE_CIDR 10.96.0.0/12", "SERVICE_CIDR=10.96.0.0/12"),
    "REHEARSAL_DNS_DOMAIN=corp.local": ("DNS_DOMAIN cluster.local", "DNS_DOMAIN=cluster.local"),
    "REHEARSAL_API_PORT=443": ("API_PORT 6443", "API_PORT=6443"),
    "REHEARSAL_KUBERNETES=1.37": ("runs Kubernetes 1.36.4 in a cluster", "KUBERNETES=1.36.4"),
    "REHEARSAL_KUBERNETES=1.36.1": ("runs Kubernetes 1.36.4 in a cluster", "KUBERNETES=1.36.4"),
    "REHEARSAL_RETENTION=3d": ("InfluxDB keeps metrics for ever", "RETENTION=0d"),
}


def test_a_changed_setting_is_refused_before_anything_is_touched_and_restoring_it_helps(bed: Bed) -> None:
    bed.healthy()
    for line, (cluster, back) in EDITS.items():
        bed.edit(line)
        # w3 is a new machine, on which every phase has something to do
        for chosen, on in ((phases.BOOTSTRAP, "all"), ([phases.PREP], "w3")):
            refused = bed.run(chosen, on=(on,), workers=3)
            assert set(refused.states.values()) == {"failed"}, (line, on, refused.recorder.lines)
            assert {script for _, script in refused.simulation.ran} == {"observe"}
            for error in refused.failed.values():
                assert cluster in error.message and line.partition("=")[2] in error.message
                assert back in error.remedy
        bed.edit(f"REHEARSAL_{back}")
        assert bed.run(on=("cp1", "w1", "w2")).result.steps == 0


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
