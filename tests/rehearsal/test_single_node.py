"""A cluster of one machine takes ordinary pods; a worker that comes later takes them over; the setting decides where it is written."""

from __future__ import annotations

from fabfile.inventory.labels import RESERVED
from rehearsal_bed import Bed


def tainted(bed: Bed) -> bool:
    (node,) = (n for n in bed.facts()["cp1"].nodes if n["metadata"]["name"] == "cp1")
    return RESERVED.data() in node["spec"].get("taints", [])


def test_one_machine_is_a_cluster_and_a_worker_takes_its_pods_over(bed: Bed) -> None:
    bed.edit("REHEARSAL_SIMULATED_WORKERS=0")
    first = bed.bootstrap()
    assert first.states == {"cp1": "done"} and not tainted(bed)
    assert bed.bootstrap().result.steps == 0
    proof = bed.typed("inv cluster.verify")
    assert proof.returncode == 0, proof.stdout + proof.stderr

    for lines, taint in (
        ("REHEARSAL_SIMULATED_WORKERS=1", True),
        ("REHEARSAL_SIMULATED_WORKERS=1\nREHEARSAL_SCHEDULE_ON_CONTROL_PLANE=yes", False),
        ("REHEARSAL_SIMULATED_WORKERS=1\nREHEARSAL_SCHEDULE_ON_CONTROL_PLANE=no", True),
    ):
        bed.edit(lines)
        planned = bed.typed("inv cluster.plan --observe")
        assert ("ordinary pods" in planned.stdout) and planned.returncode == 0, planned.stdout + planned.stderr
        done = bed.bootstrap()
        assert done.states == {"cp1": "done", "w1": "done"} and tainted(bed) == taint, lines
        assert bed.bootstrap().result.steps == 0, lines
