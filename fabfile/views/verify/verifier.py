"""End-to-end proof on a running cluster: a probe pod on every node, and everything that a user would do between and with them.

All of it lives in one namespace, which is deleted again whatever happens.  What is asked from outside is asked by the
operator's own machine.
"""

from __future__ import annotations

import http.client
import re
import secrets
import shlex
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from ...errors import KubefabError, StepFailed
from ...inventory import Environment, Node, bracketed
from ...nodes import script
from ...nodes.connection import outcome
from ...nodes.facts import ready
from ...nodes.group import NodeGroup, at_once
from ...nodes.influx import METRICS_QUERY, nodes_reporting
from ...phases.addons import INFLUX
from ...recipes.kubeadm import recipe_for
from ...run.retry import Clock, RealClock, poll
from ...text import cleaning, forms
from ...text.masking import mask, masked_tail
from .proof import (
    ANSWER_DEADLINE,
    AT_ONCE,
    DOCTOR,
    FAILED,
    LABEL,
    OK,
    SILENT,
    UNTESTED,
    Check,
    ProbePod,
    Seen,
    allowing_a_firewall,
    ask_node_ports,
    inside,
    judge_answers,
    judge_influxdb,
    judge_inside,
    manifest,
    parse_inside,
    parse_node_ports,
    parse_pods,
    parse_service,
    waiting_for,
)

T = TypeVar("T")
_NODES = "kubectl --request-timeout=10s get nodes -o json"
PODS_DEADLINE = 120.0  # seconds for the probe pods, image pull included
METRICS_DEADLINE = 30.0  # seconds for a Telegraf that has just started: it collects every 10 and sends every 2
ANSWERING = 10.0  # seconds for the whole of an HTTP answer
ANSWER_LIMIT = 3 << 20  # bytes: the API tells some 10 KiB of each node


def _whatever_comes(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks; if they cannot be made, one failed check with the reason: the others still count."""
    try:
        yield from checks
    except KubefabError as error:
        yield Check(name, FAILED, error.message, error.remedy)


class Verifier:
    """Runs the proof. `on_progress` gets a line for each step; `clock` is the control plane's."""

    def __init__(
        self,
        environment: Environment,
        group: NodeGroup,
        *,
        on_progress: Callable[[str], None] = lambda text: None,
        clock: Clock | None = None,
    ) -> None:
        self.environment, self.group, self.on_progress = environment, group, on_progress
        self.clock = clock or RealClock()
        self.namespace = f"kubefab-verify-{secrets.token_hex(3)}"
        self.ready: list[Node] = []  # nodes of the inventory that are Ready; the first check reports the others

    def run(self) -> Generator[Check, None, None]:
        """Every check in order. The namespace is deleted at the end, also if the consumer stops early or is interrupted."""
        members = self._members()
        yield self._nodes(members)
        try:
            yield from _whatever_comes("probe pods", self._inside([name for name, ready in members.items() if ready]))
            yield from self._outside(set(members))
        finally:
            cleaned = self._clean()
        yield cleaned

    def _kubectl(self, name: str, *commands: str, timeout: float = 60, on: Node | None = None) -> str:
        node = on or self.environment.control_plane
        done = outcome(
            self.group.of(node), name, script.render(name, commands, lock=False, limit=ANSWER_LIMIT), timeout
        )
        if done.code:
            raise StepFailed(
                f"{node.name}: {name} failed (exit code {done.code})",
                "`inv cluster.status` shows whether the API answers",
                masked_tail(done.output, 2000),
            )
        return done.output

    def _read(self, name: str, command: str, read: Callable[[str], T]) -> T:
        """What kubectl prints, as `read` understands it. Raises StepFailed when it fails, or prints what `read` does not understand."""
        text = self._kubectl(name, command)
        try:
            return read(cleaning.without_log(text))
        except Exception as error:  # caused by what was printed there, whatever it is
            where, why = self.environment.control_plane.name, cleaning.line(str(error), 150)
            raise StepFailed(
                f"{where}: {name}: kubectl's answer cannot be read ({why})", "run it again", masked_tail(text, 2000)
            ) from None

    def _members(self) -> dict[str, bool]:
        """The cluster's nodes by name, and whether each is Ready. Raises StepFailed when there is no cluster."""
        read: Callable[[str], tuple[Any, ...]] = lambda text: forms.items(text, forms.NODE, "nodes")  # noqa: E731
        items = self._read("verify.nodes", _NODES, read)
        members: dict[str, bool] = {item["metadata"]["name"]: ready(item) == "True" for item in items}
        lists = [item.get("status", {}).get("addresses", ()) for item in items if members[item["metadata"]["name"]]]
        addresses = {one["address"] for some in lists for one in some}
        self.ready = [node for node in self.environment.nodes if node.address in addresses]
        return members

    def _nodes(self, members: Mapping[str, bool]) -> Check:
        lost = [name for name, ready in members.items() if not ready]
        absent = max(0, len(self.environment.nodes) - len(members))
        detail = f"{len(members) - len(lost)} of {max(len(members), len(self.environment.nodes))} Ready"
        if lost or absent:
            why = (
                f"not {cleaning.spans(lost)}"
                if lost
                else f"{absent} of hosts.env {'has' if absent == 1 else 'have'} not joined"
            )
            return Check("nodes", FAILED, f"{detail}, {why}", "`inv cluster.status` says what is to do on each")
        return Check("nodes", OK, detail)

    def _inside(self, members: Sequence[str]) -> Iterator[Check]:
        image = recipe_for(self.environment).pinned(self.environment.settings.probe_image)
        self.on_progress("starting a probe pod on every node")
        text = manifest(self.namespace, image)
        self._kubectl("verify.apply", f"kubectl apply -f - <<'PROBE'\n{text}PROBE")
        started = self.clock.now()
        probes: list[ProbePod] = []

        def look() -> str | None:
            nonlocal probes
            probes = self._read(
                "verify.pods", f"kubectl -n {self.namespace} get pods -l app=kubefab-verify -o json", parse_pods
            )
            seen = waiting_for(probes, members)
            self.on_progress(f"waiting for probe pods: {seen}" if seen else "testing from every pod")
            return seen

        met, seen = poll(look, lambda s: s is None, clock=self.clock, deadline=PODS_DEADLINE, interval=1)
        ready = [p for p in probes if p.ready]
        took = f"{self.clock.now() - started:.0f} s"
        if met:
            yield Check("image pull, pods", OK, f"{image} on {len(ready)} nodes within {took}")
        else:
            pull = re.search(r"(ErrImagePull|ImagePullBackOff)[^,]*", seen or "")
            likely = (
                "the registry or its login: `inv cluster.doctor` (KF-REG-…), or another PROBE_IMAGE"
                if pull
                else "`inv cluster.evidence` collects the kubelet's log and events"
            )
            yield Check(
                "image pull, pods",
                FAILED,
                f"{len(ready)} of {len(members)} after {took}; not {mask(seen or '')}"[:400],
                likely,
            )
        if not ready:
            return
        self.service = self._read(
            "verify.service", f"kubectl -n {self.namespace} get service probe -o json", parse_service
        )
        self.on_progress("testing from every pod, and the NodePort on every node")
        # at the same time: where packets vanish, each of them takes all the time that it is given
        asked: tuple[Callable[[], list[Check]], ...] = (
            lambda: judge_inside(self._ask_pods(ready)),
            self._node_ports_from_here,
            self._node_ports_from_control,
        )
        among_pods, *from_outside = at_once(asked, lambda ask: ask(), len(asked))
        if isinstance(among_pods, KubefabError):
            raise among_pods
        yield from among_pods
        well = all(check.state == OK for check in among_pods)
        for found in from_outside:
            if isinstance(found, KubefabError):
                yield Check("NodePort", FAILED, found.message, found.remedy)
            else:
                yield from (allowing_a_firewall(well, check) for check in found)

    def _ask_pods(self, probes: Sequence[ProbePod]) -> dict[str, Seen]:
        nodes = [p.node for p in probes]

        def ask(probe: ProbePod) -> Seen:
            question = inside(probe.node, probes, self.service[0], self.namespace, self.environment.settings.dns_domain)
            line = f"timeout 45 kubectl -n {self.namespace} exec -i {shlex.quote(probe.name)} -- sh 2>/dev/null <<'ASK' || true\n{question}ASK"
            return parse_inside(self._kubectl("verify.ask", line), probe.node, nodes)

        answers = at_once(probes, ask, 6)  # sshd lets ten sessions share a connection
        nothing = Seen(dict.fromkeys(nodes, False))
        return {
            node: nothing if isinstance(seen, KubefabError) else seen for node, seen in zip(nodes, answers, strict=True)
        }

    def _node_ports_from_here(self) -> list[Check]:
        """A random NodePort of every Ready node, asked from the operator's machine."""
        port = self.service[1]
        rule = f"TCP {port} from you: NodePorts are TCP 30000-32767 of every node's security group"
        return [self._asked("NodePort from you", self.ready, port, "/", rule)]

    def _node_ports_from_control(self) -> list[Check]:
        """The same, asked from the control plane; nothing where no node of the inventory is Ready."""
        if self.environment.settings.simulated or not self.ready:
            return []
        asking = self.environment.control_plane
        patience = 60 + 40 * (len(self.ready) // AT_ONCE)  # one that is dropped takes 18 s, one that is refused 30 s
        said = self._kubectl("verify.nodeport", ask_node_ports(self.ready, self.service[1]), timeout=patience)
        answers = parse_node_ports(said, [n.name for n in self.ready])
        likely = "kube-proxy there, or a firewall between the nodes. " + DOCTOR
        return [judge_answers(f"NodePort from {asking.name}", answers, likely)]

    def _outside(self, names: set[str]) -> Iterator[Check]:
        settings = self.environment.settings
        self.on_progress("metrics and dashboard")
        if settings.dashboard != "none":
            likely = f"`kubectl -n kube-system get pods -o wide`; TCP {settings.dashboard_port} from you"
            yield self._asked("dashboard", self.ready, settings.dashboard_port, "/", likely)
        yield self._influxdb()
        yield from _whatever_comes("metrics", self._metrics(names))

    def _influxdb(self) -> Check:
        """Its NodePort, asked from here without a login: a proof sends no password over the network."""
        settings, control = self.environment.settings, self.environment.control_plane
        if settings.simulated or control.jump:
            return Check("InfluxDB", UNTESTED, "not reachable from here: simulated, or behind a bastion")
        question = urllib.parse.urlencode({"q": "SHOW DATABASES"})
        why, text = fetch(f"http://{bracketed(control.outside)}:{settings.influxdb_port}/query?{question}")
        return judge_influxdb(why, text, settings.influxdb_port, login=settings.influxdb_login)

    def _metrics(self, names: set[str]) -> Iterator[Check]:
        """Asked in InfluxDB's own pod, whose environment has the login."""

        def look() -> frozenset[str]:
            return nodes_reporting(self._kubectl("verify.metrics", f"{INFLUX} {shlex.quote(METRICS_QUERY)}"))

        _, seen = poll(look, names.issubset, clock=self.clock, deadline=METRICS_DEADLINE, interval=3)
        lacking = sorted(names - seen)
        detail = f"from {len(seen & names)} of {len(names)} nodes in the last minute"
        if lacking:
            yield Check(
                "metrics",
                FAILED,
                f"{detail}, not {cleaning.spans(lacking)}",
                "Telegraf there: `kubectl -n monitoring logs -l app=telegraf`",
            )
        else:
            yield Check("metrics", OK, detail)

    def _asked(self, name: str, nodes: Sequence[Node], port: int, path: str, likely: str) -> Check:
        if not nodes:
            return Check(name, FAILED, "no node is Ready", likely)
        if self.environment.settings.simulated or any(n.jump for n in nodes):
            return Check(name, UNTESTED, "not reachable from here: simulated, or behind a bastion")

        def ask(node: Node) -> str:
            end = time.monotonic() + ANSWER_DEADLINE
            while (why := fetch(f"http://{bracketed(node.outside)}:{port}{path}")[0]) and time.monotonic() < end:
                time.sleep(1)
            return why

        with ThreadPoolExecutor(min(len(nodes), 32)) as pool:
            return judge_answers(name, dict(zip((n.name for n in nodes), pool.map(ask, nodes), strict=True)), likely)

    def _clean(self) -> Check:
        """Delete what we made, and what an earlier, killed verify left; wait until it is gone."""
        self.on_progress("cleaning up")
        gone = f"kubectl delete namespace -l {LABEL}=true --ignore-not-found --timeout=60s 2>&1"
        try:
            self._kubectl("verify.clean", gone, timeout=90)
        except KubefabError as error:
            return Check("cleaned up", FAILED, error.message, f"`kubectl delete namespace -l {LABEL}=true`")
        return Check("cleaned up", OK)


def fetch(url: str, timeout: float = 4.0) -> tuple[str, str]:
    """("", body) of an HTTP answer, whatever its code; (reason, "") when there is none.

    `timeout` is for each pause, in seconds; the whole may take `ANSWERING`, and as many bytes as `ANSWER_LIMIT`: a server that sends
    a word at a time, or for ever, is cut off.
    """
    parts = urllib.parse.urlsplit(url)
    link = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    cut = threading.Event()
    try:
        link.connect()
        end = threading.Timer(ANSWERING, _cut, (link.sock, cut))
        end.daemon = True
        end.start()
        try:
            link.request("GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
            answer = link.getresponse()
            body = answer.read(ANSWER_LIMIT)
            if answer.length and len(body) < ANSWER_LIMIT:
                raise http.client.IncompleteRead(body, answer.length)
        finally:
            end.cancel()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return SILENT if cut.is_set() or "timed out" in str(error) else cleaning.line(str(error), 100) or type(
            error
        ).__name__, ""
    finally:
        link.close()
    return ("", body.decode("utf-8", "replace")) if not cut.is_set() else (SILENT, "")


def _cut(link: socket.socket, cut: threading.Event) -> None:
    cut.set()
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
