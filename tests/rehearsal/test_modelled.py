"""The model knows every command line that a phase can yield: an unknown one fails here first."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fabfile import phases
from fabfile.context import Choices, Context
from fabfile.inventory import Environment
from fabfile.inventory.settings import KEYS
from fabfile.nodes import script
from fabfile.nodes.facts import STATE, TRACES, NodeFacts, Unit
from fabfile.nodes.influx import Retention
from fabfile.nodes.observe import observe_script, parse_facts
from fabfile.phases import managed_files
from fabfile.recipes.kubeadm import recipe_for
from fabfile.steps import Action, Step, Wait
from fabfile.text.masking import Token
from rehearsal import shell
from rehearsal.cluster import Cluster, Settling
from rehearsal.host import Host
from rehearsal.machine import Machine
from rehearsal_bed import Bed

TOKEN = "abcdef.0123456789abcdef"


@dataclass
class World:
    """Machines and cluster at one stage; each use gets its own copy."""

    environment: Environment
    hosts: dict[str, Host]
    cluster: Cluster
    _seen: dict[str, NodeFacts] = field(default_factory=dict)

    @cached_property
    def _frozen(self) -> bytes:
        return pickle.dumps((self.hosts, self.cluster))

    def machine(self, name: str) -> Machine:
        hosts, cluster = pickle.loads(self._frozen)
        settling = Settling(cluster, hosts, lambda host, fault: None)
        return Machine(hosts[name], cluster, settling, self.environment.settings, 0, lambda: 10_000.0)

    def facts(self, name: str) -> NodeFacts:
        """What a look at this machine shows: always the same, as each use has its own copy."""
        if name not in self._seen:
            self._seen[name] = self._look(name)
        return self._seen[name]

    def _look(self, name: str) -> NodeFacts:
        files = managed_files(self.environment)
        text = observe_script(control_plane=name == "cp1", files=files, settle=True)
        code, output = shell.run(self.machine(name), text)
        assert code == 0, output
        return parse_facts(output.decode())


@cache
def world(stage: str, family: str) -> World:
    """Machines that are fresh, prepared, installed, with a control plane, or in a cluster."""
    chosen = {
        "fresh": (),
        "prepared": (phases.PREP,),
        "installed": (phases.PREP, phases.INSTALL, phases.REGISTRY),
        "initialised": (phases.PREP, phases.INSTALL, phases.REGISTRY, phases.MASTER),
        "cluster": phases.BOOTSTRAP,
    }[stage]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", folder)
        bed = Bed(Path(folder), systems=dict.fromkeys(("cp1", "w1", "w2"), family))
        outcome = bed.run(chosen)
        assert outcome.result.exit_code == 0
    return World(outcome.simulation.environment, outcome.simulation.hosts, outcome.simulation.cluster)


STAGES = ("fresh", "prepared", "installed", "initialised", "cluster")
FAMILIES = ("apt", "dnf")
VARIANTS: tuple[dict[str, str], ...] = (
    {},
    {"kubernetes": "1.35"},
    {"kubernetes": "1.37.1", "dashboard": "kube-web-view", "retention": "30d"},
    {
        "registry": "registry.example:5000",
        "registry_user": "bot",
        "registry_password": "s3cr3t",
        "registry_mirrors": "ghcr.io,docker.io",
    },
    {"dashboard": "none", "ignore_preflight": "Swap,Mem", "packages_key_fingerprint": ""},
)


def variant(environment: Environment, texts: dict[str, str]) -> Environment:
    parsed = {key: KEYS[key.upper()].metadata["parse"](text) for key, text in texts.items()}
    return replace(environment, settings=replace(environment.settings, **parsed))


def actions(
    environment: Environment, name: str, facts: NodeFacts, control: NodeFacts | None, choices: Choices
) -> Iterator[Action]:
    node = environment.select([name])[0]
    context = Context(
        environment, node, facts, recipe_for(environment), control=control, token=Token(TOKEN), choices=choices
    )
    for phase in phases.EVERY.values():
        if node.role in phase.roles:
            yield from phase.run(context)


def scripts(action: Action) -> Iterator[tuple[bool, str]]:
    """(runs on the control plane, script) for each script that the runner would send for an action."""
    if isinstance(action, Step):
        yield bool(action.on), script.render(action.id, action.commands, action.files)
    elif isinstance(action, Wait):
        yield bool(action.on), script.render(action.id, (f"{action.probe} || true",), lock=False)
        for remedy in action.remedies:
            yield bool(remedy.on), script.render(action.id, remedy.commands)
        for line in action.evidence:
            yield bool(action.on), script.render(action.id, (f"{line} || true",), lock=False)


def check(
    at: World, environment: Environment, name: str, facts: NodeFacts, control: NodeFacts | None, choices: Choices
) -> set[str]:
    seen = set()
    for action in actions(environment, name, facts, control, choices):
        for central, text in scripts(action):
            code, output = shell.run(at.machine("cp1" if central else name), text)
            assert not (code == shell.NOT_MODELLED and b"not modelled" in output), f"{action.id}: {output.decode()}"
            seen.add(action.id)
    return seen


def test_the_model_knows_every_command_for_usual_machines() -> None:
    seen: set[str] = set()
    plain = [
        (stage, family, VARIANTS[0], Choices(purge=True, whole_cluster=False))
        for stage, family in product(STAGES, FAMILIES)
    ]
    for stage, family, texts, choices in [*product(("fresh", "cluster"), FAMILIES, VARIANTS, (Choices(),)), *plain]:
        at = world(stage, family)
        environment = variant(at.environment, texts)
        control = at.facts("cp1")
        for name in ("cp1", "w1"):
            seen |= check(at, environment, name, at.facts(name), control, choices)
    known = {
        "prep.modules",
        "install.packages",
        "registry.canary",
        "master.init",
        "network.flannel",
        "join.join",
        "addons.retention",
    }
    assert known <= seen
    assert {one.split(".")[0] for one in seen} == set(phases.EVERY)


odd_facts = st.fixed_dictionaries(
    {
        "traces": st.sets(st.sampled_from(TRACES)).map(frozenset),
        "undo": st.sets(
            st.sampled_from(["init-started", "initialised", "join-started", "joined", "swaps", "sysctl", "canary"])
        ).map(frozenset),
        "swaps": st.sampled_from([(), ("/swapfile",)]),
        "overlay": st.booleans(),
        "api_ready": st.booleans(),
        "retention": st.sampled_from([Retention(), Retention(True), Retention(True, "0s", default=True)]),
        "units": st.fixed_dictionaries(
            {name: st.builds(Unit, st.booleans(), st.booleans()) for name in ("containerd", "kubelet")}
        ),
        "ca_hash": st.sampled_from(["", "sha256:" + "0" * 64]),
        "firewall_rules": st.integers(0, 3),
        "pods": st.integers(0, 3),
        "images": st.just(frozenset[str]()),
        "reporting": st.sets(st.sampled_from(["cp1", "w1"])).map(frozenset),
    }
)


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    stage=st.sampled_from(STAGES),
    family=st.sampled_from(FAMILIES),
    name=st.sampled_from(["cp1", "w1"]),
    changes=odd_facts,
    alone=st.booleans(),
)
def test_the_model_knows_every_command_for_unusual_machines(
    stage: str, family: str, name: str, changes: dict[str, object], alone: bool
) -> None:
    at = world(stage, family)
    facts = replace(at.facts(name), **changes)
    check(at, at.environment, name, facts, None if alone else at.facts("cp1"), Choices(whole_cluster=alone))


@pytest.mark.parametrize(
    "line",
    [
        "frobnicate --now",
        "kubectl frobnicate",
        "systemctl frobnicate kubelet",
        "awk '{frob}' /etc/fstab",
        "sleep 1 &",
        "rm -rf /etc",
    ],
)
def test_an_unmodelled_command_fails_loudly(line: str) -> None:
    code, output = shell.run(world("cluster", "apt").machine("cp1"), script.render("test.line", (f"{line} || true",)))
    assert code == shell.NOT_MODELLED
    assert "not modelled" in output.decode()


def test_an_unknown_script_is_refused() -> None:
    code, output = shell.run(world("fresh", "apt").machine("w1"), "# kubefab: odd\nmain() {\necho x\n}\nmain\n")
    assert code == shell.NOT_MODELLED
    assert b"without its marks" in output


def test_the_model_never_starts_a_process() -> None:
    folder = Path(shell.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text()
        assert not any(
            word in text for word in ("subprocess", "os.system", "os.popen", "os.exec", "pty.spawn", "invoke.run")
        ), path


def test_our_state_folder_is_among_the_traces() -> None:
    assert STATE in TRACES
