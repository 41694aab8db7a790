"""The `inv` tasks that read a cluster: doctor, verify, history, report, evidence. The work is in the modules named alike."""

from __future__ import annotations

import json as jsonlib
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import inventory
from ..errors import Interrupted, KubefabError, UsageError
from ..inventory import Environment, images
from ..nodes.facts import NodeFacts
from ..phases import EVERY
from ..recipes.kubeadm import recipe_for
from ..run.journal import journals, read
from ..text.masking import mask, masked
from ..text.screen import Screen, verdict
from ..views import digests as locking
from ..views import doctor as doctoring
from ..views import evidence as collecting
from ..views import timing as reporting
from ..views import verify as verifying
from .common import command, exit_unless
from .progress import print_table, seconds
from .session import Options, opened


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
    """What is wrong: machines, wires, cluster. Reads only."""
    options = Options(env, workers=workers, faults=tuple(fault or ()), ask_sudo_pass=ask_sudo_pass)
    with opened(options) as session:
        nodes = session.environment.select([name for name in on.split(",") if name] or ["all"])
        quiet = json or not session.console.is_terminal
        with session.console.status("observing") as live:
            told = (lambda text: None) if quiet else live.update
            began = time.monotonic()
            observed = session.observer().survey(nodes)
            report = doctoring.Doctor(session.environment, session.group, told).examine(
                nodes, observed, network=network, began=began
            )
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
    """End-to-end proof: pods, DNS, NodePorts, metrics."""
    if not inventory.load(env or None).settings.release.apps_api:
        raise UsageError(
            "verify speaks an API that Kubernetes 1.5 does not have yet",
            "`inv cluster.status`, and the lines of `inv cluster.info`",
        )
    options = Options(env, workers=workers, faults=tuple(fault or ()), ask_sudo_pass=ask_sudo_pass)
    with opened(options) as session:
        console = session.console
        began = time.monotonic()
        checks = []
        with console.status("looking for the cluster") as live, _terminable(), ExitStack() as stack:
            told = (lambda text: None) if json or not console.is_terminal else live.update
            verifier = verifying.Verifier(
                session.environment,
                session.group,
                told=told,
                clock=session.clock(session.environment.control_plane.name),
            )
            for check in stack.enter_context(closing(verifier.run())):
                checks.append(check)
                if not json:
                    _print_check(console, check)
        good = all(check.state != verifying.FAILED for check in checks)
        if json:
            data = [{"check": x.name, "state": x.state, "detail": x.detail, "likely": x.likely} for x in checks]
            print(
                jsonlib.dumps(
                    masked({"environment": session.environment.name, "verified": good, "checks": data}), indent=2
                )
            )
        else:
            untested = sum(x.state == verifying.UNTESTED for x in checks)
            words = (
                ("verified end to end" if not untested else f"verified, {untested} not tested")
                if good
                else f"{sum(x.state == verifying.FAILED for x in checks)} of {len(checks)} checks failed"
            )
            console.print(verdict(good, f"{session.environment.name}: {words} ({seconds(time.monotonic() - began)})"))
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
        Text.assemble(
            (f"{mark} ", style),
            f"{check.name:<19} ",
            (f"{state}{mask(check.detail)}", "dim" if check.state == verifying.OK else ""),
        ),
        soft_wrap=True,
    )
    if check.likely:
        console.print(Text.assemble(("  → ", "cyan"), mask(check.likely)), soft_wrap=True)


@command(help={"count": "how many, newest last; 0: all"})
def history(c: Any, env: str = "", count: int = 15, json: bool = False) -> None:
    """Earlier runs, from their journals."""
    environment = inventory.load(env or None)
    paths = journals(environment.state / "journal")
    numbered = list(enumerate(paths, 1))[-count:]
    runs = [(number, reporting.read_run(read(path)), path) for number, path in numbered]
    if json:
        keys = [{"run": n, "journal": str(path), **reporting.data(timing)} for n, timing, path in runs]
        print(jsonlib.dumps(keys, indent=2))
        return
    console = Screen()
    if not runs:
        console.print(f"{environment.name}: no runs yet")
    for number, timing, _ in runs:
        outcome = "goes on" if timing.outcome == "cut off" and reporting.alive(timing.pid) else timing.outcome
        style = {"done": "green", "failed": "red"}.get(outcome, "yellow")
        when = time.strftime("%m-%d %H:%M:%S", time.localtime(timing.began))
        lost = ", ".join(timing.unfinished) if timing.exit else ""
        tail = f" ({lost})" if lost else ""
        words = f"{number:>4}  {when}  "
        line = Text.assemble(words, (f"{outcome:<12}", style), f"{seconds(timing.seconds):>12}  {timing.command}{tail}")
        console.print(
            line,
            overflow="ellipsis" if console.is_terminal else "ignore",
            no_wrap=True,
            soft_wrap=not console.is_terminal,
        )


def chosen_run(environment: Environment, run: int) -> Path:
    """The journal of run number `run`; 0: the newest. Raises UsageError when there is none."""
    paths = journals(environment.state / "journal")
    if not paths:
        raise UsageError(f"{environment.name} has no journal yet", "run a bootstrap first")
    if not 0 <= run <= len(paths):
        raise UsageError(
            f"there is no run {run} of {environment.name}", f"1 to {len(paths)}; `inv cluster.history` lists them"
        )
    return paths[run - 1]


@command(
    help={"run": "its number in cluster.history; default: the newest", "html": "write a page with the timeline here"}
)
def report(c: Any, env: str = "", run: int = 0, html: str = "", json: bool = False) -> None:
    """Where a run's time went; the critical path."""
    environment = inventory.load(env or None)
    path = chosen_run(environment, run)
    timing = reporting.read_run(read(path))
    if html:
        page = reporting.html(
            timing, f"{environment.name}, {time.strftime('%Y-%m-%d %H:%M', time.localtime(timing.began))}"
        )
        Path(html).write_text(page, encoding="utf-8")
    if json:
        print(jsonlib.dumps(reporting.data(timing), indent=2))
        return
    console = Screen()
    _print_report(console, timing)
    if html:
        console.print(f"written: {html}", soft_wrap=True)


def _print_report(console: Console, timing: reporting.Timing) -> None:
    console.print(
        f"{timing.command}: {timing.outcome} in {seconds(timing.seconds)}, {timing.steps} steps", soft_wrap=True
    )
    phases = [name for name in EVERY if any(name == phase for _, phase in timing.phases)]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("node", *phases, "waited"):
        table.add_column(heading, justify="left" if heading == "node" else "right", no_wrap=True)
    stood = reporting.waits(timing)
    for node in timing.nodes[:30]:
        cells = (f"{timing.phases[node, phase]:.1f}" if (node, phase) in timing.phases else "" for phase in phases)
        name = Text(node, "red" if timing.states.get(node) != "done" else "")
        table.add_row(name, *cells, f"{stood.get(node, 0.0):.1f}")
    print_table(console, table)
    path = reporting.critical_path(timing)
    length = reporting.path_seconds(path)
    if length:
        console.print(f"critical path {seconds(length)}, the run took {timing.seconds / length:.2f} of it:")
        for span in (s for s in path if s.seconds >= 0.05):
            console.print(f"  {span.start:>7.1f} s  {span.node:<6} {span.name:<24} {span.seconds:>6.1f} s")
    for node, error in timing.errors.items():
        console.print(
            Text.assemble(("✗ ", "red"), f"{node}: {error.splitlines()[0].removeprefix(f'{node}: ')}"), soft_wrap=True
        )


@command(iterable=["fault"], help={"out": "the file; default: kubefab-evidence-ENV-TIME.tar.gz here"})
def evidence(
    c: Any,
    env: str = "",
    on: str = "",
    out: str = "",
    workers: int = 0,
    fault: list[str] | None = None,
    ask_sudo_pass: bool = False,
) -> None:
    """Logs and state of a failure, secrets taken out."""
    options = Options(env, workers=workers, faults=tuple(fault or ()), ask_sudo_pass=ask_sudo_pass)
    with opened(options) as session:
        environment = session.environment
        nodes = session.environment.select([name for name in on.split(",") if name] or ["all"])
        if session.simulation:
            nodes = ()
            session.console.print("simulated nodes have no logs: journals only", style="dim")
        path = Path(out or f"kubefab-evidence-{environment.name}-{time.strftime('%Y%m%dT%H%M%S')}.tar.gz").expanduser()
        with session.console.status(f"asking {len(nodes)} nodes"):
            files, unreachable = collecting.collect(environment, session.group, nodes)
        collecting.write(path, environment, files, unreachable)
        for name, why in unreachable.items():
            session.console.print(Text.assemble(("not asked ", "yellow"), f"{name}: {why}"), soft_wrap=True)
        for clue in [found for found in collecting.clues(files) if not found.earlier][:5]:
            session.console.print(Text.assemble(("likely: ", "bold"), f"{clue.cause} ({clue.place})"), soft_wrap=True)
        session.console.print(f"written: {path} ({len(files)} files; begin with {collecting.INDEX})", soft_wrap=True)


@command(help={"file": "write it there, whole or not at all; IMAGE_DIGESTS then names it. Default: print it"})
def digests(c: Any, env: str = "", file: str = "", json: bool = False, ask_sudo_pass: bool = False) -> None:
    """A running cluster's image digests. Reads only."""
    if inventory.load(env or None).settings.release.runtime == "docker":
        raise UsageError("1.5's Docker knows images by tag only", "digests are for 1.35 and later")
    target = Path(file).expanduser() if file else None
    if target and not target.parent.is_dir():
        raise UsageError(f"no folder {target.parent}", "make it, or name another file")
    with opened(Options(env, ask_sudo_pass=ask_sudo_pass)) as session:
        environment = session.environment
        recipe = recipe_for(environment)
        seen = session.observer(digests=recipe.version).survey(environment.nodes)
        observed = {name: _seen(facts) for name, facts in seen.items()}
        found = locking.collect(recipe, environment.control_plane.name, observed)
    told = Screen(stderr=True)
    if found.disagreeing:
        which = "\n".join(
            f"{image}: " + ", ".join(f"{node} has {digest}" for node, digest in held.items())
            for image, held in sorted(found.disagreeing.items())
        )
        raise KubefabError(
            f"the nodes hold different images under one tag\n{which}",
            "find out which is the right one before you trust either",
        )
    if not found.pins:
        raise KubefabError(
            "no node holds an image of this cluster", f"`inv cluster.bootstrap --env {environment.name}` first"
        )
    if json:
        print(jsonlib.dumps({"images": found.pins, "missing": found.missing}, indent=2))
    elif target is None:
        print(images.render(found.pins), end="")
    if target:
        locking.write(target, images.render(found.pins))
        told.print(f"{target}: {len(found.pins)} images", soft_wrap=True)
    if found.missing:
        told.print(f"! on no node, so left out: {', '.join(found.missing)}", style="yellow", soft_wrap=True)


def _seen(facts: NodeFacts | KubefabError) -> NodeFacts:
    """A lock file from half the nodes would be trusted as if it were from all."""
    if isinstance(facts, KubefabError):
        raise facts
    return facts


TASKS = (doctor, verify, history, report, evidence, digests)
