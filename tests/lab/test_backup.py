"""A backup of a real cluster, and its way back: after etcd's data are lost, and on a new, empty machine under the old address.

The workers are never touched: their pods keep their containers, and what was signed before is believed afterwards.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pyrage

from fabfile.backups.archive import Reader
from lab import nodes as machines
from lab_bed import Lab

# Containers of workers with their starts, and the kubelet's own: none of it changes while the control plane is away.
_LIFE = (
    "crictl ps -q --name 'kube-(proxy|flannel)' | sort; crictl pods -q --state ready --label io.kubernetes.pod.namespace=asked; "
    "systemctl show -p MainPID kubelet; sha256sum /etc/kubernetes/kubelet.conf"
)
_REVIEW = json.dumps({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"})
# Where a restore is killed: where etcd's data are taken away, come, are made, where files come, where all is in place, where it starts.
_STEPS = (
    "restore.stop",
    "restore.send",
    "restore.etcd",
    "restore.files",
    "restore.ready",
    "restore.start",
    "restore.api",
)
_MEASURED = "SELECT COUNT(usage_system) FROM cpu"
_POWER = "restore.etcd"  # where cp1 loses its power too
_WATCH = "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=5&resourceVersion="


@dataclass(frozen=True)
class Before:
    """What a cluster had when it was saved."""

    uid: str
    token: str
    revisions: list[str]  # etcd's, of the backup, and later ones
    nodes: str
    life: dict[str, str]


def node_uids(lab: Lab) -> str:
    return lab.kubectl("get nodes -o jsonpath='{range .items[*]}{.metadata.name}={.metadata.uid} {end}'")


def revision(lab: Lab) -> str:
    """etcd's revision, as a list of the API has it."""
    return str(
        json.loads(lab.kubectl("get --raw /api/v1/namespaces/default/configmaps"))["metadata"]["resourceVersion"]
    )


def asked_by(lab: Lab, worker: str, token: str) -> str:
    """Who the API says that the bearer of a token is, asked from a worker."""
    url = f"https://{lab.control_plane.address}:6443/apis/authentication.k8s.io/v1/selfsubjectreviews"
    line = f"curl -sk -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{_REVIEW}' {url}"
    return str(json.loads(lab.sh(worker, line)).get("status", {}).get("userInfo", {}).get("username", ""))


def assert_back(lab: Lab, before: Before) -> None:
    lab.eventually("all nodes are Ready", lambda: lab.ready() == dict.fromkeys(lab.names, True))
    assert lab.kubectl("get configmap before -o jsonpath='{.metadata.uid}'") == before.uid
    assert "NotFound" in lab.kubectl("get configmap after 2>&1", check=False), "what came after the backup is forgotten"
    assert node_uids(lab) == before.nodes, "no node was joined again"
    workers = [node.name for node in lab.environment.workers]
    assert {name: lab.sh(name, _LIFE) for name in workers} == before.life
    assert asked_by(lab, workers[0], before.token) == "system:serviceaccount:default:default"
    for past in before.revisions:
        seen = lab.kubectl(f"get --raw '{_WATCH}{past}' 2>&1", check=False)
        assert "410" in seen or "too old" in seen or "Expired" in seen, f"a watch from before goes on: {seen}"
    assert int(revision(lab)) > 1_000_000_000_000
    assert not lab.sh(
        "cp1",
        "ls -d /var/lib/kubefab/restor* /var/lib/kubefab/backup /var/lib/kubefab/etcd.yaml 2>/dev/null",
        check=False,
    )
    lab.kubeadm_specs()
    assert "nothing to do" in lab.bootstrap().output


def marked(lab: Lab) -> Before:
    """An object that the backup will have, and what else must be the same afterwards."""
    lab.kubectl("delete configmap before after --ignore-not-found")
    lab.kubectl("create configmap before --from-literal=a=b")
    return Before(
        lab.kubectl("get configmap before -o jsonpath='{.metadata.uid}'"),
        lab.kubectl("create token default --duration=4h"),
        [revision(lab)],
        node_uids(lab),
        {node.name: lab.sh(node.name, _LIFE) for node in lab.environment.workers},
    )


def lose(lab: Lab, before: Before) -> None:
    """An object comes that no backup has, and a revision that a watch has seen; then etcd's data are lost."""
    lab.kubectl("create configmap after --from-literal=a=b")
    before.revisions.append(revision(lab))
    lab.sh("cp1", "systemctl stop kubelet; crictl stop $(crictl ps -q); rm -rf /var/lib/etcd/member")


def test_a_stranger_restores_it_by_the_guide_in_it(healthy: Lab, tmp_path: Path) -> None:
    """With tar and the commands of RESTORE.txt as they are printed; without kubefab."""
    lab, before = healthy, marked(healthy)
    count = lab.influxdb(_MEASURED)["series"][0]["values"][0][1]
    lab.run("inv", "cluster.backup", "--env", "lab", "--to", str(tmp_path), "--plain", "--metrics")
    (path,) = tmp_path.glob("*.tar")
    lose(lab, before)
    unpacked = machines.exec(
        "cp1",
        ["bash", "-c", "install -d -m 0700 /root/way-back; base64 -d | tar -xf - -C /root/way-back"],
        stdin=base64.b64encode(path.read_bytes()).decode(),
    )
    assert unpacked.returncode == 0, unpacked.stderr
    guide = Reader(path, []).whole()[1]["RESTORE.txt"].decode()
    lines = [line.strip() for line in guide.splitlines() if line.startswith("    ")]
    assert len(lines) > 8
    chapter = lines.index("export KUBECONFIG=/etc/kubernetes/admin.conf")  # the metrics, when the API answers
    lab.sh("cp1", "set -e; cd /root/way-back\n" + "\n".join(lines[:chapter]))
    lab.eventually("the API answers", lambda: lab.kubectl("get --raw=/readyz", check=False) == "ok", 120)
    ping = ["curl", "-fsS", "--max-time", "5", f"http://{lab.control_plane.host}:30315/ping"]
    lab.eventually("InfluxDB answers", lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0)
    lab.influxdb("DROP SERIES FROM cpu")
    lab.sh("cp1", "set -e; cd /root/way-back\n" + "\n".join(lines[chapter:]))
    assert lab.influxdb(_MEASURED)["series"][0]["values"][0][1] >= count, "the metrics of the backup are there again"
    lab.sh("cp1", "rm -rf /root/way-back /var/lib/etcd.before-restore /var/lib/kubefab/influxdb/.restore")
    assert_back(lab, before)


def saved(lab: Lab, folder: Path, *more: str) -> tuple[Path, tuple[str, ...]]:
    """An encrypted backup, and the command that restores it."""
    key = pyrage.x25519.Identity.generate()
    (folder / "key").write_text(f"{key}\n")
    variables = {"KUBEFAB_LAB_BACKUP_RECIPIENT": str(key.to_public())}
    lab.run("inv", "cluster.backup", "--env", "lab", "--to", str(folder), *more, **variables)
    (path,) = folder.glob("*.tar.age")
    record, texts = Reader(path, [key]).whole()
    assert record.keys > 100 and texts["files/etc/kubernetes/pki/sa.key"].startswith(b"-----BEGIN")
    left = "ls -A /var/lib/kubefab/backup /var/lib/kubefab/influxdb/.kubefab-backup 2>/dev/null"
    assert not lab.sh("cp1", left, check=False)
    identity = ("--identity", str(folder / "key"), "--env", "lab", "--yes", "lab", "--json")
    return path, ("inv", "cluster.restore", str(path), *identity)


def test_a_cluster_comes_back_from_its_backup(healthy: Lab, tmp_path: Path) -> None:
    """Killed at each step, once with cp1's power; then on a new machine. A service on the workers is asked all the time."""
    lab = healthy
    with lab.asked() as probe:
        before = marked(lab)
        _, again = saved(lab, tmp_path, "--metrics")
        assert "--discard-live" in lab.run(*again, expect=1).output
        lose(lab, before)
        output = lab.killed_through(_STEPS, argv=again, cut={_POWER: lambda: power_cut(lab)}).output
        said = json.loads(output[output.index("\n{\n") :])  # behind what is for people
        assert said["verified"] and said["checks"] and not said["unknown"]["error"] and not said["unknown"]["nodes"], (
            said
        )
        assert_back(lab, before)

        machines.destroy("cp1")
        lab.run("inv", "lab.up", "--workers", str(len(lab.environment.workers)))
        stranger = lab.run(*again, expect=1)  # it has another host key
        forget = re.search(r"remove\s+lines?\s+([\d, ]+?)\s+from\s+(\S+)\s+and", stranger.output)
        assert forget, str(stranger)
        numbers, known = {int(one) for one in forget[1].split(",")}, Path(forget[2])
        lines = known.read_text().splitlines(keepends=True)
        known.write_text("".join(line for number, line in enumerate(lines, 1) if number not in numbers))
        lab.run(*again, "--metrics")
        assert_back(lab, before)
    print(probe)
    probe.assert_never_away(node.name for node in lab.environment.workers)
    lab.kubectl("delete configmap before")


def power_cut(lab: Lab) -> None:
    """cp1 loses its power, and comes back."""
    machines.kill("cp1")
    machines.start("cp1")
    manifest = lab.sh("cp1", "ls /etc/kubernetes/manifests/etcd.yaml 2>/dev/null", check=False)
    assert not manifest, "etcd would start with what is there"
