"""Phase 7: web UI and monitoring (manual "Kubernetes Web UI", "Monitoring", digest A1 to A5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from shlex import quote

from ..context import Context
from ..inventory.settings import Settings
from ..manifests import LOGIN, VOLUME, applied, begins_with, login, manifest, present
from ..manifests.own import own
from ..nodes.facts import METRICS, STATE
from ..nodes.influx import METRICS_QUERY, Retention, lasting, parse_retention, reported
from ..recipes.flannel import Expected, interface_wait
from ..recipes.kubeadm import DASHBOARDS
from ..steps import Action, Needs, Remedy, Step, Stop, Wait
from ..text.durations import hours
from ..text.forms import Hostname
from ..text.masking import masked_tail

# The login, where there is one, is in that container's environment, where `influx` looks for it.
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
            settings=ctx.settings,
            hostname=ctx.facts.hostname,
            renew=ctx.renew(),
        )
    control = ctx.control or ctx.facts
    if ctx.facts.hostname not in control.reporting or not applied(manifest("monitoring", ctx), control):
        yield metrics_wait("addons.metrics", ctx.facts.hostname, ctx.settings, control.retention)
    if ctx.node.control_plane and ctx.facts.initialised:
        yield from own(ctx)


def metrics_wait(
    id: str, hostname: Hostname, settings: Settings, seen: Retention, since: Callable[[], float] = lambda: 0.0
) -> Wait:
    """Telegraf on this node reaches its kubelet, then InfluxDB on another: the pod network, proved by what it is for.

    Only metrics count that were measured after `since`, in seconds since 1970 by the node's clock.
    """
    return Wait(
        id,
        "this node's metrics arrive in InfluxDB",
        probe=f"{INFLUX} '{METRICS_QUERY}' 2>&1",
        until=lambda seen: _arrived(seen, hostname, since()),
        deadline=2 * settings.metrics_grace,
        interval=1,
        on="control-plane",
        needs="members",
        remedies=(_fresh_pods(settings, seen),),
        hint="pods of this node cannot reach pods of others: is UDP 8472 (flannel's VXLAN) open between the nodes, both ways, and does no "
        "firewall of a node drop what is forwarded (hook or chain FORWARD)? "
        "`inv cluster.doctor` tests every pair. If it is open: `kubectl -n monitoring logs -l app=telegraf --prefix` on the control plane, for the "
        f"pod on {hostname}",
        evidence=(
            f"kubectl -n monitoring get pods -o wide --field-selector spec.nodeName={quote(hostname)} 2>&1",
            "kubectl -n monitoring logs $(kubectl -n monitoring get pods -l app=telegraf "
            f"--field-selector spec.nodeName={quote(hostname)} -o name | head -n 1) --tail 6 2>&1",
        ),
    )


def _arrived(answer: str, hostname: str, since: float) -> str | None:
    newest = reported(answer).get(hostname)
    if newest is None:
        return "none in the last minute"
    return None if newest > since else "none that was measured since then"


def _fresh_pods(settings: Settings, seen: Retention) -> Remedy:
    """The manual's A5: delete InfluxDB's and the collector's pods. Its data stay; A3 follows, in case it had no data yet."""
    return Remedy(
        "recreate the influxdb and telegraf pods (A5)",
        (
            *((login(settings.retention),) if settings.influxdb_login else ()),
            "kubectl -n monitoring delete pods -l 'app in (telegraf,monitoring-influxdb)' --wait=false",
            "kubectl -n monitoring rollout status deploy/monitoring-influxdb --timeout=90s",
            f"{INFLUX} {quote(_statements(settings, seen))} || true",
        ),
        after=settings.metrics_grace,
        on="control-plane",
    )


def _statements(settings: Settings, seen: Retention) -> str:
    """A3's statement for an InfluxDB whose policies were `seen`: ALTER where it has the policy, else CREATE.

    InfluxDB stops at the first statement that it refuses, and CREATE refuses a policy of another duration. That is as it should be for
    one that did not answer: a policy that is not known is never made shorter.
    """
    verb = "ALTER" if seen.duration else "CREATE"
    statements = [
        'CREATE DATABASE "k8s"',
        f'{verb} RETENTION POLICY "default" ON k8s {lasting(settings.retention)} DEFAULT',
    ]
    if settings.influxdb_login:
        statements.append('GRANT WRITE ON "k8s" TO "telegraf"')
    return "; ".join([*statements, "SHOW RETENTION POLICIES"])


def _apply(ctx: Context) -> Iterator[Action]:
    facts, settings = ctx.facts, ctx.settings
    if not facts.initialised:
        yield Stop("addons.control-plane", "the API does not answer here", f"first `{ctx.init()}`")
        return
    monitoring = manifest("monitoring", ctx)
    dashboard = manifest(settings.dashboard, ctx) if settings.dashboard != "none" else None
    stored = METRICS.rsplit("/", 1)[1] in facts.undo
    there = applied(monitoring, facts)
    for name in DASHBOARDS:
        if name != settings.dashboard and present(name, facts):  # before the new one, which gets its NodePort
            yield manifest(name, ctx).removal("addons.dashboard-old", f"the dashboard of before ({name}) taken away")
    if dashboard and not applied(dashboard, facts):
        yield dashboard.step("addons.dashboard", f"apply the dashboard ({settings.dashboard})")
    if not stored:
        # the kubelet gives it to the pod's group. A pod that still runs would write into a folder that is gone
        again = ("kubectl -n monitoring delete pods -l app=monitoring-influxdb --wait=false",) if there else ()
        policy = (begins_with(settings.retention),) if there and settings.influxdb_login else ()
        yield Step(
            "addons.storage",
            "a folder for InfluxDB's data",
            (*policy, f"install -d -m 0700 {STATE}", f"install -d -m 0700 {METRICS}", *again),
        )
    logins = (login(settings.retention),) if settings.influxdb_login else ()
    if not there:
        yield monitoring.step(
            "addons.monitoring", f"apply InfluxDB and Telegraf{_change(ctx)}", before=(_FREE_VOLUME, *logins)
        )
    elif logins and not facts.retention.answered:
        yield Step("addons.login", "InfluxDB's login", logins)  # it does not answer: the Secret may be gone
    if not there or not stored or retention_fault(facts.retention, settings.retention):
        yield _rollout("influxdb", "monitoring", "deploy/monitoring-influxdb", needs="")
        yield _retention(settings, facts.retention if stored else Retention())
    if dashboard and not _available(ctx, dashboard.workload):
        yield _rollout("dashboard", "kube-system", f"deploy/{dashboard.workload}")


# A volume whose claim was deleted, with its namespace say, takes no other. Its data are the folder's, which stays.
_FREE_VOLUME = (
    f"if [ \"$(kubectl get persistentvolume {VOLUME} --ignore-not-found -o jsonpath='{{.status.phase}}')\" = Released ]; "
    f"then kubectl delete persistentvolume {VOLUME}; fi"
)


def _change(ctx: Context) -> str:
    """Say what changes where an existing InfluxDB's login was switched on or off."""
    found = next((o for o in ctx.facts.objects if o["metadata"]["name"] == "monitoring-influxdb"), None)
    asks = found is not None and LOGIN in found["metadata"].get("annotations", {})
    if found is None or asks == ctx.settings.influxdb_login:
        return ""
    shown = f"`inv cluster.info {ctx.environment.option} --reveal`"
    return ", which asks for no login any more" if asks else f", which asks for a login from now on: {shown}"


def _rollout(what: str, namespace: str, workload: str, needs: Needs = "members") -> Wait:
    return Wait(
        f"addons.{what}-ready",
        f"{workload.split('/', 1)[1]} runs",
        probe=f"kubectl -n {namespace} get {workload} -o jsonpath='{{.status.availableReplicas}}' 2>&1",
        until=lambda seen: (
            None if seen.strip().isdigit() and int(seen) > 0 else masked_tail(seen) or "no pod available"
        ),
        deadline=300,
        interval=1,
        needs=needs,
        hint=f"`kubectl -n {namespace} describe pods` on the control plane: an image that cannot be pulled, or no node with room. "
        "Without a worker there is none: `inv cluster.bootstrap` without --limit brings them in",
        evidence=(
            f"kubectl -n {namespace} get pods -o wide 2>&1",
            "kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -n 8",
        ),
    )


def _retention(settings: Settings, seen: Retention) -> Wait:
    """The manual's command (A3), repeated until it works (A4); then once with fresh pods (A5)."""
    return Wait(
        "addons.retention",
        f"retention policy default of {settings.retention} (A3)",
        probe=f"{INFLUX} {quote(_statements(settings, seen))} 2>&1",
        until=lambda answer: _until_kept(answer, settings.retention),
        deadline=2 * settings.metrics_grace,
        interval=2,
        changes=True,
        remedies=(_fresh_pods(settings, seen),),
        hint="`kubectl -n monitoring logs deploy/monitoring-influxdb` on the control plane; if it finds its data damaged, "
        f"and only then, `rm -rf {METRICS}` there and run this again: the metrics are lost",
        evidence=(
            "kubectl -n monitoring get pods -o wide 2>&1",
            "kubectl -n monitoring logs deploy/monitoring-influxdb --tail 8 2>&1",
        ),
    )


def retention_fault(seen: Retention, duration: str) -> str | None:
    """None when the policy `default` is the database's default and has this duration; else what is wrong."""
    if not seen.duration:
        return "there is no policy `default`" if seen.answered else "no answer from InfluxDB"
    if not seen.default:
        return "the policy is not the database's default"
    return None if seen.hours == hours(duration) else f"its duration is {seen.duration}, not {duration}"


def _until_kept(answer: str, duration: str) -> str | None:
    """The same of the answer to `_statements`; where it has no policy, what InfluxDB said."""
    seen = parse_retention(answer)
    return retention_fault(seen, duration) if seen.duration else masked_tail(answer) or "no answer from InfluxDB"


def _available(ctx: Context, workload: str) -> bool:
    found = next((o for o in ctx.facts.objects if o["metadata"]["name"] == workload), None)
    return bool(found and found.get("status", {}).get("availableReplicas"))
