"""On a real cluster, visitors of the dashboard and of InfluxDB, and our own pods, can do no more than they need."""

from __future__ import annotations

import base64
import json

import pytest

from lab_bed import Lab

WORD = "planted-in-a-secret"
# The dashboard puts this text into an API path without escaping it (kube_web/web.py, 21.2.0).
HOSTILE = (
    "namespaces/kube-system/secrets/planted",
    "namespaces/kube-system%2Fsecrets%2Fplanted",
    "nodes/..%2Fnamespaces%2Fkube-system%2Fsecrets%2Fplanted",
    "nodes/{worker}%2Fproxy%2Fconfigz",
)
ACCOUNTS = ("kube-system:kube-web-view", "monitoring:telegraf", "kube-flannel:flannel")
NO = (
    "get secrets", "list secrets", "get nodes --subresource=proxy", "create pods --subresource=exec", "get pods --subresource=exec",
    "get pods --subresource=attach", "get pods --subresource=portforward", "get services --subresource=proxy", "get pods --subresource=proxy",
    "create serviceaccounts --subresource=token", "impersonate serviceaccounts", "escalate clusterroles", "bind clusterroles", "create pods",
)  # fmt: skip


@pytest.fixture(scope="module")
def planted(lab: Lab) -> Lab:
    lab.make_healthy()
    lab.kubectl(
        f"-n kube-system create secret generic planted --from-literal=word={WORD} --dry-run=client -o yaml | kubectl apply -f -"
    )
    return lab


@pytest.mark.parametrize("path", HOSTILE)
def test_no_address_of_the_dashboard_gives_a_secret_or_a_kubelets_configuration(planted: Lab, path: str) -> None:
    place = f"http://{planted.control_plane.host}:31447/clusters/local"
    assert "coredns" in planted.get(f"{place}/namespaces/kube-system/pods"), "it shows what it may"
    assert planted.hosts["w1"] in planted.get(f"{place}/nodes")
    said = planted.get(f"{place}/{path.format(worker=planted.hosts['w1'])}?download=yaml")
    assert WORD not in said and base64.b64encode(WORD.encode()).decode() not in said
    assert "kubeletconfig" not in said and "apiVersion" not in said
    assert "403" in said or "orbidden" in said or "cannot" in said, said


@pytest.mark.parametrize("account", ACCOUNTS)
def test_the_api_server_refuses_what_our_accounts_must_not_do(planted: Lab, account: str) -> None:
    asked = "; ".join(f"kubectl auth can-i {what} -A --as=system:serviceaccount:{account} 2>/dev/null" for what in NO)
    assert set(planted.sh(planted.control_plane.name, asked, check=False).split()) == {"no"}


def test_our_namespaces_refuse_pods_that_are_not_restricted(planted: Lab) -> None:
    image = planted.environment.settings.probe_image
    refused = planted.kubectl(f"-n monitoring run x --image={image} --dry-run=server 2>&1", check=False)
    assert 'violates PodSecurity "restricted' in refused


def test_nothing_of_ours_runs_as_root_but_flannel(planted: Lab) -> None:
    for name in planted.names:
        rows = planted.sh(name, "ps -eo uid=,comm= | grep -E ' (influxd|telegraf|python3.11)$'").splitlines()
        assert rows and not [row for row in rows if row.split()[0] == "0"], f"{name}: {rows}"


def test_influxdb_requires_a_login_and_telegraf_only_writes(planted: Lab) -> None:
    place = f"http://{planted.control_plane.host}:30315"
    for path in ("query?q=SHOW+DATABASES", "query?q=CREATE+USER+x+WITH+PASSWORD+%27y%27+WITH+ALL+PRIVILEGES"):
        assert "unable to parse authentication credentials" in planted.get(f"{place}/{path}")
    assert planted.influxdb("SHOW USERS")["series"][0]["values"] == [["kubefab", True], ["telegraf", False]]
    assert planted.influxdb("SHOW GRANTS FOR telegraf")["series"][0]["values"] == [["k8s", "WRITE"]]
    password = planted.influxdb_login.split(":")[1]
    shown = "".join(text for text in planted.outputs if '"Login"' not in text) + "".join(
        path.read_text() for path in planted.journals.glob("*.jsonl")
    )
    assert password not in shown, "only --reveal shows it"
    arguments = "".join(
        planted.sh(name, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", check=False) for name in planted.names
    )
    assert "influxd" in arguments and password not in arguments


def test_a_cluster_without_a_login_gets_one_and_keeps_its_metrics(planted: Lab) -> None:
    oldest = "SELECT first(cpu_usage_nanocores) FROM kubernetes_node"
    before = planted.influxdb(oldest)
    planted.bootstrap(KUBEFAB_INFLUXDB_LOGIN="no")
    assert "databases" in planted.get(f"http://{planted.control_plane.host}:30315/query?q=SHOW+DATABASES")
    done = planted.bootstrap()
    assert planted.influxdb(oldest) == before
    assert "asks for a login from now on" in done.output or "addons.monitoring" in {
        e.get("step") for e in planted.steps()
    }
    verified = {
        check["check"]: check
        for check in json.loads(planted.run("inv", "cluster.verify", "--env", "lab", "--json").output)["checks"]
    }
    assert verified["InfluxDB"]["state"] == verified["metrics"]["state"] == "ok"


def test_a_namespace_of_others_is_not_adopted(planted: Lab) -> None:
    planted.kubectl("label namespace monitoring app.kubernetes.io/managed-by-")
    planted.kubectl("-n monitoring annotate deploy/monitoring-influxdb kubefab.dev/digest=0 --overwrite")
    try:
        refused = planted.bootstrap(expect=1)
        assert "not made by kubefab" in refused.output and "Namespace" in refused.output
    finally:
        planted.kubectl("label namespace monitoring app.kubernetes.io/managed-by=kubefab")
    assert planted.bootstrap().code == 0
