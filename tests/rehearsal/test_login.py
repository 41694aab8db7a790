"""InfluxDB's login and RETENTION on simulated nodes: created once, required, never written locally; earlier metrics are kept."""

from __future__ import annotations

import re
from pathlib import Path

from fabfile import phases
from fabfile.phases.addons import INFLUX
from fabfile.run.pipelines import Run
from rehearsal.cluster import Cluster
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed, Outcome

SECRET = "Secret/monitoring/influxdb-login"
DEFAULT = "SHOW RETENTION POLICIES"
ADDONS = [phases.ADDONS]


def passwords(cluster: Cluster) -> dict[str, str]:
    found: dict[str, str] = cluster.objects[SECRET]["stringData"]
    return {user: password for user, password in found.items() if user != "policy"}


def typed(bed: Bed, *lines: str) -> tuple[list[tuple[int, str]], Outcome]:
    """Type each line into root's shell on the control plane, then run the add-ons; returns the outcomes."""
    said: list[tuple[int, str]] = []

    def type_them(simulation: Simulation, run: Run) -> None:
        for line in lines:
            code, output = run.group.of(simulation.environment.control_plane).root(
                f"export KUBECONFIG=/etc/kubernetes/admin.conf; {line}\n", 30
            )
            said.append((code, output.decode()))

    return said, bed.run(ADDONS, hook=type_them)


def done(outcome: Outcome) -> bool:
    return set(outcome.states.values()) == {"done"}


def test_a_login_is_created_once_and_enforced(bed: Bed) -> None:
    first = bed.bootstrap()
    made = passwords(first.simulation.cluster)
    assert set(made) == {"kubefab", "telegraf"} and len(set(made.values())) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", password) for password in made.values())
    influx = first.simulation.cluster.influx
    assert influx.users == made and influx.writers == ["telegraf"]
    assert bed.facts()["cp1"].reporting == {"cp1", "w1", "w2"}, "Telegraf's own login may write"
    assert passwords(bed.bootstrap().simulation.cluster) == made
    kept = bed.written() + "\n".join(first.recorder.lines)
    assert not any(password in kept for password in made.values()), "no code on this machine has read it"


def test_a_wrong_login_is_refused_and_a_new_pod_reads_the_secret_again(bed: Bed) -> None:
    bed.healthy()
    (changed, refused), fixed = typed(
        bed, f'{INFLUX} "SET PASSWORD FOR \\"kubefab\\" = \'other\'"', f"{INFLUX} '{DEFAULT}'"
    )
    assert changed[0] == 0
    assert refused == (1, "ERR: authorization failed\n")
    assert done(fixed) and "recreate the influxdb and telegraf pods (A5)" in "\n".join(fixed.recorder.lines)
    assert fixed.simulation.cluster.influx.users == passwords(fixed.simulation.cluster)


def test_a_deleted_secret_is_created_again(bed: Bed) -> None:
    before = passwords(bed.bootstrap().simulation.cluster)
    gone = "kubectl -n monitoring delete secret influxdb-login"
    _, fixed = typed(
        bed, gone, "kubectl -n monitoring delete pods -l 'app in (telegraf,monitoring-influxdb)' --wait=false"
    )
    assert done(fixed)
    after = passwords(fixed.simulation.cluster)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    assert fixed.simulation.cluster.influx.users == after
    assert bed.facts()["cp1"].reporting == {"cp1", "w1", "w2"}


def test_a_cluster_without_a_login_gets_one_and_keeps_its_metrics(bed: Bed, tmp_path: Path) -> None:
    open_to_all = Bed(tmp_path, "REHEARSAL_INFLUXDB_LOGIN=no\n")
    first = open_to_all.bootstrap()
    assert SECRET not in first.simulation.cluster.objects
    assert typed(open_to_all, f"{INFLUX} 'SHOW DATABASES'")[0][0][0] == 0
    bed = Bed(tmp_path)
    changed = bed.bootstrap()
    assert done(changed)
    assert "asks for a login from now on: `inv cluster.info --env rehearsal --reveal`" in "\n".join(
        changed.recorder.lines
    )
    influx = changed.simulation.cluster.influx
    assert influx.policies == first.simulation.cluster.influx.policies and influx.database
    assert influx.users == passwords(changed.simulation.cluster)
    assert bed.facts()["cp1"].reporting == {"cp1", "w1", "w2"}
    back = Bed(tmp_path, "REHEARSAL_INFLUXDB_LOGIN=no\n").bootstrap()
    assert done(back) and "asks for no login any more" in "\n".join(back.recorder.lines)


def test_a_recreated_namespace_gets_the_old_metrics(bed: Bed) -> None:
    bed.healthy()
    _, fixed = typed(bed, "kubectl delete namespace monitoring")
    assert done(fixed)
    assert fixed.simulation.cluster.objects["PersistentVolume//kubefab-influxdb"]["spec"]["local"] == {
        "path": "/var/lib/kubefab/influxdb"
    }
    assert bed.facts()["cp1"].reporting == {"cp1", "w1", "w2"}


FOREIGN = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: monitoring\n  labels: {team: prometheus}\n"


def test_objects_of_others_are_not_adopted(bed: Bed) -> None:
    bed.run([phases.PREP, phases.INSTALL, phases.REGISTRY, phases.MASTER, phases.NETWORK])
    bed.run([phases.PREP, phases.INSTALL, phases.REGISTRY, phases.JOIN], on=("slaves",))
    (made, *_), refused = typed(bed, f"printf '{FOREIGN}' | kubectl create -f -".replace("\n", "\\n"))
    assert made[0] == 0
    error = refused.failed["cp1"]
    assert "not made by kubefab" in error.output and "Namespace" in error.output and "monitoring" in error.output
    held = refused.simulation.cluster.objects
    assert held["Namespace//monitoring"]["metadata"]["labels"] == {"team": "prometheus"}
    assert not [key for key in held if "/monitoring/" in key], "nothing was put into it"
    advised = next(line for line in re.findall(r"`([^`]+)`", error.remedy) if " label " in line)
    _, given = typed(bed, advised.replace("KIND NAME", "namespace monitoring"))
    assert done(given) and "Deployment/monitoring/monitoring-influxdb" in given.simulation.cluster.objects


def test_a_shorter_retention_deletes_metrics_only_with_consent(bed: Bed, tmp_path: Path) -> None:
    def having(retention: str, *more: str) -> Bed:
        (tmp_path / "project" / "hosts.local.env").write_text(
            "\n".join((f"REHEARSAL_RETENTION={retention}", *more, ""))
        )
        return Bed(tmp_path)

    having("30d").bootstrap()
    refused = having("3d").bootstrap()
    error = refused.failed["cp1"]
    assert (
        "InfluxDB keeps metrics for 720h0m0s; RETENTION=3d would delete all that are older than that" in error.message
    )
    assert (
        "RETENTION=30d in hosts.env" in error.remedy
        and "KUBEFAB_RETENTION_SHORTEN=yes fab -H cp1 addons --env rehearsal" in error.remedy
    )
    assert refused.simulation.cluster.influx.policies["default"] == ["720h0m0s", "24h0m0s"]
    said = having("3d", "RETENTION_SHORTEN=yes").run(ADDONS, on=("cp1",))
    assert done(said) and said.simulation.cluster.influx.policies["default"] == ["72h0m0s", "24h0m0s"]
    assert done(having("3d").bootstrap())
    longer = having("0d").bootstrap()
    assert done(longer) and longer.simulation.cluster.influx.policies["default"] == ["0s", "168h0m0s"], (
        "with the shards of such a policy"
    )
