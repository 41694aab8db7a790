"""A backup of a real cluster, and its way back: after etcd's data are lost, and on a new, empty machine under the old address.

The workers are never touched: their pods keep their containers, and what was signed before is believed afterwards.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pyrage

from fabfile.backups.archive import Reader
from lab import nodes as machines
from lab_bed import Lab

# Containers of workers with their starts, and the kubelet's own: none of it changes while the control plane is away.
_LIFE = "crictl ps -q --name 'kube-(proxy|flannel)' | sort; systemctl show -p MainPID kubelet; sha256sum /etc/kubernetes/kubelet.conf"
_REVIEW = json.dumps({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"})
_WATCH = "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=5&resourceVersion="


@dataclass(frozen=True)
class Before:
    """What a cluster had when it was saved."""

    uid: str
    token: str
    revision: str
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
    seen = lab.kubectl(f"get --raw '{_WATCH}{before.revision}' 2>&1", check=False)
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
        revision(lab),
        node_uids(lab),
        {node.name: lab.sh(node.name, _LIFE) for node in lab.environment.workers},
    )


def lose(lab: Lab) -> None:
    """An object comes that no backup has; then etcd's data are lost."""
    lab.kubectl("create configmap after --from-literal=a=b")
    lab.sh("cp1", "systemctl stop kubelet; crictl stop $(crictl ps -q); rm -rf /var/lib/etcd/member")


def test_a_stranger_restores_it_by_the_guide_in_it(healthy: Lab, tmp_path: Path) -> None:
    """With tar and the commands of RESTORE.txt as they are printed; without kubefab."""
    lab, before = healthy, marked(healthy)
    lab.run("inv", "cluster.backup", "--env", "lab", "--to", str(tmp_path), "--plain")
    (path,) = tmp_path.glob("*.tar")
    lose(lab)
    unpacked = machines.exec(
        "cp1",
        ["bash", "-c", "install -d -m 0700 /root/way-back; base64 -d | tar -xf - -C /root/way-back"],
        stdin=base64.b64encode(path.read_bytes()).decode(),
    )
    assert unpacked.returncode == 0, unpacked.stderr
    guide = Reader(path, []).whole()[1]["RESTORE.txt"].decode()
    lines = [line.strip() for line in guide.splitlines() if line.startswith("    ")]
    assert len(lines) > 8
    lab.sh("cp1", "set -e; cd /root/way-back\n" + "\n".join(lines))
    lab.eventually("the API answers", lambda: lab.kubectl("get --raw=/readyz", check=False) == "ok", 120)
    assert_back(lab, before)
    lab.sh("cp1", "rm -rf /root/way-back /var/lib/etcd.before-restore")


def test_a_cluster_comes_back_from_its_backup(healthy: Lab, tmp_path: Path) -> None:
    lab, key, before = healthy, pyrage.x25519.Identity.generate(), marked(healthy)
    (tmp_path / "key").write_text(f"{key}\n")
    lab.run(
        "inv",
        "cluster.backup",
        "--env",
        "lab",
        "--to",
        str(tmp_path),
        KUBEFAB_LAB_BACKUP_RECIPIENT=str(key.to_public()),
    )
    (path,) = tmp_path.glob("*.tar.age")
    record, texts = Reader(path, [key]).whole()
    assert record.keys > 100 and texts["files/etc/kubernetes/pki/sa.key"].startswith(b"-----BEGIN")
    assert not lab.sh("cp1", "ls -A /var/lib/kubefab/backup 2>/dev/null", check=False)
    again = (
        "inv",
        "cluster.restore",
        str(path),
        "--identity",
        str(tmp_path / "key"),
        "--env",
        "lab",
        "--yes",
        "lab",
        "--json",
    )
    assert "--discard-live" in lab.run(*again, expect=1).output

    lose(lab)
    lab.run(*again)
    assert_back(lab, before)

    machines.destroy("cp1")
    lab.run("inv", "lab.up", "--workers", str(len(lab.environment.workers)))
    stranger = lab.run(*again, expect=1)  # it has another host key
    forget = re.search(r"remove\s+lines?\s+([\d, ]+?)\s+from\s+(\S+)\s+and", stranger.output)
    assert forget, str(stranger)
    numbers, known = {int(one) for one in forget[1].split(",")}, Path(forget[2])
    kept = [line for number, line in enumerate(known.read_text().splitlines(keepends=True), 1) if number not in numbers]
    known.write_text("".join(kept))
    lab.run(*again)
    assert_back(lab, before)
    lab.kubectl("delete configmap before")
