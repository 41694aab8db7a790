"""What we apply: valid YAML, stamped, on the manual's ports, with pinned images."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from fabfile.facts import NodeFacts
from fabfile.inventory import Environment
from fabfile.manifests import LABELS, NAMES, STAMP, Manifest, applied, manifest
from making import context, control_plane, environment


def made(name: str, env: Environment | None = None) -> Manifest:
    env = env or environment()
    return manifest(name, context(env, control_plane(env)))


def documents(name: str, env: Environment | None = None) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(made(name, env).text))


def one(name: str, kind: str, env: Environment | None = None) -> dict[str, Any]:
    return next(d for d in documents(name, env) if d["kind"] == kind)


@pytest.mark.parametrize("name", NAMES)
def test_every_document_is_whole_and_carries_our_label(name: str) -> None:
    for document in documents(name):
        assert document["apiVersion"]
        assert document["kind"]
        assert document["metadata"]["name"]
        assert document["metadata"]["labels"].items() >= LABELS.items()
        if document["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding"):
            assert document["metadata"]["namespace"] in ("kube-flannel", "kube-system", "monitoring")


@pytest.mark.parametrize("name", NAMES)
def test_workloads_and_their_pods_carry_the_stamp(name: str) -> None:
    wanted = made(name)
    workloads = [d for d in documents(name) if d["kind"] in ("Deployment", "DaemonSet")]
    assert wanted.workload in {w["metadata"]["name"] for w in workloads}
    for workload in workloads:
        assert workload["metadata"]["annotations"][STAMP] == wanted.stamp
        assert workload["spec"]["template"]["metadata"]["annotations"][STAMP] == wanted.stamp
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_pinned(name: str) -> None:
    for document in documents(name):
        spec = document.get("spec", {}).get("template", {}).get("spec", {})
        for container in (*spec.get("containers", []), *spec.get("initContainers", [])):
            assert container["image"].rsplit(":", 1)[1] not in ("", "latest")


def test_flannels_network_is_the_pod_cidr_on_vxlan() -> None:
    env = environment(pod_cidr="10.45.0.0/16")
    network = json.loads(one("flannel", "ConfigMap", env)["data"]["net-conf.json"])
    assert network["Network"] == "10.45.0.0/16"
    assert network["Backend"] == {"Type": "vxlan"}


def test_flannel_takes_the_interface_that_has_the_nodes_address() -> None:
    container = one("flannel", "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    assert "--iface=$(NODE_IP)" in container["args"], "--node-ip, which is the private address; reachability would choose lo on the control plane"
    assert {"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}} in container["env"]


@pytest.mark.parametrize(("name", "setting", "port"), [("monitoring", "influxdb_port", 30315), ("headlamp", "dashboard_port", 31447), ("kube-web-view", "dashboard_port", 31447)])
def test_node_ports_are_the_manuals_and_can_be_others(name: str, setting: str, port: int) -> None:
    assert [p["nodePort"] for p in one(name, "Service")["spec"]["ports"]] == [port]
    assert [p["nodePort"] for p in one(name, "Service", environment(**{setting: "32000"}))["spec"]["ports"]] == [32000]


@pytest.mark.parametrize("name", NAMES)
def test_services_reach_their_pods(name: str) -> None:
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in documents(name) if d["kind"] in ("Deployment", "DaemonSet")]
    for service in (d for d in documents(name) if d["kind"] == "Service"):
        assert any(service["spec"]["selector"].items() <= found.items() for found in labels)


def test_telegraf_writes_to_the_database_k8s_and_reads_every_nodes_kubelet() -> None:
    config = one("monitoring", "ConfigMap")["data"]["telegraf.conf"]
    assert 'database = "k8s"' in config
    assert ":10250" in config
    tolerations = one("monitoring", "DaemonSet")["spec"]["template"]["spec"]["tolerations"]
    assert any(t["key"] == "node-role.kubernetes.io/control-plane" for t in tolerations)


def test_influxdbs_data_are_in_a_folder_of_the_control_plane() -> None:
    pod = one("monitoring", "Deployment")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"node-role.kubernetes.io/control-plane": ""}
    assert [t["key"] for t in pod["tolerations"]] == ["node-role.kubernetes.io/control-plane"]
    (rule,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["labelSelector"]["matchLabels"] == {"app": "monitoring-influxdb"}, "two of them never have the folder open"
    assert pod["volumes"] == [{"name": "data", "hostPath": {"path": "/var/lib/kubefab/influxdb", "type": "Directory"}}]


@pytest.mark.parametrize("name", ["headlamp", "kube-web-view"])
def test_a_cluster_without_workers_runs_its_pods_on_the_control_plane(name: str) -> None:
    assert "tolerations" in one(name, "Deployment", environment(workers=0))["spec"]["template"]["spec"]
    assert "tolerations" not in one(name, "Deployment", environment(workers=1))["spec"]["template"]["spec"]


def test_the_stamp_changes_with_what_is_applied_and_only_then() -> None:
    assert made("flannel").stamp == made("flannel").stamp
    assert made("flannel").stamp != made("flannel", environment(pod_cidr="10.45.0.0/16")).stamp
    assert made("flannel").stamp == made("flannel", environment(influxdb_port="32000")).stamp


def test_applied_means_this_very_text() -> None:
    wanted = made("flannel")

    def seen(name: str, stamp: str | None) -> NodeFacts:
        annotations = {} if stamp is None else {STAMP: stamp}
        return replace(NodeFacts(), objects=({"metadata": {"name": name, "annotations": annotations}}, {"metadata": {"name": "x"}}))

    assert applied(wanted, seen("kube-flannel-ds", wanted.stamp))
    assert not applied(wanted, seen("kube-flannel-ds", "0" * 16))
    assert not applied(wanted, seen("kube-flannel-ds", None))
    assert not applied(wanted, seen("other", wanted.stamp))
    assert not applied(wanted, NodeFacts())


def test_applying_twice_changes_nothing() -> None:
    step = made("flannel").step("network.flannel", "apply flannel")
    assert step.commands == ("kubectl apply --server-side --force-conflicts -f /var/lib/kubefab/manifests/flannel.yaml",)
    assert step.files[0].content == made("flannel").text
