"""The doctor's own reading script, besides the observing one: what only the doctor asks, in one exec per node.

It only reads; its one temporary folder goes with it.  The registry's login is in the script, which travels as a 0600
file that deletes itself, and reaches curl through its standard input: never a command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from ...inventory import Environment, Node
from ...inventory.images import full
from ...nodes import asking, script
from ...recipes.kubeadm import recipe_for
from ...recipes.packages import LOCK_HOLDER
from ...recipes.proxies import no_proxy
from ...records import dataclass
from ...text import forms
from ..dated import CERTIFICATES, Dated, certificate, seconds_of

TIMEOUT = 75.0  # seconds for the whole script; each question in it has its own limit
FOLDERS = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/var/log")


@dataclass(frozen=True)
class Answer:
    """What curl saw: the HTTP code (0: no answer), seconds, and its error text."""

    code: int
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Disk:
    """A folder's file system, in KiB and inodes (0: it does not count inodes)."""

    size_kib: int
    free_kib: int
    inodes: int = 0
    free_inodes: int = 0


@dataclass(frozen=True)
class NodeAnswers:
    """What the doctor's script found on one node."""

    macs: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[str, ...] = ()
    toward: str = ""
    subnet: Mapping[str, str] = field(default_factory=dict)
    disks: Mapping[str, Disk] = field(default_factory=dict)
    memory_kib: int = 0
    available_kib: int = 0
    modules: Mapping[str, bool] = field(default_factory=dict)
    kernel_config: str = ""
    time: Mapping[str, str] = field(default_factory=dict)
    services: frozenset[str] = frozenset()
    selinux: str = ""
    sockets: tuple[str, ...] = ()
    lock: str = ""
    certificates: tuple[Dated, ...] = ()
    containerd: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[Dated, ...] = ()
    tools: frozenset[str] = frozenset()
    http: Mapping[str, Answer] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    tokens: tuple[Dated, ...] = ()
    cut: tuple[str, ...] = ()  # ("signing keys: gpg is not installed",): what could not be examined, and why


@dataclass(frozen=True)
class Questions:
    """What to ask of one environment's nodes: the same for all of them."""

    sources: Mapping[str, str]
    registries: Mapping[str, str]
    names: tuple[str, ...]
    key_url: str
    canary: str = ""


def questions(environment: Environment, os_id: str, codename: str) -> Questions:
    """The addresses that a bootstrap of this environment will ask, for a node of this system."""
    settings, recipe = environment.settings, recipe_for(environment)
    if not settings.release.signed_packages:
        old = {
            "key": settings.legacy_key_url,
            "packages": settings.legacy_packages_url,
            "manifests": settings.manifests_url,
        }
        return Questions(old, {}, tuple(sorted({_host(url) for url in old.values()})), "")
    base = f"{settings.packages_url}/core:/stable:/v{recipe.minor}"
    if os_id in ("debian", "ubuntu"):
        key = f"{base}/deb/Release.key"
        sources = {
            "packages": f"{base}/deb/InRelease",
            "containerd": f"{settings.containerd_url}/linux/{os_id}/dists/{codename}/InRelease",
        }
    else:
        key = f"{base}/rpm/repodata/repomd.xml.key"
        sources = {
            "packages": f"{base}/rpm/repodata/repomd.xml",
            "containerd": f"{settings.containerd_url}/linux/{'rhel' if os_id == 'rhel' else 'centos'}/gpg",
        }
    images = (*recipe.worker_images, settings.influxdb_image, settings.telegraf_image, recipe.dashboard_image)
    private = settings.registry
    mirrored = set(settings.mirrors) | ({private.host} if private else set())
    upstream = {host for image in images if image and (host := full(image).split("/", 1)[0]) not in mirrored}
    registries = {
        host: f"https://{'registry-1.docker.io' if host == 'docker.io' else host}/v2/" for host in sorted(upstream)
    }
    # a mirror elsewhere, unless curl on the node would not know its CA
    elsewhere = {name: at for name, at in settings.mirrors.items() if not private or at.host != private.host}
    registries |= {at.host: f"{at.api}/" for name, at in elsewhere.items() if name not in settings.registry_mirror_ca}
    canary = ""
    if private:
        path, tag = recipe.canary.removeprefix(f"{private.host}/").rsplit(":", 1)
        canary = f"{private.api}/{path}/manifests/{tag}"
    hosts = {_host(url) for url in (*sources.values(), *registries.values())}
    hosts |= {at.name for at in (private, *settings.mirrors.values()) if at}
    return Questions(sources, registries, tuple(sorted(h for h in hosts if re.search("[a-z]", h))), key, canary)


def _host(url: str) -> str:
    return url.split("//", 1)[1].split("/", 1)[0].rsplit(":", 1)[0]


KEYRINGS = (
    "/etc/apt/keyrings/kubefab-kubernetes.gpg",
    "/etc/apt/keyrings/kubefab-containerd.gpg",
    "/etc/pki/rpm-gpg/kubefab-kubernetes",
    "/etc/pki/rpm-gpg/kubefab-containerd",
)


def doctor_script(environment: Environment, node: Node, asked: Questions) -> str:
    """The script for one node. It may hold the registry's login: send it as a script, never as an argument."""
    settings = environment.settings
    values = {
        "control_plane": "yes" if node.control_plane else "",
        "toward": environment.control_plane.address,
        "folders": " ".join(FOLDERS),
        "urls": " ".join(asked.sources.values()),
        "registries": " ".join(asked.registries.values()),
        "names": " ".join(asked.names),
        **asking.login_values(settings),
        "canary": asked.canary,
        "key_url": asked.key_url,
        "keyrings": " ".join(KEYRINGS),
        "proxy": settings.proxy.url.reveal() if settings.proxy else "",
        "without_proxy": ",".join(no_proxy(environment)) if settings.proxy else "",
    }
    body = CERTIFICATES + script.program(__file__, "doctor.sh", lock_holder=LOCK_HOLDER, asking=asking.ASKING)
    return script.reading("doctor", body, values, fetches=True)


def parse_answers(output: str, asked: Questions) -> NodeAnswers:
    """Read the script's output. Raises FormError for malformed values, ValueError if the output is cut short."""
    said = script.sections(output)
    memory = {
        words[0]: forms.number(words[1], words[0])
        for words in said.words("memory", 2)
        if words[0] in ("MemTotal:", "MemAvailable:")
    }
    config, selinux = said.lines("config"), said.lines("selinux")
    return NodeAnswers(
        macs=_macs(said.whole("links")),
        routes=tuple(_route(line) for line in said.lines("routes")),
        toward=" ".join(_route(line) for line in said.lines("toward")),
        subnet=_subnet(said.pairs("subnet")),
        disks={
            words[0]: Disk(*(_count(word) for word in words[1:5]))
            for words in said.words("disk", 3)
            if words[0] in FOLDERS
        },
        memory_kib=memory.get("MemTotal:", 0),
        available_kib=memory.get("MemAvailable:", 0),
        modules={words[0]: words[1] == "yes" for words in said.words("modules", 2) if words[0] in MODULES},
        kernel_config=forms.text(config[0]) if config else "",
        time={key: forms.text(value, 40) for key, value in said.pairs("time").items()},
        services=frozenset(said.lines("services")),
        selinux=forms.text(selinux[0], 40) if selinux else "",
        sockets=tuple(forms.text(line) for line in said.lines("sockets")),
        lock=forms.text(", ".join(said.lines("lock"))),
        certificates=tuple(certificate(line) for line in said.lines("certs")),
        containerd={key: forms.text(value) for key, value in said.pairs("containerd").items()},
        keys=(*_keys(said.lines("keyrings")), *_keys([f"{asked.key_url} {line}" for line in said.lines("key")])),
        tools=frozenset(said.lines("tools")),
        http=_answers(said.lines("http"), asked),
        names={
            words[0]: forms.text(" ".join(words[1:2]), 60) for words in said.words("dns") if words[0] in asked.names
        },
        tokens=_tokens(said.whole("tokens")),
        cut=tuple(forms.text(line) for line in said.lines("cut")),
    )


MODULES = ("overlay", "br_netfilter", "vxlan", "nf_conntrack")
_ROUTE_WORD = r"[A-Za-z0-9._:/@+~-]*"  # of `ip -o route`: what a remedy may quote


def _count(word: str) -> int:
    """A number printed by df; "-" (the file system does not count it) is 0."""
    return forms.number(word, "disk") if word != "-" else 0


def _route(line: str) -> str:
    """A route as `ip -o route` prints it, without words that a shell would act on, such as the flags of the route cache (`cache <local>`)."""
    return " ".join(word for word in line.split()[:40] if forms.has(word, _ROUTE_WORD, 100))


def _subnet(pairs: Mapping[str, str]) -> dict[str, str]:
    """flannel's subnet.env. A file that is just being written may contain half a value, which is left out."""
    mtu, subnet = pairs.get("FLANNEL_MTU", ""), pairs.get("FLANNEL_SUBNET", "")
    found = {"FLANNEL_MTU": mtu} if forms.has(mtu, "[0-9]{1,9}") else {}
    try:
        return found | {"FLANNEL_SUBNET": forms.interface(subnet)}
    except forms.FormError:
        return found


_MACS = forms.many(forms.record({"ifname": forms.string, "link_type": forms.string, "address": forms.string}))


def _macs(text: str) -> dict[str, str]:
    """MAC addresses of Ethernet interfaces, by name; those that a cluster makes on every node are left out."""
    if not text.strip():
        return {}
    made = ("cni", "flannel", "veth", "docker", "br-", "kube", "cali")
    return {
        link["ifname"]: link["address"]
        for link in _MACS(forms.data(text, "interfaces"), "interfaces")
        if link.get("link_type") == "ether"
        and forms.has(link.get("address", ""), "[0-9a-f]{2}(:[0-9a-f]{2}){5}")
        and forms.has(link.get("ifname", ""), forms.LINK, 15)
        and not link["ifname"].startswith(made)
    }


def _keys(lines: list[str]) -> list[Dated]:
    """`gpg --with-colons`: field 5 of a pub record is the key's id, field 7 its expiry in seconds since 1970."""
    found = []
    for line in lines:
        where, _, record = line.partition(" ")
        cells = record.split(":")
        if cells[0] == "pub" and len(cells) > 6:
            found.append(
                Dated(
                    where,
                    forms.seconds(cells[6] or "0", "key's end"),
                    forms.word(cells[4], "key's id", "[0-9A-F]{8,64}", "a key's id"),
                )
            )
    return found


def _answers(lines: list[str], asked: Questions) -> dict[str, Answer]:
    names = {f"source.{n}": f"source {name}" for n, name in enumerate(asked.sources, 1)}
    names |= {f"registry.{n}": f"registry {name}" for n, name in enumerate(asked.registries, 1)}
    found = {}
    for line in lines:
        words = line.split(maxsplit=3)
        if len(words) < 3:
            continue
        code = int(words[1]) if forms.has(words[1], "[0-9]{1,3}") else 0
        spent = float(words[2]) if forms.has(words[2], "[0-9]{1,5}([.][0-9]{1,9})?") else 0.0
        found[names.get(words[0], words[0])] = Answer(code, spent, forms.text(words[3]) if len(words) > 3 else "")
    return found


def _tokens(text: str) -> tuple[Dated, ...]:
    """`kubeadm token list -o json` prints one object after another."""
    decoder, at, found = json.JSONDecoder(), 0, []
    text = text.strip()
    while at < len(text):
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        found.append(_token(_TOKEN(forms.data(text[at:end], "token"), "token")))
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return tuple(found)


_TOKEN = forms.record({"token!": forms.string, "expires": forms.string})


def _token(item: dict[str, Any]) -> Dated:
    return Dated(
        "",
        seconds_of(item.get("expires", "")),
        forms.word(item["token"].split(".")[0], "token's id", "[a-z0-9]{6}", "a token's id"),
    )
