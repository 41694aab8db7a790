"""The operator's own scripts before and after a phase: `hooks/` beside hosts.env, on the node or on this machine.

They run on a node where the phase has something to do, and only there.  Before a phase that has hooks after it, a mark is left on
the machine; what still has it when the phase is done gets those hooks again, in the next run too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from shlex import join, quote

from ..context import Context
from ..inventory.model import Hook
from ..nodes.facts import STATE
from ..steps import MINUTE, Action, File, Step, Stop, Wait
from ..text.masking import mask

PREFIX = "/run/kubefab-hook-"  # on the node; a script is there only while it runs
TIMEOUT = 10 * MINUTE
VARIABLES = ("KUBEFAB_ENV", "KUBEFAB_NODE", "KUBEFAB_ADDRESS", "KUBEFAB_HOST", "KUBEFAB_ROLE", "KUBEFAB_PHASE")

Generator = Callable[[Context], Iterator[Action]]


def hooked(phase: str, run: Generator, *, lasting: bool = True) -> Generator:
    """The phase with the environment's hooks around it. Without `lasting` no mark is left: reset takes the folder of marks away."""

    @functools.wraps(run)
    def around(ctx: Context) -> Iterator[Action]:
        hooks = [hook for hook in ctx.environment.hooks if hook.phase == phase]
        mark = f"after-{phase}"
        pending = lasting and mark in ctx.facts.undo
        if not hooks and not pending:
            yield from run(ctx)
            return
        actions = list(run(ctx))
        before, after = ([hook for hook in hooks if hook.when == when] for when in ("before", "after"))
        changes = any(isinstance(action, Step) or (isinstance(action, Wait) and action.changes) for action in actions)
        if any(isinstance(action, Stop) for action in actions) or not (changes or pending):
            yield from actions
            return
        if changes:
            yield from (_step(ctx, hook) for hook in before)
            if after and lasting and not pending:
                noted = (f"install -d -m 0700 {STATE}", f"touch {STATE}/{mark}")
                yield Step(f"{phase}.hooks", "note that hooks come after it", noted)
        yield from actions
        yield from (_step(ctx, hook) for hook in after)
        if lasting and (after or pending):
            yield _done(phase, mark, proved=bool(actions) and not isinstance(actions[-1], Step))

    return around


def _done(phase: str, mark: str, *, proved: bool) -> Action:
    """Take the mark away. A phase whose own end is a wait keeps one at its end: it is not judged from facts of before (run/pipelines.py)."""
    gone, title = f"rm -f {STATE}/{mark}", "note that the hooks after it have run"
    if not proved:
        return Step(f"{phase}.hooked", title, (gone,))
    return Wait(
        f"{phase}.hooked",
        title,
        probe=f"{gone} && echo noted",
        until=lambda seen: None if seen.strip().endswith("noted") else seen.strip() or "no answer",
        deadline=30,
        changes=True,
    )


def _step(ctx: Context, hook: Hook) -> Step:
    node = ctx.node
    values = (ctx.environment.name, node.name, node.address, node.host, node.role, hook.phase)
    variables = " ".join(f"{key}={quote(value)}" for key, value in zip(VARIABLES, values, strict=True))
    id = "-".join(filter(None, (f"{hook.phase}.{hook.when}", hook.label, hook.on)))
    again = "correct that script, then run this again: it is run again from its beginning"
    if hook.on == "local":
        line = f"cd {quote(str(hook.path.parent))} && {variables} {quote('./' + hook.path.name)}"
        return Step(id, f"hook {hook.path.name}", (line,), timeout=TIMEOUT, hint=again, on="operator")
    path = f"{PREFIX}{hook.path.name}"
    interpreter = hook.text.partition("\n")[0].removeprefix("#!").strip().split(None, 1)  # as the kernel takes it apart
    text = hook.text if hook.text.endswith("\n") else f"{hook.text}\n"
    return Step(
        id,
        f"hook {hook.path.name}",
        (
            f"export {variables}",
            f"{join([*interpreter, path])} || {{ rc=$?; rm -f {path}; exit $rc; }}",
            f"rm -f {path}",
        ),
        files=(File(path, text, mode="0600", secret=mask(text) != text),),
        timeout=TIMEOUT,
        fetches=True,  # what it does is the operator's business
        hint=again,
    )
