"""What only the manual's own commands (Kubernetes 1.5) call: apt-key, docker, service."""

from __future__ import annotations

from typing import Any

from ..bash import Call
from ..cluster import Object
from ..machine import Machine
from . import program, unmodelled


@program("apt-key")
def apt_key(machine: Machine, call: Call) -> int:
    if call.argv[1:] != ["add", "-"]:
        raise unmodelled(call)
    if "BEGIN PGP" not in call.input():
        return call.fail("gpg: no valid OpenPGP data found.", 2)
    machine.host.write("/etc/apt/trusted.gpg", "key\n")
    call.out("OK\n")
    return 0


@program("docker")
def docker(machine: Machine, call: Call) -> int:
    if call.argv[1] in ("ps", "images"):
        return 0
    if call.argv[1] in ("rm", "rmi", "info"):
        return 0
    raise unmodelled(call)


def documents_of(url: str, machine: Machine) -> list[Object]:
    """The manual's manifests by address; they are gone from the web, so only their workloads are made up."""
    empty: list[dict[str, Any]] = []
    return empty
