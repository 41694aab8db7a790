"""Doctor and verify as a whole, on simulated machines: each of their faults is reported by its code; without faults nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import rehearsal
from fabfile.run.observer import Observer, looking
from fabfile.views.doctor import ERROR, Doctor, Report, at_a_glance
from fabfile.views.verify import FAILED, OK, Check, Verifier
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed


@contextmanager
def opened(bed: Bed, *faults: str, workers: int | None = None) -> Iterator[tuple[Observer, Simulation]]:
    with (
        rehearsal.running(bed.environment, faults=faults, workers=workers) as simulation,
        looking(simulation.environment, clock=simulation.clock) as observer,
    ):
        yield observer, simulation


def examine(bed: Bed, *faults: str, workers: int | None = None) -> Report:
    with opened(bed, *faults, workers=workers) as (observer, _):
        nodes = observer.environment.nodes
        return Doctor(observer.environment, observer.group).examine(nodes, observer.survey(nodes))


def prove(bed: Bed, *faults: str) -> dict[str, Check]:
    with opened(bed, *faults) as (observer, simulation):
        clock = simulation.clock(observer.environment.control_plane.name)
        return {check.name: check for check in Verifier(observer.environment, observer.group, clock=clock).run()}


def codes(report: Report, severity: str = ERROR) -> set[tuple[str, tuple[str, ...]]]:
    return {(f.code, f.nodes) for f in report.findings if f.severity == severity}


def test_fresh_machines_and_a_healthy_cluster_are_both_fine(bed: Bed) -> None:
    fresh = examine(bed)
    assert fresh.findings == ()
    assert {r.state for r in fresh.results} == {"open"}
    bed.bootstrap()
    running = examine(bed)
    assert running.healthy, running.findings
    assert {r.state for r in running.results} == {"open"}


@pytest.mark.parametrize(
    ("fault", "code", "nodes"),
    [
        ("w2:udp-blocked", "KF-NET-UDP8472", ("w2",)),
        ("w2:clock-skew=-3600", "KF-TIME-SKEW", ("w2",)),
        ("w2:duplicate-machine-id", "KF-ID-MACHINE", ("w1", "w2")),
        ("w2:duplicate-hostname", "KF-ID-HOSTNAME", ("w1", "w2")),
        ("w2:unsupported-os", "KF-OS-UNSUPPORTED", ("w2",)),
        ("w2:disk-full", "KF-DISK-FREE", ("w2",)),
        ("w2:host-down", "KF-SSH-UNREACHABLE", ("w2",)),
        ("w2:stale-cni0", "KF-OLD-LEFTOVERS", ("w2",)),
        ("w2:packages-down", "KF-SRC-PACKAGES", ("w2",)),
    ],
)
def test_each_fault_has_its_code(bed: Bed, fault: str, code: str, nodes: tuple[str, ...]) -> None:
    report = examine(bed, fault)
    assert (code, nodes) in codes(report)
    assert not report.healthy
    assert {f.code for f in report.findings if f.severity == ERROR} == {code}, "one cause, one error"
    assert all(f.remedy for f in report.findings if f.severity == ERROR)


def test_many_nodes_are_sampled_and_each_is_tested_both_ways(bed: Bed) -> None:
    report = examine(bed, "w7:udp-blocked", workers=40)
    assert codes(report) == {("KF-NET-UDP8472", ("w7",))}
    for way in ({r.source for r in report.results}, {r.target for r in report.results}):
        assert way == set(report.nodes)
    assert len(report.results) < 41 * 40


def test_verify_on_a_healthy_cluster(bed: Bed) -> None:
    bed.healthy()
    checks = prove(bed)
    assert not [c for c in checks.values() if c.state == FAILED]
    assert checks["pod to pod"].detail.startswith("9 of 9")


def test_a_wrong_mtu_is_an_error_of_verify_doctor_and_status_alike(bed: Bed) -> None:
    """Everything is Ready and every small packet passes."""
    bed.bootstrap("w2:wrong-mtu")
    checks = prove(bed)
    assert {name for name, check in checks.items() if check.state == FAILED} == {"large packets"}
    assert "w2→" in checks["large packets"].detail and "all of them concern w2" in checks["large packets"].likely
    with opened(bed) as (observer, _):
        nodes = observer.environment.nodes
        seen = observer.survey(nodes)
        glance = at_a_glance(observer.environment, seen)
        report = Doctor(observer.environment, observer.group).examine(nodes, seen)
    assert [(f.code, f.nodes) for f in glance] == [("KF-FLN-MTU", ("w2",))]
    assert {code for code, _ in codes(report)} == {"KF-FLN-MTU", "KF-NET-PMTU"}


def test_verify_finds_what_status_cannot_see(bed: Bed) -> None:
    bed.healthy()
    checks = prove(bed, "w2:udp-blocked")
    assert checks["nodes"].state == OK
    assert "all of them concern w2" in checks["pod to pod"].likely
    assert checks["cleaned up"].state == OK
