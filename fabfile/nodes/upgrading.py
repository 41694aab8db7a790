"""What is asked of a node before an upgrade, and nowhere else: one script a node, which only reads. The rest is in the facts (observe.py).

In: what to ask for.  Out: typed `Answers`; a word without its form raises FormError, and only that node's answer is lost.
Sources: etcd's documentation of /health and of its gRPC gateway; kubernetes.io "Deprecated API Migration Guide" (the metric).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from ..records import dataclass
from ..text import forms
from . import asking, script
from .facts import PKI

TIMEOUT = 180.0  # seconds: package lists of several releases are fetched at the same time
TMP = "/etc/kubernetes/tmp"  # where kubeadm copies etcd's data before it changes the manifest
FOLDERS = (TMP, "/var/lib/containerd", "/var/cache/apt/archives", "/var/lib/etcd", "/usr")
PACKAGES = ("kubelet", "kubeadm", "kubectl")
LIMIT = 6_000_000  # bytes of one answer of the API: the endpoints of a thousand services
_QUESTIONS = {
    "metrics": "metrics", "hooks": "webhooks", "namespaces": "namespaces", "endpoints": "endpoints",
    "served": "API versions", "resources": "API versions", "kept": "objects of API versions that go",
}  # fmt: skip
_OBJECT_COLUMNS = "N:.metadata.namespace,O:.metadata.name"


class Member(NamedTuple):
    """A member of etcd; a learner does not vote, and one without a name was never started."""

    name: str
    learner: bool


@dataclass(frozen=True)
class Etcd:
    """etcd on this control plane. `healthy` is None where it was not asked; `reason` is its own word for why it is not."""

    version: str = ""
    healthy: bool | None = None
    reason: str = ""
    members: tuple[Member, ...] = ()
    size: int = 0  # bytes
    quota: int = 0  # bytes; 0: not said

    @property
    def voters(self) -> int:
        return sum(not one.learner for one in self.members)


class Requested(NamedTuple):
    """A deprecated API that was asked for since the API server began, and the minor release that removes it ("1.37"; empty: not set)."""

    api: str  # "networking.k8s.io/v1beta1 ipaddresses"
    removed: str


class Webhook(NamedTuple):
    """An admission webhook: what it looks at, whether its failure refuses the request, and which service answers ("" for a URL)."""

    configuration: str
    name: str
    fails: bool
    service: str  # "cert-manager/cert-manager-webhook"
    rules: tuple[tuple[frozenset[str], frozenset[str], frozenset[str]], ...]  # groups, resources, operations
    selector: Mapping[str, Any] | None  # of the namespace's labels; None: every namespace


class Manifest(NamedTuple):
    """What a registry said of an image: the HTTP code (0: no answer), and curl's error text."""

    code: int
    error: str = ""


class Offer(NamedTuple):
    """What the package repository of one minor release offers, by package; `fault` says why it could not be read, "" if it could."""

    versions: Mapping[str, tuple[str, ...]]
    fault: str = ""

    def patches(self, package: str = "kubelet") -> tuple[str, ...]:
        """The releases of a package without the package's own revision, oldest first: ("1.36.3", "1.36.4")."""
        found = {version.split("-")[0] for version in self.versions.get(package, ())}
        return tuple(sorted(found, key=lambda one: tuple(map(int, one.split(".")))))

    @property
    def whole(self) -> tuple[str, ...]:
        """The releases of which it has every package."""
        return tuple(one for one in self.patches() if all(one in self.patches(package) for package in PACKAGES))


@dataclass(frozen=True)
class Process:
    """containerd's unit: the file that its process runs, "" where none was seen; what systemd ends with it; files by which somebody pins
    its package."""

    program: str = ""  # "/usr/bin/containerd"
    kills: str = ""  # "process": its containers run on while it restarts
    pins: tuple[str, ...] = ()  # ("/etc/apt/preferences.d/containerd",)


@dataclass(frozen=True)
class Answers:
    """What a node answered; what only a control plane knows is empty on a worker."""

    containerd: str = ""  # "2.3.4": as the program says, which need not come from a package
    process: Process = Process()
    free: Mapping[str, int] = field(default_factory=dict)  # KiB, by folder of FOLDERS
    mounts: Mapping[str, str] = field(default_factory=dict)  # where each is mounted
    data: int = 0  # KiB of /var/lib/etcd
    etcd: Etcd = Etcd()
    packages: Mapping[str, Offer] = field(default_factory=dict)  # {"1.37": …, "containerd": …}
    # what the API says
    requested: tuple[Requested, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # their labels
    endpoints: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # {"NAMESPACE/SERVICE": nodes of its ready endpoints}
    objects: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # {"scheduling.k8s.io/v1alpha2 podgroups": ("default/a",)}
    unread: tuple[str, ...] = ()  # ("pods",): questions that the API did not answer, or by more than is read


def upgrade_script(
    *,
    control_plane: bool,
    offers: Mapping[str, Sequence[str]],
    gone: Iterable[str] = (),
    etcd_process: str = "",
) -> str:
    """The script for one node.

    `offers` has, by minor release ("1.37") or "containerd", the shell lines that print what its repository offers (Family.offered); `gone` are API
    versions ("scheduling.k8s.io/v1alpha2") whose objects are looked for; `etcd_process` is the pattern of kubeadm's etcd, for pgrep.
    """
    functions = "".join(
        f"offer_{n}() {{\n" + "".join(f"{line}\n" for line in lines) + "}\n" for n, lines in enumerate(offers.values())
    )
    values = {
        "control_plane": "yes" if control_plane else "",
        "minors": " ".join(offers),
        "gone": " ".join(gone),
        "folders": " ".join(FOLDERS),
        "limit": str(LIMIT),
        "etcd_process": etcd_process,
        "etcd_health": "http://127.0.0.1:2381",
        "etcd_pki": f"{PKI}/etcd",
        "object_columns": _OBJECT_COLUMNS,
    }
    return script.reading(
        "upgrading", functions + script.program(__file__, "upgrading.sh", proxied=script.PROXIED), values
    )


_PACKAGE = r"[0-9]{1,3}\.[0-9]{1,4}\.[0-9]{1,4}-[A-Za-z0-9.+~]{1,40}"
_RELEASE = r"[0-9]{1,3}\.[0-9]{1,4}\.[0-9]{1,4}"
_MINOR = r"[0-9]{1,3}\.[0-9]{1,4}"
_API = r"[a-z0-9.-]{1,200}/v[0-9]{1,3}(alpha|beta)?[0-9]{0,3}"


def parse_answers(output: str) -> Answers:
    """Read the script's output. Raises FormError for malformed values, ValueError if the output is cut short."""
    said = script.sections(output)
    disks = [words for words in said.words("disk", 3) if words[0] in FOLDERS]
    data = said.lines("data")
    return Answers(
        containerd=_plain_version(said.whole("containerd")),
        process=_process(said.words("runtime", 2)),
        free={words[0]: forms.number(words[1], "free space") for words in disks},
        mounts={words[0]: words[2] for words in disks if forms.has(words[2], forms.PATH)},
        data=forms.number(data[0], "size of /var/lib/etcd") if data else 0,
        etcd=_etcd(said.lines("etcd")),
        packages=_packages(said.lines("packages")),
        requested=tuple(_requested(said.lines("deprecated"))),
        webhooks=_webhooks(said.whole("webhooks")),
        namespaces=_namespaces(said.whole("namespaces")),
        endpoints=_endpoints(said.whole("endpoints")),
        objects=_objects(said.words("objects", 4)),
        unread=tuple(dict.fromkeys(_QUESTIONS[line] for line in said.lines("unread") if line in _QUESTIONS)),
    )


def _plain_version(text: str) -> str:
    """ "v1.36.4" or "v2.3.4" as numbers only; empty for what is no version (a build of a distribution's own)."""
    found = re.match(_RELEASE, text.strip().removeprefix("v"))
    return found[0] if found else ""


def _process(rows: Iterable[list[str]]) -> Process:
    found = [(words[0], words[1]) for words in rows]
    values = dict(reversed(found))
    program, kills = values.get("program", ""), values.get("kills", "")
    return Process(
        program if forms.has(program, forms.PATH) else "",
        kills if forms.has(kills, "[a-z-]{1,20}") else "",
        tuple(dict.fromkeys(path for kind, path in found if kind == "pin" and forms.has(path, forms.PATH)))[:5],
    )


_HEALTH = forms.record({"health!": forms.string, "reason": forms.string})
_MEMBERS = forms.record(
    {"members!": forms.many(forms.record({"name": forms.string, "isLearner": forms.flag}), most=100)}
)


def _etcd(lines: Iterable[str]) -> Etcd:
    found: dict[str, Any] = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        rest = rest.strip()
        if kind == "version":
            found["version"] = _plain_version(rest)
        elif kind == "health" and rest:
            health = _HEALTH(forms.data(rest, "etcd's health"), "etcd's health")
            found["healthy"] = health["health"] == "true"
            found["reason"] = forms.text(health.get("reason", ""), 100)
        elif kind == "members" and rest.startswith('{"header"'):  # a refusal has another form
            members = _MEMBERS(forms.data(rest, "etcd's members"), "etcd's members")["members"]
            found["members"] = tuple(
                Member(forms.text(one.get("name", ""), 63), one.get("isLearner", False)) for one in members
            )
        elif kind == "metric":
            name, _, value = rest.partition(" ")
            if name == "etcd_mvcc_db_total_size_in_bytes":
                found["size"] = _measured(value)
            elif name == "etcd_server_quota_backend_bytes":
                found["quota"] = _measured(value)
    return Etcd(**found)


def _measured(text: str) -> int:
    """A value of Prometheus' text format, as "2.0971520e+07"; 0 for what is no such number."""
    return int(float(text)) if forms.has(text, r"[0-9]{1,17}(\.[0-9]{1,17})?(e\+[0-9]{2})?", 40) else 0


def _packages(lines: Iterable[str]) -> dict[str, Offer]:
    versions: dict[str, dict[str, list[str]]] = {}
    faults: dict[str, str] = {}
    for words in map(str.split, lines):
        if len(words) < 2 or not forms.has(words[0], rf"{_MINOR}|containerd"):
            continue
        if words[1] == "!":
            faults[words[0]] = forms.text(" ".join(words[2:]), 200) or "no answer"
        elif len(words) == 3 and words[1] in (*PACKAGES, "containerd.io") and forms.has(words[2], _PACKAGE):
            versions.setdefault(words[0], {}).setdefault(words[1], []).append(words[2])
    return {
        minor: Offer({name: tuple(found) for name, found in versions.get(minor, {}).items()}, faults.get(minor, ""))
        for minor in {**versions, **faults}
    }


def images_script(images: Mapping[str, str], login: Mapping[str, str]) -> str:
    """The script that asks for images at their addresses, with `login` (asking.login_values) where that is the private registry's.

    It may hold the registry's login: send it as a script, never as an argument.
    """
    body = script.program(__file__, "images.sh", proxied=script.PROXIED, asking=asking.ASKING)
    return script.reading("upgrading.images", body, {"images": " ".join(images.values()), **login})


def parse_images(output: str, names: Sequence[str]) -> dict[str, Manifest]:
    """Lines of curl, `image.N CODE SECONDS ERROR…`, for the images that were asked for, in their order.

    Raises FormError for a section that is there twice, ValueError if the output is cut short; a line without its form is left out.
    """
    found = {}
    for label, code, _, *error in script.sections(output).words("images", 3):
        number = label.removeprefix("image.")
        if forms.has(number, "[0-9]{1,3}") and forms.has(code, "[0-9]{3}") and int(number) < len(names):
            found[names[int(number)]] = Manifest(int(code), forms.text(" ".join(error), 120))
    return found


_METRIC = re.compile(r'(\w{1,40})="((?:[^"\\]|\\.){0,253})"')


def _requested(lines: Iterable[str]) -> Iterable[Requested]:
    for line in lines:
        labels, _, value = line.rpartition(" ")
        found = dict(_METRIC.findall(labels))
        if _measured(value) and forms.has(found.get("version", ""), r"v[a-z0-9]{1,20}"):
            group = found.get("group", "")
            api = f"{group}/{found['version']}" if group else found["version"]
            removed = found.get("removed_release", "")
            yield Requested(
                forms.text(f"{api} {found.get('resource', '')}", 120), removed if forms.has(removed, _MINOR) else ""
            )


def _words(value: object, field: str) -> list[str]:
    found: list[str] = forms.many(forms.string, most=200)(value, field)
    return found


_WEBHOOKS = forms.record(
    {
        "metadata!": forms.record({"name!": forms.name}),
        "webhooks": forms.many(
            forms.record(
                {
                    "name!": forms.string,
                    "failurePolicy": forms.string,
                    "clientConfig": forms.record(
                        {"service": forms.record({"namespace!": forms.name, "name!": forms.name}), "url": forms.string}
                    ),
                    "namespaceSelector": forms.record(
                        {
                            "matchLabels": forms.strings,
                            "matchExpressions": forms.many(
                                forms.record({"key!": forms.string, "operator!": forms.string, "values": _words}),
                                most=100,
                            ),
                        }
                    ),
                    "rules": forms.many(
                        forms.record({"apiGroups": _words, "resources": _words, "operations": _words}), most=200
                    ),
                }
            ),
            most=200,
        ),
    }
)


def _webhooks(text: str) -> tuple[Webhook, ...]:
    return tuple(
        Webhook(
            item["metadata"]["name"],
            forms.text(one["name"], 253),
            one.get("failurePolicy", "Fail") == "Fail",
            "/".join((service["namespace"], service["name"]))
            if (service := one.get("clientConfig", {}).get("service"))
            else "",
            tuple(
                (frozenset(rule.get("apiGroups", ())), frozenset(rule.get("resources", ())), frozenset(rule.get("operations", ())))
                for rule in one.get("rules", ())
            ),
            one.get("namespaceSelector"),
        )
        for item in forms.items(text, _WEBHOOKS, "webhooks")
        for one in item.get("webhooks", ())
    )  # fmt: skip


_NAMED = forms.record({"metadata!": forms.record({"name!": forms.name, "labels": forms.strings})})


def _namespaces(text: str) -> dict[str, Mapping[str, str]]:
    found = (item["metadata"] for item in forms.items(text, _NAMED, "namespaces"))
    return {one["name"]: one.get("labels", {}) for one in found}


_SLICE = forms.record(
    {
        "metadata!": forms.record({"namespace!": forms.name, "labels": forms.strings}),
        "endpoints": forms.many(
            forms.record({"nodeName": forms.name, "conditions": forms.record({"ready": forms.flag})})
        ),
    }
)


def _endpoints(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for item in forms.items(text, _SLICE, "endpoints"):
        service = item["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
        nodes = found.setdefault(f"{item['metadata']['namespace']}/{service}", [])
        # an endpoint whose readiness is unknown counts as ready (discovery/v1, EndpointConditions)
        nodes += [
            one.get("nodeName", "") for one in item.get("endpoints", ()) if one.get("conditions", {}).get("ready", True)
        ]
    return {service: tuple(nodes) for service, nodes in found.items()}  # fmt: skip


def _objects(rows: Iterable[list[str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for api, resource, namespace, name in (row[:4] for row in rows):
        if forms.has(api, _API) and forms.has(resource, "[a-z0-9]{1,63}"):
            title = name if namespace == "<none>" else f"{namespace}/{name}"
            found.setdefault(f"{api} {resource}", []).append(forms.text(title, 200))
    return {key: tuple(names) for key, names in found.items()}
