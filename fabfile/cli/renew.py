"""`inv cluster.renew`: certificates made again. phases/renew.py says what is done on a node."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KubefabError, UsageError
from .common import ATTENDING, Options, command, described, exit_with, print_json, several

if TYPE_CHECKING:
    from ..context import Choices, Renewal
    from ..inventory import Node
    from ..nodes.facts import NodeFacts
    from .session import Session

_NAME = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@command(
    "env", *ATTENDING,
    help={
        "days": "those that end within so many days (90)",
        "all": "every one, whenever it ends",
        "add-san": "names and addresses that the API's certificate is for from now on; several with commas",
        "plan": "only show what would be done",
    },
)  # fmt: skip
def renew(*, days: int = 90, all: bool = False, add_san: str = "", plan: bool = False, options: Options) -> None:
    """Renew certificates, one component at a time."""
    from ..context import Choices, Renewal
    from ..nodes.facts import facts_of
    from ..phases import NAMES, RENEW
    from ..text.screen import verdict
    from ..views import results
    from .session import opened

    environment = described(options)
    if not environment.settings.release.configured:
        raise UsageError(
            "certificates are renewed for Kubernetes 1.35 and later",
            "kubeadm of 1.5 cannot renew; a new cluster has new ones",
        )
    asked = Renewal(days, all, time.time(), names_of(add_san))
    choices = Choices(renewal=asked)
    with opened(options) as session:
        environment = session.environment
        seen = session.observer(certificates=True).survey(environment.nodes)
        central = seen[environment.control_plane.name]
        if isinstance(central, KubefabError):
            raise central
        facts = facts_of(seen)
        nodes = _concerned(session, facts, choices)
        if plan:
            _show(session, facts, nodes, choices, options)
            return
        result = session.run([RENEW, NAMES], nodes, choices)
        central = result.nodes[environment.control_plane.name].facts or central
        if not result.failed:
            _say(session, central, asked)
            updated = _kubeconfigs(session) if result.steps else []
            for line in updated:
                session.console.print(line, soft_wrap=True)
            if result.steps:
                text = f"certificates renewed, {result.steps} step{'s' * (result.steps != 1)}; each one that a port shows is the new one"
                session.console.print(verdict(True, f"{environment.name}: {text}"), soft_wrap=True)
            else:
                session.summary(result, [RENEW])
        if options.json:
            print_json({**results.of_run(environment.name, result), "certificates": as_data(central)})
    exit_with(result.exit_code)


def names_of(text: str) -> tuple[str, ...]:
    """The names and addresses of --add-san. Raises UsageError."""
    from ..text import forms

    words = several("--add-san", text)
    for word in words:
        if not forms.is_address(word) and not (len(word) <= 253 and _NAME.fullmatch(word)):
            raise UsageError(
                f"--add-san {word}: neither a host name nor an address; nothing was touched",
                "--add-san api.example.org,192.0.2.7",
            )
    return words


def _concerned(session: Session, facts: Mapping[str, NodeFacts], choices: Choices) -> list[Node]:
    """The control plane, and the workers whose kubelet needs a certificate: no other node is touched."""
    from ..phases import RENEW
    from ..views.plan import plan

    environment = session.environment
    workers = [node for node in environment.nodes if not node.control_plane]
    at_work = {one.node for one in plan(environment, [RENEW], workers, facts, choices)}
    members = {node.name for node in workers if node.name in facts and facts[node.name].in_cluster}
    return [node for node in environment.nodes if node.control_plane or node.name in at_work & members]


def _show(
    session: Session, facts: Mapping[str, NodeFacts], nodes: list[Node], choices: Choices, options: Options
) -> None:
    from ..phases import NAMES, RENEW
    from ..views import plan as planning

    environment = session.environment
    planned = list(planning.plan(environment, [RENEW, NAMES], nodes, facts, choices))
    if options.json:
        rows = [planning.as_data(one, environment) for one in planned]
        print_json({"environment": environment.name, "observed": True, "plan": rows, "unseen": []})
        return
    planning.show(session.console, planned, environment, commands=options.verbose)
    _say(session, facts[environment.control_plane.name], choices.renewal)


def _say(session: Session, facts: NodeFacts, asked: Renewal) -> None:
    """What no renewal changes: authorities that end soon, and a validity that is shorter than the time asked for."""
    from ..phases.renew import authorities, shortest

    for path, ends in authorities(facts, asked.days):
        day = time.strftime("%Y-%m-%d", time.gmtime(ends))
        session.console.print(
            f"{path} ends on {day}: it is the CA itself, which kubeadm does not renew", soft_wrap=True
        )
    if soon := shortest(facts, asked.days):
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(soon[1]))
        session.console.print(f"the first to end is {soon[0]}, on {day}", soft_wrap=True)


def _kubeconfigs(session: Session) -> list[str]:
    """Give every kubeconfig here that has this cluster the new login; what they have as current context stays."""
    from ..views.kubeconfig import merge, notes
    from .kubeconfig import admin_conf

    environment = session.environment
    noted = notes(environment)
    admin = admin_conf(session) if noted else None
    if admin is None:
        return []
    said = []
    for note in noted:
        try:
            copy = merge(Path(note.path), environment, admin, note.context, select=False)
            kept = f" (as it was before: {copy})" if copy else ""
            said.append(f"{note.path}: context {note.context} has the new login{kept}")
        except (KubefabError, OSError) as error:
            said.append(
                f"{note.path}: not changed, {error}; `inv cluster.kubeconfig {environment.option}` puts it there"
            )
    return said


def as_data(facts: NodeFacts) -> list[dict[str, Any]]:
    """Each certificate of the control plane as JSON values: its file, its end, and the address at which a port shows it."""
    shown = {one.digest: at for at, one in facts.served.items()}
    return [
        {"file": path, "ends": one.ends, "authority": one.authority or None, "names": list(one.names), "served": shown.get(one.digest)}
        for path, one in facts.certificates.items()
    ]  # fmt: skip
