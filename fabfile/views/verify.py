"""End-to-end proof on a running cluster: a probe pod on every node, and everything that a user would do between and with them.

All of it lives in one namespace, which is deleted again whatever happens.  What is asked from outside is asked by the
operator's own machine.  Sources: the manual's proofs (digest N2, A1, A2); kubernetes.io "Debug Services" (the order: pods, DNS,
service address, NodePort).
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
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import KubefabError, StepFailed
from ..inventory import Environment, Node, bracketed
from ..nodes import script
from ..nodes.connection import outcome
from ..nodes.facts import ready
from ..nodes.group import NodeGroup, at_once
from ..nodes.influx import METRICS_QUERY, nodes_reporting
from ..phases.addons import INFLUX
from ..recipes.kubeadm import recipe_for
from ..run.retry import Clock, RealClock, poll
from ..text import cleaning, forms
from ..text.cleaning import listed
from ..text.masking import mask, masked_tail
from ..text.yamls import dumped

T = TypeVar("T")
OK, FAILED, UNTESTED = "ok", "failed", "not tested"
LABEL = "kubefab.dev/verify"
_NODES = "kubectl --request-timeout=10s get nodes -o json"
ENFORCE = "pod-security.kubernetes.io/enforce"
PORT = 8080
PODS_DEADLINE = 120.0  # seconds for the probe pods, image pull included
ANSWER_DEADLINE = 20.0  # seconds for kube-proxy to know a new service everywhere
METRICS_DEADLINE = 30.0  # seconds for a Telegraf that has just started: it collects every 10 and sends every 5
AT_ONCE = 32  # NodePorts asked from a node at the same time
ANSWERING = 10.0  # seconds for the whole of an HTTP answer
ANSWER_LIMIT = 3 << 20  # bytes: the API tells some 10 KiB of each node
_DOCTOR = "`inv cluster.doctor` tests every pair of nodes and names the missing rule"


@dataclass(frozen=True)
class Check:
    """One line of the proof: `detail` is what was seen, `likely` the cause to look at first when it failed.

    `silent` are the places that were asked and did not answer, when none refused either.
    """

    name: str
    state: str
    detail: str = ""
    likely: str = ""
    silent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe:
    """A probe pod: where it runs and how it is reached."""

    name: str
    node: str
    address: str
    ready: bool
    trouble: str = ""


@dataclass(frozen=True)
class Seen:
    """What one probe pod reached: peers by node name, the service by address and by name, cluster DNS."""

    peers: Mapping[str, bool] = field(default_factory=dict)
    service: bool = False
    name: bool = False
    dns: bool = False
    whole: bool = False


# --- pure parts


def manifest(namespace: str, image: str) -> str:
    """Namespace, DaemonSet and NodePort service of the probe."""
    labels = {"app": "kubefab-verify"}
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "Always",  # the pull is part of the proof
        "command": [
            "sh",
            "-c",
            f'mkdir -p /tmp/www && echo "$NODE" > /tmp/www/index.html && exec httpd -f -p {PORT} -h /tmp/www',
        ],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "runAsGroup": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}}],
        },
    }
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {LABEL: "true", ENFORCE: "restricted"}},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "probe", "namespace": namespace},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "probe", "namespace": namespace},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": PORT}]},
        },
    ]
    return dumped(*documents)


_WHY = forms.record({"reason": forms.string, "message": forms.string})
_POD = forms.record(
    {
        "metadata!": forms.record({"name!": forms.name, "deletionTimestamp": forms.string}),
        "spec": forms.record({"nodeName": forms.name}),
        "status": forms.record(
            {
                "phase": forms.string,
                "podIP": forms.address,
                "conditions": forms.CONDITIONS,
                "containerStatuses": forms.many(
                    forms.record({"state": forms.record({"waiting": _WHY, "terminated": _WHY})})
                ),
            }
        ),
    }
)
_PORT = forms.record({"nodePort!": forms.whole})
_SERVICE = forms.record({"spec!": forms.record({"clusterIP!": forms.address, "ports!": forms.many(_PORT)})})


def parse_pods(text: str) -> list[Probe]:
    """The probe pods in `kubectl get pods -o json`; their trouble in kubelet's own words. Raises FormError for other text."""
    return [_probe(item) for item in forms.items(text, _POD, "pods") if not item["metadata"].get("deletionTimestamp")]


def _probe(item: Mapping[str, Any]) -> Probe:
    status = item.get("status", {})
    is_ready = ready(item) == "True"
    trouble = ""
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting") or container.get("state", {}).get("terminated") or {}
        if waiting:
            trouble = forms.text(" ".join(filter(None, (waiting.get("reason", ""), waiting.get("message", "")))))
    if not trouble and not status.get("containerStatuses"):
        trouble = forms.text(status.get("phase", "Pending"), 40)
    return Probe(
        item["metadata"]["name"],
        item.get("spec", {}).get("nodeName", ""),
        status.get("podIP", ""),
        is_ready,
        "" if is_ready else trouble,
    )


def parse_service(text: str) -> tuple[str, int]:
    """The probe service's address and NodePort, from `kubectl get service -o json`. Raises FormError for other text."""
    spec = _SERVICE(forms.data(text, "service"), "service")["spec"]
    port = next((one["nodePort"] for one in spec["ports"]), 0)
    return spec["clusterIP"], forms.number(str(port), "NodePort", 65535)


def waiting_for(probes: Sequence[Probe], members: Sequence[str]) -> str | None:
    """None when every member of the cluster has a ready probe; else what is missing."""
    ready = {p.node for p in probes if p.ready}
    missing = [name for name in members if name not in ready]
    if not missing and members:
        return None
    troubles = {p.node: p.trouble for p in probes}
    return ", ".join(f"{name} ({troubles.get(name) or 'no pod yet'})" for name in missing) or "no nodes"


def inside(probes: Sequence[Probe], service: str, namespace: str, domain: str) -> str:
    """What a probe pod runs: one line a question."""
    get = "timeout 4 wget -q -O -"  # wget's own -T begins anew at each pause; name resolution and all must fit into the exec's 45 s
    # kube-proxy and CoreDNS learn of the service in their own time
    again = f"end=$(($(date +%s) + {ANSWER_DEADLINE:.0f})); until {{0}}; do [ $(date +%s) -lt $end ] || break; sleep 0.5; done"
    lines = [
        f'{get} http://{bracketed(p.address)}:{PORT}/ 2>/dev/null | grep -qx {shlex.quote(p.node)} && echo "peer {p.node} ok" &'
        for p in probes
    ]
    lines += [
        again.format(f"{get} http://{bracketed(service)}/ >/dev/null 2>&1 && echo 'service ok'") + " &",
        again.format(f"{get} http://probe.{namespace}.svc.{shlex.quote(domain)}/ >/dev/null 2>&1 && echo 'name ok'")
        + " &",
        again.format(
            f"timeout 4 nslookup kubernetes.default.svc.{shlex.quote(domain)} >/dev/null 2>&1 && echo 'dns ok'"
        )
        + " &",
        "wait",
        "echo end",
    ]
    return "\n".join(lines)


def parse_inside(text: str, nodes: Sequence[str]) -> Seen:
    """A probe pod's answers."""
    lines = set(text.splitlines())
    return Seen(
        {n: f"peer {n} ok" in lines for n in nodes},
        "service ok" in lines,
        "name ok" in lines,
        "dns ok" in lines,
        "end" in lines,
    )


def judge_inside(seen: Mapping[str, Seen]) -> list[Check]:
    """Pod to pod, service address, cluster DNS."""
    silent = [node for node, one in seen.items() if not one.whole]
    pairs = [(a, b, good) for a, one in seen.items() for b, good in one.peers.items()]
    across = [(a, b) for a, b, good in pairs if not good]
    good = len(pairs) - len(across)
    checks = [
        Check("pod to pod", OK, f"{good} of {len(pairs)}, every node to every node")
        if not across
        else Check("pod to pod", FAILED, f"{good} of {len(pairs)}: not {_arrows(across)}", _across(across, seen))
    ]
    lacking = [node for node, one in seen.items() if not one.service]
    checks.append(
        _counted(
            "service address",
            seen,
            lacking,
            "kube-proxy on these nodes: `kubectl -n kube-system logs -l k8s-app=kube-proxy`",
        )
    )
    nameless = [node for node, one in seen.items() if not (one.dns and one.name)]
    cause = (
        "pods there do not reach CoreDNS's pods: see pod to pod"
        if across or lacking
        else "CoreDNS itself: `kubectl -n kube-system logs -l k8s-app=kube-dns`"
    )
    checks.append(_counted("cluster DNS", seen, nameless, cause))
    if silent:
        checks.append(
            Check(
                "probe pods answer",
                FAILED,
                ", ".join(silent),
                "kubectl exec goes over TCP 10250 of that node: " + _DOCTOR,
            )
        )
    return checks


def _counted(name: str, seen: Mapping[str, Seen], lacking: Sequence[str], likely: str) -> Check:
    detail = f"from {len(seen) - len(lacking)} of {len(seen)} nodes"
    return Check(name, FAILED, f"{detail}, not {', '.join(lacking)}", likely) if lacking else Check(name, OK, detail)


def _arrows(pairs: Sequence[tuple[str, str]]) -> str:
    return listed([f"{a}→{b}" for a, b in pairs], 6)


def _across(broken: Sequence[tuple[str, str]], seen: Mapping[str, Seen]) -> str:
    """What the broken pairs have in common."""
    own = [a for a, b in broken if a == b]
    if own:
        return f"{own[0]} does not even reach its own pod: bridge netfilter or cni0 there"
    for node in seen:
        if all(node in pair for pair in broken):
            return f"all of them concern {node}: UDP 8472 to or from it. {_DOCTOR}"
    return f"UDP 8472 between the nodes (flannel's VXLAN). {_DOCTOR}"


SILENT = "no answer"


def ask_node_ports(nodes: Sequence[Node], port: int) -> str:
    """A shell line that asks a port of all nodes at the same time and prints for each its name, then `ok` or curl's reason."""
    targets = " ".join(f"{n.name}={bracketed(n.address)}" for n in nodes)
    one = (
        f'for i in 1 2 3 4; do why=$(curl -sS --max-time 4 -o /dev/null "http://${{0#*=}}:{port}/" 2>&1) && why=ok && break; sleep 0.5; done; '
        'echo "${0%%=*} $why"'
    )
    return f"printf '%s\\n' {targets} | xargs -P {AT_ONCE} -n 1 bash -c {shlex.quote(one)}"


def parse_node_ports(text: str, names: Sequence[str]) -> dict[str, str]:
    """By node: "" for an answer, SILENT where packets vanish, anything else is the reason."""
    said = {name: why for name, _, why in (line.partition(" ") for line in text.splitlines())}
    whys = {name: said.get(name, SILENT) for name in names}
    return {
        name: "" if why == "ok" else SILENT if re.search(r"\(28\)|timed out", why) else why
        for name, why in whys.items()
    }


def _allowing_a_firewall(inside: bool, check: Check) -> Check:
    """Packets that vanish on their way to any NodePort, while pods reach each other everywhere: a firewall is meant to be there.

    Nothing of kubefab needs the whole range open (docs/ports.md: "as you need").
    """
    if check.state != FAILED or not inside or not check.silent:
        return check
    return Check(
        check.name,
        UNTESTED,
        f"TCP 30000-32767 is not open to {', '.join(check.silent[:6])}; open it for NodePorts of your own",
    )


def _whatever_comes(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks, and in place of those that cannot be made the reason: the verdict of the others stands."""
    try:
        yield from checks
    except KubefabError as error:
        yield Check(name, FAILED, error.message, error.remedy)


def judge_answers(name: str, answers: Mapping[str, str], likely: str) -> Check:
    """An HTTP question asked of several places: "" is an answer, anything else the reason why not."""
    wrong = {place: why for place, why in answers.items() if why}
    detail = f"{len(answers) - len(wrong)} of {len(answers)}"
    if not wrong:
        return Check(name, OK, detail)
    told = listed([f"{place}: {why}" for place, why in wrong.items()], 3)
    silent = tuple(wrong) if set(wrong.values()) == {SILENT} else ()
    return Check(name, FAILED, f"{detail}; {told}", likely, silent)


def judge_influxdb(why: str, text: str, port: int, *, login: bool) -> Check:
    """What InfluxDB's NodePort said to somebody without a login: `why` it did not answer, or its answer's `text`."""
    if why:
        return Check("InfluxDB", FAILED, f"NodePort {port}: {why}", f"TCP {port} from you, or its pod")
    refused = "authentication credentials" in text or "authorization failed" in text
    if login and not refused:
        return Check(
            "InfluxDB", FAILED, f"NodePort {port} answers without a login", "`inv cluster.bootstrap` has it ask for one"
        )
    return Check(
        "InfluxDB", OK, "its NodePort asks for the login" if login else "its NodePort answers, without a login"
    )


# --- the part that talks to the cluster


class Verifier:
    """Runs the proof. `told` hears what is under way; `clock` is the control plane's."""

    def __init__(
        self,
        environment: Environment,
        group: NodeGroup,
        *,
        told: Callable[[str], None] = lambda text: None,
        clock: Clock | None = None,
    ) -> None:
        self.environment, self.group, self.told = environment, group, told
        self.clock = clock or RealClock()
        self.namespace = f"kubefab-verify-{secrets.token_hex(3)}"
        self.ready: list[Node] = []  # those of the inventory that are; the others are told once, by the first check

    def run(self) -> Generator[Check, None, None]:
        """Every check in order; the namespace goes at the end, also when the consumer stops early or is interrupted."""
        members = self._members()
        yield self._nodes(members)
        made = False
        try:
            made = True
            yield from _whatever_comes("probe pods", self._inside([name for name, ready in members.items() if ready]))
            yield from self._outside(set(members))
        finally:
            if made:
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
            return read(text)
        except Exception as error:  # whatever it is, it came of what was printed there
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
                f"not {', '.join(lost)}"
                if lost
                else f"{absent} of hosts.env {'has' if absent == 1 else 'have'} not joined"
            )
            return Check("nodes", FAILED, f"{detail}, {why}", "`inv cluster.status` says what is to do on each")
        return Check("nodes", OK, detail)

    def _inside(self, members: Sequence[str]) -> Iterator[Check]:
        image = recipe_for(self.environment).pinned(self.environment.settings.probe_image)
        self.told("starting a probe pod on every node")
        text = manifest(self.namespace, image)
        self._kubectl("verify.apply", f"kubectl apply -f - <<'PROBE'\n{text}PROBE")
        started = self.clock.now()
        probes: list[Probe] = []

        def look() -> str | None:
            nonlocal probes
            probes = self._read(
                "verify.pods", f"kubectl -n {self.namespace} get pods -l app=kubefab-verify -o json", parse_pods
            )
            seen = waiting_for(probes, members)
            self.told(f"waiting for probe pods: {seen}" if seen else "testing from every pod")
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
        checks = judge_inside(self._ask_pods(ready))
        yield from checks
        yield from _whatever_comes("NodePort", self._node_ports(all(check.state == OK for check in checks)))

    def _ask_pods(self, probes: Sequence[Probe]) -> dict[str, Seen]:
        question = inside(probes, self.service[0], self.namespace, self.environment.settings.dns_domain)
        nodes = [p.node for p in probes]

        def ask(probe: Probe) -> Seen:
            line = f"timeout 45 kubectl -n {self.namespace} exec -i {shlex.quote(probe.name)} -- sh 2>/dev/null <<'ASK' || true\n{question}\nASK"
            return parse_inside(self._kubectl("verify.ask", line), nodes)

        answers = at_once(probes, ask, 6)  # sshd lets ten sessions share a connection
        nothing = Seen(dict.fromkeys(nodes, False))
        return {
            node: nothing if isinstance(seen, KubefabError) else seen for node, seen in zip(nodes, answers, strict=True)
        }

    def _node_ports(self, inside: bool) -> Iterator[Check]:
        """A random NodePort of every Ready node, asked from here and from the control plane; `inside`: among pods all is well."""
        port = self.service[1]
        self.told("asking the NodePort on every node")
        rule = f"TCP {port} from you: NodePorts are TCP 30000-32767 of every node's security group"
        yield _allowing_a_firewall(inside, self._asked("NodePort from you", self.ready, port, "/", rule))
        if self.environment.settings.simulated or not self.ready:
            return
        asking = self.environment.control_plane
        patience = 60 + 20 * (len(self.ready) // AT_ONCE)  # one that is dropped takes 18 s
        said = self._kubectl("verify.nodeport", ask_node_ports(self.ready, port), timeout=patience)
        answers = parse_node_ports(said, [n.name for n in self.ready])
        likely = "kube-proxy there, or a firewall between the nodes. " + _DOCTOR
        yield _allowing_a_firewall(inside, judge_answers(f"NodePort from {asking.name}", answers, likely))

    def _outside(self, names: set[str]) -> Iterator[Check]:
        settings = self.environment.settings
        self.told("metrics and dashboard")
        if settings.dashboard != "none":
            likely = f"`kubectl -n kube-system get pods -o wide`; TCP {settings.dashboard_port} from you"
            yield self._asked("dashboard", self.ready, settings.dashboard_port, "/", likely)
        yield self._influxdb()
        yield from _whatever_comes("metrics", self._metrics(names))

    def _influxdb(self) -> Check:
        """Its NodePort, asked from here without a login: the password goes over no network for a proof."""
        settings, control = self.environment.settings, self.environment.control_plane
        if settings.simulated or control.jump:
            return Check("InfluxDB", UNTESTED, "not reachable from here: simulated, or behind a bastion")
        question = urllib.parse.urlencode({"q": "SHOW DATABASES"})
        why, text = fetch(f"http://{bracketed(control.host)}:{settings.influxdb_port}/query?{question}")
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
                f"{detail}, not {', '.join(lacking)}",
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
            while (why := fetch(f"http://{bracketed(node.host)}:{port}{path}")[0]) and time.monotonic() < end:
                time.sleep(1)
            return why

        with ThreadPoolExecutor(min(len(nodes), 32)) as pool:
            return judge_answers(name, dict(zip((n.name for n in nodes), pool.map(ask, nodes), strict=True)), likely)

    def _clean(self) -> Check:
        """Delete what we made, and what an earlier verify that was killed left; prove that it is gone."""
        self.told("cleaning up")
        gone = f"kubectl delete namespace -l {LABEL}=true --ignore-not-found --timeout=60s 2>&1"
        try:
            self._kubectl("verify.clean", gone, timeout=90)
        except KubefabError as error:
            return Check("cleaned up", FAILED, error.message, f"`kubectl delete namespace -l {LABEL}=true`")
        return Check("cleaned up", OK)


def fetch(url: str, timeout: float = 4.0) -> tuple[str, str]:
    """("", body) of an HTTP answer, whatever its code; (reason, "") when there is none.

    `timeout` is for each pause, in seconds; the whole may take `ANSWERING`, and as many bytes as `ANSWER_LIMIT`: whoever answers
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
