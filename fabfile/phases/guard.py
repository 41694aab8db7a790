"""Checks whose machine it is before any phase changes it, so that no phase has to ask.

A free machine gets our identity file before the first step that changes it. A machine that is not proved to be this
environment's gets no step at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from ..context import Context
from ..identity import Kind, Record, Verdict, claim, claimed, evidence, judge
from ..lasting import of_recipe, refusal
from ..nodes.facts import NodeFacts
from ..steps import Action, Step, Stop, Wait
from .hooks import hooked

BECAUSE_OF_CONTROL = frozenset({"join.control", "addons.control"})  # the control plane's own row names the cause

Generator = Callable[[Context], Iterator[Action]]


def whose(ctx: Context) -> Verdict:
    """The verdict on this node."""
    return judge(ctx.environment, ctx.node, ctx.facts, ctx.control, _record(ctx))


def control_verdict(ctx: Context) -> Verdict | None:
    """The verdict on the control plane, for another node's context; None where it was not observed."""
    if ctx.control is None:
        return None
    return judge(ctx.environment, ctx.environment.control_plane, ctx.control, None, _record(ctx))


def _never(facts: NodeFacts) -> bool:
    return False


def building(
    phase: str, run: Generator, *, relies: bool = False, joins: Callable[[NodeFacts], bool] = _never
) -> Generator:
    """Wrap a phase that builds: it is refused on a machine that is neither free nor ours, and where ours is broken.

    The phase also stops where a setting differs whose change is refused (lasting.py). A phase that `relies` on the
    control plane stops on a worker where the control plane's machine is refused; until then the worker is prepared, as beside one
    that is down. `joins` says of a worker's facts whether the phase makes it a member, whose identity file names the cluster.
    The operator's hooks are inside: a machine that is refused gets none.
    """

    run = hooked(phase, run)

    @functools.wraps(run)
    def guarded(ctx: Context) -> Iterator[Action]:
        if stop := ctx.once(of_recipe):
            yield stop
            return
        verdict = ctx.once(whose)
        if not verdict.workable:
            moved = ctx.once(refusal) if verdict.code == "address" else None  # lasting.py says more about that case
            yield moved or refused(ctx, phase, verdict)
            return
        control = None if ctx.node.control_plane else ctx.once(control_verdict)
        relied = control is None or control.workable
        # a cluster that was made for another address or port is ours: what it was made with counts here too
        if (relied or (control and control.code == "address")) and (stop := ctx.once(refusal)):
            yield stop
            return
        if control and relies and not relied:
            name = ctx.environment.control_plane.name
            seen = f"nothing is changed here, because of the control plane {name}: {control.seen}"
            yield Stop(f"{phase}.control", seen, control.remedy or f"see {name}")
            return
        actions = list(run(ctx))
        changes = any(isinstance(action, Step) or (isinstance(action, Wait) and action.changes) for action in actions)
        yield from _claimed(ctx, phase, verdict, joins=joins(ctx.facts), needed=changes)
        yield from actions

    return guarded


def attended(phase: str, run: Generator) -> Generator:
    """Wrap a phase that reads a cluster's data: only on a machine that is proved to be ours, with all of its cluster on it."""

    @functools.wraps(run)
    def guarded(ctx: Context) -> Iterator[Action]:
        verdict = ctx.once(whose)
        if verdict.kind != Kind.OURS:
            yield refused(ctx, phase, verdict)
            return
        yield from run(ctx)

    return guarded


def identity(ctx: Context, phase: str) -> Iterator[Action]:
    """Update the identity file of a machine that has one. Stop on a machine that is not ours."""
    verdict = ctx.once(whose)
    if not verdict.workable:
        yield refused(ctx, phase, verdict)
        return
    yield from _claimed(ctx, phase, verdict, joins=False, needed=False)


def _claimed(ctx: Context, phase: str, verdict: Verdict, *, joins: bool, needed: bool) -> Iterator[Action]:
    """Write the identity file of a free or own machine where it differs; where there is none, only if it is `needed`."""
    facts = ctx.facts
    joins = (joins or verdict.adopt) and not ctx.node.control_plane
    wanted = claimed(ctx.environment, ctx.node, facts, ctx.control, joins=joins)
    if wanted != facts.identity and (needed or verdict.adopt or (facts.identity.environment and evidence(facts))):
        yield claim(phase, wanted, facts, adopt=verdict.adopt)


def taking_back(run: Generator) -> Generator:
    """Wrap reset: only for a machine that is proved to be ours, or that the operator named with --foreign; never where k3s or the like runs."""

    run = hooked("reset", run, lasting=False)

    @functools.wraps(run)
    def guarded(ctx: Context) -> Iterator[Action]:
        verdict = ctx.once(whose)
        meant = ctx.node.name in ctx.choices.foreign and verdict.kind in (Kind.ANOTHER, Kind.UNKNOWN)
        if not (verdict.proven or meant or verdict.kind == Kind.FREE):
            yield refused(ctx, "reset", verdict)
            return
        yield from run(ctx)

    return guarded


def _record(ctx: Context) -> Record:
    if (
        ctx.choices.restoring
    ):  # which cluster it is to be, the backup says; a new machine is not the place of a lost cluster then
        return Record()
    return ctx.record.now(ctx.choices.adopt) if ctx.choices.adopt else ctx.record


def refused(ctx: Context, phase: str, verdict: Verdict) -> Stop:
    """The stop of a phase on a machine with that verdict."""
    if verdict.kind == Kind.BROKEN:
        # a reset that did not end has taken the cluster apart already; elsewhere a control plane is never reset alone
        again = f"`{ctx.fab('reset')}`, then run this again" if verdict.code == "reset" else ctx.renew()
        return Stop(f"{phase}.{verdict.code}", verdict.seen, verdict.remedy or again)
    remedy = verdict.remedy if verdict.kind == Kind.ELSE else "; ".join(filter(None, (verdict.remedy, _foreign(ctx))))
    return Stop(f"{phase}.{verdict.code}", f"{verdict.kind}: {verdict.seen}", remedy)


def _foreign(ctx: Context) -> str:
    """The one command that resets a machine although it is not ours."""
    return f"nothing was touched. If all that is on it is to go: `{ctx.fab('reset')} --foreign {ctx.node.name}`"
