"""Images by digest on real nodes: the lab's registry serves another image under a known tag, and no node runs it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import engine as engines
from lab import nodes as machines
from lab_bed import BOOTSTRAP, Lab

BY_TAG = {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "coredns/coredns", "kube-proxy"}


@contextmanager
def pushed_again(repository: str, tag: str, other: str) -> Iterator[None]:
    """Serve `other`'s image of that tag in `repository` too, as anyone with push rights could do."""
    engine = engines.find()
    assert engine
    mounts = json.loads(engine.docker("inspect", machines.container_name("registry")).stdout)[0]["Mounts"]
    store = (
        Path(next(m["Source"] for m in mounts if m["Destination"] == "/var/lib/registry"))
        / "docker/registry/v2/repositories"
    )
    link = store / repository / "_manifests/tags" / tag / "current/link"
    right, wrong = link.read_text(), (store / other / "_manifests/tags" / tag / "current/link").read_text()
    made = []
    for folder in ("_manifests/revisions/sha256", "_layers/sha256"):
        for source in (store / other / folder).iterdir():
            target = store / repository / folder / source.name
            if not target.exists():
                shutil.copytree(source, target)
                made.append(target)
    try:
        link.write_text(wrong)
        yield
    finally:
        link.write_text(right)
        for target in made:
            shutil.rmtree(target)


@pytest.fixture(scope="module")
def lock(lab: Lab) -> Path:
    """The lock file of a healthy cluster."""
    path = lab.folder / "images.lock"
    lab.make_healthy()
    done = lab.run("inv", "cluster.digests", "--env", "lab", "--file", str(path))
    assert f"{path}: " in done.output
    return path


def pins(text: str) -> dict[str, str]:
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {
        name: digest for name, digest in lines if "/probe:" not in name
    }  # these are only on nodes where verify has run


def unwrapped(output: str) -> str:
    return re.sub(r"\s*\n\s*│? ?", " ", output)


def named(lock: dict[str, str], part: str) -> str:
    return next(name for name in lock if f"/{part}:" in name)


def test_the_written_lock_file_equals_containerds_images(lab: Lab, lock: Path) -> None:
    found = pins(lock.read_text())
    assert len(found) == 12
    for name, digest in found.items():
        look = f"ctr -n k8s.io images ls name=={name} 2>/dev/null | grep -o 'sha256:[0-9a-f]*' | head -n 1"
        assert {lab.sh(node, look, check=False) for node in lab.names} - {""} == {digest}, name


def test_a_repushed_image_is_refused_and_the_right_ones_are_used(lab: Lab, lock: Path) -> None:
    known = pins(lock.read_text())
    scheduler, manager = named(known, "kube-scheduler"), named(known, "kube-controller-manager")
    lab.reset()
    variables = {"KUBEFAB_LAB_IMAGE_DIGESTS": str(lock)}
    with pushed_again("kube-scheduler", scheduler.rsplit(":", 1)[1], "kube-controller-manager"):
        done = lab.bootstrap(expect=1, **variables)
        assert f"{scheduler}: the registry serves {known[manager]}, pinned is {known[scheduler]}" in unwrapped(
            done.output
        )
        assert "cp1 · registry.digests" in done.output
        for name in lab.names:
            assert (
                lab.sh(name, "ls /etc/kubernetes/*.conf /etc/kubernetes/manifests/*.yaml 2>/dev/null", check=False)
                == ""
            )
            assert lab.sh(name, "crictl ps -aq; crictl pods -q") == ""
        assert "kube-scheduler" not in lab.sh("cp1", "ctr -n k8s.io images ls -q"), "it is removed from the node"
        alone = lab.run("fab", "-H", "master", "init", "--env", "lab", expect=1, **variables)
        assert "the registry serves" in alone.output, "kubeadm alone does not pass the check"
    lab.bootstrap(**variables)
    assert lab.ready() == dict.fromkeys(lab.names, True)
    running = set(
        lab.kubectl(
            "get pods -A -o jsonpath='{range .items[*]}{.spec.containers[*].image} {.spec.initContainers[*].image} {end}'"
        ).split()
    )
    assert {image.split("/", 1)[1].split(":")[0] for image in running if "@sha256:" not in image} == BY_TAG
    assert all(image.split("@")[1] == known[image.split("@")[0]] for image in running if "@" in image)
    pause = named(known, "pause")
    for name in lab.names:
        listed = lab.sh(name, f"ctr -n k8s.io images ls name=={pause.rsplit(':', 1)[0]}@{known[pause]}")
        assert "io.cri-containerd.pinned=pinned" in listed, "the kubelet does not prune it"
    assert "nothing to do" in lab.bootstrap(**variables).output
    lab.run("inv", "cluster.digests", "--env", "lab", "--file", str(lock), **variables)
    assert pins(lock.read_text()) == known, "also from a cluster that runs by digest"


def test_a_running_cluster_with_another_image_is_named_and_unchanged(lab: Lab, lock: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "images.lock"
    other = "sha256:" + "e" * 64
    wrong.write_text(re.sub(r"(/kube-proxy:\S+) \S+", rf"\1 {other}", lock.read_text()))
    generations = lab.kubectl("get ds,deploy -A -o jsonpath='{.items[*].metadata.generation}'")
    done = lab.run(*BOOTSTRAP, expect=1, KUBEFAB_LAB_IMAGE_DIGESTS=str(wrong))
    for name in lab.names:
        assert re.search(rf"^{name} +failed", done.output, flags=re.M)
    assert f"pinned is {other}" in unwrapped(done.output)
    assert lab.kubectl("get ds,deploy -A -o jsonpath='{.items[*].metadata.generation}'") == generations
    assert lab.ready() == dict.fromkeys(lab.names, True)


def test_without_the_lock_file_tags_are_used_again(lab: Lab, lock: Path) -> None:
    lab.bootstrap()
    assert lab.ready() == dict.fromkeys(lab.names, True)
    assert "nothing to do" in lab.bootstrap().output
