"""Resets of some nodes of a living cluster: budgets are kept, dead kubelets cause no wait, and each printed command is run in that state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rehearsal
from fabfile.context import Choices
from fabfile.phases import RESET
from fabfile.phases.reset import residue
from printed import own
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed

WEB = {"app": "web"}


def deployment(replicas: int) -> dict[str, Any]:
    template = {
        "metadata": {"labels": WEB},
        "spec": {"containers": [{"name": "web", "image": "docker.io/library/nginx:1"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": WEB}, "template": template}
    return {"kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}


def budget(minimum: int) -> dict[str, Any]:
    spec = {"minAvailable": minimum, "selector": {"matchLabels": WEB}}
    return {"kind": "PodDisruptionBudget", "metadata": {"name": "web-pdb", "namespace": "shop"}, "spec": spec}


def changed(bed: Bed, change: Callable[[Simulation], None]) -> None:
    """Another person changes the cluster between two commands."""
    with rehearsal.running(bed.environment) as simulation:
        change(simulation)


def shop(bed: Bed, minimum: int) -> str:
    """Put another person's pod with a budget on one worker; returns the worker."""

    def change(simulation: Simulation) -> None:
        now = max(host.clock for host in simulation.hosts.values())
        simulation.cluster.apply(deployment(1), now)
        simulation.cluster.apply(budget(minimum), now)
        simulation.settling.everything(now + 60)
        for host in simulation.hosts.values():
            host.clock = now + 60
        simulation.settling.everything(now + 60)

    changed(bed, change)
    with rehearsal.running(bed.environment) as simulation:
        return next(
            host.name for host in simulation.hosts.values() for pod in host.pods if pod.labels == WEB and pod.running
        )


def test_a_budget_stops_its_nodes_reset_and_each_printed_remedy_works(bed: Bed) -> None:
    bed.healthy()
    name = shop(bed, minimum=1)
    stopped = bed.reset(on=[name])
    error = stopped.failed[name]
    assert (
        f"node {name} is drained" in error.message
        and "pod shop/web-" in error.message
        and "PodDisruptionBudget web-pdb allows no disruption" in error.message
    )
    facts = bed.facts()
    assert facts["cp1"].node_object(name) and facts[name].joined, "neither its Node nor the machine was touched"
    assert any("web-pdb" in line for line in stopped.recorder.lines), "it shows what it waits for"

    assert not facts["cp1"].node_object(name)["spec"].get("unschedulable"), "our cordon is taken away again"
    (forced,) = own(error.remedy)
    assert "--force-drain" in forced and bed.typed(forced).returncode == 0
    assert residue(bed.facts()[name]) == [] and bed.facts()["cp1"].node_object(name) is None


def test_with_a_second_replica_elsewhere_the_same_command_works(bed: Bed) -> None:
    bed.healthy()
    name = shop(bed, minimum=1)
    assert set(bed.reset(on=[name]).failed) == {name}
    changed(bed, lambda simulation: print(simulation.cluster.apply(budget(0), 0.0)))
    assert bed.reset(on=[name]).states == {name: "done"}


def test_dead_kubelets_are_not_waited_for(bed: Bed) -> None:
    bed.bootstrap(workers=4)
    shop(bed, minimum=1)

    def kill(simulation: Simulation) -> None:
        for name in ("w1", "w2", "w3", "w4"):
            simulation.hosts[name].units["kubelet"].active = False

    changed(bed, kill)
    outcome = bed.reset(on=["w1", "w2", "w3", "w4"])
    assert set(outcome.states.values()) == {"done"}
    assert outcome.result.seconds < 60, "virtual seconds; a drain of one dead node alone waits for 120"
    assert not any(script.startswith("reset.drain") for _, script in outcome.simulation.ran)
    assert any("not drained: its kubelet does not run" in line for line in outcome.recorder.lines)


@pytest.mark.parametrize("on", [["all"], ["master", "w1"], ["w2", "cp1"]])
def test_a_reset_with_the_control_plane_finishes_in_one_run(bed: Bed, on: list[str]) -> None:
    bed.healthy()
    named = {node.name for node in rehearsal_nodes(bed, on)}
    outcome = bed.run([RESET], on=on, choices=Choices(whole_cluster=False))
    assert outcome.states == dict.fromkeys(sorted(named), "done")
    assert not any(script in ("reset.cordon", "reset.drain", "reset.node") for _, script in outcome.simulation.ran)
    facts = bed.facts()
    assert all(residue(facts[name]) == [] for name in named)


def rehearsal_nodes(bed: Bed, on: list[str]) -> tuple[Any, ...]:
    with rehearsal.running(bed.environment) as simulation:
        return simulation.environment.select(on)


def test_after_a_nodes_reset_bootstrap_joins_it_again(bed: Bed) -> None:
    """As every hint says: `fab -H NODE reset`, then `inv cluster.bootstrap`."""
    bed.healthy()
    assert bed.reset(on=["w1"]).states == {"w1": "done"}
    assert set(bed.bootstrap().states.values()) == {"done"}
    assert bed.facts()["cp1"].node_ready("w1")


# --- the command lines


def volume() -> list[dict[str, Any]]:
    return [
        {"kind": "PersistentVolume", "metadata": {"name": "pv-1"}},
        {"kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"}},
    ]


def test_the_clusters_contents_are_shown_before_a_reset(
    bed: Bed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.healthy()
    shop(bed, minimum=1)
    changed(bed, lambda simulation: [simulation.cluster.apply(one, 0.0) for one in volume()] and None)
    whole_reset(bed, monkeypatch)
    shown = capsys.readouterr().out
    assert "1 namespace: shop" in shown and "1 pod that is neither Kubernetes' nor kubefab's: shop/web-" in " ".join(
        shown.split()
    )
    assert "1 PersistentVolume: pv-1" in shown and "1 PersistentVolumeClaim: shop/data" in shown
    whole_reset(bed, monkeypatch)
    assert "what runs in rehearsal is not known: the API on cp1 does not answer" in " ".join(
        capsys.readouterr().out.split()
    )
    bed.bootstrap()
    whole_reset(bed, monkeypatch)
    assert "nothing but Kubernetes' and kubefab's own runs in rehearsal" in capsys.readouterr().out


def whole_reset(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    from fabfile import inventory
    from fabfile.cli.common import Options
    from fabfile.cli.reset import reset_nodes

    with monkeypatch.context() as patch:
        patch.setattr(inventory, "load", lambda name, **options: bed.environment)
        reset_nodes(Options("rehearsal"), ["all"], Choices())


@pytest.mark.parametrize("name", ["cp1", "w1"])
def test_a_bridge_of_another_range_can_be_deleted_without_a_reset(bed: Bed, name: str) -> None:
    """As the hint says first: `ip link delete cni0` on this node, then the same command."""
    bed.healthy()

    def change(simulation: Simulation) -> None:
        simulation.hosts[name].links["cni0"].addresses = ["10.99.0.1/24"]

    changed(bed, change)
    outcome = bed.bootstrap()
    error = outcome.failed[name]
    assert "cni0 has 10.99.0.1, not in 10.44.0.0/16" in error.message
    assert error.remedy.index("ip link delete cni0") < error.remedy.index("cluster.bootstrap")
    changed(bed, lambda simulation: simulation.hosts[name].links.pop("cni0") and None)
    assert set(bed.bootstrap().states.values()) == {"done"}


@pytest.mark.parametrize("fault", ["cp1:flannel-missing", "cp1:flannel-wrong-range"])
def test_no_message_advises_resetting_only_a_control_plane_that_was_up(bed: Bed, fault: str) -> None:
    outcome = bed.bootstrap(fault)
    remedy = outcome.failed["cp1"].remedy
    assert (
        "fab -H cp1 reset" not in remedy and "everything in it is lost: `inv cluster.reset --env rehearsal`" in remedy
    )
    assert set(bed.reset().states.values()) == {"done"}
    assert set(bed.bootstrap().states.values()) == {"done"}
