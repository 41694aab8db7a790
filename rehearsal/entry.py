"""`inv rehearsal.*` manages the simulated nodes. The commands that work on them are the same as for real nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection

from fabfile.cli.common import Options, command, print_json
from fabfile.errors import UsageError

if TYPE_CHECKING:
    from fabfile.inventory import Environment


def _environment(options: Options) -> Environment:
    from fabfile import inventory

    environment = inventory.load(options.env or inventory.DEFAULT_ENVIRONMENT, hosts_file=options.hosts_file)
    if not environment.settings.simulated:
        raise UsageError(
            f"{environment.name} has real nodes", f"name a simulated environment, like {inventory.DEFAULT_ENVIRONMENT}"
        )
    return environment


@command("env", "json")
def down(*, options: Options) -> None:
    """Forget the simulated nodes."""
    import rehearsal

    environment = _environment(options)
    found = rehearsal.down(environment)
    if options.json:
        print_json({"environment": environment.name, "forgotten": found})
        return
    print(f"{environment.name}: {'forgotten' if found else 'there was nothing'}")


@command("json")
def faults(*, options: Options) -> None:
    """What `--fault NODE:FAULT` can switch on."""
    from rich.text import Text

    from fabfile.text.screen import Screen

    from .faults import ANY, TABLE

    if options.json:
        print_json([vars(fault) for fault in TABLE.values()])
        return
    console = Screen()
    for fault in TABLE.values():
        value = f"=… {fault.value}" if fault.value else ""
        where = "" if fault.where == ANY else f" ({fault.where} only)"
        head = Text.assemble((fault.name, "bold"), (f"{value}{where}", "dim"))
        console.print(Text.assemble(head, f"\n    {fault.does}\n    ", (f"→ {fault.teaches}", "dim")), soft_wrap=True)
    print("\nin force for one command, several allowed: --fault w2:flannel-missing --fault cp1:api-late=90")


@command("env", "json")
def status(*, options: Options) -> None:
    """What the simulated nodes remember."""
    from .simulation import remembered

    environment = _environment(options)
    nodes = remembered(environment)
    if options.json:
        print_json(nodes)
    elif not nodes:
        print(f"{environment.name}: no simulated nodes yet; `inv cluster.bootstrap {environment.option}` makes them")
    for node in [] if options.json else nodes:
        what = f"{node['pods']} pods" if node["pods"] else "in no cluster"
        print(
            f"{node['name']:<6} {node['address']:<11} {node['system']:<22} {what}; clock {node['seconds'] / 60:.1f} min"
        )


ns = Collection(down, faults, status)
