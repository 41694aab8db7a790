"""`inv cluster.remove`: what it refuses before it touches anything, and every command that it prints, typed in that state."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from test_reset import changed, shop

import rehearsal
import rehearsal.shell as model
from fabfile import inventory
from fabfile.context import Choices
from fabfile.phases import RESET, Phase
from fabfile.phases.drain import CORDONED
from fabfile.phases.reset import residue
from printed import own
from rehearsal.bash import Call
from rehearsal.host import Pod
from rehearsal.machine import Halted, Machine
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed, Outcome

WORKERS = "".join(f"REHEARSAL_WORKER_{n}=127.0.0.{n + 1}\n" for n in (1, 2))


def bare(bed: Bed, name: str, *, scratch: bool = False) -> None:
    """Somebody's pod that nothing makes again, on that worker."""

    def change(simulation: Simulation) -> None:
        spec: dict[str, Any] = {"containers": [{"name": "job", "image": "docker.io/library/nginx:1"}]}
        if scratch:
            spec["volumes"] = [{"name": "cache", "emptyDir": {}}]
        simulation.cluster.objects["Pod/shop/job"] = {
            "kind": "Pod", "metadata": {"name": "job", "namespace": "shop"}, "spec": spec,
        }  # fmt: skip
        pod = Pod("job", "shop", "Pod/shop/job", {}, [], True, 0.0, running=True)
        simulation.hosts[name].pods.append(pod)
        simulation.cluster.touch()

    changed(bed, change)


def cordoned(bed: Bed, name: str) -> tuple[bool, str]:
    """Whether that node is cordoned, and our annotation on it."""
    found = bed.facts()["cp1"].node_object(name)
    assert found
    return bool(found["spec"].get("unschedulable")), found["metadata"].get("annotations", {}).get(CORDONED, "")


def test_what_is_refused_is_refused_before_any_cordon_and_each_printed_way_works(bed: Bed) -> None:
    bed.healthy()
    name = shop(bed, minimum=1)
    bare(bed, name, scratch=True)
    other = "w1" if name == "w2" else "w2"
    before = bed.facts()["cp1"].nodes
    refused = bed.typed(f"inv cluster.remove --node {name}")
    said = refused.stdout + refused.stderr
    assert refused.returncode == 1, said
    assert (
        "PodDisruptionBudget web-pdb allows no disruption" in said
        and "shop/web-pdb" in said
        and "ReplicaSet web-5d9c" in said
    ), said
    assert "pod shop/job has no controller" in said and "emptyDir cache" in said, "all at once"
    assert bed.facts()["cp1"].nodes == before and cordoned(bed, name) == (False, "")

    planned = json.loads(bed.typed(f"inv cluster.remove --node {name} --plan --json").stdout)
    assert {row["kind"] for row in planned["hindrances"] if row["stops"]} == {"budget", "bare", "scratch"}
    assert planned["plan"][0]["steps"][0]["id"] == "reset.cordon"

    pods = next(
        word
        for word in said.split()
        if word.startswith("shop/web-") and word.endswith(tuple("bcdfghjklmnpqrstvwxz2456789"))
    )
    half = bed.typed(f"inv cluster.remove --node {name} --force-pods {pods}")
    assert half.returncode == 1 and "shop/job has no controller" in half.stdout + half.stderr
    done = bed.typed(f"inv cluster.remove --node {name} --force-pods {pods},shop/job --delete-emptydir-data")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = bed.facts()
    assert residue(facts[name]) == [] and facts["cp1"].node_object(name) is None and facts["cp1"].node_ready(other)


def test_a_node_is_removed_and_the_line_that_is_left_is_named(bed: Bed) -> None:
    bed.file.write_text(bed.file.read_text() + WORKERS)
    assert bed.typed("inv cluster.bootstrap").returncode == 0
    done = bed.typed("inv cluster.remove --node w2")
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "/hosts.env:6 out: while it is there" in said and "REHEARSAL_WORKER_2 in" in said, (
        said
    )
    assert "`inv cluster.bootstrap --env rehearsal` would join it again" in said
    assert residue(bed.facts()["w2"]) == []
    assert bed.typed("inv cluster.remove --node w2").returncode == 0, "it is off already"
    assert bed.typed("inv cluster.bootstrap").returncode == 0 and bed.facts()["cp1"].node_ready("w2")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("inv cluster.remove", 2, "no node named"),
        ("inv cluster.remove --node cp1", 2, "the cluster is in it"),
        ("inv cluster.remove --node w9", 2, "w9"),
        ("inv cluster.remove --node workers", 2, "means 2 nodes"),
        ("inv cluster.remove --node w2 --force-pods 'web;reboot'", 2, "not a pod"),
        ("inv cluster.remove --node w2", 1, "does not answer"),
        ("inv cluster.remove --node w9 --gone", 1, "does not answer"),
    ],
)
def test_nothing_is_touched(bed: Bed, line: str, code: int, said: str) -> None:
    done = bed.typed(line)
    assert done.returncode == code and said in done.stdout + done.stderr, done.stdout + done.stderr


def test_a_machine_that_is_gone(bed: Bed) -> None:
    bed.healthy()
    there = bed.typed("inv cluster.remove --node w2 --gone")
    assert there.returncode == 1 and "something answers at its address" in there.stderr
    away = bed.typed("inv cluster.remove --node w2 --fault w2:host-down")
    (way,) = own(away.stderr.replace("\n", " "))
    assert away.returncode == 1 and "--gone" in way

    def attach(simulation: Simulation) -> None:
        spec = {"nodeName": "w2", "attacher": "csi", "source": {"persistentVolumeName": "pv-7"}, "stuck": True}
        simulation.cluster.objects["VolumeAttachment//csi-1"] = {
            "kind": "VolumeAttachment", "metadata": {"name": "csi-1"}, "spec": spec,
        }  # fmt: skip
        simulation.cluster.touch()

    changed(bed, attach)
    done = bed.typed(f"{way} --fault w2:host-down")
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "volume pv-7 is attached" in said, said
    assert bed.facts()["cp1"].node_object("w2") is None
    # it comes back after all
    assert bed.facts()["w2"].joined
    status = bed.typed("inv cluster.status").stdout
    assert "the cluster has no node of it" in status, status
    (owed,) = {one for text in (said, status) for one in own(text.replace("\n", " ")) if "remove --node w2" in one}
    assert bed.typed(owed).returncode == 0 and residue(bed.facts()["w2"]) == []


def listing(bed: Bed, lines: str, workers: int) -> None:
    """The operator edits hosts.env; a machine whose line is taken out is off, as none is simulated that no line names."""
    bed.file.write_text(lines)
    bed.environment = inventory.load("rehearsal", variables={"KUBEFAB_HOSTS": str(bed.file)})
    with rehearsal.running(bed.environment, workers=workers):
        pass


def test_a_node_that_hosts_env_lacks_is_shown_with_the_way_out(bed: Bed) -> None:
    lines = bed.file.read_text() + WORKERS
    bed.file.write_text(lines + "REHEARSAL_WORKER_3='10.2.1.3 name=db'\n")
    assert bed.typed("inv cluster.bootstrap").returncode == 0
    listing(bed, lines, 2)
    shown = bed.typed("inv cluster.status").stdout
    assert "db: in the cluster, not Ready, and not in hosts.env" in shown, shown
    rows = json.loads(bed.typed("inv cluster.status --json").stdout)
    assert [row["node"] for row in rows if not row["listed"]] == ["db"]
    gone, _, off = own(next(line for line in shown.splitlines() if line.startswith("db:")))
    line = re.search(r"\((REHEARSAL_WORKER_\d+='.*?')\)", shown)
    assert line and line[1] == "REHEARSAL_WORKER_3='10.2.1.3 name=db'"
    listing(bed, f"{lines}{line[1]}\n", 3)
    assert bed.typed(off).returncode == 0 and residue(bed.facts()["db"]) == []
    assert bed.typed("inv cluster.bootstrap").returncode == 0 and bed.facts()["cp1"].node_ready("db")
    listing(bed, lines, 2)
    assert bed.typed(gone).returncode == 0
    assert "not in hosts.env" not in bed.typed("inv cluster.status").stdout


def cut_at_every_command(
    bed: Bed,
    patch: pytest.MonkeyPatch,
    chosen: Sequence[Phase],
    on: str,
    choices: Callable[[], Choices],
    look: Callable[[str, Outcome], None],
) -> set[str]:
    """Run these phases on that node until they end: each run is cut by a loss of power at a command, on the machine that carries it out.

    Of a step's commands the first, second, fourth, eighth and so on are cut, each in a run of its own. `look` looks after each run, which
    was cut in the step that it is given ("" after the last one). Returns the steps that were cut.
    """
    real, cuts, current = model.dispatch, [""], list[Simulation]()
    seen: Counter[str] = Counter()
    following: defaultdict[str, int] = defaultdict(lambda: 1)

    def cutting(machine: Machine, call: Call) -> int:
        node, name = current[-1].ran[-1] if current else ("", "")
        if name.partition(".")[0] in {phase.name for phase in chosen} and machine.host.name == node:
            seen[name] += 1
            if seen[name] == following[name]:
                following[name] *= 2
                cuts.append(name)
                raise Halted
        return real(machine, call)

    steps = set[str]()
    while cuts:
        seen.clear()
        cuts.clear()
        with patch.context() as patched:
            patched.setattr(model, "dispatch", cutting)
            outcome = bed.run(
                chosen, on=[on], choices=choices(), hook=lambda simulation, run: current.append(simulation)
            )
            current.clear()
        assert (outcome.states == {on: "done"}) is (not cuts), (cuts, outcome.recorder.lines)
        with rehearsal.running(bed.environment) as simulation:
            for host in simulation.hosts.values():
                if host.halted:
                    host.halted = False
                    host.reboot()
        look(cuts[0] if cuts else "", outcome)
        steps |= set(cuts)
    return steps


def test_cut_at_every_command_the_same_removal_goes_on_and_touches_no_other_node(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.healthy()
    shop(bed, minimum=0)

    def cordon(simulation: Simulation) -> None:
        simulation.cluster.members["w1"].cordoned = True
        simulation.cluster.touch()

    changed(bed, cordon)
    with rehearsal.running(bed.environment) as simulation:
        files = dict(simulation.hosts["w1"].files)

    def look(step: str, outcome: Outcome) -> None:
        assert outcome.simulation.hosts["w1"].files == files and cordoned(bed, "w1") == (True, ""), step

    cuts = cut_at_every_command(bed, monkeypatch, [RESET], "w2", lambda: Choices(whole_cluster=False), look)
    steps = ("cordon", "drain", "volumes", "node", "kubeadm", "mounts", "network", "files", "images", "undo")
    assert cuts == {f"reset.{step}" for step in steps}
    facts = bed.facts()
    assert residue(facts["w2"]) == [] and facts["cp1"].node_object("w2") is None
    assert bed.typed("inv cluster.remove --node w2").returncode == 0, "as it is typed, where nothing is left to do"
