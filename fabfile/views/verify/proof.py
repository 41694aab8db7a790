"""What a verify asks, and how it judges the answers. Pure: texts in, checks out.

Sources: the manual's proofs (digest N2, A1, A2); kubernetes.io "Debug Services" (the order: pods, DNS, service address, NodePort).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from ...inventory import Node, bracketed
from ...nodes import script
from ...nodes.facts import ready
from ...records import dataclass
from ...text import forms
from ...text.cleaning import listed, spans
from ...text.yamls import dumped

State = Literal["ok", "failed", "not tested"]
OK: State = "ok"
FAILED: State = "failed"
UNTESTED: State = "not tested"
LABEL = "kubefab.dev/verify"
ENFORCE = "pod-security.kubernetes.io/enforce"
PORT = 8080
ANSWER_DEADLINE = 20.0  # seconds for kube-proxy to know a new service everywhere
AT_ONCE = 32  # NodePorts asked from a node at the same time
LARGE = 200  # KiB in one answer, so that it comes in packets as large as the pods' MTU allows
LARGE_PEERS = 8  # nodes that each pod asks for it: in a large cluster every node sends to and hears from so many
DOCTOR = "`inv cluster.doctor` tests every pair of nodes and says what it is"


@dataclass(frozen=True)
class Check:
    """One line of the proof: `detail` is what was seen, `likely` the cause to look at first when it failed.

    `silent` are the places that did not answer, if none of the others refused.
    """

    name: str
    state: State
    detail: str = ""
    likely: str = ""
    silent: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProbePod:
    """A probe pod: where it runs and how it is reached."""

    name: str
    node: str
    address: str
    ready: bool
    trouble: str = ""


@dataclass(frozen=True)
class Seen:
    """What one probe pod reached: peers by node name, the service by address and by name, cluster DNS.

    `large` are the peers that it asked for LARGE, and whether all of that came.
    """

    peers: Mapping[str, bool] = field(default_factory=dict)
    service: bool = False
    name: bool = False
    dns: bool = False
    whole: bool = False
    large: Mapping[str, bool] = field(default_factory=dict)


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
            f'mkdir -p /tmp/www && echo "$NODE" > /tmp/www/index.html && head -c {LARGE * 1024} /dev/zero > /tmp/www/large && '
            f"exec httpd -f -p {PORT} -h /tmp/www",
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


def parse_pods(text: str) -> list[ProbePod]:
    """The probe pods in `kubectl get pods -o json`; their trouble in kubelet's own words. Raises FormError for other text."""
    return [_probe(item) for item in forms.items(text, _POD, "pods") if not item["metadata"].get("deletionTimestamp")]


def _probe(item: Mapping[str, Any]) -> ProbePod:
    status = item.get("status", {})
    is_ready = ready(item) == "True"
    trouble = ""
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting") or container.get("state", {}).get("terminated") or {}
        if waiting:
            trouble = forms.text(" ".join(filter(None, (waiting.get("reason", ""), waiting.get("message", "")))))
    if not trouble and not status.get("containerStatuses"):
        trouble = forms.text(status.get("phase", "Pending"), 40)
    return ProbePod(
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


def waiting_for(probes: Sequence[ProbePod], members: Sequence[str]) -> str | None:
    """None when every member of the cluster has a ready probe; else what is missing."""
    ready = {p.node for p in probes if p.ready}
    missing = [name for name in members if name not in ready]
    if not missing and members:
        return None
    troubles = {p.node: p.trouble for p in probes}
    return ", ".join(f"{name} ({troubles.get(name) or 'no pod yet'})" for name in missing) or "no nodes"


def large_peers(asking: str, nodes: Sequence[str]) -> list[str]:
    """The nodes whose pods `asking` asks for LARGE: the next ones in the order of `nodes`, round and round."""
    at = nodes.index(asking) + 1
    return [*nodes[at:], *nodes[: at - 1]][:LARGE_PEERS]


def inside(asking: str, probes: Sequence[ProbePod], service: str, namespace: str, domain: str) -> str:
    """What the probe pod on node `asking` runs: questions to all `probes`, to the `service` (an address) and to cluster DNS."""
    urls = {p.node: f"http://{bracketed(p.address)}:{PORT}/" for p in probes}
    values = {
        "peers": " ".join(f"{node}={url}" for node, url in urls.items()),
        "large": " ".join(f"{node}={urls[node]}large" for node in large_peers(asking, list(urls))),
        "bytes": str(LARGE * 1024),
        "service": f"http://{bracketed(service)}/",
        "name": f"http://probe.{namespace}.svc.{domain}/",
        "dns": f"kubernetes.default.svc.{domain}",
        "patience": f"{ANSWER_DEADLINE:.0f}",
    }
    return script.assignments(values) + script.program(__file__, "inside.sh")


def parse_inside(text: str, asking: str, nodes: Sequence[str]) -> Seen:
    """The answers of the probe pod on node `asking`."""
    lines = set(text.splitlines())
    return Seen(
        {n: f"peer {n} ok" in lines for n in nodes},
        "service ok" in lines,
        "name ok" in lines,
        "dns ok" in lines,
        "end" in lines,
        {n: f"large {n} ok" in lines for n in large_peers(asking, nodes)},
    )


def judge_inside(seen: Mapping[str, Seen]) -> list[Check]:
    """Pod to pod, large packets, service address, cluster DNS."""
    silent = [node for node, one in seen.items() if not one.whole]
    pairs = [(a, b, good) for a, one in seen.items() for b, good in one.peers.items()]
    across = [(a, b) for a, b, good in pairs if not good]
    good = len(pairs) - len(across)
    checks = [
        Check("pod to pod", OK, f"{good} of {len(pairs)}, every node to every node")
        if not across
        else Check("pod to pod", FAILED, f"{good} of {len(pairs)}: not {_arrows(across)}", _across(across, seen))
    ]
    checks += _large(seen)
    lacking = [node for node, one in seen.items() if not one.service]
    checks.append(
        _counted(
            "service address",
            seen,
            lacking,
            "kube-proxy on these nodes: `kubectl -n kube-system logs -l k8s-app=kube-proxy --prefix`",
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
                spans(silent),
                "kubectl exec goes over TCP 10250 of that node: " + DOCTOR,
            )
        )
    return checks


def _large(seen: Mapping[str, Seen]) -> list[Check]:
    """Whether answers of LARGE come whole, between pods that reach each other; nothing where a node has no peer."""
    tried = [(b, a, good) for a, one in seen.items() for b, good in one.large.items() if one.peers.get(b)]
    if not tried:
        apart = any(one.large for one in seen.values())
        return [Check("large packets", UNTESTED, "pods do not reach each other")] if apart else []
    lost = [(sender, asking) for sender, asking, good in tried if not good]
    detail = f"{len(tried) - len(lost)} of {len(tried)} answers of {LARGE} KiB"
    if not lost:
        return [Check("large packets", OK, detail)]
    common = next((f"all of them concern {node}: " for node in seen if all(node in pair for pair in lost)), "")
    likely = f"{common}the MTU of flannel.1 or of the path: small packets pass, TLS and image pulls hang. {DOCTOR}"
    return [Check("large packets", FAILED, f"{detail}: not {_arrows(lost)}", likely)]


def _counted(name: str, seen: Mapping[str, Seen], lacking: Sequence[str], likely: str) -> Check:
    detail = f"from {len(seen) - len(lacking)} of {len(seen)} nodes"
    return Check(name, FAILED, f"{detail}, not {spans(lacking)}", likely) if lacking else Check(name, OK, detail)


def _arrows(pairs: Sequence[tuple[str, str]]) -> str:
    return listed([f"{a}→{b}" for a, b in pairs], 6)


def _across(broken: Sequence[tuple[str, str]], seen: Mapping[str, Seen]) -> str:
    """What the broken pairs have in common."""
    own = [a for a, b in broken if a == b]
    if own:
        return f"{own[0]} does not even reach its own pod: bridge netfilter or cni0 there"
    for node in seen:
        if all(node in pair for pair in broken):
            return f"all of them concern {node}: UDP 8472 to or from it, a FORWARD rule of its firewall, or flannel there. {DOCTOR}"
    return f"UDP 8472 between the nodes (flannel's VXLAN), or FORWARD rules of their firewalls. {DOCTOR}"


SILENT = "no answer"
# A new port is refused until kube-proxy has it, and after a gap of the API its watch (client-go's reflector) waits up to 30 s to list again.
REFUSALS = 60


def ask_node_ports(nodes: Sequence[Node], port: int) -> str:
    """A shell line that asks a port of all nodes at the same time and prints for each its name, then `ok` or curl's reason.

    A node that refuses is asked REFUSALS times, each half second; any other silence counts after four.
    """
    targets = " ".join(f"{n.name}={bracketed(n.address)}" for n in nodes)
    one = (
        f'n=0; while [ $n -lt {REFUSALS} ]; do why=$(curl -sS --max-time 4 -o /dev/null "http://${{0#*=}}:{port}/" 2>&1) && why=ok && break; '
        f'case $why in *"(7)"*) n=$((n + 1));; *) n=$((n + {REFUSALS // 4}));; esac; sleep 0.5; done; '
        'echo "${0%%=*} $why"'
    )
    return f"printf '%s\\n' {targets} | xargs -P {AT_ONCE} -n 1 bash -c {shlex.quote(one)}"


def parse_node_ports(text: str, names: Sequence[str]) -> dict[str, str]:
    """By node: "" for an answer, SILENT if packets are dropped, otherwise the reason."""
    said = {name: why for name, _, why in (line.partition(" ") for line in text.splitlines())}
    whys = {name: said.get(name, SILENT) for name in names}
    return {
        name: "" if why == "ok" else SILENT if re.search(r"\(28\)|timed out", why) else why
        for name, why in whys.items()
    }


def allowing_a_firewall(inside: bool, check: Check) -> Check:
    """Packets to every NodePort are dropped while pods reach each other everywhere: that firewall is intended.

    Nothing of kubefab needs the whole range open (docs/ports.md: "as you need").
    """
    if check.state != FAILED or not inside or not check.silent:
        return check
    return Check(
        check.name,
        UNTESTED,
        f"TCP 30000-32767 is not open to {spans(check.silent)}; open it for NodePorts of your own",
    )


def judge_answers(name: str, answers: Mapping[str, str], likely: str) -> Check:
    """An HTTP question asked of several places: "" is an answer, anything else the reason why not."""
    wrong = {place: why for place, why in answers.items() if why}
    detail = f"{len(answers) - len(wrong)} of {len(answers)}"
    if not wrong:
        return Check(name, OK, detail)
    reasons = listed([f"{place}: {why}" for place, why in wrong.items()], 3)
    silent = tuple(wrong) if set(wrong.values()) == {SILENT} else ()
    return Check(name, FAILED, f"{detail}; {reasons}", likely, silent)


def judge_influxdb(why: str, text: str, port: int, *, login: bool) -> Check:
    """How InfluxDB's NodePort answered a request without a login: `why` it did not answer, or its answer's `text`."""
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
