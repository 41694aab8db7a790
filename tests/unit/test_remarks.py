"""What the status says of nodes that the cluster has and hosts.env lacks: the line, and the commands of each way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabfile.inventory import Environment
from fabfile.views.remarks import remarks
from making import api_node, control_plane, environment, member

ENV = environment(1)  # its control plane is behind NAT, its worker is not
NAT = replace(ENV, workers=tuple(replace(node, host="198.51.100.7") for node in ENV.workers))


@pytest.mark.parametrize(
    ("env", "address", "line"),
    [
        (ENV, "10.0.0.9", "TEST_WORKER_2='10.0.0.9 name=db'"),
        (NAT, "10.0.0.9", "TEST_WORKER_2='ADDRESS private=10.0.0.9 name=db'"),
        (ENV, "db.internal", "TEST_WORKER_2='ADDRESS name=db'"),
        (ENV, "$(reboot)", "TEST_WORKER_2='ADDRESS name=db'"),
    ],
)
@pytest.mark.parametrize("ready", [True, False])
def test_a_node_that_hosts_env_lacks_has_its_line_and_its_ways_out(
    env: Environment, address: str, line: str, ready: bool
) -> None:
    control = control_plane(env)
    control = replace(control, nodes=(*control.nodes, api_node("db", ready, address)))
    (remark,) = [one for one in remarks(env, {"cp1": control, "w1": member(env)}) if not one.listed]
    assert (remark.node, remark.ready) == ("db", ready)
    assert f"with a line there ({line}), `inv cluster.bootstrap --env test` keeps it" in remark.text
    assert "`inv cluster.remove --node db --env test` takes it off" in remark.text
    assert ("--gone" in remark.text) == (not ready), "a node that is Ready is not given up"
