"""What becomes of the options that Invoke and Fabric show themselves, like `inv --dry`: each is honoured, or refused by name.

Also here: what several tasks on one command line have to agree about.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import invoke

from ..errors import UsageError
from .common import with_errors_printed

_RUN = "it is for a task's own `run`, and kubefab's tasks have none"
_DRY = "nothing would be run, and nothing shown"
_KEYS = "kubefab logs in with keys: `ssh-add` lets an agent hold one with a passphrase"
# Options that Invoke and Fabric show and that kubefab's tasks cannot honour, with what to type instead.
REFUSED: Mapping[str, tuple[str, str]] = {
    "dry": (_DRY, "`inv cluster.plan --observe --commands` shows what would run, and changes nothing"),
    "echo": (
        _RUN,
        "`inv cluster.plan --observe --commands` shows the commands; a run's journal has them with their output",
    ),
    "hide": (_RUN, "leave it out"),
    "pty": (_RUN, "leave it out"),
    "warn-only": (_RUN, "one node's failure never stops the others; leave it out"),
    "command-timeout": (
        _RUN,
        "each step has its own; `inv cluster.run 'COMMAND' --on all --timeout 60` is for a command of yours",
    ),
    "prompt-for-sudo-password": ("it asks before the environment is known", "--ask-sudo-pass, after the task"),
    "prompt-for-login-password": (_KEYS, "SSH_KEY in hosts.env names the key"),
    "prompt-for-passphrase": (_KEYS, "`ssh-add` it, then run this again"),
    "identity": (
        "the key belongs to the environment",
        "<ENVIRONMENT>_SSH_KEY=… in hosts.local.env, or as a variable KUBEFAB_…",
    ),
    "ssh-config": ("kubefab reads ~/.ssh/config, as ssh does", "put the host's lines there"),
    "connect-timeout": ("the time belongs to the environment", "CONNECT_TIMEOUT in hosts.env"),
}


# Options that do what their help says: they concern Invoke itself, or name nodes (--hosts).
HONOURED = {
    "collection", "complete", "config", "debug", "help", "hosts", "list", "list-agent-keys", "list-depth", "list-format",
    "no-dedupe", "print-completion-script", "search-root", "version", "write-pyc",
}  # fmt: skip


def check(core: Any, tasks: Sequence[Any]) -> None:
    """Refuse what is on the command line and would have no effect, or would mean two things.

    `core` is Invoke's parse of the whole line, `tasks` of each task (ParserContext). Raises UsageError.
    """
    given = core[0].args
    for name, (why, instead) in REFUSED.items():
        if name in given and given[name].value:
            raise UsageError(f"--{name}: {why}", instead)
    if core.remainder:
        nodes = shlex.quote(given.hosts.value if "hosts" in given and given.hosts.value else "all")
        raise UsageError(
            f"-- {core.remainder}: none of the named tasks runs what follows --",
            f"`inv cluster.run {shlex.quote(core.remainder)} --on {nodes}`",
        )
    named = [(task.name, task.as_kwargs) for task in tasks]
    environments = {name: options.get("env") or "" for name, options in named if "env" in options}
    if len(set(environments.values())) > 1:
        words = ", ".join(f"{name} {env or '(the default)'}" for name, env in environments.items())
        raise UsageError(
            f"two environments on one command line; nothing was touched: {words}",
            "give each task the same --env, or run two commands; or set KUBEFAB_ENV",
        )
    hosts = given.hosts.value if "hosts" in given else ""
    for name, options in named:
        if hosts and options.get("on"):
            raise UsageError(f"-H {hosts} and {name} --on {options['on']}; nothing was touched", "name the nodes once")


class InvExecutor(invoke.Executor):
    """Invoke's executor, which runs no task where an option would be ignored."""

    def execute(self, *tasks: Any) -> Any:
        with_errors_printed(lambda: check(self.core, tasks))
        return super().execute(*tasks)
