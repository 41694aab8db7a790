"""KUBELET_CONFIG and KUBE_PROXY_CONFIG are edited under a living cluster: the next bootstrap brings them there, one node after the other."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from test_reset import shop

from fabfile import phases
from fabfile.nodes.facts import API_CERTIFICATE, STATE
from fabfile.run.pipelines import Run
from fabfile.views.plan import plan
from rehearsal import certificates
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed, Outcome

NODES = ("cp1", "w1", "w2")


def ran(outcome: Outcome) -> list[tuple[str, str]]:
    """The changes of a run: where, and which, without observations and looks."""
    looks = ("observe", ".kubelet-alive", ".kube-proxy-ready", ".evidence")
    return [(node, name) for node, name in outcome.simulation.ran if not name.endswith(looks)]


def config(kubelet: Mapping[str, Any] | None = None, proxy: Mapping[str, Any] | None = None) -> str:
    return f"REHEARSAL_KUBELET_CONFIG='{json.dumps(kubelet or {})}'\nREHEARSAL_KUBE_PROXY_CONFIG='{json.dumps(proxy or {})}'"


def kubelets(bed: Bed, name: str) -> list[Any]:
    return [facts.kubelet_config.get(name) for facts in bed.facts().values()]


def done(bed: Bed) -> Outcome:
    outcome = bed.bootstrap()
    assert set(outcome.states.values()) == {"done"}, outcome.recorder.lines
    return outcome


def as_an_earlier_release(simulation: Simulation, run: Run) -> None:
    """No notes on the nodes; and somebody changed a field by hand that hosts.env names nowhere."""
    for host in simulation.hosts.values():
        for component in ("kubelet", "kube-proxy"):
            host.remove(f"{STATE}/followed-{component}")
    held = simulation.cluster.objects["ConfigMap/kube-system/kube-proxy"]
    held["data"] = {"config.conf": "kind: KubeProxyConfiguration\nmode: ''\nbindAddress: 10.9.9.9\n"}


KUBELET = ["kubelet-restart", "kubelet-taken"]
PROXY = [("cp1", f"master.{name}") for name in ("kube-proxy", "kube-proxy-restart", "kube-proxy-taken")]


def turns(outcome: Outcome) -> list[str]:
    """The nodes in the order in which their kubelets took it; each node's steps are beside each other."""
    steps = [(node, name.partition(".")[2]) for node, name in ran(outcome) if name.partition(".")[2] in KUBELET]
    pairs = [steps[at : at + 2] for at in range(0, len(steps), 2)]
    assert all([name for _, name in pair] == KUBELET and pair[0][0] == pair[1][0] for pair in pairs), steps
    return [pair[0][0] for pair in pairs]


def test_what_the_file_says_reaches_every_kubelet_and_kube_proxy_and_goes_again(bed: Bed) -> None:
    bed.edit(config({"maxPods": 60}))
    bed.bootstrap()
    assert kubelets(bed, "maxPods") == [60, 60, 60]
    as_before = bed.run(hook=as_an_earlier_release)
    notes = [("cp1", "master.kube-proxy-noted"), *((node, "x.kubelet-noted") for node in NODES)]
    assert sorted((node, re.sub("^.*?[.]kubelet", "x.kubelet", name)) for node, name in ran(as_before)) == sorted(
        notes
    ), "nothing of it is different; from now on it is noted"
    (said,) = [line for line in as_before.recorder.lines if "cannot be known" in line and line.startswith("cp1: ")]
    assert "kube-proxy in the cluster has bindAddress" in said and "10.9.9.9" in said and "maxPods" not in said
    assert done(bed).result.steps == 0, "it is said once"

    bed.edit(config({"maxPods": 50, "featureGates": {"X": True}, "syncFrequency": "90s"}, {"mode": "nftables"}))
    facts = bed.facts()
    changed = done(bed)
    environment = changed.simulation.environment
    planned = [
        (one.node, action.id)
        for one in plan(environment, phases.BOOTSTRAP, environment.nodes, facts)
        for action in one.actions
    ]
    assert turns(changed) in (["cp1", "w1", "w2"], ["cp1", "w2", "w1"])
    assert [step for step in ran(changed) if "proxy" in step[1]] == PROXY
    assert set(ran(changed)) <= set(planned)
    assert kubelets(bed, "maxPods") == [50, 50, 50] and kubelets(bed, "syncFrequency") == ["1m30s"] * 3
    assert bed.facts()["cp1"].components["kube-proxy"].config == {
        "kind": "KubeProxyConfiguration", "mode": "nftables", "bindAddress": "10.9.9.9",
    }  # fmt: skip
    assert done(bed).result.steps == 0

    bed.edit(config({"featureGates": {"X": True}}))
    done(bed)
    assert kubelets(bed, "maxPods") == [None] * 3 and kubelets(bed, "featureGates") == [{"X": True}] * 3
    assert bed.facts()["cp1"].components["kube-proxy"].config == {
        "kind": "KubeProxyConfiguration",
        "bindAddress": "10.9.9.9",
    }
    assert done(bed).result.steps == 0


def test_a_configuration_that_the_kubelet_refuses_stops_at_the_first_node_and_is_put_back(bed: Bed) -> None:
    bed.healthy()
    bed.edit(config({"maxPods": -1}))
    refused = bed.bootstrap()
    assert set(refused.failed) == {"cp1"} and refused.blocked == {"w1", "w2"}
    error = refused.failed["cp1"]
    assert "maxPods" in error.output and "put back" in error.message
    facts = bed.facts()
    assert all(one.unit("kubelet").active and "maxPods" not in one.kubelet_config for one in facts.values())
    bed.edit(config())
    done(bed)
    assert "maxPods" not in bed.facts()["cp1"].components["kubelet"].config
    assert done(bed).result.steps == 0


def test_a_run_that_died_between_file_and_proof_is_gone_on_with(bed: Bed) -> None:
    bed.edit(config({"maxPods": 50}, {"mode": "nftables"}))
    bed.bootstrap()
    for node, mark in (("w1", "kubelet-due"), ("cp1", "kube-proxy-due")):
        assert bed.typed_on(node, f"touch {STATE}/{mark}").returncode == 0
    again = done(bed)
    assert ran(again) == [*PROXY[1:], *(("w1", f"join.{name}") for name in KUBELET)]
    assert done(bed).result.steps == 0


def test_a_name_that_the_apis_certificate_lacks_is_added_also_by_a_run_that_goes_on(bed: Bed) -> None:
    bed.healthy()

    def unnamed(simulation: Simulation, run: Run) -> None:
        certificates.issue(simulation.hosts["cp1"], "apiserver", time.time() - 60, ["kubernetes", "10.9.9.9"])

    added = bed.run(hook=unnamed)
    assert set(added.states.values()) == {"done"}, added.recorder.lines
    names = ["certificate", "kube-apiserver.restart", "kube-apiserver.healthy", "named"]
    seen = [name.removeprefix("master.") for node, name in added.simulation.ran if name.startswith("master.")]
    assert list(dict.fromkeys(seen)) == names, "by renew's own steps, and nothing else"
    control = added.simulation.environment.control_plane
    assert {control.outside, control.address, "10.9.9.9"} <= set(bed.facts()["cp1"].certificates[API_CERTIFICATE].names)
    assert done(bed).result.steps == 0
    assert bed.typed_on("cp1", f"touch {STATE}/api-certificate-due").returncode == 0
    assert [name for _, name in ran(done(bed)) if not name.endswith("healthy")] == [
        f"master.{names[1]}",
        "master.named",
    ]
    assert done(bed).result.steps == 0


POLICY = {"cpuManagerPolicy": "static", "reservedSystemCPUs": "0"}
FILES = ("/var/lib/kubelet/cpu_manager_state", "/var/lib/kubelet/memory_manager_state")


def counting(simulation: Simulation, run: Run) -> None:
    """The kubelets have given CPUs to pods."""
    for host in simulation.hosts.values():
        for path in FILES:
            host.write(path, "{}")


def test_a_policy_that_counts_cpus_empties_each_node_first_and_the_node_takes_pods_again(bed: Bed) -> None:
    bed.healthy()
    bed.edit(config(POLICY))
    taken = bed.run(hook=counting)
    assert set(taken.states.values()) == {"done"}, taken.recorder.lines
    for node, phase in (("cp1", "master"), ("w1", "join"), ("w2", "join")):
        mine = [name.partition(".")[2] for at, name in taken.simulation.ran if name.startswith(f"{phase}.")]
        order = ["cordon", "drain", "volumes", "kubelet-restart", "kubelet-alive", "uncordon", "kubelet-taken"]
        assert [name for name in dict.fromkeys(mine) if name in order] == order, node
    assert not any(host.exists(path) for host in taken.simulation.hosts.values() for path in FILES)
    assert not any(node.get("spec", {}).get("unschedulable") for node in bed.facts()["cp1"].nodes)
    assert done(bed).result.steps == 0


def test_pods_that_stay_keep_the_kubelet_as_it_is(bed: Bed) -> None:
    bed.healthy()
    name = shop(bed, minimum=1)
    bed.edit(config(POLICY))
    stays = bed.run(hook=counting)
    assert set(stays.states.values()) == {"failed"}
    assert {script for _, script in stays.simulation.ran} == {"observe", "workload"}, "nothing is touched on any node"
    error = stays.failed[name]
    assert (
        f"{name}: pod shop/web-" in error.message
        and "PodDisruptionBudget web-pdb allows no disruption" in error.message
    )
    assert not [step for node, step in stays.simulation.ran if node == name and "kubelet-restart" in step]
    facts = bed.facts()
    assert not any(node.get("spec", {}).get("unschedulable") for node in facts["cp1"].nodes)
    assert facts[name].kubelet_config.get("cpuManagerPolicy") is None
    # the option that the remedy names, on a node that a person cordoned: it stays that person's
    (consent,) = re.findall(r"--force-pods \S+(?=;)", error.remedy)
    cordon = f"export KUBECONFIG=/etc/kubernetes/admin.conf; kubectl cordon {facts[name].hostname}"
    assert bed.typed_on("cp1", cordon).returncode == 0
    done = bed.typed(f"inv cluster.bootstrap {consent}")
    if done.returncode:  # the pod in its place is on the other worker, whose turn came later: it is named as well
        assert "is deleted all the same with --force-pods NAMESPACE/NAME" in done.stdout, done.stdout
        (pod,) = set(re.findall(r"pod (shop/web-\S+) stays", done.stdout))
        done = bed.typed(f"inv cluster.bootstrap --force-pods {pod}")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = bed.facts()
    assert facts[name].kubelet_config.get("cpuManagerPolicy") == "static"
    held = [one["metadata"]["name"] for one in facts["cp1"].nodes if one.get("spec", {}).get("unschedulable")]
    assert held == [facts[name].hostname]
