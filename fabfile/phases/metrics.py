"""InfluxDB's metrics in a backup, and put back from one: by influxd's own backup and restore, inside its pod.

The pod writes and reads in its volume, which is a folder of the control plane, so nothing goes through `kubectl exec`. What is put back
is added to what the database has by then: nothing of that is deleted.

Sources: docs.influxdata.com "Back up and restore data in InfluxDB" 1.8 (-portable; "restore data to an existing database").
"""

from __future__ import annotations

from collections.abc import Iterator

from ..backups.contents import METRICS_FILE
from ..backups.guide import IN_POD, INSIDE, RESTORED_DATABASE, added
from ..context import Context
from ..nodes.facts import METRICS, NodeFacts
from ..steps import MINUTE, Action, Give, Step, Stop, Wait
from ..text.durations import hours
from ..text.masking import masked_tail

SPOOL, ROOM = f"{METRICS}/.kubefab-backup", f"{METRICS}/.kubefab-restore"


def unavailable(ctx: Context, phase: str) -> Stop | None:
    """Why InfluxDB cannot be asked; None if it can."""
    facts, name = ctx.facts, ctx.node.name
    found = next((one for one in facts.objects if one["metadata"]["name"] == "monitoring-influxdb"), None)
    if not facts.api_ready:
        return Stop(
            f"{phase}.metrics",
            "the API does not answer, and InfluxDB is reached through it",
            "leave out --metrics",
        )
    if found is None or not runs(facts):
        what = "this cluster has no InfluxDB of kubefab's" if found is None else "InfluxDB does not run"
        again = f"`inv cluster.bootstrap {ctx.environment.option}` brings it, and {name} shows why not; or leave out --metrics"
        return Stop(f"{phase}.metrics", what, again)
    return None


def runs(facts: NodeFacts) -> bool:
    """Whether a pod of InfluxDB's answers."""
    return any(
        one["metadata"]["name"] == "monitoring-influxdb" and one.get("status", {}).get("availableReplicas")
        for one in facts.objects
    )


def saved(stage: str) -> tuple[str, ...]:
    """Shell lines that leave a backup of the metrics in the folder `stage`; SPOOL is removed by who calls, whatever happens."""
    return (
        f"rm -rf -- {SPOOL}",
        # in units of 512 bytes it is twice the KiB: room for its own copy and the archive of that, as etcd may be on the same disk
        f"n=$(du -s -B512 {METRICS} | cut -f1); f=$(df -Pk {stage} | awk 'NR==2{{print $4}}'); "
        '[ "$f" -gt "$n" ] || { echo "no space left for the metrics: $n KiB are needed, and $f are free"; exit 1; }',
        f"{IN_POD} influxd backup -portable -db k8s {INSIDE}/{SPOOL.rpartition('/')[2]}",
        f"tar --remove-files -cf {stage}/{METRICS_FILE} -C {SPOOL} .",
    )


def metrics(ctx: Context) -> Iterator[Action]:
    """Put the metrics of the backup back."""
    want = ctx.choices.restoring
    if want is None or not want.metrics:
        return
    if stop := unavailable(ctx, "metrics"):
        yield stop
        return
    yield Step(
        "metrics.room",
        "a folder for them in InfluxDB's volume",
        (f"rm -rf -- {ROOM}", f"install -d -m 0755 {ROOM}"),
    )
    leave = f"{{ rc=$?; rm -rf -- {ROOM}; exit $rc; }}"
    lines = (
        f"tar -xf {ROOM}/{METRICS_FILE} -C {ROOM} --no-same-owner && rm -f {ROOM}/{METRICS_FILE} && chmod -R a+rX {ROOM}",
        *added(f"{INSIDE}/{ROOM.rpartition('/')[2]}", hours(ctx.settings.retention)),
    )
    yield Give(
        "metrics.restore",
        "InfluxDB's metrics of the backup, added to those that it has",
        (*(f"{line} || {leave}" for line in lines), f"rm -rf -- {ROOM}"),
        timeout=120 * MINUTE,
        gives=((METRICS_FILE, f"{ROOM}/{METRICS_FILE}"),),
        hint=f"`kubectl -n monitoring logs deploy/monitoring-influxdb` on {ctx.node.name}; then run this again: database {RESTORED_DATABASE} "
        "is made again, and what was added already is added once",
    )
    yield Wait(
        "metrics.done",
        "InfluxDB has them in its own database, and nothing else is left",
        probe=f"if [ -e {ROOM} ]; then echo {ROOM}; else {IN_POD} influx -format csv -execute 'SHOW DATABASES' 2>&1; fi",
        until=_until_added,
        deadline=60,
        hint=f"`kubectl -n monitoring logs deploy/monitoring-influxdb` on {ctx.node.name}; then run this again",
    )


def _until_added(answer: str) -> str | None:
    names = {line.rpartition(",")[2] for line in answer.splitlines()}
    return (
        None if "k8s" in names and RESTORED_DATABASE not in names else masked_tail(answer) or "no answer from InfluxDB"
    )
