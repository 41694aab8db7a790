"""What the lab must know about this machine before it chooses settings, read once."""

from __future__ import annotations

import ipaddress
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .engine import Engine
from .errors import LabError, MissingError
from .shell import run

# Linux capabilities by number, as in capability.h.
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
_BRIDGE_NF = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_NEEDED_TO_BUILD = {
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "gpg": "gnupg",
    "gpgconf": "gnupg",
    "gcc": "gcc",
    "strip": "binutils",
    "tar": "tar",
    "chroot": "coreutils",
}


@dataclass(frozen=True)
class Host:
    """Facts about the machine: cgroup version (1 or 2), granted capabilities, cores, memory in MiB."""

    cgroup: int
    capabilities: tuple[str, ...]
    cpus: int
    memory_mib: int
    bridge_nf: bool
    kernel_config: bool
    privileged: bool

    @property
    def sys_resource(self) -> bool:
        """Whether processes may raise limits and lower their OOM score."""
        return self.privileged or "SYS_RESOURCE" in self.capabilities


def decode_capabilities(mask: str) -> tuple[str, ...]:
    """Names of the capabilities in a hexadecimal mask as /proc/PID/status prints it."""
    bits = int(mask, 16)
    return tuple(name for number, name in enumerate(CAPABILITIES.split()) if bits >> number & 1)


def _status_field(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1]
    return "0"


def detect(engine: Engine, image: str) -> Host:
    """Look at the machine and try one truly privileged container of `image`."""
    version = engine.docker("info", "--format", "{{.CgroupVersion}}").stdout.strip()
    privileged = _trial(engine, image, ["--privileged"]).returncode == 0
    granted = decode_capabilities(_status_field("CapBnd"))
    release = platform.release()
    configs = ("/proc/config.gz",)
    return Host(
        cgroup=1 if version == "1" else 2,
        capabilities=granted if privileged else accepted_capabilities(engine, image, granted),
        cpus=os.cpu_count() or 1,
        memory_mib=_memory_mib(Path("/proc/meminfo").read_text()),
        bridge_nf=_BRIDGE_NF.exists(),
        kernel_config=any(Path(c).exists() for c in configs) or Path(f"/lib/modules/{release}/config").exists(),
        privileged=privileged,
    )


def _trial(engine: Engine, image: str, options: list[str]) -> subprocess.CompletedProcess[str]:
    fixed = ["run", "--rm", "--network", "none", "--label", "kubefab=lab", "--entrypoint", "/usr/bin/true"]
    return engine.docker(*fixed, *options, image, check=False, timeout=120)


def accepted_capabilities(engine: Engine, image: str, granted: tuple[str, ...]) -> tuple[str, ...]:
    """The granted capabilities that the engine knows by name and can pass on.

    Raises LabError when a container does not start for another reason.
    """
    names = list(granted)
    while True:
        done = _trial(engine, image, [f"--cap-add={n}" for n in names])
        if done.returncode == 0:
            return tuple(names)
        unknown = re.search(r'unknown capability: "(?:CAP_)?(\w+)"', done.stderr)
        if unknown is None or unknown[1] not in names:
            raise LabError(f"no container starts with the capabilities of this machine:\n{done.stderr.strip()}")
        names.remove(unknown[1])


def _memory_mib(meminfo: str) -> int:
    return int(meminfo.split("MemTotal:")[1].split()[0]) // 1024


def free_gib(folder: Path) -> float:
    """The GiB that this user may still write in the file system of `folder`."""
    return shutil.disk_usage(folder).free / 2**30


def check_platform() -> None:
    """Raise MissingError unless this is a Linux machine the lab has recipes for."""
    if not sys.platform.startswith("linux"):
        raise MissingError(
            f"the lab needs Linux (this is {sys.platform})",
            "use --env rehearsal here, or run the lab in a Linux VM",
        )


def missing_programs(which: Mapping[str, str | None]) -> list[str]:
    """Debian packages that provide the programs that `which` maps to None, each once."""
    packages = [_NEEDED_TO_BUILD[p] for p, found in which.items() if found is None]
    return list(dict.fromkeys(packages))


def missing_to_build() -> list[str]:
    """Debian packages needed to build the lab that this machine lacks."""
    packages = missing_programs({p: shutil.which(p) for p in _NEEDED_TO_BUILD})
    if not any(Path(p).exists() for p in ("/usr/include/stdio.h", "/usr/include/linux/stdio.h")):
        packages.append("libc6-dev")
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        packages.append("debian-archive-keyring")
    return packages


def check_space(folders: Iterable[Path], needed: float, free: Callable[[Path], float] = free_gib) -> None:
    """Raise MissingError unless there are `needed` GiB free where each of `folders` is or will be."""
    for folder in folders:
        there = next(p for p in (folder, *folder.parents) if p.exists())
        if (left := free(there)) < needed:
            remedy = f"free space there: df -h {shlex.quote(str(there))}"
            raise MissingError(
                f"the lab's build needs {needed:.0f} GiB of disk, and {there} has {left:.1f} GiB left", remedy
            )


def missing_to_run() -> list[str]:
    """Debian packages needed to run an engine of our own that this machine lacks."""
    programs = {"docker": "docker.io", "dockerd": "docker.io", "iptables": "iptables", "ip": "iproute2"}
    return list(dict.fromkeys(package for program, package in programs.items() if shutil.which(program) is None))


def clash(subnet: str, routes: str) -> str:
    """The route in `ip -4 route` output that overlaps `subnet`, or ""; the default route does not count."""
    wanted = ipaddress.ip_network(subnet)
    for line in routes.splitlines():
        words = line.split()
        first = words[0] if words else "default"
        if first in ("unreachable", "blackhole", "prohibit", "broadcast", "local") and len(words) > 1:
            first = words[1]
        try:
            route = ipaddress.ip_network(first, strict=False)
        except ValueError:
            continue
        if route.prefixlen > 0 and route.overlaps(wanted):
            return line.strip()
    return ""


def check_subnet(subnet: str) -> None:
    """Raise LabError (exit code 2) when the host already has a route into `subnet`."""
    found = clash(subnet, run(["ip", "-4", "route", "show", "table", "all"], check=False).stdout)
    if found:
        raise LabError(
            f"the lab's network {subnet} clashes with a route of this machine: {found}",
            "choose another one: inv lab.up --subnet 172.31.244.0/24",
            exit_code=2,
        )
