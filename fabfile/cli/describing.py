"""The `inv` tasks that only describe: security-group, sizing, info, manual. They connect to nothing, but for `info --token` and `--reveal`."""

from __future__ import annotations

import base64
import binascii
import json as jsonlib
from typing import Any

from rich.console import Console

from .. import inventory
from ..errors import KubefabError
from ..inventory import Environment, with_release
from ..legacy.commands import Manual
from ..nodes import script
from ..nodes.connection import outcome
from ..tables import security_group, sizing
from ..tables.card import card, login_command, token_command
from ..text.masking import mask, register
from ..text.screen import Screen
from ..views.legacy import rendering
from .common import command, release
from .session import Options, opened

TOKEN_TIMEOUT = 30.0  # seconds


def described(env: str, kubernetes: str, recipe: str) -> Environment:
    """The environment as hosts.env has it, or with another release."""
    return with_release(inventory.load(env or None), release(kubernetes, recipe))


@command(
    name="security-group",
    help={
        "format": "aws (commands), terraform or nftables",
        "admin": "your network, like 198.51.100.7/32; several with commas",
    },
)
def security_group_task(
    c: Any,
    env: str = "",
    format: str = "aws",
    admin: str = "",
    kubernetes: str = "",
    recipe: str = "",
    json: bool = False,
) -> None:
    """The firewall rules that this cluster needs."""
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


@command(
    help={
        "reveal": "show secrets: InfluxDB's login, read over SSH; the bearer token of 1.5",
        "token": "make a token on the control plane, over SSH, and show it",
    }
)
def info(
    c: Any,
    env: str = "",
    json: bool = False,
    reveal: bool = False,
    token: bool = False,
    kubernetes: str = "",
    recipe: str = "",
    ask_sudo_pass: bool = False,
) -> None:
    """The info card: API, access, dashboard, InfluxDB."""
    environment = described(env, kubernetes, recipe)
    options = Options(env, kubernetes=release(kubernetes, recipe), ask_sudo_pass=ask_sudo_pass)
    made = register(_told(options, "info.token", token_command(environment))) if token else ""
    asked = login_command(environment) if reveal else ""
    login = _login(_told(options, "info.login", asked)) if asked else ""
    if json:
        lines = card(environment, reveal=reveal, token=made, login=login)
        print(jsonlib.dumps({line.name: {"value": line.value, "proof": line.proof} for line in lines}, indent=2))
        return
    print_card(Screen(), environment, reveal=reveal, token=made, login=login)


def _told(options: Options, name: str, line: str) -> str:
    """What the control plane of a cluster that is up prints for one line. Raises KubefabError."""
    text = script.render(name, (line,), lock=False)
    with opened(options) as session:
        control = session.environment.control_plane
        done = outcome(session.group.of(control), name, text, TOKEN_TIMEOUT)
    if done.code or not done.output.strip():
        what = {"info.token": "made no token", "info.login": "has no login of InfluxDB's"}[name]
        raise KubefabError(
            f"{control.name} {what}",
            f"is the cluster up? `inv cluster.status --env {session.environment.name}`",
            done.output,
        )
    return done.output.strip()


def _login(encoded: str) -> str:
    """A password from a Secret's base64, known to the masker from here on. Raises KubefabError for anything else."""
    try:
        return register(base64.b64decode(encoded, validate=True).decode("ascii"))
    except (binascii.Error, UnicodeDecodeError):
        raise KubefabError(
            "the Secret of InfluxDB's login holds no password", "`inv cluster.bootstrap` makes it if it is deleted"
        ) from None


def print_card(
    console: Console, environment: Environment, *, reveal: bool = False, token: str = "", login: str = ""
) -> None:
    """The card for people."""
    if environment.settings.simulated:
        console.print("\nsimulated nodes: nothing answers at these addresses", style="dim")
    console.print()
    for line in card(environment, reveal=reveal, token=token, login=login):
        console.print(f"{line.name:<13}{line.value}", soft_wrap=True)
        if line.proof:
            console.print(f"{'':<13}  {line.proof}", style="dim", soft_wrap=True)


@command(name="manual", help={"reveal": "with the token, as the manual has it"})
def manual_task(c: Any, env: str = "", reveal: bool = False, json: bool = False) -> None:
    """The manual's commands, by ID."""
    environment, shown = described(env, "1.5", ""), (str if reveal else mask)
    if json:
        lines = Manual(environment).lines()
        print(
            jsonlib.dumps(
                [{"id": line.id, "manual": shown(line.text), "kubefab": shown(line.run)} for line in lines], indent=2
            )
        )
    else:
        print(shown(rendering(environment)), end="")


TASKS = (security_group_task, sizing_task, info, manual_task)
