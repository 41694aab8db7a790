"""The table of ports (digest E4) and the rules made from it."""

from __future__ import annotations

import pytest

from fabfile.tables import ports
from fabfile.tables.ports import ADMIN, TABLE, TCP, UDP, required
from making import environment


def seen(env: object) -> set[tuple[str, str]]:
    return {(r.protocol, r.ports) for r in required(env)}  # type: ignore[arg-type]


def test_every_port_of_the_manual_is_in_the_table() -> None:
    """E4: TCP 9898, TCP 6443, TCP 30000-32767, UDP 8285 and 8472."""
    listed = {(r.protocol, r.ports) for r in TABLE if r.manual}
    assert listed >= {(TCP, "9898"), (TCP, "6443"), (TCP, "30000-32767"), (UDP, "8285"), (UDP, "8472")}


def test_a_cluster_of_today_needs_neither_discovery_nor_the_udp_backend() -> None:
    assert not {(TCP, "9898"), (UDP, "8285"), (TCP, "10255")} & seen(environment())
    assert (UDP, "8472") in seen(environment())


def test_the_manuals_release_needs_them() -> None:
    assert {
        (TCP, "9898"),
        (UDP, "8285"),
        (UDP, "8472"),
        (TCP, "6443"),
        (TCP, "31447"),
        (TCP, "30315"),
        (TCP, "30000-32767"),
    } <= seen(environment(kubernetes="1.5"))


def test_ports_come_from_the_settings() -> None:
    env = environment(api_port="8443", dashboard_port="31000", influxdb_port="31001")
    assert {(TCP, "8443"), (TCP, "31000"), (TCP, "31001")} <= seen(env)
    assert (TCP, "6443") not in seen(env)


def test_without_a_dashboard_its_port_stays_closed() -> None:
    assert (TCP, "31447") not in seen(environment(dashboard="none"))


def test_without_workers_only_the_operator_gets_access() -> None:
    assert {r.source for r in required(environment(workers=0))} == {ADMIN}


@pytest.mark.parametrize("kubernetes", ["1.36.4", "1.5"])
def test_a_rule_concerns_pairs_of_nodes_by_role_and_never_a_node_itself(kubernetes: str) -> None:
    env = environment(kubernetes=kubernetes)
    control, worker = env.control_plane, env.workers[0]
    vxlan = next(r for r in required(env) if r.protocol == UDP and r.first == 8472)
    kubelet = next(r for r in required(env) if r.first == 10250)
    assert vxlan.concerns(control, worker) and vxlan.concerns(worker, control) and not vxlan.concerns(worker, worker)
    assert kubelet.concerns(control, worker) and not kubelet.concerns(worker, control)


def test_the_readme_table_names_the_release_and_the_setting() -> None:
    table = ports.table()
    assert "| workers | control plane | TCP 9898 | API: discovery, for kubeadm join | 1.5 |" in table
    assert "(`API_PORT`)" in table
    assert "1.5" in table
