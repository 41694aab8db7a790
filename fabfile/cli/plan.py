"""`inv cluster.plan`: what bootstrap would run."""

from __future__ import annotations

from ..errors import EXIT_CHANGES, KubefabError, UsageError
from .common import Options, command, described, exit_unless, exit_with, print_json


@command(
    "env",
    "kubernetes",
    "recipe",
    "json",
    help={
        "observe": "look at the nodes first, and plan only what is still to do",
        "commands": "also the commands of each step",
        "check": "exit 3 when something is to do; 1 when a node does not answer",
        "phase": "only this phase",
        "reveal": "1.5 only: with its token, as the manual has it",
    },
)
def plan(
    *,
    observe: bool = False,
    commands: bool = False,
    check: bool = False,
    phase: str = "",
    options: Options,
    reveal: bool = False,
) -> None:
    """What bootstrap would run; connects to nothing."""
    from rich.text import Text

    from ..nodes.facts import NodeFacts
    from ..phases import BOOTSTRAP, EVERY, REGISTRY
    from ..text.cleaning import spans
    from ..text.nearest import did_you_mean
    from ..text.screen import Screen
    from ..views import plan as planning
    from ..views import results
    from .notices import warn, warn_of_unlisted
    from .progress import print_errors

    console = Screen()
    if phase and phase not in EVERY:
        raise UsageError(
            f"--phase {phase} is no phase", f"{did_you_mean(phase, EVERY, '--phase {}')}one of {', '.join(EVERY)}"
        )
    chosen = [EVERY[phase]] if phase else list(BOOTSTRAP)
    if observe or check:
        from .session import opened

        with opened(options) as session:
            environment = session.environment
            seen = session.observer().survey(environment.nodes)
            facts = {name: f for name, f in seen.items() if isinstance(f, NodeFacts)}
            planned = list(planning.plan(environment, chosen, environment.nodes, facts))
            unseen = {name: e for name, e in seen.items() if isinstance(e, KubefabError)}
    else:
        environment = described(options)
        warn(environment)
        planned, unseen, facts = list(planning.plan(environment, chosen, environment.nodes)), {}, {}
    if REGISTRY in chosen:
        warn_of_unlisted(environment)
    if options.json:
        rows = [planning.as_data(p, reveal=reveal) for p in planned]
        print_json(
            {
                "environment": environment.name,
                "observed": observe or check,
                "plan": rows,
                "unseen": results.of_nodes(unseen),
            }
        )
    else:
        for item in planned:
            console.print(Text.assemble("\n", (item.node, "bold"), f" {item.phase}"))
            for line in planning.as_text(item, commands=commands, reveal=reveal):
                console.print(f"  {line}", soft_wrap=True)
        if not planned:
            answered = "nothing to do on the nodes that answered" if facts else "no node answered"
            console.print(answered if unseen else "nothing to do")
        elif not (observe or check):
            console.print(
                "\nfor machines that are fresh; --observe looks at yours, --commands shows every command", style="dim"
            )
    errors = Screen(stderr=True)
    if unseen and not options.json:
        print_errors(errors, unseen, environment.nodes)
        errors.print(f"what is to do on {spans(list(unseen))} is not known", soft_wrap=True)
    exit_unless(not unseen)
    if check and planned:
        exit_with(EXIT_CHANGES)
