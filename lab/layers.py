"""Container images as plain files: layers written as tar, configs and manifests in OCI form."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Image:
    """An image by `repository` (without registry) and `tag`, made of layer files from bottom to top."""

    repository: str
    tag: str
    layers: tuple[Path, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    user: str = ""


def digest_of_file(path: Path) -> str:
    """`sha256:…` of a file's content."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_bytes(data: bytes) -> str:
    """`sha256:…` of bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_files(target: Path, files: Iterable[tuple[str, Path | bytes, int]]) -> Path:
    """Write a layer of single files `(name in the image, file or bytes, mode)`; the same input gives the same tar.

    A mode of 0 with bytes makes a symbolic link to the decoded bytes, and a name ending in `/` a folder.
    """
    seen: set[str] = set()
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content, mode in files:
            _parents(tar, name, seen)
            if name.endswith("/"):
                _folder(tar, name.rstrip("/"), seen, mode)
                continue
            info = tarfile.TarInfo(name)
            info.mode = mode
            if isinstance(content, Path):
                info.size = content.stat().st_size
                with content.open("rb") as stream:
                    tar.addfile(info, stream)
            elif mode == 0:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, content.decode(), 0o777
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return target


def _parents(tar: tarfile.TarFile, name: str, seen: set[str]) -> None:
    parts = name.rstrip("/").split("/")[:-1]
    for end in range(1, len(parts) + 1):
        _folder(tar, "/".join(parts[:end]), seen, 0o755)


def _folder(tar: tarfile.TarFile, name: str, seen: set[str], mode: int) -> None:
    if name in seen:
        return
    seen.add(name)
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def write_tree(target: Path, root: Path) -> Path:
    """Write a layer from a folder, sorted, owned by root and without times."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 0
        return info

    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted([*folders, *names]):
                path = Path(folder) / name
                tar.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=plain)
    return target


def describe(image: Image, arch: str) -> tuple[bytes, bytes, list[tuple[str, Path]]]:
    """Config and manifest documents of an image, and its layers by digest."""
    layers = [(digest_of_file(p), p) for p in image.layers]
    runtime: dict[str, object] = {"Env": list(image.env)}
    if image.entrypoint:
        runtime["Entrypoint"] = list(image.entrypoint)
    if image.command:
        runtime["Cmd"] = list(image.command)
    if image.user:
        runtime["User"] = image.user
    config = _json(
        {
            "architecture": arch,
            "os": "linux",
            "config": runtime,
            "rootfs": {"type": "layers", "diff_ids": [d for d, _ in layers]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, digest_of_bytes(config), len(config)),
            "layers": [_descriptor(LAYER_TYPE, d, p.stat().st_size) for d, p in layers],
        }
    )
    return config, manifest, layers


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def store(root: Path, images: Sequence[Image], arch: str) -> None:
    """Write images into `root` the way a distribution registry keeps them on disk (storage layout v2)."""
    base = root / "docker/registry/v2"
    for image in images:
        config, manifest, layers = describe(image, arch)
        repository = base / "repositories" / image.repository
        for digest, path in layers:
            _blob_file(base, digest, path)
            _link(repository / "_layers" / _folder_of(digest), digest)
        _blob_bytes(base, digest_of_bytes(config), config)
        _link(repository / "_layers" / _folder_of(digest_of_bytes(config)), digest_of_bytes(config))
        digest = digest_of_bytes(manifest)
        _blob_bytes(base, digest, manifest)
        manifests = repository / "_manifests"
        _link(manifests / "revisions" / _folder_of(digest), digest)
        _link(manifests / "tags" / image.tag / "current", digest)
        _link(manifests / "tags" / image.tag / "index" / _folder_of(digest), digest)


def union(root: Path, stores: Iterable[Path]) -> None:
    """Leave in `root` what all `stores` have, by hard links. Raises LabError if two of them mean different images by one tag."""
    for store in stores:
        for source in sorted(p for p in store.rglob("*") if p.is_file()):
            path = root / source.relative_to(store)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, path)
            elif path.name == "link" and path.read_bytes() != source.read_bytes():
                raise LabError(f"two images have the same name: {path.relative_to(root)}")


def _folder_of(digest: str) -> Path:
    algorithm, value = digest.split(":")
    return Path(algorithm) / value


def _data(base: Path, digest: str) -> Path:
    value = digest.split(":")[1]
    path = base / "blobs/sha256" / value[:2] / value / "data"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _blob_file(base: Path, digest: str, source: Path) -> None:
    path = _data(base, digest)
    if not path.exists():
        os.link(source, path)


def _blob_bytes(base: Path, digest: str, data: bytes) -> None:
    _data(base, digest).write_bytes(data)


def _link(folder: Path, digest: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link").write_text(digest)
