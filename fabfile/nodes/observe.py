"""The one observing script and its parser: one exec a node, one `NodeFacts` of its answer.

The script (scripts/observe.sh) only reads; it prints sections headed `@@ name`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from ..text import forms
from ..text.forms import FormError, Hostname
from ..text.yamls import as_kubectl_reads, documents
from . import applied, filters, script
from .containerd import CONF_D, parse_containerd
from .facts import (
    AUTHORITIES,
    CERTIFICATES,
    COMPONENT_MAPS,
    FLANNEL_FILE,
    FOLLOWED,
    GENERATED_SWAP,
    IDENTITY,
    KUBELET_ENV,
    KUBELET_FLAGS_FILE,
    OLD_REPOSITORIES,
    OTHER_PATHS,
    OTHER_UNITS,
    PACKAGES,
    PROXY_FILES,
    STATE,
    SWAP_SERVICES,
    SYSCTL_KEYS,
    SYSCTLS,
    TRACES,
    UNITS,
    Certificate,
    Component,
    FileDigest,
    Identity,
    Kubeconfig,
    KubeletLine,
    Link,
    Made,
    Mount,
    NodeFacts,
    SetProxy,
    Space,
    SysctlLine,
    Unit,
    networks,
)  # fmt: skip
from .firewall import COUNT
from .influx import ADMIN, METRICS_QUERY, SECRET, nodes_reporting, parse_retention
from .keeping import CONTAINERD_CONFIG, LISTED, NOTE, NOW, parse_kept
from .sources import parse_keyrings, parse_sources

if TYPE_CHECKING:
    from cryptography import x509


def observe_script(
    *,
    control_plane: bool,
    files: Iterable[str],
    settle: bool = False,
    ready: str = "/readyz",
    digests: str = "",
    docker: bool = False,
    folders: Iterable[str] = (),
    repositories: Iterable[str] = (),
    served: Iterable[str] = (),
    release: str = "",
    configured: bool = True,
    tokens: bool = False,
) -> str:
    """The script for one node; `files` are the paths whose digests the phases will ask for, `ready` is the API's health endpoint.

    `digests` is the Kubernetes release whose images are compared with their digests ("1.36.4"); empty: only the images' names are read,
    which takes half the time.  With `settle` the script first waits until a step of an earlier run has ended there: what is seen
    during a step is incomplete, and a decision from it could destroy a good cluster.  Lists of package sources are read that contain
    one of `repositories` ("pkgs.k8s.io"), or the address of Kubernetes' old repositories.  With `served` ("127.0.0.1:2379"), those ports of
    a control plane are asked for their certificates, its static pods for when they began, and the cluster for its releases.  `release` is
    the one whose images the node's kubeadm is asked for (default: `digests`).
    `configured`: kubeadm keeps its configuration in ConfigMaps (Release.configured).  With `tokens` a control plane's API is asked which join
    tokens there are.
    """
    values = {
        "control_plane": "yes" if control_plane else "",
        "files": " ".join(sorted(files)),
        "sysctls": " ".join(SYSCTLS),
        "packages": " ".join(PACKAGES),
        "units": " ".join(UNITS),
        "traces": " ".join(TRACES),
        "state": STATE,
        "note": NOTE,
        "containerd": CONTAINERD_CONFIG,
        "confd": CONF_D,
        "identity": IDENTITY,
        "other_units": " ".join(OTHER_UNITS),
        "proxy_files": " ".join(PROXY_FILES),
        "other_paths": " ".join(OTHER_PATHS),
        "metrics_query": METRICS_QUERY,
        "addon_columns": applied.COLUMNS,
        "influx_admin": ADMIN,
        "questions": "\n".join(f"{section} {path}" for section, path in questions(ready, configured, tokens)),
        "tokens": "yes" if tokens else "",
        "folders": " ".join(one for one in folders if forms.has(one, forms.PATH)),
        "certificates": " ".join(CERTIFICATES),
        "served": " ".join(served),
        "filter_lines": str(filters.MOST_LINES),
        "settle": str(script.LOCK_WAIT) if settle else "",
        "ready": ready,
        "digests": digests,
        "release": release or digests,
        "docker": "yes" if docker else "",
        "system_objects": " ".join(("namespace/kube-system", *(CONFIG_MAPS if configured else ()))),
        "swap_services": " ".join(SWAP_SERVICES),
        "followed": " ".join(FOLLOWED),
        "kubelet_files": " ".join((*KUBELET_ENV, KUBELET_FLAGS_FILE)),
        "repositories": "\n".join(sorted({*filter(None, repositories), *OLD_REPOSITORIES})),
    }
    lines = {"generated_swap": GENERATED_SWAP, "count_rules": COUNT, "kept": LISTED, "kept_now": NOW}
    return script.reading("observe", script.program(__file__, "observe.sh", **lines), values)


_TOKENS = "type%3Dbootstrap.kubernetes.io/token"


def questions(ready: str, configured: bool, tokens: bool = False) -> list[tuple[str, str]]:
    """What a control plane's API is asked over one connection: (section of the answer, path). The same as the script asks of kubectl.

    Objects that may be missing are asked for as lists, which are then empty: every answer that counts is a whole one (200). Those about
    InfluxDB's pod and login, and the secret halves of join tokens, stay on the node.
    """
    named = [("namespaces", "kube-system")] if not configured else [("namespaces", "kube-system"), *_CONFIG_MAPS]
    ours = "labelSelector=app.kubernetes.io/managed-by%3Dkubefab"
    return [
        ("readyz", ready),
        ("nodes", "/api/v1/nodes"),
        *(("system", f"/api/v1/{kind}?fieldSelector=metadata.name%3D{name}") for kind, name in named),
        *(("objects", f"/apis/apps/v1/{kind}?{ours}") for kind in ("daemonsets", "deployments")),
        ("influxpod", "/api/v1/namespaces/monitoring/pods?labelSelector=app%3Dmonitoring-influxdb"),
        ("influxlogin", f"/api/v1/namespaces/monitoring/secrets?fieldSelector=metadata.name%3D{SECRET}"),
        *[("jointokens", f"/api/v1/namespaces/kube-system/secrets?fieldSelector={_TOKENS}")] * tokens,
    ]


def parse_tokens(lines: Iterable[str]) -> dict[str, str]:
    """`ID END` of each join token, both in base64: its public half, and when it ends ("" never); what has another form is left out."""
    found = {}
    for name, end in (tuple(map(_decoded, line.partition(" ")[::2])) for line in lines):
        if forms.has(name, "[a-z0-9]{6}") and forms.has(end, r"[0-9T:+.Z-]{0,40}"):
            found[name] = end
    return found


def parse_facts(output: str) -> NodeFacts:
    """Read the observing script's output.

    Raises FormError for what has not its form, ValueError when the output is cut short; nothing else, whatever came.  What decides is
    refused; an entry of a list that is only asked for what we know (images, resolvers, marks) is left out instead, as if it were not there.
    """
    said = script.sections(output)
    release, host, rules = said.pairs("os"), said.pairs("host"), said.lines("rules")
    counts = [line for line in rules if not line.startswith("table ")]
    images = [words for words in said.words("images") if forms.has(words[0], forms.IMAGE, 400)]
    etcd = said.lines("etcd", "")
    size = forms.pairs(etcd).get("db", "")
    return NodeFacts(
        os_id=forms.plain(release.get("ID", ""), "ID of os-release"),
        os_version=forms.plain(release.get("VERSION_ID", ""), "VERSION_ID of os-release"),
        os_codename=forms.plain(release.get("VERSION_CODENAME", ""), "VERSION_CODENAME of os-release"),
        os_like=tuple(forms.plain(word, "ID_LIKE of os-release") for word in release.get("ID_LIKE", "").split()),
        os_name=forms.text(release.get("PRETTY_NAME", ""), 100),
        hostname=Hostname(host.get("hostname", "").lower()),
        kernel=forms.text(host.get("kernel", ""), 100),
        arch=forms.plain(host.get("arch", ""), "processor's architecture"),
        cpus=_number(host, "cpus"),
        memory_kib=_number(host, "memory_kib"),
        disks=dict(filter(None, map(parse_space, said.lines("disks", "")))),
        machine_id=forms.word(host.get("machine_id", ""), "machine-id", f"{forms.MACHINE_ID}|", "32 hex digits"),
        product_uuid=forms.word(host.get("product_uuid", ""), "product_uuid", forms.UUID, "a UUID", 64),
        boot_id=forms.word(host.get("boot_id", ""), "boot_id", forms.UUID, "a UUID", 64),
        init=_number(host, "init"),
        now=forms.seconds(host.get("now") or "0", "clock"),
        cgroup=forms.text(host.get("cgroup", ""), 40),
        systemd=host.get("systemd") == "yes",
        reboot_needed=host.get("reboot") == "yes",
        metrics_disk=host.get("metrics_disk") == "yes",
        bridge_netfilter=host.get("bridge_netfilter") == "yes",
        overlay=host.get("overlay") == "yes",
        swaps=tuple(forms.text(words[0]) for words in said.words("swap")),
        fstab_swaps=tuple(forms.text(line) for line in said.lines("fstab")),
        swap_units=tuple(forms.text(line) for line in said.lines("swapunits", "")),
        sysctls={key: forms.text(value, 40) for key, value in said.pairs("sysctl").items() if key in SYSCTLS},
        sysctl_lines=tuple(filter(None, map(parse_sysctl, said.lines("sysctlfiles", "")))),
        links=parse_links(said.whole("links")),
        resolvers=tuple(
            words[1] for words in said.words("resolver", 2) if words[0] == "nameserver" and forms.is_address(words[1])
        ),
        proxies=parse_proxies(said.lines("proxies", "")),
        packages={
            name: forms.word(version, f"version of {name}", forms.VERSION, "a package's version")
            for name, version, state in (words[:3] for words in said.words("packages", 3))
            if name in PACKAGES and state.startswith(("ii", "hi"))
        },
        # on hold, installed or not: `hi`, `hn`
        held=frozenset(
            w[0] for w in said.words("packages", 2) if w[0] in PACKAGES and re.fullmatch("h[a-z]{1,2}", w[-1])
        ),
        units={
            words[0]: Unit("active" in words[1:2], "enabled" in words)
            for words in said.words("units")
            if words[0] in UNITS
        },
        files={
            path: FileDigest(sha256, mode)
            for sha256, mode, path in (words[:3] for words in said.words("files", 3))
            if forms.has(sha256, forms.HASH) and forms.has(mode, "[0-7]{1,5}") and forms.has(path, forms.PATH)
        },
        sources=parse_sources(said.whole("sources", "").split("\n")),
        keyrings=parse_keyrings(said.lines("keyrings", "")),
        kubelet=_kubelet(said.lines("kubelet", "")),
        apt_fault=_apt_fault(said.lines("apt", "")),
        traces=frozenset(line for line in said.lines("traces") if forms.has(line, forms.PATH)),
        cni_files=tuple(
            forms.text(line, 80)
            for line in said.lines("cni", "")
            if line.endswith((".conf", ".conflist", ".json")) and line != FLANNEL_FILE
        ),
        mounts=tuple(Mount(*(forms.text(word) for word in words[:3])) for words in said.words("mounts", 2)),
        processes=tuple(sorted({forms.text(words[1], 40) for words in said.words("processes", 2)})),
        firewall_rules=forms.number(counts[0], "count of firewall rules") if counts else 0,
        nft_tables=tuple(forms.text(line.removeprefix("table "), 60) for line in rules if line.startswith("table ")),
        filters=filters.parse(said.lines("filters", "")),
        replaced="containerd" in said.lines("replaced", ""),
        pods=len(said.lines("pods")),
        images=frozenset(words[0] for words in images if "sha256:" not in words[0]),
        digests={words[0]: words[1] for words in images if len(words) == 2 and forms.has(words[1], forms.DIGEST)},
        kubeadm_images=tuple(
            forms.word(line, "image of kubeadm", forms.IMAGE, "an image's name") for line in said.lines("kubeadm", "")
        ),
        ca_hash=ca_digest(said.whole("ca")),
        kubeconfigs=_kubeconfigs(said.lines("kubeconfigs", "")),
        certificates=parse_certificates(said.whole("certificates", ""), CERTIFICATES),
        tokens=parse_tokens(said.lines("tokens", "")),
        served=parse_certificates(said.whole("served", "")),
        running=parse_running(said.whole("running", ""), host.get("hostname", "").lower()),
        manifests=parse_manifests(said.lines("manifests", "")),
        api_release=forms.release(_api_version(said.whole("version", ""))),
        proxy_image=_matching(re.compile(forms.IMAGE), said.whole("proxy", "").strip()[:400]),
        **_system(said.whole("system", ""), said.whole("uid", "").strip()),
        kubelet_config=_mapping(said.whole("kubeletconfig", "")),
        followed=parse_followed(said.lines("followed", "")),
        identity=parse_identity(said.whole("identity", "")),
        etcd=tuple(forms.text(line, 60) for line in etcd if not line.startswith("db=") and line != "lost+found"),
        etcd_size=forms.number(size, "size of etcd's database") if size else 0,
        others=tuple(line for line in said.lines("others", "") if _OTHER.fullmatch(line)),
        made=parse_made(said.lines("made", "")),
        docker=tuple(
            name
            for name in said.lines("docker", "")
            if forms.has(name, r"\?|[A-Za-z0-9][A-Za-z0-9_.-]*") and not name.startswith("k8s_")
        ),
        undo=frozenset(line for line in said.lines("undo") if forms.has(line, forms.PLAIN)),
        kept=parse_kept(said.lines("kept", "")),
        before=parse_before(said.lines("before", "")),
        containerd=parse_containerd(said.whole("containerd", ""), bool(said.lines("confd", ""))),
        api_ready=said.lines("readyz") == ["ok"],
        nodes=forms.items(said.whole("nodes"), forms.NODE, "nodes"),
        objects=forms.items(said.whole("objects"), forms.WORKLOAD, "objects"),
        addons=applied.rows(said.lines("addons", "")),
        retention=parse_retention(said.whole("influx")),
        reporting=nodes_reporting(said.whole("influx")),
    )


def parse_space(line: str) -> tuple[str, Space] | None:
    """`FOLDER MOUNT KIB`; None for what has not that form."""
    words = line.split()
    if len(words) != 3 or not forms.has(words[0], forms.PATH) or not forms.has(words[2], "[0-9]{1,15}"):
        return None
    return words[0], Space(forms.text(words[1], 100), int(words[2]))


_SYSCTL = re.compile(r"(\S+) (/\S+) ([0-9]{1,6}):\s*-?\s*([a-z0-9./_-]+)\s*=\s*(\S+)\s*")


def parse_sysctl(line: str) -> SysctlLine | None:
    """`NAME PATH NUMBER:KEY = VALUE` of a key of SYSCTLS; None of any other. In a key whose first separator is a slash, slashes are dots."""
    form = _SYSCTL.fullmatch(line)
    if not form or not (forms.has(form[2], forms.PATH) and forms.has(form[1], forms.PLAIN)):
        return None
    slashed = form[4].partition("/")[0].find(".") < 0
    key = SYSCTL_KEYS.get(form[4].replace("/", ".") if slashed else form[4])
    return SysctlLine(form[2], form[1], int(form[3]), key, forms.text(form[5], 20)) if key else None


def _kubelet(lines: Iterable[str]) -> tuple[KubeletLine, ...]:
    """Lines of the kubelet's files, from `file TAB line number TAB text`; a path or number without its form is left out."""
    words = [line.split("\t", 2) for line in lines]
    return tuple(
        KubeletLine(w[0], int(w[1]), forms.text(w[2], 2000))
        for w in words
        if len(w) == 3 and forms.has(w[0], forms.PATH) and forms.has(w[1], "[1-9][0-9]{0,5}")
    )


_VARIABLE = re.compile(r"""(?<![A-Za-z_])(https?|all|no)_proxy(?:=["']?([^\s"']*))?""", re.I)


def parse_proxies(lines: Iterable[str]) -> tuple[SetProxy, ...]:
    """The proxies that files set, from lines `path:line`; each variable once, by its last value, in capitals or not."""
    found: dict[tuple[str, str], SetProxy] = {}
    for path, _, text in (line.partition(":") for line in lines):
        if not forms.has(path, forms.PATH) or text.lstrip().startswith("#"):
            continue
        for kind, value in _VARIABLE.findall(text):
            name = f"{kind.upper()}_PROXY"
            # a value that cannot be read is still a proxy, and no list of hosts without one
            good = value if forms.has(value, r"[A-Za-z0-9._:/,*\[\]-]*", 4000) else "?" * (kind.lower() != "no")
            found[path, name] = SetProxy(path, name, good)  # type: ignore[arg-type]
    return tuple(found.values())


def _apt_fault(lines: Sequence[str]) -> str:
    """The first of apt's errors, if they are about its lists: another error of a mere look says nothing of them."""
    unread = any("list of sources could not be read" in line for line in lines)
    return forms.text(lines[0].removeprefix("E: ")) if unread else ""


def _number(host: Mapping[str, str], key: str) -> int:
    """A number that the script may have found nowhere."""
    return forms.number(host[key], key) if host.get(key) else 0


def parse_before(lines: Sequence[str]) -> dict[str, str] | None:
    """Our packages as they were before us: {"runc": "ii"}, name to dpkg's status. None if that was not noted."""
    words = [line.split() for line in lines]
    return (
        {w[0]: w[2][:2] for w in words if len(w) == 3 and w[0] in PACKAGES and forms.has(w[2], "[a-zA-Z]{2,3}")}
        if words[:1] == [["noted"]]
        else None
    )


def parse_made(lines: Iterable[str]) -> Made:
    """Flags, one a line, as the control plane's own files have them; what has not the form of its kind counts as not seen."""
    flags = forms.pairs(lines)
    address = flags.get("--advertise-address", "")
    domain, port = flags.get("--cluster-domain", "").strip("'"), flags.get("--secure-port", "")
    return Made(
        pod_cidrs=networks(flags.get("--cluster-cidr", "")),
        service_cidrs=networks(flags.get("--service-cluster-ip-range", "")),
        dns_domain=domain if re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", domain) else "",
        api_port=int(port) if forms.has(port, "[0-9]{1,5}") else 0,
        address=ipaddress.ip_address(address) if forms.is_address(address) and "%" not in address else None,
    )


_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OTHER = re.compile(r"(unit|path) [\w@./-]{1,120}")
_SERVER = re.compile(r"(https://)?(\[[0-9a-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):\d{1,5}")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_FORMS = {
    "environment": _NAME,
    "endpoint": _SERVER,
    "node": _NAME,
    "role": re.compile("control-plane|worker"),
    "hostname": _NAME,
    "uid": _UID,
    "ca": re.compile(r"sha256:[0-9a-f]{64}"),
}


def _matching(form: re.Pattern[str], text: object) -> str:
    """The text if it has that form throughout; otherwise empty."""
    return text if isinstance(text, str) and form.fullmatch(text) else ""


def parse_identity(text: str) -> Identity:
    """The identity file; what has not its form is left out, and a file that cannot be read is none."""
    try:
        found = forms.data(text, "identity file") if text.strip() else {}
    except FormError:
        return Identity()
    return (
        Identity(**{key: _matching(form, found.get(key)) for key, form in _FORMS.items()})
        if isinstance(found, dict)
        else Identity()
    )


@functools.lru_cache(maxsize=256)
def ca_digest(pem: str) -> str:
    """`sha256:…` of the public key in the first certificate of a PEM text, as kubeadm pins it; empty when there is none to be read.

    Here and not on the node, which need not have openssl.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = _loaded(pem).public_key()
        return f"sha256:{hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()}"
    except Exception:  # cryptography's own kinds are many, and what a node sends may be anything
        return ""


@functools.lru_cache(maxsize=256)
def _loaded(pem: str) -> x509.Certificate:
    """The first certificate of a PEM text: a cluster's authorities are the same on all its nodes."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem.encode())


def parse_certificates(text: str, known: Sequence[str] = ()) -> dict[str, Certificate]:
    """`file NAME [WRITTEN [KEY]]`, then its certificates in PEM, of which the first counts; what cannot be read is left out.

    Without `known` names, they are addresses with a port.
    """
    parts = [part.partition("\n")[::2] for part in re.split(r"^file ", text, flags=re.M)[1:]]
    pems = {head.split(" ")[0]: (head.split(" ")[1:], pem) for head, pem in parts}
    authorities = tuple((path, pems[path][1]) for path in AUTHORITIES if path in pems)
    found = {}
    for name, (times, text) in pems.items():
        pem = _in_kubeconfig(text)
        named = name in known if known else forms.has(name, r"[0-9.]{7,15}:[0-9]{1,5}")
        if named and (read := certificate(pem, authorities)):
            written, key = [float(one) if forms.has(one, "[0-9]{1,11}") else 0.0 for one in (*times, "", "")[:2]]
            found[name] = replace(read, written=written, key=key)
    return found


def _in_kubeconfig(text: str) -> str:
    """The PEM text of a kubeconfig's line, which has it in base64; any other text as it is."""
    key, _, value = text.strip().partition(": ")
    return _decoded(value) if key == "client-certificate-data" else text


@functools.lru_cache(maxsize=256)
def certificate(pem: str, authorities: tuple[tuple[str, str], ...] = ()) -> Certificate | None:
    """The first certificate of a PEM text, and which of the authorities (path, PEM) signed it; None when there is none to be read."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        read = _loaded(pem)
        begins, ends = (
            min(max(0.0, at.timestamp()), forms.LATEST) for at in (read.not_valid_before_utc, read.not_valid_after_utc)
        )
        digest = hashlib.sha256(read.public_bytes(Encoding.DER)).hexdigest()
        try:
            names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            words = [str(name.value) for name in names][:100]
        except x509.ExtensionNotFound:
            words = []
    except Exception:  # as above
        return None
    return Certificate(
        ends,
        tuple(word for word in words if forms.is_address(word) or forms.has(word, r"[A-Za-z0-9*][A-Za-z0-9.-]*")),
        begins,
        digest,
        next((path for path, one in authorities if _signed(pem, one)), ""),
    )


def _signed(pem: str, authority: str) -> bool:
    """Whether that authority's key signed the certificate, whether or not either has ended."""
    try:
        _loaded(pem).verify_directly_issued_by(_loaded(authority))
    except Exception:  # of the signature, the names, or what cannot be read
        return False
    return True


def parse_running(text: str, hostname: str) -> dict[str, float]:
    """What `crictl ps -o json` lists of the static pods of this machine: when the newest running container of each began."""
    try:
        listed = forms.data(text, "containers").get("containers", []) if text.strip() else []
        began: dict[str, float] = {}
        for one in listed:
            name, pod = one["metadata"]["name"], one["labels"]["io.kubernetes.pod.name"]
            if pod == f"{name}-{hostname}" and one["state"] == "CONTAINER_RUNNING" and forms.has(name, forms.PLAIN):
                began[name] = max(began.get(name, 0.0), int(one["createdAt"]) / 1e9)
    except (FormError, LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return {}
    return began


_NAMES = ("kubeadm-config", *(name for name, _ in COMPONENT_MAPS.values()))
CONFIG_MAPS = tuple(f"configmap/{name}" for name in _NAMES)
_CONFIG_MAPS = [("namespaces/kube-system/configmaps", name) for name in _NAMES]
_MAP = forms.record(
    {
        "kind!": forms.string,
        "metadata!": forms.record({"name!": forms.name, "uid": forms.string, "resourceVersion": forms.string}),
        "data": forms.strings,
    }
)


def _system(text: str, uid: str) -> dict[str, Any]:
    """kube-system's uid and what kubeadm keeps there, by fields of NodeFacts. `uid` is what an answer of an earlier release had instead."""
    items = [_MAP(item, "kube-system") for item in forms.kinds(text, "kube-system")]
    spaces = [item["metadata"].get("uid", "") for item in items if item["kind"] == "Namespace"]
    maps = {item["metadata"]["name"]: item for item in items if item["kind"] == "ConfigMap"}

    def inside(name: str, key: str) -> str:
        return str(maps.get(name, {}).get("data", {}).get(key, ""))

    return {
        "uid": _matching(_UID, spaces[0] if spaces else uid),
        "configured": parse_configured(inside("kubeadm-config", "ClusterConfiguration")),
        "components": {
            component: Component(config, _matching(_VERSION, maps[name]["metadata"].get("resourceVersion", "")))
            for component, (name, key) in COMPONENT_MAPS.items()
            if (config := _mapping(inside(name, key)))
        },
    }


def patched(component: str, patch: str) -> Component:
    """The component's configuration after a patch of its ConfigMap, of which no version is known yet."""
    return Component(_mapping(json.loads(patch)["data"][COMPONENT_MAPS[component][1]]), "")


_VERSION = re.compile(r"[0-9]{1,20}")


@functools.lru_cache(maxsize=64)  # all nodes of a cluster have the same
def _mapping(text: str) -> dict[str, Any]:
    """The one object in a YAML text of a component's configuration; empty where it cannot be read."""
    try:
        found = as_kubectl_reads(text) if len(text) <= 65536 else []
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return (
        found[0] if len(found) == 1 and isinstance(found[0], dict) and all(isinstance(k, str) for k in found[0]) else {}
    )


def parse_followed(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`MARK JSON`, by component: what of hosts.env it has taken; what cannot be read is left out, as if it were not noted."""
    found = {}
    for mark, _, text in (line.partition(" ") for line in lines):
        try:
            said = forms.data(text, mark)
        except FormError:
            continue
        if mark in FOLLOWED and isinstance(said, dict):
            found[FOLLOWED[mark]] = said
    return found


def parse_configured(text: str) -> dict[str, Any]:
    """The ClusterConfiguration that kubeadm keeps in the cluster; empty where it cannot be read."""
    try:
        found = list(documents(text))
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    one = found[0] if len(found) == 1 and isinstance(found[0], dict) else {}
    api = one.get("apiServer") or {}
    sound = isinstance(api, dict) and isinstance(api.get("certSANs") or [], list)
    return one if sound and one.get("kind") == "ClusterConfiguration" else {}


def parse_manifests(lines: Iterable[str]) -> dict[str, str]:
    """The images of static pods, from lines `NAME.yaml IMAGE`; what has not that form is left out."""
    words = [line.split() for line in lines]
    return {
        w[0].removesuffix(".yaml"): w[1].strip("\"'")
        for w in words
        if len(w) == 2 and forms.has(w[0], forms.PLAIN) and forms.has(w[1].strip("\"'"), forms.IMAGE, 400)
    }


def _api_version(text: str) -> str:
    """The gitVersion of what the API's /version says; empty where it does not say one."""
    try:
        found = forms.data(text, "version") if text.strip() else {}
    except FormError:
        return ""
    return str(found.get("gitVersion", "")) if isinstance(found, dict) else ""


def _kubeconfigs(lines: Iterable[str]) -> dict[str, Kubeconfig]:
    found: dict[str, dict[str, str]] = {}
    for words in map(str.split, lines):
        if len(words) == 3 and words[0] in ("admin", "kubelet", "bootstrap-kubelet"):
            found.setdefault(words[0], {}).setdefault(words[1], words[2].strip("\"'"))
    return {
        name: Kubeconfig(
            _matching(_NAME, one.get("cluster")),
            _matching(_SERVER, one.get("server")).removeprefix("https://"),
            ca_digest(_decoded(one.get("certificate-authority-data", ""))),
        )
        for name, one in found.items()
    }


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return ""


def parse_links(text: str) -> dict[str, Link]:
    """The interfaces in what `ip -j addr`, `ip addr` or `ifconfig` (of either generation) printed.

    Raises FormError, which is a ValueError, for something else.
    """
    if not text.strip():
        return {}
    if text.lstrip()[0] not in "[{":
        return _plain_links(text)
    links = _LINKS(forms.data(text, "interfaces"), "interfaces")
    return {
        link["ifname"]: Link(
            name=link["ifname"],
            addresses=tuple(
                forms.interface(f"{a['local']}/{a.get('prefixlen', '')}")
                for a in link.get("addr_info", ())
                if "local" in a
            ),
            mtu=link.get("mtu", 0),
            up="UP" in link.get("flags", ()),
        )
        for link in links
        if "ifname" in link
    }


def _link_name(value: object, field: str = "interface") -> str:
    return forms.word(forms.string(value, field), field, forms.LINK, "an interface's name", 15)


_LINKS = forms.many(
    forms.record(
        {
            "ifname": _link_name,
            "mtu": forms.whole,
            "flags": forms.many(forms.string),
            "addr_info": forms.many(forms.record({"local": forms.string, "prefixlen": forms.whole})),
            "address": forms.string,
            "link_type": forms.string,
        }
    )
)


_PLAIN_ADDRESS = re.compile(
    r"\binet6? (?:addr: ?)?([0-9a-f.:]+)(?:/(\d+))?(?:.*?(?:Mask:|netmask |prefixlen )([\d.]+))?"
)


def _plain_links(text: str) -> dict[str, Link]:
    """Ubuntu 16.04's `ip` knows no JSON: interfaces from its plain text, or from ifconfig's. Raises ValueError for other text."""
    found: dict[str, Link] = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        name = re.match(r"(?:\d+: )?([\w.-]+)", block)
        mtu = re.search(r"\bmtu[ :](\d+)", block, flags=re.I)
        if not name or not mtu:
            raise FormError("interface", block, "what ip or ifconfig prints")
        addresses = tuple(
            forms.interface(f"{address}/{prefix or _prefix(mask)}")
            for address, prefix, mask in _PLAIN_ADDRESS.findall(block)
        )
        up = bool(re.search(r"[<, ]UP[>, ]", block))
        found[name[1]] = Link(_link_name(name[1]), addresses, forms.number(mtu[1], "MTU"), up)
    return found


def _prefix(mask: str) -> str:
    """A prefix length from a dotted mask, or as it is; 32 if there is none."""
    return forms.network(f"0.0.0.0/{mask}").rpartition("/")[2] if "." in mask else mask or "32"
