"""Addresses and choices of one lab, and the secrets it creates; all kept in the state folder."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import LabError
from .paths import state_dir

DEFAULT_SUBNET = "172.30.44.0/24"
REGISTRY_PORT = 5000
REGISTRY_USER = "kubefab"
PREFIX = "kubefab-lab"
NETWORK = "kubefab-lab"
_FIRST_WORKER = 21
MAX_WORKERS = 100


def hostname(address: str) -> str:
    """A node's host name, as a cloud names its machines: no name server knows it, and it is not the name in the inventory."""
    return f"ip-{address.replace('.', '-')}"


@dataclass(frozen=True)
class Settings:
    """What a lab is: `subnet` (a /24 or larger), releases of Kubernetes that it serves, number of workers."""

    subnet: str = DEFAULT_SUBNET
    kubernetes: str = ""  # with commas between them; hosts.env has the first
    workers: int = 2

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases of Kubernetes that the lab serves. hosts.env has the first."""
        return tuple(self.kubernetes.split(","))

    def address(self, number: int) -> str:
        """The subnet's address with that host number."""
        return str(ipaddress.ip_network(self.subnet)[number])

    @property
    def packages(self) -> str:
        """Address of the package server, which is also the nodes' (dead-end) gateway."""
        return self.address(2)

    @property
    def registry(self) -> str:
        """Address of the registry."""
        return self.address(3)

    def nodes(self) -> dict[str, str]:
        """Addresses of the nodes by name: `cp1`, `w1`, `w2` …"""
        workers = {f"w{n}": self.address(_FIRST_WORKER + n - 1) for n in range(1, self.workers + 1)}
        return {"cp1": self.address(10), **workers}


def check(settings: Settings) -> Settings:
    """Return the settings, or raise LabError (exit code 2) saying what is wrong with them."""
    try:
        network = ipaddress.ip_network(settings.subnet)
    except ValueError as error:
        raise LabError(f"--subnet: {error}", f"for example --subnet {DEFAULT_SUBNET}", exit_code=2) from error
    if network.version != 4 or network.prefixlen > 24 or not network.is_private:
        raise LabError(
            f"--subnet {settings.subnet} must be a private IPv4 network of /24 or larger",
            f"for example --subnet {DEFAULT_SUBNET}",
            exit_code=2,
        )
    if not 0 <= settings.workers <= MAX_WORKERS:
        raise LabError(f"--workers {settings.workers} must be 0 to {MAX_WORKERS}", "inv lab.up --workers 2", 2)
    return settings


def _file() -> Path:
    return state_dir() / "lab.json"


def load() -> Settings | None:
    """The settings of the lab that is up (or only partly up), or None."""
    try:
        raw = json.loads(_file().read_text())
        return Settings(str(raw["subnet"]), str(raw["kubernetes"]), int(raw["workers"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(settings: Settings) -> None:
    """Remember the settings."""
    write_private(_file(), json.dumps(asdict(settings), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    part.replace(path)


def password() -> str:
    """The registry's password, created on first use."""
    path = state_dir() / "registry-password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(18) + "\n")
    return path.read_text().strip()
