"""`inv cluster.reboot`: one node at a time, and gone on with wherever a run was killed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from test_remove import cordoned, cut_at_every_command
from test_reset import changed, shop

from fabfile.cli.reboot import _leaves
from fabfile.context import Choices
from fabfile.phases import REBOOT, REBOOTS
from fabfile.phases.drain import CORDONED
from fabfile.phases.reboot import PENDING
from fabfile.run.pipelines import Run
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed, Outcome


def boots(bed: Bed) -> dict[str, str]:
    return {name: facts.booted for name, facts in bed.facts().items()}


def healed(bed: Bed) -> None:
    """Every node is Ready, takes pods, and has no note of ours."""
    facts = bed.facts()
    for name in ("cp1", "w1", "w2"):
        node = facts["cp1"].node_object(name)
        assert node and facts["cp1"].node_ready(name) and not node["spec"].get("unschedulable"), name
        assert not {CORDONED, PENDING} & node["metadata"].get("annotations", {}).keys(), name


def test_all_are_rebooted_one_after_the_other_and_a_killed_run_is_gone_on_with(bed: Bed) -> None:
    bed.healthy()
    before = boots(bed)
    # of an earlier run that was killed: w1 is done, w2 has left its boot and is cordoned, cp1 was not reached
    changed(bed, _killed)
    between = boots(bed)
    assert between["w2"] != before["w2"] and cordoned(bed, "w2") == (True, "rehearsal")
    shown = bed.typed("inv cluster.status").stdout
    assert "w2: cordoned by a run of ours that did not end" in shown, shown
    went_on = bed.typed("inv cluster.reboot --all")
    assert went_on.returncode == 0 and "goes on with what was left of an earlier run: w2, cp1" in went_on.stdout, (
        went_on.stdout
    )
    after = boots(bed)
    assert after["w1"] == between["w1"] and after["w2"] == between["w2"], "none is rebooted twice"
    assert after["cp1"] != between["cp1"]
    healed(bed)
    assert bed.typed("inv cluster.reboot --all").returncode == 0
    last = boots(bed)
    assert all(last[name] != after[name] for name in last)
    healed(bed)


def _killed(simulation: Simulation) -> None:
    w2, cp1 = simulation.hosts["w2"], simulation.hosts["cp1"]
    member = simulation.cluster.members["w2"]
    member.annotations |= {CORDONED: "rehearsal", PENDING: f"{w2.boot_id}.21"}
    member.cordoned = True
    simulation.cluster.members["cp1"].annotations[PENDING] = f"{cp1.boot_id}.21"
    simulation.cluster.touch()
    w2.reboot()


STOPS = (
    "reboot.cordon",
    "reboot.drain",
    "reboot.volumes",
    "reboot.reboot",
    "reboot.back",
    "reboot.flannel",
    "reboot.uncordon",
)


@pytest.mark.parametrize("step", STOPS)
def test_ctrl_c_in_any_step(bed: Bed, step: str) -> None:
    """Before the reboot our cordon is taken away again; after it the node stays cordoned until the same command has proved it."""
    bed.healthy()
    before = bed.facts()["w1"].booted
    choices = Choices(reboots={"w1": before})
    assert bed.run([REBOOTS], on=["master"], choices=choices).states == {"cp1": "done"}
    stopped = bed.run([REBOOT], on=["w1"], choices=choices, hook=stopping(step))
    rebooted = bed.facts()["w1"].booted != before
    assert stopped.states == {"w1": "done" if step == "reboot.uncordon" else "interrupted"}, stopped.recorder.lines
    assert rebooted == (STOPS.index(step) >= STOPS.index("reboot.reboot"))
    on, mark = cordoned(bed, "w1")
    assert (on, mark) == ((True, "rehearsal") if rebooted and step != "reboot.uncordon" else (False, "")), step
    done = bed.typed("inv cluster.reboot --node w1")
    assert done.returncode == 0, done.stdout + done.stderr
    healed(bed)
    if rebooted and step != "reboot.uncordon":
        assert bed.facts()["w1"].booted == stopped.simulation.hosts["w1"].boot_id + ".21", "not twice"


def stopping(step: str) -> Callable[[Simulation, Run], None]:
    """The operator presses Ctrl-C while that step is under way."""

    def hook(simulation: Simulation, run: Run) -> None:
        before = simulation.ask

        def ran(host: object, text: str) -> tuple[int, bytes]:
            if text.startswith(f"# kubefab: {step}\n"):
                run.stop()
            return before(host, text)  # type: ignore[arg-type]

        simulation.ask = ran  # type: ignore[method-assign]

    return hook


def test_what_is_refused_is_refused_for_all_before_any_cordon(bed: Bed) -> None:
    bed.healthy()
    name = shop(bed, minimum=1)
    before = boots(bed)
    refused = bed.typed("inv cluster.reboot --all")
    said = refused.stdout + refused.stderr
    assert refused.returncode == 1 and "PodDisruptionBudget web-pdb allows no disruption" in said, said
    assert boots(bed) == before and cordoned(bed, name) == (False, "")
    away = bed.typed("inv cluster.reboot --all --fault w1:host-down")
    assert away.returncode == 1 and "w1" in away.stderr and boots(bed) == before


def test_another_persons_cordon_stays(bed: Bed) -> None:
    bed.healthy()

    def cordon(simulation: Simulation) -> None:
        simulation.cluster.members["w1"].cordoned = True
        simulation.cluster.touch()

    changed(bed, cordon)
    before = boots(bed)
    assert bed.typed("inv cluster.reboot --node w1").returncode == 0
    assert boots(bed)["w1"] != before["w1"] and cordoned(bed, "w1") == (True, "")
    assert "cordoned, not by kubefab" in bed.typed("inv cluster.status").stdout


def test_cut_at_every_command_the_same_reboot_goes_on_and_leaves_others_cordons(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.healthy()
    shop(bed, minimum=0)

    def cordon(simulation: Simulation) -> None:
        simulation.cluster.members["w2"].cordoned = True
        simulation.cluster.touch()

    changed(bed, cordon)
    before = boots(bed)
    assert bed.run([REBOOTS], on=["master"], choices=Choices(reboots={"w1": before["w1"]})).states == {"cp1": "done"}
    left = [False]

    def choices() -> Choices:
        """As the command makes them from what is seen."""
        facts = bed.facts()
        node = facts["cp1"].node_object("w1") or {}
        noted = node["metadata"].get("annotations", {}).get(PENDING) == before["w1"]
        left[0] = noted and bool(node["spec"].get("unschedulable")) and facts["w1"].booted != before["w1"]
        return Choices(whole_cluster=False, reboots={"w1": _leaves(bed.environment, facts["cp1"], facts["w1"], "w1")})

    def look(step: str, outcome: Outcome) -> None:
        assert cordoned(bed, "w2") == (True, ""), step
        assert not (left[0] and "reboot.reboot" in {name for _, name in outcome.simulation.ran}), f"twice, after {step}"

    cuts = cut_at_every_command(bed, monkeypatch, [REBOOT], "w1", choices, look)
    steps = ("cordon", "drain", "volumes", "reboot", "kubelet", "flannel", "ready", "uncordon")
    assert {f"reboot.{step}" for step in steps} <= cuts, cuts
    after = boots(bed)
    assert after["w1"] != before["w1"] and after["w2"] == before["w2"]
    changed(bed, lambda simulation: setattr(simulation.cluster.members["w2"], "cordoned", False))
    healed(bed)
