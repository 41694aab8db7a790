"""The 1.5 recipe as text: each command with its digest ID and, if it differs, the manual's own words.

It is made from the phases that run.  Tokens are in clear, because the golden tests compare this text with the manual: mask
it before a person sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..context import Choices
from ..inventory import Environment
from ..legacy.commands import PACKAGES, SOURCES, Line, Manual
from ..nodes.facts import Identity, Link, NodeFacts
from ..phases import BOOTSTRAP, EVERY, Phase
from ..steps import Action, Step, Stop, Wait
from .plan import assumed, plan

OURS = "--"  # in the place of an ID: the manual does not have it
# The letter of a phase's IDs. A phase that the manual does not have has none.
_LETTER = {
    "prep": "P",
    "install": "I",
    "registry": "R",
    "master": "M",
    "network": "N",
    "join": "J",
    "addons": "A",
    "reset": "X",
}


def rendering(environment: Environment) -> str:
    """The recipe for control plane and first worker, from new machines to a cluster; then P2's handling of leftovers, and reset."""
    nodes = (environment.control_plane, *environment.workers[:1])
    fresh = {node.name: assumed(node, environment) for node in nodes}
    stale = {name: _with_leftovers(facts, Identity(environment.name)) for name, facts in fresh.items()}
    alike = [node.name for node in environment.workers[1:]]
    others = f" ({_span(alike)} as {nodes[-1].name})" if alike else ""
    text = [f"# {environment.name}: new machines{others}"]
    text += _plan(environment, BOOTSTRAP, fresh)
    text += ["", f"# {environment.name}: leftovers of an earlier cluster (P2)"]
    text += _plan(environment, [EVERY["prep"]], stale)
    text += ["", f"# {environment.name}: reset"]
    text += _plan(environment, [EVERY["reset"]], stale)
    return "\n".join(text) + "\n"


def _with_leftovers(facts: NodeFacts, identity: Identity) -> NodeFacts:
    """Facts with leftovers of this environment's cluster: those of another cluster would not be removed."""
    packages = dict.fromkeys(("docker.io", *PACKAGES), "1")
    return replace(
        facts, links={name: Link(name) for name in ("cni0", "flannel.1")}, packages=packages, identity=identity
    )


def _span(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}–{names[-1]}"


def _plan(environment: Environment, phases: Sequence[Phase], facts: dict[str, NodeFacts]) -> Iterator[str]:
    manual = Manual(environment)
    nodes = [node for node in environment.nodes if node.name in facts]
    for planned in plan(environment, phases, nodes, facts, Choices(agreed=True)):
        yield ""
        yield f"## {planned.phase} on {planned.node}"
        lines = [line for line in manual.lines() if line.id[0] == _LETTER.get(planned.phase)]
        for action in planned.actions:
            yield from _action(action, lines)


def _action(action: Action, lines: list[Line]) -> Iterator[str]:
    if isinstance(action, Stop):
        yield f"{OURS}  stop: {action.reason}: {action.remedy}"
    elif isinstance(action, Step):
        for file in action.files:
            yield f"{'I2' if file.path == SOURCES else OURS}  write {file.path}: {file.content.rstrip()}"
        for command in action.commands:
            yield from _command(command, lines)
    else:
        yield from _wait(action, lines)


def _command(command: str, lines: list[Line], prefix: str = "") -> Iterator[str]:
    line = next((line for line in lines if line.run == command), None)
    yield f"{line.id if line else OURS}  {prefix}{command}"
    if line and line.run != line.text:
        yield _original(line)


def _original(line: Line) -> str:
    return f"      the manual{', in words' if line.in_words else ''}: {line.text}"


def _wait(wait: Wait, lines: list[Line]) -> Iterator[str]:
    ids = re.findall(r"\b[A-Z]\d\b", wait.title)
    probe = wait.probe.removesuffix(" 2>&1")
    line = next((line for line in lines if line.run == probe and line.id in ids), None)
    again = f"repeat every {wait.interval:g} s, for {wait.deadline:g} s, until {wait.title}"
    if not ids:
        yield f"{OURS}  {again}"
        return
    yield f"{line.id if line else ids[0]}  {wait.probe}"
    if line and line.run != line.text:
        yield _original(line)
    yield f"{ids[-1]}    {again}"
    for remedy in wait.remedies:
        found = re.findall(r"\b[A-Z]\d\b", remedy.title)
        for command in remedy.commands:
            yield f"{found[-1] if found else OURS}    after {remedy.after:g} s: {command}"
    for id in dict.fromkeys(re.findall(r"\b[A-Z]\d\b", wait.hint)):
        yield f"{id}    else: {wait.hint}"
