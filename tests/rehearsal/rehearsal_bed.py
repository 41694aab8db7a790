"""A test bed: our runner on simulated nodes, one call for each command; it keeps everything that a person could read."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from forgetting import forgetting

import rehearsal
from cli import Done, run
from fabfile import inventory, phases
from fabfile.context import Choices
from fabfile.errors import KubefabError
from fabfile.inventory import Environment, Node
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.group import connected
from fabfile.phases import Phase
from fabfile.run.apply import Archive
from fabfile.run.events import Events
from fabfile.run.journal import Journal
from fabfile.run.observer import Observer, looking
from fabfile.run.pipelines import Run
from fabfile.run.result import NodeResult, RunResult
from fabfile.views.doctor.examine import Doctor, Report
from fabfile.views.signatures import likely
from printed import own
from rehearsal.simulation import Simulation

LOOKS = re.compile(r"^inv cluster\.(doctor|status|verify)\b")
INVENTORY = """\
REHEARSAL_CONTROL_PLANE="127.0.0.1 name=cp1"
REHEARSAL_SIMULATED=yes
REHEARSAL_POD_CIDR=10.44.0.0/16
REHEARSAL_RETENTION=0d
"""


@dataclass
class Recorder:
    """A reporter that records every line."""

    lines: list[str] = field(default_factory=list)

    def doing(self, node: str, phase: str, text: str) -> None:
        self.lines.append(f"{node} {phase} {text}")

    def phase_done(self, node: str, phase: str, steps: int, seconds: float) -> None:
        self.lines.append(f"{node} {phase} done")

    def node_done(self, node: str, result: NodeResult) -> None:
        if result.error:
            self.lines.append(f"{node} {result.error.message}\n{result.error.remedy}\n{result.error.output}")

    def note(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class Outcome:
    """The outcome of one command: the run's result, what was reported, and the simulation (its servers are stopped)."""

    result: RunResult
    recorder: Recorder
    simulation: Simulation

    @property
    def states(self) -> dict[str, str]:
        return {name: result.state for name, result in self.result.nodes.items()}

    @property
    def failed(self) -> dict[str, KubefabError]:
        return {r.node: r.error or KubefabError("?") for r in self.result.nodes.values() if r.state == "failed"}

    @property
    def blocked(self) -> set[str]:
        return {r.node for r in self.result.nodes.values() if r.state == "blocked"}


class Bed:
    """One rehearsal environment in its own folder."""

    def __init__(self, folder: Path, extra: str = "", systems: Mapping[str, str] | None = None) -> None:
        project = folder / "project"
        project.mkdir(parents=True, exist_ok=True)
        (project / "hosts.env").write_text(INVENTORY + extra)
        self.systems = systems
        self.file = project / "hosts.env"
        self.environment: Environment = self._load()

    def _load(self) -> Environment:
        return inventory.load("rehearsal", variables={"KUBEFAB_HOSTS": str(self.file)})

    def edit(self, line: str) -> None:
        """The operator sets a key of hosts.env; what the file has beside INVENTORY's other lines is gone."""
        key = line.partition("=")[0]
        kept = [one for one in INVENTORY.splitlines() if one.partition("=")[0] != key]
        self.file.write_text("\n".join([*kept, line, ""]))
        self.environment = self._load()

    def run(
        self,
        chosen: Sequence[Phase] = phases.BOOTSTRAP,
        *faults: str,
        workers: int | None = None,
        on: Sequence[str] = ("all",),
        choices: Choices | None = None,
        hook: Callable[[Simulation, Run], None] | None = None,
        archive: Archive | None = None,
    ) -> Outcome:
        """Run one command. `hook` is called with the simulation and the run before it starts; `archive` is Run's."""
        with (
            rehearsal.running(self.environment, workers=workers, faults=faults, systems=self.systems) as simulation,
            connected(simulation.environment) as group,
        ):
            environment = simulation.environment
            recorder = Recorder()
            nodes = environment.select(on)
            names, chapters = [n.name for n in nodes], [p.name for p in chosen]
            with closing(Journal(environment.state / "journal", "test", nodes=names, phases=chapters)) as journal:
                run = Run(
                    environment,
                    group,
                    recorder,
                    journal=journal,
                    choices=choices,
                    clock=simulation.clock,
                    archive=archive,
                )
                if hook:
                    hook(simulation, run)
                result = run.run(chosen, nodes)
        return Outcome(result, recorder, simulation)

    def healthy(self, workers: int = 2) -> None:
        """Fresh machines become a healthy cluster: a copy of the one that `bootstrap` made of this inventory, once in this process.

        It costs nothing, so a test that only begins with a cluster takes this one; two of the same inventory are the same cluster.
        """
        made = _cluster(self.file.read_text(), workers, tuple((self.systems or {}).items()))
        shutil.copytree(made.name, self.environment.state)

    def bootstrap(self, *faults: str, workers: int | None = None) -> Outcome:
        return self.run(phases.BOOTSTRAP, *faults, workers=workers)

    def reset(self, *faults: str, on: Sequence[str] = ("all",), foreign: Sequence[str] = ()) -> Outcome:
        choices = Choices(whole_cluster=tuple(on) == ("all",), foreign=frozenset(foreign))
        return self.run([phases.RESET], *faults, on=on, choices=choices)

    def facts(self) -> dict[str, NodeFacts]:
        """The facts of every node, without changing it: what it answers to the observing script, without SSH."""
        with rehearsal.running(self.environment) as simulation:
            observer = Observer(simulation.environment, _AtHand(simulation), events=Events(clock=simulation.clock))
            return {node.name: observer.observe(node) for node in simulation.environment.nodes}

    def examined(self) -> Report:
        """The doctor's report on every node, without the ports between nodes."""
        with (
            rehearsal.running(self.environment) as simulation,
            looking(simulation.environment, clock=simulation.clock) as observer,
        ):
            nodes = observer.environment.nodes
            doctor = Doctor(observer.environment, observer.group, lambda text: None)
            return doctor.examine(nodes, observer.survey(nodes), network=False)

    def typed(self, line: str) -> Done:
        """Run a command line of ours as a person types it: by the real parser, in a process of its own, with this bed's inventory."""
        return run(
            *shlex.split(line),
            KUBEFAB_HOSTS=str(self.environment.origin or ""),
            XDG_STATE_HOME=os.environ["XDG_STATE_HOME"],
            COLUMNS="200",
        )

    def follow(self, outcome: Outcome) -> list[str]:
        """Type what the failures of a run advise: each command of ours, in order, NODE being the node that failed.

        Each must end well: 0, or for those that only look 0 or 1, by what they find. Returns the lines.
        """
        lines: list[str] = []
        for name, error in outcome.failed.items():
            known = likely(f"{error.message}\n{error.output}") if error.output else None
            advised = [
                line.replace("NODE", name)
                for text in (known.remedy if known else "", error.remedy)
                for line in own(text)
                if " FILE" not in line  # a backup, which a person names
            ]
            lines += advised if not set(advised) <= set(lines) else []
        for line in lines:
            done = self.typed(line)
            assert done.returncode in ((0, 1) if LOOKS.search(line) else (0,)), (line, done.stdout, done.stderr)
        return lines

    def typed_on(self, node: str, line: str) -> Done:
        """Run a line in root's shell on a node."""
        return self.typed(f"inv cluster.run {shlex.quote(line)} --on {node} --sudo")

    def written(self) -> str:
        """The text of all files that a run keeps on this machine: journals and known_hosts."""
        files = [*sorted((self.environment.state / "journal").glob("*")), self.environment.state / "known_hosts"]
        return "".join(path.read_text() for path in files if path.exists())


@dataclass(frozen=True)
class _AtHand:
    """An observer's group whose nodes are at hand: they answer without SSH."""

    simulation: Simulation

    def of(self, node: Node) -> SimpleNamespace:
        host = self.simulation.hosts[node.name]
        return SimpleNamespace(root=lambda text, timeout: self.simulation.ask(host, text))


@cache
def _cluster(hosts: str, workers: int, systems: tuple[tuple[str, str], ...]) -> TemporaryDirectory[str]:
    """The state of a rehearsal with a healthy cluster, which no test writes to."""
    kept = TemporaryDirectory()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch, forgetting():
        patch.setenv("XDG_STATE_HOME", str(Path(folder, "state")))
        bed = Bed(Path(folder), systems=dict(systems))
        bed.file.write_text(hosts)
        bed.environment = bed._load()
        made = bed.bootstrap(workers=workers)
        assert set(made.states.values()) == {"done"}, made.recorder.lines
        shutil.copytree(bed.environment.state, kept.name, dirs_exist_ok=True)
    return kept


def inv(state: Path, *words: str) -> tuple[int, str]:
    """Run a command with its state folder in `state`; returns exit code and output."""
    done = run("inv", *words, XDG_STATE_HOME=str(state), COLUMNS="120", KUBECONFIG=str(state / "kubeconfig"))
    return done.returncode, done.stdout + done.stderr
