"""The proxy between the nodes and the outside: how hosts.env writes it, and which hosts it is not for.

Sources: golang.org/x/net/http/httpproxy (what containerd, the kubelet and kubeadm read of NO_PROXY); curl(1); apt.conf(5).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from functools import lru_cache
from urllib.parse import unquote

from ..records import dataclass
from ..text.masking import SHORTEST, Secret
from .places import AUTHORITY, HOST, inside

# Of RFC 3986's userinfo what neither a shell nor systemd nor apt acts on; everything else is percent-encoded.
_LOGIN = r"[A-Za-z0-9._~%+-]+"
# A host, a domain (with a dot or *. in front for what is below it only), an address, or a range of addresses.
ENTRY = rf"(\*?\.)?{HOST}(:\d{{1,5}})?|\[?[0-9a-fA-F:.]+\]?(/\d{{1,3}})?"


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. Its text is without the login, which is a secret."""

    host: str  # "proxy.example:3128"
    login: Secret = field(default_factory=Secret)  # user:password, percent-encoded

    def __str__(self) -> str:
        return f"http://{self.host}"

    @property
    def url(self) -> Secret:
        """The proxy with its login, for files that only root reads."""
        return Secret(f"http://{self.login.reveal()}@{self.host}") if self.login else Secret(str(self))


def proxy(text: str) -> Proxy | None:
    """Read a proxy; None for an empty text. Raises ValueError, which never shows the value."""
    if not text:
        return None
    form = re.fullmatch(rf"http://(?:(?P<login>{_LOGIN}(?::{_LOGIN})?)@)?(?P<host>{AUTHORITY})/?", text)
    if not form:
        raise ValueError(
            "is not a proxy like http://proxy.example:3128 or http://user:password@10.0.0.9:3128. In a login write % and two hex digits "
            "for each character that is no letter, digit, dot, dash or _: %40 is @"
        )
    number = re.search(r":(\d+)$", form["host"])
    if not number or not 0 < int(number[1]) < 65536:
        raise ValueError("needs a port from 1 to 65535 behind the host, like http://proxy.example:3128")
    password = (form["login"] or "").partition(":")[2]
    if password and len(unquote(password)) < SHORTEST:
        raise ValueError(
            f"has a password of fewer than {SHORTEST} characters, which cannot be masked in logs. Choose a longer one"
        )
    for secret in {password, unquote(password)} - {""}:
        Secret(secret)  # the masker knows it, as it is written and as it is meant
    return Proxy(form["host"], Secret(form["login"] or ""))


def entries(text: str) -> tuple[str, ...]:
    """The entries of a NO_PROXY. Raises ValueError for what is none."""
    found = tuple(word for word in re.split(r"[,\s]+", text) if word)
    wrong = next((word for word in found if not re.fullmatch(ENTRY, word) or not _range(word)), None)
    if wrong:
        raise ValueError(f"{wrong!r} is not a host, a domain like .corp.example, an address or a range like 10.0.0.0/8")
    return found


def _range(entry: str) -> bool:
    """Whether a range is one; true for everything else."""
    try:
        return "/" not in entry or bool(ipaddress.ip_network(entry, strict=False))
    except ValueError:
        return False


@lru_cache(maxsize=8)
def own_entries(
    nodes: tuple[str, ...], ranges: tuple[object, ...], domain: str, hosts: tuple[str, ...], more: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """NO_PROXY for a cluster: this machine, `nodes` (addresses; without those in a range), `ranges`, services' names, `hosts` that are surely
    of a private network (without ports), and `more` as it is written.

    Kept, as each of many nodes asks for the same."""
    wide = tuple(str(one) for one in ranges)
    cluster = ("localhost", "127.0.0.1", "::1", *wide, ".svc", f".{domain}")
    single = (node for node in nodes if not bypassed(node, wide))
    private = (host for host in hosts if inside(host))
    return tuple(dict.fromkeys((*cluster, *single, *private, *more)))


def bypassed(host: str, no_proxy: Iterable[str]) -> bool:
    """Whether a host (a name or an address, without its port) is reached without the proxy, as Go's httpproxy decides it."""
    host = host.strip("[]").lower().rstrip(".")
    return any(_matches(host, entry.lower().strip()) for entry in no_proxy)


def _matches(host: str, entry: str) -> bool:
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name = re.sub(r":\d+$", "", entry)
        if name.startswith("*."):
            name = name[1:]
        return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def host_of(url: str) -> str:
    """The host in an address, without its port and brackets."""
    found = re.match(r"[a-z][a-z0-9+.-]*://(?:\[([^\]]*)\]|([^/:?]*))", url)
    return (found[1] or found[2]) if found else ""


def single(entries: Iterable[str]) -> Iterator[str]:
    """The entries that name a single host: what apt, which knows no ranges and no domains, can be given."""
    names = (re.sub(r"(?<=[^:]):\d+$", "", entry) for entry in entries if not entry.startswith((".", "*", "[")))
    yield from (name for name in names if not set("/:") & set(name))
