"""Every key that hosts.env may hold: its meaning, its form and its default.

Keys are written `KEY` (for every environment) or `AWS_KEY` (for one).  The table below is what the
loader checks against, and what docs/settings.md is made from.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import field, fields
from typing import Any, Literal, get_args

from ..records import dataclass
from ..text.durations import hours
from ..text.masking import SHORTEST, Secret, Token
from . import components, places
from .places import AUTHORITY, COMPONENT, HOST, Place
from .proxy import Proxy
from .proxy import entries as _hosts
from .proxy import proxy as _proxy
from .release import Release, release_of

# Docker signs its Debian packages and its RPMs with different keys (docs.docker.com/engine/install, debian and centos).
DOCKER_DEB_KEY, DOCKER_RPM_KEY = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88", "060A61C51B558A7F742B77AAC52FEB6B621E9F35"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Dashboard = Literal["headlamp", "kube-web-view", "none"]


def _text(value: str) -> str:
    return value


# RFC 3986 without what the address of a file never has: a fragment, brackets outside the host, characters that must be percent-encoded.
_URL = rf"[a-z][a-z0-9+.-]*://{AUTHORITY}([/?][a-zA-Z0-9._~%!$&'()*+,;=:@/?-]*)?"


def _url(value: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*://[^/?#]*@", value, re.I):
        # without the value, which must not be shown
        raise ValueError(
            "holds a login (user:password@), which would be on command lines and in readable files of every node. Remove the login: "
            "let the mirror accept the nodes by their addresses, or use a mirror without a login"
        )
    if not re.fullmatch(_URL, value):
        shown = "it" if "@" in value else repr(value)  # a malformed login must not be shown either
        raise ValueError(
            f"{shown} is not an address like https://mirror.example/path. Take the line out for the default"
        )
    return value


def plain_word(value: str) -> str:
    """One word of letters, digits, dots and dashes. Raises ValueError."""
    if not re.fullmatch(r"[\w.-]+", value, re.A):
        raise ValueError(f"{value!r}: letters, digits, dots and dashes only")
    return value


def _registry(value: str) -> Place | None:
    return places.place(value) if value else None


def _mirrors(value: str) -> tuple[str, ...]:
    names = _words(value)
    for word in names:
        name, elsewhere, where = word.partition("=")
        if "://" in name:
            raise ValueError(f"{name!r}: the registry's name alone, without {name.split('//')[0]}//, like ghcr.io")
        if not re.fullmatch(AUTHORITY, name):
            raise ValueError(
                f"{name!r} is not the name of a registry, like ghcr.io or registry.example:5000; another mirror than "
                "REGISTRY is written ghcr.io=mirror.example/ghcr"
            )
        if elsewhere:
            places.place(where)
    return names


def _authorities(value: str) -> dict[str, str]:
    # a path may have blanks: one ends it only where the next registry begins
    words = re.sub(rf"\s+(?={AUTHORITY}=)", ",", value).split(",")
    found = dict(word.strip().partition("=")[::2] for word in words if word.strip())
    for name, file in found.items():
        if not re.fullmatch(AUTHORITY, name) or not file:
            raise ValueError(f"{f'{name}={file}' if file else name!r} is not like ghcr.io=certificates/mirror.pem")
    return found


def _domain(value: str) -> str:
    # the names of services come before it, in the 253 characters that DNS and Kubernetes allow
    short = len(value) <= 120 and all(len(label) <= 63 for label in value.split("."))
    if not re.fullmatch(HOST, value) or value != value.lower() or not short:
        raise ValueError(
            f"{value!r} is not a DNS domain in lower case, like cluster.local: at most 63 characters between dots, and 120 in all. "
            "Take the line out for the default"
        )
    return value


_IMAGE = rf"(?:{AUTHORITY}/)?{COMPONENT}(?:/{COMPONENT})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"


def _image(value: str) -> str:
    if not re.fullmatch(_IMAGE, value, re.A) or len(value) > 512:
        raise ValueError(
            f"{value!r} is not an image, like registry.example:5000/team/name:tag. Take the line out for the default"
        )
    return value


def login_name(value: str) -> str:
    """A login name. Raises ValueError."""
    if re.search(r"[\s\x00-\x1f\x7f:]", value):
        raise ValueError(f"{value!r} is not a login name: it has no blanks, colons or control characters")
    return value


def _password(value: str) -> Secret:
    if value and len(value) < SHORTEST:
        raise ValueError(
            f"has fewer than {SHORTEST} characters: a secret that short cannot be masked in logs. Choose a longer one"
        )
    return Secret(value)


def _suite(value: str) -> str:
    if not re.fullmatch(r"[\w./+~-]+( [\w./+~-]+)*", value, re.A):
        raise ValueError(f"{value!r} is not a suite with its components, like `kubernetes-xenial main`")
    return value


def bastion(value: str) -> tuple[str, str, int]:
    """The user, host and port of user@host:port, of which user ("") and port (0) may be left out; IPv6 in brackets.

    Raises ValueError.
    """
    form = re.fullmatch(r"(?:([^\s@]+)@)?(?:([\w.-]+)|\[([0-9a-fA-F:.]+)\])(?::(\d{1,5}))?", value)
    if not form:
        raise ValueError(f"{value!r} is not a bastion, like ops@203.0.113.9:22 or ops@[2001:db8::9]:22")
    return form[1] or "", form[2] or form[3], port(form[4]) if form[4] else 0


def _jump(value: str) -> str:
    bastion(value)
    return value


# RFC 6890: "this network", loopback, link-local, multicast, reserved.
_NO_HOSTS = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")


def _network(value: str) -> Network:
    try:
        found = ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not a network: {error}. Write it like 10.44.0.0/16") from None
    if "/" not in value:
        raise ValueError(f"{value!r} is a single address, not a network. Write it like 10.44.0.0/16")
    for what in _NO_HOSTS:
        if found.version == 4 and found.overlaps(ipaddress.ip_network(what)):
            raise ValueError(
                f"{value!r} overlaps {what}, whose addresses no machine or pod can have. Write it like 10.44.0.0/16"
            )
    return found


def _release(value: str) -> str:
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", value, re.A):
        raise ValueError(f"{value!r} is not a Kubernetes release. Write 1.36, or 1.36.3 for one patch")
    return value


def _token(value: str) -> Token:
    if not re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", value):
        raise ValueError("is not a bootstrap token. Six and sixteen of a-z0-9, joined by a dot")
    return Token(value)


def _is_number(value: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", value) is not None


def port(value: str) -> int:
    """A TCP or UDP port. Raises ValueError."""
    if not _is_number(value) or not 0 < int(value) < 65536:
        raise ValueError(f"{value!r} is not a port (1 to 65535)")
    return int(value)


def _node_port(value: str) -> int:
    if not _is_number(value) or not 30000 <= int(value) <= 32767:
        raise ValueError(f"{value!r} is not a NodePort (30000 to 32767)")
    return int(value)


def _count(value: str) -> int:
    if not _is_number(value) or int(value) < 1:
        raise ValueError(f"{value!r} is not a number from 1")
    return int(value)


def _none_or_more(value: str) -> int:
    if not _is_number(value):
        raise ValueError(f"{value!r} is not a number from 0")
    return int(value)


def _seconds(value: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,3})?", value):
        raise ValueError(f"{value!r} is not a number of seconds, like 60 or 0.5")
    if float(value) <= 0:
        raise ValueError(f"{value!r}: must be more than 0 seconds")
    return float(value)


def _timeout(value: str) -> float:
    if (number := _seconds(value)) < 1:
        raise ValueError(f"{value!r}: at least 1 second")
    return number


def _yes(value: str) -> bool:
    if value.lower() not in ("yes", "no", "true", "false", "1", "0"):
        raise ValueError(f"{value!r}: write yes or no")
    return value.lower() in ("yes", "true", "1")


def _words(value: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", value) if word)


def _fingerprints(value: str) -> tuple[str, ...]:
    """Fingerprints of keys, without the blanks with which publishers print them."""
    found = tuple(re.sub(r"\s", "", part).upper() for part in value.split(",") if part.strip())
    wrong = next((one for one in found if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", one)), None)
    if wrong:
        raise ValueError(f"{wrong!r} is not a fingerprint: 40 hex digits, several with commas between them")
    return found


def _digests(value: str) -> tuple[str, ...]:
    found = tuple(word.lower() for word in _words(value))
    wrong = next((one for one in found if not re.fullmatch(r"[0-9a-f]{64}", one)), None)
    if wrong:
        raise ValueError(f"{wrong!r} is not a SHA-256: 64 hex digits, several with commas between them")
    return found


def _recipient(value: str) -> str:
    # Bech32 of BIP 173 with age's prefix; its checksum is checked where it is used
    if not re.fullmatch(r"age1[02-9ac-hj-np-z]{58}", value):
        shown = (
            "a private key; the public one belongs here" if value.upper().startswith("AGE-SECRET-KEY") else repr(value)
        )
        raise ValueError(f"{shown}: write the public key, like age1…, that `age-keygen` prints")
    return value


def _preflight(value: str) -> tuple[str, ...]:
    names = _words(value)
    if "all" in (name.lower() for name in names):
        raise ValueError("does not take `all`: name the checks")
    wrong = next((name for name in names if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)), None)
    if wrong:
        raise ValueError(f"{wrong!r} is not the name of a check, like NumCPU or Port-6443")
    return names


def _object(value: str) -> dict[str, Any]:
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ValueError('must be a JSON object, like {"maxPods": 50}')
    return parsed


def _component(name: str) -> Callable[[str], dict[str, Any]]:
    """The parser of a component's configuration: a field that it does not have would be left out in silence by kubeadm."""

    def check(value: str) -> dict[str, Any]:
        found = _object(value)
        if wrong := components.unknown(name, found):
            raise ValueError(wrong)
        return found

    return check


def _choice(*allowed: str) -> Callable[[str], str]:
    """The parser of a setting that takes one of these words."""

    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r}: one of {', '.join(allowed)}")
        return value

    return check


def _duration(value: str) -> str:
    if not re.fullmatch(r"(\d+(ns|u|ms|s|m|h|d|w))+|INF", value, re.A):
        raise ValueError(f"{value!r} is not an InfluxDB duration, like 30d (0d keeps for ever)")
    # InfluxDB's own bounds: an hour, and what its 64 bits of nanoseconds hold
    if len(value) > 40 or hours(value) > 100_000 * 24:
        raise ValueError(f"{value[:40]!r}: more than InfluxDB can count. 0d keeps for ever")
    if 0 < hours(value) < 1:
        raise ValueError(f"{value!r}: InfluxDB keeps metrics for 1h at least (0d keeps for ever)")
    return value


# What an edit of a setting does to a cluster that lives. Each setting has one: tests/rehearsal/test_later.py proves it.
Later = Literal["followed", "refused", "new nodes", "at once"]
FOLLOWED: Later = "followed"  # the next bootstrap says what differs, and applies it
REFUSED: Later = "refused"  # the cluster keeps its value for its life: nothing is touched on any node
NEW: Later = "new nodes"  # what is made or joins from then on
EACH: Later = "at once"  # each command reads it; no node and no cluster keeps anything of it


def _setting(
    default: Any, parse: Callable[[str], Any], about: str, *, later: Later, path: bool = False, secret: bool = False
) -> Any:
    metadata = {
        "parse": parse,
        "about": about,
        "later": later,
        "secret": secret or isinstance(default, Secret),
        "path": path,
    }
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The settings of one environment, parsed."""

    kubernetes: str = _setting(
        "1.36",
        _release,
        "Kubernetes release: a minor (1.36), a patch (1.36.3), or 1.5 for the manual's own",
        later=REFUSED,
    )
    pod_cidr: Network = _setting(
        ipaddress.ip_network("10.244.0.0/16"),
        _network,
        "addresses for pods; flannel gives each node a /24 of it",
        later=REFUSED,
    )
    service_cidr: Network = _setting(
        ipaddress.ip_network("10.96.0.0/12"), _network, "addresses for services", later=REFUSED
    )
    schedule_on_control_plane: bool | None = _setting(
        None,
        _yes,
        "let ordinary pods run on the control plane; default: yes while there is no worker, else no",
        later=FOLLOWED,
    )
    node_cidr: Network | None = _setting(
        None, _network, "the nodes' private network, to check overlaps and narrow firewall rules", later=FOLLOWED
    )
    dns_domain: str = _setting("cluster.local", _domain, "the cluster's DNS domain", later=REFUSED)
    api_port: int = _setting(6443, port, "TCP port of the API server", later=REFUSED)

    ssh_user: str = _setting("", login_name, "login user; default: yours", later=EACH)
    ssh_port: int = _setting(22, port, "SSH port of nodes that name none", later=EACH)
    ssh_key: str = _setting(
        "", _text, "private key file; without it, your agent and default keys", path=True, later=EACH
    )
    ssh_jump: str = _setting("", _jump, "bastion, as user@host:port, for nodes on private addresses", later=EACH)
    connect_timeout: float = _setting(10.0, _timeout, "seconds to wait for a connection", later=EACH)
    reconnect_timeout: float = _setting(
        30.0, _timeout, "seconds to open a connection again that broke during a run", later=EACH
    )
    forks: int = _setting(40, _count, "nodes worked on at the same time", later=EACH)

    packages_url: str = _setting(
        "https://pkgs.k8s.io",
        _url,
        "where kubelet, kubeadm, kubectl come from; same layout as pkgs.k8s.io",
        later=NEW,
    )
    packages_key_fingerprint: tuple[str, ...] = _setting(
        ("DE15B14486CD377B9E876E1A234654DA9A296436",),
        _fingerprints,
        "fingerprint that the package repository's key must have; empty: not checked",
        later=NEW,
    )
    containerd_url: str = _setting(
        "https://download.docker.com",
        _url,
        "where containerd.io comes from; same layout as download.docker.com",
        later=NEW,
    )
    containerd_key_fingerprint: tuple[str, ...] = _setting(
        (DOCKER_DEB_KEY, DOCKER_RPM_KEY),
        _fingerprints,
        "fingerprints of that repository's keys, for Debian's family and for RPMs; empty: not checked",
        later=NEW,
    )

    proxy: Proxy | None = _setting(
        None,
        _proxy,
        "HTTP proxy to the outside, http://host:port or http://user:password@host:port: containerd, packages, keys",
        secret=True,
        later=FOLLOWED,
    )
    no_proxy: tuple[str, ...] = _setting(
        (),
        _hosts,
        "more hosts, domains and ranges without the proxy; the cluster's own are added by themselves",
        later=FOLLOWED,
    )

    registry: Place | None = _setting(
        None,
        _registry,
        "private registry, host:port/project; http:// before it for plain HTTP; empty: none",
        later=FOLLOWED,
    )
    registry_user: str = _setting("", login_name, "its login", later=FOLLOWED)
    registry_password: Secret = _setting(
        Secret(), _password, "its password: hosts.local.env or the process environment", later=FOLLOWED
    )
    registry_ca: str = _setting(
        "",
        _text,
        "file with the certificates of a registry with its own CA: PEM, DER or PKCS#7",
        path=True,
        later=FOLLOWED,
    )
    registry_mirrors: tuple[str, ...] = _setting(
        (),
        _mirrors,
        "upstream registries that it mirrors, like registry.k8s.io,docker.io; ghcr.io=mirror.example/ghcr for another mirror",
        later=FOLLOWED,
    )
    registry_mirror_ca: dict[str, str] = _setting(
        {}, _authorities, "certificates of those other mirrors, like ghcr.io=certificates/mirror.pem", later=FOLLOWED
    )

    image_digests: str = _setting(
        "",
        _text,
        "file of image digests that must be what runs; `inv cluster.digests` writes it",
        path=True,
        later=FOLLOWED,
    )
    image_digests_strict: bool = _setting(
        False, _yes, "refuse an image of this cluster that IMAGE_DIGESTS does not list", later=EACH
    )

    flannel_image: str = _setting("ghcr.io/flannel-io/flannel:v0.28.9", _image, "flannel's image", later=FOLLOWED)
    flannel_cni_image: str = _setting(
        "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3", _image, "its CNI plugin's image", later=FOLLOWED
    )
    flannel_grace: float = _setting(
        60.0,
        _seconds,
        "seconds for flannel.1 and cni0 to appear before the kubelet is restarted (the manual's minute)",
        later=EACH,
    )
    flannel_timeout: float = _setting(
        60.0, _seconds, "seconds more for them after the last remedy, before the run gives the node up", later=EACH
    )
    drain_timeout: float = _setting(
        120.0,
        _seconds,
        "seconds for a node's pods to leave it, and for its volumes, before a drain stops and names the ones that stay",
        later=EACH,
    )

    dashboard: Dashboard = _setting(
        "headlamp", _choice(*get_args(Dashboard)), "web UI: headlamp, kube-web-view or none", later=FOLLOWED
    )
    dashboard_image: str = _setting("", _image, "its image; default: the recipe's for that dashboard", later=FOLLOWED)
    dashboard_port: int = _setting(31447, _node_port, "its NodePort", later=FOLLOWED)
    influxdb_image: str = _setting("docker.io/library/influxdb:1.12.4", _image, "InfluxDB 1.x", later=FOLLOWED)
    influxdb_port: int = _setting(30315, _node_port, "its NodePort", later=FOLLOWED)
    influxdb_login: bool = _setting(
        True, _yes, "InfluxDB asks for a generated login; `no`: for none, as in the manual", later=FOLLOWED
    )
    telegraf_image: str = _setting("docker.io/library/telegraf:1.39.3", _image, "Telegraf", later=FOLLOWED)
    metrics_grace: float = _setting(
        45.0,
        _seconds,
        "seconds for InfluxDB to answer, and for a node's metrics in it, before their pods are recreated; twice that before giving up",
        later=EACH,
    )
    retention: str = _setting(
        "30d", _duration, "how long metrics are kept; the manual's is 0d, for ever", later=FOLLOWED
    )
    retention_shorten: bool = _setting(
        False, _yes, "let a RETENTION that is shorter than the database's delete the older metrics", later=EACH
    )

    backup_recipient: str = _setting(
        "",
        _recipient,
        "age recipient (public key, age1…) that backups are encrypted to; its private key belongs on another machine",
        later=EACH,
    )
    etcd_url: str = _setting(
        "https://github.com/etcd-io/etcd/releases/download",
        _url,
        "where etcdctl and etcdutl come from; same layout as etcd's releases",
        later=EACH,
    )
    etcd_sha256: tuple[str, ...] = _setting(
        (), _digests, "SHA-256 that an archive from there must have; empty: as SHA256SUMS beside it says", later=EACH
    )

    probe_image: str = _setting(
        "docker.io/library/busybox:1.37",
        _image,
        "image with a shell and busybox tools, for `inv cluster.verify`",
        later=EACH,
    )

    kubelet_config: dict[str, Any] = _setting(
        {}, _component(components.KUBELET), "JSON merged into the KubeletConfiguration", later=FOLLOWED
    )
    kube_proxy_config: dict[str, Any] = _setting(
        {}, _component(components.PROXY), "JSON merged into the KubeProxyConfiguration", later=FOLLOWED
    )
    containerd_config: dict[str, Any] = _setting(
        {}, _object, "JSON merged into containerd's config.toml", later=FOLLOWED
    )
    ignore_preflight: tuple[str, ...] = _setting(
        (), _preflight, "kubeadm preflight checks to pass over, by name; never `all`", later=NEW
    )

    token: Token = _setting(
        Token(), _token, "bootstrap token; only the 1.5 recipe uses one that is written down", later=NEW
    )
    manifests_url: str = _setting(
        "http://cocktail-cloud.acornsoft.io/api/kube/manifests",
        _url,
        "where the 1.5 recipe's manifests come from",
        later=NEW,
    )
    legacy_key_url: str = _setting(
        "http://packages.cloud.google.com/apt/doc/apt-key.gpg", _url, "the 1.5 recipe's apt key", later=NEW
    )
    legacy_packages_url: str = _setting("http://apt.kubernetes.io/", _url, "the 1.5 recipe's apt repository", later=NEW)
    legacy_suite: str = _setting("kubernetes-xenial main", _suite, "its suite and component", later=NEW)
    legacy_daemon_url: str = _setting(
        "", _url, "the 1.5 recipe's daemon.json for Docker; default: MANIFESTS_URL/daemon", later=NEW
    )
    legacy_influx_image: str = _setting(
        "cburki/influxdb-shell", _image, "the 1.5 recipe's InfluxDB client image", later=NEW
    )

    simulated: bool = _setting(False, _yes, "nodes are simulated on loopback (the rehearsal)", later=EACH)
    simulated_workers: int = _setting(2, _none_or_more, "how many workers a rehearsal has", later=EACH)

    def __post_init__(self) -> None:
        _ = self.registry_login  # registers it with the masker before a node can print it

    @property
    def mirrors(self) -> dict[str, Place]:
        """Where each mirrored registry's images are: {"ghcr.io": Place("harbor.example", project="ghcr")}."""
        named = (word.partition("=") for word in self.registry_mirrors)
        wanted = {name: places.place(where) if where else self.registry for name, _, where in named}
        return {name: found for name, found in wanted.items() if found}

    @property
    def registry_login(self) -> Secret:
        """user:password of the registry, which is sent it in base64; empty without a user."""
        return Secret(f"{self.registry_user}:{self.registry_password.reveal()}" if self.registry_user else "")

    @property
    def release(self) -> Release:
        """The traits of the release that KUBERNETES names."""
        return release_of(self.kubernetes)

    def like(self, kubernetes: str) -> bool:
        """Whether that release has the same traits."""
        return release_of(kubernetes) == self.release


KEYS = {f.name.upper(): f for f in fields(Settings)}
