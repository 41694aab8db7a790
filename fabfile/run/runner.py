"""The one runner: a pipeline a node, no barriers between them, every action sent, timed and journalled here.

A node is observed, its phases say what is to do, and that is applied in order; the first failure ends that node's
pipeline and nobody else's.  Nodes wait for each other only at the gates.  After steps that no wait proves, the node is
observed again and must have nothing left to do.
"""

from __future__ import annotations

import secrets
import shlex
import string
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from threading import BoundedSemaphore, Condition, Event, Lock, Thread
from typing import Protocol

from ..context import Choices, Context
from ..errors import Interrupted, KubefabError, Malformed, Refused, StepFailed, StillRunning, Unreachable
from ..identity import Kind, Record, after, evidence, judge, recall, remember
from ..inventory import Environment, Node
from ..legacy import commands as manual
from ..legacy.phases import residue as residue_then
from ..nodes import script
from ..nodes.connection import NodeGroup, outcome
from ..nodes.facts import NodeFacts, observe_script, parse_facts
from ..phases import Phase, for_release, guard
from ..phases.prep import MODULES, SYSCTL
from ..phases.registry import PROOF
from ..phases.reset import residue
from ..recipes.kubeadm import Recipe, recipe_for
from ..recipes.packages import family
from ..steps import Action, Remedy, Step, Stop, Wait, command
from ..text.cleaning import line
from ..text.forms import FormError
from ..text.masking import mask, masked_tail, register
from . import gates as gate
from .gates import Blocked, Gates
from .journal import Journal
from .retry import Clock, RealClock, attempt, poll

OBSERVE_TIMEOUT = 60.0  # seconds
CLAIM_WAIT = 1.0
PROBE_TIMEOUT = 30.0
STEP_LOCK_WAIT = (
    180  # for an earlier run's step on a node that was observed meanwhile; applying a manifest is the longest such
)
LINK_BREAKS = 20  # of one node in one run that are mended
LINK_PATIENCE = (
    30.0  # seconds to get through again; a machine that reboots may need longer, and the next run then takes up
)
TAIL = 16  # lines of output quoted in an error
TOKEN_AGE = 1200.0  # seconds; a token lives 30 minutes, and a node may wait for its turn and its gate before it joins
LINE = 300  # characters of each; the journal has it whole


class Reporter(Protocol):
    """Who is told how the run goes: the terminal, or nobody."""

    def doing(self, node: str, phase: str, text: str) -> None: ...

    def phase_done(self, node: str, phase: str, steps: int, seconds: float) -> None: ...

    def node_done(self, node: str, result: NodeResult) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass
class NodeResult:
    """How one node's pipeline ended.

    `state` is done, failed, blocked (waits for another node that failed) or interrupted; `steps` counts changes
    applied; `seconds` is by phase.
    """

    node: str
    state: str = "done"
    phase: str = ""
    step: str = ""
    error: KubefabError | None = None
    steps: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    facts: NodeFacts | None = None


@dataclass
class RunResult:
    """How a run ended, node by node in inventory order."""

    nodes: dict[str, NodeResult]
    seconds: float = 0.0

    @property
    def failed(self) -> list[NodeResult]:
        return [r for r in self.nodes.values() if r.state != "done"]

    @property
    def steps(self) -> int:
        return sum(r.steps for r in self.nodes.values())

    @property
    def exit_code(self) -> int:
        if any(r.state == "interrupted" for r in self.nodes.values()):
            return Interrupted.exit_code
        return 1 if self.failed else 0


def new_token() -> str:
    """A bootstrap token for one run, in kubeadm's form; known to the masker from the start."""
    alphabet = string.ascii_lowercase + string.digits
    pick = ["".join(secrets.choice(alphabet) for _ in range(length)) for length in (6, 16)]
    register(pick[1])
    return register(".".join(pick))


def managed_files(environment: Environment, recipe: Recipe) -> list[str]:
    """Paths whose digests the phases compare: handed to the observing script."""
    if environment.settings.manual:
        return [manual.SOURCES, manual.DAEMON]
    probe = NodeFacts(os_id="debian"), NodeFacts(os_id="rocky")
    paths = {MODULES.path, SYSCTL.path, recipe.crictl_config.path, recipe.containerd_config().path, PROOF}
    paths |= {file.path for file in recipe.registry_files()}
    for facts in probe:
        packages = family(facts)
        if packages:
            paths |= {file.path for file in packages.repository_files(facts, recipe)}
    return sorted(paths)


class Run:
    """One run of some phases on some nodes of one environment."""

    def __init__(
        self,
        environment: Environment,
        group: NodeGroup,
        reporter: Reporter,
        *,
        journal: Journal | None = None,
        choices: Choices | None = None,
        clock: Callable[[str], Clock] | None = None,
        held: Callable[[], None] = lambda: None,
    ) -> None:
        """`held` raises KubefabError when the cluster's lock is not this run's any more: everything then stops."""
        self.environment = environment
        self._held = held
        self._lost: KubefabError | None = None
        self.group = group
        self.reporter = reporter
        self.journal = journal
        self.choices = choices or Choices()
        self.recipe = recipe_for(environment)
        self.files = managed_files(environment, self.recipe)
        self.digests = self.recipe.version if self.recipe.pins else ""  # the release whose images' digests are observed
        self.token = new_token()
        self.gates = Gates()
        self.stopping = Event()
        self.control: NodeFacts | None = None
        self.record = recall(environment)
        self._first: NodeFacts | None = (
            None  # the control plane as it was first seen: a reset judges by that, for it soon has nothing left
        )
        self._resetting = False
        self._control_asked = Lock()
        self._unseen: dict[str, str] = {}
        self._real = RealClock()
        self._clock = clock or (lambda name: self._real)
        self._slots = BoundedSemaphore(environment.settings.forks)
        self._once: dict[str, Lock] = {}
        self._once_done: dict[str, KubefabError | None] = {}
        self._guard = Lock()
        self._turns: dict[str, Lock] = {}
        self._claimed = Condition()
        self._pending: set[str] = set()  # nodes whose pipeline has begun and that are not observed yet
        self._looks = count(1)
        self._control_look = 0  # which of them `control` is from
        self._identities: dict[str, dict[str, str]] = {}
        self._accepted: set[str] = set()
        self._minted: float | None = None  # when the token came to life, by the control plane's clock
        self._many = False  # more nodes than FORKS
        self._tokens: list[str] = []  # those that were made

    # --- observing

    def observe(self, node: Node, *, settle: bool = False) -> NodeFacts:
        """Gather one node's facts. Raises Unreachable, or StepFailed when the script itself does not work there."""
        manual = self.environment.settings.manual
        ready = "/healthz" if manual else "/readyz"
        text = observe_script(
            control_plane=node.control_plane,
            files=self.files,
            settle=settle,
            ready=ready,
            digests=self.digests,
            docker=manual,
        )
        clock = self._clock(node.name)
        started, look = clock.now(), next(self._looks)
        code, output = self.group.of(node).root(text, OBSERVE_TIMEOUT + (script.LOCK_WAIT if settle else 0))
        try:
            facts = parse_facts(output.decode("utf-8", "replace"))
        except Exception as error:  # whatever it is, it came of what this node said, and costs its row alone
            raise _misread(node, code, output, error) from error
        self._log("observed", node=node.name, seconds=_since(clock, started))
        if node.control_plane:
            with self._guard:
                self._first = self._first or facts
                if look > self._control_look:  # a slower look that began earlier knows less
                    self.control, self._control_look = facts, look
        return facts

    def survey(self, nodes: Iterable[Node]) -> dict[str, NodeFacts | KubefabError]:
        """Observe several nodes at the same time, changing nothing; a node that cannot be observed has its error instead."""

        def one(node: Node) -> NodeFacts | KubefabError:
            try:
                return self.observe(node)
            except KubefabError as error:
                return error

        nodes = tuple(nodes)
        with ThreadPoolExecutor(self.environment.settings.forks) as pool:
            return dict(zip((n.name for n in nodes), pool.map(one, nodes), strict=True))

    # --- running

    def run(self, phases: Sequence[Phase], nodes: Iterable[Node]) -> RunResult:
        """Apply `phases` to `nodes`, each node in its own pipeline; returns when all have ended.

        Never raises for a node's failure: that is in the result.  Call `stop()` from a signal handler to end after the
        steps that are under way.
        """
        nodes, phases = tuple(nodes), for_release(self.environment, phases)
        if self.environment.control_plane in nodes:  # where it goes, the cluster goes: no node has to leave it in order
            self.choices = replace(self.choices, whole_cluster=True)
        self._resetting = any(phase.name == "reset" for phase in phases)
        clock = self._clock(self.environment.control_plane.name)
        started = clock.now()
        results = {node.name: NodeResult(node.name) for node in nodes}
        workers_running = {n.name for n in nodes if not n.control_plane and any(p.name == "join" for p in phases)}
        self._prepare_gates(phases, nodes, workers_running)
        self._many = len(nodes) > self.environment.settings.forks
        threads = [
            Thread(
                target=self._pipeline,
                args=(node, phases, results[node.name], workers_running),
                daemon=True,
                name=node.name,
            )
            for node in nodes
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
        self.drop_token()
        if (
            self._resetting
            and len(results) == len(self.environment.nodes)
            and all(result.state == "done" for result in results.values())
        ):
            self._keep(Record())
        end = max((self._clock(node.name).now() for node in nodes), default=started)
        return RunResult(results, end - started)

    def stop(self) -> None:
        """End every pipeline after its current step."""
        self.stopping.set()

    def _prepare_gates(self, phases: Sequence[Phase], nodes: Sequence[Node], workers_running: set[str]) -> None:
        """Gates that nobody in this run will open are settled from what the control plane shows."""
        names = {phase.name for phase in phases}
        control = self.environment.control_plane
        runs_here = control in nodes
        if "join" in names and not (runs_here and "master" in names):
            self._settle_from_control(control, nodes)
        if not runs_here:
            self.gates.open(gate.SEEN)
        if not workers_running:
            self.gates.open(gate.MEMBERS)
        if not (runs_here and "addons" in names):
            self.gates.open(gate.ADDONS)
        if "reset" in names and not runs_here and not self.choices.whole_cluster:
            try:
                self.observe(control)
            except KubefabError as error:
                self.reporter.note(f"{control.name} cannot be asked to forget these nodes: {error.message}")

    def _settle_from_control(self, control: Node, nodes: Sequence[Node]) -> None:
        try:
            facts = self.observe(control)
        except KubefabError as error:
            self.gates.fail(gate.MASTER, error.message)
            self.gates.fail(gate.NETWORK, error.message)
            return
        verdict = judge(self.environment, control, facts, None, self.record)
        if facts.initialised and verdict.workable:
            self.gates.open(gate.MASTER)
            self.gates.open(gate.NETWORK)
        else:
            reason = (
                verdict.seen
                or f"the API on {control.name} does not answer: first `fab -H {control.name} init --env {self.environment.name}`"
            )
            self.gates.fail(gate.MASTER, reason)
            self.gates.fail(gate.NETWORK, reason)

    def _pipeline(self, node: Node, phases: Sequence[Phase], result: NodeResult, workers_running: set[str]) -> None:
        mine = [phase for phase in phases if node.role in phase.roles]
        try:
            with self._slots:
                with self._claimed:
                    self._pending.add(node.name)
                self._through_broken_links(node, mine, result)
        except Blocked as blocked:
            result.state = "interrupted" if self.stopping.is_set() else "blocked"
            result.error = KubefabError(
                f"{node.name}: waits for {blocked}", "when that is fixed, run the same command again"
            )
        except Interrupted as error:
            result.state, result.error = "interrupted", error
        except KubefabError as error:
            result.state, result.error = "failed", error
        except Exception as error:  # a bug of ours must end this node's pipeline, not hang the gates
            result.state = "failed"
            result.error = KubefabError(
                f"{node.name}: internal error in {result.step or result.phase}: {type(error).__name__}: {error}",
                "please report it, with the journal of this run",
            )
            self._log("crash", node=node.name, trace=traceback.format_exc())
        finally:
            self._after(node, result, workers_running)
            if not node.control_plane and self._many:
                with suppress(EOFError, OSError):
                    self.group.of(
                        node
                    ).close()  # FORKS bounds the links that are open, not only the pipelines that work
            error_text = result.error and result.error.message
            self._log(
                "node",
                node=node.name,
                state=result.state,
                phase=result.phase,
                step=result.step,
                steps=result.steps,
                error=error_text,
            )
            self.reporter.node_done(node.name, result)

    def _through_broken_links(self, node: Node, phases: Sequence[Phase], result: NodeResult) -> None:
        """Go through the phases; when a link breaks that once held, take it up again and go on from what the node shows then."""
        breaks = 0
        while True:
            try:
                return self._phases(node, phases, result)
            except Unreachable as error:
                breaks += 1
                if result.facts is None or breaks > LINK_BREAKS or self.stopping.is_set():
                    raise
                self._log("link", node=node.name, step=result.step, error=error.message)
                self._reconnect(node, error)

    def _reconnect(self, node: Node, error: Unreachable) -> None:
        """Open a node's link again, and the control plane's: steps of a worker run there too, and it may be that one which broke."""
        self.reporter.note(f"{error.message}; trying for {LINK_PATIENCE:.0f} s to get through again")

        def open_(end: Node) -> None:
            self._check_stop(node)
            self.group.of(end).open()

        try:
            for end in (node, self.environment.control_plane):
                attempt(partial(open_, end), on=Unreachable, clock=self._clock(node.name), deadline=LINK_PATIENCE)
        except Unreachable as still:
            raise Unreachable(
                f"{error.message}, and for {LINK_PATIENCE:.0f} s since: {still.message}", error.remedy
            ) from still

    def _after(self, node: Node, result: NodeResult, workers_running: set[str]) -> None:
        """Nobody may wait for a pipeline that has ended."""
        now = self._clock(node.name).now()
        with self._claimed:
            self._pending.discard(node.name)
            self._claimed.notify_all()
        if node.control_plane:
            self.gates.open(gate.SEEN, now)
            why = f"{node.name} ({result.phase or 'connecting'} {result.state})"
            for name in (gate.MASTER, gate.NETWORK, gate.ADDONS):
                self.gates.fail(name, why, now)
        with self._guard:
            workers_running.discard(node.name)
            if not workers_running and not self.gates.settled(gate.MEMBERS):
                self.gates.fail(gate.MEMBERS, "a first worker, and none got in", now)

    def _phases(self, node: Node, phases: Sequence[Phase], result: NodeResult) -> None:
        clock = self._clock(node.name)
        result.phase = "connecting"
        self._check_stop(node)
        self.reporter.doing(node.name, "", "connecting and observing")
        again = result.facts is not None
        facts = result.facts = self.observe(node, settle=True)
        if again and not node.control_plane and self.control is not None:
            self.observe(
                self.environment.control_plane
            )  # after the node: its join may have ended while the link was away
        twin = self._claim(node, facts)
        if node.control_plane:
            self.gates.open(gate.SEEN, clock.now())
            self._note(node, facts, twin)
        else:
            self._pass(gate.SEEN, node, "")
            self._see_control(facts)
        unproved: list[Phase] = []
        changed = False
        for phase in phases:
            self._check_lock(node)
            result.phase, result.step = phase.name, ""
            started = clock.now()
            if changed and phase.fresh:
                facts, unproved, changed = self._prove(node, facts, unproved, twin), [], False
            if phase.needs.get(node.role):
                self._pass(phase.needs[node.role], node, phase.name)
                started = clock.now()
            if (
                phase.name == "join"
                and facts.joined
                and self.control
                and self.control.node_object(facts.hostname) is None
            ):
                self.observe(
                    self.environment.control_plane
                )  # an earlier run's join may have ended since that was looked at
            steps = 0
            ctx = self._context(node, facts, twin)
            actions = list(phase.run(ctx))
            self._journal_phase(node, phase, actions)
            for action in actions:
                self._check_stop(node)
                result.step = action.id
                steps += self._apply(node, action, ctx.token)
            facts = self._noted(node, facts, actions)
            result.steps += steps
            changed = changed or bool(actions)
            if actions and (isinstance(actions[-1], Step) or phase.name == "reset"):
                unproved.append(phase)
            seen_before = phase.name in result.seconds
            result.seconds[phase.name] = result.seconds.get(phase.name, 0.0) + clock.now() - started
            if changed and phase.name == gate.MASTER:  # workers need the CA hash that this phase made
                facts, unproved, changed = self._prove(node, facts, unproved, twin), [], False
                actions = list(
                    guard.identity(self._context(node, facts, twin), phase.name)
                )  # now that there is a cluster: which
                for action in actions:
                    result.step = action.id
                    result.steps += self._apply(node, action)
                facts = self._noted(node, facts, actions)
                self._note(node, facts, twin)
            self._open_gates(node, phase)
            if steps or not seen_before:
                self.reporter.phase_done(node.name, phase.name, steps, clock.now() - started)
            self._log("phase", node=node.name, phase=phase.name, steps=steps, seconds=round(clock.now() - started, 3))
        if changed:
            facts = self._prove(node, facts, unproved, twin)
        if self._resetting and node.control_plane:
            self._keep(self.record.now(""))
        result.facts = facts

    # --- whose a node is

    def _see_control(self, facts: NodeFacts) -> None:
        """A worker that shows a cluster is judged by the control plane as well; one that cannot be asked tells nothing."""
        control = self.environment.control_plane
        with self._control_asked:
            if self._first is None and (evidence(facts) or facts.identity.uid) and control.name not in self._unseen:
                try:
                    self.observe(control)
                except KubefabError as error:
                    self._unseen[control.name] = error.message

    def _noted(self, node: Node, facts: NodeFacts, actions: Sequence[Action]) -> NodeFacts:
        """The facts, with the identity file that these actions wrote."""
        if node.control_plane and self.control is not None:
            with self._guard:
                self.control = after(self.control, actions)
        return after(facts, actions)

    def _note(self, node: Node, facts: NodeFacts, twin: str) -> None:
        """Keep on this machine which cluster the environment has, once the control plane's machine is proved to be ours."""
        uid = facts.identity.uid
        if (
            uid
            and not self._resetting
            and uid != self.record.uid
            and guard.whose(self._context(node, facts, twin)).kind == Kind.OURS
        ):
            self._keep(self.record.now(uid))

    def _keep(self, record: Record) -> None:
        self.record = record
        remember(self.environment, record)

    def _open_gates(self, node: Node, phase: Phase) -> None:
        now = self._clock(node.name).now()
        if node.control_plane and phase.name in (gate.MASTER, gate.NETWORK, gate.ADDONS):
            self.gates.open(phase.name, now)
        elif phase.name == "join":
            self.gates.open(gate.MEMBERS, now)

    def _context(self, node: Node, facts: NodeFacts, twin: str) -> Context:
        if node.control_plane and self.control is not None:
            facts = self.control
        control = self._first if self._resetting else self.control
        return Context(
            self.environment,
            node,
            facts,
            self.recipe,
            control=control,
            token=self._fresh_token(),
            twin=twin,
            choices=self.choices,
            record=self.record,
        )

    def _prove(self, node: Node, facts: NodeFacts, unproved: Sequence[Phase], twin: str) -> NodeFacts:
        """Observe again; the phases that applied steps must now have nothing to do."""
        self.reporter.doing(node.name, unproved[-1].name if unproved else "", "checking the result")
        facts = self.observe(node)
        for phase in unproved:
            if phase.name == "reset":
                dirt = (residue_then if self.environment.settings.manual else residue)(facts)
                if dirt:
                    what, how = (
                        f"{node.name}: not clean after reset",
                        "run reset again; if it stays, the lines above name what to remove by hand",
                    )
                    raise StepFailed(what, how, "\n".join(dirt))
                continue
            left = [a for a in phase.run(self._context(node, facts, twin)) if isinstance(a, Step | Stop)]
            if left:
                raise StepFailed(
                    f"{node.name}: {left[0].id} was applied without an error, yet it is still to do",
                    f"something on the node undoes it (another tool?); `inv cluster.plan --observe --env {self.environment.name}` shows what differs",
                )
        return facts

    def _claim(self, node: Node, facts: NodeFacts) -> str:
        """Name the node that has the same hostname or machine-id: of two, the later in the inventory is told.

        Nodes before this one that are under way get a moment to be observed first; a dead one holds nobody up for longer than that.
        """
        mine = {"hostname": facts.hostname, "machine-id": facts.machine_id}
        names = [n.name for n in self.environment.nodes]
        before = set(names[: names.index(node.name)])
        with self._claimed:
            self._identities[node.name] = mine
            self._pending.discard(node.name)
            self._claimed.notify_all()
            self._claimed.wait_for(lambda: not before & self._pending, CLAIM_WAIT)
            for other, theirs in self._identities.items():
                if other == node.name or (other not in before and other not in self._accepted):
                    continue
                for kind, value in mine.items():
                    if value and theirs[kind] == value:
                        return f"{kind} as {other} ({value})"
            self._accepted.add(node.name)
        return ""

    def _pass(self, name: str, node: Node, phase: str) -> None:
        """Wait at a gate without holding a slot."""
        if not self.gates.settled(name):
            self.reporter.doing(node.name, phase, f"waits for {_GATE_TEXT[name]}")
        clock = self._clock(node.name)
        before = clock.now()
        self._slots.release()
        try:
            opened = self.gates.wait(name, self.stopping.is_set)
        finally:
            self._slots.acquire()
        advance = getattr(clock, "advance_to", None)
        if advance:
            advance(opened)
        self._log("passed", node=node.name, gate=name, seconds=_since(clock, before))

    def _check_stop(self, node: Node) -> None:
        if self._lost:
            raise KubefabError(f"{node.name}: {self._lost.message}", self._lost.remedy)
        if self.stopping.is_set():
            raise Interrupted(f"{node.name}: stopped", "run the same command again: it takes up from here")

    def _check_lock(self, node: Node) -> None:
        """Before anything is changed anywhere, and before it is decided: the cluster's lock is this run's, or every node's pipeline ends.

        Unreachable where that cannot be known: it may be somebody else's by now.
        """
        try:
            self._held()
        except Unreachable:
            raise
        except KubefabError as error:
            self._lost = error
            self.reporter.note(error.message)
        self._check_stop(node)

    # --- applying one action

    def _apply(self, node: Node, action: Action, token: str = "") -> int:
        """Carry out one action; returns how many changes that made. What is done once a run is done once for each `token`."""
        if isinstance(action, Stop):
            raise Refused(f"{node.name}: {action.reason}", action.remedy)
        if action.needs:
            self._pass(action.needs, node, action.phase)
        target = self.environment.control_plane if action.on else node
        if action.once:
            key = f"{action.id} {token}"
            with self._guard:
                lock = self._once.setdefault(key, Lock())
            with lock:
                if key not in self._once_done:
                    try:
                        self._once_done[key] = None
                        return self._one(node, target, action)
                    except Unreachable:  # says nothing about the action: whoever gets through next tries it
                        del self._once_done[key]
                        raise
                    except KubefabError as error:
                        self._once_done[key] = error
                    except BaseException:  # a mistake of ours: it is not done
                        del self._once_done[key]
                        raise
                failure = self._once_done[key]
            if failure:
                raise failure
            return 0
        return self._one(node, target, action)

    def _one(self, node: Node, target: Node, action: Step | Wait) -> int:
        where = "" if target == node else f" on {target.name}"
        self.reporter.doing(node.name, action.phase, action.title + where)
        clock = self._clock(node.name)
        started = clock.now()
        self._log("start", node=node.name, on=target.name, step=action.id)
        try:
            if isinstance(action, Step):
                self._step(node, target, action)
                changes = 1
            else:
                changes = self._wait(node, target, action) + action.changes
        except KubefabError as error:
            self._log(
                "failed",
                node=node.name,
                step=action.id,
                seconds=_since(clock, started),
                error=error.message,
                output=error.output[-4000:],
            )
            raise
        self._log("end", node=node.name, step=action.id, seconds=_since(clock, started))
        return changes

    @contextmanager
    def _turn(self, node: Node, target: Node, phase: str, title: str) -> Iterator[None]:
        """This run's turn on a node that several pipelines change (the control plane): waits for the others here.

        On the node it would stand at the lock, within the time that its step has.
        """
        with self._guard:
            turn = self._turns.setdefault(target.name, Lock())
        if not turn.acquire(blocking=False):
            self.reporter.doing(node.name, phase, f"waits for its turn on {target.name}: {title}")
            while not turn.acquire(timeout=0.2):
                self._check_stop(node)
            self.reporter.doing(node.name, phase, f"{title} on {target.name}")
        try:
            yield
        finally:
            turn.release()

    def _step(self, node: Node, target: Node, step: Step) -> None:
        if step.id in ("join.token", "master.init") and not self.environment.settings.manual:
            self._mints()
        text = script.render(step.id, step.commands, step.files, wait=STEP_LOCK_WAIT)
        with self._turn(node, target, step.phase, step.title):
            self._check_lock(node)
            done = outcome(self.group.of(target), step.id, text, step.timeout + STEP_LOCK_WAIT)
        if done.code == 0:
            return
        command = (
            step.commands[done.command - 1]
            if 0 < done.command <= len(step.commands)
            else f"writing {len(step.files)} files"
        )
        raise StepFailed(
            f"{target.name}: {step.title} failed (exit code {done.code})\n  $ {_short(command)}",
            step.hint,
            _tail(done.output),
        )

    def _wait(self, node: Node, target: Node, wait: Wait) -> int:
        """Poll until it is so, with the remedies in between; returns how many remedies were applied."""
        clock = self._clock(node.name)
        connection = self.group.of(target)
        probe = script.render(wait.id, (f"{wait.probe} || true",), lock=wait.changes, wait=STEP_LOCK_WAIT)
        timeout = PROBE_TIMEOUT + (STEP_LOCK_WAIT if wait.changes else 0)

        before: list[str | None] = [None]

        def look() -> str | None:
            (self._check_lock if wait.changes else self._check_stop)(node)
            if target != node:
                self.group.of(node).open()  # a node whose link has died is not waited for elsewhere
            try:
                with self._turn(node, target, wait.phase, wait.title) if wait.changes else nullcontext():
                    seen = _seen(wait, outcome(connection, wait.id, probe, timeout).output)
            except StillRunning:  # remedies are not for what another run does
                raise
            except StepFailed as error:  # this look failed, by a command that hung for once: the next one may not
                seen = error.message
            except Unreachable as error:
                if not wait.reboots:
                    raise
                seen = error.message
            if seen != before[0]:
                before[0] = seen
                self._log("seen", node=node.name, step=wait.id, seen=seen or "as it should be")
            if seen:
                self.reporter.doing(node.name, wait.phase, f"{wait.title}: {mask(seen)}")
            return seen

        stages: list[tuple[float, Remedy | None]] = [(r.after, r) for r in wait.remedies] + [(wait.deadline, None)]
        tried: list[str] = []
        for seconds, remedy in stages:
            met, seen = poll(look, lambda s: s is None, clock=clock, deadline=seconds, interval=wait.interval)
            if met:
                return len(tried)
            if remedy:
                tried.append(f"after {seconds:.0f} s: {remedy.title}")
                self._log("remedy", node=node.name, step=wait.id, remedy=remedy.title, seen=seen)
                self.reporter.note(
                    f"{node.name}: {wait.title}: still {mask(seen or '')} after {seconds:.0f} s; {remedy.title}"
                )
                self._step(
                    node,
                    self.environment.control_plane if remedy.on else target,
                    Step(f"{wait.id}.remedy", remedy.title, remedy.commands),
                )
        evidence = self._evidence(target, wait)
        raise StepFailed(
            f"{node.name}: gave up waiting: {wait.title}\n  last seen: {seen}"
            + "".join(f"\n  tried {t}" for t in tried),
            wait.hint,
            evidence,
        )

    def _evidence(self, target: Node, wait: Wait) -> str:
        if not wait.evidence:
            return ""
        lines = tuple(f"echo {shlex.quote('$ ' + _short(e, 70))}; {e} || true" for e in wait.evidence)
        text = script.render(f"{wait.id}.evidence", lines, lock=False)
        try:
            return _tail(outcome(self.group.of(target), wait.id, text, PROBE_TIMEOUT).output, TAIL * 3)
        except KubefabError as error:
            return f"no evidence: {error.message}"

    def _mints(self) -> None:
        with self._guard:
            if self._minted is None:
                self._minted = self._clock(self.environment.control_plane.name).now()
                self._tokens.append(self.token)

    def _fresh_token(self) -> str:
        """The token for who decides now: another than before once that has lived so long that it might end before it is used."""
        with self._guard:
            if (
                self._minted is not None
                and self._clock(self.environment.control_plane.name).now() - self._minted > TOKEN_AGE
            ):
                self.token, self._minted = new_token(), None
            return self.token

    def drop_token(self) -> None:
        """This run's join tokens must not outlive it; if this fails, their 30 minutes end them."""
        with self._guard:
            tokens, self._tokens = self._tokens, []
        if not tokens:
            return
        text = script.render(
            "join.token.delete",
            (command("kubeadm", "token", "delete", *(t.split(".")[0] for t in tokens)),),
            lock=False,
        )
        try:
            outcome(self.group.of(self.environment.control_plane), "join.token.delete", text, PROBE_TIMEOUT)
        except KubefabError as error:
            self._log("token", error=error.message)

    def _journal_phase(self, node: Node, phase: Phase, actions: Sequence[Action]) -> None:
        self._log("plan", node=node.name, phase=phase.name, steps=[a.id for a in actions])

    def _log(self, event: str, **fields: object) -> None:
        """Journal an event; `t` is the node's own clock, which in a rehearsal is not the machine's."""
        if self.journal:
            if "node" in fields:
                fields["t"] = round(self._clock(str(fields["node"])).now(), 3)
            self.journal.write(event, **fields)


_GATE_TEXT = {
    gate.SEEN: "the first look at the control plane",
    gate.MASTER: "the control plane's API",
    gate.NETWORK: "flannel on the control plane",
    gate.MEMBERS: "the first worker",
    gate.ADDONS: "the add-ons on the control plane",
}


def _seen(wait: Wait, output: str) -> str | None:
    """What a wait makes of its probe's output, on one line; of what it cannot read, that."""
    try:
        seen = wait.until(output)
    except Exception as error:  # whatever it is, it came of what that node said, and the next look may be better
        return f"an answer that cannot be read ({type(error).__name__}): {line(output, 100)}"
    return None if seen is None else line(seen) or "no answer"


def _misread(node: Node, code: int, output: bytes, error: Exception) -> StepFailed:
    """What a node's answer that could not be read amounts to."""
    if isinstance(error, FormError):
        remedy = (
            error.remedy
            or f"look on that node what says so; nothing was decided from it, and nothing is done on {node.name} until it is right"
        )
        return Malformed(
            f"{node.name}: its answer has not the form that it must have: {error}", remedy, field=error.field
        )
    why = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return StepFailed(
        f"{node.name}: observing failed with exit code {code}: {why}",
        "log in there and run something simple as root; is it a Linux machine with bash?",
        masked_tail(output.decode("utf-8", "replace"), 2000),
    )


def _since(clock: Clock, started: float) -> float:
    return round(clock.now() - started, 3)


def _tail(text: str, lines: int = TAIL) -> str:
    """The last lines, masked while secrets are still whole in them."""
    return "\n".join(_short(line, LINE) for line in mask(text).rstrip().splitlines()[-lines:])


def _short(command: str, limit: int = 200) -> str:
    command = mask(command)
    return command if len(command) <= limit else command[: limit - 1] + "…"
