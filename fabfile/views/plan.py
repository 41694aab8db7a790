"""The plan: what the phases would do, as text for people or as data. It never connects by itself."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..context import Choices, Contexts, answering
from ..identity import Record, after, recall
from ..inventory import Environment, Node
from ..manifests import own
from ..nodes.facts import Identity, NodeFacts
from ..phases import Phase, for_release
from ..recipes.kubeadm import recipe_for
from ..records import dataclass
from ..steps import Action, File, Step, Stop, Target, Wait
from ..text.advice import complete
from ..text.forms import Hostname
from ..text.masking import Token, mask
from .folding import Fold, folded, own_words

if TYPE_CHECKING:
    from rich.console import Console


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
    contexts, choices = Contexts(environment, recipe), choices or Choices()
    for phase in for_release(environment, phases):
        for node in nodes:
            if node.role not in phase.roles or node.name not in base:
                continue
            facts = base[node.name]
            if phase.needs_api and node.control_plane:
                known = facts.identity if facts.identity.environment else Identity(environment.name)
                facts = facts if facts.api_ready else replace(facts, api_ready=True, identity=replace(known, uid=""))
            if phase.needs_images and recipe.pins:
                facts = replace(facts, digests={**facts.digests, **recipe.pins})
            context = contexts.of(node, facts, answering(environment, base), token, "", choices, record)
            actions = tuple(phase.run(context))
            base[node.name] = after(base[node.name], actions)
            if actions:
                yield Planned(node.name, phase.name, actions)


_PLACES: Mapping[Target, str] = {
    "": "", "control-plane": " (on the control plane)", "operator": " (on this machine)"
}  # fmt: skip
Before = Mapping[tuple[str, str], str | None]  # what a file holds now, by node and path; None where there is none


def place(file: File) -> str:
    """The path of what a file replaces: an add-on's is put there once it is applied."""
    return file.path.replace(f"{own.NEW}/", f"{own.FOLDER}/", 1)


def written(planned: Iterable[Planned], environment: Environment) -> Iterator[tuple[Node, File]]:
    """Every file that the steps write, and the node that it is written on."""
    nodes = {node.name: node for node in environment.nodes}
    for one in planned:
        for action in one.actions:
            if isinstance(action, Step):
                place = environment.control_plane if action.on == "control-plane" else nodes[one.node]
                yield from ((place, file) for file in action.files)


def difference(file: File, before: str | None) -> list[str]:
    """What a file will become, as a unified diff without secrets; empty where nothing changes. `before` is None where it is not there."""
    if file.secret:
        return ["(a secret: not shown)"] if before != file.content else []
    old, new = mask(before or ""), mask(file.content)
    name = "/dev/null" if before is None else place(file)
    found = list(difflib.unified_diff(old.splitlines(), new.splitlines(), name, place(file), lineterm=""))
    return found or ["(only in what is secret)"] * (before != file.content)


def alike(planned: Iterable[Planned], environment: Environment, before: Before | None = None) -> list[Fold[Planned]]:
    """The plan with nodes together whose steps of a phase are alike, but for the node's own name and addresses."""
    nodes = environment.nodes

    def texts(one: Planned) -> tuple[str, ...]:
        contents = (file.content for step in one.actions if isinstance(step, Step) for file in step.files)
        return one.phase, *as_text(one, environment, commands=True, reveal=True, before=before), *contents

    return folded(((one.node, one) for one in planned), texts, own_words(nodes))


def as_text(
    planned: Planned, environment: Environment, *, commands: bool, reveal: bool = False, before: Before | None = None
) -> Iterator[str]:
    """The plan of one phase on one node as lines; `reveal` shows the secrets in commands, `before` has what files will become shown."""
    shown = str if reveal else mask
    for action in planned.actions:
        where = "" if isinstance(action, Stop) else _PLACES[action.on]
        if isinstance(action, Stop):
            yield f"✗ {action.id}: {action.reason}"
            yield f"    → {complete(action.remedy)}"
            continue
        yield f"{'…' if isinstance(action, Wait) else '•'} {action.id}: {action.title}{where}"
        if isinstance(action, Step):
            node = environment.control_plane.name if action.on == "control-plane" else planned.node
            for file in action.files if commands or before is not None else ():
                yield f"    write {file.path} ({file.mode}, {'secret' if file.secret else f'{len(file.content.encode())} bytes'})"
                if before is not None:
                    yield from (f"      {line}" for line in difference(file, before.get((node, place(file)))))
        if not commands:
            continue
        if isinstance(action, Step):
            for line in action.commands:
                yield f"    # {shown(line)}"
        else:
            yield f"    repeat every {action.interval:g} s, {action.deadline:g} s long: {shown(action.probe)}"
            for remedy in action.remedies:
                yield f"    after {remedy.after:g} s: {remedy.title}"
                yield from (f"      # {shown(line)}" for line in remedy.commands)


def show(console: Console, planned: Sequence[Planned], environment: Environment, *, commands: bool) -> None:
    """Print what each phase would do on each node, or that nothing is to do."""
    from rich.text import Text

    for one in planned:
        console.print(Text.assemble("\n", (one.node, "bold"), f" {one.phase}"), soft_wrap=True)
        for line in as_text(one, environment, commands=commands):
            console.print(f"  {line}", soft_wrap=True)
    if not planned:
        console.print("nothing to do")


def as_data(
    planned: Planned, environment: Environment, *, reveal: bool = False, before: Before | None = None
) -> dict[str, Any]:
    """The plan of one phase on one node as JSON values; the options are those of as_text."""

    def diff(action: Step, file: File) -> str | None:
        if before is None:
            return None
        node = environment.control_plane.name if action.on == "control-plane" else planned.node
        return "\n".join(difference(file, before.get((node, place(file)))))

    return {
        "node": planned.node,
        "phase": planned.phase,
        "steps": [_action(a, str if reveal else mask, diff) for a in planned.actions],
    }


def _action(action: Action, shown: Callable[[str], str], diff: Callable[[Step, File], str | None]) -> dict[str, Any]:
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
    files = [
        {"path": f.path, "mode": f.mode, "sha256": None if f.secret else f.sha256, "diff": diff(action, f)}
        for f in action.files
    ]
    return {
        "id": action.id,
        "kind": "step",
        "title": action.title,
        "files": files,
        "commands": [shown(c) for c in action.commands],
    }
