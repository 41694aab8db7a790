"""Which images the lab's registry holds, and how each is put together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import debian, versions
from .gobuild import download
from .layers import Image, write_files, write_tree
from .recipes import etcd_version
from .shell import run
from .versions import Kubernetes

FILES = Path(__file__).parent / "files"
_CONSTANTS = "cmd/kubeadm/app/constants/constants.go"
_IPTABLES = (
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
)
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True)
class Tags:
    """Image tags that a kubeadm release asks for besides its own version."""

    etcd: str
    coredns: str
    pause: str


def kubeadm_tags(source: str) -> Tags:
    """Read the tags from kubeadm's constants.go; raises KeyError when one is not there."""
    found = dict(
        re.findall(r'^\s*(DefaultEtcdVersion|CoreDNSVersion|PauseVersion)\s*=\s*"([^"]+)"', source, re.MULTILINE)
    )
    return Tags(found["DefaultEtcdVersion"], found["CoreDNSVersion"], found["PauseVersion"])


def tags_of(release: Kubernetes) -> Tags:
    """The tags of a release, from its module's source."""
    module = download("k8s.io/kubernetes", f"v{release.version}")
    return kubeadm_tags((module / _CONSTANTS).read_text())


def build_pause(release: Kubernetes, out: Path) -> None:
    """Compile the pause program from the C source in the Kubernetes module."""
    source = download("k8s.io/kubernetes", f"v{release.version}") / "build/pause/linux/pause.c"
    run(["gcc", "-Os", "-Wall", "-static", "-DVERSION=lab", "-o", out / "pause", source])
    run(["strip", out / "pause"])


def applet_links(busybox: Path, folder: str = "usr/bin") -> list[tuple[str, Path | bytes, int]]:
    """Symbolic links for every applet of a busybox binary."""
    names = run([busybox, "--list"]).stdout.split()
    return [(f"{folder}/{n}", b"busybox", 0) for n in names if n != "busybox"]


def make_base(work: Path, out: Path, inputs: dict[str, Path]) -> None:
    """Leave `base.tar`, the small Debian base layer, and `busybox` in `out`."""
    parts = inputs["debian"] / "parts"
    root = work / "base"
    debian.unpack(parts, debian.BASE_PACKAGES, root)
    debian.slim(root)
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(c.read_text() for c in certificates))
    for name in _IPTABLES:
        link = root / "usr/sbin" / name
        if not link.is_symlink():
            link.symlink_to(name.replace("tables", "tables-nft", 1))
    for name in run([root / "usr/bin/busybox", "--list"]).stdout.split():
        if not any((root / folder / name).is_symlink() or (root / folder / name).exists() for folder in _BINARIES):
            (root / "usr/bin" / name).symlink_to("busybox")
    for folder in ("tmp", "run", "proc", "sys", "dev", "root", "var/lib", "etc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    write_tree(out / "base.tar", root)
    (out / "busybox").write_bytes((root / "usr/bin/busybox").read_bytes())
    (out / "busybox").chmod(0o755)


_BINARIES = ("usr/bin", "usr/sbin")


def make_infra(work: Path, out: Path, inputs: dict[str, Path]) -> None:
    """Leave `infra.tar`, the file system of the package and registry servers, in `out`."""
    parts = inputs["debian"] / "parts"
    root = work / "infra"
    root.mkdir()
    run(["tar", "-C", root, "-xf", inputs["base"] / "base.tar"])
    debian.unpack(parts, ["docker-registry"], root)
    debian.slim(root)
    write_tree(out / "infra.tar", root)


def single(work: Path, name: str, target: str, binary: Path) -> Path:
    """A layer with one program."""
    return write_files(work / f"{name}.layer.tar", [(target, binary, 0o755)])


def kubernetes_images(work: Path, release: Kubernetes, tags: Tags, inputs: dict[str, Path]) -> list[Image]:
    """What `kubeadm config images list` names for the release, except etcd's."""
    programs = inputs[f"kubernetes-{release.version}"]
    base = inputs["base"] / "base.tar"
    version = f"v{release.version}"
    images = [
        Image(name, version, (single(work, name, f"usr/local/bin/{name}", programs / name),), (name,))
        for name in CONTROL_PLANE
    ]
    proxy = single(work, "kube-proxy", "usr/local/bin/kube-proxy", programs / "kube-proxy")
    images.append(Image("kube-proxy", version, (base, proxy), ("kube-proxy",)))
    dns = single(work, "coredns", "coredns", inputs["addons"] / "coredns")
    images.append(Image("coredns/coredns", tags.coredns, (dns,), ("/coredns",)))
    pause = single(work, "pause", "pause", inputs[f"pause-{tags.pause}"] / "pause")
    images.append(Image("pause", tags.pause, (pause,), ("/pause",), user="65535:65535"))
    return images


def etcd_image(work: Path, tag: str, inputs: dict[str, Path]) -> Image:
    """etcd of the version in the tag. As in upstream's image, etcdctl is in it and etcdutl is not."""
    version = etcd_version(tag)
    programs = [(f"usr/local/bin/{n}", inputs[f"{n}-{version}"] / n, 0o755) for n in ("etcd", "etcdctl")]
    return Image("etcd", tag, (write_files(work / "etcd.layer.tar", programs),), ("etcd",))


def addon_images(work: Path, inputs: dict[str, Path]) -> list[Image]:
    """flannel, InfluxDB, Telegraf and the probe image."""
    base = inputs["base"] / "base.tar"
    busybox = inputs["base"] / "busybox"
    parts = inputs["debian"] / "parts"
    flanneld = write_files(
        work / "flannel.layer.tar",
        [
            ("opt/bin/flanneld", inputs["addons"] / "flanneld", 0o755),
            ("etc/kube-flannel/cni-conf.json", FILES / "cni-conf.json", 0o644),
        ],
    )
    tools: list[tuple[str, Path | bytes, int]] = [("usr/bin/busybox", busybox, 0o755), *applet_links(busybox)]
    links: list[tuple[str, Path | bytes, int]] = [(n, f"usr/{n}".encode(), 0) for n in ("bin", "sbin")]
    wget: tuple[str, Path | bytes, int] = ("usr/local/bin/wget", FILES / "wget.sh", 0o755)
    shell = [*links, ("tmp/", b"", 0o1777), ("usr/sbin/", b"", 0o755), wget, *tools]
    plugin = write_files(
        work / "flannel-cni.layer.tar", [*shell, ("flannel", inputs["flannel-cni-plugin"] / "flannel", 0o755)]
    )
    probe = write_files(work / "probe.layer.tar", shell)
    influx_root = work / "influx"
    debian.unpack(parts, ["influxdb", "influxdb-client"], influx_root)
    influxdb = write_files(
        work / "influxdb.layer.tar",
        [
            ("usr/bin/influxd", influx_root / "usr/bin/influxd", 0o755),
            ("usr/bin/influx", influx_root / "usr/bin/influx", 0o755),
            ("etc/influxdb/influxdb.conf", FILES / "influxdb.conf", 0o644),
            ("entrypoint.sh", FILES / "entrypoint.sh", 0o755),
            ("var/lib/influxdb/", b"", 0o755),
        ],
    )
    telegraf = write_files(
        work / "telegraf.layer.tar",
        [
            ("usr/bin/telegraf", inputs["addons"] / "telegraf", 0o755),
            ("entrypoint.sh", FILES / "entrypoint.sh", 0o755),
            ("etc/telegraf/", b"", 0o755),
        ],
    )
    plain = Image("", "", ()).env
    entry = ("/entrypoint.sh",)
    return [
        Image("flannel-io/flannel", versions.FLANNEL, (base, flanneld), ("/opt/bin/flanneld",)),
        Image("flannel-io/flannel-cni-plugin", versions.FLANNEL_CNI_IMAGE_TAG, (plugin,)),
        Image(
            "library/influxdb",
            versions.INFLUXDB_TAG,
            (base, influxdb),
            entry,
            ("influxd",),
            env=(*plain, "DEFAULT_PROGRAM=influxd"),
        ),
        Image(
            "library/telegraf",
            versions.TELEGRAF.lstrip("v"),
            (base, telegraf),
            entry,
            ("telegraf",),
            env=(*plain, "DEFAULT_PROGRAM=telegraf"),
        ),
        Image("kubefab/probe", "1", (probe,), (), ("sh",)),
    ]


def web_view_image(work: Path, inputs: dict[str, Path]) -> Image:
    """kube-web-view on Debian's Python."""
    layer = write_tree(work / "web-view.layer.tar", inputs["web-view"])
    return Image(
        "kubefab/kube-web-view",
        versions.WEB_VIEW,
        (inputs["base"] / "base.tar", layer),
        ("/usr/bin/python3.11", "-m", "kube_web"),
        env=(*Image("", "", ()).env, "PYTHONPATH=/opt/web-view", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"),
    )
