"""A hook of the operator's on a simulated node: what has nothing to do with the machine runs on the model, the rest counts as successful."""

from __future__ import annotations

from fabfile.phases.hooks import PREFIX

from ..bash import Call, Exit, Shell, Unmodelled
from ..machine import Machine

# An answer of the model to anything else would say how the model is, not how a machine is.
_RUN = frozenset(
    {"echo", "printf", "test", "[", "true", "false", ":", "cat", "touch", "mkdir", "rm", "mv", "cp", "chmod"}
)


def is_hook(call: Call) -> bool:
    """Whether a command runs a hook: an interpreter with the script as its last word."""
    return call.argv[-1].startswith(PREFIX) and call.argv[0].startswith("/")


def run(machine: Machine, call: Call) -> int:
    """Run the script; what is not simulated says so and goes on. A script of shell syntax that no step uses is passed over whole."""
    text = machine.host.read(call.argv[-1])
    if text is None:
        return call.fail(f"{call.argv[0]}: {call.argv[-1]}: No such file or directory", 127)
    machine.spend(0.5, "hook")

    def dispatch(inner: Call) -> int:
        if inner.argv[0] in _RUN:
            return call.shell.dispatch(inner)
        inner.out(f"the rehearsal does not simulate {inner.argv[0]}\n")
        return 0

    shell = Shell(dispatch, machine, dict(call.shell.variables), errexit=False)
    try:
        return shell.line(text.partition("\n")[2], call.streams)
    except Exit as ended:
        return ended.code
    except Unmodelled as error:
        call.out(f"the rehearsal does not simulate this script: {error}\n")
        return 0
