"""Runs the end-to-end proof on a cluster, and takes its probes away again whatever happens."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import verify
from .connection import NodeGroup
from .errors import KubefabError, StepFailed
from .facts import NodeFacts
from .inventory import Environment, Node
from .masking import mask
from .verify import Check

START_TIMEOUT = 300.0  # seconds
TRY_TIMEOUT = 120.0
STOP_TIMEOUT = 120.0
OUTSIDE_TIMEOUT = 5.0


@dataclass(frozen=True)
class Proof:
    """What was tried, and what it means."""

    environment: Environment
    checks: tuple[Check, ...]
    causes: tuple[str, ...]
    seconds: float

    @property
    def good(self) -> bool:
        return all(check.good for check in self.checks)

    def data(self) -> dict[str, Any]:
        """JSON values, masked."""
        return {
            "environment": self.environment.name,
            "good": self.good,
            "seconds": round(self.seconds, 2),
            "checks": [{"what": c.what, "from": c.source, "to": c.target, "good": c.good, "detail": mask(c.detail)} for c in self.checks],
            "causes": [mask(cause) for cause in self.causes],
        }


def prove(
    environment: Environment,
    group: NodeGroup,
    control: NodeFacts | KubefabError | None,
    told: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Proof:
    """The whole proof. Raises KubefabError when there is no cluster to prove."""
    master = environment.control_plane
    if isinstance(control, KubefabError):
        raise control
    if control is None or not control.initialised:
        raise KubefabError(
            f"{master.name}: the API does not answer: there is no cluster to verify",
            f"`inv cluster.bootstrap --env {environment.name}`, or `inv cluster.doctor --env {environment.name}`",
        )
    started = clock()
    connection = group.of(master)

    def ask(text: str, timeout: float) -> str:
        return connection.root(text, timeout)[1].decode("utf-8", "replace")

    try:
        told("starting a probe pod on every node")
        deployed = verify.parse_start(ask(verify.start_script(environment), START_TIMEOUT))
        if deployed.error:
            raise StepFailed(f"{master.name}: the probes could not be made", "the API's answer says why", deployed.error)
        told("testing pod to pod, service, DNS, NodePort, and from here")
        with ThreadPoolExecutor(1) as pool:
            outside = pool.submit(lambda: list(_outside(environment)))
            inside = ask(verify.try_script(environment, deployed), TRY_TIMEOUT)
            checks = [*verify.parse_try(inside, deployed, master.name), *outside.result(), *_metrics(control, deployed)]
    finally:  # also on Ctrl-C: the namespace takes all of it along
        told("taking the probes away")
        left = ask(verify.stop_script(), STOP_TIMEOUT)
    if "deleted" not in left and "not found" not in left.lower() and left.strip():
        checks.append(Check(verify.RUNNING, master.name, "clean-up", False, f"namespace {verify.NAMESPACE} is still there: {left.strip()[:160]}"))
    checks.sort(key=lambda c: verify.ORDER.index(c.what))
    return Proof(environment, tuple(checks), tuple(verify.causes(environment, checks)), clock() - started)


def _metrics(control: NodeFacts, deployed: verify.Deployed) -> Iterator[Check]:
    for node in deployed.nodes:
        yield Check(verify.METRICS, node, node, node in control.reporting, "" if node in control.reporting else "none in the last minutes")


def _outside(environment: Environment) -> Iterator[Check]:
    """The ports that are for the operator, from this machine; not through a bastion, which is not theirs."""
    settings = environment.settings
    pages = [(settings.influxdb_port, "/ping")] + ([(settings.dashboard_port, "/")] if settings.dashboard != "none" else [])
    wanted = [(node, port, path) for node in environment.nodes if not node.jump for port, path in pages]
    if not wanted:
        return
    with ThreadPoolExecutor(min(len(wanted), 32)) as pool:
        yield from pool.map(lambda item: _fetch(*item), wanted)


def _fetch(node: Node, port: int, path: str) -> Check:
    host = f"[{node.host}]" if ":" in node.host else node.host
    target = f"{node.name}:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{port}{path}", timeout=OUTSIDE_TIMEOUT):
            return Check(verify.OUTSIDE, "you", target, True)
    except urllib.error.HTTPError as error:
        return Check(verify.OUTSIDE, "you", target, error.code < 500, f"HTTP {error.code}")
    except (OSError, ValueError) as error:
        return Check(verify.OUTSIDE, "you", target, False, str(getattr(error, "reason", error))[:80])


def show(console: Console, proof: Proof) -> None:
    """A table of pairs when something between pods failed, one line a topic, and the likely causes."""
    groups: dict[str, list[Check]] = defaultdict(list)
    for check in proof.checks:
        groups[check.what].append(check)
    if any(not c.good for c in groups[verify.POD]):
        console.print(_table(groups[verify.POD]))
        console.print()
    for what in verify.ORDER:
        if what not in groups:
            continue
        good = sum(c.good for c in groups[what])
        whole = good == len(groups[what])
        style, mark = ("green", "✓") if whole else ("bold red", "✗")
        console.print(Text.assemble((f"{mark} ", style), f"{what:<10} {good} of {len(groups[what])}"))
    for cause in proof.causes:
        console.print(Text.assemble(("→ ", "bold cyan"), mask(cause)), soft_wrap=True)
    mark = "[green]✓[/]" if proof.good else "[red]✗[/]"
    bad = sum(not c.good for c in proof.checks)
    told = f"all {len(proof.checks)} tests passed" if proof.good else f"{bad} of {len(proof.checks)} tests failed"
    console.print(f"{mark} {proof.environment.name}: {told} ({proof.seconds:.1f} s)")


def _table(checks: Sequence[Check]) -> Table:
    names = list(dict.fromkeys([c.source for c in checks] + [c.target for c in checks]))
    seen = {(c.source, c.target): c for c in checks}
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("from ↓ to →", no_wrap=True)
    for name in names:
        table.add_column(name, justify="center")
    for source in names:
        row = [seen.get((source, target)) for target in names]
        table.add_row(source, *(Text("") if c is None else Text("ok", "green") if c.good else Text("no", "bold red") for c in row))
    return table
