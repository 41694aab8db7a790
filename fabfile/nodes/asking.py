"""How a node asks a registry or a package source by curl: the shell functions, their values, and the address of an image there."""

from __future__ import annotations

from pathlib import Path

from ..inventory.images import full
from ..inventory.places import certificates
from ..inventory.settings import Settings
from . import script

# The functions `ask` and `login`, for scripts that have the folder $d and has().
ASKING = script.program(__file__, "asking.sh").rstrip("\n")


def _in_curls_quotes(text: str) -> str:
    """A text for double quotes in curl's configuration; an unescaped line break would begin an option (curl(1), --config)."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\v", "\\v")):
        text = text.replace(plain, escaped)
    return text


def login_values(settings: Settings) -> dict[str, str]:
    """The variables of `login`: the private registry, its login for curl's standard input, its CA. A script with them is sent as a script."""
    curl = f'user = "{_in_curls_quotes(settings.registry_login.reveal())}"\n' if settings.registry_user else ""
    return {
        "registry": f"{settings.registry.api}/" if settings.registry else "",
        "registry_curl": curl,
        "registry_ca": certificates(Path(settings.registry_ca)) if settings.registry_ca else "",
    }


def manifest_url(settings: Settings, image: str) -> str:
    """Where the manifest of an image is asked for, as containerd would; "" where curl would not know the CA of its mirror."""
    host, _, rest = full(image).partition("/")
    path, _, tag = rest.rpartition(":")
    if host not in settings.mirrors:
        api = f"https://{'registry-1.docker.io' if host == 'docker.io' else host}/v2"
        return f"{api}/{path}/manifests/{tag}"
    at = settings.mirrors[host]
    private = settings.registry is not None and (at.scheme, at.host) == (
        settings.registry.scheme,
        settings.registry.host,
    )
    if host in settings.registry_mirror_ca and not private:
        return ""
    return f"{at.api}/{f'{at.project}/' if at.project else ''}{path}/manifests/{tag}"
