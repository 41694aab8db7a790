"""`inv cluster.sizing` (digest E3)."""

from __future__ import annotations

import pytest

from fabfile import inventory
from fabfile.errors import UsageError
from fabfile.tables.sizing import BEYOND, CONTROL_PLANE, GAP, WORKER, advise, as_data, as_text


@pytest.mark.parametrize(
    ("nodes", "master", "worker"),
    [
        (1, "m3.medium", "t2.micro"), (4, "m3.medium", "t2.micro"), (5, "m3.medium", "t2.micro"), (6, "m3.large", "t2.micro"),
        (10, "m3.large", "t2.micro"), (11, "m3.xlarge", "t2.micro"), (49, "m3.xlarge", "t2.micro"), (50, "m3.xlarge", "t2.small"),
        (100, "m3.xlarge", "t2.small"), (101, "m3.2xlarge", "t2.small"), (150, "m3.2xlarge", "t2.small"), (151, "m3.2xlarge", "t2.medium"),
        (501, "c4.8xlarge", "t2.medium"),
    ],
)  # fmt: skip
def test_the_manuals_table(nodes: int, master: str, worker: str) -> None:
    control, other = advise(nodes)
    assert (control.then.name, other.then.name) == (master, worker)


def test_five_nodes_are_a_gap_in_the_manuals_table_and_explained() -> None:
    assert GAP in advise(5)[0].remarks
    assert GAP not in advise(4)[0].remarks + advise(6)[0].remarks


def test_a_size_beyond_the_manual_is_marked() -> None:
    assert BEYOND in advise(101)[0].remarks
    assert BEYOND not in advise(100)[0].remarks


def test_todays_types_are_at_least_as_large_and_enough_for_kubeadm() -> None:
    for size in CONTROL_PLANE:
        assert size.now.cpus >= 2 and size.now.memory >= 2
        assert size.now.memory >= size.then.memory
    for size in WORKER:
        assert size.now.memory >= 2
        assert size.now.cpus >= size.then.cpus


@pytest.mark.parametrize("name", ["aws", "datacenter"])
def test_the_current_size_comes_from_the_inventory(name: str) -> None:
    control, worker = advise(4, inventory.load(name))
    assert (control.used, worker.used) == ("m4.large", "t2.medium")
    assert "the manual's clusters" in advise(4)[0].used


def test_output_formats() -> None:
    text = as_text(5, advise(5))
    assert "m3.medium (1 CPU, 3.75 GiB)" in text and "as of 2026-11" in text and "1700 MiB" in text
    data = as_data(5, advise(5))
    assert data["roles"]["control plane"]["manual"] == {"type": "m3.medium", "cpus": 1, "memory_gib": 3.75}  # type: ignore[index]


def test_no_nodes_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="at least one"):
        advise(-1)
