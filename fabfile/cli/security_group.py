"""`inv cluster.security-group`: the firewall rules that the cluster needs, from the inventory alone."""

from __future__ import annotations

from .common import Options, command, described, print_json, print_text


@command(
    "env",
    "kubernetes",
    "recipe",
    "json",
    name="security-group",
    help={
        "format": "aws (commands), terraform or nftables",
        "admin": "your network, like 198.51.100.7/32; several with commas",
    },
)
def security_group(*, format: str = "aws", admin: str = "", options: Options) -> None:
    """The firewall rules that this cluster needs."""
    from ..tables.security_group import admins, as_data, render

    environment, networks = described(options), admins(admin)
    if options.json:
        print_json(as_data(environment, networks))
    else:
        print_text(render(environment, format, networks))
