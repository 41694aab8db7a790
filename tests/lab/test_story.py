"""The whole story on real nodes, in an operator's order.

Chapters share one cluster; each first makes it healthy, so that a failed chapter does not fail the others.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from fabfile.recipes.kubelet import FLAGS
from lab import nodes as machines
from lab_bed import BOOTSTRAP, FLANNEL, METRICS, PROJECT, RECONNECT, TOKEN_FORM, Lab, dirt

SWAP_LINE = "/no/such/swapfile none swap sw 0 0"
SWAP_UNIT = "srv-none.swap"
THEIRS = "/var/lib/containerd/theirs"  # on a disk: the rest of a lab node is in an overlay
NO_HOST_SWAP = len(Path("/proc/swaps").read_text().splitlines()) < 2
SYSCTLS = "sysctl net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables"


@pytest.fixture(scope="session")
def before(lab: Lab) -> dict[str, str]:
    """Each node's sysctls before any step of ours ran there; also adds a swap line to fstab where that is safe."""
    if NO_HOST_SWAP:  # `swapoff -a` in a node would switch off this machine's swap
        lab.sh("w1", f"grep -qxF '{SWAP_LINE}' /etc/fstab || echo '{SWAP_LINE}' >> /etc/fstab")
        lab.sh(
            "w1",
            f"printf '[Swap]\\nWhat=/srv/none\\n[Install]\\nWantedBy=swap.target\\n' > /etc/systemd/system/{SWAP_UNIT}; systemctl enable {SWAP_UNIT}",
        )
    return {name: lab.sh(name, SYSCTLS) for name in lab.names}


# --- 1: from nothing to a working cluster


def test_one_command_makes_a_cluster_from_bare_machines(lab: Lab, before: dict[str, str]) -> None:
    for name in lab.names:
        assert dirt(lab, name) == []
        assert lab.sh(name, "command -v kubeadm containerd kubelet", check=False) == ""
    with lab.watching_processes():
        done = lab.run(*BOOTSTRAP, "--kubeconfig")
    assert "✓ lab: cluster done on" in done.output
    assert lab.ready() == dict.fromkeys(lab.names, True)
    lab.assert_pod_network()
    host = lab.control_plane.host
    for url in (f"https://{host}:6443", f"http://{host}:31447", f"http://{host}:30315"):
        assert url in done.output, "the info card names it"


@pytest.mark.looks
def test_packages_are_pinned_held_and_from_our_repository(healthy: Lab) -> None:
    wanted = healthy.environment.settings.kubernetes
    for name in healthy.names:
        assert set(healthy.sh(name, "apt-mark showhold").split()) == {
            "containerd.io",
            "cri-tools",
            "kubeadm",
            "kubectl",
            "kubelet",
            "kubernetes-cni",
        }
        assert healthy.sh(name, "kubelet --version") == f"Kubernetes v{wanted}"
    shown = re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", healthy.sh("w1", "kubelet --help"), flags=re.M)
    assert set(shown) == FLAGS, "the flags by which prep judges what it finds are those of this kubelet"


@pytest.mark.looks
def test_pods_reach_pods_of_every_other_node_and_names_are_resolved(healthy: Lab) -> None:
    image = healthy.environment.settings.probe_image
    pods = {name: f"story-{name}" for name in healthy.names}
    try:
        for node, pod in pods.items():
            overrides = json.dumps(
                {
                    "spec": {
                        "nodeName": healthy.hosts[node],
                        "terminationGracePeriodSeconds": 0,
                        "tolerations": [{"operator": "Exists"}],
                    }
                }
            )
            healthy.kubectl(
                f"run {pod} --image={image} --restart=Never --overrides='{overrides}' --command -- sleep 600"
            )
        healthy.kubectl("wait --for=condition=Ready --timeout=180s " + " ".join(f"pod/{pod}" for pod in pods.values()))
        items = json.loads(healthy.kubectl("get pods -o json"))["items"]
        address = {p["spec"]["nodeName"]: p["status"]["podIP"] for p in items if p["metadata"]["name"] in pods.values()}
        for pod in pods.values():
            for other in pods:
                healthy.kubectl(f"exec {pod} -- ping -c 1 -W 5 {address[healthy.hosts[other]]}")
            assert "10.96.0.1" in healthy.kubectl(f"exec {pod} -- nslookup kubernetes.default.svc.cluster.local")
            healthy.kubectl(f"exec {pod} -- wget -qO- http://monitoring-influxdb.monitoring:8086/ping")
    finally:
        healthy.kubectl(f"delete pod --now --ignore-not-found {' '.join(pods.values())}")


@pytest.mark.looks
def test_the_node_ports_answer_from_outside_on_every_node(healthy: Lab) -> None:
    for node in healthy.environment.nodes:
        assert "<html" in healthy.get(f"http://{node.host}:31447/clusters").lower()
        healthy.get(f"http://{node.host}:30315/ping")


@pytest.mark.looks
def test_metrics_of_every_node_can_be_read_from_outside(healthy: Lab) -> None:
    found = healthy.influxdb("SELECT last(cpu_usage_nanocores) FROM kubernetes_node GROUP BY node_name")
    assert {s["tags"]["node_name"] for s in found["series"]} == set(healthy.hosts.values())


@pytest.mark.looks
def test_the_retention_policy_is_the_manuals(healthy: Lab) -> None:
    assert kept(healthy) == [("default", "0s")]


def kept(lab: Lab) -> list[tuple[str, str]]:
    """InfluxDB's default policy: its name and its duration."""
    series = lab.influxdb("SHOW RETENTION POLICIES ON k8s")["series"][0]
    policies = [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
    return [(policy["name"], policy["duration"]) for policy in policies if policy["default"]]


@pytest.mark.looks
def test_what_is_applied_is_valid(healthy: Lab) -> None:
    healthy.assert_manifests_valid()


def test_the_kubeconfig_works_from_here(lab: Lab) -> None:
    config = yaml.safe_load(lab.kubeconfig.read_text())
    assert config["current-context"] == "lab"
    assert config["clusters"][0]["cluster"]["server"] == f"https://{lab.control_plane.host}:6443"
    assert lab.kubeconfig.stat().st_mode & 0o777 == 0o600


@pytest.mark.looks
def test_no_join_token_is_left_in_the_cluster(healthy: Lab) -> None:
    assert "bootstrap-token-" not in healthy.kubectl("-n kube-system get secrets -o name")


# --- 2: nothing to do, and reading


@pytest.mark.looks
def test_a_second_bootstrap_changes_nothing_and_says_so(healthy: Lab) -> None:
    generations = "get ds,deploy -A -o jsonpath='{.items[*].metadata.generation}'"
    before = healthy.kubectl(generations)
    done = healthy.bootstrap()
    assert "nothing to do" in done.output
    assert [e for e in healthy.steps() if e["event"] == "start"] == [], "one round of observing and no step"
    assert healthy.kubectl(generations) == before


@pytest.mark.looks
def test_a_plan_of_a_healthy_cluster_is_empty(healthy: Lab) -> None:
    assert "nothing to do" in healthy.run("inv", "cluster.plan", "--env", "lab", "--check").output


@pytest.mark.looks
def test_status_reports_done_everywhere(healthy: Lab) -> None:
    rows = json.loads(healthy.run("inv", "cluster.status", "--env", "lab", "--json").output)
    assert {row["node"] for row in rows} == set(healthy.names)
    for row in rows:
        assert row["ready"] is True
        assert {phase["state"] for phase in row["phases"].values()} == {"done"}


# --- 3: faults


def test_a_lost_cni_file_or_folder_comes_back(healthy: Lab) -> None:
    """The file needs no kubelet to come back; the folder's loss is one that containerd never sees the end of (containerd #11209)."""
    file = "/etc/cni/net.d/10-flannel.conflist"
    healthy.sh(
        "w1",
        f"systemctl stop kubelet; rm {file}; for i in $(seq 1200); do [ -s {file} ] && break; sleep 0.1; done; ls {file}",
    )
    healthy.sh("w1", "systemctl start kubelet; rm -rf /etc/cni/net.d")
    healthy.eventually("w1 is not Ready", lambda: not healthy.ready()["w1"])
    done = healthy.bootstrap(**FLANNEL)
    assert f"w1: the node is Ready: still {healthy.hosts['w1']} NotReady" in done.output
    assert healthy.ready()["w1"]
    healthy.assert_pod_network()


def test_a_lost_flannel_interface_is_restored_by_the_manuals_rule(healthy: Lab) -> None:
    """J3: after the grace time the kubelet is restarted; that does not help a flannel that hangs, so its pod is recreated."""
    healthy.sh(
        "w1", "pkill -STOP -x flanneld && ip link delete flannel.1"
    )  # a running flanneld would restore the link by itself
    started = healthy.sh("w1", "systemctl show -p ActiveEnterTimestampMonotonic kubelet")
    done = healthy.bootstrap(**FLANNEL)
    assert "w1: flannel.1 in 10.44.0.0/16: still no flannel.1 after 5 s; restart the kubelet" in done.output
    assert "recreate flannel's" in done.output
    assert healthy.sh("w1", "systemctl show -p ActiveEnterTimestampMonotonic kubelet") != started
    healthy.assert_pod_network()
    healthy.bootstrap()  # InfluxDB may be among the recreated pods: its policy is then set again
    assert "nothing to do" in healthy.bootstrap().output


def test_a_stopped_kubelet_is_started_again(healthy: Lab) -> None:
    healthy.sh("w2", "systemctl stop kubelet")
    done = healthy.bootstrap()
    assert "nothing to do" not in done.output
    assert healthy.ready() == dict.fromkeys(healthy.names, True)


def test_an_influxdb_that_refuses_is_recreated_and_its_policy_set_again(healthy: Lab) -> None:
    """A3 is repeated in vain (A4); then both kinds of pods are recreated once (A5)."""
    pod = healthy.kubectl("-n monitoring get pods -l app=monitoring-influxdb -o name")
    oldest = "-n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'SELECT first(cpu_usage_nanocores) FROM kubernetes_node'"
    first = healthy.kubectl(oldest)
    assert "kubernetes_node," in first
    other = shlex.quote(
        "SET PASSWORD FOR kubefab = 'other'"
    )  # the pod does not know it, and its replacement sets it again
    healthy.kubectl(f"-n monitoring exec deploy/monitoring-influxdb -- influx -execute {other}")
    done = healthy.bootstrap(**METRICS)
    assert "recreate the influxdb and telegraf pods (A5)" in done.output
    with healthy.looking():
        assert healthy.kubectl("-n monitoring get pods -l app=monitoring-influxdb -o name") != pod
        assert healthy.kubectl(oldest) == first, "the metrics outlive the pod"
        test_the_retention_policy_is_the_manuals(healthy)


def measured(lab: Lab) -> set[str]:
    """The host names of the nodes that InfluxDB has metrics of."""
    asked = "SHOW TAG VALUES FROM kubernetes_node WITH KEY = node_name"
    said = lab.kubectl(
        f"-n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute '{asked}'"
    )
    return {line.rpartition(",")[2] for line in said.splitlines()[1:]}


def test_a_closed_udp_port_is_named(healthy: Lab) -> None:
    """Every node is Ready, but the pods of one node do not reach the others."""
    healthy.kubectl("-n monitoring rollout status deploy/monitoring-influxdb --timeout=180s")
    pods = json.loads(healthy.kubectl("-n monitoring get pods -l app=monitoring-influxdb -o json"))["items"]
    influx = next(p["spec"]["nodeName"] for p in pods if "deletionTimestamp" not in p["metadata"])
    victim = next(
        name for name in healthy.names if healthy.hosts[name] != influx and name != healthy.control_plane.name
    )
    with healthy.firewall(victim, "input udp dport 8472 drop", "output udp dport 8472 drop"):
        healthy.kubectl(
            "-n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -execute 'DROP MEASUREMENT kubernetes_node'"
        )
        others = {host for name, host in healthy.hosts.items() if name != victim}
        healthy.eventually("metrics of the others come", lambda: measured(healthy) == others)
        done = healthy.bootstrap(expect=1, **dict.fromkeys(METRICS, "8"))  # those that come are there already
        assert healthy.ready()[victim], "its kubelet is fine"
        assert f"✗ {victim} · addons.metrics" in done.output
        assert "UDP 8472" in done.output
        assert [e["state"] for e in healthy.steps() if e["event"] == "node" and e["node"] != victim] == ["done"] * (
            len(healthy.names) - 1
        )
    assert healthy.bootstrap().code == 0


def test_a_dead_worker_is_named_and_delays_no_other(healthy: Lab) -> None:
    machines.kill("w2")
    try:
        done = healthy.bootstrap(expect=1)
        assert re.search(r"^w2 +failed", done.output, flags=re.M)
        assert not re.search(r"^(cp1|w1) +failed", done.output, flags=re.M)
    finally:
        machines.start("w2")
    healthy.bootstrap()
    assert healthy.ready() == dict.fromkeys(healthy.names, True)


# --- 4: back to nothing


def test_reset_allows_a_pods_own_mounts_and_stops_at_a_mounted_volume(healthy: Lab) -> None:
    """A ConfigMap and an emptyDir by subPath are bind mounts of the node's disk, just as a foreign hostPath is."""
    mounts = [
        {"name": "config", "mountPath": "/etc/a.ini", "subPath": "a.ini"},
        {"name": "work", "mountPath": "/work", "subPath": "b"},
    ]
    volumes = [
        {"name": "config", "configMap": {"name": "ini"}},
        {"name": "work", "emptyDir": {}},
        {"name": "data", "hostPath": {"path": THEIRS, "type": "DirectoryOrCreate"}},
    ]
    spec = {"nodeName": healthy.hosts["w1"], "terminationGracePeriodSeconds": 0, "volumes": volumes, "containers": [{
        "name": "c", "image": healthy.environment.settings.probe_image, "command": ["sleep", "600"], "volumeMounts": mounts,
    }]}  # fmt: skip
    pods = []
    for name, more in (("own", []), ("data", [{"name": "data", "mountPath": "/data", "subPath": "a"}])):
        pods.append(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": json.loads(json.dumps(spec))}
        )
        pods[-1]["spec"]["containers"][0]["volumeMounts"] += more  # type: ignore[index]
    healthy.kubectl("create configmap ini --from-literal=a.ini=x")
    for pod in pods:
        healthy.sh(healthy.control_plane.name, f"kubectl apply -f - <<'END'\n{json.dumps(pod)}\nEND")
    healthy.kubectl("wait --for=condition=Ready --timeout=180s pod/own pod/data")
    refused = healthy.run("inv", "cluster.reset", "--env", "lab", "--yes", "lab", expect=1)
    assert re.search(r"w1: a volume is mounted .*volume-subpaths/data/c/\d", refused.output)
    assert "no node was touched;" in refused.output
    assert healthy.ready() == dict.fromkeys(healthy.names, True)
    healthy.kubectl("delete pod data --now")
    assert "/volume-subpaths/config/" in healthy.sh("w1", "cat /proc/mounts"), (
        "the next chapter's reset removes this one"
    )
    assert healthy.sh("w1", f"ls {THEIRS}; rm -r {THEIRS}") == "a"


def test_reset_cleans_every_node_and_restores_what_was_there(healthy: Lab, before: dict[str, str]) -> None:
    healthy.sh("w1", "nft add table inet ours && nft 'add chain inet ours keep { type filter hook input priority 0; }'")
    healthy.sh("w1", "iptables -A INPUT -p tcp --dport 4321 -m comment --comment 'the operators own' -j ACCEPT")
    if NO_HOST_SWAP:
        assert healthy.sh("w1", "grep no/such/swapfile /etc/fstab") == f"#kubefab# {SWAP_LINE}"
        assert healthy.sh("w1", f"systemctl is-enabled {SWAP_UNIT}", check=False) == "disabled"
    with healthy.watching_processes():
        done = healthy.reset("--purge")
    assert f"audited: {', '.join(healthy.names)} clean" in done.output
    for name in healthy.names:
        assert dirt(healthy, name) == []
        assert healthy.sh(name, SYSCTLS) == before[name]
        assert healthy.sh(name, "command -v kubeadm containerd kubelet", check=False) == ""
        assert healthy.sh(name, "ls /etc/apt/sources.list.d /etc/apt/keyrings | grep kubefab", check=False) == ""
        assert healthy.sh(name, "apt-mark showhold") == ""
    assert "the operators own" in healthy.sh("w1", "iptables-save"), "rules that are not ours stay"
    healthy.sh(
        "w1",
        "nft delete table inet ours; iptables -D INPUT -p tcp --dport 4321 -m comment --comment 'the operators own' -j ACCEPT",
    )
    if NO_HOST_SWAP:
        assert healthy.sh("w1", "grep no/such/swapfile /etc/fstab") == SWAP_LINE
        assert healthy.sh("w1", f"systemctl is-enabled {SWAP_UNIT}") == "enabled"
    assert "lab" not in healthy.kubeconfig.read_text()
    assert "nothing to do" in healthy.reset().output


# --- 5: killed in the middle of every phase

CUTS = [
    "prep.sysctl", "install.packages", "install.containerd", "registry.canary", "registry.images",
    "master.init", "join.join", "network.flannel", "network.pods", "join.ready", "addons.monitoring", "addons.retention",
]  # fmt: skip
# Waits for what a killed run had begun, and which may be so before the next run looks: then every node is Ready, or InfluxDB has its policy.
MAY_BE_DONE: dict[str, Callable[[Lab], bool]] = {
    "network.pods": lambda lab: all(lab.ready().values()),
    "join.ready": lambda lab: all(lab.ready().values()),
    "addons.retention": lambda lab: kept(lab) == [("default", "0s")],
}


def test_a_bootstrap_killed_in_every_phase_finishes_in_the_end(lab: Lab) -> None:
    """SIGKILL in the middle of each of these steps, one after another on the same nodes; then a run without a kill."""
    lab.reset("--purge")
    lab.killed_through(CUTS, proofs={step: partial(proof, lab) for step, proof in MAY_BE_DONE.items()})
    assert lab.ready() == dict.fromkeys(lab.names, True)
    lab.assert_pod_network()
    assert "nothing to do" in lab.bootstrap().output


# --- 6: a power cut while a node joins; then one node by itself


def test_a_join_interrupted_by_a_power_cut_can_be_resumed(healthy: Lab) -> None:
    healthy.run("fab", "-H", "w2", "reset", "--env", "lab", "--yes", "lab")
    assert "w2" not in healthy.ready(), "w2 left the cluster"
    assert dirt(healthy, "w2") == []
    try:
        done = healthy.kill_when("join.join", lambda process: machines.kill("w2"), node="w2", **RECONNECT)
        assert done.code == 1, str(done)
        assert re.search(r"^w2 +failed", done.output, flags=re.M), str(done)
    finally:
        machines.start("w2")
    healthy.bootstrap()
    assert healthy.ready() == dict.fromkeys(healthy.names, True)
    healthy.assert_pod_network()


# --- 7: the manual's chapters, typed one by one, from a subfolder

CHAPTERS = [
    ("all", "prep"), ("all", "install"), ("all", "registry"), ("master", "init"), ("master", "network"), ("workers", "join"), ("all", "addons"),
]  # fmt: skip


def test_the_manuals_chapters_one_by_one(lab: Lab) -> None:
    lab.reset()
    folder = PROJECT / "tests" / "unit"
    out_of_order = lab.run("fab", "-H", "workers", "join", "--env", "lab", expect=1, folder=folder)
    assert (
        "first `fab -H cp1 prep --env lab install --env lab registry --env lab init --env lab`" in out_of_order.output
    )
    lab.sh("w2", "install -d /etc/cni/net.d; echo '{}' > /etc/cni/net.d/10-calico.conflist")
    refused = lab.run("fab", "-H", "w2", "prep", "--env", "lab", expect=1)
    aside = re.search("`(mkdir .*)`", refused.output)
    assert aside, refused.output
    lab.sh("w2", f"{aside[1]}; rm -r /etc/cni/aside")
    for group, phase in CHAPTERS:
        lab.run("fab", "-H", group, phase, folder=folder, KUBEFAB_ENV="lab")
    assert lab.ready() == dict.fromkeys(lab.names, True)
    lab.assert_pod_network()
    again = lab.run("fab", "-H", lab.control_plane.host, "prep", "--env", "lab", folder=folder)
    assert "nothing to do on 1 node" in again.output


# --- 8: secrets (last: it checks everything above)


def test_no_secret_was_shown_anywhere(lab: Lab) -> None:
    planted = lab.secrets
    assert all(len(secret) > 16 for secret in planted)
    texts = {"output": "\n".join(lab.outputs), "journals": "\n".join(p.read_text() for p in lab.journals.glob("*.jsonl")),
             "command lines": "\n".join(lab.command_lines)}  # fmt: skip
    assert len(lab.command_lines) > 100
    for where, text in texts.items():
        for secret in planted:
            assert secret not in text, f"the registry's password is in the {where}"
        assert TOKEN_FORM.findall(text) == [], f"a join token is in the {where}"
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in lab.journals.glob("*.jsonl"))


def test_no_secret_is_in_a_file_that_others_can_read(lab: Lab) -> None:
    patterns = "\n".join(lab.secrets)
    for name in lab.names:
        found = machines.exec(
            name,
            ["bash", "-c", "cat > /run/patterns; find /etc /run /tmp /var/tmp /var/lib/kubefab /var/lib/kubelet /var/log /root /home -xdev -type f "
             "-perm /077 ! -path /run/patterns -print0 | xargs -0 grep -lFf /run/patterns; rm /run/patterns"],
            stdin=patterns + "\n",
        )  # fmt: skip
        assert found.stdout == "", f"{name}: {found.stdout}"


def test_no_other_user_can_read_the_lab(lab: Lab) -> None:
    mode = subprocess.run(
        ["stat", "-c", "%a", lab.environment.state / "hosts.env"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert mode == "600"
