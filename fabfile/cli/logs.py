"""`inv cluster.logs NODE`: what a unit on a node wrote into the journal, secrets taken out."""

from __future__ import annotations

import sys

from ..errors import UsageError
from .common import Options, command, one_node, print_json

DAY = 86400.0  # seconds for which --follow goes on


@command(
    "env",
    "fault",
    "json",
    "ask_sudo_pass",
    positional=("node",),
    help={
        "node": "its name, or its address",
        "unit": "kubelet, containerd, ssh …",
        "since": "like 90s, 10m, 2h, 3d, or '2026-11-29 14:05' by the node's clock",
        "lines": "at most so many, the newest",
        "follow": "go on with new lines until Ctrl-C",
    },
)
def logs(
    *, node: str, unit: str = "kubelet", since: str = "", lines: int = 200, follow: bool = False, options: Options
) -> None:
    """A unit's journal on one node; kubelet's by default."""
    from ..text.masking import Lines
    from ..text.screen import Screen
    from ..views import logs as view
    from .session import opened

    words = view.arguments(unit, since, lines)
    if follow and options.json:
        raise UsageError("--follow has no end, and --json prints one document", "leave one of them out")
    console = Screen()
    with opened(options) as session:
        one = one_node(session.environment, node)
        if follow and session.simulation:
            raise UsageError("--follow: simulated nodes run only while a command works on them", "leave --follow out")
        connection = session.group.of(one)
        if not follow:
            found = view.read(connection, unit, words)
            if options.json:
                print_json({"node": one.name, "unit": unit, "lines": found})
                return
            for line in found:
                console.print(line, soft_wrap=True)
            if not found:
                print(view.about(one, unit, since), file=sys.stderr)
            return
        view.check(connection, unit)
        arriving = Lines()

        def show(data: bytes) -> None:
            for line in arriving.feed(data):
                if line != view.ALIVE:
                    console.print(line, soft_wrap=True)

        connection.root(view.following(words), DAY, show)
