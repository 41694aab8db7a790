"""The `inv` tasks that read a cluster: doctor, verify, history, report, evidence. The work is in the modules named alike."""

from __future__ import annotations

import json as jsonlib
import time
from typing import Any

from . import doctor as doctoring
from .commands import command, exit_unless
from .progress import Progress
from .runner import Run
from .session import Options, Session, opened


def reader(session: Session) -> Run:
    """A runner for reading only: it is never asked to run a phase."""
    return Run(session.environment, session.group, Progress([]), clock=session.clock)


@command(
    iterable=["fault"],
    help={
        "matrix": "show the table of pairs also when all is open",
        "network": "test ports and MTU between the nodes (--no-network leaves it out)",
    },
)
def doctor(
    c: Any,
    env: str = "",
    on: str = "",
    json: bool = False,
    matrix: bool = False,
    network: bool = True,
    workers: int = 0,
    fault: list[str] | None = None,
    ask_sudo_pass: bool = False,
) -> None:
    """What is wrong with machines, wires between them, and cluster; reads only."""
    options = Options(env, workers=workers, faults=tuple(fault or ()), ask_sudo_pass=ask_sudo_pass)
    with opened(options) as session:
        nodes = session.environment.select([name for name in on.split(",") if name] or ["all"])
        quiet = json or not session.console.is_terminal
        with session.console.status("observing") as live:
            told = (lambda text: None) if quiet else live.update
            began = time.monotonic()
            observed = reader(session).survey(nodes)
            report = doctoring.Doctor(session.environment, session.group, told).examine(nodes, observed, network=network, began=began)
        if json:
            print(jsonlib.dumps(report.data(), indent=2))
        else:
            doctoring.show(session.console, report, matrix=matrix)
    exit_unless(report.healthy)
