"""`inv cluster.doctor`: what is wrong with machines, network and cluster. The checks are in views/doctor/."""

from __future__ import annotations

import time

from .common import Options, command, exit_unless, print_json


@command(
    "env",
    "on",
    "json",
    "workers",
    "fault",
    "ask_sudo_pass",
    help={
        "matrix": "show the table of pairs also when all is open",
        "network": "test ports and MTU between the nodes (--no-network leaves it out)",
    },
)
def doctor(*, matrix: bool = False, network: bool = True, options: Options) -> None:
    """What is wrong with machines, network and cluster; it only reads."""
    from ..views.doctor import Doctor, show
    from .session import opened

    with opened(options) as session:
        nodes = session.environment.select(options.on or ["all"])
        quiet = options.json or not session.console.is_terminal
        with session.console.status("observing") as live:
            on_progress = (lambda text: None) if quiet else live.update
            began = time.monotonic()
            observed = session.observer().survey(nodes)
            examiner = Doctor(session.environment, session.group, on_progress)
            report = examiner.examine(nodes, observed, network=network, began=began)
        if options.json:
            print_json(report.data())
        else:
            show(session.console, report, matrix=matrix)
    exit_unless(report.healthy)
