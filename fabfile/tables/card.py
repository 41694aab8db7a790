"""The manual's info card (digest E2): what a person needs to reach the cluster, derived from the inventory, never stored.

1.5's bearer token is the second half of the kubeadm token, and makes its holder administrator.  Today administrators use the
kubeconfig; for reading there is a service account's token that expires (`kubectl create token`).
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import UsageError
from ..inventory import Environment, bracketed
from ..nodes.influx import ADMIN, SECRET
from ..records import dataclass
from ..text.masking import MASKED

READING_TOKEN = "1h"


@dataclass(frozen=True)
class Line:
    """One row: what it is, its value, the command that proves or uses it, and what the manual's table says that it is for."""

    name: str
    value: str
    proof: str = ""
    about: str = ""


# The manual's Description column. Cocktail is the console that the manual's clusters were made for.
_PROVIDER = "for Provider_Account in Cocktail"
_ABOUT = {
    "API server": _PROVIDER,
    "Bearer token": f"for the connection to the API server; {_PROVIDER}",
    "Header": "for a browser's requests to the API server",
    "Dashboard": "to look whether Kubernetes works",
    "InfluxDB": "the monitoring's database; for Application.yaml of Cocktail's API server",
}


def token_command(environment: Environment) -> str:
    """The command that makes a token with an end, on the control plane. Raises UsageError where none can be made."""
    settings, name = environment.settings, environment.name
    if settings.release.token_in_inventory:
        raise UsageError(
            "Kubernetes 1.5 makes no tokens: its only one is in hosts.env",
            f"`inv cluster.info {environment.option} --reveal`",
        )
    if settings.dashboard == "none":
        raise UsageError(
            f"{name} has no dashboard, whose service account the token is for",
            f"`inv cluster.kubeconfig {environment.option}`",
        )
    return f"kubectl -n kube-system create token {settings.dashboard} --duration {READING_TOKEN}"


def login_command(environment: Environment) -> str:
    """The command that reads InfluxDB's password (base64) on the control plane; empty where InfluxDB asks for none."""
    settings = environment.settings
    if settings.release.token_in_inventory or not settings.influxdb_login:
        return ""
    return f"kubectl -n monitoring get secret {SECRET} -o jsonpath='{{.data.{ADMIN}}}'"


def card(environment: Environment, *, reveal: bool = False, token: str = "", login: str = "") -> list[Line]:
    """The card of one environment, at the address that is reached from outside.

    Secrets only if `reveal`, or a `token` just made, or InfluxDB's password, the `login`, just read.
    """
    settings = environment.settings
    host = bracketed(environment.control_plane.outside)
    api = f"https://{host}:{settings.api_port}"
    lines = (_access_by_token if settings.release.token_in_inventory else _access_by_kubeconfig)(
        environment, api, reveal, token
    )
    if settings.dashboard != "none" or settings.release.dashboard:
        url = f"http://{host}:{settings.dashboard_port}"
        lines.append(Line("Dashboard", url, f"curl -s {url}/"))
    url = f"http://{host}:{settings.influxdb_port}"
    asks = bool(login_command(environment))
    user = f"-u {ADMIN} " if asks else ""  # curl asks for the password
    lines.append(
        Line(
            "InfluxDB",
            f"{url}  (database k8s)",
            f"curl -sG {user}{url}/query --data-urlencode 'q=SHOW MEASUREMENTS ON k8s'",
        )
    )
    if asks:
        lines.append(
            Line("Login", f"user {ADMIN}, password {login or f'{MASKED}  (InfluxDB asks for it; --reveal shows it)'}")
        )
    about = _ABOUT if settings.release.token_in_inventory else {}  # today's clusters are not Cocktail's
    return [replace(line, about=about.get(line.name, "")) for line in lines]


def _ca(name: str) -> str:
    """curl's option for the cluster's CA, which is in the kubeconfig. Without it, anyone between here and the cluster could read the token."""
    path = "{.clusters[0].cluster.certificate-authority-data}"
    return f"--cacert <(kubectl config view --raw --minify --context {name} -o jsonpath='{path}' | base64 -d)"


def _access_by_token(environment: Environment, api: str, reveal: bool, token: str) -> list[Line]:
    half = environment.settings.token.half
    shown = half if reveal else MASKED
    if not half:
        return [
            Line("API server", api, f"curl -sk {api}/healthz"),
            Line("Bearer token", f"no {environment.name.upper()}_TOKEN in hosts.local.env"),
        ]
    # its certificate has this name always, and of the addresses only the one that kubeadm was given
    through = f"--connect-to ::{api.removeprefix('https://')} https://kubernetes:{environment.settings.api_port}/api"
    return [
        Line("API server", api, f"curl -sk {api}/healthz"),
        Line("Bearer token", shown if reveal else f"{shown}  (--reveal shows it)"),
        Line(
            "Header",
            f"Authorization: Bearer {shown}",
            f"curl -s {_ca(environment.name)} {through} -H @- <<< 'Authorization: Bearer {shown}'",
        ),
    ]


def _access_by_kubeconfig(environment: Environment, api: str, reveal: bool, token: str) -> list[Line]:
    name, dashboard = environment.name, environment.settings.dashboard
    ca = _ca(name)
    lines = [
        Line("API server", api, f"curl -s {ca} {api}/readyz"),
        Line("kubeconfig", f"context {name}, an administrator's", f"inv cluster.kubeconfig {environment.option}"),
    ]
    if token:
        header = f"Authorization: Bearer {token}"
        lines += [Line("Token", token), Line("Header", header, f"curl -s {ca} {api}/api -H @- <<< '{header}'")]
    elif dashboard != "none":
        make = f"kubectl --context {name} -n kube-system create token {dashboard} --duration {READING_TOKEN}"
        lines += [
            Line("Token", f"made on demand, ends after {READING_TOKEN}, may only read", make),
            Line(
                "Header",
                "Authorization: Bearer TOKEN",
                f'curl -s {ca} {api}/api -H @- <<< "Authorization: Bearer $({make})"',
            ),
        ]
    return lines
