"""`inv cluster.plan`: what bootstrap would run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import EXIT_CHANGES, KubefabError, UsageError
from .common import Options, command, described, exit_unless, exit_with, limited, print_json

if TYPE_CHECKING:
    from ..inventory import Environment
    from ..phases import Phase


@command(
    "env",
    "kubernetes",
    "recipe",
    "json",
    help={
        "observe": "look at the nodes first, and plan only what is still to do",
        "commands": "also the commands of each step",
        "diff": "what each file and manifest will become; with --observe beside what is there now",
        "limit": "only these nodes: a group, names, addresses; several with commas",
        "check": "exit 3 when something is to do; 1 when a node does not answer",
        "phase": "only this phase",
        "reveal": "1.5 only: with its token, as the manual has it",
    },
)
def plan(
    *,
    observe: bool = False,
    commands: bool = False,
    diff: bool = False,
    limit: str = "",
    check: bool = False,
    phase: str = "",
    options: Options,
    reveal: bool = False,
) -> None:
    """What bootstrap would run; connects to nothing."""
    if observe or check:
        from .session import opened

        # a --limit or --phase that names nothing is refused before anything is connected to
        with opened(options, ahead=not (limit or phase)) as session:
            environment = session.environment
            chosen = _chosen(phase)
            nodes = limited(environment, limit)
            # what is to do on a node depends on the control plane
            survey = session.observer().begin(tuple(dict.fromkeys((*environment.control_planes, *nodes))))
            from .. import manifests
            from ..nodes.facts import facts_of
            from ..recipes.kubeadm import recipe_for
            from ..views import plan as planning
            from ..views.present import present

            manifests.load(recipe_for(environment))
            seen = survey()
            facts = facts_of(seen)
            planned = list(planning.plan(environment, chosen, nodes, facts))
            before: planning.Before | None = {} if diff else None
            unseen = {name: e for name, e in seen.items() if isinstance(e, KubefabError)}
            if diff:
                there = (
                    (node, planning.place(file))
                    for node, file in planning.written(planned, environment)
                    if not file.secret
                )
                before, unread = present(session.group, there)
                unseen |= unread
    else:
        from ..views import plan as planning
        from .notices import warn

        chosen = _chosen(phase)
        environment = described(options)
        warn(environment)
        environment = with_simulated_nodes(environment)
        nodes = limited(environment, limit)
        planned, unseen, facts = list(planning.plan(environment, chosen, nodes)), {}, {}
        before = {} if diff else None
    from rich.text import Text

    from ..phases import REGISTRY
    from ..text.cleaning import spans
    from ..text.screen import Screen
    from ..views import results
    from .notices import warn_of_unlisted

    console = Screen()
    if REGISTRY in chosen:
        warn_of_unlisted(environment)
    if options.json:
        rows = [planning.as_data(p, environment, reveal=reveal, before=before) for p in planned]
        print_json(
            {
                "environment": environment.name,
                "observed": observe or check,
                "plan": rows,
                "unseen": results.of_nodes(unseen),
            }
        )
    else:
        groups, details = planning.alike(planned, environment, before), commands or diff
        for same in groups:
            title = same.title if details else spans(same.names)
            console.print(Text.assemble("\n", (title, "bold"), f" {same.first.phase}"), soft_wrap=True)
            for line in planning.as_text(same.first, environment, commands=commands, reveal=reveal, before=before):
                console.print(f"  {line}", soft_wrap=True)
        if not planned:
            answered = "nothing to do on the nodes that answered" if facts else "no node answered"
            fresh = "" if observe or check else " on machines that are fresh; --observe looks at yours"
            console.print(answered if unseen else f"nothing to do{fresh}")
        elif not (observe or check):
            console.print(
                "\nfor machines that are fresh; --observe looks at yours, --commands shows every command", style="dim"
            )
        if details and not all(same.exact for same in groups):
            hint = "(as on …): the others differ in their own name and addresses only; --limit NODE shows one"
            console.print(hint, style="dim", soft_wrap=True)
    if unseen and not options.json:
        from .progress import print_errors

        errors = Screen(stderr=True)
        print_errors(errors, unseen, environment.nodes)
        errors.print(f"what is to do on {spans(list(unseen))} is not known", soft_wrap=True)
    exit_unless(not unseen)
    if check and planned:
        exit_with(EXIT_CHANGES)


def _chosen(phase: str) -> list[Phase]:
    """The phases that are planned. Raises UsageError for a name of none."""
    from ..phases import BOOTSTRAP, EVERY

    if not phase:
        return list(BOOTSTRAP)
    if phase not in EVERY:
        from ..text.nearest import did_you_mean

        raise UsageError(
            f"--phase {phase} is no phase", f"{did_you_mean(phase, EVERY, '--phase {}')}one of {', '.join(EVERY)}"
        )
    return [EVERY[phase]]


def with_simulated_nodes(environment: Environment) -> Environment:
    """An environment of simulated nodes with those that its commands work on, of which none is started; others as they are."""
    if not environment.settings.simulated:
        return environment
    from rehearsal.naming import with_its_nodes

    return with_its_nodes(environment)
