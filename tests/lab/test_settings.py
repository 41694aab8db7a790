"""Settings are edited under a living cluster: one bootstrap brings them to every node, one kubelet after the other, and nothing else restarts.

One story: each round over three kubelets costs most of a minute.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fabfile.recipes.kubeadm import merged
from lab_bed import Lab

CONFIG = "/var/lib/kubelet/config.yaml"


def edits(lab: Lab) -> dict[str, str]:
    settings = lab.environment.settings
    kubelet = merged(settings.kubelet_config, {"maxPods": 77, "syncFrequency": "90s"})
    proxy = merged(settings.kube_proxy_config, {"conntrack": {"udpTimeout": "125s"}})
    return {
        "KUBEFAB_LAB_KUBELET_CONFIG": json.dumps(kubelet),
        "KUBEFAB_LAB_KUBE_PROXY_CONFIG": json.dumps(proxy),
        "KUBEFAB_LAB_DASHBOARD_PORT": "31555",
        "KUBEFAB_LAB_RETENTION": "90d",
        "KUBEFAB_LAB_RETENTION_SHORTEN": "yes",
    }


def configured(lab: Lab) -> dict[str, Any]:
    """What each kubelet itself says that it runs with."""
    return {
        name: json.loads(lab.kubectl(f"get --raw /api/v1/nodes/{host}/proxy/configz"))["kubeletconfig"]
        for name, host in lab.hosts.items()
    }


def restarts(lab: Lab) -> set[tuple[str, str, int]]:
    """The containers of all pods but kube-proxy's and the dashboard's, each with how often it was restarted."""
    pods = json.loads(lab.kubectl("get pods -A -o json"))["items"]
    return {
        (pod["metadata"]["name"], one["name"], one["restartCount"])
        for pod in pods
        for one in pod["status"]["containerStatuses"]
        if not pod["metadata"]["name"].startswith(("kube-proxy", "kube-web-view"))
    }


def in_turn(lab: Lab) -> list[str]:
    """The nodes in the order in which their kubelets took it. None began before the one before it was proved."""
    order: list[str] = []
    under_way = ""
    for event in lab.steps():
        step, node = event.get("step", "").partition(".")[2], event.get("node", "")
        if event["event"] == "start" and step == "kubelet-restart":
            assert not under_way, f"{node} began while {under_way} was not proved"
            under_way = node
            order.append(node)
        if event["event"] == "end" and step == "kubelet-taken":
            assert under_way == node
            under_way = ""
    assert not under_way
    return order


def test_edits_reach_every_node_and_go_again(healthy: Lab) -> None:
    lab, changed = healthy, edits(healthy)
    line = "sed 's/^    kind: KubeletConfiguration/&\\n    registryBurst: 11/'"
    lab.kubectl(f"-n kube-system get configmap kubelet-config -o yaml | {line} | kubectl replace -f -")
    assert "nothing to do" in lab.bootstrap().output, (
        "a field that somebody changed by hand, and hosts.env does not name"
    )
    for name in lab.names:  # as an earlier kubefab left them
        lab.sh(name, "rm -f /var/lib/kubefab/followed-*")
    assert "kubelet-config in the cluster has registryBurst 11" in lab.bootstrap().output
    assert "nothing to do" in lab.bootstrap().output, "it is said once, and stays"
    before = restarts(lab)
    planned = lab.run("inv", "cluster.plan", "--observe", "--check", "--env", "lab", expect=3, **changed).output
    for word in ("maxPods (default) → 77", "udpTimeout", "addons.dashboard", "addons.retention", "w2 join"):
        assert word in planned, planned

    lab.bootstrap(**changed)
    order = in_turn(lab)
    assert order[0] == "cp1" and set(order) == set(lab.names)
    for name, says in configured(lab).items():
        assert (says["maxPods"], says["syncFrequency"], says["registryBurst"]) == (77, "1m30s", 11), name
    assert restarts(lab) == before, "the pods run on"
    held = lab.kubectl("-n kube-system get configmap kube-proxy -o jsonpath='{.data.config\\.conf}'")
    assert "udpTimeout: 125s" in held and "maxPerCore: 0" in held, held
    status = json.loads(lab.kubectl("-n kube-system get daemonset kube-proxy -o json"))["status"]
    assert status["updatedNumberScheduled"] == status["numberAvailable"] == len(lab.names)
    assert lab.get(f"http://{lab.control_plane.host}:31555/")
    policies = lab.influxdb("SHOW RETENTION POLICIES ON k8s")["series"][0]["values"]
    assert ["default", "2160h0m0s"] in [row[:2] for row in policies]
    assert "nothing to do" in lab.bootstrap(**changed).output
    lab.run("inv", "cluster.plan", "--observe", "--check", "--env", "lab", **changed)

    refused = lab.bootstrap(expect=1, **changed, KUBEFAB_LAB_SERVICE_CIDR="10.112.0.0/12").output
    assert "SERVICE_CIDR 10.96.0.0/12" in refused and "10.112.0.0/12" in refused
    assert not [event for event in lab.steps() if event["event"] == "start"], "nothing is touched on any node"

    put_back(lab, changed)
    counted(lab)

    lab.bootstrap()
    for name, says in configured(lab).items():
        assert (says["maxPods"], says["syncFrequency"], says["registryBurst"]) == (110, "1m0s", 11), name
        assert says["cpuManagerPolicy"] == "none", name
        assert "maxPods" not in lab.sh(name, f"cat {CONFIG}")
    assert "SchedulingDisabled" not in lab.kubectl("get nodes")
    assert "nothing to do" in lab.bootstrap().output


def put_back(lab: Lab, changed: dict[str, str]) -> None:
    """A configuration that the kubelet refuses: the first node gets the one of before again, and no other gets it."""
    wrong = json.dumps(merged(json.loads(changed["KUBEFAB_LAB_KUBELET_CONFIG"]), {"maxPods": -7}))
    said = lab.bootstrap(expect=1, **{**changed, "KUBEFAB_LAB_KUBELET_CONFIG": wrong}).output
    assert "put back" in said and "maxPods" in said, said
    begun = [e["node"] for e in lab.steps() if e["event"] == "start" and e["step"].endswith(".kubelet-restart")]
    assert begun == ["cp1"]
    assert all(lab.ready().values())
    for name in lab.names:
        assert re.findall("maxPods: (.*)", lab.sh(name, f"cat {CONFIG}")) == ["77"], name


def counted(lab: Lab) -> None:
    """A policy that counts CPUs empties each node first. In the same run the edits go again."""
    policy = {"cpuManagerPolicy": "static", "reservedSystemCPUs": "0"}
    config = json.dumps(merged(lab.environment.settings.kubelet_config, policy))
    lab.bootstrap(KUBEFAB_LAB_KUBELET_CONFIG=config, KUBEFAB_LAB_RETENTION_SHORTEN="yes")
    assert set(in_turn(lab)) == set(lab.names)
    for name, says in configured(lab).items():
        assert (says["cpuManagerPolicy"], says["maxPods"]) == ("static", 110), name
        assert '"policyName":"static"' in lab.sh(name, "cat /var/lib/kubelet/cpu_manager_state")
    assert "SchedulingDisabled" not in lab.kubectl("get nodes")
    assert "udpTimeout: 125s" not in lab.kubectl("-n kube-system get configmap kube-proxy -o yaml")
