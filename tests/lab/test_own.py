"""The operator's own things on real nodes: add-ons, hooks, labels and taints; and the file that says nothing of them any more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.inventory import PROJECT
from lab_bed import Lab

SPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
SHOP = """apiVersion: v1
kind: Secret
metadata: {name: key, namespace: shop}
stringData: {word: planted-in-an-add-on}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: shop, namespace: shop}
spec:
  replicas: {{ nodes | length - 1 }}
  serviceName: shop
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: shop, image: "{{ settings.probe_image }}", command: [sleep, "100000"]}]
"""
HOOK = "#!/bin/sh\n[ -e /run/quota ] || { echo no quota for $KUBEFAB_NODE; exit 7; }\nrm /run/quota\n"


@pytest.fixture
def own() -> Iterator[list[Path]]:
    """The folders beside hosts.env, as they belong to the lab only; they are gone afterwards."""
    folders = [PROJECT / name / "lab" for name in ("addons", "hooks")]
    for folder in folders:
        folder.mkdir(parents=True)
    (folders[0] / "10-space.yaml").write_text(SPACE)
    (folders[0] / "20-shop.yaml.j2").write_text(SHOP)
    (folders[1] / "before-join.node.sh").write_text(HOOK)
    (folders[1] / "before-join.node.sh").chmod(0o755)
    yield folders
    take_out(folders)


def take_out(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder.parent, ignore_errors=True)


def test_addons_hooks_labels_and_taints_come_and_go(without_w2: Lab, own: list[Path]) -> None:
    lab = without_w2
    line = {"KUBEFAB_LAB_WORKER_2": "172.30.44.22 name=w2 labels=disk=ssd taints=gpu=yes:NoSchedule"}
    stopped = lab.bootstrap(expect=1, **line)
    assert "w2: hook before-join.node.sh failed (exit code 7)" in stopped.output and "no quota for w2" in stopped.output
    lab.sh("w2", "touch /run/quota")
    lab.bootstrap(**line)
    w2 = json.loads(lab.kubectl("get node $w2 -o json"))
    assert w2["metadata"]["labels"]["disk"] == "ssd"
    assert {"key": "gpu", "value": "yes", "effect": "NoSchedule"} in w2["spec"]["taints"]
    assert lab.kubectl("-n shop get statefulset shop -o jsonpath='{.status.readyReplicas}'") == "2"
    assert "nothing to do" in lab.bootstrap(**line).output

    take_out(own)
    lab.bootstrap()
    w2 = json.loads(lab.kubectl("get node $w2 -o json"))
    assert "disk" not in w2["metadata"]["labels"] and "gpu" not in {t["key"] for t in w2["spec"].get("taints", ())}
    assert lab.kubectl("-n shop get statefulset,secret --no-headers") == ""
    texts = [path.read_text() for path in lab.journals.glob("*.jsonl")]
    assert "planted-in-an-add-on" not in "\n".join((*texts, *lab.outputs))
    lab.kubectl(
        "delete namespace shop --wait=false"
    )  # a namespace that has lost its file stays, as it may hold others' objects
