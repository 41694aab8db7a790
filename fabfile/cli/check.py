"""`inv cluster.check` and `inv cluster.list`: what the inventory says, of every environment. They connect to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import EXIT_USAGE, UsageError
from .common import Options, command, exit_with, print_json

if TYPE_CHECKING:
    from ..inventory import Environment


def _every(options: Options) -> dict[str, Environment | UsageError]:
    """Each environment of the inventory by its name; one that cannot be used has its error. Raises UsageError for no file."""
    from .. import inventory

    found: dict[str, Environment | UsageError] = {}
    for name in inventory.names(options.hosts_file):
        try:
            found[name] = inventory.load(name, hosts_file=options.hosts_file)
        except UsageError as error:
            found[name] = error
    return found


@command("hosts_file", "json")
def check(*, options: Options) -> None:
    """Check the inventory of every environment."""
    from ..text.screen import Screen, verdict
    from .progress import print_error

    every = _every(options)
    broken = {name: error for name, error in every.items() if isinstance(error, UsageError)}
    if options.json:
        print_json([_checked(name, found) for name, found in every.items()])
    else:
        console, errors = Screen(), Screen(stderr=True)
        for name, found in every.items():
            if not isinstance(found, UsageError):
                console.print(verdict(True, f"{name}: {_counted(found)}"))
                for remark in found.remarks:
                    console.print(f"  ! {remark}", style="yellow", soft_wrap=True)
        # a mistake in a line that all share is one error, whichever environments it stops
        same: dict[tuple[str, str], list[str]] = {}
        for name, error in broken.items():
            same.setdefault((error.message, error.remedy), []).append(name)
        for (message, remedy), names in same.items():
            print_error(errors, UsageError(f"{', '.join(names)}: {message}", remedy))
    exit_with(EXIT_USAGE if broken else 0)


@command("hosts_file", "json", name="list")
def list_(*, options: Options) -> None:
    """The environments and their nodes."""
    from rich.table import Table

    from ..text.screen import Screen
    from .progress import print_table

    every = _every(options)
    if options.json:
        print_json([_listed(name, found) for name, found in every.items()])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("environment", "release", "node", "role", "address"):
        table.add_column(heading, no_wrap=True)
    for name, found in every.items():
        if isinstance(found, UsageError):
            table.add_row(name, "", "broken: `inv cluster.check`")
            continue
        release = found.settings.kubernetes
        if found.settings.simulated:
            table.add_row(name, release, "simulated", "", "")
            continue
        for number, node in enumerate(found.nodes):
            first = (name, release) if number == 0 else ("", "")
            private = f" ({node.address})" if node.address != node.host else ""
            table.add_row(*first, node.name, node.role, f"{node.host}{private}")
    print_table(Screen(), table)


def _counted(environment: Environment) -> str:
    settings, workers = environment.settings, len(environment.workers)
    if settings.simulated:
        return f"simulated nodes, Kubernetes {settings.kubernetes}"
    controls = len(environment.control_planes)
    return (
        f"{controls} control plane{'s' * (controls != 1)}, {workers} worker{'s' * (workers != 1)}, "
        f"Kubernetes {settings.kubernetes}"
    )


def _checked(name: str, found: Environment | UsageError) -> dict[str, Any]:
    from ..views import results

    if isinstance(found, UsageError):
        return {"environment": name, "valid": False, "error": results.of_error(found, name), "remarks": []}
    return {"environment": name, "valid": True, "error": None, "remarks": list(found.remarks)}


def _listed(name: str, found: Environment | UsageError) -> dict[str, Any]:
    if isinstance(found, UsageError):
        return {"environment": name, "valid": False, "kubernetes": "", "simulated": False, "nodes": []}
    nodes = [{"node": n.name, "role": n.role, "host": n.host, "address": n.address} for n in found.nodes]
    settings = found.settings
    simulated = settings.simulated
    return {
        "environment": name,
        "valid": True,
        "kubernetes": settings.kubernetes,
        "simulated": simulated,
        "nodes": [] if simulated else nodes,
    }
