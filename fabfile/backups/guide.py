"""RESTORE.txt: how a person without kubefab brings the cluster back from what is in the archive."""

from __future__ import annotations

from ..inventory.model import bracketed
from ..nodes.facts import METRICS
from .contents import CURRENT, ETCDUTL, FILES, METRICS_FILE, RENAMED, SNAPSHOT, Record

DATA = "/var/lib/etcd"
PROCESS = f"^etcd .*--data-dir={DATA}( |$)"  # the command line of kubeadm's etcd, for pgrep


def restoring(record: Record, snapshot: str, etcdutl: str, data: str) -> str:
    """The command that makes etcd's data of a snapshot, in the folder `data`, which must be empty or not be there.

    Revisions are bumped and the past is marked compacted, so that no controller goes on from a revision that is gone
    (etcd, "Restoring with revision bump"): by milliseconds since 1970, which is more than a cluster writes, also after an earlier
    restore. The token is not the first cluster's: no member of that one talks to this one.
    """
    peer = f"https://{bracketed(record.address)}:2380"
    return (
        f"{etcdutl} snapshot restore {snapshot} --name {record.hostname} --initial-cluster {record.hostname}={peer} "
        f"--initial-cluster-token restored-{int(record.made)} --initial-advertise-peer-urls {peer} --data-dir {data} "
        '--bump-revision "$(date +%s)000" --mark-compacted'
    )


# InfluxDB's pod, and the folder METRICS as it is called there
IN_POD, INSIDE = "kubectl -n monitoring exec deploy/monitoring-influxdb -c influxdb --", "/var/lib/influxdb"
RESTORED_DATABASE = "kubefab_restored"


def added(folder: str, kept: float) -> tuple[str, ...]:
    """Shell lines that add the metrics in a folder of InfluxDB's pod to its database k8s, which keeps them for so many hours (0: for ever).

    influxd restores into a new database only. A point that is there already is written over with itself; one that is older than the
    database keeps would be refused.
    """
    recent = f" WHERE time > now() - {max(1, int(kept * 60) - 10)}m" if kept else ""
    drop = f"""{IN_POD} influx -execute 'DROP DATABASE "{RESTORED_DATABASE}"'"""
    into = (
        f"""SELECT * INTO "k8s"."default".:MEASUREMENT FROM "{RESTORED_DATABASE}"."default"./.*/{recent} GROUP BY *"""
    )
    return (
        drop,
        f"{IN_POD} influxd restore -portable -db k8s -newdb {RESTORED_DATABASE} {folder}",
        f"{IN_POD} influx -execute '{into}'",
        drop,
    )


def _metrics(kept: float) -> str:
    """The guide's chapter for InfluxDB's metrics."""
    folder = f"{METRICS}/.restore"
    lines = "\n".join(f"    {line}" for line in added(f"{INSIDE}/.restore", kept))
    return f"""
7. Put InfluxDB's metrics back, beside those that it has by then. Its pod runs on the control plane, and needs that folder.

    export KUBECONFIG=/etc/kubernetes/admin.conf
    mkdir -p -m 700 {METRICS}
    kubectl -n monitoring rollout status deploy/monitoring-influxdb --timeout=5m
    mkdir {folder}
    tar -xf {METRICS_FILE} -C {folder} --no-same-owner
    chmod -R a+rX {folder}
{lines}

Then delete {folder}.
"""


def guide(record: Record, metrics: float | None = None) -> str:
    """The text. Its indented lines are commands, for root, in this order, in the folder where the archive was unpacked.

    `metrics`: InfluxDB's are in it, and it keeps them for so many hours (0: for ever).
    """
    return f"""HOW TO BRING THIS CLUSTER BACK

This is a backup of the Kubernetes cluster "{record.environment}": all objects of its API, its keys and its configuration.
It is not a backup of what pods keep in volumes{", but for InfluxDB's metrics" if metrics is not None else ""}, and not of container images.

A person who has these files has every password in the cluster. Work on the control plane itself, and delete them at the end.

Machine:     hostname {record.hostname}, private address {record.address}. Both must be the same as before.
Kubernetes:  {record.kubernetes} (kubelet, kubeadm, kubectl of {record.minor}, and containerd; https://kubernetes.io/docs/setup)
etcd:        {record.etcd}; the program etcdutl of that version is in this folder
Snapshot:    revision {record.revision}, {record.keys} keys, {record.size} bytes

What happened in the cluster after the backup is forgotten: objects that were made since are gone, deleted ones are back, finished Jobs may
run again. Worker nodes that were in the cluster then come back by themselves.

1. Unpack it on the control plane, as root, in a folder that only root can read. If its name ends with .age, first decrypt it, where the key
   is: age -d -i KEYFILE BACKUP.tar.age > BACKUP.tar

2. Stop what runs. On a new machine there is nothing yet, and errors of these commands mean nothing.

    systemctl stop kubelet
    crictl ps -q --name '^(etcd|kube-apiserver|kube-controller-manager|kube-scheduler)$' | xargs -r crictl stop

3. Keep the old data beside. Delete nothing.

    mkdir -m 700 /var/lib/etcd.before-restore
    mkdir -p {DATA}
    find {DATA} -mindepth 1 -maxdepth 1 -exec mv -t /var/lib/etcd.before-restore {{}} +

4. Put back keys and configuration. On the same machine nothing is written over.

    (cd {FILES} && find . -type f | tar -cf - -T -) | tar -C / -xf - --skip-old-files
    ln -s {RENAMED.rpartition("/")[2]} {CURRENT} || true
    chmod 700 {DATA}

5. Make etcd's data of the snapshot.

    chmod 700 ./{ETCDUTL}
    {restoring(record, SNAPSHOT, f"./{ETCDUTL}", "/var/lib/etcd.restored")}
    mv /var/lib/etcd.restored/member {DATA}/member
    rmdir /var/lib/etcd.restored

6. Start it. The API answers after a minute or two.

    systemctl enable --now kubelet

Then look at it: kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes
If a node stays NotReady, restart its kubelet: systemctl restart kubelet
{_metrics(metrics) if metrics is not None else ""}"""
