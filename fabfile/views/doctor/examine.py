"""The doctor's rounds: observe, ask, test the ports and the MTU between nodes; then the pure checks. It only reads.

Every round runs on all nodes at the same time. A node that does not answer is a finding; the examination continues.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import field
from functools import partial
from typing import Any

from ...backups.latest import recall_backup
from ...errors import KubefabError
from ...inventory import Environment, Node
from ...lasting import another_recipe
from ...nodes.connection import Connection
from ...nodes.facts import NodeFacts, link_with
from ...nodes.group import NodeGroup
from ...records import dataclass
from ...tables import ports
from ...text import forms
from ...text.forms import FormError
from ...text.masking import mask, masked_tail
from . import between_nodes, clocks, node_pairs
from .chart import Chart, Patient
from .cluster import cluster
from .finding import ERROR, Finding, guarded, merged
from .fleet import fleet
from .machine import machine, refusals
from .questions import TIMEOUT, NodeAnswers, Questions, doctor_script, parse_answers, questions
from .sources import sources

CLOCK_READINGS = 3  # clock readings a node; the best counts
OUTSIDE_TIMEOUT = 3.0


@dataclass(frozen=True)
class Report:
    """What the doctor has to say."""

    environment: Environment
    findings: tuple[Finding, ...]
    results: tuple[node_pairs.Result, ...] = ()
    seconds: float = 0.0
    nodes: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        return not any(f.severity == ERROR for f in self.findings)

    def data(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "environment": self.environment.name,
            "nodes": list(self.nodes),
            "healthy": self.healthy,
            "seconds": round(self.seconds, 2),
            "findings": [f.data() for f in self.findings],
            "pairs": [
                {"from": r.source, "to": r.target, "what": r.what, "state": r.state, "detail": mask(r.detail)}
                for r in self.results
            ],
        }


@dataclass
class Doctor:
    """One examination of some nodes of one environment. `on_progress` gets a line for each round."""

    environment: Environment
    group: NodeGroup
    on_progress: Callable[[str], None] = lambda text: None
    tools: Sequence[str] = between_nodes.TOOLS
    asked: dict[str, Questions] = field(default_factory=dict)

    def examine(
        self,
        nodes: Sequence[Node],
        observed: Mapping[str, NodeFacts | KubefabError],
        *,
        network: bool = True,
        began: float = 0.0,
    ) -> Report:
        """Examine these nodes. `observed` is the facts of each, or why it could not be observed; `began` is when observing began, on the
        monotonic clock."""
        started = began or time.monotonic()
        chart = self._chart(nodes, observed)
        results: tuple[node_pairs.Result, ...] = ()
        if network and chart.patients:
            self.on_progress("testing ports and path MTU between the nodes")
            results = tuple(self._between_nodes(chart))
        found = [*self._checks(chart), *node_pairs.findings(self.environment, results, _firewalls(chart))]
        order = [node.name for node in nodes]
        return Report(self.environment, tuple(merged(found, order)), results, time.monotonic() - started, tuple(order))

    def _checks(self, chart: Chart) -> Iterator[Finding]:
        central = self.environment.control_plane.name
        if chart.control and (stop := another_recipe(self.environment, central, chart.control)):
            # every other check would judge by the wrong release
            yield Finding("KF-SET-LASTING", ERROR, (central,), stop.reason, stop.remedy)
            return
        yield from fleet(chart)
        for patient in chart.patients:
            name = (patient.name,)
            yield from guarded(partial(refusals, chart, patient), "what a phase would refuse", name)
            yield from guarded(partial(machine, chart, patient), "the machine", name)
            yield from guarded(partial(sources, chart, patient, self.asked[patient.name]), "what it fetches", name)
            yield from guarded(partial(cluster, chart, patient), "what the cluster put there", name)

    # --- rounds

    def _chart(self, nodes: Sequence[Node], observed: Mapping[str, NodeFacts | KubefabError]) -> Chart:
        errors = {n.name: seen for n in nodes if isinstance(seen := observed.get(n.name), KubefabError)}
        facts = {n.name: seen for n in nodes if isinstance(seen := observed.get(n.name), NodeFacts)}
        reachable = [n for n in nodes if n.name in facts]
        for node in reachable:
            self.asked[node.name] = questions(self.environment, facts[node.name].os_id, facts[node.name].os_codename)
        self.on_progress("reading clocks")
        readings = self.group.each(reachable, lambda node: _read_clock(self.group.of(node)))
        self.on_progress("asking each node")
        probes = self.group.each(reachable, self._ask)
        return Chart(
            self.environment,
            tuple(_patient(node, facts[node.name], probes[node.name], readings[node.name]) for node in reachable),
            errors,
            {name: seen for name, seen in readings.items() if isinstance(seen, clocks.Reading)},
            time.time(),
            recall_backup(self.environment),
        )

    def _ask(self, node: Node) -> NodeAnswers | str:
        asked = self.asked[node.name]
        code, output = self.group.of(node).root(doctor_script(self.environment, node, asked), TIMEOUT)
        text = output.decode("utf-8", "replace")
        try:
            return parse_answers(text, asked)
        except FormError as error:
            return f"its answer has not the form that it must have: {error}"
        except Exception as error:  # caused by this node's answer, whatever it is
            return f"exit code {code}: {forms.text(masked_tail((text.strip().splitlines() or [str(error)])[-1], 100))}"

    def _between_nodes(self, chart: Chart) -> list[node_pairs.Result]:
        members = {p.name: member(self.environment, p) for p in chart.patients}
        nodes = [p.node for p in chart.patients]
        todo = node_pairs.tests(self.environment, members)
        nonce = f"kubefab-{secrets.token_hex(6)}"
        udp = sorted({rule.first for rule in ports.required(self.environment) if rule.protocol == ports.UDP})
        try:
            started = self.group.each(
                nodes, lambda node: self._root(node, between_nodes.listen_script(members[node.name], udp, self.tools))
            )
            listening = {
                name: between_nodes.parse_listen(seen)
                if isinstance(seen, str)
                else between_nodes.Listening(refused=f"{name} did not answer ({seen.message})")
                for name, seen in started.items()
            }
            with ThreadPoolExecutor(1) as pool:
                outside = pool.submit(self._outside, nodes)
                sent = self.group.each(
                    nodes,
                    lambda node: self._root(
                        node,
                        between_nodes.try_script(
                            members[node.name], [t for t in todo if t.source == node.name], members, nonce
                        ),
                    ),
                )
                seen_outside = outside.result()
        finally:
            gathered = self.group.each(nodes, lambda node: self._root(node, between_nodes.gather_script()))
        tried = {name: between_nodes.parse_try(text) for name, text in sent.items() if isinstance(text, str)}
        arrived = {
            name: got
            for name, text in gathered.items()
            if isinstance(text, str) and (got := between_nodes.parse_gather(text, nonce)) is not None
        }
        results = [node_pairs.judge(test, members, listening, tried, arrived) for test in todo]
        return results + [_judge_outside(node, port, seen, listening) for (node, port), seen in seen_outside.items()]

    def _root(self, node: Node, text: str) -> str:
        _, output = self.group.of(node).root(text, between_nodes.TIMEOUT)
        return output.decode("utf-8", "replace")

    def _outside(self, nodes: Sequence[Node]) -> dict[tuple[str, int], str]:
        """Whether the operator's machine reaches the ports that are open to it. Not tested through a bastion, which is another machine."""
        if self.environment.settings.simulated:
            return {}  # their addresses exist only in the model
        wanted = [
            (node, rule.first)
            for rule in ports.required(self.environment)
            if rule.source == ports.ADMIN and rule.purpose != "SSH"
            for node in nodes
            if not node.jump and (node.control_plane or rule.target != ports.CONTROL)
        ]
        if not wanted:
            return {}
        with ThreadPoolExecutor(min(len(wanted), 32)) as pool:
            seen = pool.map(lambda item: _knock(item[0].outside, item[1]), wanted)
            return {(node.name, port): what for (node, port), what in zip(wanted, seen, strict=True)}


def at_a_glance(environment: Environment, observed: Mapping[str, NodeFacts | KubefabError]) -> list[Finding]:
    """The doctor's errors that the common facts alone show, but for what a phase itself refuses, and for nodes without facts."""
    seen = [(n, facts) for n in environment.nodes if isinstance(facts := observed.get(n.name), NodeFacts)]
    chart = Chart(environment, tuple(Patient(node, facts) for node, facts in seen), now=time.time())
    found = list(fleet(chart))
    for patient in chart.patients:
        for check in (machine, cluster):
            found += guarded(partial(check, chart, patient), check.__name__, (patient.name,))
    return [one for one in merged(found, [node.name for node in environment.nodes]) if one.severity == ERROR]


def member(environment: Environment, patient: Patient) -> between_nodes.Member:
    """How the pair tests see a node."""
    node, links = patient.node, patient.facts.links
    vxlan = links.get("flannel.1")
    overlay = next((ip for ip in vxlan.ips if ":" not in ip), "") if vxlan else ""
    carrier = link_with(links, node.address)
    offered = sorted(
        {
            rule.first
            for rule in ports.required(environment)
            if rule.protocol == ports.TCP
            and rule.purpose != "SSH"
            and (node.control_plane or rule.target != ports.CONTROL)
            and not (node.control_plane and rule.target == ports.WORKERS)
        }
    )
    return between_nodes.Member(
        node,
        overlay=overlay,
        mtu=carrier.mtu if carrier and carrier.mtu else 1500,
        overlay_mtu=vxlan.mtu if vxlan else 0,
        tcp=tuple(offered),
        held=frozenset({8472}) if vxlan else frozenset(),
    )


def _patient(
    node: Node, facts: NodeFacts, answer: NodeAnswers | str | KubefabError, clock: clocks.Reading | KubefabError
) -> Patient:
    cut = list(answer.cut) if isinstance(answer, NodeAnswers) else []
    if not isinstance(answer, NodeAnswers):
        why = _why(node, answer) if isinstance(answer, KubefabError) else answer
        cut.append(f"all but the common facts, as the doctor's own questions were not answered ({why})")
    if isinstance(clock, KubefabError):
        cut.append(f"its clock ({_why(node, clock)})")
    return Patient(node, facts, answer if isinstance(answer, NodeAnswers) else None, tuple(cut))


def _why(node: Node, error: KubefabError) -> str:
    return error.message.removeprefix(f"{node.name}: ")


def _read_clock(connection: Connection) -> clocks.Reading:
    readings = []
    for _ in range(CLOCK_READINGS):
        before = time.time()
        _, output = connection.root(clocks.SCRIPT, 15)
        after = time.time()
        with suppress(ValueError):
            readings.append(clocks.reading(before, after, clocks.parse_clock(output.decode("utf-8", "replace"))))
    found = clocks.best(readings)
    if found is None:
        raise KubefabError(f"{connection.node.name}: `date` printed no time")
    return found


def _knock(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), OUTSIDE_TIMEOUT).close()
    except TimeoutError:
        return "dropped"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return error.strerror or str(error)
    return "open"


def _judge_outside(
    name_port: str, port: int, seen: str, listening: Mapping[str, between_nodes.Listening]
) -> node_pairs.Result:
    there = listening.get(name_port, between_nodes.Listening())
    if seen == "open":
        return node_pairs.Result(node_pairs.YOU, name_port, f"TCP {port}", node_pairs.OPEN)
    if seen == "refused" and not there.offers("tcp", port):
        return node_pairs.Result(
            node_pairs.YOU,
            name_port,
            f"TCP {port}",
            node_pairs.UNTESTED,
            there.refused or f"no listener tool on {name_port}",
        )
    detail = {"dropped": "no answer: dropped on the way", "refused": "refused, although something listens there"}.get(
        seen, seen
    )
    return node_pairs.Result(node_pairs.YOU, name_port, f"TCP {port}", node_pairs.CLOSED, detail)


def _firewalls(chart: Chart) -> dict[str, str]:
    found = {}
    for patient in chart.patients:
        services = patient.answers.services if patient.answers else frozenset()
        found[patient.name] = "firewalld" if "firewalld" in services else "ufw" if "ufw-rules" in services else ""
    return found
