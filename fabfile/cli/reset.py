"""`inv cluster.reset` and `fab reset`: what is checked, shown and asked before. phases/reset.py says what is done on a node."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import KubefabError, UsageError
from .common import CHANGING, Options, command, described, exit_with, print_json, several, targets

if TYPE_CHECKING:
    from ..context import Choices
    from ..inventory import Environment, Node
    from ..nodes.facts import NodeFacts
    from .session import Session


@command("env", *CHANGING, name="reset", optional=["yes"])
def cluster_reset(
    *, yes: str | bool = "", purge: bool = False, keep_images: bool = False, foreign: str = "", options: Options
) -> None:
    """Take the cluster back, prove every node clean."""
    from ..context import Choices
    from ..text.cleaning import spans
    from ..text.screen import verdict
    from .kubeconfig import take_out

    def audited(session: Session) -> None:
        session.console.print(verdict(True, f"audited: {spans([n.name for n in session.environment.nodes])} clean"))
        take_out(session)

    choices = Choices(keep_images=keep_images, purge=purge)
    reset_nodes(options, ["all"], choices, yes=yes, foreign=foreign, then=audited)


@command("env", "on", "fault", "kubernetes", "recipe", "json", "ask_sudo_pass", "verbose", "quiet", optional=["yes"])
def reset(
    *,
    yes: str | bool = "",
    purge: bool = False,
    keep_images: bool = False,
    force_drain: str = "",
    foreign: str = "",
    options: Options,
) -> None:
    """8 · Take nodes off the cluster, prove them clean"""
    from ..context import Choices

    choices = Choices(keep_images=keep_images, purge=purge)
    reset_nodes(options, targets(options), choices, yes=yes, force_drain=force_drain, foreign=foreign)


def reset_nodes(
    options: Options,
    names: Sequence[str],
    choices: Choices,
    *,
    yes: str | bool = "",
    force_drain: str = "",
    foreign: str = "",
    then: Callable[[Session], None] = lambda session: None,
) -> None:
    """Reset the named nodes after the operator confirmed it, then call `then` if it succeeded. Exits with the run's code.

    Raises UsageError before any connection, if `yes` names another environment than the chosen one, or if there is no terminal to ask on.
    """
    from dataclasses import replace

    from ..phases import RESET
    from ..views import results
    from .confirm import agreed, confirm
    from .session import opened

    environment = described(options)
    asking = not agreed(environment, yes) and not environment.settings.simulated
    if not environment.settings.simulated:
        environment.select(names)
    if asking and (options.json or not sys.stdin.isatty()):
        what = f"a reset of {environment.name} needs a confirmation; nothing was touched"
        raise UsageError(what, f"--yes {environment.name}")
    with opened(options) as session:
        nodes = session.environment.select(names)
        choices = replace(
            choices,
            whole_cluster=session.environment.control_plane in nodes,
            force_drain=named("--force-drain", force_drain, nodes),
            foreign=named("--foreign", foreign, nodes),
        )
        if choices.whole_cluster or session.environment.settings.release.runtime == "docker":
            show_losses(session, nodes, choices, shown=asking or not options.quiet)
        else:
            choices = _agreed(session, nodes, choices, shown=asking or not options.quiet)
        if asking:
            confirm(session.environment, nodes)
        result = session.run([RESET], nodes, choices)
        if not result.failed:
            session.summary(result, [RESET])
            then(session)
        if options.json:
            print_json(results.of_run(session.environment.name, result))
    exit_with(result.exit_code)


def _agreed(session: Session, nodes: Sequence[Node], choices: Choices, *, shown: bool) -> Choices:
    """Print, where it is to be `shown`, which pods and data a drain of these nodes loses; returns the choices with them, as the question means them.

    Raises KubefabError where a budget never lets a pod go: nothing is touched then. Where the API does not answer nothing is asked: a run
    takes no node out of a cluster that it does not see.
    """
    from dataclasses import replace

    from ..context import fab
    from ..nodes.facts import facts_of
    from ..phases.drain import ROOM, hindrances
    from ..phases.leave import ends_in_order, meant
    from .draining import asked, looked, losses, members, refusal

    environment = session.environment
    seen, control = looked(session, nodes)
    facts = facts_of(seen)
    called = {
        name: node
        for name, node in members(environment, seen, nodes).items()
        if control and node in facts and node not in choices.force_drain and ends_in_order(control, facts[node], name)
    }
    if not called or not (control and control.api_ready):
        return choices
    rows = hindrances(asked(session, seen, list(called)), called, choices)
    for line in losses(rows, called) if shown else ():
        session.console.print(line, soft_wrap=True)
    choices = replace(
        choices, force_pods=frozenset(row.pod for row in rows if row.kind == "bare"), delete_emptydir=True
    )
    held = [row for row in rows if row.kind not in ("bare", "scratch")]
    if why := refusal(held, called):
        first = next(node for node in nodes if node.name == called[next(row.node for row in held if row.stops)])
        again = meant(fab(environment, first, "reset"), first.name)
        raise KubefabError(why.message, f"no node was touched; {ROOM}; then run this again. {again}")
    return choices


def show_losses(session: Session, nodes: Sequence[Node], choices: Choices, *, shown: bool = True) -> None:
    """Print, where it is to be `shown`, what would be lost: what runs in the cluster, if all of it is reset, and what Docker runs on nodes of 1.5.

    Raises KubefabError if a phase would stop on one of the nodes, before any node is changed: without its control plane,
    nothing could drain the pods that hold a volume on the others. A node that cannot be observed is left to the run.
    """
    from concurrent.futures import ThreadPoolExecutor

    from ..legacy.phases import containers
    from ..nodes.facts import facts_of
    from ..views import contents

    environment = session.environment
    whole = environment.control_plane in nodes
    with ThreadPoolExecutor(1) as pool:  # at the same time as the survey
        asked = pool.submit(contents.ask, environment, session.group) if whole else None
        seen = session.observer().survey(environment.nodes if whole else nodes)
    observed = facts_of(seen)
    losses: list[str] = []
    if asked:
        hostnames = (facts.hostname for facts in observed.values())
        strange = contents.strangers(environment, observed.get(environment.control_plane.name), hostnames)
        losses += contents.lines(environment, asked.result(), strange)
    losses += [f"{name}: {containers(facts)}" for name, facts in observed.items() if facts.docker]
    for line in losses if shown else ():
        session.console.print(line, soft_wrap=True)
    refuse_stops(environment, nodes, observed, choices)


def refuse_stops(
    environment: Environment, nodes: Sequence[Node], observed: Mapping[str, NodeFacts], choices: Choices
) -> None:
    """Raise KubefabError if a reset would stop on one of the nodes that were observed."""
    from ..phases import RESET
    from ..steps import Stop
    from ..views.plan import plan

    planned = plan(environment, [RESET], nodes, observed, choices)
    stops = [(one.node, action) for one in planned for action in one.actions if isinstance(action, Stop)]
    if stops:
        raise KubefabError(
            "\n".join(f"{node}: {stop.reason}" for node, stop in stops), f"no node was touched; {stops[0][1].remedy}"
        )


def named(option: str, text: str, nodes: Sequence[Node]) -> frozenset[str]:
    """The nodes that an option names. Raises UsageError for a word that is not the name of one of `nodes`, also for a group."""
    from ..text.nearest import did_you_mean

    wanted = frozenset(several(option, text))
    if stray := sorted(wanted - {node.name for node in nodes}):
        names = [node.name for node in nodes]
        raise UsageError(
            f"{option} {','.join(stray)}: not a node that is to be reset; nothing was touched",
            f"{did_you_mean(stray[0], names)}name one of {', '.join(names[:12])}",
        )
    return wanted
