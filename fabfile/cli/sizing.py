"""`inv cluster.sizing`: instance types, from the inventory alone."""

from __future__ import annotations

from .common import Options, command, described, print_json, print_text


@command("env", "json", help={"nodes": "how many workers; default: the environment's"})
def sizing(*, nodes: int = 0, options: Options) -> None:
    """Instance types: the manual's and today's."""
    from ..tables.sizing import advise, as_data, as_text

    environment = described(options)
    count = nodes or len(environment.workers) or 1
    advice = advise(count, environment)
    if options.json:
        print_json(as_data(count, advice))
    else:
        print_text(f"{as_text(count, advice)}\n")
