"""The lab's pure parts: versions, recipes, cached items, packages and images; without network and Docker."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tarfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from lab import (
    aptrepo,
    build,
    debs,
    gobuild,
    images,
    layers,
    lock_modules,
    pace,
    paths,
    recipes,
    releases,
    versions,
    webview,
)
from lab.errors import LabError
from lab.items import Cache, Item, Make, duration


@pytest.mark.parametrize(
    ("text", "full"),
    [("", "1.36.3"), ("1.36", "1.36.3"), ("v1.35", "1.35.4"), ("1.37.2", "1.37.2"), ("1.36.1", "1.36.1")],
)
def test_a_minor_version_means_its_known_patch(text: str, full: str) -> None:
    assert versions.kubernetes(text).version == full


@pytest.mark.parametrize("text", ["1", "latest", "1.99", "1.36.x"])
def test_an_unknown_version_is_a_usage_error_with_a_remedy(text: str) -> None:
    with pytest.raises(LabError) as caught:
        versions.kubernetes(text)
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_several_versions_are_each_served_once_and_the_first_stays_first() -> None:
    assert [r.version for r in versions.releases("1.36.3, 1.36.1,1.37,1.36")] == ["1.36.3", "1.36.1", "1.37.2"]
    assert versions.releases("") == (versions.kubernetes(),)
    for text in (",", "1.36,", "1.36,latest"):
        with pytest.raises(LabError) as caught:
            versions.releases(text)
        assert caught.value.exit_code == 2


def test_release_gives_repository_and_staging_versions() -> None:
    release = versions.kubernetes("1.37.2")
    assert (release.minor, release.staging) == ("1.37", "v0.37.2")


def test_machine_names() -> None:
    assert versions.debian_arch("x86_64") == "amd64"
    assert versions.debian_arch("aarch64") == "arm64"
    with pytest.raises(LabError):
        versions.debian_arch("riscv64")


def test_a_wrapper_has_the_modules_own_dependencies_and_no_folder_of_its_tree() -> None:
    go_mod = (
        "module k8s.io/kubernetes\n\ngo 1.26.0\n\nrequire github.com/a v1.0.0\n\n"
        "replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/cri-api v0.0.0 => ./staging/x\n)\n"
        "replace github.com/a => github.com/b v1.0.0\nreplace k8s.io/one => ../one\n"
    )
    pinned = gobuild.wrapper(go_mod, "k8s.io/kubernetes", "v1.36.3", "v0.36.3")
    assert pinned.startswith("module kubefab.lab/build\n\ngo 1.26.0\n\nrequire github.com/a v1.0.0\n")
    assert "\n\tk8s.io/api => k8s.io/api v0.36.3\n\tk8s.io/cri-api => k8s.io/cri-api v0.36.3\n" in pinned
    assert "\nreplace k8s.io/one => k8s.io/one v0.36.3\n" in pinned
    assert pinned.endswith("\nrequire k8s.io/kubernetes v1.36.3\n")
    free = gobuild.wrapper(go_mod, "k8s.io/kubernetes", "v1.36.3", "")
    assert "k8s.io/api" not in free
    for text in (pinned, free):
        assert "\nreplace github.com/a => github.com/b v1.0.0\n" in text
        assert "=> ." not in text


def test_the_lock_of_the_addons_has_the_versions_of_the_recipe() -> None:
    lines = (gobuild.LOCKED / "go.mod").read_text().splitlines()
    assert {f"\t{module} {version}" for module, version in recipes.ADDONS.versions} <= set(lines)
    assert {module for _, module, _ in recipes.ADDONS.edited} <= {module for module, _ in recipes.ADDONS.versions}


def test_a_lock_names_each_module_once() -> None:
    assert lock_modules.lock("module m\n", ["b v2", "", "a v1", "b v2"]) == "module m\n\nrequire (\n\ta v1\n\tb v2\n)\n"


def test_commands_are_the_files_a_build_leaves() -> None:
    assert gobuild.commands(recipes.kubeadm_specs(versions.kubernetes())) == [recipes.SPECS]
    assert [gobuild.commands(recipes.etcd("3.6.6-0", name)) for name in recipes.ETCD_PROGRAMS] == [
        ["etcd"],
        ["etcdctl"],
        ["etcdutl"],
    ]
    assert gobuild.commands(recipes.ADDONS) == ["coredns", "flanneld", "crictl", "telegraf"]


def test_the_compiler_takes_the_memory_that_is_there() -> None:
    gib = 2**30
    assert gobuild.collector({}, 24 * gib, 2) == {"GOGC": "400"}
    assert gobuild.collector({}, 8 * gib, 2) == {"GOGC": "200"}
    assert gobuild.collector({}, 8 * gib, 4) == {}
    assert gobuild.collector({"GOGC": "50"}, 24 * gib, 2) == {}


def test_kubernetes_recipe_stamps_the_version_in_both_places() -> None:
    program = recipes.kubernetes(versions.kubernetes("1.36.3"))
    assert "k8s.io/component-base/version.gitVersion=v1.36.3" in program.stamp
    assert "k8s.io/client-go/pkg/version.gitMinor=36" in program.stamp
    assert "k8s.io/kubernetes/cmd/kubeadm" in program.imports


@pytest.mark.parametrize("tag", ["3.6.6-0", "3.6.16-0", "3.7.0-0"])
def test_etcd_is_what_the_tag_of_its_image_says(tag: str) -> None:
    assert {recipes.etcd(tag, name).version for name in recipes.ETCD_PROGRAMS} == {f"v{tag.removesuffix('-0')}"}


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        (["3.6.8-0"], ["3.6.8-0"]),
        (["3.7.0-0", "3.7.0-0"], ["3.7.0-0"]),
        (["3.6.8-0", "3.6.6-0", "3.6.8-0"], ["3.6.6-0", "3.6.8-0"]),
        (["3.7.0-0", "3.6.8-0"], ["3.6.8-0", "3.6.16-0", "3.7.0-0"]),
        (["3.6.11-0", "3.7.0-0"], ["3.6.11-0", "3.7.0-0"]),
        (["3.6.8-0", "3.6.16-0", "3.7.0-0"], ["3.6.8-0", "3.6.16-0", "3.7.0-0"]),
    ],
)
def test_the_way_to_etcd_3_7_has_its_step(asked: list[str], served: list[str]) -> None:
    assert recipes.etcd_tags(asked) == served


def test_etcds_archive_has_its_programs_and_the_digest_beside_it(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in recipes.ETCD_PROGRAMS}
    for name, folder in folders.items():
        folder.mkdir()
        (folder / name).write_text(f"program {name}")
        (folder / name).chmod(0o755)
    releases.write("v3.6.8", "amd64", folders, tmp_path / "www")
    path = tmp_path / "www/v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz"
    with tarfile.open(path) as tar:
        assert tar.getnames() == [f"etcd-v3.6.8-linux-amd64/{name}" for name in recipes.ETCD_PROGRAMS]
        assert {member.mode for member in tar} == {0o755}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (path.parent / "SHA256SUMS").read_text() == f"{digest}  {path.name}\n"


def test_without_lines() -> None:
    assert gobuild.without_lines("a\nb tencent\nc\nd udp\n", ("tencent", "udp")) == "a\nc\n"


def test_kubeadm_tags_are_read_from_its_source() -> None:
    source = '\tDefaultEtcdVersion = "3.6.8-0"\n\tCoreDNSVersion = "v1.14.2"\n\tPauseVersion = "3.10.2"\n'
    assert images.kubeadm_tags(source) == images.Tags("3.6.8-0", "v1.14.2", "3.10.2")


class Clock:
    """A clock that a test sets by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def item(name: str, made: list[str], needs: tuple[str, ...] = (), recipe: object = 1, fail: bool = False) -> Item:
    def make(work: Path, out: Path, inputs: dict[str, Path]) -> None:
        assert all(folder.is_dir() for folder in inputs.values())
        (out / "file").write_text(name)
        if fail:
            raise KeyboardInterrupt
        made.append(name)

    return Item(name, recipe, make, needs)


def test_items_are_built_once_and_their_folders_returned(tmp_path: Path) -> None:
    made: list[str] = []
    plan = [item("a", made), item("b", made, ("a",))]
    folders = Cache(tmp_path, lambda _: None).build(plan)
    assert (folders["b"] / "file").read_text() == "b"
    said: list[str] = []
    assert Cache(tmp_path, said.append).build(plan) == folders
    assert made == ["a", "b"]
    assert said == []


def test_a_changed_recipe_rebuilds_it_and_what_is_made_from_it(tmp_path: Path) -> None:
    made: list[str] = []
    Cache(tmp_path, lambda _: None).build([item("a", made), item("b", made, ("a",)), item("c", made)])
    changed = [item("a", made, recipe=2), item("b", made, ("a",)), item("c", made)]
    Cache(tmp_path, lambda _: None).build(changed)
    assert made == ["a", "b", "c", "a", "b"]


def test_an_interrupted_build_continues_where_it_stopped(tmp_path: Path) -> None:
    made: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path, lambda _: None).build([item("a", made), item("b", made, fail=True)])
    folders = Cache(tmp_path, lambda _: None).build([item("a", made), item("b", made)])
    assert made == ["a", "b"]
    assert folders["b"].is_dir()


def test_progress_names_item_count_and_time_left(tmp_path: Path) -> None:
    clock, said = Clock(), list[str]()

    def takes(seconds: float) -> Make:
        def make(work: Path, out: Path, inputs: dict[str, Path]) -> None:
            clock.now += seconds

        return make

    plan = [
        Item("debian", 1, takes(20), seconds=10),
        Item("go", 1, takes(120), seconds=30, compiles=True),
        Item("more", 1, takes(40), seconds=10, compiles=True),
        Item("base", 1, takes(20), seconds=10),
    ]
    Cache(tmp_path, said.append, clock, lambda: 3.0).build(plan)
    assert [line for line in said if "building" in line] == [
        # The compiling pace was measured, the rest uses the default; then both are as measured.
        "[1/4] building debian (elapsed 0 s, about 2 min 20 s left)",
        "[2/4] building go (elapsed 20 s, about 2 min 20 s left)",
        "[3/4] building more (elapsed 2 min 20 s, about 1 min 00 s left)",
        "[4/4] building base (elapsed 3 min 00 s, about 20 s left)",
    ]


def test_the_pace_is_measured_only_before_a_compile(tmp_path: Path) -> None:
    def never() -> float:
        raise AssertionError

    Cache(tmp_path, lambda _: None, pace=never).build([item("a", [])])


def test_the_pace_follows_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(pace, "work", lambda text: None)

    def tick() -> float:
        clock.now += pace.REFERENCE_SECONDS  # each piece of work takes as long as on the reference machine
        return clock.now

    assert [pace.measured(cores, tick) for cores in (1, 2, 8, 64)] == pytest.approx([2, 1, 0.25, 0.25])


def test_sources_are_fetched_ahead_into_each_items_work_folder(tmp_path: Path) -> None:
    fetched = Event()

    def fetch(work: Path) -> None:
        (work / "module").write_text("m")
        fetched.set()

    def slow(work: Path, out: Path, inputs: dict[str, Path]) -> None:
        assert fetched.wait(30)  # the next item's fetch does not wait for this item's build

    def make(work: Path, out: Path, inputs: dict[str, Path]) -> None:
        (out / "program").write_text((work / "module").read_text())

    folders = Cache(tmp_path, lambda _: None).build([Item("debian", 1, slow), Item("go", 1, make, fetch=fetch)])
    assert (folders["go"] / "program").read_text() == "m"


def test_a_failed_fetch_ends_the_build_before_the_next_item(tmp_path: Path) -> None:
    next_one = Event()

    def fetch(work: Path) -> None:
        raise LabError("no registry")

    def after(work: Path) -> None:
        next_one.set()  # fetches run one after another, so the first has failed by now

    def slow(work: Path, out: Path, inputs: dict[str, Path]) -> None:
        assert next_one.wait(30)

    made: list[str] = []
    later = [replace(item("go", made), fetch=fetch), replace(item("more", made), fetch=after)]
    with pytest.raises(LabError, match="no registry"):
        Cache(tmp_path, lambda _: None).build([Item("debian", 1, slow), item("base", made), *later])
    assert made == []


def test_duration() -> None:
    assert [duration(s) for s in (0.4, 59.6, 61, 725)] == ["0 s", "1 min 00 s", "1 min 01 s", "12 min 05 s"]


def plan_of(stand_in: bool, folder: Path, *releases: str) -> list[Item]:
    tags = {release: images.Tags("3.6.8-0", "v1.14.2", "3.10.2") for release in versions.releases(",".join(releases))}
    tags |= {release: images.Tags("3.7.0-0", "v1.14.6", "3.10.2") for release in tags if release.minor == "1.37"}
    return build.plan(tags, "amd64", aptrepo.SigningKey(folder, "F"), stand_in)


def keys_of(items: list[Item]) -> list[str]:
    """The items' folders in a cache."""
    cache = Cache(Path("/nowhere"), lambda _: None)
    return [cache.key(one) for one in items]


def test_a_release_is_not_built_again_for_another_set_of_releases(tmp_path: Path) -> None:
    """Only the two trees that the servers serve are put together again, from links."""
    one, other = (keys_of(plan_of(False, tmp_path, release)) for release in ("1.36.3", "1.37.2"))
    both = keys_of(plan_of(False, tmp_path, "1.36.3", "1.37.2"))
    again = {key.rsplit("-", 1)[0] for key in both if key not in one + other}
    step = {f"{name}-v3.6.16" for name in (*recipes.ETCD_PROGRAMS, "archive")} | {"images-etcd-3.6.16-0"}
    assert again == {"packages-1.36.3+1.37.2", "registry-1.36.3+1.37.2"} | step
    assert keys_of(plan_of(False, tmp_path, "1.37.2", "1.36.3")) == both, "the first one is a matter of hosts.env"
    assert len(set(both)) == len(both)


@pytest.mark.parametrize("releases", [(), ("1.37.2", "1.36.1", "1.36.3")])
def test_cheap_items_are_built_first_and_dependencies_before_their_use(
    tmp_path: Path, releases: tuple[str, ...]
) -> None:
    items = plan_of(False, tmp_path, *releases)
    compiles = [i.compiles for i in items]
    first = compiles.index(True)
    assert {"debian", "node", "base", "infra", "web-view", "pause-3.10.2"} == {i.name for i in items[:first]}
    assert sum(i.seconds for i in items[:first]) < 120
    for number, one in enumerate(items):
        assert set(one.needs) <= {i.name for i in items[:number]}


def test_a_proof_build_compiles_nothing_and_has_every_item(tmp_path: Path) -> None:
    proof = plan_of(True, tmp_path, "1.36.3", "1.37.2")
    assert sorted(i.name for i in proof) == sorted(i.name for i in plan_of(False, tmp_path, "1.36.3", "1.37.2"))
    assert not any(i.compiles or i.fetch for i in proof)
    for number, one in enumerate(proof):
        assert set(one.needs) <= {i.name for i in proof[:number]}


def test_programs_with_a_path_limit_get_a_short_path(tmp_path: Path) -> None:
    folder = tmp_path / ("한글 폴더 " * 8)
    folder.mkdir()
    with paths.short(folder) as link:
        assert len(str(link / "S.gpg-agent.browser").encode()) < 60
        assert not re.search(r"\s", str(link))
        (link / "file").write_text("x")
    assert (folder / "file").read_text() == "x"
    assert not link.exists()


def test_layers_are_the_same_for_the_same_input(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"x" * 10)
    files: list[tuple[str, Path | bytes, int]] = [
        ("usr/bin/program", program, 0o755),
        ("bin", b"usr/bin", 0),
        ("tmp/", b"", 0o1777),
    ]
    one = layers.write_files(tmp_path / "1.tar", files)
    two = layers.write_files(tmp_path / "2.tar", files)
    assert layers.digest_of_file(one) == layers.digest_of_file(two)
    with tarfile.open(one) as tar:
        names = {m.name: m for m in tar.getmembers()}
    assert names["bin"].linkname == "usr/bin"
    assert names["usr/bin/program"].mode == 0o755
    assert names["tmp"].isdir()
    assert names["tmp"].mode == 0o1777


def test_the_registry_store_has_manifest_config_and_layers(tmp_path: Path) -> None:
    layer = layers.write_files(tmp_path / "layer.tar", [("pause", b"program", 0o755)])
    layers.store(tmp_path / "store", [layers.Image("pause", "3.10.2", (layer,), ("/pause",))], "amd64")
    base = tmp_path / "store/docker/registry/v2"
    link = base / "repositories/pause/_manifests/tags/3.10.2/current/link"

    def blob(digest: str) -> bytes:
        value = digest.removeprefix("sha256:")
        data = (base / "blobs/sha256" / value[:2] / value / "data").read_bytes()
        assert layers.digest_of_bytes(data) == digest
        return data

    manifest = json.loads(blob(link.read_text()))
    config = json.loads(blob(manifest["config"]["digest"]))
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert config["rootfs"]["diff_ids"] == [d["digest"] for d in manifest["layers"]]
    assert blob(manifest["layers"][0]["digest"]) == layer.read_bytes()
    for digest in (manifest["config"]["digest"], manifest["layers"][0]["digest"]):
        folder = base / "repositories/pause/_layers/sha256" / digest.removeprefix("sha256:")
        assert (folder / "link").read_text() == digest


def test_a_store_of_several_has_each_image_and_no_tag_twice(tmp_path: Path) -> None:
    def stored(name: str, content: bytes, *tags: str) -> Path:
        layer = layers.write_files(tmp_path / f"{name}.tar", [("program", content, 0o755)])
        layers.store(tmp_path / name, [layers.Image("etcd", tag, (layer,)) for tag in tags], "amd64")
        return tmp_path / name

    one, other = stored("one", b"1", "3.6.8-0", "3.6.9-0"), stored("other", b"2", "3.7.0-0")
    same, lie = stored("same", b"2", "3.7.0-0"), stored("lie", b"3", "3.7.0-0")
    layers.union(tmp_path / "all", [one, other, same])

    def files(root: Path) -> dict[Path, bytes]:
        return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    assert files(tmp_path / "all") == files(one) | files(other)
    with pytest.raises(LabError, match=r"etcd/_manifests/tags/3\.7\.0-0/current"):
        layers.union(tmp_path / "two", [other, lie])


def fake_programs(folder: Path) -> dict[str, Path]:
    kubernetes = ["kubelet", "kubeadm", "kubectl", "bridge", "host-local", "loopback", "portmap", "crictl"]
    names = [*kubernetes, "containerd", "containerd-shim-runc-v2", "ctr", "runc"]
    folder.mkdir()
    found = {n: folder / n for n in names}
    for path in found.values():
        path.write_text("#!/bin/sh\n")
    return found


def test_packages_have_upstreams_names_and_places(tmp_path: Path) -> None:
    bins = fake_programs(tmp_path / "bins")
    found = [*debs.core_debs("1.36.3", "1.1", bins), *debs.tool_debs("1.1", "1.9.1", "1.37.0", bins)]
    built = {d.name: d for d in found}
    assert set(built) == {"kubelet", "kubeadm", "kubectl", "kubernetes-cni", "cri-tools"}
    targets = {t for d in built.values() for t, _, _ in d.files}
    assert "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf" in targets
    assert "/opt/cni/bin/portmap" in targets
    assert "kubernetes-cni (>= 1.2.0)" in built["kubelet"].depends
    assert built["kubeadm"].version == "1.36.3-1.1"
    assert "systemctl enable kubelet" in built["kubelet"].scripts["postinst"]
    assert "restart" not in built["kubelet"].scripts["postinst"]
    runtime = debs.containerd_deb("2.2.1-1", bins)
    assert runtime.conffiles == ("/etc/containerd/config.toml",)
    assert "/usr/bin/runc" in {t for t, _, _ in runtime.files}


def test_control_leaves_out_empty_fields() -> None:
    text = debs.control(debs.Deb("kubectl", "1", (), "Talks to a cluster"), "amd64", 3)
    assert "Package: kubectl\n" in text
    assert "Depends" not in text


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_the_index_describes_a_real_package(tmp_path: Path) -> None:
    bins = fake_programs(tmp_path / "bins")
    out = tmp_path / "repo/amd64"
    out.mkdir(parents=True)
    deb = debs.core_debs("1.36.3", "1.1", bins)[0]
    path = debs.build_deb(deb, "amd64", tmp_path / "work", out)
    index = debs.packages_index([path], tmp_path / "repo")
    assert "Filename: amd64/kubelet_1.36.3-1.1_amd64.deb\n" in index
    assert f"Size: {path.stat().st_size}\n" in index
    assert "Architecture: amd64\n" in index


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_all_patches_of_a_minor_release_are_in_one_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bins = fake_programs(tmp_path / "bins")
    (tmp_path / "tools/core").mkdir(parents=True)
    (tmp_path / "tools/docker").mkdir()
    for deb in debs.tool_debs("1.1", "1.9.1", "1.37.0", bins):
        debs.build_deb(deb, "amd64", tmp_path / "work", tmp_path / "tools/core")
    debs_of = {release: tmp_path / release.version for release in versions.releases("1.36.1,1.36.3,1.37.2")}
    for release, folder in debs_of.items():
        folder.mkdir()
        debs.build_deb(debs.core_debs(release.version, "1.1", bins)[2], "amd64", tmp_path / "work", folder)
    archive = tmp_path / "archive/v3.6.8"
    archive.mkdir(parents=True)
    (archive / "SHA256SUMS").touch()
    monkeypatch.setattr(aptrepo, "_gpg", lambda home, *args: "")
    key = aptrepo.SigningKey(tmp_path, "F")
    aptrepo.write(tmp_path / "www", debs_of, tmp_path / "tools", {"v3.6.8": archive.parent}, "amd64", key)
    served = {
        minor: re.findall(
            r"^Package: (.*)\nVersion: (.*)$", (tmp_path / f"www/core:/stable:/v{minor}/deb/Packages").read_text(), re.M
        )
        for minor in ("1.36", "1.37")
    }
    tools = {("kubernetes-cni", "1.9.1-1.1"), ("cri-tools", "1.37.0-1.1")}
    assert {minor: {*found} - tools for minor, found in served.items()} == {
        "1.36": {("kubectl", "1.36.1-1.1"), ("kubectl", "1.36.3-1.1")},
        "1.37": {("kubectl", "1.37.2-1.1")},
    }
    assert all(tools <= {*found} for found in served.values())
    assert (tmp_path / "www/etcd/v3.6.8/SHA256SUMS").exists()


def test_release_lists_hash_size_and_name(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text("")
    text = aptrepo.release_file(tmp_path, {"Suite": "stable"}, ["Packages"])
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert text == f"Suite: stable\nSHA256:\n {empty} 0 Packages\n"


@pytest.mark.parametrize("failure", [None, LabError("no mirror")])
def test_a_proof_build_uses_no_cache_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: LabError | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GOMODCACHE", "/the/operators")
    monkeypatch.delenv("PIP_NO_CACHE_DIR", raising=False)
    seen: list[Path] = []

    def fake(release: object, prepare: object, say: object, root: Path, stand_in: bool) -> None:
        assert stand_in
        assert not root.exists()
        assert Path(os.environ["GOMODCACHE"]).is_relative_to(root)
        assert os.environ["PIP_NO_CACHE_DIR"] == "1"
        (root / "modules").mkdir(parents=True)
        seen.append(root)
        if failure:
            raise failure

    monkeypatch.setattr(build, "build", fake)
    with pytest.raises(LabError) if failure else nullcontext():
        build.prove(versions.releases(), lambda: None, lambda _: None)
    assert len(seen) == 1
    assert not seen[0].exists()
    assert os.environ["GOMODCACHE"] == "/the/operators"
    assert "PIP_NO_CACHE_DIR" not in os.environ


def test_a_missing_pip_or_index_is_reported_before_any_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def fake(argv: list[object], **_: object) -> None:
        calls.append([str(a) for a in argv])
        raise LabError("no answer")

    monkeypatch.setattr(webview, "run", fake)
    with pytest.raises(LabError, match="pip cannot fetch kube-web-view: no answer") as caught:
        webview.check_pip(tmp_path)
    assert (caught.value.exit_code, calls[0][:3]) == (2, [sys.executable, "-m", "pip"])
    assert calls[0][calls[0].index("--only-binary") + 1] == ":all:", "nothing is ever built"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LabError, match="has no pip") as caught:
        webview.check_pip(tmp_path)
    assert caught.value.remedy == f"{shlex.quote(sys.executable)} -m ensurepip"
    assert len(calls) == 1


def test_every_package_of_the_web_view_has_its_version() -> None:
    lines = [line for line in webview.PINS.read_text().splitlines() if not line.startswith("#")]
    assert f"kube-web-view=={versions.WEB_VIEW}" in lines
    assert all(re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", line) for line in lines)
