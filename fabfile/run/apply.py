"""Carries out one action on one node: a step, or a wait with its remedies."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from threading import Lock

from ..context import LATER
from ..errors import KubefabError, Refused, StepFailed, StillRunning, Unreachable
from ..inventory import Node
from ..nodes import script
from ..nodes.connection import outcome, received
from ..nodes.group import NodeGroup
from ..nodes.incoming import Sink
from ..records import dataclass
from ..steps import Action, Fetch, Gate, Give, Remedy, Step, Stop, Wait
from ..text.cleaning import line
from ..text.masking import Token, mask
from . import local
from .events import Events
from .gates import Turns
from .halt import Halt
from .result import Reporter
from .retry import poll
from .tokens import JoinTokens


@dataclass(frozen=True)
class Archive:
    """Where the files of steps that fetch go, and where those of steps that give come from: `gives` yields the content of a file by its name."""

    takes: Sink | None = None
    gives: Callable[[str], Iterator[bytes]] | None = None


PROBE_TIMEOUT = 30.0  # seconds
STEP_LOCK_WAIT = 180  # seconds, for a step of an earlier run; applying a manifest is the longest of those
TAIL = 16  # lines of output quoted in an error
LINE = 300  # characters of each of them; the journal has it whole


class Applier:
    """Carries out actions for all pipelines of a run.

    `passing` waits at a gate: it gets the gate, the node, and the phase's name.  `control` names the control plane that
    carries out what is delegated to one.  `heard` gets each line that a step prints, as it comes, with the name of its node.  `archive` is
    for steps that fetch or give files.
    """

    def __init__(
        self,
        group: NodeGroup,
        reporter: Reporter,
        events: Events,
        halt: Halt,
        tokens: JoinTokens,
        passing: Callable[[Gate, Node, str], None],
        control: Callable[[], Node],
        heard: Callable[[str, str], None] | None = None,
        archive: Archive | None = None,
    ) -> None:
        self._group, self._reporter, self._control = group, reporter, control
        self._archive = archive or Archive()
        self._events, self._halt, self._tokens, self._passing = events, halt, tokens, passing
        self._heard = heard
        self._guard = Lock()
        self._once: dict[tuple[str, Token], Lock] = {}
        self._once_done: dict[tuple[str, Token], KubefabError | None] = {}
        self._turns: dict[str, Lock] = {}
        self._serial = Turns()

    def apply(self, node: Node, action: Action, token: Token | None = None) -> int:
        """Carry out one action and return how many changes that made.

        An action with `once` is carried out by the first node that comes to it, once for each `token`; its failure fails all
        nodes that need it. Raises KubefabError.
        """
        if isinstance(action, Stop):
            raise Refused(f"{node.name}: {action.reason}", action.remedy)
        self.rest(node, action.turn)
        if action.turn:
            self._take(node, action)
        if action.needs:
            self._passing(action.needs, node, action.phase)
        target = self._target(node, action)
        if not action.once:
            return self._one(node, target, action)
        key = (action.id, token or Token())
        with self._guard:
            lock = self._once.setdefault(key, Lock())
        with lock:
            if key not in self._once_done:
                try:
                    self._once_done[key] = None
                    return self._one(node, target, action)
                except Unreachable:  # says nothing about the action: the next node that gets through tries it
                    del self._once_done[key]
                    raise
                except KubefabError as error:
                    self._once_done[key] = error
                except BaseException:  # a fault of kubefab's own: it is not done
                    del self._once_done[key]
                    raise
            failure = self._once_done[key]
        if failure:
            raise failure
        return 0

    def take_back(self, node: Node, undo: Step) -> None:
        """Carry out an `undo`, also in a run that was asked to stop, but not in one that lost the cluster's lock. Raises KubefabError."""
        target = self._target(node, undo)
        self._halt.check_held(node)
        self._group.of(target).open()
        done = self._sent(target, undo)
        if done.code:
            raise _failure(target.name, undo, done)
        self._events.log("undone", node=node.name, on=target.name, step=undo.id)

    def _take(self, node: Node, action: Step | Wait) -> None:
        """Wait for this node's turn at what one node after the other does."""
        if not self._serial.free(action.turn):
            self._reporter.doing(node.name, action.phase, f"waits for its turn: {action.title}")
        began = self._serial.take(action.turn, node.name, self._halt.stopping.is_set)
        self._events.clock(node.name).advance_to(began)

    def rest(self, node: Node, but: str = "", why: str = "") -> None:
        """End this node's turns, except `but`; with `why` no other node begins them in this run."""
        self._serial.end(node.name, but, self._events.now(node.name), why)

    def _target(self, node: Node, action: Step | Wait | Remedy) -> Node:
        return self._control() if action.on == "control-plane" else node

    def _one(self, node: Node, target: Node, action: Step | Wait) -> int:
        where = " on this machine" if action.on == "operator" else "" if target == node else f" on {target.name}"
        self._reporter.doing(node.name, action.phase, action.title + where)
        started = self._events.now(node.name)
        self._events.log("start", node=node.name, on=target.name, step=action.id)
        try:
            if isinstance(action, Step):
                self._step(node, target, action)
                changes = 1
            else:
                changes = self._wait(node, target, action) + action.changes
        except KubefabError as error:
            self._events.log(
                "failed",
                node=node.name,
                step=action.id,
                seconds=self._events.since(node.name, started),
                error=error.message,
                output=error.output[-4000:],
            )
            raise
        self._events.log("end", node=node.name, step=action.id, seconds=self._events.since(node.name, started))
        if isinstance(action, Step) and action.says:
            self._reporter.note(f"{node.name}: {action.says}")
        return changes

    @contextmanager
    def _turn(self, node: Node, target: Node, phase: str, title: str) -> Iterator[None]:
        """This pipeline's turn on a node that several of them change (the control plane).

        It waits here: on the node it would wait for the lock, and that would count against the step's timeout.
        """
        with self._guard:
            turn = self._turns.setdefault(target.name, Lock())
        if not turn.acquire(blocking=False):
            self._reporter.doing(node.name, phase, f"waits for its turn on {target.name}: {title}")
            while not turn.acquire(timeout=0.2):
                self._halt.check(node)
            self._reporter.doing(node.name, phase, f"{title} on {target.name}")
        try:
            yield
        finally:
            turn.release()

    def _step(self, node: Node, target: Node, step: Step) -> None:
        if step.mints:
            self._tokens.mint()
        if any(LATER in file.content for file in step.files):
            what = f"{step.title} needs what only the control plane can say, and it was not heard"
            raise Refused(f"{target.name}: {what}", "see the control plane's own row; then run this again")
        if step.on == "operator":
            self._here(node, step)
            return
        with self._turn(node, target, step.phase, step.title):
            self._halt.check_lock(node)
            done = self._sent(target, step)
        if done.code == 0:
            return
        raise _failure(target.name, step, done, self._explained(target, step))

    def _sent(self, target: Node, step: Step) -> script.Outcome:
        """What a step's script did, with the files that go before it or come after it."""
        connection, timeout = self._group.of(target), step.timeout + STEP_LOCK_WAIT
        takes, gives = self._archive.takes, self._archive.gives
        if (isinstance(step, Fetch) and takes is None) or (isinstance(step, Give) and gives is None):
            raise KubefabError(f"{target.name}: {step.title}: this command has no archive")
        if isinstance(step, Fetch) and takes:
            text = script.sending(step.id, step.commands, step.sends, step.scratch, wait=STEP_LOCK_WAIT)
            return received(connection, step.id, text, timeout, takes)
        if isinstance(step, Give) and gives:
            for name, path in step.gives:
                connection.send(path, gives(name), timeout)
        heard = partial(self._heard, target.name) if self._heard else None
        text = script.render(
            step.id, step.commands, step.files, wait=STEP_LOCK_WAIT, live=heard is not None, fetches=step.fetches
        )
        return outcome(connection, step.id, text, timeout, heard, more=True)

    def _here(self, node: Node, step: Step) -> None:
        """Carry out a step on this machine, for a node."""
        self._halt.check_lock(node)
        done = local.carry_out(step)
        for row in done.output.splitlines() if self._heard else ():
            self._heard(node.name, mask(row))  # type: ignore[misc]  # it is there where this is called
        if done.code:
            raise _failure(f"{node.name} (on this machine)", step, done)

    def _wait(self, node: Node, target: Node, wait: Wait) -> int:
        """Poll until it is so, with the remedies in between; returns how many remedies were applied."""
        clock = self._events.clock(node.name)
        connection = self._group.of(target)
        probe = script.render(wait.id, (f"{wait.probe} || true",), lock=wait.changes, wait=STEP_LOCK_WAIT)
        timeout = PROBE_TIMEOUT + (STEP_LOCK_WAIT if wait.changes else 0)

        before: list[str | None] = [None]

        def look() -> str | None:
            (self._halt.check_lock if wait.changes else self._halt.check)(node)
            if target != node:
                self._group.of(node).open()  # raises for a node whose own connection broke
            try:
                with self._turn(node, target, wait.phase, wait.title) if wait.changes else nullcontext():
                    seen = _seen(wait, outcome(connection, wait.id, probe, timeout, more=True).output)
            except StillRunning:  # another run's work is not repaired by remedies
                raise
            except StepFailed as error:  # the probe hung or failed once; the next one may not
                seen = error.message
            except Unreachable as error:
                if not wait.reboots:
                    raise
                seen = error.message
            if seen != before[0]:
                before[0] = seen
                self._events.log("seen", node=node.name, step=wait.id, seen=seen or "as it should be")
            if seen:
                self._reporter.doing(node.name, wait.phase, f"{wait.title}: {mask(seen)}")
            return seen

        stages: list[tuple[float, Remedy | None]] = [(r.after, r) for r in wait.remedies] + [(wait.deadline, None)]
        tried: list[str] = []
        for seconds, remedy in stages:
            met, seen = poll(look, lambda s: s is None, clock=clock, deadline=seconds, interval=wait.interval)
            if met:
                return len(tried)
            if remedy:
                tried.append(f"after {seconds:.0f} s: {remedy.title}")
                self._events.log("remedy", node=node.name, step=wait.id, remedy=remedy.title, seen=seen)
                self._reporter.note(
                    f"{node.name}: {wait.title}: still {mask(seen or '')} after {seconds:.0f} s; {remedy.title}"
                )
                there = self._target(node, remedy)
                self._step(node, there, Step(f"{wait.id}.remedy", remedy.title, remedy.commands))
        evidence = self._evidence(target, wait)
        raise StepFailed(
            f"{node.name}: gave up waiting: {wait.title}\n  last seen: {seen}"
            + "".join(f"\n  tried {t}" for t in tried),
            wait.hint,
            evidence,
        )

    def _evidence(self, target: Node, wait: Wait) -> str:
        lines = tuple(f"echo {shlex.quote('$ ' + _short(e, 70))}; {e} || true" for e in wait.evidence)
        return self._read(target, wait.id, lines, TAIL * 3)

    def _explained(self, target: Node, step: Step) -> str:
        """What explains the failure of a step beside its own output."""
        return self._read(target, step.id, tuple(f"{{ {line}; }} || true" for line in step.evidence), TAIL)

    def _read(self, target: Node, action: str, lines: tuple[str, ...], most: int) -> str:
        if not lines:
            return ""
        text = script.render(f"{action}.evidence", lines, lock=False)
        try:
            return _tail(outcome(self._group.of(target), action, text, PROBE_TIMEOUT).output, most)
        except KubefabError as error:
            return f"no evidence: {error.message}"


def _seen(wait: Wait, output: str) -> str | None:
    """What a wait makes of its probe's output, on one line; for output that it cannot read, a sentence that says so."""
    try:
        seen = wait.until(output)
    except Exception as error:  # caused by what that node said; the next look may be better
        return f"an answer that cannot be read ({type(error).__name__}): {line(output, 100)}"
    return None if seen is None else line(seen) or "no answer"


def _failure(where: str, step: Step, done: script.Outcome, more: str = "") -> StepFailed:
    at = done.command
    command = step.commands[at - 1] if 0 < at <= len(step.commands) else f"writing {len(step.files)} files"
    what = f"{where}: {step.title} failed (exit code {done.code})\n  $ {_short(command)}"
    error = StepFailed(what, step.hint, "\n".join(filter(None, (_tail(done.output), more))))
    error.whole = mask("\n".join(filter(None, (done.output, more))))
    return error


def _tail(text: str, lines: int = TAIL) -> str:
    """The last lines, masked before they are cut, so that no half of a secret remains."""
    return "\n".join(_ends(line) for line in mask(text).rstrip().splitlines()[-lines:])


def _ends(line: str) -> str:
    """A line without the middle of a long one: its end says why, as each part of a program puts its own words in front."""
    return line if len(line) <= LINE else f"{line[: LINE // 3]}…{line[1 - 2 * LINE // 3 :]}"


def _short(command: str, limit: int = 200) -> str:
    command = mask(command)
    return command if len(command) <= limit else command[: limit - 1] + "…"
