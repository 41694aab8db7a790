"""`inv rehearsal.*` manages the simulated nodes. The commands that work on them are the same as for real nodes."""

from __future__ import annotations

import json as jsonlib
from typing import Any

from invoke.collection import Collection
from rich.text import Text

from fabfile import inventory
from fabfile.cli.common import command
from fabfile.errors import UsageError
from fabfile.inventory import Environment
from fabfile.text.screen import Screen


def _environment(name: str) -> Environment:
    environment = inventory.load(name or inventory.DEFAULT_ENVIRONMENT)
    if not environment.settings.simulated:
        raise UsageError(
            f"{environment.name} has real nodes", f"name a simulated environment, like {inventory.DEFAULT_ENVIRONMENT}"
        )
    return environment


@command()
def down(c: Any, env: str = "") -> None:
    """Forget the simulated nodes."""
    import rehearsal

    environment = _environment(env)
    found = rehearsal.down(environment)
    print(f"{environment.name}: {'forgotten' if found else 'there was nothing'}")


@command()
def faults(c: Any, json: bool = False) -> None:
    """What `--fault NODE:FAULT` can switch on."""
    from .faults import ANY, TABLE

    if json:
        print(jsonlib.dumps([vars(fault) for fault in TABLE.values()], indent=2))
        return
    console = Screen()
    for fault in TABLE.values():
        value = f"=… {fault.value}" if fault.value else ""
        where = "" if fault.where == ANY else f" ({fault.where} only)"
        head = Text.assemble((fault.name, "bold"), (f"{value}{where}", "dim"))
        console.print(Text.assemble(head, f"\n    {fault.does}\n    ", (f"→ {fault.teaches}", "dim")), soft_wrap=True)
    print("\nin force for one command, several allowed: --fault w2:flannel-missing --fault cp1:api-late=90")


@command()
def status(c: Any, env: str = "", json: bool = False) -> None:
    """What the simulated nodes remember."""
    from .simulation import remembered

    environment = _environment(env)
    nodes = remembered(environment)
    if json:
        print(jsonlib.dumps(nodes, indent=2))
    elif not nodes:
        print(
            f"{environment.name}: no simulated nodes yet; `inv cluster.bootstrap --env {environment.name}` makes them"
        )
    for node in [] if json else nodes:
        what = f"{node['pods']} pods" if node["pods"] else "in no cluster"
        print(
            f"{node['name']:<6} {node['address']:<11} {node['system']:<22} {what}; clock {node['seconds'] / 60:.1f} min"
        )


ns = Collection(down, faults, status)
