"""`inv cluster.shell NODE`: a shell on a node, by the inventory's user, key, port, jump host and host-key rule."""

from __future__ import annotations

import shlex
import sys

from ..errors import UsageError
from .common import Options, command, described, exit_with, one_node


@command("env", positional=("node",), help={"node": "its name, or its address"})
def shell(*, node: str, options: Options) -> None:
    """A shell on one node, as the inventory's user."""
    if not sys.stdin.isatty():
        where = f"--on {shlex.quote(node)} {described(options).option}"
        raise UsageError(
            "cluster.shell needs a terminal, and standard input is none; nothing was touched",
            f"`inv cluster.run COMMAND {where}` runs one command without a terminal",
        )
    from ..nodes import terminal
    from .session import opened

    with opened(options) as session:
        connection = session.group.of(one_node(session.environment, node))
        sys.stdout.flush()
        code = terminal.shell(connection, sys.stdin.fileno(), sys.stdout.fileno())
    exit_with(code)
