"""Patch and minor releases one after another on real nodes, with full disks, a budget that allows nothing and a control plane without power.

`make upgrades`: it takes a release more than the other tests (seven minutes the first time), and a quarter of an hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from upgrade_bed import cordoned, proved, says, serving, shown

from lab import nodes as machines
from lab_bed import RECONNECT, Done, Lab

FIRST, SECOND, THIRD = RELEASES = ("1.36.1", "1.36.3", "1.37.2")
# Folders that have room and take no further file, as `df` does not show it beforehand.
FULL = {
    "w1": ("/var/cache/apt/archives", 4, "ahead.packages"),
    "w2": ("/var/lib/containerd/io.containerd.content.v1.content/ingest", 1, "ahead.images"),
}
PATCH = '-n asked patch poddisruptionbudget web --type merge -p \'{"spec": {"minAvailable": %d}}\''


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Lab]:
    """The lab with all three releases."""
    with serving(lab, ",".join(RELEASES), request.config):
        yield lab


def begun(lab: Lab, release: str) -> None:
    """A healthy cluster of that release, the one of the test before if it has it."""
    says(lab, release)
    if lab.kubectl("get --raw /version", check=False).count(f'"v{release}"') != 1:
        lab.reset("--purge")
    lab.bootstrap()


def upgrade(lab: Lab, to: str, *more: str, expect: int = 0) -> Done:
    return lab.run(
        "inv", "cluster.upgrade", "--env", "lab", "--to", to, "--no-backup", *more, expect=expect, timeout=1800
    )


def kubeadms(lab: Lab) -> set[str]:
    """The releases of the package that an upgrade changes first."""
    return {lab.sh(name, "dpkg-query -f '${Version}' -W kubeadm").partition("-")[0] for name in lab.names}


def test_a_patch_release_with_full_disks(served: Lab) -> None:
    """Both are named at once, before a node is changed; with room again the same command goes on."""
    lab = served
    begun(lab, FIRST)
    try:
        for name, (folder, files, _) in FULL.items():
            lab.sh(name, f"mount -t tmpfs -o size=8g,nr_inodes={files} full {folder}")
        done = upgrade(lab, SECOND, expect=1)
    finally:
        for name, (folder, _, _) in FULL.items():
            lab.sh(name, f"umount {folder}", check=False)
    for name, (_, _, step) in FULL.items():
        assert f"✗ {name} · {step}" in done.output, str(done)
    assert done.output.lower().count("no space left on device") >= len(FULL), str(done)
    assert cordoned(lab) == [] and kubeadms(lab) == {FIRST}
    upgrade(lab, SECOND)
    proved(lab, SECOND)


def test_a_minor_release_with_a_budget_and_a_power_cut_of_the_control_plane(
    served: Lab, request: pytest.FixtureRequest
) -> None:
    """etcd takes its own step first; without power in the midst of kubeadm, the same command goes on."""
    lab = served
    begun(lab, SECOND)
    before = lab.sh("cp1", "grep -o 'etcd:3.*' /etc/kubernetes/manifests/etcd.yaml")
    assert before.startswith("etcd:3.6.8"), "3.7 must not follow it"
    with lab.asked() as probe:
        lab.kubectl(PATCH % 2)
        done = upgrade(lab, THIRD, expect=1)
        for said in ("nothing was touched", "pod asked/web-", "PodDisruptionBudget web allows no disruption"):
            assert said in done.output, str(done)
        assert cordoned(lab) == [] and kubeadms(lab) == {SECOND}
        lab.kubectl(PATCH % 1)
        shown_plan = lab.run(
            "inv", "cluster.upgrade", "--env", "lab", "--to", THIRD, "--plan", "--json", expect=3
        ).output
        plan = json.loads(shown_plan[shown_plan.index("{") :])  # after what the command does meanwhile
        assert any("is rolled in first" in note for note in plan["notes"]), plan["notes"]
        process = lab.start("inv", "cluster.upgrade", "--env", "lab", "--to", THIRD, "--no-backup", **RECONNECT)
        lab.until_step(process, "plane.applied", node="cp1")
        assert lab.sh("cp1", "grep -o 'etcd:3[^ ]*' /var/lib/kubefab/etcd-before.yaml") == before, "it was rolled first"
        new = f"grep ':v{THIRD}' /etc/kubernetes/manifests/kube-apiserver.yaml"
        lab.eventually("kubeadm is at the API", lambda: lab.sh("cp1", new, check=False), 900)
        machines.kill("cp1")
        done = lab.end(process)
        machines.start("cp1")
        assert done.code == 1 and "cp1" in done.output, str(done)
        upgrade(lab, THIRD)
    shown(probe, request.config)
    assert not probe.failures, str(probe)
    assert lab.sh("cp1", "grep -o 'etcd:3[.0-9]*' /etc/kubernetes/manifests/etcd.yaml").startswith("etcd:3.7")
    proved(lab, THIRD)
