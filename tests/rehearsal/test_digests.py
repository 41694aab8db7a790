"""Images by digest on simulated nodes: a lock file written from one cluster is checked on the next."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile.inventory import images
from fabfile.recipes.kubeadm import recipe_for
from fabfile.views import digests
from rehearsal_bed import Bed


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """Clean nodes, and a lock file written from the cluster that they were before."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bed = Bed(tmp_path)
    bed.healthy()
    lock(bed).write_text("ghcr.io/not/ours:1 sha256:" + "0" * 64 + "\n")  # any pin makes kubefab observe digests
    name(bed)
    found = digests.collect(recipe_for(bed.environment), "cp1", bed.facts())
    lock(bed).write_text(images.render(found.pins))
    assert len(found.pins) == 12
    bed.reset()
    return bed


def lock(bed: Bed) -> Path:
    return bed.environment.state.parent / "images.lock"


def name(bed: Bed) -> None:
    """With IMAGE_DIGESTS_STRICT: what `inv cluster.digests` writes must do for it."""
    settings = replace(bed.environment.settings, image_digests=str(lock(bed)), image_digests_strict=True)
    bed.environment = replace(bed.environment, settings=settings)


def repin(bed: Bed, image: str) -> str:
    """Pin another digest for an image, as if its tag had been pushed again; returns the digest."""
    other = "sha256:" + "e" * 64
    text, count = re.subn(rf"^(\S*{image}:\S+) \S+$", rf"\1 {other}", lock(bed).read_text(), flags=re.M)
    assert count == 1
    lock(bed).write_text(text)
    return other


def test_the_same_images_make_the_same_cluster_and_then_there_is_nothing_to_do(pinned: Bed) -> None:
    outcome = pinned.bootstrap()
    assert set(outcome.states.values()) == {"done"}
    assert pinned.bootstrap().result.steps == 0
    running = {image for host in outcome.simulation.hosts.values() for pod in host.pods for image in pod.images}
    assert {i.split("/", 1)[1].split(":")[0] for i in running if "@sha256:" not in i} == {
        "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "coredns/coredns", "kube-proxy",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("image", "where"),
    [("kube-apiserver", {"cp1"}), ("kube-proxy", {"cp1", "w1", "w2"}), ("pause", {"cp1", "w1", "w2"})],
)
def test_another_image_under_the_tag_is_refused_before_anything_runs(pinned: Bed, image: str, where: set[str]) -> None:
    other = repin(pinned, image)
    outcome = pinned.bootstrap()
    assert set(outcome.failed) == where
    error = outcome.failed["cp1"]
    assert re.search(rf"{image}:\S+: the registry serves sha256:[0-9a-f]{{64}}, pinned is {other}", error.output)
    assert "images.lock" in error.remedy
    for host in outcome.simulation.hosts.values():
        assert host.pods == []
        assert not host.exists("/etc/kubernetes/admin.conf")
        assert not any(f"/{image}:" in held for held in host.images) or host.name not in where, (
            "it is removed from the node"
        )


def test_after_a_fix_of_the_lock_file_the_same_command_continues(pinned: Bed) -> None:
    right = lock(pinned).read_text()
    repin(pinned, "kube-scheduler")
    assert set(pinned.bootstrap().failed) == {"cp1"}
    lock(pinned).write_text(right)
    assert set(pinned.bootstrap().states.values()) == {"done"}


def test_a_pinned_image_is_not_pulled_under_another_digest(pinned: Bed) -> None:
    repin(pinned, "flannel-cni-plugin")
    error = pinned.bootstrap().failed["cp1"]
    assert "flannel-cni-plugin" in error.output
    assert "it does not serve the image that images.lock pins" in error.remedy


def test_a_cluster_that_runs_another_image_is_named_and_not_touched(pinned: Bed) -> None:
    pinned.bootstrap()
    repin(pinned, "kube-proxy")
    outcome = pinned.bootstrap()
    assert set(outcome.failed) == {"cp1", "w1", "w2"}
    assert "on this node is sha256:" in outcome.failed["w1"].message
    assert outcome.result.steps == 0


def test_one_run_pins_a_cluster_that_runs_tags(pinned: Bed) -> None:
    by_digest = pinned.environment
    pinned.environment = replace(by_digest, settings=replace(by_digest.settings, image_digests=""))
    pinned.bootstrap()
    pinned.environment = by_digest
    assert set(pinned.bootstrap().states.values()) == {"done"}
    assert pinned.bootstrap().result.steps == 0


def test_a_file_can_be_written_again_from_a_cluster_that_runs_by_digest(pinned: Bed) -> None:
    pinned.bootstrap()
    found = digests.collect(recipe_for(pinned.environment), "cp1", pinned.facts())
    assert images.render(found.pins) == lock(pinned).read_text()
