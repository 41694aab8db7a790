"""The runner with nodes modelled in this file: pipelines without barriers, and failures that stay on their node.

A node here is the set of names of the steps that were applied to it.  The phases are small ones for these tests.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.context import LATER, Choices, Context
from fabfile.errors import KubefabError, StepFailed, Unreachable
from fabfile.inventory import Node
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.group import at_once
from fabfile.nodes.script import LOCKED
from fabfile.phases import Phase
from fabfile.run import apply, claims, observer, pipelines
from fabfile.run import journal as journal_module
from fabfile.run.journal import Journal, read
from fabfile.run.pipelines import Run
from fabfile.run.result import NodeResult, RunResult
from fabfile.run.tokens import new_token
from fabfile.steps import Action, File, Remedy, Step, Stop, Wait
from fabfile.text.masking import MASKED, register
from making import api_node, environment, identity

PATIENCE = 20  # seconds until a test that hangs is a failed test


class Virtual:
    def __init__(self) -> None:
        self.time = 0.0
        self._lock = Lock()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.time += seconds

    def advance_to(self, moment: float) -> None:
        with self._lock:
            self.time = max(self.time, moment)


@dataclass
class Recorder:
    """A reporter that remembers every event."""

    notes: list[str] = field(default_factory=list)
    done: dict[str, NodeResult] = field(default_factory=dict)
    phases: list[tuple[str, str, int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def doing(self, node: str, phase: str, text: str) -> None:
        self.texts.append(f"{node} {phase}: {text}")

    def phase_done(self, node: str, phase: str, steps: int, seconds: float) -> None:
        self.phases.append((node, phase, steps))

    def node_done(self, node: str, result: NodeResult) -> None:
        self.done[node] = result

    def note(self, text: str) -> None:
        self.notes.append(text)


class World:
    """Nodes, the steps applied to them, and hooks for what happens meanwhile."""

    def __init__(self, workers: int = 2, forks: int = 40) -> None:
        self.environment = environment(workers=workers, forks=str(forks))
        self.done: dict[str, set[str]] = {n.name: set() for n in self.environment.nodes}
        self.log: list[tuple[str, str]] = []
        self.sent: list[str] = []
        self.timeouts: dict[str, tuple[float, str]] = {}
        self.hooks: dict[tuple[str, str], Callable[[], Any]] = {}
        self.probes: dict[tuple[str, str], Callable[[], str]] = {}
        self.happened: dict[tuple[str, str], Event] = {}
        self.undone: set[tuple[str, str]] = set()  # steps that succeed without any effect
        self.closed: list[str] = []
        self.identity: dict[str, dict[str, str]] = {}
        self.clock = Virtual()
        self.reporter = Recorder()
        self._lock = Lock()

    # the group that Run is given

    def of(self, node: Node) -> Any:
        world = self

        class One:
            node_name = node.name

            def __init__(self) -> None:
                self.node = node

            def root(self, text: str, timeout: float, heard: Any = None, *, more: bool = False) -> tuple[int, bytes]:
                world.timeouts[re.findall(r"# kubefab: (\S+)", text)[0]] = (timeout, text)
                return world.root(node.name, text)

            def rest(self) -> None:
                world.closed.append(node.name)

            def open(self) -> None:
                if (node.name, "open") in world.hooks:
                    world.hooks[node.name, "open"]()

        return One()

    def each(self, nodes: Iterable[Node], ask: Callable[[Node], Any]) -> dict[str, Any]:
        nodes = list(nodes)
        return dict(zip((n.name for n in nodes), at_once(nodes, ask, len(nodes)), strict=True))

    def root(self, node: str, text: str) -> tuple[int, bytes]:
        name = re.match(r"# kubefab: (\S+)", text)
        assert name, "every script names itself"
        step = name[1]
        with self._lock:
            self.log.append((node, step))
            self.sent.append(text)
        answer = self.hooks[node, step]() if (node, step) in self.hooks else None
        if answer is None:
            if step == "observe":
                answer = (0, f"facts of {node}".encode())
            elif (node, step) in self.probes:
                answer = (0, b"##kubefab 1 0\n" + self.probes[node, step]().encode())
            else:
                answer = (0, b"##kubefab 1 0\n")
        if answer[0] == 0 and (node, step) not in self.undone:
            self.done[node].add(step)
        self.event(node, step).set()
        return answer  # type: ignore[no-any-return]

    def event(self, node: str, step: str) -> Event:
        with self._lock:
            return self.happened.setdefault((node, step), Event())

    def wait_for(self, node: str, step: str) -> Callable[[], None]:
        """A hook that delays a step until another was applied."""

        def hold() -> None:
            assert self.event(node, step).wait(PATIENCE), f"{step} on {node} did not come"

        return hold

    def facts(self, output: str) -> NodeFacts:
        name = output.removeprefix("facts of ")
        done = self.done[name]
        members = tuple(api_node(n) for n, d in self.done.items() if "join.join" in d or n == "cp1")
        same = self.identity.get(name, {})
        return NodeFacts(
            hostname=same.get("hostname", name), machine_id=same.get("machine_id", f"id-{name}"), undo=frozenset(done),
            identity=identity(self.environment, name, uid="", ca="", hostname=same.get("hostname", name)),
            api_ready="master.init" in self.done["cp1"] if name == "cp1" else False, nodes=members if name == "cp1" else (),
        )  # fmt: skip

    def run(
        self,
        *phases: Phase,
        on: str = "all",
        choices: Choices | None = None,
        journal: Journal | None = None,
        held: Callable[[], None] = lambda: None,
    ) -> RunResult:
        self.reporter = Recorder()
        self.last = Run(
            self.environment,
            self,
            self.reporter,
            journal=journal,
            choices=choices,
            clock=lambda name: self.clock,
            held=held,  # type: ignore[arg-type]
        )
        return self.last.run(phases, self.environment.select(on.split(",")))

    def states(self) -> dict[str, str]:
        return {name: result.state for name, result in self.reporter.done.items()}

    def steps_on(self, node: str) -> list[str]:
        return [step for name, step in self.log if name == node and step != "observe"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    def make(workers: int = 2, forks: int = 40) -> World:
        made = World(workers, forks)
        monkeypatch.setattr(observer, "parse_facts", made.facts)
        return made

    return make


# --- phases for these tests


def phase(name: str, *steps: str | Action, roles: str = "both", **more: Any) -> Phase:
    """A phase that yields each step until it was applied; `steps` are names or actions."""
    wanted = [
        Step(f"{name}.{s}", f"do {s}", (f"do {name}.{s}",), hint=f"look at {s}") if isinstance(s, str) else s
        for s in steps
    ]

    def decide(ctx: Context) -> Iterator[Action]:
        for action in wanted:
            done_by = "join.join" if action.id == "join.token" else action.id
            if done_by not in ctx.facts.undo:
                yield action

    chosen = {"both": {"control-plane", "worker"}, "control": {"control-plane"}, "workers": {"worker"}}[roles]
    return Phase(name, name, decide, frozenset(chosen), **more)


INSTALL = phase("install", "packages")
MASTER = phase("master", "init", roles="control", opens={"control-plane": "master"}, observe_after=True)
NETWORK = phase("network", "flannel", roles="control", opens={"control-plane": "network"})
JOIN = phase(
    "join",
    Step("join.token", "token", ("mint",), on="control-plane", once=True, mints=True),
    "join",
    Wait(
        "join.flannel",
        "flannel.1",
        "look",
        lambda seen: None if "there" in seen else seen or "nothing",
        60,
        2,
        needs="network",
        hint="look",
    ),
    roles="workers",
    waits_for={"worker": "master"},
    opens={"worker": "members"},
    observe_before=frozenset({"worker"}),
    admits=True,
)
ADDONS = phase(
    "addons",
    "monitoring",
    roles="control",
    waits_for={"control-plane": "members"},
    opens={"control-plane": "addons"},
)
ALL = (INSTALL, MASTER, NETWORK, JOIN, ADDONS)


def ready(world: World) -> World:
    """Make flannel.1 exist when it is probed for."""
    for node in world.environment.workers:
        world.probes[node.name, "join.flannel"] = lambda: "there"
    return world


# --- a whole run


def test_each_node_gets_every_step_once_and_in_order(world: Callable[..., World]) -> None:
    w = ready(world())
    result = w.run(*ALL)
    assert result.exit_code == 0
    assert w.states() == {"cp1": "done", "w1": "done", "w2": "done"}
    assert [s for s in w.steps_on("cp1") if not s.startswith("join")] == [
        "install.packages",
        "master.init",
        "network.flannel",
        "addons.monitoring",
    ]
    assert w.steps_on("w1") == ["install.packages", "join.join", "join.flannel"]


def test_a_second_run_observes_and_does_nothing(world: Callable[..., World]) -> None:
    w = ready(world())
    w.run(*ALL)
    w.log.clear()
    result = w.run(*ALL)
    assert (result.exit_code, result.steps) == (0, 0)
    assert sorted(w.log) == [("cp1", "observe"), ("w1", "observe"), ("w2", "observe")], (
        "one round of observing and no other command"
    )


def test_phases_are_judged_by_the_same_context_until_something_of_it_changes(world: Callable[..., World]) -> None:
    """So what all phases ask of it (whose is the machine?) is worked out once; and again with whatever was applied or seen."""
    contexts: list[Context] = []
    asked: list[NodeFacts] = []

    def question(ctx: Context) -> str:
        asked.append(ctx.facts)
        return ctx.facts.hostname

    def looks(ctx: Context) -> Iterator[Action]:
        contexts.append(ctx)
        assert ctx.once(question) == ctx.once(question) == "w1"
        yield from ()

    look = [Phase(f"look{n}", "look", looks, frozenset({"worker"})) for n in range(4)]
    acts = phase("act", "step", roles="workers", observe_after=True)
    w = world(workers=1)
    w.run(look[0], look[1], acts, look[2], look[3], on="w1")
    first, second, third, fourth = contexts
    assert first is second and third is fourth and first is not third
    assert first.facts.undo != third.facts.undo and asked == [first.facts, third.facts]
    w.last.record = replace(w.last.record, uid="another")
    assert w.last._context(w.environment.nodes[1], third.facts, "") is not third
    for copy in (replace(third), replace(third, facts=replace(third.facts, hostname="w9"))):
        assert copy.once(question) == copy.facts.hostname, "a copy has no answers of the first"


def _up(id: str, **more: Any) -> Wait:
    return Wait(id, id, "look", lambda seen: None if "up" in seen else seen or "nothing", 60, 2, hint="look", **more)


@pytest.mark.parametrize("meanwhile", [True, False])
def test_the_next_phases_steps_come_before_the_waits_that_they_do_not_need(
    world: Callable[..., World], meanwhile: bool, tmp_path: Path
) -> None:
    w = world(workers=0)
    first = phase("network", _up("network.early"), "flannel", _up("network.pods"), meanwhile=meanwhile)
    then = phase("addons", "apply", _up("addons.ready"), "last")
    for wait in ("network.early", "network.pods", "addons.ready"):
        w.probes["cp1", wait] = lambda: "up"
    at = {"network.pods": 5.0, "addons.apply": 2.0}
    for step, seconds in at.items():
        w.hooks["cp1", step] = lambda seconds=seconds: w.clock.sleep(seconds)
    result = w.run(first, then, on="cp1")
    pods, apply = ("network.pods", "addons.apply")[:: -1 if meanwhile else 1]
    assert w.steps_on("cp1") == ["network.early", "network.flannel", pods, apply, "addons.ready", "addons.last"]
    assert [(name, steps) for _, name, steps in w.reporter.phases] == [("network", 1), ("addons", 2)]
    assert result.nodes["cp1"].seconds == {"network": 5.0, "addons": 2.0}, "a phase's time is its own"
    assert result.steps == 3


@pytest.mark.parametrize(
    "more", [(), (phase("addons", "apply", _up("addons.ready"), roles="control"),), (phase("addons", roles="control"),)]
)
def test_a_wait_that_was_left_for_later_fails_as_its_own_phase(
    world: Callable[..., World], more: tuple[Phase, ...]
) -> None:
    w = world(workers=1)
    first = phase(
        "network", "flannel", _up("network.pods"), roles="control", opens={"control-plane": "network"}, meanwhile=True
    )
    behind = phase("join", "join", roles="workers", waits_for={"worker": "network"})
    result = w.run(MASTER, first, *more, behind).nodes
    assert (result["cp1"].state, result["cp1"].phase, result["cp1"].step) == ("failed", "network", "network.pods")
    assert "gave up waiting: network.pods" in result["cp1"].error.message
    assert result["w1"].state == "blocked" and "cp1 (network failed)" in result["w1"].error.message
    assert ("cp1", "addons.ready") not in w.log


def test_a_phase_that_waits_for_other_nodes_waits_for_what_was_left_first(world: Callable[..., World]) -> None:
    """Others may wait for what that opens."""
    w = ready(world(workers=1))
    w.probes["cp1", "network.pods"] = lambda: "up"
    network = phase(
        "network", "flannel", _up("network.pods"), roles="control", opens={"control-plane": "network"}, meanwhile=True
    )
    assert w.run(INSTALL, MASTER, network, JOIN, ADDONS).exit_code == 0
    assert w.log.index(("cp1", "network.pods")) < w.log.index(("cp1", "addons.monitoring"))


def test_workers_are_prepared_while_the_control_plane_initialises(world: Callable[..., World]) -> None:
    w = ready(world())

    def slow() -> None:
        for node in ("w1", "w2"):
            w.wait_for(node, "install.packages")()

    w.hooks["cp1", "master.init"] = slow
    assert w.run(*ALL).exit_code == 0


def test_a_worker_joins_as_soon_as_the_api_answers_without_waiting_for_others(world: Callable[..., World]) -> None:
    w = ready(world())
    w.hooks["w2", "install.packages"] = w.wait_for("w1", "join.flannel")
    assert w.run(*ALL).exit_code == 0


def test_addons_wait_for_one_worker_only(world: Callable[..., World]) -> None:
    w = ready(world())
    w.hooks["w2", "install.packages"] = w.wait_for("cp1", "addons.monitoring")
    assert w.run(*ALL).exit_code == 0


def test_a_join_waits_for_the_api(world: Callable[..., World]) -> None:
    w = ready(world(workers=5))
    w.run(*ALL)
    order = [entry for entry in w.log if entry[1] in ("master.init", "join.join")]
    assert order[0] == ("cp1", "master.init")


@pytest.mark.parametrize("forks", [1, 2, 3])
def test_fewer_slots_than_nodes_never_deadlock(world: Callable[..., World], forks: int) -> None:
    w = ready(world(workers=6, forks=forks))
    assert w.run(*ALL).exit_code == 0
    assert set(w.states().values()) == {"done"}


def test_the_control_plane_goes_on_while_nodes_that_begin_have_every_slot(world: Callable[..., World]) -> None:
    w = ready(world(workers=3, forks=1))
    w.hooks["w1", "install.packages"] = w.wait_for("cp1", "network.flannel")
    w.hooks["w2", "install.packages"] = w.wait_for("cp1", "addons.monitoring")
    assert w.run(*ALL).exit_code == 0


def test_of_more_nodes_than_slots_those_that_wait_for_another_keep_no_link(world: Callable[..., World]) -> None:
    w = ready(world(workers=5, forks=2))
    resting: list[int] = []

    def slow() -> None:
        for node in w.environment.workers:
            w.wait_for(node.name, "install.packages")()
        resting.append(len(set(w.closed)))

    w.hooks["cp1", "master.init"] = slow
    assert w.run(*ALL).exit_code == 0
    assert resting[0] >= 3 and "cp1" not in w.closed  # the last two may not have come to rest yet
    few = ready(world(workers=5, forks=5 + 1))
    assert few.run(*ALL).exit_code == 0 and not few.closed


def test_a_control_plane_without_workers_waits_for_no_node(world: Callable[..., World]) -> None:
    w = world(workers=0)
    assert w.run(*ALL).exit_code == 0
    assert "addons.monitoring" in w.steps_on("cp1")


# --- failures


def fail(code: int = 100, output: str = "E: no\n") -> Callable[[], tuple[int, bytes]]:
    return lambda: (code, f"##kubefab 1 {code}\n{output}".encode())


def unreachable() -> None:
    raise Unreachable("w2 (10.2.0.12:22): connection refused", "is sshd running there?")


@pytest.mark.parametrize("step", ["observe", "install.packages", "join.join"])
def test_a_dead_worker_fails_no_other_node(world: Callable[..., World], step: str) -> None:
    w = ready(world(workers=3))
    w.hooks["w2", step] = w.hooks["w2", "open"] = unreachable
    result = w.run(*ALL)
    assert result.exit_code == 1
    assert w.states() == {"cp1": "done", "w1": "done", "w2": "failed", "w3": "done"}
    assert [r.node for r in result.failed] == ["w2"]
    assert "connection refused" in result.nodes["w2"].error.message


def once(what: Callable[[], Any]) -> Callable[[], Any]:
    """Do `what` at the first call, and nothing special afterwards."""
    left = [what]
    return lambda: left.pop()() if left else None


def test_no_node_is_changed_before_the_control_plane_was_observed(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of every node knows the living cluster's settings, however slowly the control plane answers."""
    monkeypatch.setattr(claims, "CLAIM_WAIT", 0.0)
    w, decided, known = world(), Event(), []

    def slow() -> None:
        for _ in range(PATIENCE * 100):
            waiting = {
                name
                for name in ("w1", "w2")
                for text in list(w.reporter.texts)
                if text.startswith(f"{name} ") and "first look" in text
            }
            if decided.wait(0.01) or len(waiting) == 2:
                return

    def decide(ctx: Context) -> Iterator[Action]:
        decided.set()
        known.append(ctx.control is not None)
        yield from ()

    w.hooks["cp1", "observe"] = once(slow)
    assert w.run(Phase("prep", "prep", decide, frozenset({"worker", "control-plane"}))).exit_code == 0
    assert known == [True, True, True]


@pytest.mark.parametrize("trouble", [unreachable, fail()])
def test_an_unobservable_control_plane_does_not_stop_the_other_nodes(
    world: Callable[..., World], trouble: Callable[[], Any]
) -> None:
    w = world()
    w.hooks["cp1", "observe"] = trouble
    w.run(phase("prep", "prep.swap"))
    assert w.states() == {"cp1": "failed", "w1": "done", "w2": "done"}


@pytest.mark.parametrize(
    ("node", "step"), [("w2", "install.packages"), ("w2", "join.join"), ("cp1", "master.init"), ("cp1", "join.token")]
)
def test_a_broken_connection_is_reopened_in_the_same_run(world: Callable[..., World], node: str, step: str) -> None:
    w = ready(world(workers=3))
    w.hooks[node, step] = once(unreachable)
    assert w.run(*ALL).exit_code == 0
    assert w.steps_on(node).count(step) >= 1


def test_after_a_reconnect_the_control_plane_is_observed_again(
    world: Callable[..., World],
) -> None:
    w = ready(world(workers=1))
    w.done["cp1"] |= {"master.init", "network.flannel"}
    listed: list[bool] = []

    def decide(ctx: Context) -> Iterator[Action]:
        assert ctx.control
        listed.append(ctx.control.node_object("w1") is not None)
        if "join.join" not in ctx.facts.undo:
            yield Step("join.join", "join", ("join",))

    def joined_unseen() -> None:
        w.done["w1"].add("join.join")
        unreachable()

    w.hooks["w1", "join.join"] = once(joined_unseen)
    w.run(Phase("join", "join", decide, frozenset({"worker"}), waits_for={"worker": "master"}, admits=True), on="w1")
    assert listed == [False, True]
    assert w.states() == {"w1": "done"}


def test_an_unlisted_member_is_observed_again_before_it_rejoins(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    w = ready(world(workers=1))
    w.done["cp1"] |= {"master.init", "network.flannel"}
    monkeypatch.setattr(NodeFacts, "joined", property(lambda facts: "join.join" in facts.undo))
    # what an earlier run began ends while this one waits for it
    w.hooks["w1", "observe"] = lambda: w.done["w1"].add("join.join")
    listed: list[bool] = []

    def decide(ctx: Context) -> Iterator[Action]:
        listed.append(ctx.control is not None and ctx.control.node_object("w1") is not None)
        yield from ()

    w.run(Phase("join", "join", decide, frozenset({"worker"}), waits_for={"worker": "master"}, admits=True), on="w1")
    assert listed == [True]


def test_after_a_reconnect_a_silent_control_plane_is_retried(world: Callable[..., World]) -> None:
    w = ready(world(workers=1))

    def broken() -> None:
        w.hooks["cp1", "observe"] = once(unreachable)
        unreachable()

    w.hooks["w1", "join.join"] = once(broken)
    assert w.run(*ALL).exit_code == 0


def test_a_connection_that_always_breaks_fails_the_node(world: Callable[..., World]) -> None:
    w = ready(world(workers=2))
    w.hooks["w1", "join.join"] = unreachable
    w.run(*ALL)
    assert w.states() == {"cp1": "done", "w1": "failed", "w2": "done"}
    assert w.log.count(("w1", "join.join")) == pipelines.LINK_BREAKS + 1


def test_a_failed_step_says_node_title_code_command_output_and_hint(world: Callable[..., World]) -> None:
    w = ready(world())
    w.hooks["w1", "install.packages"] = fail(
        100, "".join(f"line {n}\n" for n in range(50)) + "E: Unable to locate package\n"
    )
    error = w.run(*ALL).nodes["w1"].error
    assert error
    assert error.message == "w1: do packages failed (exit code 100)\n  $ do install.packages"
    assert error.remedy == "look at packages"
    assert error.output.endswith("E: Unable to locate package")
    assert "line 0\n" not in error.output, "the end of the output explains it"


def test_a_failed_control_plane_blocks_prepared_workers_and_is_named(
    world: Callable[..., World],
) -> None:
    w = ready(world())
    w.hooks["cp1", "master.init"] = fail()
    result = w.run(*ALL)
    assert w.states() == {"cp1": "failed", "w1": "blocked", "w2": "blocked"}
    assert w.steps_on("w1") == ["install.packages"]
    assert result.nodes["w1"].error.message == "w1: waits for cp1 (master failed)"
    assert result.exit_code == 1


def test_an_unreachable_control_plane_is_the_only_reported_cause(world: Callable[..., World]) -> None:
    w = ready(world())
    w.hooks["cp1", "observe"] = unreachable
    w.run(*ALL)
    assert w.states() == {"cp1": "failed", "w1": "blocked", "w2": "blocked"}


def test_a_run_ends_even_if_no_worker_joins(world: Callable[..., World]) -> None:
    w = ready(world())
    w.hooks["w1", "join.join"] = w.hooks["w2", "join.join"] = fail()
    w.run(*ALL)
    assert w.states()["w1"] == w.states()["w2"] == "failed"
    assert w.reporter.done.keys() == {"cp1", "w1", "w2"}


def test_after_a_fix_the_next_run_continues_where_it_stopped(world: Callable[..., World]) -> None:
    w = ready(world())
    w.hooks["w1", "join.join"] = fail()
    w.run(*ALL)
    del w.hooks["w1", "join.join"]
    w.log.clear()
    assert w.run(*ALL).exit_code == 0
    assert w.steps_on("w1") == ["join.join"] or w.steps_on("w1") == ["join.join", "join.flannel"]
    assert "install.packages" not in w.steps_on("w1")


def test_a_bug_ends_one_pipeline_and_is_reported_as_a_bug(world: Callable[..., World], tmp_path: Path) -> None:
    w = ready(world())
    w.hooks["w1", "install.packages"] = lambda: 1 // 0
    journal = Journal(tmp_path, "test")
    result = w.run(*ALL, journal=journal)
    assert w.states() == {"cp1": "done", "w1": "failed", "w2": "done"}
    assert "internal error" in result.nodes["w1"].error.message
    assert any("ZeroDivisionError" in e.get("trace", "") for e in read(journal.path))


def test_a_refusal_is_a_failure_with_its_remedy(world: Callable[..., World]) -> None:
    w = world()
    stop = phase("prep", Stop("prep.leftovers", "cni0 exists already", "fab -H w1 reset"))
    result = w.run(stop, on="w1")
    assert result.nodes["w1"].error.message == "w1: cni0 exists already"
    assert result.nodes["w1"].error.remedy == "fab -H w1 reset"
    assert w.steps_on("w1") == []


def test_an_unreadable_answer_to_observing_is_an_error_of_that_node(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    w = world()
    monkeypatch.undo()
    w.hooks["w1", "observe"] = lambda: (127, b"bash: command not found")
    result = w.run(INSTALL, on="w1")
    assert "w1: observing failed with exit code 127" in result.nodes["w1"].error.message


def test_a_step_without_effect_fails_the_run(world: Callable[..., World]) -> None:
    w = world()
    w.undone.add(("w1", "install.packages"))
    result = w.run(INSTALL, on="w1")
    assert result.exit_code == 1
    assert "install.packages was applied without an error, yet it is still to do" in result.nodes["w1"].error.message


def test_a_run_waits_for_an_earlier_runs_step_to_end(world: Callable[..., World]) -> None:
    w = world()
    w.hooks["w1", "install.packages"] = lambda: (LOCKED, f"##kubefab 0 {LOCKED}\n".encode())
    error = w.run(INSTALL, on="w1").nodes["w1"].error
    assert isinstance(error, StepFailed)
    assert "a step of an earlier run is still running there" in error.message


@pytest.mark.parametrize("changes", [False, True])
def test_no_script_waits_for_a_nodes_lock_after_its_caller_gave_up(world: Callable[..., World], changes: bool) -> None:
    w = world(workers=1)
    slow = Step("install.packages", "packages", ("do",), timeout=40)
    wait = Wait("install.seen", "seen", "look", lambda seen: None, 60, 2, changes=changes, hint="look")
    w.run(phase("install", slow, wait), on="w1")
    for timeout, text in w.timeouts.values():
        waits = re.findall(r"flock -w (\d+)", text)
        assert not waits or timeout >= int(waits[0]) + 30
    assert w.timeouts["install.packages"][0] == 40 + apply.STEP_LOCK_WAIT


def test_workers_take_turns_before_they_use_the_control_plane(world: Callable[..., World]) -> None:
    w = world(workers=5)
    at_once: list[int] = []
    under_way = [0]

    def drain() -> None:
        under_way[0] += 1
        at_once.append(under_way[0])
        Event().wait(0.05)
        under_way[0] -= 1

    w.hooks["cp1", "reset.node"] = drain
    w.run(phase("reset", Step("reset.node", "drain", ("drain",), on="control-plane"), takes_back=True), on="workers")
    assert at_once == [1] * 5
    assert any("waits for its turn on cp1: drain" in text for text in w.reporter.texts)


def test_a_stop_ends_waiting_for_a_turn(world: Callable[..., World]) -> None:
    w = world(workers=2)

    def stop_and_go_on() -> None:
        w.last.stop()
        Event().wait(1)

    w.hooks["cp1", "reset.node"] = stop_and_go_on
    w.run(phase("reset", Step("reset.node", "drain", ("drain",), on="control-plane"), takes_back=True), on="workers")
    assert w.steps_on("cp1") == ["reset.node"]


# --- what a run ended in the middle of


UNDO = Step("x.uncordon", "it takes pods again", ("uncordon",), on="control-plane")
MIDDLE = (
    Step("x.cordon", "cordon", ("cordon",), on="control-plane", undo=UNDO),
    Wait("x.drain", "drained", "drain", lambda seen: None if seen == "drained" else "pods stay", 10, 1, on="control-plane", undo=UNDO),
    Step("x.delete", "delete", ("delete",), on="control-plane"),
    Wait("x.end", "end", "end", lambda seen: None, 10, 1, on="control-plane"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("at", "how", "undone"),
    [
        ("x.cordon", "fails", True),  # it may have been done all the same
        ("x.drain", "gives up", True),
        ("x.drain", "stop", True),  # Ctrl-C
        ("x.drain", "crash", True),  # a fault of kubefab's own
        ("x.drain", "lost lock", False),  # another run may work on it by now
        ("x.delete", "fails", False),  # what cannot be taken back has begun
        ("", "", False),
    ],
)
def test_what_a_run_ends_in_the_middle_of_is_taken_back(
    world: Callable[..., World], at: str, how: str, undone: bool
) -> None:
    w, lost = world(workers=1), Event()
    w.probes["cp1", "x.drain"] = lambda: "no" if how in ("gives up", "lost lock") else "drained"

    def held() -> None:
        if lost.is_set():
            raise KubefabError("the lock is another run's", "look")

    def now() -> Any:
        if how == "fails":
            return 1, b"##kubefab 1 1\nno"
        if how == "stop":
            w.last.stop()
        if how == "crash":
            raise ValueError("a bug")
        if how == "lost lock":
            lost.set()
        return None

    if how not in ("", "gives up"):
        w.hooks["cp1", at] = now
    result = w.run(phase("x", *MIDDLE, roles="workers"), on="w1", held=held)
    assert ("x.uncordon" in w.steps_on("cp1")) == undone, w.steps_on("cp1")
    assert (result.nodes["w1"].state == "done") == (at == "")
    assert any("taken back: it takes pods again" in note for note in w.reporter.notes) == undone


def test_what_cannot_be_taken_back_is_said(world: Callable[..., World]) -> None:
    w = world(workers=1)
    w.probes["cp1", "x.drain"] = lambda: "no"
    w.hooks["cp1", "x.uncordon"] = lambda: (1, b"##kubefab 1 1\nthe API is away")
    w.run(phase("x", *MIDDLE, roles="workers"), on="w1")
    assert any("not taken back" in note and "the same command goes on" in note for note in w.reporter.notes)


# --- identities


@pytest.mark.parametrize("kind", ["hostname", "machine_id"])
def test_phases_learn_which_node_is_a_duplicate(world: Callable[..., World], kind: str) -> None:
    w = world()
    w.identity = {"w1": {kind: "same"}, "w2": {kind: "same"}}
    duplicates: list[str] = []

    def decide(ctx: Context) -> Iterator[Action]:
        if ctx.duplicate_of:
            duplicates.append(ctx.duplicate_of)
            yield Stop("prep.identity", f"has the same {ctx.duplicate_of}", "give each its own")

    result = w.run(Phase("prep", "prep", decide, frozenset({"worker", "control-plane"})))
    assert len(duplicates) == 1
    assert [r.state for r in result.nodes.values()].count("failed") == 1
    assert re.fullmatch(rf"{kind.replace('_', '-')} as w[12] \(same\)", duplicates[0])


@pytest.mark.timeout(60)
def test_nodes_do_not_deadlock_over_slots_and_identities(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "CLAIM_WAIT", 3600.0)
    w = ready(world(workers=6, forks=1))
    assert w.run(*ALL).exit_code == 0


# --- once, and the token


def test_a_once_step_runs_once_for_all(world: Callable[..., World]) -> None:
    w = ready(world(workers=6))
    w.run(*ALL)
    assert w.steps_on("cp1").count("join.token") == 1


def test_a_failed_once_step_fails_every_node_that_needs_it(world: Callable[..., World]) -> None:
    w = ready(world())
    w.hooks["cp1", "join.token"] = fail()
    w.run(*ALL)
    assert w.states()["w1"] == w.states()["w2"] == "failed"
    assert w.steps_on("cp1").count("join.token") == 1


def test_a_runs_token_is_deleted_however_the_run_ends(world: Callable[..., World]) -> None:
    w = ready(world())
    w.hooks["w1", "join.join"] = fail()
    w.run(*ALL)
    assert w.log[-1] == ("cp1", "join.token.delete")
    assert "kubeadm token delete" in w.sent[-1]
    w.log.clear()
    w.run(INSTALL)
    assert ("cp1", "join.token.delete") not in w.log, "no token was created, so none is deleted"


def test_each_run_has_its_own_secret_token_in_kubeadms_format() -> None:
    from fabfile.text.masking import mask

    tokens = {new_token() for _ in range(20)}
    assert len(tokens) == 20
    for token in tokens:
        assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token.reveal())
        assert mask(f"x {token.half} y") == f"x {MASKED} y"


# --- waits


@pytest.mark.parametrize("error", [Unreachable, StepFailed])
def test_a_wait_through_a_reboot_tolerates_an_unreachable_node(
    world: Callable[..., World], error: type[Exception]
) -> None:
    for reboots, state in ((True, "done"), (False, "failed" if error is Unreachable else "done")):
        w = world(workers=0)
        answers = iter([b"old", None, None, b"new"])

        def answer(answers: Iterator[bytes | None] = answers) -> tuple[int, bytes]:
            seen = next(answers)
            if seen is None:
                raise error("cp1: no answer")
            return 0, b"##kubefab 1 0\n" + seen

        w.hooks["cp1", "prep.back"] = answer
        w.hooks["cp1", "open"] = unreachable
        back = Wait(
            "prep.back",
            "back",
            "boot id",
            lambda seen: None if seen == "new" else seen,
            60,
            3,
            reboots=reboots,
            hint="look",
        )
        w.run(phase("prep", back))
        assert w.states() == {"cp1": state}


def test_a_probe_that_hangs_once_does_not_end_the_wait(world: Callable[..., World]) -> None:
    w = world(workers=0)

    def hangs() -> None:
        raise StepFailed("cp1: no end after 30 s")

    w.hooks["cp1", "network.pods"] = once(hangs)
    wait = Wait("network.pods", "pods", "look", lambda seen: None, 60, 2, hint="look")
    assert w.run(phase("network", wait)).exit_code == 0
    w.done["cp1"].clear()
    w.hooks["cp1", "network.pods"] = hangs
    error = w.run(phase("network", wait)).nodes["cp1"].error
    assert error
    assert error.message == "cp1: gave up waiting: pods\n  last seen: cp1: no end after 30 s"


def test_no_remedy_is_applied_while_an_earlier_run_is_still_working(world: Callable[..., World]) -> None:
    w = world(workers=0)
    w.hooks["cp1", "addons.policy"] = lambda: (LOCKED, f"##kubefab 0 {LOCKED}\n".encode())
    wait = Wait(
        "addons.policy",
        "policy",
        "ask",
        lambda seen: None,
        60,
        2,
        (Remedy("delete pods", ("delete",), 10),),
        "look",
        changes=True,
    )
    error = w.run(phase("addons", wait)).nodes["cp1"].error
    assert error
    assert "a step of an earlier run is still running there" in error.message
    assert w.steps_on("cp1") == ["addons.policy"]


def test_a_wait_on_the_control_plane_ends_when_the_node_dies(world: Callable[..., World]) -> None:
    w = world(workers=1)
    w.hooks["w1", "open"] = unreachable
    remedy = Remedy("recreate everything", ("do recreate",), 45)
    wait = Wait(
        "addons.seen",
        "seen",
        "look",
        lambda seen: "nothing yet",
        150,
        3,
        on="control-plane",
        remedies=(remedy,),
        hint="look",
    )
    assert "connection refused" in w.run(phase("addons", wait), on="w1").nodes["w1"].error.message
    assert ("cp1", "addons.seen.remedy") not in w.log


def test_a_wait_ends_when_its_condition_holds(world: Callable[..., World]) -> None:
    w = world()
    seen = iter(["", "no flannel.1", "there"])
    wait = Wait(
        "network.wait",
        "flannel.1",
        "ip addr",
        lambda s: None if "there" in s else s or "nothing",
        60,
        interval=2,
        hint="h",
    )
    w.probes["w1", "network.wait"] = lambda: next(seen)
    assert w.run(phase("network", wait), on="w1").exit_code == 0
    assert w.clock.time == 4
    assert "w1 network: flannel.1: no flannel.1" in w.reporter.texts


def test_remedies_run_in_order_once_each_then_the_evidence(world: Callable[..., World]) -> None:
    w = world()
    wait = Wait(
        "network.wait", "flannel.1 in 10.44.0.0/16", "ip addr", lambda s: s.strip() or "nothing", deadline=60, interval=5,
        remedies=(Remedy("restart the kubelet", ("systemctl restart kubelet",), 30), Remedy("recreate pods", ("kubectl delete",), 20, on="control-plane")),
        hint="reset it (N4)", evidence=("ip -br addr", "journalctl"),
    )  # fmt: skip
    w.probes["w1", "network.wait"] = lambda: "no flannel.1"
    w.hooks["w1", "network.wait.evidence"] = lambda: (0, b"##kubefab 2 0\n$ ip -br addr\nlo UNKNOWN\n")
    error = w.run(phase("network", wait), on="w1").nodes["w1"].error
    assert error.message == (
        "w1: gave up waiting: flannel.1 in 10.44.0.0/16\n  last seen: no flannel.1\n"
        "  tried after 30 s: restart the kubelet\n  tried after 20 s: recreate pods"
    )
    assert error.remedy == "reset it (N4)"
    assert "lo UNKNOWN" in error.output
    remedies = [(node, step) for node, step in w.log if step == "network.wait.remedy"]
    assert remedies == [("w1", "network.wait.remedy"), ("cp1", "network.wait.remedy")]
    assert w.clock.time == 30 + 20 + 60
    assert len(w.reporter.notes) == 2


def test_no_further_remedy_runs_after_one_has_helped(world: Callable[..., World]) -> None:
    w = world()
    wait = Wait(
        "network.wait",
        "t",
        "p",
        lambda s: None if "there" in s else "no",
        60,
        5,
        (Remedy("restart", ("r",), 10), Remedy("more", ("m",), 10)),
        "h",
    )
    w.probes["w1", "network.wait"] = lambda: "there" if ("w1", "network.wait.remedy") in w.log else ""
    assert w.run(phase("network", wait), on="w1").exit_code == 0
    assert [s for _, s in w.log].count("network.wait.remedy") == 1


def test_missing_evidence_does_not_hide_the_failure(world: Callable[..., World]) -> None:
    w = world()
    wait = Wait("network.wait", "t", "p", lambda s: "no", 10, 5, (), "h", evidence=("ip",))
    w.hooks["w1", "network.wait.evidence"] = unreachable
    error = w.run(phase("network", wait), on="w1").nodes["w1"].error
    assert "gave up waiting: t" in error.message
    assert "no evidence" in error.output


# --- some nodes only


def test_a_join_by_itself_asks_the_control_plane_first(world: Callable[..., World]) -> None:
    w = ready(world())
    w.done["cp1"] |= {"master.init", "network.flannel"}
    assert w.run(JOIN, on="workers").exit_code == 0
    assert ("cp1", "observe") in w.log


def test_a_join_without_a_control_plane_says_what_comes_first(world: Callable[..., World]) -> None:
    w = ready(world())
    result = w.run(JOIN, on="workers")
    assert w.states() == {"w1": "blocked", "w2": "blocked"}
    first = "first `fab -H cp1 prep --env test install --env test registry --env test init --env test`"
    assert f"w1: waits for the API on cp1, which does not answer: {first}" == result.nodes["w1"].error.message


def test_nodes_that_were_not_named_are_not_touched(world: Callable[..., World]) -> None:
    w = world(workers=4)
    w.run(INSTALL, on="w2,w4")
    assert {node for node, script in w.log if script != "observe"} == {"w2", "w4"}
    assert {node for node, _ in w.log} == {"cp1", "w2", "w4"}, "what its cluster was made with counts on each of them"


def test_a_phase_of_another_role_is_skipped(world: Callable[..., World]) -> None:
    w = world()
    w.run(MASTER, on="w1")
    assert w.steps_on("w1") == []


def test_resetting_one_node_works_when_the_control_plane_is_gone(world: Callable[..., World]) -> None:
    w = world()
    w.hooks["cp1", "observe"] = unreachable
    result = w.run(phase("reset", "files", takes_back=True), on="w1", choices=Choices(whole_cluster=False))
    assert result.exit_code == 0
    assert any("cannot be asked to forget" in note for note in w.reporter.notes)


# --- stopping


def test_a_stop_waits_for_the_current_step(world: Callable[..., World]) -> None:
    w = ready(world())
    two = phase("install", "one", "two")
    w.hooks["w1", "install.one"] = lambda: w.last.stop()
    result = w.run(two, on="w1")
    assert w.steps_on("w1") == ["install.one"]
    assert (result.nodes["w1"].state, result.exit_code) == ("interrupted", 130)


def test_after_a_stop_no_further_node_is_connected_to(world: Callable[..., World]) -> None:
    w = world(workers=5, forks=1)
    observed: list[int] = []

    def stop() -> None:
        observed.append(1)
        w.last.stop()

    for node in w.environment.nodes:
        w.hooks[node.name, "observe"] = stop
    result = w.run(INSTALL)
    assert len(observed) == 1
    assert set(w.states().values()) == {"interrupted"}
    assert result.exit_code == 130
    assert all(step == "observe" for _, step in w.log)


def test_a_stop_ends_before_the_next_phase(world: Callable[..., World]) -> None:
    w = world(workers=1)
    w.hooks["w1", "prep.one"] = lambda: w.last.stop()
    begun: list[str] = []
    more = Phase("install", "install", lambda ctx: iter(begun.append(ctx.node.name) or ()), frozenset({"worker"}))
    assert w.run(phase("prep", "one"), more, on="w1").exit_code == 130
    assert begun == []


def test_a_stop_ends_reconnecting(world: Callable[..., World]) -> None:
    w = world(workers=1)
    tries: list[int] = []

    def dead() -> None:
        tries.append(1)
        w.last.stop()
        unreachable()

    w.hooks["w1", "open"] = dead
    w.hooks["w1", "install.packages"] = unreachable
    assert w.run(INSTALL, on="w1").exit_code == 130
    assert len(tries) == 1


def test_a_stop_ends_waiting_at_a_gate_or_in_a_poll(world: Callable[..., World]) -> None:
    w = world(workers=1)

    def stop() -> None:
        w.wait_for("w1", "install.packages")()
        w.last.stop()

    w.hooks["cp1", "master.init"] = stop
    result = w.run(*ALL)
    assert set(w.states().values()) == {"interrupted"}
    assert result.exit_code == 130


# --- the journal


def test_the_journal_records_plan_steps_and_durations(world: Callable[..., World], tmp_path: Path) -> None:
    w = ready(world(workers=1))
    journal = Journal(tmp_path, "inv cluster.bootstrap")
    w.run(*ALL, journal=journal)
    events = list(read(journal.path))
    assert events[0]["event"] == "run"
    assert [e["steps"] for e in events if e["event"] == "plan" and e["node"] == "w1" and e["phase"] == "install"] == [
        ["install.packages"]
    ]
    assert {(e["node"], e["step"]) for e in events if e["event"] == "end"} >= {
        ("cp1", "master.init"),
        ("w1", "join.join"),
    }
    assert {e["node"]: e["state"] for e in events if e["event"] == "node"} == {"cp1": "done", "w1": "done"}


def test_a_failure_is_in_the_journal_with_its_output_masked(world: Callable[..., World], tmp_path: Path) -> None:
    w = world()
    w.hooks["w1", "install.packages"] = fail(1, "token abcdef.0123456789abcdef leaked\n")
    journal = Journal(tmp_path, "x")
    w.run(INSTALL, on="w1", journal=journal)
    text = journal.path.read_text()
    assert "leaked" in text
    assert "0123456789abcdef" not in text
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_a_secret_at_the_edge_of_a_quote_is_masked_completely(world: Callable[..., World]) -> None:
    secret = register("planted-across-the-edge")
    w = world()
    w.hooks["w1", "install.packages"] = fail(1, "e" * (apply.LINE - 10) + f" {secret} and more\n")
    command = "x" * 190 + f" {secret}"
    error = w.run(phase("install", Step("install.packages", "packages", (command,))), on="w1").nodes["w1"].error
    assert error
    assert "planted" not in error.message + error.output


def test_a_journal_is_valid_and_masked_for_any_secret(tmp_path: Path) -> None:
    secret = register('quo"ted\\secret')
    journal = Journal(tmp_path, "x")
    journal.write("seen", seen=f"login {secret} refused", path=tmp_path, steps=[secret, "--certificate-key 0123"])
    event = list(read(journal.path))[-1]
    assert event["seen"] == f"login {MASKED} refused"
    assert event["steps"] == [MASKED, f"--certificate-key {MASKED}"]
    assert event["path"] == str(tmp_path)


def test_an_incomplete_last_line_of_a_journal_is_skipped(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "x")
    journal.write("phase", node="w1")
    journal.close()
    with journal.path.open("a") as stream:
        stream.write('{"event": "pha')
    assert [e["event"] for e in read(journal.path)] == ["run", "phase"]


@given(st.lists(st.booleans(), max_size=12))
def test_what_a_journal_may_write_later_comes_in_order_with_the_next_event_or_at_the_end(later: list[bool]) -> None:
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder), "x")
        for number, one in enumerate(later):
            journal.write("phase", number=number, later=one)
            if not one:
                assert [event["number"] for event in list(read(journal.path))[1:]] == [*range(number + 1)]
        journal.close()
        assert [event["number"] for event in list(read(journal.path))[1:]] == [*range(len(later))]


class Full:
    """os.write on a disk that is full after some writes."""

    def __init__(self, writes: int) -> None:
        self.writes, self.lines, self.write = writes, 0, os.write

    def __call__(self, descriptor: int, data: bytes) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.lines += data.count(b"\n")
        return self.write(descriptor, data)


@pytest.mark.parametrize("writes", [0, 1, 6, 12, 20, 30])
def test_a_run_continues_when_its_journal_cannot_be_written(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, writes: int
) -> None:
    w, notes, disk = ready(world()), list[str](), Full(writes)
    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "write", disk)
        journal = Journal(tmp_path / "j", "x", warn=notes.append)
        result = w.run(*ALL, journal=journal)
        journal.write("end")
        journal.close()
    assert not result.failed
    assert notes == [
        f"the journal {journal.path} cannot be written (No space left on device); the run goes on without it"
    ]
    assert len(journal.path.read_text().splitlines()) == disk.lines >= writes
    assert not journal.whole


def test_a_journal_that_cannot_be_created_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    journal = Journal(tmp_path / "file" / "journal", "x", warn=notes.append)
    for _ in range(3):
        journal.write("end")
    journal.close()
    journal.write("after its end")
    assert len(notes) == 1 and "the run goes on without it" in notes[0]


@given(st.text(), st.one_of(st.text(), st.binary(), st.floats(), st.integers(), st.lists(st.text())))
def test_a_journal_accepts_any_output(text: str, value: Any) -> None:
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder), "x")
        journal.write("seen", seen=f"{text}\udc80", value=value)
        journal.close()
        assert [e["event"] for e in read(journal.path)] == ["run", "seen"]


def test_a_password_that_is_one_of_our_words_does_not_make_a_journal_unreadable(tmp_path: Path) -> None:
    for word in ("registry", "done", "join.token"):
        register(word)
    journal = Journal(tmp_path, "inv registry", phases=["registry"])
    journal.write("node", node="w1", state="done", phase="registry", step="join.token", error="registry said: done")
    begun, event = read(journal.path)
    assert (event["state"], event["phase"], event["step"]) == ("done", "registry", "join.token")
    assert (
        event["error"] == f"{MASKED} said: {MASKED}"
        and begun["command"] == f"inv {MASKED}"
        and begun["phases"] == ["registry"]
    )


def test_a_once_step_that_crashed_is_repeated_by_another_node(world: Callable[..., World]) -> None:
    """w1's pipeline crashed in the step: w2 creates the token before it joins with it."""
    w = ready(world())
    crashes = [ZeroDivisionError("a mistake of ours")]

    def crash() -> None:
        if crashes:
            raise crashes.pop()

    w.hooks["cp1", "join.token"] = crash
    result = w.run(*ALL)
    states = sorted(r.state for name, r in result.nodes.items() if name != "cp1")
    assert states == ["done", "failed"]
    assert w.steps_on("cp1").count("join.token") == 2


@pytest.mark.parametrize("age", [0.0, 1100.0, 1300.0, 2400.0])
def test_a_late_worker_joins_with_a_token_that_is_still_valid(world: Callable[..., World], age: float) -> None:
    """A token is valid for 30 minutes; a node that waited longer for a package lock or a mirror gets its own, and all are deleted."""
    w = ready(world())
    joined: dict[str, str] = {}
    tokens: list[str] = []

    def decide(ctx: Context) -> Iterator[Action]:
        if "join.join" not in ctx.facts.undo:
            yield Step(
                "join.token", "token", (f"mint {ctx.token.reveal()}",), on="control-plane", once=True, mints=True
            )
            yield Step("join.join", "join", (f"join {ctx.token.reveal()}",))

    def mint() -> None:
        tokens.append(re.findall(r"mint (\S+)", w.sent[-1])[0])

    def join(name: str) -> Callable[[], None]:
        def note() -> None:
            joined[name] = next(
                re.findall(r"join (\S+)", text)[0] for text in reversed(w.sent) if "kubefab: join.join\n" in text
            )

        return note

    def late() -> None:
        assert w.event("w1", "join.join").wait(PATIENCE)
        w.clock.time += age

    w.hooks |= {
        ("cp1", "join.token"): mint,
        ("w1", "join.join"): join("w1"),
        ("w2", "join.join"): join("w2"),
        ("w2", "install.packages"): late,
    }
    result = w.run(
        INSTALL,
        MASTER,
        Phase(
            "join",
            "join",
            decide,
            frozenset({"worker"}),
            waits_for={"worker": "master"},
            observe_before=frozenset({"worker"}),
        ),
    )
    assert not result.failed
    assert len(tokens) == (2 if age > 1200 else 1)
    assert joined == {"w1": tokens[0], "w2": tokens[-1]}
    (deleted,) = [text for text in w.sent if "kubefab: join.token.delete\n" in text]
    assert all(token.split(".")[0] in deleted for token in tokens)


@pytest.mark.parametrize(("forks", "closed"), [(2, {"w1", "w2", "w3", "w4"}), (40, set())])
def test_with_more_nodes_than_forks_connections_close_as_nodes_finish(
    world: Callable[..., World], forks: int, closed: set[str]
) -> None:
    w = ready(world(workers=4, forks=forks))
    w.run(*ALL)
    assert set(w.closed) == closed, "the control plane's stays: others' steps run there, and the lock lives with it"


# --- the cluster's lock


def test_a_run_that_lost_the_run_lock_changes_no_node(world: Callable[..., World]) -> None:
    w, lost = ready(world(workers=6)), Event()

    def held() -> None:
        if lost.is_set():
            raise KubefabError("another run has worked on this cluster meanwhile: bob", "run it again")

    w.hooks["w1", "install.packages"] = lost.set
    w.hooks["cp1", "install.packages"] = lambda: None if lost.wait(PATIENCE) else pytest.fail("w1 did not come so far")
    result = w.run(*ALL, held=held)
    assert {step for _, step in w.log} <= {"observe", "install.packages"}
    for outcome in result.nodes.values():
        assert outcome.state in ("failed", "blocked")
    failed = [r.error for r in result.nodes.values() if r.state == "failed"]
    assert failed and all(
        e and "another run has worked on this cluster" in e.message and e.remedy == "run it again" for e in failed
    )


def test_every_step_checks_the_run_lock_first(world: Callable[..., World]) -> None:
    w, asked = ready(world()), list[int]()
    result = w.run(*ALL, held=lambda: asked.append(len(w.log)))
    assert not result.failed
    changing = [n for n, (_, step) in enumerate(w.log) if step not in ("observe", "join.flannel", "join.token.delete")]
    assert changing and all(any(k <= n for k in asked) for n in changing)
    refused = world()
    assert all(
        r.state == "failed"
        for r in refused.run(*ALL, held=lambda: (_ for _ in ()).throw(KubefabError("gone", "again"))).nodes.values()
    )
    assert {step for _, step in refused.log} == {"observe"}


def test_a_run_lock_that_cannot_be_checked_counts_as_lost(world: Callable[..., World]) -> None:
    def unknown() -> None:
        raise Unreachable("cp1: no answer within 10 s")

    w = world()
    result = w.run(INSTALL, on="w1", held=unknown)
    assert result.nodes["w1"].state == "failed"
    assert w.steps_on("w1") == []


# --- looking only


def test_a_survey_changes_nothing_and_reports_every_other_node(world: Callable[..., World]) -> None:
    w = world()
    w.hooks["w1", "observe"] = unreachable
    seen = observer.Observer(w.environment, w).survey(w.environment.nodes)  # type: ignore[arg-type]
    assert isinstance(seen["w1"], Unreachable)
    assert isinstance(seen["w2"], NodeFacts)
    assert {step for _, step in w.log} == {"observe"}


@pytest.mark.parametrize("said", [b"the kubelet does not run; it said last: token=abcdef.0123456789abcdef\n", b""])
def test_a_step_that_fails_shows_what_explains_it_masked_and_a_good_one_asks_nothing(
    world: Callable[..., World], said: bytes
) -> None:
    made = world(workers=1)
    made.hooks["cp1", "install.bad"] = lambda: (1, b"##kubefab 1 1\nits own words\n")
    made.hooks["cp1", "install.bad.evidence"] = lambda: (0, b"##kubefab 1 0\n" + said)
    steps = [Step(f"install.{name}", name, ("do",), evidence=("journalctl -u kubelet",)) for name in ("good", "bad")]
    result = made.run(phase("install", *steps), on="cp1")
    error = result.nodes["cp1"].error
    assert error and error.output.splitlines() == [
        "its own words",
        *([f"the kubelet does not run; it said last: token={MASKED}"] if said else []),
    ]
    assert [step for step in made.steps_on("cp1") if "evidence" in step] == ["install.bad.evidence"]


def test_a_step_with_a_placeholder_in_a_file_is_never_sent(world: Callable[..., World]) -> None:
    """What only the control plane can say is a placeholder in a plan: a join by it would pin no CA at all."""
    made = world(workers=1)
    config = File("/run/kubefab-join.yaml", f"caCertHashes: ['{LATER}']\n", mode="0600", secret=True)
    result = made.run(phase("join", Step("join.join", "kubeadm join", ("kubeadm join",), files=(config,))), on="w1")
    error = result.nodes["w1"].error
    assert error and "needs what only the control plane can say" in error.message
    assert not any(LATER in text for text in made.sent)
