"""`inv cluster.version`: which kubefab this is, and on what it runs."""

from __future__ import annotations

import platform

from .common import Options, command, print_json


@command("json")
def version(*, options: Options) -> None:
    """kubefab's version, and its libraries'."""
    from importlib.metadata import version as installed

    found = {"kubefab": kubefab(), "python": platform.python_version()}
    found |= {name: installed(name) for name in ("fabric", "invoke", "paramiko")}
    if options.json:
        print_json(found)
    else:
        print("\n".join(f"{name} {number}" for name, number in found.items()))


def kubefab() -> str:
    """The version in pyproject.toml, which is the only place that has it."""
    import tomllib

    from ..inventory import PROJECT

    return str(tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
