"""The versions of everything that the lab builds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import LabError

DEFAULT_KUBERNETES = "1.36.3"
# The newest patch release of each minor release that the lab was built with.
KNOWN_PATCHES = {"1.35": "1.35.4", "1.36": "1.36.3", "1.37": "1.37.2"}

# A cluster's etcd has to be 3.6.11 or newer before it becomes 3.7; this image is the step between.
ETCD_BEFORE_37, ETCD_STEP = (3, 6, 11), "3.6.16-0"
COREDNS = "v1.14.5"
CONTAINERD = "v2.2.1"
CNI_PLUGINS = "v1.9.1"
FLANNEL_CNI_PLUGIN = "v0.9.1"
FLANNEL = "v0.28.4"
FLANNEL_CNI_IMAGE_TAG = "v1.9.1-flannel1"
CRI_TOOLS = "v1.37.0"
TELEGRAF = "v1.37.2"
INFLUXDB_TAG = "1.6.7"
WEB_VIEW = "21.2.0"
DEBIAN = "bookworm"
PACKAGE_REVISION = "1.1"
# The same programs in two revisions of the package, for upgrades of containerd: what differs is the package, and the files that it puts in place.
CONTAINERD_PACKAGES = tuple(f"{CONTAINERD.lstrip('v')}-{revision}~debian.12~{DEBIAN}" for revision in (1, 2))

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True)
class Kubernetes:
    """A Kubernetes release, e.g. `1.36.3`."""

    version: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version's numbers, which put releases in order."""
        return tuple(int(part) for part in self.version.split("."))

    @property
    def minor(self) -> str:
        """Major and minor part, e.g. `1.36`."""
        return ".".join(self.version.split(".")[:2])

    @property
    def staging(self) -> str:
        """Version of the staging modules (client-go and the like), e.g. `v0.36.3`."""
        return "v0." + self.version.split(".", 1)[1]


def kubernetes(text: str = "") -> Kubernetes:
    """Read `1.36`, `v1.36` or `1.36.3`; empty means the default. Raises LabError for anything else."""
    wanted = text.strip() or DEFAULT_KUBERNETES
    match = _VERSION.fullmatch(wanted)
    if match is None:
        raise LabError(
            f"--kubernetes {text!r} is no Kubernetes version",
            remedy=f"use a minor or full version, for example --kubernetes {DEFAULT_KUBERNETES}",
            exit_code=2,
        )
    major, minor, patch = match.groups()
    if patch is not None:
        return Kubernetes(f"{major}.{minor}.{patch}")
    full = KNOWN_PATCHES.get(f"{major}.{minor}")
    if full is None:
        known = ", ".join(sorted(KNOWN_PATCHES))
        raise LabError(
            f"no patch release of Kubernetes {major}.{minor} is known to the lab (known: {known})",
            remedy=f"name it in full, for example --kubernetes {major}.{minor}.0",
            exit_code=2,
        )
    return Kubernetes(full)


def releases(text: str = "") -> tuple[Kubernetes, ...]:
    """Read releases with commas between them, such as `1.36.1,1.37`: each once, in the order given. Raises LabError as `kubernetes` does."""
    if not text.strip():
        return (kubernetes(),)
    return tuple(dict.fromkeys(kubernetes(one.strip() or ",") for one in text.split(",")))


def debian_arch(machine: str) -> str:
    """Debian's (and Go's) name of a machine type as `uname -m` prints it; raises LabError if unsupported."""
    names = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    if machine not in names:
        raise LabError(f"the lab has no recipe for {machine} machines", exit_code=2)
    return names[machine]
