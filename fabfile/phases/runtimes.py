"""containerd in an upgrade: which release a node gets, why it is left as it is, and the change itself, while the node is drained anyway.

kubefab holds containerd.io, so that nothing but kubefab brings its fixes, and runc's, which are in the same package. An upgrade brings
those of the line that a node has (2.2.1 to 2.2.5); another line changes how containerd behaves, and comes when the operator asks for it
or when the release of Kubernetes needs it: the next one, as containerd is compatible with the line before it and no other.
Only a package that is proved to be of kubefab's source is changed: unknown is foreign.

Sources: kubespray roles/container-engine and KubeOne's installation scripts (both change it in the drain, to a version that they pin);
containerd's containerd.service (KillMode=process: shims, and the containers under them, outlive it) and RELEASES.md, "Upgrade Path";
systemd.kill(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..context import Choices, Context, Following, Runtime
from ..inventory import Node
from ..nodes.facts import NodeFacts
from ..nodes.upgrading import Answers, Offer
from ..recipes.changes import numbers
from ..recipes.packages import RUNTIME, family
from ..records import dataclass
from ..steps import Action, Step, Wait
from ..text import forms
from ..text.cleaning import listed

PROGRAM = "/usr/bin/containerd"  # where the package has it, in both families
_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,4})\.([0-9]{1,4})-([0-9]{1,6}(?:\.[0-9]{1,4})*)(?:[.~+].*)?")
_KEEPS = "process"  # systemd ends containerd's own process only


# --- which one


@dataclass(frozen=True)
class Verdict:
    """The version that a node is to have, which may be the one that it has; empty where it is left alone, and `why`."""

    version: str = ""
    back: bool = False
    why: str = ""


def ordered(version: str) -> tuple[int, ...]:
    """A package's version as numbers that can be compared: (2, 3, 4, 1) of "2.3.4-1~debian.12~bookworm", (1, 7, 27, 3, 1) of "1.7.27-3.1.el9".

    Empty for what has another form, such as a release candidate.
    """
    found = _VERSION.fullmatch(version)
    return (*map(int, found.groups()[:3]), *map(int, found[4].split("."))) if found else ()


def short(version: str) -> str:
    """A package's version without its distribution's: "2.3.4-1"."""
    return version.partition("~")[0]


def decide(
    facts: NodeFacts, answers: Answers | None, *, control_plane: bool, wish: Following = "patch", least: int = 0
) -> Verdict:
    """Which containerd.io a node gets. `least` is the major release that the new kubelet needs, 0 for any; `answers` is None if it was not asked."""
    present = facts.packages.get(RUNTIME, "")
    needed = bool(least) and answers is not None and numbers(answers.containerd) < (least,)
    if wish == "keep":
        return Verdict(why="--containerd keep" if needed else "")
    if answers is None:
        return Verdict(why="what its package source has was not learned")
    now = ordered(present)
    if present and not now:
        return Verdict(why=f"{present} is no release that can be compared")
    if foreign := _foreign(facts, answers, present):
        return Verdict(why=foreign)
    offer = answers.packages.get("containerd", Offer({}, "it was not asked"))
    if offer.fault:
        return Verdict(why=f"what its package source has was not learned: {offer.fault}")
    offered = offer.versions.get(RUNTIME, ())
    if present not in offered and (facts.before is None or RUNTIME in facts.before):
        return Verdict(
            why=f"nothing shows that {present} came from CONTAINERD_URL: it is not there, and was here before kubefab"
        )
    lines = {now[:2]}
    if needed or wish == "next":
        following: tuple[int, ...] = min(
            (ordered(one)[:2] for one in offered if ordered(one)[:2] > now[:2]), default=()
        )
        if following and following[0] == now[0] and following[1] > now[1] + 1:
            beyond = ".".join(map(str, following))
            return Verdict(
                why=f"the next line that its package source has is {beyond}, and containerd goes one line at a time"
            )
        lines.add(following)
    newer = [one for one in offered if ordered(one) > now and ordered(one)[:2] in lines]
    best = max(newer, key=ordered, default=present)
    if needed and ordered(best)[0] < least:
        return Verdict(why=f"the newest that its package source has is {short(best)}")
    if best != present and control_plane and answers.process.kills != _KEEPS:
        said = answers.process.kills or "not known"
        return Verdict(
            why=f"KillMode of its unit is {said}, so its restart would end etcd and the API, and this node is not drained"
        )
    return Verdict(best, present in offered)


def _foreign(facts: NodeFacts, answers: Answers, present: str) -> str:
    """Why containerd here is somebody else's to change; empty where it is proved to be the package, and held by us alone."""
    if not present:
        return f"it is not of the package {RUNTIME}"
    program = answers.process.program
    if program != PROGRAM:
        return f"it runs {program}, which is not the package's" if program else "its process was not seen"
    if numbers(answers.containerd) != ordered(present)[:3]:
        return f"{PROGRAM} says {answers.containerd or 'nothing'}, and the package is {present}: somebody put another program there"
    if RUNTIME in facts.held and (facts.before is None or facts.before.get(RUNTIME) == "hi"):
        return "it was held (`apt-mark hold`) before kubefab, by somebody else"
    if answers.process.pins:
        return f"{listed(answers.process.pins, 2)} pins it"
    return ""


# --- the change


def due(choices: Choices, node: Node, facts: NodeFacts) -> Runtime | None:
    """The containerd.io that the node is to have, if it has an older one, or one that was installed since containerd began."""
    wanted = choices.runtimes.get(node.name)
    return wanted if wanted and (_behind(facts, wanted) or facts.replaced) else None


def waits(ctx: Context) -> Runtime | None:
    """The same of a phase's node."""
    return due(ctx.choices, ctx.node, ctx.facts)


def _behind(facts: NodeFacts, wanted: Runtime) -> bool:
    return ordered(facts.packages.get(RUNTIME, "")) < ordered(wanted.version)


def fetched(ctx: Context, phase: str) -> Iterator[Action]:
    """The package ahead, as all others: nothing is installed."""
    wanted, packages = waits(ctx), family(ctx.facts)
    if wanted and packages and _behind(ctx.facts, wanted):
        yield Step(
            f"{phase}.runtime",
            f"containerd {short(wanted.version)} fetched; nothing is installed yet",
            packages.runtime(wanted.version, ctx.facts, ctx.recipe, fetch=True),
            timeout=900,
            fetches=True,
            hint="the last lines say which package or source; --containerd keep goes on without it",
        )


def changed(ctx: Context, phase: str) -> Iterator[Action]:
    """Another containerd.io, and containerd runs as that; its containers run on. The kubelet connects to it again by itself."""
    wanted, packages, facts = waits(ctx), family(ctx.facts), ctx.facts
    if wanted is None or packages is None:
        return
    present, hint = (
        facts.packages.get(RUNTIME, ""),
        f"`journalctl -u containerd -n 50` on {ctx.node.name} says why it does not answer",
    )
    if way := back(ctx):
        hint = f"{hint}; {way}"
    install = packages.runtime(wanted.version, facts, ctx.recipe) if _behind(ctx.facts, wanted) else ()
    title = (
        f"containerd {short(wanted.version)}, before {short(present)}"
        if install
        else f"containerd runs as {short(present)}"
    )
    yield Step(
        f"{phase}.runtime",
        title + "; this node's containers run on" * ctx.node.control_plane,
        (
            *((_GUARD,) if ctx.node.control_plane else ()),
            *install,
            "systemctl daemon-reload",
            "systemctl restart containerd",
        ),
        timeout=900,
        fetches=bool(install),
        hint=hint,
        evidence=("journalctl -u containerd -n 100 --no-pager 2>&1 | grep -E 'level=(error|fatal)' | tail -n 4",),
    )
    release = ".".join(map(str, ordered(wanted.version if install else present)[:3]))
    yield Wait(
        f"{phase}.answers",
        f"containerd {release} answers",
        probe='p=$(systemctl show -p MainPID --value containerd); echo "program $(readlink "/proc/$p/exe")"; '
        "crictl version 2>&1 | sed -n 's/^RuntimeVersion: *v*/version /p'; if crictl info >/dev/null 2>&1; then echo ready; fi",
        until=lambda seen: _answers(seen, release),
        deadline=90,
        interval=1,
        hint=hint,
        evidence=("journalctl -u containerd -n 20 --no-pager 2>&1",),
    )


_GUARD = (
    f'[ "$(systemctl show -p KillMode --value containerd)" = {_KEEPS} ] || '
    "{ echo 'KillMode of containerd.service is not process: a restart would end etcd and the API'; exit 65; }"
)


def _answers(seen: str, release: str) -> str | None:
    said = dict(line.split(" ", 1) for line in seen.splitlines() if " " in line)
    if said.get("program") != PROGRAM:
        return "containerd still runs the earlier program" if said.get("program") else "containerd does not run"
    if said.get("version") != release:
        return f"containerd says {forms.text(said.get('version', 'nothing'), 40)}"
    return None if "ready" in seen.splitlines() else "its CRI does not answer"


def back(ctx: Context) -> str:
    """How the containerd of before comes back to a node that is about to get another; empty where it gets none."""
    wanted, packages = waits(ctx), family(ctx.facts)
    if wanted is None or packages is None or not _behind(ctx.facts, wanted):
        return ""
    present, node = ctx.facts.packages.get(RUNTIME, ""), ctx.node.name
    if not wanted.back:
        return f"before it was {RUNTIME} {present}, which the package source does not have any more"
    line = f"{packages.runtime_back(present)} && systemctl restart containerd"
    return f"before it was {RUNTIME} {present}: `{line}` on {node} puts it back; then this upgrade again, with --containerd keep"
