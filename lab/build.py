"""The build plan: every item of the lab, from Go modules and Debian packages to repositories and images."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import aptrepo, debian, debs, gobuild, images, layers, mounts, recipes, releases, versions, webview
from .gobuild import Addons, Program
from .items import Cache, Item, Make, Say
from .paths import cache_dir
from .versions import Kubernetes

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Built:
    """What `lab.up` needs from the cache."""

    node_tar: Path
    infra_tar: Path
    www: Path
    registry: Path
    key_fingerprint: str


def content_hash(*names: str) -> str:
    """Hash of source files of this package (or of all files of a folder), so that an edited recipe is built again."""
    digest = hashlib.sha256()
    for name in names:
        path = HERE / name
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _go_item(program: Program, seconds: float, stand_in: str = "") -> Item:
    """A compiled item; `stand_in` is the item with the pause program that is copied instead."""

    def pretend(_work: Path, out: Path, inputs: dict[str, Path]) -> None:
        for name in gobuild.commands(program):
            shutil.copy2(inputs[stand_in] / "pause", out / name)

    if stand_in:
        return Item(program.name, "stand-in", pretend, (stand_in,), 1)

    def make(work: Path, out: Path, _inputs: dict[str, Path]) -> None:
        gobuild.build(program, work, out)

    def fetch(work: Path) -> None:
        gobuild.fetch(program, work)

    recipe = [asdict(program), gobuild.FLAGS, *([content_hash("go")] if isinstance(program, Addons) else [])]
    return Item(program.name, recipe, make, seconds=seconds, compiles=True, fetch=fetch)


def plan(
    wanted: Mapping[Kubernetes, images.Tags], arch: str, key: aptrepo.SigningKey, stand_in: bool = False
) -> list[Item]:
    """Every item for these releases: items that others need first, then cheap ones.

    With `stand_in`, a small program is copied in place of each program that would be compiled from Go.
    """
    found = in_order(wanted)
    of_pause = {wanted[release].pause: release for release in reversed(found)}
    etcds = recipes.etcd_tags(tags.etcd for tags in wanted.values())
    pauses = tuple(f"pause-{tag}" for tag in of_pause)

    def go(program: Program, seconds: float) -> Item:
        return _go_item(program, seconds, pauses[0] if stand_in else "")

    def pause(release: Kubernetes) -> Make:
        return lambda _work, out, _inputs: images.build_pause(release, out)

    debian_recipe = [
        debian.NODE_PACKAGES,
        debian.BASE_PACKAGES,
        debian.EXTRA_PACKAGES,
        debian.PYTHON_PACKAGES,
    ]
    node_files = content_hash("debian.py", "files/node-entry.sh", "files/sshd.conf")
    image_files = content_hash("images.py", "layers.py", "files")
    return [
        Item("debian", [debian_recipe, versions.DEBIAN, arch], debian.make_debian, seconds=75),
        Item("node", node_files, debian.make_node, ("debian",), 2),
        Item("base", image_files, images.make_base, ("debian",), 1),
        Item("infra", image_files, images.make_infra, ("debian", "base"), 1),
        Item("web-view", webview.recipe(), webview.make_web_view, ("debian",), 13),
        *(Item(f"pause-{tag}", tag, pause(release), seconds=1) for tag, release in of_pause.items()),
        go(recipes.CNI_PLUGINS, 16),
        go(recipes.FLANNEL_CNI, 1),
        *(
            go(recipes.etcd(tag, program), seconds)
            for tag in etcds
            for program, seconds in zip(recipes.ETCD_PROGRAMS, (45, 20, 20), strict=True)
        ),
        go(recipes.CONTAINERD, 100),
        *(go(recipes.kubernetes(release), 350) for release in found),
        go(recipes.ADDONS, 130),
        *_package_items(found, etcds, arch, key),
        *_image_items({release: wanted[release] for release in found}, etcds, image_files, arch),
    ]


def in_order(wanted: Iterable[Kubernetes]) -> list[Kubernetes]:
    """Releases from the oldest to the newest."""
    return sorted(wanted, key=lambda release: release.numbers)


def _served(kind: str, wanted: Iterable[Kubernetes]) -> str:
    """The item that a server of the lab serves, for these releases in any order."""
    return f"{kind}-{'+'.join(release.version for release in in_order(wanted))}"


def _package_items(found: Sequence[Kubernetes], etcds: Sequence[str], arch: str, key: aptrepo.SigningKey) -> list[Item]:
    """What is packed of each release and of each etcd once, and the tree that the package server serves."""
    package_files = content_hash("debs.py", "debian.py", "files")
    debs_of = {release: f"debs-{release.version}" for release in found}
    archive_of = {version: f"archive-{version}" for version in map(recipes.etcd_version, etcds)}

    def release_debs(release: Kubernetes) -> Item:
        programs = f"kubernetes-{release.version}"

        def make(work: Path, out: Path, inputs: dict[str, Path]) -> None:
            bins = {p.name: p for p in inputs[programs].iterdir()}
            for deb in debs.core_debs(release.version, versions.PACKAGE_REVISION, bins):
                debs.build_deb(deb, arch, work, out)

        return Item(debs_of[release], [package_files, versions.PACKAGE_REVISION, arch], make, (programs,), 3)

    def make_tools(work: Path, out: Path, inputs: dict[str, Path]) -> None:
        debs.build_tools(arch, work, out, inputs)

    def archive(version: str) -> Item:
        def make(_work: Path, out: Path, inputs: dict[str, Path]) -> None:
            releases.write(version, arch, {name: inputs[f"{name}-{version}"] for name in recipes.ETCD_PROGRAMS}, out)

        needs = tuple(f"{name}-{version}" for name in recipes.ETCD_PROGRAMS)
        return Item(archive_of[version], [content_hash("releases.py"), arch], make, needs, 1)

    def make_packages(_work: Path, out: Path, inputs: dict[str, Path]) -> None:
        aptrepo.write(
            out,
            {release: inputs[name] for release, name in debs_of.items()},
            inputs["debs"],
            {version: inputs[name] for version, name in archive_of.items()},
            arch,
            key,
        )

    return [
        *map(release_debs, found),
        Item(
            "debs",
            [package_files, versions.PACKAGE_REVISION, *versions.CONTAINERD_PACKAGES, arch],
            make_tools,
            ("debian", "containerd", "addons", "cni-plugins"),
            2,
        ),
        *map(archive, archive_of),
        Item(
            _served("packages", found),
            [content_hash("debs.py", "aptrepo.py"), key.fingerprint, arch],
            make_packages,
            (*debs_of.values(), "debs", *archive_of.values()),
            1,
        ),
    ]


def _image_items(
    wanted: Mapping[Kubernetes, images.Tags], etcds: Sequence[str], image_files: str, arch: str
) -> list[Item]:
    """The images of each release, of each etcd and of the add-ons once, and the store that the registry serves."""

    def release_images(release: Kubernetes, tags: images.Tags) -> Item:
        def make(work: Path, out: Path, inputs: dict[str, Path]) -> None:
            layers.store(out, images.kubernetes_images(work, release, tags, inputs), arch)

        needs = ("base", f"kubernetes-{release.version}", f"pause-{tags.pause}", "addons")
        return Item(f"images-{release.version}", [image_files, asdict(tags), arch], make, needs, 2)

    def etcd_image(tag: str) -> Item:
        def make(work: Path, out: Path, inputs: dict[str, Path]) -> None:
            layers.store(out, [images.etcd_image(work, tag, inputs)], arch)

        version = recipes.etcd_version(tag)
        return Item(f"images-etcd-{tag}", [image_files, tag, arch], make, (f"etcd-{version}", f"etcdctl-{version}"), 1)

    def make_addons(work: Path, out: Path, inputs: dict[str, Path]) -> None:
        layers.store(out, [*images.addon_images(work, inputs), images.web_view_image(work, inputs)], arch)

    def make_registry(_work: Path, out: Path, inputs: dict[str, Path]) -> None:
        layers.union(out, inputs.values())

    stores = [
        *(release_images(release, tags) for release, tags in wanted.items()),
        *map(etcd_image, etcds),
        Item(
            "images",
            [image_files, versions.FLANNEL_CNI_IMAGE_TAG, versions.INFLUXDB_TAG, arch],
            make_addons,
            ("debian", "base", "addons", "flannel-cni-plugin", "web-view"),
            2,
        ),
    ]
    served = Item(
        _served("registry", wanted), content_hash("layers.py"), make_registry, tuple(i.name for i in stores), 1
    )
    return [*stores, served]


def prove(wanted: Sequence[Kubernetes], prepare: Callable[[], None], say: Say) -> None:
    """Build every item from nothing in a folder that is then removed; stand-ins replace what is compiled from Go.

    It uses nothing that an earlier build fetched: neither our cache nor those of Go and pip.
    """
    proofs = cache_dir() / "proofs"
    clear_scratch(proofs)
    root = proofs / f"proof-{os.getpid()}"
    own = {"GOMODCACHE": str(root / "modules"), "PIP_NO_CACHE_DIR": "1"}
    kept = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        build(wanted, prepare, say, root, stand_in=True)
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        mounts.remove_tree(root)


def build(
    wanted: Sequence[Kubernetes],
    prepare: Callable[[], None],
    say: Say,
    root: Path | None = None,
    stand_in: bool = False,
    with_specs: bool = False,
) -> Built:
    """Build what is missing from the cache for these releases and say where it is; safe to interrupt and repeat.

    `with_specs` also builds what `specs` does, so that the estimate has it from the beginning.
    `prepare` is called only when something is missing: a full cache needs no Go, no root and no registry.
    """
    arch, root = _ready(root)
    known = {release: root / f"image-tags-{release.version}.json" for release in wanted}
    key = aptrepo.known_key(root / "gnupg")
    prepared = key is None or not all(path.exists() for path in known.values())
    if prepared:
        prepare()
        key = aptrepo.signing_key(root / "gnupg")
        for release, path in known.items():
            path.write_text(json.dumps(asdict(images.tags_of(release))))
    assert key is not None
    tags = {release: images.Tags(**json.loads(path.read_text())) for release, path in known.items()}
    cache, items = Cache(root, say), plan(tags, arch, key, stand_in) + (_specs(wanted) if with_specs else [])
    if not prepared and cache.missing(items):
        prepare()
    folders = cache.build(items)
    return Built(
        node_tar=folders["node"] / "node.tar",
        infra_tar=folders["infra"] / "infra.tar",
        www=folders[_served("packages", wanted)],
        registry=folders[_served("registry", wanted)],
        key_fingerprint=key.fingerprint,
    )


def specs(wanted: Sequence[Kubernetes], prepare: Callable[[], None], say: Say) -> list[Path]:
    """The program with kubeadm's own end-to-end specs of each release; built, after `prepare`, if it is missing from the cache."""
    _, root = _ready(None)
    cache, items = Cache(root, say), _specs(wanted)
    if cache.missing(items):
        prepare()
    folders = cache.build(items)
    return [folders[item.name] / recipes.SPECS for item in items]


def _specs(wanted: Iterable[Kubernetes]) -> list[Item]:
    return [_go_item(recipes.kubeadm_specs(release), 60) for release in wanted]


def _ready(root: Path | None) -> tuple[str, Path]:
    """Debian's name of this machine's type, and the cache's folder, ready for a build."""
    os.umask(0o022)  # packages and images inherit the files' modes
    root = root or cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    clear_scratch(root / "scratch")
    return versions.debian_arch(platform.machine()), root


def clear_scratch(scratch: Path) -> None:
    """Remove what interrupted builds left, but not the folder of a build that is still running."""
    for folder in scratch.iterdir() if scratch.is_dir() else ():
        pid = folder.name.rsplit("-", 1)[-1]
        if not (pid.isdigit() and int(pid) != os.getpid() and Path("/proc", pid).exists()):
            mounts.remove_tree(folder)
