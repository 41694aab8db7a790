"""`inv`'s entry: whole clusters (cluster.*), the lab, the rehearsal, and the same phases as `fab` with `--on`."""

from __future__ import annotations

import json as jsonlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from invoke import Collection
from rich.console import Console
from rich.table import Table
from rich.text import Text

import lab.entry
import rehearsal.entry
from fabfile import PHASE_TASKS, inventory, phases
from fabfile.cli import describing, operating, resetting
from fabfile.cli.common import agreed, command, exit_unless, exit_with, release, summary
from fabfile.cli.progress import print_error, print_table
from fabfile.cli.session import Options, Session, opened, tell_unlisted, warn
from fabfile.context import Choices
from fabfile.errors import EXIT_USAGE, KubefabError, UsageError
from fabfile.inventory import with_release
from fabfile.nodes.facts import NodeFacts
from fabfile.text.screen import Screen, verdict
from fabfile.views import calendar as expiry
from fabfile.views import history as choosing
from fabfile.views import kubeconfig
from fabfile.views import plan as planning
from fabfile.views import status as status_module


@command(
    iterable=["fault"],
    optional=["kubeconfig", "yes"],
    help={
        "limit": "only these nodes: a group, names, addresses; several with commas",
        "only-failed": "only nodes that earlier runs left unfinished",
        "from": "begin with this phase",
        "yes": "1.5 only: the environment's name, if what an earlier cluster left may be stopped and the node rebooted (P2)",
        "adopt": "the uid of a cluster that is to be this environment's, though it had another when it was last worked on from here",
    },
)
def bootstrap(
    c: Any,
    env: str = "",
    limit: str = "",
    only_failed: bool = False,
    from_: str = "",
    workers: int = 0,
    fault: list[str] | None = None,
    kubernetes: str = "",
    recipe: str = "",
    kubeconfig: str = "",
    yes: str = "",
    adopt: str = "",
    ask_sudo_pass: bool = False,
) -> None:
    """Bring the cluster up, or on from where it stopped."""
    wanted = choosing.phases_from(phases.BOOTSTRAP, from_)
    chosen, sure = release(kubernetes, recipe), agreed(inventory.load(env or None), yes)
    options = Options(env, workers=workers, faults=tuple(fault or ()), kubernetes=chosen, ask_sudo_pass=ask_sudo_pass)
    with opened(options) as session:
        nodes = choosing.chosen_nodes(session.environment, limit, only_failed)
        if not nodes:
            session.console.print(verdict(True, f"{session.environment.name}: earlier runs left no node unfinished"))
            return
        result = session.run(wanted, nodes, Choices(agreed=sure, adopt=adopt))
        if not result.failed:
            summary(session, result, wanted)
            if kubeconfig:
                _merge_kubeconfig(session, kubeconfig if isinstance(kubeconfig, str) else "")
            if result.steps:
                describing.print_card(session.console, session.environment)
        exit_code = result.exit_code
    exit_with(exit_code)


@command(iterable=["fault"], optional=["yes"])
def reset(
    c: Any,
    env: str = "",
    yes: str = "",
    purge: bool = False,
    keep_images: bool = False,
    foreign: str = "",
    fault: list[str] | None = None,
    kubernetes: str = "",
    recipe: str = "",
    ask_sudo_pass: bool = False,
) -> None:
    """Take the cluster back, prove every node clean."""
    options = Options(
        env, faults=tuple(fault or ()), kubernetes=release(kubernetes, recipe), ask_sudo_pass=ask_sudo_pass
    )

    def audited(session: Session) -> None:
        session.console.print(verdict(True, f"audited: {', '.join(n.name for n in session.environment.nodes)} clean"))
        _clear_kubeconfigs(session)

    resetting.take_off(
        options, ["all"], Choices(keep_images=keep_images, purge=purge), yes=yes, foreign=foreign, then=audited
    )


@command(
    help={
        "observe": "look at the nodes first, and plan only what is still to do",
        "commands": "also the commands of each step",
        "check": "exit 2 when something is to do; 1 when a node does not answer",
        "phase": "only this phase",
        "reveal": "1.5 only: with its token, as the manual has it",
    }
)
def plan(
    c: Any,
    env: str = "",
    observe: bool = False,
    commands: bool = False,
    check: bool = False,
    phase: str = "",
    kubernetes: str = "",
    recipe: str = "",
    reveal: bool = False,
    json: bool = False,
) -> None:
    """What bootstrap would run; connects to nothing."""
    console = Screen()
    kubernetes = release(kubernetes, recipe)
    if phase and phase not in phases.EVERY:
        raise UsageError(f"--phase {phase} is no phase", f"one of {', '.join(phases.EVERY)}")
    chosen = [phases.EVERY[phase]] if phase else list(phases.BOOTSTRAP)
    if observe or check:
        with opened(Options(env, kubernetes=kubernetes)) as session:
            environment = session.environment
            seen = session.observer().survey(environment.nodes)
            facts = {name: f for name, f in seen.items() if isinstance(f, NodeFacts)}
            planned = list(planning.plan(environment, chosen, environment.nodes, facts))
            unseen = {name: e for name, e in seen.items() if isinstance(e, KubefabError)}
    else:
        environment = with_release(inventory.load(env or None), kubernetes)
        warn(environment)
        planned, unseen, facts = list(planning.plan(environment, chosen, environment.nodes)), {}, {}
    if phases.REGISTRY in chosen:
        tell_unlisted(environment)
    if json:
        print(jsonlib.dumps([planning.as_data(p, reveal=reveal) for p in planned], indent=2))
    else:
        for item in planned:
            console.print(Text.assemble("\n", (item.node, "bold"), f" {item.phase}"))
            for line in planning.as_text(item, commands=commands, reveal=reveal):
                console.print(f"  {line}", soft_wrap=True)
        if not planned:
            console.print(
                "nothing to do"
                if not unseen
                else "nothing to do on the nodes that answered"
                if facts
                else "no node answered"
            )
        elif not (observe or check):
            console.print(
                "\nfor machines that are fresh; --observe looks at yours, --commands shows every command", style="dim"
            )
    told = Screen(stderr=True)
    for error in unseen.values():
        print_error(told, error)
    if unseen:
        told.print(f"what is to do on {', '.join(unseen)} is not known", soft_wrap=True)
    exit_unless(not unseen)
    if check and planned:
        exit_with(EXIT_USAGE)


@command()
def status(
    c: Any, env: str = "", kubernetes: str = "", recipe: str = "", json: bool = False, ask_sudo_pass: bool = False
) -> None:
    """How each node is, phase by phase."""
    with opened(Options(env, kubernetes=release(kubernetes, recipe), ask_sudo_pass=ask_sudo_pass)) as session:
        rows = status_module.status(session.environment, session.observer().survey(session.environment.nodes))
        reached = [row.node for row in rows if row.cells and not session.simulation]
        calendar = expiry.ask(session.environment, session.group, reached)
        if json:
            print(
                jsonlib.dumps(
                    [{**_row_data(row), **expiry.data(calendar.get(row.node.name, ()))} for row in rows], indent=2
                )
            )
        else:
            _print_status(session.console, rows)
            for line in expiry.lines(calendar, time.time()):
                session.console.print(line, style="dim", soft_wrap=True)
    exit_unless(all(row.healthy for row in rows))


def _row_data(row: status_module.Row) -> dict[str, Any]:
    return {
        "node": row.node.name,
        "role": row.node.role,
        "reachable": bool(row.cells),
        "ready": row.ready,
        "reason": row.reason,
        "phases": {cell.phase: {"state": cell.state, "reason": cell.reason} for cell in row.cells},
    }


def _print_status(console: Console, rows: Sequence[status_module.Row]) -> None:
    styles = {"done": "green", "to do": "yellow", "broken": "red", "waiting": "dim"}
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "Ready", *(p.name for p in phases.BOOTSTRAP)):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        cells = {cell.phase: cell for cell in row.cells}
        ready = "-" if row.ready is None else Text("yes", "green") if row.ready else Text("no", "red")
        if not row.cells:
            table.add_row(row.node.name, Text("unreachable", "red"))
            continue
        states = [cells[p.name].state if p.name in cells else "" for p in phases.BOOTSTRAP]
        table.add_row(row.node.name, ready, *(Text(s, styles.get(s, "dim")) for s in states))
    print_table(console, table)
    for row in rows:
        if row.reason:
            console.print(f"{row.node.name}: {row.reason}", soft_wrap=True)
        told: dict[tuple[str, str], list[str]] = {}  # one cause may stop every phase: it is told once
        for cell in row.cells:
            if cell.state not in ("done", "waiting") and cell.reason:
                told.setdefault((cell.state, cell.reason), []).append(cell.phase)
        for (state, reason), names in told.items():
            console.print(f"{row.node.name} {', '.join(names)}: {state}: {reason}", soft_wrap=True)


@command(
    name="kubeconfig",
    help={
        "file": "which kubeconfig; default: $KUBECONFIG or ~/.kube/config",
        "context": "the context's name; default: the environment's",
    },
)
def kubeconfig_task(c: Any, env: str = "", file: str = "", context: str = "", ask_sudo_pass: bool = False) -> None:
    """Put the cluster into your kubeconfig."""
    if context and not re.fullmatch(r"[\w.@:/-]{1,253}", context):
        raise UsageError(f"--context {context!r} is no name for a context", "letters, digits and . _ - @ : / are good")
    with opened(Options(env, ask_sudo_pass=ask_sudo_pass)) as session:
        _merge_kubeconfig(session, file, context)


def _clear_kubeconfigs(session: Session) -> None:
    """Take the cluster out of every kubeconfig that it was put into; one that cannot be changed is said, and left."""
    for note in kubeconfig.notes(session.environment):
        try:
            if kubeconfig.remove(note, session.environment):
                session.console.print(f"taken out of {note.path}: context {note.context}", soft_wrap=True)
        except KubefabError as error:
            print_error(Screen(stderr=True), error)


def _merge_kubeconfig(session: Session, file: str, context: str = "") -> None:
    environment = session.environment
    code, admin = session.group.of(environment.control_plane).root('rm -f -- "$0"; cat /etc/kubernetes/admin.conf', 30)
    if code:
        raise KubefabError(f"{environment.control_plane.name} has no admin.conf", "`inv cluster.bootstrap` first")
    path = Path(file).expanduser() if file else kubeconfig.default_path()
    copy = kubeconfig.merge(path, environment, admin.decode("utf-8", "replace"), context)
    kept = f" (as it was before: {copy})" if copy else ""
    session.console.print(f"{path}: context {context or environment.name} is current{kept}", soft_wrap=True)


cluster = Collection("cluster", bootstrap, reset, plan, status, *operating.TASKS, *describing.TASKS, kubeconfig_task)
ns = Collection(*PHASE_TASKS, cluster, lab=lab.entry.ns, rehearsal=rehearsal.entry.ns)
