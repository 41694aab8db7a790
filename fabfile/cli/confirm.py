"""What an operator agrees to before machines are emptied: the environment's name, on the command line or typed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from .. import inventory
from ..errors import Interrupted, KubefabError, UsageError
from ..inventory import Environment, Node
from ..text.cleaning import listed

_YES = re.compile(r"y|yes|true|1|on|ok", re.I)


def agreed(environment: Environment, yes: str | bool) -> bool:
    """Whether `--yes` says this environment's name; True is the option without a value. Raises UsageError for anything else.

    The name of another environment stops every command, also a rehearsal's: the two names that were given contradict each other.
    """
    if not yes:
        return False
    name = environment.name
    if yes == name:
        return True
    if yes is True or _YES.fullmatch(yes):
        said = "--yes" if yes is True else f"--yes {yes}"
        raise UsageError(f"{said}: the environment's name is what confirms; nothing was touched", f"--yes {name}")
    known = inventory.names(environment.hosts_file or "")
    what = f"--yes {yes} is not this environment's name; nothing was touched: the environment chosen is {name} ({_chosen()})"
    raise UsageError(what, f"--yes {name}" + (f"; or --env {yes} --yes {yes}" if yes in known else ""))


def _chosen() -> str:
    """How the environment was chosen, as far as the command line and the variables show."""
    if any(word == "--env" or word.startswith(("--env=", "-e")) for word in sys.argv[1:]):
        return "by --env"
    return f"by KUBEFAB_ENV={os.environ['KUBEFAB_ENV']}" if os.environ.get("KUBEFAB_ENV") else "the default"


def confirm(environment: Environment, nodes: Sequence[Node]) -> None:
    """Ask for the environment's name before nodes are reset. Raises KubefabError for another answer, Interrupted for Ctrl-C."""
    name, count = environment.name, len(nodes)
    source = f" ({environment.origin})" if environment.origin else ""  # another file's `staging` may be meant
    print(
        f"reset {'all ' * (count > 1 and count == len(environment.nodes))}{count} node{'s' * (count != 1)} of {name}{source}: {with_addresses(nodes)}"
    )
    if environment.control_plane in nodes:
        print("Everything in that cluster is lost, its metrics too.")
    else:
        print(
            f"Pods go to other nodes where they can; what is only on {'this node' if count == 1 else 'these nodes'} is lost."
        )
    if environment.settings.release.runtime == "docker":  # the manual's own list (X1) takes whatever Docker holds
        print(f"So is every Docker container and image on {'it' if count == 1 else 'them'}, whosever it is.")
    ask(name)


def ask(name: str) -> None:
    """Ask for the environment's name. Raises KubefabError for another answer, Interrupted for Ctrl-C."""
    try:
        typed = input(f"Type {name} to go on: ").strip()
    except EOFError:  # Ctrl-D
        typed = ""
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped at the question; nothing was touched", f"run it again and type {name}, or --yes {name}"
        ) from None
    if typed != name:
        raise KubefabError("not confirmed; nothing was touched", f"run it again and type {name}, or --yes {name}")


def with_addresses(nodes: Sequence[Node]) -> str:
    """Nodes with the addresses that the inventory has for them."""
    return listed(
        [f"{node.name} ({node.host}{f', {node.address}' * (node.address != node.host)})" for node in nodes], 12
    )
