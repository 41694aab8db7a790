"""`inv cluster.info`: the info card. It connects to nothing but for `--token` and `--reveal`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import KubefabError
from .common import Options, command, described, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..inventory import Environment

TIMEOUT = 30.0  # seconds for one command on the control plane


@command(
    "env",
    "json",
    "kubernetes",
    "recipe",
    "ask_sudo_pass",
    help={
        "reveal": "show secrets: InfluxDB's login, read over SSH; the bearer token of 1.5",
        "token": "make a token on the control plane, over SSH, and show it",
    },
)
def info(*, reveal: bool = False, token: bool = False, options: Options) -> None:
    """The info card: API, access, dashboard, InfluxDB."""
    from ..tables.card import card, login_command, token_command
    from ..text.masking import register
    from ..text.screen import Screen

    environment = described(options)
    made = register(_printed_there(options, "info.token", token_command(environment))) if token else ""
    reading = login_command(environment) if reveal else ""
    login = _password(_printed_there(options, "info.login", reading)) if reading else ""
    if options.json:
        lines = card(environment, reveal=reveal, token=made, login=login)
        print_json({line.name: {"value": line.value, "proof": line.proof, "about": line.about} for line in lines})
        return
    print_card(Screen(), environment, reveal=reveal, token=made, login=login)


def _printed_there(options: Options, name: str, line: str) -> str:
    """What one command line prints on the control plane; `name` is the script's. Raises KubefabError when it fails or prints nothing."""
    from ..nodes import script
    from ..nodes.connection import outcome
    from .session import opened

    text = script.render(name, (line,), lock=False)
    with opened(options) as session:
        control = session.environment.control_plane
        done = outcome(session.group.of(control), name, text, TIMEOUT)
    if done.code or not done.output.strip():
        what = {"info.token": "made no token", "info.login": "has no login of InfluxDB's"}[name]
        raise KubefabError(
            f"{control.name} {what}",
            f"is the cluster up? `inv cluster.status {session.environment.option}`",
            done.output,
        )
    return done.output.strip()


def _password(encoded: str) -> str:
    """The password in a Secret's base64, registered as a secret. Raises KubefabError for anything else."""
    import base64
    import binascii

    from ..text.masking import register

    try:
        return register(base64.b64decode(encoded, validate=True).decode("ascii"))
    except (binascii.Error, UnicodeDecodeError):
        raise KubefabError(
            "the Secret of InfluxDB's login holds no password", "`inv cluster.bootstrap` makes it if it is deleted"
        ) from None


def print_card(
    console: Console, environment: Environment, *, reveal: bool = False, token: str = "", login: str = ""
) -> None:
    """Print the card for people; the arguments are those of tables.card.card."""
    from ..tables.card import card

    if environment.settings.simulated:
        console.print("\nsimulated nodes: nothing answers at these addresses", style="dim")
    console.print()
    for line in card(environment, reveal=reveal, token=token, login=login):
        console.print(f"{line.name:<13}{line.value}", soft_wrap=True)
        if line.about:
            console.print(f"{'':<13}  {line.about}", soft_wrap=True)
        if line.proof:
            console.print(f"{'':<13}  {line.proof}", style="dim", soft_wrap=True)
