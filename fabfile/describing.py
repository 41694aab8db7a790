"""The `inv` tasks that only describe and connect to nothing: security-group, sizing, info."""

from __future__ import annotations

import json as jsonlib
from dataclasses import replace
from typing import Any

from rich.console import Console

from . import inventory, security_group, sizing
from .card import card
from .commands import command, release
from .inventory import Environment


def described(env: str, kubernetes: str, recipe: str) -> Environment:
    """The environment as hosts.env has it, or with another release."""
    environment, chosen = inventory.load(env or None), release(kubernetes, recipe)
    return replace(environment, settings=replace(environment.settings, kubernetes=chosen)) if chosen else environment


@command(
    name="security-group",
    help={"format": "aws (commands), terraform or nftables", "admin": "your network, like 198.51.100.7/32; several with commas"},
)
def security_group_task(
    c: Any, env: str = "", format: str = "aws", admin: str = "", kubernetes: str = "", recipe: str = "", json: bool = False
) -> None:
    """The firewall rules that this cluster needs, to apply yourself."""
    environment, networks = described(env, kubernetes, recipe), security_group.admins(admin)
    if json:
        print(jsonlib.dumps(security_group.as_data(environment, networks), indent=2))
    else:
        print(security_group.render(environment, format, networks), end="")


@command(name="sizing", help={"nodes": "how many workers; default: the environment's"})
def sizing_task(c: Any, env: str = "", nodes: int = 0, json: bool = False) -> None:
    """Instance types: the manual's and today's."""
    environment = inventory.load(env or None)
    count = nodes or len(environment.workers) or 1
    advice = sizing.advise(count, environment)
    print(jsonlib.dumps(sizing.as_data(count, advice), indent=2) if json else sizing.as_text(count, advice))


@command(help={"reveal": "show secrets, like the bearer token of 1.5"})
def info(c: Any, env: str = "", json: bool = False, reveal: bool = False, kubernetes: str = "", recipe: str = "") -> None:
    """The info card: API, access, dashboard, InfluxDB."""
    environment = described(env, kubernetes, recipe)
    if json:
        print(jsonlib.dumps({line.name: {"value": line.value, "proof": line.proof} for line in card(environment, reveal=reveal)}, indent=2))
        return
    print_card(Console(highlight=False), environment, reveal=reveal)


def print_card(console: Console, environment: Environment, *, reveal: bool = False) -> None:
    """The card for people."""
    if environment.settings.simulated:
        console.print("\nsimulated nodes: nothing answers at these addresses", style="dim")
    console.print()
    for line in card(environment, reveal=reveal):
        console.print(f"{line.name:<13}{line.value}", markup=False, soft_wrap=True)
        if line.proof:
            console.print(f"{'':<13}  {line.proof}", style="dim", markup=False, soft_wrap=True)


TASKS = (security_group_task, sizing_task, info)
