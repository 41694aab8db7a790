"""`inv cluster.verify`: the end-to-end proof. A probe pod on every node talks to every other, to a service, by name, and from outside.

Sources: kubernetes.io "Debug Services" (pods, then service IP, then name, then NodePort: each needs the one before); flannel
docs/troubleshooting.md (pods on different nodes fail together when UDP 8472 is closed); 64 KiB are fetched because a wrong MTU lets
small packets through.  The scripts and the judging here are pure; `fabfile.verifying` talks to the cluster.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .inventory import Environment

NAMESPACE = "kubefab-verify"
PORT = 8080
SIZE = 65536  # bytes fetched: more than any MTU
ROLLOUT = 120  # seconds for the probe pods to run, image pull included
POD, SERVICE, DNS, NODE_PORT, OUTSIDE, METRICS, DASHBOARD, RUNNING = (
    "pod", "service", "DNS", "NodePort", "outside", "metrics", "dashboard", "probe pod",
)  # fmt: skip
ORDER = (RUNNING, POD, SERVICE, DNS, NODE_PORT, OUTSIDE, METRICS, DASHBOARD)


@dataclass(frozen=True)
class Check:
    """One thing proved or not: `what` from `source` to `target` (node names, or a word)."""

    what: str
    source: str
    target: str
    good: bool
    detail: str = ""


@dataclass(frozen=True)
class Pod:
    """A probe pod as the API lists it."""

    name: str
    node: str
    address: str = ""
    ready: bool = False
    why: str = ""


@dataclass(frozen=True)
class Deployed:
    """What `start` left in the cluster."""

    pods: tuple[Pod, ...] = ()
    service: str = ""
    node_port: int = 0
    nodes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def manifest(environment: Environment) -> dict[str, Any]:
    """Namespace, DaemonSet and NodePort service, as one list."""
    labels = {"app": "probe"}
    serve = f"mkdir -p /tmp/www && head -c {SIZE} /dev/zero >/tmp/www/large && exec httpd -f -p {PORT} -h /tmp/www"
    container = {
        "name": "probe",
        "image": environment.settings.probe_image,
        "command": ["sh", "-c", serve],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}},
    }
    pod = {
        "containers": [container],
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": False,
    }
    managed = {"app.kubernetes.io/managed-by": "kubefab-verify"}
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": managed}},
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "probe", "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "probe", "namespace": NAMESPACE},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": PORT, "targetPort": PORT}]},
        },
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _script(name: str, body: str) -> str:
    head = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf\ncd /\n"
    return f'# kubefab: {name}\nmain() (\nrm -f -- "$0"\n{head}{body}\n)\nmain\n'


def start_script(environment: Environment) -> str:
    """Make the probes, wait for them, say where they are. What an interrupted run left goes first."""
    text = json.dumps(manifest(environment), separators=(",", ":"))
    return _script(
        "verify.start",
        f"""kubectl delete namespace {NAMESPACE} --ignore-not-found --wait=true --timeout=60s >/dev/null 2>&1
kubectl apply -f - >/dev/null <<'KUBEFAB-END' || exit 1
{text}
KUBEFAB-END
kubectl -n {NAMESPACE} rollout status daemonset/probe --timeout={ROLLOUT}s >/dev/null 2>&1
echo '@@ pods'; kubectl -n {NAMESPACE} get pods -o json
echo '@@ service'; kubectl -n {NAMESPACE} get service probe -o json
echo '@@ nodes'; kubectl get nodes -o json
echo '@@ end'""",
    )


def parse_start(output: str) -> Deployed:
    """Read its answer. A cluster that refuses the probes has its message in `error`."""
    parts = re.split(r"^@@ (\w+)\n", output, flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    try:
        pods, service, nodes = (json.loads(sections[name]) for name in ("pods", "service", "nodes"))
        ports = service["spec"]["ports"]
        return Deployed(
            tuple(_pod(item) for item in pods["items"]),
            service["spec"]["clusterIP"],
            int(ports[0]["nodePort"]),
            {item["metadata"]["name"]: _internal(item) for item in nodes["items"]},
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        return Deployed(error=(output.strip().splitlines() or [f"no answer ({error})"])[0][:300])


def _pod(item: Mapping[str, Any]) -> Pod:
    status = item.get("status", {})
    containers = status.get("containerStatuses") or [{}]
    waiting = containers[0].get("state", {}).get("waiting", {})
    why = ": ".join(part for part in (waiting.get("reason", ""), waiting.get("message", "")) if part) or status.get("phase", "")
    ready = bool(containers[0].get("ready"))
    return Pod(item["metadata"]["name"], item["spec"].get("nodeName", ""), status.get("podIP", ""), ready, "" if ready else why[:200])


def _internal(item: Mapping[str, Any]) -> str:
    return next((a["address"] for a in item.get("status", {}).get("addresses", []) if a["type"] == "InternalIP"), "")


_FETCH = (
    'fetch() { n=$(wget -T 5 -q -O - "http://$2/large" 2>/tmp/e.$1 | wc -c); '
    f'if [ "$n" -eq {SIZE} ]; then echo "$1 $3 ok"; else echo "$1 $3 failed $n bytes $(tail -n 1 /tmp/e.$1)"; fi; }}'
)


def try_script(environment: Environment, deployed: Deployed) -> str:
    """From every probe pod to every other, the service and its name; from the control plane to every node's NodePort; all at once."""
    name = f"probe.{NAMESPACE}.svc.{environment.settings.dns_domain}"
    ready = [pod for pod in deployed.pods if pod.ready and pod.address]
    blocks = []
    for pod in ready:
        targets = [f"fetch p{n} {peer.address}:{PORT} {shlex.quote(peer.node)} &" for n, peer in enumerate(ready)]
        targets += [f"fetch service {deployed.service}:{PORT} - &", f"fetch dns {name}:{PORT} - &"]
        inside = "\n".join([_FETCH, *targets, "wait"])
        blocks.append(
            f"kubectl -n {NAMESPACE} exec {pod.name} --request-timeout=40s -- sh -c {shlex.quote(inside)} 2>&1 "
            f"| sed {shlex.quote(f's|^|from {pod.node} |')} &"
        )
    for node, address in deployed.nodes.items():
        blocks.append(
            f"( n=$(curl -sS -m 8 http://{address}:{deployed.node_port}/large 2>&1 | wc -c); "
            f'[ "$n" -eq {SIZE} ] && echo "nodeport {node} ok" || echo "nodeport {node} failed $n bytes" ) &'
        )
    return _script("verify.try", "\n".join([*blocks, "wait", "echo '@@ end'"]))


def stop_script() -> str:
    """Take the probes away; wait until they are gone."""
    return _script("verify.stop", f"kubectl delete namespace {NAMESPACE} --ignore-not-found --wait=true --timeout=90s 2>&1")


def parse_try(output: str, deployed: Deployed, control: str) -> Iterator[Check]:
    """What was tried, and for what was not tried, why."""
    ready = {pod.node for pod in deployed.pods if pod.ready}
    for node in deployed.nodes:
        pod = next((p for p in deployed.pods if p.node == node), None)
        why = "" if node in ready else pod.why if pod else "no pod was scheduled there"
        yield Check(RUNNING, node, node, node in ready, why)
    answered: set[str] = set()
    for line in output.splitlines():
        inside = re.match(r"from (\S+) (p\d+|service|dns) (\S+) (ok|failed ?(.*))$", line)
        port = re.match(r"nodeport (\S+) (ok|failed ?(.*))$", line)
        if inside:
            source, kind, target, result = inside[1], inside[2], inside[3], inside[4]
            what = {"service": SERVICE, "dns": DNS}.get(kind, POD)
            answered.add(source)
            yield Check(what, source, target if what == POD else what, result == "ok", (inside[5] or "").strip())
        elif port:
            yield Check(NODE_PORT, control, port[1], port[2] == "ok", (port[3] or "").strip())
    for node in sorted(ready - answered):
        said = next((line.removeprefix(f"from {node} ") for line in output.splitlines() if line.startswith(f"from {node} ")), "no answer")
        yield Check(POD, node, node, False, f"kubectl exec: {said[:160]}")


def causes(environment: Environment, checks: Sequence[Check]) -> list[str]:
    """The likely cause of what failed, first things first: what depends on a failed thing is not blamed as well."""
    bad = [c for c in checks if not c.good]
    by_kind = {what: [c for c in bad if c.what == what] for what in ORDER}
    doctor = f"`inv cluster.doctor --env {environment.name}`"
    found = []
    for check in by_kind[RUNNING]:
        pulling = "ImagePull" in check.detail or "ErrImage" in check.detail
        hint = (
            f"the image {environment.settings.probe_image} cannot be pulled there (PROBE_IMAGE moves it)"
            if pulling
            else f"{doctor} looks at that node"
        )
        found.append(f"{check.source}: no probe pod runs ({check.detail or 'no reason given'}): {hint}")
    found += _pods(by_kind[POD], checks, doctor)
    if by_kind[SERVICE] and not by_kind[POD]:
        found.append(
            f"pods answer, their service does not, from {_names(by_kind[SERVICE])}: kube-proxy. `kubectl -n kube-system logs -l k8s-app=kube-proxy`"
        )
    if by_kind[DNS] and not by_kind[SERVICE] and not by_kind[POD]:
        found.append(
            f"the service answers, its name does not, from {_names(by_kind[DNS])}: CoreDNS. `kubectl -n kube-system logs -l k8s-app=kube-dns`"
        )
    if by_kind[NODE_PORT] and not by_kind[POD]:
        names = ", ".join(c.target for c in by_kind[NODE_PORT])
        found.append(f"NodePort not answered on {names}: kube-proxy there, or a firewall between the nodes drops TCP 30000-32767")
    if by_kind[OUTSIDE]:
        where = ", ".join(dict.fromkeys(f"{c.target} ({c.detail})" for c in by_kind[OUTSIDE]))
        found.append(f"not reached from your machine: {where}: the security group's inbound rule for you; {doctor} names it")
    if by_kind[METRICS]:
        found.append(f"no metrics of {', '.join(c.target for c in by_kind[METRICS])} yet: `kubectl -n monitoring logs -l app=telegraf`")
    if by_kind[DASHBOARD]:
        found.append(f"the dashboard does not answer ({by_kind[DASHBOARD][0].detail}): `kubectl get pods -A | grep -E 'headlamp|kube-web'`")
    return found


def _pods(bad: Sequence[Check], checks: Sequence[Check], doctor: str) -> Iterator[str]:
    if not bad:
        return
    execs = [c for c in bad if c.detail.startswith("kubectl exec")]
    if execs:
        yield f"no command could be run in the pods of {_names(execs)}: the API does not reach TCP 10250 there ({execs[0].detail})"
    bad = [c for c in bad if c not in execs]
    local = [c for c in bad if c.source == c.target]
    if local:
        yield f"pods do not even answer on their own node, {_names(local)}: cni0, or the FORWARD policy, there"
    across = [c for c in bad if c.source != c.target]
    if not across:
        return
    if any(re.match(r"[1-9]\d* bytes", c.detail) for c in across):
        yield f"large answers are cut short between {_pairs(across)}: the MTU. {doctor} measures the path"
        return
    for node in dict.fromkeys(c.target for c in across):
        into = [c for c in checks if c.what == POD and c.target == node and c.source != node]
        if into and not any(c.good for c in into):
            yield f"no other node's pods reach those on {node}: UDP 8472 into {node}, or flannel there. {doctor} tests both ways"
            return
    yield f"pods do not reach each other: {_pairs(across)}: UDP 8472 between these. {doctor} tests each pair"


def _names(checks: Iterable[Check]) -> str:
    return ", ".join(dict.fromkeys(c.source for c in checks))


def _pairs(checks: Sequence[Check]) -> str:
    shown = ", ".join(f"{c.source}→{c.target}" for c in checks[:6])
    return shown + (f" and {len(checks) - 6} more" if len(checks) > 6 else "")
