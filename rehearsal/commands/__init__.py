"""Every program that our scripts may call, by topic: name → handler. A program that is in no table raises Unmodelled.

A handler gets the machine and the call, prints through the call, changes the model, and returns the exit code.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ..bash import Call, Unmodelled
from ..machine import Machine
from . import hooks

Handler = Callable[[Machine, Call], int]
TABLE: dict[str, Handler] = {}


def program(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler in the table under these names."""

    def enter(handler: Handler) -> Handler:
        for name in names:
            TABLE[name] = handler
        return handler

    return enter


def dispatch(machine: Machine, call: Call) -> int:
    """Run one simple command. Raises Unmodelled for a program that is in no table."""
    name = call.argv[0].rsplit("/", 1)[-1]
    if hooks.is_hook(call):
        return hooks.run(machine, call)
    handler = TABLE.get(name)
    if handler is None:
        raise Unmodelled(" ".join(call.argv))
    if name not in _BUILTINS and not machine.host.has(name):
        return call.fail(f"bash: line 1: {name}: command not found", 127)
    return handler(machine, call)


def unmodelled(call: Call) -> Unmodelled:
    """The exception that a handler raises for arguments it does not support."""
    return Unmodelled(" ".join(call.argv))


_BUILTINS = frozenset(
    {"[", "command", "echo", "printf", "test", "true", "false", ":", "umask", "cd", "set", "trap", "wait", "flock"}
)

for _topic in (
    "etcd",
    "files",
    "host2017",
    "kubeadm",
    "kubectl",
    "legacy",
    "network",
    "packages",
    "runtime",
    "system",
    "text",
):
    import_module(f"{__name__}.{_topic}")
