"""A hook of the operator's on a simulated node: what the model knows of its script runs on the model, the rest is passed over."""

from __future__ import annotations

from fabfile.phases.hooks import FOLDER

from ..bash import Call, Exit, Shell, Unmodelled
from ..machine import Machine


def is_hook(call: Call) -> bool:
    """Whether a command runs a hook: an interpreter with the script as its last word."""
    return call.argv[-1].startswith(f"{FOLDER}/") and call.argv[0].startswith("/")


def run(machine: Machine, call: Call) -> int:
    """Run the script, as far as its shell and its commands are modelled; where they are not, it counts as successful from there."""
    text = machine.host.read(call.argv[-1])
    if text is None:
        return call.fail(f"{call.argv[0]}: {call.argv[-1]}: No such file or directory", 127)
    machine.spend(0.5, "hook")
    shell = Shell(call.shell.dispatch, machine, dict(call.shell.variables), errexit=False)
    try:
        return shell.line(text.partition("\n")[2], call.streams)
    except Exit as ended:
        return ended.code
    except Unmodelled as error:
        call.out(f"the rehearsal does not simulate this: {error}\n")
        return 0
