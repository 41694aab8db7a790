"""`inv cluster.upgrade` on simulated nodes: kills at every command, faults, and what the command says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from rehearsal_model import Model, kills

from fabfile.context import Choices, Runtime
from fabfile.inventory import Environment, Node, with_release
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.observe import observe_script, parse_facts
from fabfile.phases import AHEAD, ETCD, KUBELET, PLANE, TOOLS, managed_files
from fabfile.phases.drain import CORDONED
from fabfile.phases.renew import ports
from fabfile.phases.upgrade import node_done, plane_releases
from fabfile.recipes.kubeadm import recipe_for
from fabfile.recipes.packages import Dnf
from fabfile.views.upgrades import contexts_of
from rehearsal.commands.packages import CONTAINERD
from rehearsal.host import APT, Host
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed, Outcome

TO = "1.37.1"
NEWEST, EARLIER, OTHER_LINE = CONTAINERD[0], CONTAINERD[2], CONTAINERD[3]
CHOICES = Choices(runtimes=dict.fromkeys(("cp1", "w1"), Runtime(NEWEST, True)))
CONTROL, WORKER = (TOOLS, ETCD, PLANE, KUBELET), (KUBELET,)


def with_containerd(host: Host, version: str) -> None:
    """The machine got its containerd when that was the newest."""
    host.packages["containerd.io"] = host.containerd_runs = version if host.family == APT else version.partition("~")[0]


class Upgrading(Model):
    """The machines on their way to another release, without servers."""

    def facts(self, node: Node) -> NodeFacts:
        served = ports(node.address, self.environment.settings.api_port) if node.control_plane else ()
        text = observe_script(
            control_plane=node.control_plane,
            files=managed_files(self.environment),
            served=served,
            release=recipe_for(self.environment).version,
        )
        return parse_facts(self.sh(node, text))

    def upgrade(self, killed: Callable[[Upgrading], None] = lambda model: None) -> list[str]:
        """Carry out the commands of the whole upgrade, and return them. `killed` is carry_out's."""
        control, worker = self.environment.nodes
        steps = [(phase, node) for node, phases in ((control, CONTROL), (worker, WORKER)) for phase in phases]
        return [line for phase, node in steps for line in self.carry_out(phase, node, CHOICES, killed)]

    def at_work(self) -> str:
        """The node that the upgrade is at."""
        control = self.environment.control_plane
        (central,) = contexts_of(self.environment, {control.name: self.facts(control)}, CHOICES).values()
        return "w1" if node_done(central) else control.name

    def power_cut(self, name: str) -> None:
        """The machine goes down and boots."""
        self.hosts[name].reboot()

    def whole(self) -> None:
        """Every part of every node is new, and each takes pods."""
        facts = {node.name: self.facts(node) for node in self.environment.nodes}
        contexts = contexts_of(self.environment, facts, CHOICES)
        assert all(node_done(ctx) for ctx in contexts.values()), plane_releases(facts["cp1"])
        assert set(plane_releases(facts["cp1"]).values()) == {TO} and facts["cp1"].api_release == TO
        assert facts["cp1"].manifests["etcd"].endswith(":3.7.0-0")
        assert {(host.packages["containerd.io"], host.containerd_runs) for host in self.hosts.values()} == {
            (NEWEST, NEWEST)
        }
        for member in self.cluster.members.values():
            assert not member.cordoned and CORDONED not in member.annotations


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("upgrade")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        outcome = Bed(folder, "REHEARSAL_KUBERNETES=1.36.3\n").bootstrap(workers=1)
    assert not outcome.failed
    return outcome


@pytest.fixture(scope="module")
def fetched(made: Outcome) -> Upgrading:
    """Packages and images are there on both nodes, as before the first change."""
    simulation = made.simulation
    environment: Environment = with_release(simulation.environment, TO)
    model = Upgrading(environment, simulation.hosts, simulation.cluster)
    for host in model.hosts.values():
        with_containerd(host, EARLIER)
    for node in environment.nodes:
        assert any("containerd.io" in line for line in model.carry_out(AHEAD, node, CHOICES))
    return model


def test_killed_after_any_command_the_next_run_ends_with_every_node_new(fetched: Upgrading) -> None:
    """By a kill of ours, or by a power cut of the machine at work: what was done is seen, and nothing of it is undone or left out."""
    model = fetched.copy()
    commands = model.upgrade()
    model.whole()
    assert model.upgrade() == [], "nothing is left to do"
    cuts = count()

    def killed(model: Upgrading) -> None:
        if next(cuts) % 2:
            model.power_cut(model.at_work())
        model.upgrade()
        model.whole()

    fetched.copy().upgrade(killed)
    assert next(cuts) == len(kills(commands)) > 20


STORY = (
    # faults; the exit code; what is said; after it: kubelets that run, by node
    ("w2:release-missing", 1, ("w2 · ahead.packages",), ("1.36.3", "1.36.3", "1.36.3")),
    ("cp1:dies-in-upgrade=1", 1, ("how far each node is:",), ("1.36.3", "1.36.3", "1.36.3")),
    ("cp1:upgrade-fails", 1, ("cp1 · plane.ended", "the way back is then"), ("1.36.3", "1.36.3", "1.36.3")),
    ("cp1:hash-unseen w1:containerd-breaks", 1, ("if kubeadm waits for a pod that runs", "w1 · kubelet.runtime", "--containerd keep"), (TO, "1.36.3", "1.36.3")),
    ("w1:kubelet-breaks", 1, ("w1 · kubelet.ready", "stays cordoned", f"If it is containerd's: before it was containerd.io {EARLIER}"), (TO, "1.36.3", "1.36.3")),
    ("w2:dies-in-upgrade", 1, ("w2: ",), (TO, TO, "1.36.3")),
    ("", 0, (f"Kubernetes {TO} on 1 node", "set KUBERNETES=1.37.1"), (TO, TO, TO)),
)  # fmt: skip


def test_a_night_of_faults_and_the_same_command_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing node stops what would follow, and never are two nodes of different batches cordoned at once."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bed = Bed(tmp_path, "REHEARSAL_KUBERNETES=1.36.3\n", systems={"cp1": "apt", "w1": "apt", "w2": "dnf"})
    assert not bed.bootstrap(workers=2).failed
    bed.run(
        [], hook=lambda simulation, run: [with_containerd(host, EARLIER) for host in simulation.hosts.values()] and None
    )
    planned = bed.typed("inv cluster.upgrade --to 1.37 --no-backup --plan").stdout
    assert "! containerd goes from 2.3.3-1 to 2.3.4-1 on w1, w2, while each is drained" in planned, planned
    assert "on cp1, which is not drained: its containers run on" in planned and "containerd 2.3.4-1 fetched" in planned
    refused = bed.typed("inv cluster.upgrade --to 1.37")
    assert refused.returncode == 2 and "--no-backup" in refused.stderr, refused.stderr
    seen: dict[str, tuple[str, bool]] = {}
    containerds: dict[str, str] = {}

    def look(simulation: Simulation, run: object) -> None:
        members = {member.host: member for member in simulation.cluster.members.values()}
        seen.update({name: (host.kubelet_runs, members[name].cordoned) for name, host in simulation.hosts.items()})
        containerds.update({name: host.containerd_runs for name, host in simulation.hosts.items()})

    for faults, code, said, runs in STORY:
        switches = " ".join(f"--fault {one}" for one in faults.split())
        done = bed.typed(f"inv cluster.upgrade --to 1.37 --no-backup {switches}")
        text = done.stdout + done.stderr
        assert done.returncode == code and all(one in text for one in said), (faults, text)
        bed.run([], hook=look)
        assert tuple(release for release, _ in seen.values()) == runs, (faults, text)
        cordoned = [name for name, (_, closed) in seen.items() if closed]
        assert cordoned == ([faults.split(":")[-2].split()[-1]] if "w" in faults and "release" not in faults else []), (
            faults
        )
        if "containerd-breaks" in faults:  # what is printed is what brings it back
            (way,) = set(re.findall(r"before it was containerd\.io [^ ]+: `([^`]+)` on w1 puts it back", text))
            assert containerds["w1"] == EARLIER and bed.typed_on("w1", way).returncode == 0
            assert bed.typed_on("w1", "crictl info").returncode == 0
    assert containerds == {"cp1": NEWEST, "w1": NEWEST, "w2": NEWEST.partition("~")[0]}
    _containerd_alone(bed, look, containerds)
    stopped = bed.typed("inv cluster.bootstrap")
    assert "Kubernetes does not go back" in stopped.stdout and f"KUBERNETES={TO}" in stopped.stdout
    bed.edit(f"REHEARSAL_KUBERNETES={TO}")
    assert "nothing to do" in bed.typed("inv cluster.bootstrap").stdout
    plan = json.loads(bed.typed("inv cluster.upgrade --plan --json").stdout)
    assert plan["waves"] == [] and plan["plan"] == [] and set(plan["states"].values()) == {TO}


def _containerd_alone(bed: Bed, look: Callable[[Simulation, object], None], containerds: dict[str, str]) -> None:
    """On a cluster that has the release containerd follows only who asks for it: each node that lacks it, drained as for a release."""
    earlier = EARLIER.partition("~")[0]
    assert bed.typed_on("w2", f"{Dnf().runtime_back(earlier)} && systemctl restart containerd").returncode == 0
    bed.run([], hook=lambda simulation, run: with_containerd(simulation.hosts["w1"], OTHER_LINE))
    line = "inv cluster.upgrade --to 1.37 --no-backup"
    assert "nothing to do" in bed.typed(line).stdout
    bed.run([], hook=look)
    assert containerds == {"cp1": NEWEST, "w1": OTHER_LINE, "w2": earlier}
    done = bed.typed(f"{line} --containerd next")
    assert done.returncode == 0 and f"Kubernetes {TO} on 2 nodes" in done.stdout, done.stdout + done.stderr
    bed.run([], hook=look)
    assert containerds == {"cp1": NEWEST, "w1": NEWEST, "w2": NEWEST.partition("~")[0]}
    assert "nothing to do" in bed.typed(f"{line} --containerd next").stdout
    wrong = bed.typed(f"{line} --containerd nxt")
    assert wrong.returncode == 2 and "did you mean next" in wrong.stderr, wrong.stderr


def test_a_node_that_fails_ends_the_run_with_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its batch are ended, no further batch begins, each node is named; the same command then takes the failed one first."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bed = Bed(tmp_path, "REHEARSAL_KUBERNETES=1.36.3\n")
    bed.healthy(6)
    line = "inv cluster.upgrade --to 1.37 --no-backup --batch 34%"
    planned = bed.typed(f"{line} --plan")
    assert planned.returncode == 3 and "— workers w3, w4 (batch 2 of 3)" in planned.stdout, planned.stdout
    assert "backup" not in planned.stdout, "none is taken, so none is announced"
    done = bed.typed(f"{line} --fault w3:kubelet-breaks")
    text = done.stdout + done.stderr
    assert done.returncode == 1 and "— workers w3, w4 (batch 2 of 3)" in text and "batch 3 of 3" not in text, text
    states = text.partition("how far each node is:\n")[2].splitlines()
    assert states == [
        f"cp1, w1, w2, w4: {TO}",
        f"w3: the kubelet that runs 1.36.3, kubeadm, kubelet {TO}",
        "w5, w6: 1.36.3",
    ]
    planned = bed.typed(f"{line} --plan --fault cp1:webhook-dead")
    assert planned.returncode == 1 and "webhooks.lock" in planned.stdout, planned.stdout
    assert "w5, w6: examined once what is half way (w3) has ended" in planned.stdout
    assert _waves(planned.stdout) == ["— worker w3"]
    refused = bed.typed(f"{line} --fault cp1:webhook-dead")
    text = refused.stdout + refused.stderr
    assert refused.returncode == 1 and "no further node was touched" in text and _waves(text) == ["— worker w3"], text
    assert f"cp1, w1–w4: {TO}" in text and "w5, w6: 1.36.3" in text, "what is half way is ended, and each node is named"
    done = bed.typed(line)
    assert done.returncode == 0 and _waves(done.stdout) == ["— workers w5, w6"], done.stdout + done.stderr
    assert f"cp1, w1–w6: {TO}" in done.stdout.splitlines()


def _waves(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("— worker")]


def test_the_plan_and_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain backup that is young enough is enough; a budget that never allows is refused before anything is changed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bed = Bed(tmp_path, "REHEARSAL_KUBERNETES=1.36.1\n")
    assert bed.typed("inv cluster.bootstrap --workers 3").returncode == 0
    assert bed.typed("inv cluster.backup --plain").returncode == 0
    bed.edit("REHEARSAL_RETENTION=3d\nREHEARSAL_KUBERNETES=1.36.1")
    refused = bed.typed("inv cluster.upgrade --to 1.36.3 --plan")
    assert refused.returncode == 1 and "RETENTION=3d would delete all" in refused.stdout, (
        "not only once the control plane is new"
    )
    bed.edit("REHEARSAL_KUBERNETES=1.36.1")
    for line, code, said in (
        ("--to 1.38", 2, "no recipe for Kubernetes 1.38"),
        ("--to 1.35", 1, "does not go back"),
        ("--to 1.5", 2, "1.5 has no upgrade"),
        ("--to 1.36.3 --batch 0", 2, "neither a number"),
        ("--to 1.37 --fault cp1:gate-gone", 1, "is not ready for 1.37.1; nothing was touched"),
        ("--to 1.36.3 --plan --fault cp1:webhook-dead", 1, "To upgrade all the same: --accept webhooks.lock"),
        ("--to 1.36.3 --plan --fault cp1:webhook-dead --accept webhooks.lock", 3, "worker w3 (batch 3 of 3)"),
        ("--to 1.36.3 --accept nodes.ready", 2, "no check that can be accepted"),
        ("--to 1.36.3 --batch 2 --control-plane-only --fault cp1:health-check-late", 0, "on 1 node"),
        # workers that were left out are judged as by a first run
        ("--to 1.36.3 --fault cp1:webhook-dead", 1, "is not ready for 1.36.3; nothing was touched"),
        ("--to 1.36.3 --batch 2 --limit w1,w3", 0, "on 2 nodes"),
        ("--to 1.36.3 --batch 100%", 0, "on 1 node"),
    ):
        done = bed.typed(f"inv cluster.upgrade {line}")
        assert done.returncode == code and said in done.stdout + done.stderr, (line, done.stdout, done.stderr)
