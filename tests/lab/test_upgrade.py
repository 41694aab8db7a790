"""To the next minor release on real nodes, while a service is asked from outside: killed in each phase, and a worker's power cut."""

from __future__ import annotations

import pytest
from upgrade_bed import cordoned, proved, serving, shown

from fabfile.recipes.packages import Apt
from lab import nodes as machines
from lab.versions import CONTAINERD_PACKAGES, DEFAULT_KUBERNETES, KNOWN_PATCHES
from lab_bed import RECONNECT, Lab

OLD = DEFAULT_KUBERNETES
NEW = dict(zip(KNOWN_PATCHES, list(KNOWN_PATCHES.values())[1:], strict=False))[OLD.rpartition(".")[0]]
UPGRADE = ("inv", "cluster.upgrade", "--env", "lab", "--to", NEW, "--no-backup")
# SIGKILL when a node is at that step, one after another. What was sent to a node goes on there meanwhile; the next run goes on from what it sees.
KILLS = (("cp1", "plane.applied"), ("cp1", "kubelet.packages"), ("w1", "kubelet.drain"), ("w1", "kubelet.restart"))

BEGUN = "journalctl -u kubefab-upgrade -o cat --no-pager | grep -c '^Started kubefab-upgrade'"


def test_to_the_next_minor_release_with_kills_and_a_power_cut(lab: Lab, request: pytest.FixtureRequest) -> None:
    with serving(lab, f"{OLD},{NEW}", request.config):
        lab.bootstrap()
        for name in ("cp1", "w1"):  # by the line that is printed as the way back
            lab.sh(name, f"{Apt().runtime_back(CONTAINERD_PACKAGES[0])} && systemctl restart containerd")
        lab.run("inv", "cluster.upgrade", "--env", "lab", "--to", NEW, "--plan", expect=3)
        begun = lab.sh("cp1", BEGUN, check=False)
        with lab.asked() as probe:
            for node, step in KILLS:
                lab.kill_when(step, node=node, argv=UPGRADE)
                if step == "kubelet.drain":
                    assert cordoned(lab) == [node]
            process = lab.start(*UPGRADE, **RECONNECT)
            lab.until_step(process, "kubelet.packages", node="w2")
            machines.kill("w2")
            done = lab.end(process)
            machines.start("w2")
            assert done.code == 1 and "w2" in done.output and "how far each node is" in done.output, str(done)
            assert cordoned(lab) == ["w2"]
            stopped = lab.bootstrap(expect=1)
            assert f"`inv cluster.upgrade --env lab --to {NEW}`" in stopped.output, str(stopped)
            done = lab.run(*UPGRADE, timeout=1800)
            assert "how far each node is" not in done.output and f"set KUBERNETES={NEW}" in done.output, str(done)
        shown(probe, request.config)
        # A question fails when three nodes, one after another, refuse it or are silent for a second: no pod is there. Without a failure the
        # longest gap is such seconds and how busy this machine is: it is printed, and no reason to fail.
        assert not probe.failures and probe.count > 100, str(probe)
        assert len(probe.answered_by) > 2, "the pods have moved"
        assert lab.sh("cp1", BEGUN, check=False) == f"{int(begun) + 1}", (
            "kubeadm goes on without us, and the next run waits for it"
        )
        installed = {lab.sh(name, "dpkg-query -W -f '${Version}' containerd.io") for name in lab.names}
        assert installed == {CONTAINERD_PACKAGES[1]}, "containerd follows while a node is drained"
        proved(lab, NEW)
