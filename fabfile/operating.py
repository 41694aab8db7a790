"""The `inv` tasks that read a cluster: doctor, verify, history, report, evidence. The work is in the modules named alike."""

from __future__ import annotations

import json as jsonlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from . import doctor as doctoring
from . import verify as verifying
from .commands import command, exit_unless
from .errors import Interrupted
from .masking import mask
from .progress import Progress, seconds
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


@command(iterable=["fault"])
def verify(
    c: Any,
    env: str = "",
    json: bool = False,
    workers: int = 0,
    fault: list[str] | None = None,
    ask_sudo_pass: bool = False,
) -> None:
    """End-to-end proof: pods, services, DNS, NodePorts, metrics; cleans up."""
    options = Options(env, workers=workers, faults=tuple(fault or ()), ask_sudo_pass=ask_sudo_pass)
    with opened(options) as session:
        console = session.console
        began = time.monotonic()
        checks = []
        with console.status("looking for the cluster") as live, _terminable():
            told = (lambda text: None) if json or not console.is_terminal else live.update
            verifier = verifying.Verifier(session.environment, session.group, told=told, clock=session.clock(session.environment.control_plane.name))
            for check in verifier.run():
                checks.append(check)
                if not json:
                    _print_check(console, check)
        good = all(check.state != verifying.FAILED for check in checks)
        if json:
            data = [{"check": x.name, "state": x.state, "detail": x.detail, "likely": x.likely} for x in checks]
            print(mask(jsonlib.dumps({"environment": session.environment.name, "verified": good, "checks": data}, indent=2)))
        else:
            mark = "[green]✓[/]" if good else "[red]✗[/]"
            words = "verified end to end" if good else f"{sum(x.state == verifying.FAILED for x in checks)} of {len(checks)} checks failed"
            console.print(f"{mark} {session.environment.name}: {words} ({seconds(time.monotonic() - began)})")
    exit_unless(good)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does: through the cleaning up."""

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, handler)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped; what verify had made is taken away", "run it again") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_check(console: Console, check: verifying.Check) -> None:
    mark, style = {verifying.OK: ("✓", "green"), verifying.FAILED: ("✗", "bold red")}.get(check.state, ("·", "dim"))
    state = "" if check.state != verifying.UNTESTED else "not tested: "
    console.print(
        Text.assemble((f"{mark} ", style), f"{check.name:<19} ", (f"{state}{mask(check.detail)}", "dim" if check.state == verifying.OK else "")),
        soft_wrap=True,
    )
    if check.likely:
        console.print(Text.assemble(("  → ", "cyan"), mask(check.likely)), soft_wrap=True)


TASKS = (doctor, verify)
