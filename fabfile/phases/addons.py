"""Phase 7: web UI and monitoring (manual "Kubernetes Web UI", "Monitoring", digest A1 to A5)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from shlex import quote

from ..context import Context
from ..facts import METRICS_QUERY, STATE
from ..forms import Hostname
from ..interfaces import Expected, interface_wait
from ..manifests import METRICS, applied, manifest
from ..masking import masked_tail
from ..steps import Action, Remedy, Step, Stop, Wait

INFLUX = "kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute"


def addons(ctx: Context) -> Iterator[Action]:
    """On the control plane: dashboard, InfluxDB, Telegraf, the retention policy. On every node: cni0, with its first pod."""
    if ctx.node.control_plane:
        yield from _apply(ctx)
    expected = Expected(("flannel.1", "cni0"), ctx.settings.pod_cidr)
    if expected.missing(ctx.facts.links) is not None:
        yield interface_wait(
            "addons.interfaces",
            expected,
            grace=ctx.settings.flannel_grace,
            hostname=ctx.facts.hostname,
            renew=ctx.renew(),
        )
    control = ctx.control or ctx.facts
    if ctx.facts.hostname not in control.reporting:
        yield _metrics(ctx.facts.hostname, ctx.settings.retention)


def _metrics(hostname: Hostname, duration: str) -> Wait:
    """Telegraf on this node reaches its kubelet, then InfluxDB on another: the pod network, proved by what it is for."""
    return Wait(
        "addons.metrics",
        "this node's metrics arrive in InfluxDB",
        probe=f"{INFLUX} '{METRICS_QUERY}' 2>&1",
        until=lambda seen: None if f"node_name={hostname}," in seen else "none in the last minute",
        deadline=90,
        interval=1,
        on="control-plane",
        needs="members",
        remedies=(_fresh_pods(duration, after=45),),
        hint="pods of this node cannot reach pods of others: is UDP 8472 (flannel's VXLAN) open between the nodes, both ways? "
        f"`inv cluster.doctor` tests every pair. If it is open: `kubectl -n monitoring logs -l app=telegraf` for the pod on {hostname}",
        evidence=(
            f"kubectl -n monitoring get pods -o wide --field-selector spec.nodeName={quote(hostname)} 2>&1",
            "kubectl -n monitoring logs $(kubectl -n monitoring get pods -l app=telegraf "
            f"--field-selector spec.nodeName={quote(hostname)} -o name | head -n 1) --tail 6 2>&1",
        ),
    )


def _fresh_pods(duration: str, after: float) -> Remedy:
    """The manual's A5: delete InfluxDB's and the collector's pods. Its data stay; A3 follows, for an InfluxDB that had none yet."""
    return Remedy(
        "recreate the influxdb and telegraf pods (A5)",
        (
            "kubectl -n monitoring delete pods -l 'app in (telegraf,monitoring-influxdb)' --wait=false",
            "kubectl -n monitoring rollout status deploy/monitoring-influxdb --timeout=90s",
            f"{INFLUX} {shlex.quote(_statements(duration))} || true",
        ),
        after=after,
    )


def _statements(duration: str) -> str:
    """A3's statement, made safe to run twice: CREATE refuses a policy that exists with another duration, ALTER mends it."""
    policy = f'RETENTION POLICY "default" ON k8s DURATION {duration} REPLICATION 1 DEFAULT'
    return f'CREATE DATABASE "k8s"; CREATE {policy}; ALTER {policy}; SHOW RETENTION POLICIES'


def _apply(ctx: Context) -> Iterator[Action]:
    facts, settings = ctx.facts, ctx.settings
    if not facts.initialised:
        yield Stop("addons.control-plane", "the API does not answer here", f"first `{ctx.fab('init')}`")
        return
    monitoring = manifest("monitoring", ctx)
    dashboard = manifest(settings.dashboard, ctx) if settings.dashboard != "none" else None
    stored = METRICS.rsplit("/", 1)[1] in facts.undo
    fresh = not applied(monitoring, facts) or not stored
    if dashboard and not applied(dashboard, facts):
        yield dashboard.step("addons.dashboard", f"apply the dashboard ({settings.dashboard})")
    if not stored:
        # for whichever user the image runs as; STATE around it lets nobody else in. A pod that still runs would write into a folder that is gone
        anew = "kubectl -n monitoring delete pods -l app=monitoring-influxdb --wait=false"
        again = (anew,) if applied(monitoring, facts) else ()
        folders = (f"install -d -m 0700 {STATE}", f"install -d -m 0777 {METRICS}")
        yield Step("addons.storage", "a folder for InfluxDB's data", (*folders, *again))
    if not applied(monitoring, facts):
        yield monitoring.step("addons.monitoring", "apply InfluxDB and Telegraf")
    if fresh or retention_fault(facts.retention, settings.retention):
        yield _rollout("influxdb", "monitoring", "deploy/monitoring-influxdb", needs="")
        yield _retention(settings.retention)
    if dashboard and not _available(ctx, dashboard.workload):
        yield _rollout("dashboard", "kube-system", f"deploy/{dashboard.workload}")


def _rollout(what: str, namespace: str, workload: str, needs: str = "members") -> Wait:
    return Wait(
        f"addons.{what}-ready",
        f"{workload.split('/', 1)[1]} runs",
        probe=f"kubectl -n {namespace} get {workload} -o jsonpath='{{.status.availableReplicas}}' 2>&1",
        until=lambda seen: None if seen.strip().isdigit() and int(seen) > 0 else masked_tail(seen) or "no pod available",
        deadline=300,
        interval=1,
        needs=needs,
        hint=f"`kubectl -n {namespace} describe pods` on the control plane: an image that cannot be pulled, or no node with room",
        evidence=(f"kubectl -n {namespace} get pods -o wide 2>&1", "kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -n 8"),
    )


def _retention(duration: str) -> Wait:
    """The manual's command (A3), repeated until it works (A4); then once with fresh pods (A5)."""
    return Wait(
        "addons.retention",
        f"retention policy default of {duration} (A3)",
        probe=f"{INFLUX} {shlex.quote(_statements(duration))} 2>&1",
        until=lambda seen: retention_fault(seen, duration),
        deadline=90,
        interval=2,
        changes=True,
        remedies=(_fresh_pods(duration, after=60),),
        hint="`kubectl -n monitoring logs deploy/monitoring-influxdb` on the control plane; if it finds its data damaged, "
        f"and only then, `rm -rf {METRICS}` there and run this again: the metrics are lost",
        evidence=("kubectl -n monitoring get pods -o wide 2>&1", "kubectl -n monitoring logs deploy/monitoring-influxdb --tail 8 2>&1"),
    )


def retention_fault(output: str, duration: str) -> str | None:
    """None when SHOW RETENTION POLICIES (csv) lists `default` as the default with this duration; else what is wrong."""
    for line in output.splitlines():
        cells = line.strip().split(",")
        if len(cells) >= 5 and cells[0] == "default":
            if cells[-1] != "true":
                return "the policy is not the database's default"
            if _hours(cells[1]) != _hours(duration):
                return f"its duration is {cells[1]}, not {duration}"
            return None
    return masked_tail(output) or "no answer from InfluxDB"


def _hours(duration: str) -> float:
    """An InfluxDB duration in hours; 0 and INF both keep for ever."""
    seconds = {"ns": 1e-9, "u": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    parts = re.findall(r"(\d+)(ns|ms|u|s|m|h|d|w)", duration)
    return sum(float(count) * seconds[unit] for count, unit in parts) / 3600


def _available(ctx: Context, workload: str) -> bool:
    found = next((o for o in ctx.facts.objects if o["metadata"]["name"] == workload), None)
    return bool(found and found.get("status", {}).get("availableReplicas"))
