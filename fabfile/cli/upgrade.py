"""`inv cluster.upgrade`: another release, node by node. phases/upgrade.py says what is done on a node, views/upgrades.py in which waves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import EXIT_CHANGES, KubefabError, UsageError
from ..records import dataclass
from .common import ATTENDING, Options, command, described, exit_with, limited, print_json, several
from .draining import HELP

if TYPE_CHECKING:
    from ..context import Choices, Following
    from ..inventory import Environment, Node
    from ..phases.examined import Check, Fleet
    from ..run.result import RunResult
    from ..views.upgrades import Wave
    from .session import Session


@command(
    "env", "workers", *ATTENDING,
    help={
        "to": "the release, like 1.37 or 1.37.2; default: what KUBERNETES in hosts.env says",
        "batch": "how many workers at a time: a number, or a share like 20%",
        "limit": "of the workers only these: names, addresses; several with commas",
        "control-plane-only": "leave all workers as they are",
        "containerd": "`patch` (default): the newest of its own line, on nodes that get the release, while they are drained; `next`: of the next "
        "line, on nodes that have the release too; `keep`: as it is",
        **HELP,
        "accept": "checks that are in its way and are accepted as they are, each by the name that its refusal shows; several with commas",
        "no-backup": "take none before the control plane is changed: it has no way back then",
        "plan": "only show what would be done; exit 3 when something is to do",
    },
)  # fmt: skip
def upgrade(
    *,
    to: str = "",
    batch: str = "1",
    limit: str = "",
    control_plane_only: bool = False,
    containerd: str = "patch",
    force_pods: str = "",
    delete_emptydir_data: bool = False,
    accept: str = "",
    no_backup: bool = False,
    plan: bool = False,
    options: Options,
) -> None:
    """Upgrade Kubernetes: the control plane, then the workers in batches, each drained."""
    from ..context import Choices
    from ..inventory import with_release
    from ..nodes.facts import facts_of
    from ..text.cleaning import spans
    from ..views import upgrades
    from . import draining
    from .session import opened

    version = upgrades.target(
        described(options), to, {}
    )  # what is no release of ours is refused before anything is connected to
    choices = Choices(
        force_pods=draining.forced(force_pods),
        delete_emptydir=delete_emptydir_data,
        upgrading=True,
        containerd=_following(containerd),
    )
    accepted = _accepted(accept)
    with opened(options) as session:
        file = session.environment
        only = limited(file, limit)
        asked, only = ((), ()) if control_plane_only else (file.workers, only)
        size = upgrades.batch_size(batch, len(file.workers))
        session.console.print(f"looking at {len(file.nodes)} nodes", style="dim")
        environment = session.environment = with_release(file, version)
        seen = session.observer(certificates=True).survey(file.nodes)
        if (begun := upgrades.target(file, to, seen)) != version:  # a later patch of that minor release is there
            version = begun
            environment = session.environment = with_release(file, version)
            seen = session.observer(certificates=True).survey(file.nodes)
        before = upgrades.lowest(facts_of(seen), environment.control_plane.name)
        look = partial(_look, session, version, choices, asked, only, size, accepted, saving=not no_backup)
        if plan:
            first = look(seen, resumes=True)
            looks = [first, *([look(seen, resumes=False)] if first.later and first.fleet.control.initialised else [])]
            given = {name: one for look in looks for name, one in look.fleet.choices.runtimes.items()}
            choices = replace(choices, runtimes=given)
            every = upgrades.waves(
                environment, facts_of(seen), choices, only=only, batch=size, control_plane_only=False
            )
            _show(session, version, before, seen, every, looks, choices, options)
            stopped = any(one.against for one in looks)
            exit_with(1 if stopped else EXIT_CHANGES if every else 0)
            return
        results: list[RunResult] = []
        with ExitStack() as held:
            for _ in ("a control plane whose API does not answer", "what else is half way", "the others"):
                now = look(seen, resumes=True)
                if now.against:
                    if results and not options.json:
                        _print_states(session, upgrades.states(environment, seen, choices))
                    raise _refused(environment, version, now.against, touched=bool(results))
                if not now.waves:
                    break
                if now.saves:
                    _recipient(environment)
                if not results:
                    nodes = tuple(dict.fromkeys(node for wave in now.waves for node in wave.nodes))
                    held.enter_context(session.held((*nodes, *now.later), upgrades.PHASES))
                _carry_out(session, now, results)
                if not now.later or results[-1].failed:
                    break
                names = [node.name for node in now.later]
                session.console.print(
                    f"looking at the nodes again, as {spans(names)} {'has' if len(names) == 1 else 'have'} still to begin",
                    style="dim",
                )
                seen = session.observer(certificates=True).survey(file.nodes)
            if not results:
                _end(session, file, version, before, {}, [], choices, options)
                return
        after = session.observer(certificates=True).survey(file.nodes)
        _end(session, file, version, before, after, results, choices, options)
        exit_code = next((result.exit_code for result in results if result.exit_code), 0)
    exit_with(exit_code)


@dataclass(frozen=True)
class _Look:
    """What is to be done next, and what is in its way. `later` are nodes that have still to begin, and are examined once these are done."""

    fleet: Fleet
    found: Sequence[Check]
    against: Sequence[Check]
    waves: Sequence[Wave]
    later: Sequence[Node]
    saves: bool  # whether a backup is to be taken first


def _look(
    session: Session,
    version: str,
    choices: Choices,
    asked: Sequence[Node],
    only: Sequence[Node],
    size: int,
    accepted: frozenset[str],
    seen: Mapping[str, Any],
    *,
    resumes: bool,
    saving: bool,
) -> _Look:
    """Judge what was `seen`: nodes that are half way first and by themselves (with `resumes`), else all as of an upgrade that begins.

    `asked` are the workers that belong to it, of which those in `only` go.
    """
    from ..lasting import of_cluster
    from ..nodes.facts import facts_of
    from ..phases.examined import Check
    from ..phases.upgradable import checks, stops
    from ..views import upgrades

    environment, facts = session.environment, facts_of(seen)
    if choices.containerd == "next":  # a node that has the release may have something left to do
        choices = _containerds(session, seen, _concerned(session, seen, version, choices, asked, only, ())).choices
    half, later = upgrades.resumed(environment, facts, choices, only) if resumes else ((), ())
    going = half or tuple(only)
    fleet = _examined(session, seen, version, choices, asked, only, half)
    found, choices = checks(fleet), fleet.choices
    against = stops(found, accepted)
    context = upgrades.contexts_of(environment, facts, choices).get(environment.control_plane.name)
    if context and (refused := of_cluster(context)):  # flannel and the add-ons would stop for it half way
        against.append(Check("settings.refused", "stop", refused.reason, refused.remedy))
    waves = (
        [] if against else upgrades.waves(environment, facts, choices, only=going, batch=size, control_plane_only=False)
    )
    return _Look(fleet, found, against, waves, later if half else (), saving and _saves(fleet, waves))


def _carry_out(session: Session, now: _Look, results: list[RunResult]) -> None:
    """Run the waves until one fails; how each run ended is added to `results`."""
    if now.saves and (failed := _backup(session)):
        results.append(failed)
        return
    for wave in now.waves:
        session.console.print(f"— {wave.title}", style="bold", soft_wrap=True)
        results.append(session.run(wave.phases, wave.nodes, now.fleet.choices))
        if results[-1].failed:
            return


def _following(text: str) -> Following:
    """The word of --containerd. Raises UsageError for another."""
    from typing import get_args

    from ..context import Following
    from ..text.nearest import did_you_mean

    words: tuple[Following, ...] = get_args(Following)
    if (found := next((word for word in words if word == text), None)) is None:
        raise UsageError(
            f"--containerd {text}: no such choice", f"{did_you_mean(text, words)}one of {', '.join(words)}"
        )
    return found


def _accepted(text: str) -> frozenset[str]:
    """The names of --accept. Raises UsageError for one that is no check, or none that may be accepted."""
    from ..phases.upgradable import JUDGED

    names = frozenset(several("--accept", text))
    if wrong := sorted(names - JUDGED):
        raise UsageError(
            f"--accept {wrong[0]}: no check that can be accepted; nothing was touched",
            f"only these can be: {', '.join(sorted(JUDGED))}",
        )
    return names


def _examined(
    session: Session,
    seen: Mapping[str, Any],
    version: str,
    choices: Choices,
    workers: Sequence[Node],
    only: Sequence[Node],
    half: Sequence[Node],
) -> Fleet:
    """All that the checks decide from: what was observed, what runs and, of an upgrade that begins, what the nodes answer. Nothing is changed.

    `workers` may be upgraded, those of them in `only` are; where nodes are `half` way, it is about these.
    """
    from ..phases.upgradable import impossible
    from ..recipes.changes import minor_of
    from ..views import releases

    found = _concerned(session, seen, version, choices, workers, only, half)
    if half:
        found = _containerds(session, seen, found)
    if not found.control.initialised or impossible(found):
        return found
    if not half:
        answers = releases.ask(session.group, found.environment, seen, [minor_of(version)])
        found = _containerds(session, seen, replace(found, answers=answers))
    return releases.complete(session.group, found)


def _concerned(
    session: Session,
    seen: Mapping[str, Any],
    version: str,
    choices: Choices,
    workers: Sequence[Node],
    only: Sequence[Node],
    half: Sequence[Node],
) -> Fleet:
    """What was observed of the nodes that go, without any question."""
    from ..inventory import with_nodes
    from ..views import releases

    environment = session.environment
    going = [node for node in workers if node in (half or only)]
    concerned = with_nodes(environment, (*environment.control_planes, *going))
    return replace(
        releases.fleet(concerned, seen, {}, version, time.time(), choices),
        left=[node for node in workers if node not in only],
        resumed=bool(half),
    )


def _containerds(session: Session, seen: Mapping[str, Any], found: Fleet) -> Fleet:
    """With which containerd each node gets; where nothing was asked yet, the nodes that may get another are asked for what they have of it."""
    from ..nodes.facts import facts_of
    from ..views import releases, upgrades

    due = upgrades.undone(found.environment, facts_of(seen), found.choices)
    nodes = {name: one for name, one in seen.items() if name in due}
    if not found.answers and nodes and found.choices.containerd != "keep":
        said = releases.ask(session.group, found.environment, nodes, (), api=False)
        found = replace(found, asked={name: one for name, one in said.items() if name in nodes})
    return replace(found, choices=replace(found.choices, runtimes=upgrades.runtimes(found, facts_of(seen))))


def _saves(fleet: Fleet, waves: Sequence[Wave]) -> bool:
    """Whether a backup is to be taken: before the control plane is changed, unless one of this cluster is younger than an hour.

    Of a control plane that is partly new none is taken: it would be no way back.
    """
    from ..phases import PLANE
    from ..phases.upgrade import COMPONENTS, plane_releases

    releases = plane_releases(fleet.control)
    partly = any(releases[name] == fleet.target for name in COMPONENTS)
    return not partly and not fleet.saved and any(PLANE in wave.phases for wave in waves)


def _recipient(environment: Environment) -> str:
    """To whom the backup is encrypted. Raises UsageError without one: a file in clear is not written on the way."""
    from .backup import recipient_of

    if whom := recipient_of(environment):
        return whom
    raise UsageError(
        "no backup of this cluster is younger than an hour, and there is no BACKUP_RECIPIENT to encrypt a new one to; nothing was touched",
        f"set BACKUP_RECIPIENT in hosts.env; or `inv cluster.backup {environment.option} --plain`, then this again; or --no-backup",
    )


def _backup(session: Session) -> RunResult | None:
    """Take one as `inv cluster.backup` does; returns how the run ended, if it failed."""
    from ..backups import names
    from ..run.result import RunResult
    from .backup import in_words, take

    taken = take(session, names.folder_of(session.environment), _recipient(session.environment))
    if isinstance(taken, RunResult):
        return taken
    session.console.print(f"backup: {taken[0]} ({in_words(taken[1])})", soft_wrap=True)
    return None


def _refused(environment: Environment, version: str, against: Sequence[Check], *, touched: bool) -> KubefabError:
    """One error with all that is in the way of the upgrade; `touched`: nodes that were half way were ended before."""
    lines = "".join(f"\n  {one.seen}\n    → {one.remedy}" for one in against)
    return KubefabError(
        f"{environment.name} is not ready for {version}; {'no further node' if touched else 'nothing'} was touched:{lines}",
        f"when that is put right, the same command again; `inv cluster.upgrade {environment.option} --to {version} --plan` only looks",
    )


def _show(
    session: Session,
    version: str,
    before: str,
    seen: Mapping[str, Any],
    waves: Sequence[Wave],
    looks: Sequence[_Look],
    choices: Choices,
    options: Options,
) -> None:
    """Print the plan: how far each node is, what is in its way, the waves and their steps, what their drains meet.

    `looks` is one, or one at the nodes that are half way and one at the others.
    """
    from rich.text import Text

    from ..nodes.facts import facts_of
    from ..text.cleaning import spans
    from ..views import plan as planning
    from ..views import results, upgrades
    from . import draining

    environment = session.environment
    facts = facts_of(seen)
    against = list(dict.fromkeys(check for look in looks for check in look.against))
    if against:  # what is half way is ended all the same
        waves = looks[0].waves
    # whether a backup is taken is said below, by the waves and --no-backup
    notes = dict.fromkeys(
        one.seen for look in looks for one in look.found if one.state == "note" and one.id != "backup.age"
    )
    if looks[0].later and looks[0].waves:
        first = spans(list(dict.fromkeys(node.name for wave in looks[0].waves for node in wave.nodes)))
        notes[
            f"{spans([node.name for node in looks[0].later])}: examined once what is half way ({first}) has ended"
        ] = None
    saves = any(look.saves for look in looks)
    rows = list(dict.fromkeys(row for look in looks for row in look.fleet.hindrances))
    called = {name: node for look in looks for name, node in look.fleet.draining.items()}
    unseen = {name: one for name, one in seen.items() if isinstance(one, KubefabError)}
    planned = list(upgrades.planned(environment, waves, facts, choices))
    states = upgrades.states(environment, seen, choices)
    if options.json:
        print_json(
            {
                "environment": environment.name,
                "from": before,
                "to": version,
                "states": states,
                "against": [{"id": one.id, "seen": one.seen, "remedy": one.remedy} for one in against],
                "notes": list(notes),
                "drains": draining.as_data(rows, called),
                "backup": saves,
                "waves": [{"title": wave.title, "nodes": [node.name for node in wave.nodes]} for wave in waves],
                "plan": [planning.as_data(one, environment) for one in planned],
                "unseen": results.of_nodes(unseen),
            }
        )
        return
    _print_states(session, states)
    for one in against:
        session.console.print(Text.assemble(("✗ ", "bold red"), one.seen), soft_wrap=True)
        session.console.print(f"    → {one.remedy}", soft_wrap=True)
    for note in notes:
        session.console.print(f"! {note}", soft_wrap=True)
    if not waves and not against:
        session.console.print(f"nothing to do: {environment.name} has Kubernetes {version}")
    if saves:
        session.console.print("first a backup, as none of this cluster is younger than an hour", soft_wrap=True)
    for wave in waves:
        session.console.print(f"— {wave.title}", style="bold", soft_wrap=True)
    for same in planning.alike(planned, environment):
        title = spans(same.names) if not options.verbose else same.title
        session.console.print(Text.assemble("\n", (title, "bold"), f" {same.first.phase}"), soft_wrap=True)
        for line in planning.as_text(same.first, environment, commands=options.verbose):
            session.console.print(f"  {line}", soft_wrap=True)
    draining.show(session.console, rows, called)


def _print_states(session: Session, states: Mapping[str, str]) -> None:
    """One line for all nodes that are as far as each other."""
    from ..text.cleaning import spans

    alike: dict[str, list[str]] = {}
    for name, state in states.items():
        alike.setdefault(state, []).append(name)
    for state, names in alike.items():
        session.console.print(f"{spans(names)}: {state}", soft_wrap=True)


def _end(
    session: Session,
    file: Environment,
    version: str,
    before: str,
    after: Mapping[str, Any],
    ran: Sequence[RunResult],
    choices: Choices,
    options: Options,
) -> None:
    """Print how it ended: how far each node is, and the line of hosts.env that no longer says what the cluster runs."""
    from ..run.result import RunResult
    from ..text.screen import verdict
    from ..views import results, upgrades

    environment, failed = session.environment, any(result.failed for result in ran)
    states = upgrades.states(environment, after, choices) if after else {}
    whole = RunResult({}, sum(result.seconds for result in ran), next((one.journal for one in ran if one.journal), ""))
    for result in ran:
        for name, one in result.nodes.items():
            earlier = whole.nodes.get(name)
            if earlier:
                one.steps, one.seconds = one.steps + earlier.steps, {**earlier.seconds, **one.seconds}
            whole.nodes[name] = one
    line = upgrades.line_to_change(file, version)
    if options.json:
        print_json(
            {**results.of_run(environment.name, whole), "from": before, "to": version, "states": states, "line": line}
        )
        return
    if failed:
        session.console.print("how far each node is:", style="bold")
        _print_states(session, states)
        return
    if not ran:
        text = f"nothing to do, it has Kubernetes {version}"
    else:
        count = len(whole.nodes)
        text = f"Kubernetes {version} on {count} node{'s' * (count != 1)}, before {before}, {whole.steps} steps"
        _print_states(session, states)
    session.console.print(verdict(True, f"{environment.name}: {text}"), soft_wrap=True)
    if line:
        text = f"! KUBERNETES of {environment.name} says {file.settings.kubernetes}: set {line} in hosts.env; until then bootstrap stops with that"
        session.console.print(text, soft_wrap=True)
