"""One machine as a cluster on real nodes: ordinary pods run on it, the proof passes, and a worker that comes later takes new pods."""

from __future__ import annotations

import json
from pathlib import Path

from lab_bed import Lab

TAINT = "node-role.kubernetes.io/control-plane"


def taints(lab: Lab) -> list[str]:
    node = json.loads(lab.kubectl("get node $cp1 -o json"))
    return [one["key"] for one in node["spec"].get("taints", [])]


def test_one_machine_is_a_cluster_and_a_worker_that_comes_later_gets_the_new_pods(lab: Lab, tmp_path: Path) -> None:
    lab.reset("--keep-images")  # conftest puts it after a test that ends with one
    folder = tmp_path / "kubefab" / "lab"
    folder.mkdir(parents=True, mode=0o700)
    lines = (lab.environment.state / "hosts.env").read_text().splitlines()
    (folder / "hosts.env").touch(mode=0o600)
    (folder / "hosts.env").write_text("\n".join(line for line in lines if not line.startswith("LAB_WORKER_")) + "\n")
    (folder / "known_hosts").write_bytes((lab.environment.state / "known_hosts").read_bytes())
    state = {"XDG_STATE_HOME": str(tmp_path)}
    try:
        assert "ordinary pods on the control plane" in lab.run("inv", "cluster.plan", "--env", "lab", **state).output
        lab.bootstrap(**state)
        assert TAINT not in taints(lab)
        assert "nothing to do" in lab.bootstrap(**state).output
        lab.run("inv", "cluster.verify", "--env", "lab", **state)
        image = lab.environment.settings.probe_image
        lab.kubectl(f"create deployment ordinary --image={image} -- sleep 600")
        lab.kubectl("rollout status deployment ordinary --timeout=180s")

        lab.bootstrap()
        assert TAINT in taints(lab) and lab.ready() == dict.fromkeys(lab.names, True)
        assert lab.kubectl("get pods -l app=ordinary -o jsonpath='{.items[*].spec.nodeName}'") == lab.hosts["cp1"], (
            "it stays"
        )
        lab.kubectl("scale deployment ordinary --replicas=3")
        lab.kubectl("rollout status deployment ordinary --timeout=180s")
        where = lab.kubectl("get pods -l app=ordinary -o jsonpath='{.items[*].spec.nodeName}'").split()
        assert where.count(lab.hosts["cp1"]) == 1, where
        lab.bootstrap(KUBEFAB_LAB_SCHEDULE_ON_CONTROL_PLANE="yes")
        assert TAINT not in taints(lab)
        assert "nothing to do" in lab.bootstrap(KUBEFAB_LAB_SCHEDULE_ON_CONTROL_PLANE="yes").output
        lab.bootstrap(KUBEFAB_LAB_SCHEDULE_ON_CONTROL_PLANE="no")
        assert TAINT in taints(lab)
    finally:
        lab.kubectl("delete deployment ordinary --ignore-not-found --grace-period=0 --wait=false", check=False)
    assert "nothing to do" in lab.bootstrap().output, "no is what a file with workers that says nothing means"
