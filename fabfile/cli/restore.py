"""`inv cluster.restore FILE`: bring a cluster back from a backup. phases/restore.py says what is done on the control plane."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KubefabError, UsageError
from .backups import open_keys
from .common import ATTENDING, Options, command, described, exit_with, print_json

if TYPE_CHECKING:
    from ..backups.archive import Reader
    from ..backups.contents import Record, Restoring
    from ..context import Choices
    from ..inventory import Environment
    from ..nodes.facts import NodeFacts
    from .session import Session

# client-go's reflector backs off to 30 s, and its jitter doubles that
AGAIN = (
    "once more: a kube-proxy asks an API that was away again after up to a minute, and knows no new service until then"
)


@command(
    "env",
    *ATTENDING,
    optional=["yes"],
    positional=["file"],
    help={
        "file": "the backup",
        "identity": "the file with the age key that opens it",
        "as-new": "though this environment is known to have had another cluster, or the backup is another environment's",
        "metrics": "put InfluxDB's metrics back too; into a cluster that lives, only those",
        "discard-live": "though the API answers: what is in the cluster now is lost",
    },
)
def restore(
    *,
    file: str,
    identity: str = "",
    as_new: bool = False,
    metrics: bool = False,
    discard_live: bool = False,
    yes: str | bool = "",
    options: Options,
) -> None:
    """Bring the cluster back from a backup."""
    from ..backups.archive import Reader
    from ..context import Choices
    from ..phases import BOOTSTRAP, METRICS, RESTORE
    from ..run.apply import Archive
    from ..text.screen import verdict
    from ..views import forgotten, results
    from .confirm import agreed, ask
    from .session import opened
    from .verify import checked, unprovable

    environment = described(options)
    if not environment.settings.release.configured:
        raise UsageError("backups are of Kubernetes 1.35 and later", "for 1.5 there is no restore")
    path = Path(file).expanduser()
    if not path.is_file():
        raise UsageError(f"{path} is not there", f"`inv cluster.backups {environment.option}` lists them")
    asking = not agreed(environment, yes) and not environment.settings.simulated
    if asking and (options.json or not sys.stdin.isatty()):
        raise UsageError(
            f"a restore of {environment.name} needs a confirmation; nothing was touched", f"--yes {environment.name}"
        )
    reader = Reader(path, open_keys(identity))
    want = _wanted(reader, discard_live)
    _fits(environment, want.record, as_new)
    if metrics and not want.metrics:
        raise UsageError(
            f"{path} has no metrics: it was taken without --metrics; nothing was touched", "leave out --metrics"
        )
    with opened(options) as session:
        environment = session.environment
        control = environment.control_plane
        facts = session.observer().observe(control)
        choices = Choices(restoring=want)
        bare = not facts.undo & {"initialised", want.restoring, want.restored}
        only = _planned(session, facts, choices, metrics=metrics)
        ahead = facts.ahead[0]
        lives = facts.api_ready and want.restored not in facts.undo and not only
        lost = forgotten.since(environment, session.group, want.record, ahead) if lives else None
        before = {} if only else forgotten.looks(session.group, environment.nodes)
        if asking or not options.quiet:
            made = want.record.made + ahead
            more = forgotten.started(before, made) if lost is None else forgotten.since_lines(lost)
            adding = f"{environment.name} stays as it is; InfluxDB gets the metrics of {_when(want.record)}, beside those that it has"
            for line in (adding,) if only else (*_losses(want.record, facts, bare), *more):
                session.console.print(line, soft_wrap=True)
        if asking:
            ask(environment.name)
        archive = Archive(gives=reader.pieces)
        found, result = None, None
        if not only:
            result = session.run([*(BOOTSTRAP[:3] if bare else ()), RESTORE], [control], choices, archive=archive)
            if not result.failed:
                after = forgotten.looks(session.group, environment.nodes)
                found = forgotten.unknown(before, after, forgotten.known(environment, session.group))
                result = session.run(list(BOOTSTRAP), environment.nodes, Choices(adopt=want.record.uid))
            if not result.failed:
                text = f"restored to {_when(want.record)}; {len(environment.nodes)} nodes are back"
                session.console.print(verdict(True, f"{environment.name}: {text}"))
        if metrics and not (result and result.failed):
            result = session.run([METRICS], [control], choices, archive=archive)
            if not result.failed:
                session.summary(result, [METRICS])
        elif want.metrics and result and not result.failed:
            session.console.print(
                "it has InfluxDB's metrics too: the same command with --metrics puts them back", soft_wrap=True
            )
        assert result is not None
        for line in forgotten.unknown_lines(found) if found else ():
            session.console.print(line, soft_wrap=True)
        proof: dict[str, Any] = {"verified": None, "checks": []}
        if not result.failed and not only:
            if why := unprovable(environment):
                session.console.print(f"not verified: {why.message}", soft_wrap=True)
            else:
                proof = proved(
                    lambda: checked(session, shown=not options.json),
                    lambda text: session.console.print(text, soft_wrap=True),
                )
        code = result.exit_code or int(proof["verified"] is False)
        if options.json:
            print_json({
                **results.of_run(environment.name, result),
                "exit": code,
                "since": lost.data if isinstance(lost, forgotten.Since) else None,
                "unknown": found.data if found else None,
                **proof,
            })  # fmt: skip
    exit_with(code)


def _wanted(reader: Reader, discard_live: bool) -> Restoring:
    """The backup, read to its end. Raises KubefabError for damage, and for a file of the node's that is no text."""
    from ..backups.archive import AGAIN
    from ..backups.contents import FILES, Restoring
    from ..nodes.facts import ETCD_MANIFEST

    record, texts = reader.whole()
    try:
        files = {
            name.removeprefix(FILES): text.decode() for name, text in texts.items() if name.startswith(f"{FILES}/")
        }
    except UnicodeDecodeError as error:
        raise KubefabError(
            f"{reader.path}: a file in it is no text ({error.reason}); RESTORE.txt in it says how to restore by hand",
            AGAIN,
        ) from None
    if ETCD_MANIFEST not in files:
        raise KubefabError(f"{reader.path} has no {ETCD_MANIFEST}", AGAIN)
    return Restoring(record, files, discard_live)


def _fits(environment: Environment, record: Record, as_new: bool) -> None:
    """Raise KubefabError where the backup is not this environment's, by what the operator's side knows."""
    from ..identity import recall
    from ..recipes.kubeadm import recipe_for

    known = recall(environment)
    if not as_new and record.environment != environment.name:
        raise KubefabError(
            f"the backup is of environment {record.environment}, and not of {environment.name}; nothing was touched",
            "name its own with --env, or add --as-new",
        )
    if not as_new and known.uid and record.uid and known.uid != record.uid:
        raise KubefabError(
            f"the backup is of cluster {record.uid}, and {environment.name} had {known.uid} when last worked on from here; nothing was touched",
            "name a backup of that cluster, or add --as-new",
        )
    minor = recipe_for(environment).minor
    if minor != record.minor:
        raise KubefabError(
            f"the backup is of Kubernetes {record.minor}, and KUBERNETES of {environment.name} is {minor}; nothing was touched",
            f"set KUBERNETES={record.kubernetes} in hosts.env",
        )


def _planned(session: Session, facts: NodeFacts, choices: Choices, *, metrics: bool) -> bool:
    """Whether only the metrics are put back, as the cluster lives. Raises KubefabError where the restore would stop on the machine as it is now."""
    from ..context import Context
    from ..phases.restore import refusal
    from ..recipes.kubeadm import recipe_for

    environment = session.environment
    ctx = Context(environment, environment.control_plane, facts, recipe_for(environment), choices=choices)
    if choices.restoring and (stop := refusal(ctx, choices.restoring)):
        if metrics and stop.id == "restore.live":
            return True
        raise KubefabError(f"{environment.control_plane.name}: {stop.reason}; nothing was touched", stop.remedy)
    return False


def _when(record: Record) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record.made))


def _losses(record: Record, facts: NodeFacts, bare: bool) -> list[str]:
    """What a person must know before they agree."""
    from ..text.durations import ago

    what = (
        "a machine without this cluster: packages come first, then keys and configuration"
        if bare
        else "etcd's present data are kept beside; keys and configuration stay where they are"
    )
    live = " The API answers now: everything in it since then is lost." if facts.api_ready else ""
    return [
        f"backup of {_when(record)}, {ago(max(0.0, time.time() - record.made))} ago: Kubernetes {record.kubernetes}, "
        f"revision {record.revision}, {record.keys} keys",
        f"to {record.node} ({record.address}), {what}.",
        f"What happened in the cluster since is forgotten: new objects are gone, deleted ones are back, finished Jobs may run again.{live}",
    ]


def proved(look: Callable[[], dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """What `look` finds; once more where it finds a fault, after a sentence that says why."""
    found = look()
    if not found["verified"]:
        say(AGAIN)
        found = look()
    return found
