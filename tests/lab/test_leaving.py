"""Nodes leave and reboot on real machines: what is in the way of a drain is found before any cordon; nothing of ours stays behind.

One story on one cluster, as each bootstrap costs most of a minute. What is looked at comes from kubectl and from the containers.
"""

from __future__ import annotations

import json
from typing import Any

from lab import nodes as machines
from lab_bed import Lab

REMOVE = ("inv", "cluster.remove", "--env", "lab", "--yes", "lab", "--keep-images", "--node")
HELD = """
kubectl create namespace shop
kubectl -n shop create deployment held --image={image} --replicas=0 -- sleep 600
kubectl -n shop patch deployment held -p '{{"spec": {{"template": {{"spec": {{"nodeName": "{node}", "terminationGracePeriodSeconds": 0}}}}}}}}'
kubectl -n shop scale deployment held --replicas=1
kubectl -n shop create poddisruptionbudget held-pdb --selector=app=held --min-available=1
kubectl -n shop run bare --image={image} --overrides='{{"spec": {{"nodeName": "{node}", "terminationGracePeriodSeconds": 0,
  "volumes": [{{"name": "cache", "emptyDir": {{}}}}]}}}}' -- sleep 600
kubectl -n shop rollout status deployment held --timeout=180s
kubectl -n shop wait --for=condition=Ready pod/bare --timeout=180s
"""


def node(lab: Lab, name: str) -> dict[str, Any]:
    return dict(json.loads(lab.kubectl(f"get node {lab.hosts[name]} -o json")))


def cordoned(lab: Lab, name: str) -> tuple[bool, set[str]]:
    """Whether a node takes no pods, and our annotations on it."""
    found = node(lab, name)
    ours = {
        key for key in found["metadata"].get("annotations", {}) if key in ("kubefab.dev/cordoned", "kubefab.dev/reboot")
    }
    return bool(found["spec"].get("unschedulable")), ours


def test_a_node_is_removed_and_another_one_rebooted(healthy: Lab) -> None:
    lab = healthy
    lab.sh("cp1", "set -e\n" + HELD.format(image=lab.environment.settings.probe_image, node=lab.hosts["w2"]))
    try:
        pod = lab.kubectl("-n shop get pods -l app=held -o jsonpath='{.items[*].metadata.name}'")
        refused = lab.run(*REMOVE, "w2", expect=1)
        assert f"pod shop/{pod} stays: PodDisruptionBudget held-pdb allows no disruption" in refused.output, str(
            refused
        )
        assert "pod shop/bare has no controller" in refused.output and "emptyDir cache" in refused.output, "all at once"
        assert cordoned(lab, "w2") == (False, set()) and lab.kubectl(f"-n shop get pod {pod} -o name"), (
            "nothing was touched"
        )
        begun = [event["step"] for event in lab.steps() if event["event"] == "start"]
        assert "reset.cordon" not in begun, begun
        lab.kubectl("-n shop delete deployment/held pdb/held-pdb --timeout=180s")

        done = lab.run(*REMOVE, "w2", "--force-pods", "shop/bare", "--delete-emptydir-data")
        assert "w2" not in lab.ready() and "LAB_WORKER_2 in" in done.output, str(done)
        assert lab.kubectl("-n shop get pods --ignore-not-found -o name") == ""
        assert lab.sh("w2", "ls /etc/kubernetes/*.conf /var/lib/kubefab 2>/dev/null", check=False) == ""
    finally:
        lab.kubectl("delete namespace shop --ignore-not-found --timeout=180s")
    rebooted(lab, "w1")


def rebooted(lab: Lab, name: str) -> None:
    """Reboot a worker with a kill in the middle; the same command goes on, and reboots it once."""
    words = ("inv", "cluster.reboot", "--env", "lab", "--node", name)
    before = life(name)
    process = lab.start(*words)
    lab.until_step(process, "reboot.back")
    lab.eventually(f"{name} goes down", lambda: machines.containers(machines._engine())[name].state == "exited", 240)
    process.kill()
    lab.end(process)
    machines.start(name)
    assert cordoned(lab, name) == (True, {"kubefab.dev/cordoned", "kubefab.dev/reboot"})
    after = life(name)
    assert after != before
    done = lab.run(*words)
    assert life(name) == after, f"not twice\n{done}"
    assert lab.ready()[name] and cordoned(lab, name) == (False, set()), str(done)


def life(name: str) -> str:
    """When a node's first process began."""
    return machines.exec(name, ["stat", "-c", "%Y", "/proc/1"]).stdout.strip()
