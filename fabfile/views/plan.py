"""The plan: what the phases would do, as text for people or as data. It never connects by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..context import Choices, Context, answering
from ..identity import Record, after, recall
from ..inventory import Environment, Node
from ..nodes.facts import Identity, NodeFacts
from ..phases import Phase, for_release
from ..recipes.kubeadm import recipe_for
from ..steps import Action, Step, Stop, Wait
from ..text.advice import complete
from ..text.forms import Hostname
from ..text.masking import Token, mask


@dataclass(frozen=True)
class Planned:
    """One phase on one node, and the actions it would take."""

    node: str
    phase: str
    actions: tuple[Action, ...]


def assumed(node: Node, environment: Environment) -> NodeFacts:
    """The facts of a fresh Ubuntu machine of sufficient size: a plan starts from it if nothing was observed."""
    release = environment.settings.release
    version, codename = release.ubuntu
    return NodeFacts(
        os_id="ubuntu",
        os_version=version,
        os_codename=codename,
        os_name=f"Ubuntu {version} (assumed)",
        hostname=Hostname(node.name),
        arch="x86_64",
        cpus=2,
        memory_kib=4 << 20,
        disk_kib=64 << 20,
        cgroup="cgroup2fs" if release.cgroup == 2 else "tmpfs",
        resolvers=("127.0.0.53",),
    )


def plan(
    environment: Environment,
    phases: Sequence[Phase],
    nodes: Sequence[Node],
    observed: Mapping[str, NodeFacts] | None = None,
    choices: Choices | None = None,
) -> Iterator[Planned]:
    """Every phase on every node in the manual's order; later phases assume that the earlier ones succeeded.

    Without `observed` the machines are assumed to be fresh; with it, only the nodes in it are planned.
    """
    recipe = recipe_for(environment)
    token = Token.later("<minted for each run>")
    # a machine that is only assumed to be fresh must not be compared with the record of the cluster
    record = recall(environment) if observed is not None else Record()
    base = (
        dict(observed)
        if observed is not None
        else {node.name: assumed(node, environment) for node in environment.nodes}
    )
    for phase in for_release(environment, phases):
        for node in nodes:
            if node.role not in phase.roles or node.name not in base:
                continue
            facts = base[node.name]
            if phase.needs_api and node.control_plane:
                known = facts.identity if facts.identity.environment else Identity(environment.name)
                facts = facts if facts.api_ready else replace(facts, api_ready=True, identity=replace(known, uid=""))
            if phase.needs_images:
                facts = replace(facts, digests={**facts.digests, **recipe.pins})
            context = Context(
                environment,
                node,
                facts,
                recipe,
                answering(environment, base),
                token,
                choices=choices or Choices(),
                record=record,
            )
            actions = tuple(phase.run(context))
            base[node.name] = after(base[node.name], actions)
            if actions:
                yield Planned(node.name, phase.name, actions)


def as_text(planned: Planned, *, commands: bool, reveal: bool = False) -> Iterator[str]:
    """The plan of one phase on one node as lines; `reveal` shows the secrets in commands."""
    shown = str if reveal else mask
    for action in planned.actions:
        where = " (on the control plane)" if not isinstance(action, Stop) and action.on else ""
        if isinstance(action, Stop):
            yield f"✗ {action.id}: {action.reason}"
            yield f"    → {complete(action.remedy)}"
            continue
        yield f"{'…' if isinstance(action, Wait) else '•'} {action.id}: {action.title}{where}"
        if not commands:
            continue
        if isinstance(action, Step):
            for file in action.files:
                yield f"    write {file.path} ({file.mode}, {'secret' if file.secret else f'{len(file.content.encode())} bytes'})"
            for line in action.commands:
                yield f"    # {shown(line)}"
        else:
            yield f"    repeat every {action.interval:g} s, {action.deadline:g} s long: {shown(action.probe)}"
            for remedy in action.remedies:
                yield f"    after {remedy.after:g} s: {remedy.title}"
                yield from (f"      # {shown(line)}" for line in remedy.commands)


def as_data(planned: Planned, *, reveal: bool = False) -> dict[str, Any]:
    """The plan of one phase on one node as JSON values; `reveal` shows the secrets in commands."""
    return {
        "node": planned.node,
        "phase": planned.phase,
        "steps": [_action(a, str if reveal else mask) for a in planned.actions],
    }


def _action(action: Action, shown: Callable[[str], str]) -> dict[str, Any]:
    if isinstance(action, Stop):
        return {"id": action.id, "kind": "stop", "reason": action.reason, "remedy": complete(action.remedy)}
    if isinstance(action, Wait):
        return {
            "id": action.id,
            "kind": "wait",
            "title": action.title,
            "probe": shown(action.probe),
            "deadline": action.deadline,
        }
    files = [{"path": f.path, "mode": f.mode, "sha256": None if f.secret else f.sha256} for f in action.files]
    return {
        "id": action.id,
        "kind": "step",
        "title": action.title,
        "files": files,
        "commands": [shown(c) for c in action.commands],
    }
