"""To the next minor release on real nodes, while a service is asked from outside: killed in the control plane's phase, a worker without power.

`KUBEFAB_UPGRADE=1.36.3,1.37.2 pytest tests/lab/test_upgrade.py`: a lab that serves both is brought up, and taken down again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from lab import nodes as machines
from lab_bed import RECONNECT, Lab, inv

RELEASES = os.environ.get("KUBEFAB_UPGRADE", "")
OLD, _, NEW = RELEASES.partition(",")
UPGRADE = ("inv", "cluster.upgrade", "--env", "lab", "--to", NEW, "--no-backup")


@pytest.fixture
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that serves both releases; one that is up is taken down first."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            inv("lab.down")
            inv("lab.up", "--workers", "2", "--kubernetes", RELEASES)
        yield Lab(tmp_path_factory.mktemp("lab"))
    finally:
        with capture.global_and_fixture_disabled():
            inv("lab.down")


def test_to_the_next_minor_release_with_a_kill_and_a_power_cut(released: Lab) -> None:
    lab = released
    lab.bootstrap()
    assert lab.run("inv", "cluster.upgrade", "--env", "lab", "--to", NEW, "--plan", expect=3)
    with lab.asked() as probe:
        lab.kill_when("plane.applied", argv=UPGRADE)
        unit = lab.sh("cp1", "systemctl is-active kubefab-upgrade", check=False)
        assert unit == "active", "kubeadm goes on without us"
        stopped = lab.bootstrap(expect=1)
        assert f"`inv cluster.upgrade --env lab --to {NEW}`" in stopped.output, str(stopped)
        process = lab.start(*UPGRADE, **RECONNECT)
        lab.until_step(process, "kubelet.packages", node="w1")
        machines.kill("w1")
        done = lab.end(process)
        machines.start("w1")
        assert done.code == 1 and "w1" in done.output and "how far each node is" in done.output, str(done)
        cordoned = json.loads(lab.kubectl("get nodes -o json"))["items"]
        names = {host: name for name, host in lab.hosts.items()}
        assert [names[one["metadata"]["name"]] for one in cordoned if one["spec"].get("unschedulable")] == ["w1"]
        done = lab.run(*UPGRADE)
        assert "how far each node is" not in done.output and f"set KUBERNETES={NEW}" in done.output, str(done)
    print(probe)
    assert probe.longest_gap <= 2, str(probe)
    assert len(probe.answered_by) > 2, "the pods have moved"
    versions = lab.kubectl("get nodes -o jsonpath='{.items[*].status.nodeInfo.kubeletVersion}'")
    assert set(versions.split()) == {f"v{NEW}"} and f'"v{NEW}"' in lab.kubectl("get --raw /version")
    assert not lab.kubectl("get nodes -o jsonpath='{.items[*].spec.unschedulable}'")
    hosts = lab.environment.state / "hosts.env"
    hosts.write_text(hosts.read_text().replace(f"LAB_KUBERNETES={OLD}", f"LAB_KUBERNETES={NEW}"))
    assert lab.ready() == dict.fromkeys(lab.names, True)
    lab.run("inv", "cluster.plan", "--check", "--env", "lab")
    lab.run("inv", "cluster.upgrade", "--env", "lab", "--plan")
    lab.run("inv", "cluster.verify", "--env", "lab")
    lab.run("inv", "cluster.doctor", "--env", "lab")
    lab.assert_pod_network()
    lab.kubeadm_specs()
