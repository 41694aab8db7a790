"""One run: a pipeline a node, no barriers between them.

A node is observed, its phases say what is to do, and that is applied in order; the first failure ends that node's pipeline
and no other.  Nodes wait for each other only at the gates.  After steps that no wait proves, the node is observed again and
must have nothing left to do.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from threading import Event, Lock, Thread

from .. import manifests
from ..context import Choices, Context, Contexts, init
from ..errors import Interrupted, KubefabError, Refused, StepFailed, Unreachable
from ..identity import Kind, Record, judge, recall, remember
from ..inventory import Environment, Node
from ..nodes.facts import NodeFacts
from ..nodes.group import NodeGroup
from ..phases import Phase, for_release, guard
from ..recipes.kubeadm import recipe_for
from ..records import dataclass
from ..steps import Action, Gate, Step, Stop, Wait
from ..text.masking import Token
from . import gates as gate
from .apply import Applier, Archive
from .claims import Claims
from .events import Events
from .foresight import foreseen
from .gates import Blocked, Gates
from .halt import Halt
from .journal import Journal
from .observer import Observer
from .result import NodeResult, Reporter, RunResult
from .retry import Clock, attempt
from .slots import BEGINS, ONWARD, Slots
from .tokens import JoinTokens

LINK_BREAKS = 20  # of one node in one run after which its pipeline gives up


@dataclass
class _Begun:
    """A phase of a node that has begun: since when by the node's clock, the changes that it made, the waits that it has left for later.

    `started` moves on by what is not its own time.
    """

    phase: Phase
    started: float
    steps: int = 0
    left: Sequence[Wait] = ()
    stopped: float = 0.0
    token: Token | None = None


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
        heard: Callable[[str, str], None] | None = None,
        archive: Archive | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`held` raises KubefabError when the cluster's lock is no longer this run's: everything then stops.

        `heard` and `archive` are Applier's. An `observer` that is given may have begun to look at the nodes (`Observer.ahead`); then `journal`
        and `clock` are those of its events.
        """
        self.environment = environment
        self.group = group
        self.reporter = reporter
        self.choices = choices or Choices()
        self.events = observer.events if observer else Events(journal, clock)
        self.observer = observer or Observer(environment, group, events=self.events)
        self.halt = Halt(held, reporter.note)
        self.tokens = JoinTokens(self._control_node, group, self.events)
        self.gates = Gates()
        self.record = recall(environment)
        self._recipe = recipe_for(environment)
        self._applier = Applier(
            group, reporter, self.events, self.halt, self.tokens, self._pass, self._control_node, heard, archive
        )
        self._taking_back = False
        self._control_asked = Lock()
        self._unseen: set[str] = set()  # control planes that could not be observed
        self._slots = Slots(environment.settings.forks)
        self._guard = Lock()
        self._claims = Claims(node.name for node in environment.nodes)
        self._nodes: tuple[Node, ...] = ()
        self._chosen: list[Phase] = []
        self._foreseeing = Lock()
        self._foreseen: list[KubefabError | None] = []  # once it was asked: why the nodes cannot all be drained
        self._many = False  # more nodes than FORKS
        self._contexts = Contexts(environment, self._recipe)
        self._undo: dict[str, Step] = {}  # by node: what takes back that which its run is in the middle of

    def _control_node(self) -> Node:
        return self.observer.control_node

    @property
    def stopping(self) -> Event:
        """Set when the run was asked to stop."""
        return self.halt.stopping

    def stop(self) -> None:
        """End every pipeline after its current step."""
        self.halt.stopping.set()

    def run(self, phases: Sequence[Phase], nodes: Iterable[Node]) -> RunResult:
        """Apply `phases` to `nodes`, each node in its own pipeline; returns when all have ended.

        Never raises for a node's failure: that is in the result.  Call `stop()` from a signal handler to end after the
        steps that are under way.
        """
        nodes, phases = tuple(nodes), for_release(self.environment, phases)
        self._nodes, self._chosen = nodes, phases
        # where all control planes go, the cluster goes: no node has to be drained
        if set(self.environment.control_planes) <= set(nodes):
            self.choices = replace(self.choices, whole_cluster=True)
        self._taking_back = any(phase.takes_back for phase in phases)
        self.observer.certificates = any(phase.certificates for phase in phases)
        started = self.events.now(self.environment.control_plane.name)
        results = {node.name: NodeResult(node.name) for node in nodes}
        entering = {n.name for n in nodes if any(_opens(phase, n) == gate.MEMBERS for phase in phases)}
        self._prepare_gates(phases, nodes)
        self._many = len(nodes) > self.environment.settings.forks
        threads = [
            Thread(
                target=self._pipeline, args=(node, phases, results[node.name], entering), daemon=True, name=node.name
            )
            for node in nodes
        ]
        for thread in threads:
            thread.start()
        manifests.load(self._recipe)  # while the nodes are looked at
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
                if self.stopping.is_set():
                    self.gates.stop()
        self.tokens.delete()
        whole = len(results) == len(self.environment.nodes) and all(r.state == "done" for r in results.values())
        if self._taking_back and whole:
            self._keep(Record())
        end = max((self.events.now(node.name) for node in nodes), default=started)
        return RunResult(results, max(end - started, 0.0))  # a rehearsal has a clock for each node

    # --- gates

    def _prepare_gates(self, phases: Sequence[Phase], nodes: Sequence[Node]) -> None:
        """Settle the gates that no pipeline of this run will open, from what the control plane shows."""
        opened = {_opens(phase, node) for phase in phases for node in nodes}
        waited = {phase.waits_for.get(node.role) for phase in phases for node in nodes}
        control = self.environment.control_plane
        if waited & {gate.MASTER, gate.NETWORK} and gate.MASTER not in opened:
            self._settle_from_control(control)
        if control not in nodes:
            self.gates.open(gate.SEEN)
        for name in (gate.MEMBERS, gate.ADDONS):
            if name not in opened:
                self.gates.open(name)
        if self._taking_back and control not in nodes and not self.choices.whole_cluster:
            try:
                self.observer.observe(control)
            except KubefabError as error:
                self.reporter.note(f"{control.name} cannot be asked to forget these nodes: {error.message}")

    def _settle_from_control(self, control: Node) -> None:
        try:
            facts = self.observer.observe(control)
        except KubefabError as error:
            self.gates.fail(gate.MASTER, error.message)
            self.gates.fail(gate.NETWORK, error.message)
            return
        verdict = judge(self.environment, control, facts, None, self.record)
        if facts.initialised and verdict.workable:
            self.gates.open(gate.MASTER)
            self.gates.open(gate.NETWORK)
            return
        first = f"first `{init(self.environment, control, facts)}`"
        reason = (
            f"{control.name}: {verdict.seen}"
            if verdict.seen
            else f"the API on {control.name}, which does not answer: {first}"
        )
        self.gates.fail(gate.MASTER, reason)
        self.gates.fail(gate.NETWORK, reason)

    def _pass(self, name: Gate, node: Node, phase: str) -> None:
        """Wait at a gate, and let another node work meanwhile."""
        clock = self.events.clock(node.name)
        before = clock.now()
        settled = self.gates.settled(name)
        if not settled:
            self.reporter.doing(node.name, phase, f"waits for {gate.TEXT[name]}")
        # a look is short, and no reason to log in to further nodes
        rests = not (settled or node.control_plane or name == gate.SEEN)
        if rests:
            self._unlink(node)
            self._slots.release()
        try:
            opened = self.gates.wait(name)
        finally:
            if rests:
                self._slots.acquire(ONWARD)
        clock.advance_to(opened)
        self.events.log(
            "passed", node=node.name, gate=name, seconds=self.events.since(node.name, before), later=settled
        )

    def _unlink(self, node: Node) -> None:
        """Where there are more nodes than FORKS, which bounds the open links too, close that of a worker that rests. What comes next opens it."""
        if self._many and not node.control_plane:
            self.group.of(node).rest()

    def _open_gate(self, node: Node, phase: Phase) -> None:
        name = _opens(phase, node)
        if name:
            self.gates.open(name, self.events.now(node.name))

    # --- a node's pipeline

    def _pipeline(self, node: Node, phases: Sequence[Phase], result: NodeResult, entering: set[str]) -> None:
        mine = [phase for phase in phases if node.role in phase.roles]
        try:
            # others wait for the control plane: it never waits for a slot
            with nullcontext() if node.control_plane else self._slots.held(BEGINS):
                self._claims.begin(node.name)
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
        except Exception as error:  # a fault of kubefab's own must end this node's pipeline, not leave others at a gate
            result.state = "failed"
            result.error = KubefabError(
                f"{node.name}: internal error in {result.step or result.phase}: {type(error).__name__}: {error}",
                "please report it, with the journal of this run",
            )
            self.events.log("crash", node=node.name, trace=traceback.format_exc())
        finally:
            self._take_back(node, result)
            self._ended(node, result, entering)
            self._unlink(node)
            self.events.log(
                "node",
                node=node.name,
                state=result.state,
                phase=result.phase,
                step=result.step,
                steps=result.steps,
                error=result.error and result.error.message,
                later=result.state == "done" and not result.steps,
            )
            self.reporter.node_done(node.name, result)

    def _take_back(self, node: Node, result: NodeResult) -> None:
        """Undo what the node's run ended in the middle of; a run that cannot is gone on with by the next one."""
        undo = self._undo.pop(node.name, None)
        if undo is None or result.state == "done":
            return
        try:
            self._applier.take_back(node, undo)
            self.reporter.note(f"{node.name}: taken back: {undo.title}")
        except KubefabError as error:
            self.reporter.note(
                f"{node.name}: not taken back ({undo.title}): {error.message}; the same command goes on from there"
            )

    def _through_broken_links(self, node: Node, phases: Sequence[Phase], result: NodeResult) -> None:
        """Run the phases. If an established connection breaks, reconnect, observe again and continue."""
        breaks = 0
        while True:
            try:
                return self._phases(node, phases, result)
            except Unreachable as error:
                breaks += 1
                if result.facts is None or breaks > LINK_BREAKS or self.stopping.is_set():
                    raise
                self.events.log("link", node=node.name, step=result.step, error=error.message)
                self._reconnect(node, error)

    def _reconnect(self, node: Node, error: Unreachable) -> None:
        """Open the connections to a node and to the control plane again: a worker's steps run there too, so either may have broken."""
        patience = self.environment.settings.reconnect_timeout
        self.reporter.note(f"{error.message}; trying for {patience:.0f} s to get through again")

        def open_(end: Node) -> None:
            self.halt.check(node)
            self.group.of(end).open()

        try:
            for end in (node, self._control_node()):
                attempt(partial(open_, end), on=Unreachable, clock=self.events.clock(node.name), deadline=patience)
        except Unreachable as still:
            raise Unreachable(
                f"{error.message}, and for {patience:.0f} s since: {still.message}", error.remedy
            ) from still

    def _ended(self, node: Node, result: NodeResult, entering: set[str]) -> None:
        """Fail the gates that this pipeline should have opened, so that no other pipeline waits for it."""
        now = self.events.now(node.name)
        self._claims.end(node.name)
        said = result.error.message.splitlines()[0] if result.error else ""
        self._applier.rest(node, why=f"{node.name}, at which it failed ({said})" if said else "")
        if node.control_plane:
            if result.facts is None:
                self._unseen.add(node.name)
            self.gates.open(gate.SEEN, now)
            why = f"{node.name} ({result.phase or 'connecting'} {result.state})"
            for name in (gate.MASTER, gate.NETWORK, gate.ADDONS):
                self.gates.fail(name, why, now)
        with self._guard:
            entering.discard(node.name)
            if not entering and not self.gates.settled(gate.MEMBERS):
                self.gates.fail(gate.MEMBERS, "a first worker, and none got in", now)

    def _phases(self, node: Node, phases: Sequence[Phase], result: NodeResult) -> None:
        result.phase = "connecting"
        self.halt.check(node)
        self.reporter.doing(node.name, "", "connecting and observing")
        again = result.facts is not None
        facts = result.facts = self.observer.observe(node, settle=True)
        if again and not node.control_plane and self.observer.control is not None:
            # after the node: its join may have ended while the connection was away
            self.observer.observe(self._control_node())
        duplicate_of = self._claims.duplicate_of(node.name, hostname=facts.hostname, machine_id=facts.machine_id)
        if node.control_plane:
            self.gates.open(gate.SEEN, self.events.now(node.name))
            self._note(node, facts, duplicate_of)
        else:
            self._pass(gate.SEEN, node, "")
            self._see_control()
        self._foresee(node, facts, duplicate_of)
        unproved: list[Phase] = []
        changed = False
        behind: list[_Begun] = []
        for phase in phases:
            self.halt.check_lock(node)
            result.phase, result.step = phase.name, ""
            begun = _Begun(phase, self.events.now(node.name))
            if changed and node.role in phase.observe_before:
                facts, unproved, changed = self._prove(node, facts, unproved, duplicate_of), [], False
            waits_for = phase.waits_for.get(node.role)
            if waits_for:
                self._catch_up(node, behind, begun, result)
                self._pass(waits_for, node, phase.name)
                begun.started = self.events.now(node.name)
            if phase.admits and facts.joined and self._not_listed(facts):
                # a join of an earlier run may have ended since the control plane was observed
                self.observer.observe(self._control_node())
            ctx = self._context(node, facts, duplicate_of)
            self._in_order(ctx, phase, phases)
            facts, last = self._carry_out(node, facts, ctx, begun, result, behind)
            changed = changed or last is not None
            if last is not None and (isinstance(last, Step) or phase.residue):
                unproved.append(phase)
            if changed and phase.observe_after:
                facts, unproved, changed = self._prove(node, facts, unproved, duplicate_of), [], False
                facts = self._claim_cluster(node, facts, duplicate_of, phase, result)
            if begun.left:
                behind.append(begun)
                begun.stopped = self.events.now(node.name)
            else:
                self._end(node, begun, result)
        if behind:
            self._catch_up(node, behind, behind[-1], result)
        if changed:
            facts = self._prove(node, facts, unproved, duplicate_of)
        if self._taking_back and node.control_plane:
            self._keep(self.record.now(""))
        result.facts = facts

    def _end(self, node: Node, begun: _Begun, result: NodeResult) -> None:
        """What follows the last action of a phase on a node."""
        phase, steps = begun.phase, begun.steps
        took = self.events.now(node.name) - begun.started
        if steps or phase.name not in result.seconds:
            self.reporter.phase_done(node.name, phase.name, steps, took)
        result.seconds[phase.name] = result.seconds.get(phase.name, 0.0) + took
        self._open_gate(node, phase)
        self.events.log("phase", node=node.name, phase=phase.name, steps=steps, seconds=round(took, 3), later=not steps)

    def _catch_up(self, node: Node, behind: list[_Begun], now: _Begun, result: NodeResult) -> None:
        """Carry out the waits that earlier phases have left, and end those phases; then `now` goes on."""
        at = self.events.now(node.name)
        for begun in behind:
            result.phase = begun.phase.name
            begun.started += self.events.now(node.name) - begun.stopped
            for wait in begun.left:
                self._act(node, wait, begun, result)
            self._applier.rest(node)
            self._end(node, begun, result)
        if behind:
            result.phase, result.step = now.phase.name, ""
            now.started += self.events.now(node.name) - at
            behind.clear()

    def _act(self, node: Node, action: Action, begun: _Begun, result: NodeResult) -> None:
        self.halt.check(node)
        result.step = action.id
        if not isinstance(action, Stop):
            self._undo.pop(node.name, None)
            if action.undo:
                self._undo[node.name] = action.undo
        steps = self._applier.apply(node, action, begun.token)
        begun.steps += steps
        result.steps += steps

    def _foresee(self, node: Node, facts: NodeFacts, duplicate_of: str) -> None:
        """Before a node that is to be drained is changed: what the drains of all nodes of this run meet. Raises KubefabError where one cannot end."""

        def empties(node: Node, facts: NodeFacts, duplicate_of: str = "") -> bool:
            ctx = self._context(node, facts, duplicate_of)
            return any(one.empties and node.role in one.roles and one.empties(ctx) for one in self._chosen)

        if not empties(node, facts, duplicate_of):
            return
        with self._foreseeing:
            if not self._foreseen:
                self.reporter.doing(node.name, "", "asking which pods the drains will meet")
                self._foreseen.append(foreseen(self.observer, self._nodes, empties, self.choices))
        if error := self._foreseen[0]:
            raise error

    def _in_order(self, ctx: Context, phase: Phase, chosen: Sequence[Phase]) -> None:
        """Raise Refused where this phase would change a node on which phases that it follows, and that this run leaves out, are not done."""
        names = {one.name for one in chosen}
        before = for_release(self.environment, [one for one in phase.follows if one.name not in names])
        if not before or not any(isinstance(action, Step) for action in phase.run(ctx)):
            return
        missing = [one.name for one in before if any(isinstance(action, Step | Stop) for action in one.run(ctx))]
        if missing:
            raise Refused(
                f"{ctx.node.name}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not done here, and {phase.title} comes after that",
                f"first `{ctx.fab(*missing)}`, then run this again; or all in order: "
                f"`inv cluster.bootstrap {self.environment.option}{self.environment.settings.release.option}`",
            )

    def _carry_out(
        self, node: Node, facts: NodeFacts, ctx: Context, begun: _Begun, result: NodeResult, behind: list[_Begun]
    ) -> tuple[NodeFacts, object | None]:
        """What one phase decides, applied; returns the facts after it, and its last action.

        What a phase that goes on `meanwhile` decides after its last step is left to `_catch_up`, before the first wait of the next one.
        """
        phase, begun.token = begun.phase, ctx.token
        actions = list(phase.run(ctx))
        if actions:
            self.events.log("plan", node=node.name, phase=phase.name, steps=[a.id for a in actions])
        last = max((number for number, one in enumerate(actions, 1) if not isinstance(one, Wait)), default=0)
        for number, action in enumerate(actions, 1):
            if phase.meanwhile and number > last:
                begun.left = [one for one in actions[last:] if isinstance(one, Wait)]
                break
            if isinstance(action, Wait):
                self._catch_up(node, behind, begun, result)
            self._act(node, action, begun, result)
        self._applier.rest(node)
        return self.observer.noted(node, facts, actions), actions[-1] if actions else None

    def _prove(self, node: Node, facts: NodeFacts, unproved: Sequence[Phase], duplicate_of: str) -> NodeFacts:
        """Observe again; the phases that applied steps must now have nothing to do."""
        self.reporter.doing(node.name, unproved[-1].name if unproved else "", "checking the result")
        facts = self.observer.observe(node)
        for phase in unproved:
            if phase.residue:
                left_behind = phase.residue(facts)
                if left_behind:
                    raise StepFailed(
                        f"{node.name}: not clean after {phase.name}",
                        f"run {phase.name} again; if it stays, the lines above name what to remove by hand",
                        "\n".join(left_behind),
                    )
                continue
            left = [a for a in phase.run(self._context(node, facts, duplicate_of)) if isinstance(a, Step | Stop)]
            if left:
                raise StepFailed(
                    f"{node.name}: {left[0].id} was applied without an error, yet it is still to do",
                    f"something on the node undoes it (another tool?); `inv cluster.plan --observe {self.environment.option}` shows what differs",
                )
        return facts

    # --- which cluster, whose node

    def _context(self, node: Node, facts: NodeFacts, duplicate_of: str) -> Context:
        """What a phase decides from; the same as the phase before where none of it has changed, which then judges nothing again."""
        facts = self.observer.latest(node, facts)
        control = self.observer.first if self._taking_back else self.observer.control
        return self._contexts.of(node, facts, control, self.tokens.current(), duplicate_of, self.choices, self.record)

    def _not_listed(self, facts: NodeFacts) -> bool:
        """Whether the control plane was observed and did not list this node."""
        control = self.observer.control
        return control is not None and control.node_object(facts.hostname) is None

    def _see_control(self) -> None:
        """Observe the control plane before a worker is judged: what its cluster was made with counts there too. An unreachable one says nothing."""
        control = self.environment.control_plane
        with self._control_asked:
            if self.observer.first is None and control.name not in self._unseen:
                try:
                    self.observer.observe(control)
                except KubefabError:
                    self._unseen.add(control.name)

    def _claim_cluster(
        self, node: Node, facts: NodeFacts, duplicate_of: str, phase: Phase, result: NodeResult
    ) -> NodeFacts:
        """Write into the node's identity file which cluster it has, now that there is one."""
        actions = list(guard.identity(self._context(node, facts, duplicate_of), phase.name))
        for action in actions:
            result.step = action.id
            result.steps += self._applier.apply(node, action)
        facts = self.observer.noted(node, facts, actions)
        self._note(node, facts, duplicate_of)
        return facts

    def _note(self, node: Node, facts: NodeFacts, duplicate_of: str) -> None:
        """Keep on this machine which cluster the environment has, once the control plane's machine is proved to be ours."""
        uid = facts.identity.uid
        if not uid or self._taking_back or uid == self.record.uid:
            return
        if guard.whose(self._context(node, facts, duplicate_of)).kind == Kind.OURS:
            self._keep(self.record.now(uid))

    def _keep(self, record: Record) -> None:
        """Note it for this run and the next ones; a run goes on where it cannot be kept."""
        self.record = record
        try:
            remember(self.environment, record)
        except OSError as error:
            self.reporter.note(f"{error.filename} cannot be written ({error.strerror}); the run goes on without it")


def _opens(phase: Phase, node: Node) -> Gate | None:
    """The gate that a phase opens when it ends on a node."""
    return phase.opens.get(node.role) if node.role in phase.roles else None
