"""Labels and taints of hosts.env on simulated nodes: made, changed, taken off; what others put on a Node stays."""

from __future__ import annotations

import re
from pathlib import Path

from fabfile import inventory
from fabfile.nodes.facts import NodeFacts
from fabfile.run.pipelines import Run
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed


def rewritten(bed: Bed, folder: Path, line: str) -> None:
    """The same environment with another line for w1."""
    hosts = folder / "project" / "hosts.env"
    kept = [old for old in hosts.read_text().splitlines() if not old.startswith("REHEARSAL_WORKER_1")]
    hosts.write_text("\n".join([*kept, f"REHEARSAL_WORKER_1='10.9.0.11 {line}'"]) + "\n")
    bed.environment = inventory.load("rehearsal", variables={"KUBEFAB_HOSTS": str(hosts)})


def marks(control: NodeFacts) -> tuple[dict[str, str], list[str]]:
    item = control.node_object("w1")
    assert item is not None
    found = {key: value for key, value in item["metadata"]["labels"].items() if "kubernetes.io" not in key}
    return found, [f"{t['key']}={t.get('value', '')}:{t['effect']}" for t in item["spec"].get("taints", ())]


def test_labels_and_taints_follow_the_line_and_others_stay(bed: Bed, tmp_path: Path) -> None:
    rewritten(bed, tmp_path, "labels=disk=ssd,zone=a taints=gpu=yes:NoSchedule")
    assert set(bed.bootstrap().states.values()) == {"done"}
    assert marks(bed.facts()["cp1"]) == ({"disk": "ssd", "zone": "a"}, ["gpu=yes:NoSchedule"])
    assert bed.bootstrap().result.steps == 0

    rewritten(bed, tmp_path, "labels=disk=hdd")

    def others(simulation: Simulation, run: Run) -> None:
        simulation.cluster.members["w1"].labels["team"] = "blue"
        simulation.cluster.members["w1"].taints.append({"key": "rented", "effect": "NoExecute"})

    changed = bed.run(hook=others)
    assert set(changed.states.values()) == {"done"} and changed.result.nodes["w1"].steps == 1
    assert marks(bed.facts()["cp1"]) == ({"disk": "hdd", "team": "blue"}, ["rented=:NoExecute"])
    assert bed.bootstrap().result.steps == 0

    rewritten(bed, tmp_path, "labels=team=red")
    refused = bed.bootstrap()
    assert "team=blue, which kubefab did not set" in refused.failed["w1"].message
    assert marks(bed.facts()["cp1"])[0] == {"disk": "hdd", "team": "blue"}, "nothing is touched"

    def given_up(simulation: Simulation, run: Run) -> None:
        (line,) = re.findall(r"`(kubectl [^`]*label node w1 team-)` on the control plane", refused.failed["w1"].remedy)
        assert run.group.of(simulation.environment.control_plane).root(f"{line}\n", 30)[0] == 0

    assert set(bed.run(hook=given_up).states.values()) == {"done"}
    assert marks(bed.facts()["cp1"])[0] == {"team": "red"}
