"""The two judges of other tests, on a healthy cluster and on one that is not: what cannot fail proves nothing. And the lab keeps its word on etcd."""

from __future__ import annotations

import json
import re

import pytest
from asking import OUTAGE

from lab_bed import Lab


def test_kubeadms_own_specs_pass_and_name_what_is_missing(healthy: Lab) -> None:
    lab, config = healthy, "-n kube-system get configmap kubelet-config"
    lab.kubeadm_specs()
    kept = json.loads(lab.kubectl(f"{config} -o json"))
    kept["metadata"] = {key: kept["metadata"][key] for key in ("name", "namespace")}
    lab.kubectl("-n kube-system delete configmap kubelet-config")
    try:
        with pytest.raises(AssertionError, match="kubelet-config ConfigMap should exist"):
            lab.kubeadm_specs()
    finally:
        lab.sh("cp1", f"kubectl create -f - <<'END'\n{json.dumps(kept)}\nEND")
    assert lab.kubectl("-n kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token") == ""


@pytest.mark.looks
def test_a_service_is_asked_through_every_node_and_an_outage_is_seen(healthy: Lab) -> None:
    lab = healthy
    with lab.asked() as probe:
        every = (probe, *probe.through.values())
        lab.eventually("many questions", lambda: all(seen.count - seen.failures >= 50 for seen in every))
    assert probe.well and probe.longest_gap < OUTAGE and len(probe.answered_by) == 2, str(probe)
    assert {name: len(seen.answered_by) for name, seen in probe.through.items()} == dict.fromkeys(lab.names, 2), str(
        probe
    )
    with lab.asked() as probe:
        lab.kubectl("-n asked scale deployment web --replicas 0")
        lab.eventually("nothing answers any more", lambda: probe.failures > 5)
    assert probe.longest_gap > 1 and not probe.well, str(probe)
    assert "NotFound" in lab.kubectl("get namespace asked 2>&1", check=False)


@pytest.mark.looks
def test_etcd_is_what_the_tag_of_its_image_says(healthy: Lab) -> None:
    image = healthy.kubectl(
        "-n kube-system get pods -l component=etcd -o jsonpath='{.items[0].spec.containers[0].image}'"
    )
    container = "$(crictl ps -q --name '^etcd$')"
    said = healthy.sh("cp1", f"crictl exec {container} etcd --version; crictl exec {container} etcdctl version")
    tag = image.rpartition(":")[2].partition("-")[0]
    assert re.findall(r"^etcd(?:ctl)? [Vv]ersion: (\S+)", said, re.MULTILINE) == [tag, tag], (image, said)
