"""The proxy on a node: for containerd, for what fetches packages and keys; and the proxies that an operator has set there.

Sources: systemd.exec(5): EnvironmentFile= wins over Environment=, and is not shown to users as that is; apt.conf(5); containerd
docs/getting-started.md; kubernetes/kubeadm 182, 396, 687 (API traffic through a proxy), scality/metalk8s 2071 (a registry behind one).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ..inventory import Environment
from ..inventory.proxy import bypassed, host_of, own_entries, single
from ..nodes.facts import STATE, Network, NodeFacts
from ..nodes.keeping import HEAD
from ..nodes.script import PROXY_FILE
from ..records import dataclass
from ..steps import File

DROP_IN = "/etc/systemd/system/containerd.service.d/kubefab-proxy.conf"
APT = "/etc/apt/apt.conf.d/00kubefab-proxy"  # first: a proxy that the machine's owner has set there wins
PROOF = f"{STATE}/proxy"  # that containerd was restarted with these files
KEPT = (PROXY_FILE, DROP_IN)  # reset gives back what was there


def no_proxy(environment: Environment) -> tuple[str, ...]:
    """Every host that this environment's nodes reach without the proxy."""
    settings = environment.settings
    ranges = (settings.pod_cidr, settings.service_cidr, *((settings.node_cidr,) if settings.node_cidr else ()))
    nodes = tuple(node.address for node in environment.nodes)
    return own_entries(nodes, ranges, settings.dns_domain, tuple(_hosts(environment)), tuple(settings.no_proxy))


def registries(environment: Environment) -> list[str]:
    """The hosts, without ports, of the registry and the mirrors that hosts.env names."""
    settings = environment.settings
    return list(dict.fromkeys(at.name for at in (settings.registry, *settings.mirrors.values()) if at))


def _hosts(environment: Environment) -> list[str]:
    settings = environment.settings
    return [*registries(environment), host_of(settings.packages_url), host_of(settings.containerd_url)]


def files(environment: Environment) -> tuple[File, ...]:
    """The proxy's variables, which only root reads, and the drop-in that gives them to containerd; nothing without PROXY."""
    proxy = environment.settings.proxy
    if not proxy:
        return ()
    url, without = proxy.url.reveal(), ",".join(no_proxy(environment))
    values = {"http_proxy": url, "https_proxy": url, "no_proxy": without}
    text = "".join(f"{name.upper()}={value}\n{name}={value}\n" for name, value in values.items())
    return (
        File(PROXY_FILE, f"{HEAD}\n{text}", mode="0600", secret=True, keep=True),
        File(DROP_IN, f"{HEAD}\n[Service]\nEnvironmentFile={PROXY_FILE}\n", keep=True),
    )


def apt(environment: Environment) -> tuple[File, ...]:
    """apt's configuration for the proxy, without it for the hosts of NO_PROXY, of which apt knows neither ranges nor domains."""
    settings, proxy = environment.settings, environment.settings.proxy
    if not proxy:
        return ()
    without = no_proxy(environment)
    fetched = (host_of(settings.packages_url), host_of(settings.containerd_url))
    direct = dict.fromkeys(single((*without, *(host for host in fetched if bypassed(host, without)))))
    lines = [f'Acquire::{scheme}::Proxy "{proxy.url.reveal()}";' for scheme in ("http", "https")]
    lines += [
        f'Acquire::{scheme}::Proxy::{host} "DIRECT";'
        for host in direct
        if ":" not in host
        for scheme in ("http", "https")
    ]
    secret = bool(proxy.login)
    text = "".join(f"{line}\n" for line in (f"//{HEAD[1:]}", *lines))
    return (File(APT, text, mode="0600" if secret else "0644", secret=secret),)


def dnf(environment: Environment, url: str) -> str:
    """The line in a repository's file that says by which proxy its `url` is reached; empty without PROXY."""
    proxy = environment.settings.proxy
    if not proxy:
        return ""
    return f"proxy={'_none_' if bypassed(host_of(url), no_proxy(environment)) else proxy.url.reveal()}\n"


# --- proxies that are not ours

_SYSTEM = "/etc/systemd/system.conf"  # and the folder beside it: for every service
# Who reads which files, the later ones last: a program of the cluster's, or a person's commands.
_READERS = {
    "containerd": (_SYSTEM, "/etc/systemd/system/containerd.service.d/"),
    "the kubelet": (
        _SYSTEM,
        "/etc/systemd/system/kubelet.service.d/",
        "/etc/default/kubelet",
        "/etc/sysconfig/kubelet",
    ),
    "": ("/etc/environment",),
}


@dataclass(frozen=True)
class Found:
    """A proxy of the operator's that would get what is not for it: who reads that file ("" for a person's commands), what is wrong, the remedy."""

    path: str
    reader: str
    says: str
    remedy: str


def found(environment: Environment, facts: NodeFacts) -> Iterator[Found]:
    """The proxies on a node whose NO_PROXY lacks what their reader asks for: the private registry, or the API."""
    if not facts.proxies:
        return
    wanted = no_proxy(environment)
    private = [host for host in registries(environment) if bypassed(host, wanted)]
    for reader, places in _READERS.items():
        read = [one for place in places for one in facts.proxies if one.path.startswith(place)]
        proxies = [one for one in read if one.name != "NO_PROXY" and one.value]
        has = next((tuple(one.value.split(",")) for one in reversed(read) if one.name == "NO_PROXY"), ())
        needs = [environment.control_plane.address]
        if reader == "containerd":  # our own file wins over what is set there
            needs = private if not environment.settings.proxy else []
        if proxies and any(not bypassed(host, has) for host in needs):
            lacks = [entry for entry in wanted if not _covered(entry, has)]
            value = ",".join(filter(None, (*has, *lacks)))
            path = proxies[-1].path
            says = f"{path} sets a proxy, and NO_PROXY lacks {', '.join(lacks)}"
            yield Found(path, reader, says, f"add to {path} the line {_line(path, value, facts)}")
    kept = [one for one in facts.proxies if one.path.startswith("/etc/sudoers")]
    if kept and "NO_PROXY" not in {one.name for one in kept}:
        path = kept[-1].path
        says = f"{path} lets sudo keep the variables of a proxy, and not no_proxy"
        yield Found(path, "", says, f'add to {path} the line Defaults env_keep += "no_proxy NO_PROXY"')


def _covered(entry: str, has: tuple[str, ...]) -> bool:
    """Whether a NO_PROXY has an entry, or one that is wider."""
    if entry in has:
        return True
    if "/" in entry:
        return "*" in has or any(_within(ipaddress.ip_network(entry, strict=False), other) for other in has)
    return bypassed(f"x{entry}" if entry.startswith(".") else entry.removeprefix("*."), has)


def _within(network: Network, other: str) -> bool:
    """Whether a range is part of another, which is an operator's word."""
    try:
        wide = ipaddress.ip_network(other, strict=False)
    except ValueError:
        return False
    first, last = int(network.network_address), int(network.broadcast_address)
    return (
        network.version == wide.version and int(wide.network_address) <= first and last <= int(wide.broadcast_address)
    )


def _line(path: str, value: str, facts: NodeFacts) -> str:
    """The line for a file, and what makes it so."""
    if path.startswith(_SYSTEM):
        return f'DefaultEnvironment="NO_PROXY={value}", then `systemctl daemon-reexec`'
    if ".service.d/" in path:
        unit = path.split("/")[4].removesuffix(".service.d")
        # before install, there is nothing to restart
        now = (
            f"`systemctl daemon-reload && systemctl restart {unit}`"
            if facts.unit(unit).active
            else "`systemctl daemon-reload`"
        )
        return f'Environment="NO_PROXY={value}", then {now}'
    return f'{"no_proxy" if path == "/etc/environment" else "NO_PROXY"}="{value}"'
