"""The manifests that we apply: valid YAML, stamped, on the manual's ports, with pinned images."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile.inventory import Environment
from fabfile.manifests import LABELS, NAMES, STAMP, Manifest, applied, manifest
from fabfile.nodes.facts import NodeFacts
from fabfile.text import yamls
from fabfile.views.verify import proof
from making import context, control_plane, environment


def made(name: str, env: Environment | None = None) -> Manifest:
    env = env or environment()
    return manifest(name, context(env, control_plane(env)))


def documents(name: str, env: Environment | None = None) -> list[dict[str, Any]]:
    return list(yamls.documents(made(name, env).text))


def one(name: str, kind: str, env: Environment | None = None) -> dict[str, Any]:
    return next(d for d in documents(name, env) if d["kind"] == kind)


@pytest.mark.parametrize("name", NAMES)
def test_every_document_is_complete_and_has_our_label(name: str) -> None:
    for document in documents(name):
        assert document["apiVersion"]
        assert document["kind"]
        assert document["metadata"]["name"]
        assert document["metadata"]["labels"].items() >= LABELS.items()
        if document["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding", "PersistentVolume"):
            assert document["metadata"]["namespace"] in ("kube-flannel", "kube-system", "monitoring")


@pytest.mark.parametrize("name", NAMES)
def test_workloads_and_their_pods_have_the_stamp(name: str) -> None:
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


def test_flannel_uses_the_interface_with_the_nodes_address() -> None:
    container = one("flannel", "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    assert "--iface=$(NODE_IP)" in container["args"], (
        "--node-ip, which is the private address; reachability would choose lo on the control plane"
    )
    assert {"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}} in container["env"]


@pytest.mark.parametrize(
    ("name", "setting", "port"),
    [
        ("monitoring", "influxdb_port", 30315),
        ("headlamp", "dashboard_port", 31447),
        ("kube-web-view", "dashboard_port", 31447),
    ],
)
def test_node_ports_are_the_manuals_and_can_be_others(name: str, setting: str, port: int) -> None:
    assert [p["nodePort"] for p in one(name, "Service")["spec"]["ports"]] == [port]
    assert [p["nodePort"] for p in one(name, "Service", environment(**{setting: "32000"}))["spec"]["ports"]] == [32000]


@pytest.mark.parametrize("name", NAMES)
def test_services_reach_their_pods(name: str) -> None:
    labels = [
        d["spec"]["template"]["metadata"]["labels"] for d in documents(name) if d["kind"] in ("Deployment", "DaemonSet")
    ]
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
    assert rule["labelSelector"]["matchLabels"] == {"app": "monitoring-influxdb"}, (
        "two of them never have the folder open"
    )
    volume, claim = one("monitoring", "PersistentVolume"), one("monitoring", "PersistentVolumeClaim")
    assert {"name": "data", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in pod["volumes"]
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    assert claim["spec"]["storageClassName"] == "", "the cluster's default class is not asked"
    assert volume["spec"]["claimRef"] == {"namespace": "monitoring", "name": claim["metadata"]["name"]}, (
        "no other claim can bind it"
    )
    assert volume["spec"]["local"] == {"path": "/var/lib/kubefab/influxdb"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]


@pytest.mark.parametrize("name", ["headlamp", "kube-web-view"])
def test_a_cluster_without_workers_runs_its_pods_on_the_control_plane(name: str) -> None:
    assert "tolerations" in one(name, "Deployment", environment(workers=0))["spec"]["template"]["spec"]
    assert "tolerations" not in one(name, "Deployment", environment(workers=1))["spec"]["template"]["spec"]


def test_the_stamp_changes_exactly_when_the_manifest_changes() -> None:
    assert made("flannel").stamp == made("flannel").stamp
    assert made("flannel").stamp != made("flannel", environment(pod_cidr="10.45.0.0/16")).stamp
    assert made("flannel").stamp == made("flannel", environment(influxdb_port="32000")).stamp


def test_applied_means_the_identical_manifest() -> None:
    wanted = made("flannel")

    def seen(name: str, stamp: str | None) -> NodeFacts:
        annotations = {} if stamp is None else {STAMP: stamp}
        return replace(
            NodeFacts(), objects=({"metadata": {"name": name, "annotations": annotations}}, {"metadata": {"name": "x"}})
        )

    assert applied(wanted, seen("kube-flannel-ds", wanted.stamp))
    assert not applied(wanted, seen("kube-flannel-ds", "0" * 16))
    assert not applied(wanted, seen("kube-flannel-ds", None))
    assert not applied(wanted, seen("other", wanted.stamp))
    assert not applied(wanted, NodeFacts())


def test_applying_is_server_side_and_changes_only_our_objects() -> None:
    path = "/var/lib/kubefab/manifests/flannel.yaml"
    step = made("flannel").step("network.flannel", "apply flannel")
    others, apply = step.commands
    assert apply == f"kubectl apply --server-side --force-conflicts --validate=false -f {path}"
    assert f"kubectl get -f {path} --ignore-not-found" in others
    assert "kubectl label KIND NAME app.kubernetes.io/managed-by=kubefab" in step.hint
    assert step.files[0].content == made("flannel").text


def test_a_namespace_is_applied_before_its_contents() -> None:
    others, namespace, login, apply = made("monitoring").step("addons.monitoring", "x", before=("LOGIN",)).commands
    assert "custom-columns" in others and login == "LOGIN"
    assert namespace.startswith(
        "sed '/^---$/q' /var/lib/kubefab/manifests/monitoring.yaml | kubectl apply --server-side "
    )
    assert documents("monitoring")[0]["kind"] == "Namespace" and apply.endswith("/monitoring.yaml")


# --- what a pod may do: kubernetes.io "Pod Security Standards", restricted; and rules beyond that

PROBE = list(yamls.documents(proof.manifest("kubefab-verify-1", "busybox")))
ENFORCED = {"kube-flannel": "privileged", "monitoring": "restricted", "kubefab-verify-1": "restricted"}
EVERYTHING = [d for name in NAMES for d in documents(name)] + PROBE
WITHOUT_LOGIN = documents("monitoring", environment(influxdb_login="no"))
PODS = {
    f"{d['metadata']['namespace']}/{d['metadata']['name']}{suffix}": d["spec"]["template"]["spec"]
    for suffix, found in (("", EVERYTHING), (" without a login", WITHOUT_LOGIN))
    for d in found
    if d["kind"] in ("Deployment", "DaemonSet")
}


def test_our_namespaces_set_a_pod_security_level() -> None:
    found = {
        d["metadata"]["name"]: d["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for d in EVERYTHING
        if d["kind"] == "Namespace"
    }
    assert found == ENFORCED


@pytest.mark.parametrize("name", [name for name in PODS if not name.startswith("kube-flannel/")])
def test_pods_are_restricted(name: str) -> None:
    pod = PODS[name]
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod)
    for volume in pod.get("volumes", []):
        (kind,) = set(volume) - {"name"}
        assert kind in (
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        )
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True and context["runAsUser"] > 0 and context["runAsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        own = container["securityContext"]
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port for port in container.get("ports", []))
        assert {*container["resources"]["requests"], *container["resources"]["limits"]} == {"cpu", "memory"}


@pytest.mark.parametrize("name", PODS)
def test_only_pods_that_use_a_token_have_one(name: str) -> None:
    assert PODS[name].get("automountServiceAccountToken", True) is (PODS[name].get("serviceAccountName") is not None)


def test_flannel_has_its_two_capabilities_and_no_more() -> None:
    pod = PODS["kube-flannel/kube-flannel-ds"]
    (plugin,), (daemon,) = pod["initContainers"], pod["containers"]
    assert daemon["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["NET_ADMIN", "NET_RAW", "DAC_OVERRIDE"],
    }
    assert plugin["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]}
    assert not daemon["securityContext"]["privileged"] and not daemon["securityContext"]["allowPrivilegeEscalation"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v} == {
        "/run/flannel",
        "/opt/cni/bin",
        "/etc/cni/net.d",
        "/run/xtables.lock",
    }
    for probe in (daemon["livenessProbe"], daemon["readinessProbe"]):
        assert probe["httpGet"] == {"host": "127.0.0.1", "path": "/healthz", "port": 8471}
    assert {"--healthz-ip=127.0.0.1", "--healthz-port=8471"} <= set(daemon["args"]), (
        "only the kubelet needs to reach it"
    )


# --- InfluxDB's login


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container["env"]}


def secret(user: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": "influxdb-login", "key": user}}


def test_influxdbs_login_is_given_only_to_influxdb_and_telegraf() -> None:
    pod = one("monitoring", "Deployment")["spec"]["template"]["spec"]
    (first,), (server,) = pod["initContainers"], pod["containers"]
    assert variables(server)["INFLUXDB_HTTP_AUTH_ENABLED"] == "true"
    assert (variables(server)["INFLUX_USERNAME"], variables(server)["INFLUX_PASSWORD"]) == (
        "kubefab",
        secret("kubefab"),
    )
    assert (variables(first)["ADMIN"], variables(first)["TELEGRAF"]) == (secret("kubefab"), secret("telegraf"))
    assert variables(first)["INFLUXDB_HTTP_BIND_ADDRESS"].startswith("127.0.0.1:"), (
        "until the admin exists, no other pod can reach it"
    )
    assert variables(first)["INFLUXDB_META_DIR"] == variables(server)["INFLUXDB_META_DIR"]
    telegraf = one("monitoring", "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    assert variables(telegraf)["INFLUXDB_PASSWORD"] == secret("telegraf"), "not the admin's"
    assert 'password = "$INFLUXDB_PASSWORD"' in one("monitoring", "ConfigMap")["data"]["telegraf.conf"]
    assert "Secret" not in {d["kind"] for d in documents("monitoring")}, "it is made on the control plane, once"


def test_no_password_is_an_argument() -> None:
    (first,) = one("monitoring", "Deployment")["spec"]["template"]["spec"]["initContainers"]
    script = first["args"][0]
    passwords = [line for line in script.splitlines() if "PASSWORD" in line]
    assert passwords and all(line.strip().startswith("printf ") and "| influx" in line for line in passwords), (
        "printf is the shell's own"
    )
    assert "-execute" not in script and "-password" not in script


def test_a_secret_without_a_policy_is_enough_for_influxdb(tmp_path: Path) -> None:
    """Those of earlier versions have none: the variable is not there then, and the script ends at one that it uses without a default."""
    (first,) = one("monitoring", "Deployment")["spec"]["template"]["spec"]["initContainers"]
    optional = {
        name
        for name, value in variables(first).items()
        if isinstance(value, dict) and value["secretKeyRef"].get("optional")
    }
    assert optional == {"POLICY"} and first["command"] == ["sh", "-euc"]
    stand_ins = "influxd() { sleep 9; }; influx() { cat >/dev/null; }\n"
    known = {name: "x" for name in variables(first) if name not in optional} | {"HOME": str(tmp_path)}
    for more in ({}, {"POLICY": "DURATION 1h"}):
        done = subprocess.run(
            ["sh", "-euc", stand_ins + first["args"][0]], env={"PATH": os.environ["PATH"], **known, **more}, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_without_a_login_influxdb_is_as_in_the_manual() -> None:
    env = environment(influxdb_login="no")
    text = made("monitoring", env).text
    assert not any(
        word in text for word in ("AUTH_ENABLED", "PASSWORD", "initContainers", "influxdb-login", "username")
    )
    assert made("monitoring", env).stamp != made("monitoring").stamp, (
        "a cluster made with a login is changed by the next bootstrap"
    )


def test_the_network_policy_admits_telegraf_and_outside_traffic() -> None:
    policies = {d["metadata"]["name"]: d["spec"] for d in documents("monitoring") if d["kind"] == "NetworkPolicy"}
    (rule,) = policies["influxdb"]["ingress"]
    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"app": "telegraf"}}},
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.44.0.0/16"]}},
    ]
    assert rule["ports"] == [{"port": 8086, "protocol": "TCP"}]
    assert policies["telegraf"] == {"podSelector": {"matchLabels": {"app": "telegraf"}}, "policyTypes": ["Ingress"]}
