"""The build plan: every item of the lab, from Go modules and Debian packages to repositories and images."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable
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


def _go_item(program: Program, seconds: float, stand_in: bool) -> Item:
    def pretend(_work: Path, out: Path, inputs: dict[str, Path]) -> None:
        for name in gobuild.commands(program):
            shutil.copy2(inputs["pause"] / "pause", out / name)

    if stand_in:
        return Item(program.name, "stand-in", pretend, ("pause",), 1)

    def make(work: Path, out: Path, _inputs: dict[str, Path]) -> None:
        gobuild.build(program, work, out)

    def fetch(work: Path) -> None:
        gobuild.fetch(program, work)

    recipe = [asdict(program), gobuild.FLAGS, *([content_hash("go")] if isinstance(program, Addons) else [])]
    return Item(program.name, recipe, make, seconds=seconds, compiles=True, fetch=fetch)


def _with(make: Make, name: str, recipe: object, needs: tuple[str, ...], seconds: float) -> Item:
    return Item(name, recipe, make, needs, seconds)


def plan(
    release: Kubernetes, tags: images.Tags, arch: str, key: aptrepo.SigningKey, stand_in: bool = False
) -> list[Item]:
    """Every item for one release: items that others need first, then cheap ones.

    With `stand_in`, a small program is copied in place of each program that would be compiled from Go.
    """
    programs = f"kubernetes-{release.version}"

    def make_pause(_work: Path, out: Path, _inputs: dict[str, Path]) -> None:
        images.build_pause(release, out)

    def make_packages(work: Path, out: Path, inputs: dict[str, Path]) -> None:
        build_packages(release, arch, key, work, out, inputs)
        releases.write(recipes.etcd_version(tags.etcd), arch, inputs, out / "etcd")

    def make_registry(work: Path, out: Path, inputs: dict[str, Path]) -> None:
        built = [
            *images.kubernetes_images(work, release, tags, inputs),
            *images.addon_images(work, inputs),
            images.web_view_image(work, inputs),
        ]
        layers.store(out, built, arch)

    debian_recipe = [
        debian.NODE_PACKAGES,
        debian.BASE_PACKAGES,
        debian.EXTRA_PACKAGES,
        debian.PYTHON_PACKAGES,
    ]
    node_files = content_hash("debian.py", "files/node-entry.sh", "files/sshd.conf")
    image_files = content_hash("images.py", "layers.py", "files")
    package_files = content_hash("debs.py", "aptrepo.py", "releases.py", "files")
    return [
        _with(debian.make_debian, "debian", [debian_recipe, versions.DEBIAN, arch], (), 75),
        _with(debian.make_node, "node", node_files, ("debian",), 2),
        _with(images.make_base, "base", image_files, ("debian",), 1),
        _with(images.make_infra, "infra", image_files, ("debian", "base"), 1),
        _with(webview.make_web_view, "web-view", webview.recipe(), ("debian",), 13),
        _with(make_pause, "pause", release.version, (), 1),
        _go_item(recipes.CNI_PLUGINS, 16, stand_in),
        _go_item(recipes.FLANNEL_CNI, 1, stand_in),
        _go_item(recipes.etcd(tags.etcd), 45, stand_in),
        _go_item(recipes.etcd(tags.etcd, "etcdctl"), 20, stand_in),
        _go_item(recipes.etcd(tags.etcd, "etcdutl"), 20, stand_in),
        _go_item(recipes.CONTAINERD, 100, stand_in),
        _go_item(recipes.kubernetes(release), 350, stand_in),
        _go_item(recipes.ADDONS, 130, stand_in),
        _with(
            make_packages,
            f"packages-{release.version}",
            [package_files, versions.PACKAGE_REVISION, key.fingerprint, arch],
            ("debian", programs, "containerd", "addons", "cni-plugins", *recipes.ETCD_PROGRAMS),
            4,
        ),
        _with(
            make_registry,
            f"registry-{release.version}",
            [image_files, asdict(tags), arch],
            (
                "debian",
                "base",
                programs,
                "etcd",
                "etcdctl",
                "pause",
                "addons",
                "flannel-cni-plugin",
                "web-view",
            ),
            2,
        ),
    ]


def build_packages(
    release: Kubernetes,
    arch: str,
    key: aptrepo.SigningKey,
    work: Path,
    out: Path,
    inputs: dict[str, Path],
) -> None:
    """Build the Debian packages of a release and both signed repositories into `out`, a web server's root."""
    names = (f"kubernetes-{release.version}", "containerd", "addons", "cni-plugins")
    bins = {p.name: p for n in names for p in inputs[n].iterdir()}
    runc = work / "runc"
    debian.unpack(inputs["debian"] / "parts", ["runc"], runc)
    bins["runc"] = runc / "usr/sbin/runc"
    core = out / f"core:/stable:/v{release.minor}/deb"
    (core / arch).mkdir(parents=True)
    cni, cri = versions.CNI_PLUGINS.lstrip("v"), versions.CRI_TOOLS.lstrip("v")
    for deb in debs.core_debs(release.version, versions.PACKAGE_REVISION, cni, cri, bins):
        debs.build_deb(deb, arch, work, core / arch)
    aptrepo.write_flat(core, arch, key)
    base = out / "linux/debian"
    pool = base / "dists" / versions.DEBIAN / f"pool/stable/{arch}"
    pool.mkdir(parents=True)
    containerd = f"{versions.CONTAINERD.lstrip('v')}-1~debian.12~{versions.DEBIAN}"
    debs.build_deb(debs.containerd_deb(containerd, bins), arch, work, pool)
    aptrepo.write_dists(base, arch, key)


def prove(release: Kubernetes, prepare: Callable[[], None], say: Say) -> None:
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
        build(release, prepare, say, root, stand_in=True)
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        mounts.remove_tree(root)


def build(
    release: Kubernetes, prepare: Callable[[], None], say: Say, root: Path | None = None, stand_in: bool = False
) -> Built:
    """Build what is missing from the cache for one release and say where it is; safe to interrupt and repeat.

    `prepare` is called only when something is missing: a full cache needs no Go, no root and no registry.
    """
    os.umask(0o022)  # packages and images inherit the files' modes
    arch = versions.debian_arch(platform.machine())
    root = root or cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    clear_scratch(root / "scratch")
    known = root / f"image-tags-{release.version}.json"
    key = aptrepo.known_key(root / "gnupg")
    prepared = key is None or not known.exists()
    if prepared:
        prepare()
        key = aptrepo.signing_key(root / "gnupg")
        known.write_text(json.dumps(asdict(images.tags_of(release))))
    assert key is not None
    tags = images.Tags(**json.loads(known.read_text()))
    cache, items = Cache(root, say), plan(release, tags, arch, key, stand_in)
    if not prepared and any(not cache.folder(i).is_dir() for i in items):
        prepare()
    folders = cache.build(items)
    return Built(
        node_tar=folders["node"] / "node.tar",
        infra_tar=folders["infra"] / "infra.tar",
        www=folders[f"packages-{release.version}"],
        registry=folders[f"registry-{release.version}"],
        key_fingerprint=key.fingerprint,
    )


def clear_scratch(scratch: Path) -> None:
    """Remove what interrupted builds left, but not the folder of a build that is still running."""
    for folder in scratch.iterdir() if scratch.is_dir() else ():
        pid = folder.name.rsplit("-", 1)[-1]
        if not (pid.isdigit() and int(pid) != os.getpid() and Path("/proc", pid).exists()):
            mounts.remove_tree(folder)
