"""The manual's info card (digest E2): what a person needs to reach the cluster, derived from the inventory, never stored."""

from __future__ import annotations

from dataclasses import dataclass

from .inventory import Environment, bracketed


@dataclass(frozen=True)
class Line:
    """One row: what it is, its value, and the command that proves or uses it."""

    name: str
    value: str
    proof: str = ""


def card(environment: Environment) -> list[Line]:
    """The card of one environment, at the address that is reached from outside."""
    settings, control = environment.settings, environment.control_plane
    host = bracketed(control.host)
    api = f"https://{host}:{settings.api_port}"
    name = environment.name
    lines = [
        Line("API server", api, f"curl -sk {api}/readyz"),
        Line("kubeconfig", f"context {name}", f"inv cluster.kubeconfig --env {name}"),
    ]
    if settings.kubernetes.startswith("1.5"):
        half = settings.token.partition(".")[2]
        lines.insert(1, Line("Bearer token", half, f"curl -k -H 'Authorization: Bearer {half}' {api}/api"))
    if settings.dashboard != "none":
        url = f"http://{host}:{settings.dashboard_port}"
        lines.append(Line("Dashboard", url, f"curl -s {url}/"))
    url = f"http://{host}:{settings.influxdb_port}"
    lines.append(Line("InfluxDB", f"{url}  (database k8s)", f"curl -sG {url}/query --data-urlencode 'q=SHOW MEASUREMENTS ON k8s'"))
    return lines
