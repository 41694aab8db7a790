"""Checks of what a cluster has put on a node: leftovers, containerd, versions, flannel, certificates, tokens.

Sources: kubernetes.io "Version Skew Policy" (kubelet up to three minors behind, never ahead); kubeadm's certificate lifetimes (one year);
flannel docs/kubernetes.md and its annotations; containerd docs/cri/config.md; KEP-4033 (kubelet 1.38 refuses containerd 1.x).
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from shlex import quote

from ...identity import Kind
from ...nodes.facts import AUTHORITIES, NodeFacts, link_with
from ...nodes.keeping import CONTAINERD_CONFIG
from ...phases import guard
from ...phases.certificates import renewal, unnamed
from ...phases.reset import residue
from ...recipes.changes import numbers
from ...recipes.packages import PINNED
from ...text.masking import mask, masked_tail
from ..saved import overdue
from .chart import Chart, Patient
from .finding import ERROR, NOTE, WARNING, Finding

DAY = 86400.0
CERTIFICATE_WARNING = 60 * DAY
CERTIFICATE_ERROR = 7 * DAY


def cluster(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """All checks of this topic on one node."""
    yield from _leftovers(chart, patient)
    if chart.environment.settings.release.runtime == "containerd":
        yield from _containerd(chart, patient)
        yield from _versions(chart, patient)
    yield from _flannel(chart, patient)
    yield from _certificates(chart, patient)
    if patient.node.control_plane:
        yield from _names(chart, patient)
        yield from _tokens(chart, patient)
        yield from _strangers(chart, patient)
        yield from _backup(chart, patient)


def _leftovers(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """Firewall rules on a free machine: too little to say which cluster left them. If there is more, `refusals` reports it."""
    facts = patient.facts
    left = residue(facts) if chart.environment.settings.release.runtime == "containerd" else []
    if left and guard.whose(chart.context(patient)).kind == Kind.FREE:
        yield Finding(
            "KF-OLD-RESIDUE",
            WARNING,
            (patient.name,),
            f"left by an earlier cluster: {', '.join(left)}",
            "a reboot takes them away",
        )


def _containerd(chart: Chart, patient: Patient) -> Iterator[Finding]:
    facts, answers, name = patient.facts, patient.answers, (patient.name,)
    if "containerd" in facts.packages and "containerd.io" not in facts.packages:
        yield Finding(
            "KF-CRI-OTHER",
            WARNING,
            name,
            f"the distribution's containerd {facts.packages['containerd']} is installed: install replaces it",
            "nothing, unless something else there uses it",
        )
    if "docker.io" in facts.packages or facts.unit("docker").active:
        yield Finding(
            "KF-CRI-DOCKER",
            NOTE,
            name,
            "Docker is on this node: it sets the FORWARD policy to DROP, flannel opens it again for pods",
        )
    if "containerd.io" not in facts.packages:
        return
    wanted = chart.recipe.containerd_config()
    if not facts.unit("containerd").active:
        yield Finding(
            "KF-CRI-DOWN",
            ERROR,
            name,
            "containerd is installed and does not run",
            "`journalctl -u containerd -n 50` there, then run the bootstrap again",
        )
        return
    if not facts.in_cluster and not facts.has_file(wanted.path, wanted.sha256, wanted.mode):
        return  # the package's own configuration disables the CRI plugin: install writes another
    if answers and answers.containerd.get("cri", "ok") != "ok":
        yield Finding(
            "KF-CRI-SILENT",
            ERROR,
            name,
            f"containerd's CRI does not answer: {masked_tail(answers.containerd['cri'])}",
            f"`{chart.fab(patient, 'install')}` writes its configuration and restarts it",
        )
    if wanted.path not in facts.files:
        if facts.unit("kubelet").active:
            yield Finding(
                "KF-CRI-CONFIG",
                ERROR,
                name,
                f"{CONTAINERD_CONFIG} is missing on a node in use",
                f"`{chart.fab(patient, 'install')}`",
            )
    elif not facts.has_file(wanted.path, wanted.sha256, wanted.mode):
        driver = answers.containerd.get("SystemdCgroup") if answers else None
        detail = (
            ": SystemdCgroup is not true, so that kubelet and containerd count cgroups twice"
            if driver == "false"
            else ""
        )
        yield Finding(
            "KF-CRI-CONFIG",
            ERROR if detail else WARNING,
            name,
            f"{CONTAINERD_CONFIG} is not the one that this inventory makes{detail}",
            f"`{chart.fab(patient, 'install')}` writes it and restarts containerd; put your own settings into CONTAINERD_CONFIG",
        )
    version = (answers.containerd.get("version") or "").lstrip("v") if answers else ""
    if version.startswith("1."):
        yield Finding(
            "KF-CRI-OLD",
            WARNING,
            name,
            f"containerd {version}: a kubelet of 1.38 refuses it",
            "install containerd.io 2.2 or later",
        )


def _versions(chart: Chart, patient: Patient) -> Iterator[Finding]:
    facts, wanted, name = patient.facts, chart.recipe.version, (patient.name,)
    odd = {p: v for p in ("kubelet", "kubeadm", "kubectl") if (v := facts.release(p)) and v != wanted}
    if odd:
        versions = ", ".join(f"{package} {version}" for package, version in odd.items())
        minors = {_minor(version) for version in odd.values()}
        newest = max(filter(None, map(facts.release, PINNED)), key=numbers)
        option = chart.environment.option
        if not facts.in_cluster:
            remedy = f"`{chart.fab(patient, 'install')}` brings the inventory's version"
        elif len({facts.release(package) for package in PINNED}) > 1:
            remedy = f"`inv cluster.upgrade {option} --to {newest}` ends an upgrade that was begun"
        elif numbers(newest) > numbers(wanted):
            remedy = (
                f"set KUBERNETES={facts.minor if _minor(newest) != _minor(wanted) else newest}, which this cluster runs"
            )
        else:
            remedy = (
                f"`inv cluster.upgrade {option}` upgrades to that; to stay, set KUBERNETES={facts.release('kubelet')}"
            )
        far = any(minor > _minor(wanted) or _minor(wanted) - minor > 3 for minor in minors)
        yield Finding(
            "KF-VER-SKEW",
            ERROR if far else WARNING,
            name,
            f"{versions}; the inventory says {wanted}",
            remedy,
        )
    control = chart.control
    listed = control.node_object(facts.hostname) if control and control.initialised else None
    server = control.node_object(control.hostname) if control and control.initialised else None
    if listed and server and not patient.node.control_plane:
        own, theirs = (
            n.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "").lstrip("v") for n in (listed, server)
        )
        if own and theirs and own != theirs and _minor(own) > _minor(theirs):
            yield Finding(
                "KF-VER-KUBELET",
                ERROR,
                name,
                f"its kubelet {own} is newer than the control plane's {theirs}",
                "a kubelet may be up to three minors behind, never ahead",
            )
    installed = [p for p in ("containerd.io", "kubelet", "kubeadm", "kubectl") if p in facts.packages]
    loose = [p for p in installed if p not in facts.held]
    if loose and installed and facts.os_id in ("debian", "ubuntu"):
        yield Finding(
            "KF-VER-LOOSE",
            WARNING,
            name,
            f"{', '.join(loose)} {'is' if len(loose) == 1 else 'are'} not held: an unattended upgrade may move {'it' if len(loose) == 1 else 'them'}",
            f"`apt-mark hold {' '.join(loose)}`",
        )


def _minor(version: str) -> int:
    parts = version.split(".")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0


def _flannel(chart: Chart, patient: Patient) -> Iterator[Finding]:
    facts, answers, control, name = patient.facts, patient.answers, chart.control, (patient.name,)
    listed = control.node_object(facts.hostname) if control and control.initialised else None
    if control and control.initialised and not listed and facts.joined:
        yield Finding(
            "KF-API-UNLISTED",
            ERROR,
            name,
            f"its kubelet runs, yet the API lists no node {facts.hostname}",
            f"`{chart.fab(patient, 'join')}` joins it again",
        )
    if not listed:
        return
    host = quote(facts.hostname)
    if control and not control.node_ready(facts.hostname):
        conditions = [c for c in listed["status"].get("conditions", []) if c["type"] == "Ready"]
        why = conditions[0].get("message", "") if conditions else ""
        yield Finding(
            "KF-API-NOTREADY",
            ERROR,
            name,
            f"the node is not Ready{': ' + mask(why)[:160] if why else ''}",
            f"`journalctl -u kubelet -n 50` there; `kubectl describe node {host}` on the control plane",
        )
    annotations = listed["metadata"].get("annotations") or {}
    dialled = annotations.get("flannel.alpha.coreos.com/public-ip", "")
    if dialled and dialled != patient.node.address:
        yield Finding(
            "KF-FLN-NIC",
            ERROR,
            name,
            f"flannel sends to this node at {dialled}, not at its address {patient.node.address}: the wrong interface",
            f"`{chart.fab(patient, 'network')}` starts flannel with --iface-can-reach; then {_new_flannel(facts)}",
        )
    cidr, subnet = (
        listed.get("spec", {}).get("podCIDR", ""),
        answers.subnet.get("FLANNEL_SUBNET", "") if answers else "",
    )
    if cidr and subnet:
        own = ipaddress.ip_interface(subnet).network
        if str(own) != cidr:
            yield Finding(
                "KF-FLN-SUBNET",
                ERROR,
                name,
                f"subnet.env says {own}, the API gave it {cidr}: of an earlier cluster",
                f"{_new_flannel(facts)}: a new pod writes the file again; if that does not help: {chart.context(patient).renew()}",
            )
        bridge = facts.links.get("cni0")
        held = [a for a in bridge.addresses if ":" not in a] if bridge else []
        if held and not any(ipaddress.ip_interface(a).network == own for a in held):
            yield Finding(
                "KF-FLN-CNI0",
                ERROR,
                name,
                f'cni0 has {held[0]}, outside this node\'s {own}: new pods fail with "cni0 already has an IP address different from"',
                f"`kubectl drain {host} --ignore-daemonsets --delete-emptydir-data` on the control plane, then `ip link delete cni0; rm -rf "
                f"/var/lib/cni/networks/cbr0` on this node, then `kubectl uncordon {host}`",
            )
    if facts.unit("kubelet").active and "flannel.1" not in facts.links:
        yield Finding(
            "KF-FLN-MISSING",
            ERROR,
            name,
            "no flannel.1: its pods reach no other node",
            "`kubectl -n kube-flannel logs -l app=flannel --prefix` on the control plane; then "
            f"`{chart.fab(patient, 'join' if not patient.node.control_plane else 'network')}`",
        )
    link, size = facts.links.get("flannel.1"), answers.subnet.get("FLANNEL_MTU", "") if answers else ""
    carrier = link_with(facts.links, patient.node.address)
    if link and carrier and link.mtu > carrier.mtu - 50:
        yield Finding(
            "KF-FLN-MTU",
            ERROR,
            name,
            f"flannel.1's MTU {link.mtu} does not fit {carrier.name}'s {carrier.mtu} (VXLAN takes 50): large packets vanish",
            f"{_new_flannel(facts)}: flannel sets the MTU when it starts",
        )
    elif link and size.isdigit() and int(size) != link.mtu:
        yield Finding(
            "KF-FLN-MTU",
            WARNING,
            name,
            f"flannel.1's MTU {link.mtu} is not the {size} that pods are given",
            _new_flannel(facts),
        )


def _new_flannel(facts: NodeFacts) -> str:
    """The command that has flannel start again on this node."""
    selector = f"--field-selector spec.nodeName={quote(facts.hostname)}"
    return f"`kubectl -n kube-flannel delete pod -l app=flannel {selector}` on the control plane"


def _certificates(chart: Chart, patient: Patient) -> Iterator[Finding]:
    now = chart.now or time.time()
    for one in patient.answers.certificates if patient.answers else ():
        left = one.ends - now
        if one.ends == 0:
            yield Finding(
                "KF-CRT-UNREADABLE",
                WARNING,
                (patient.name,),
                f"{one.where} holds no readable certificate",
                f"`grep -c CERTIFICATE {quote(one.where)}` there: what is in it? `kubeadm certs check-expiration` reads kubeadm's own",
            )
            continue
        when = time.strftime("%Y-%m-%d", time.gmtime(one.ends))
        kubelet = one.where.startswith("/var/lib/kubelet")
        remedy = (
            _kubelets(chart, patient, lapsed=left <= 0)
            if kubelet
            else _NO_AUTHORITY
            if one.where in AUTHORITIES
            else f"{renewal(chart.environment)}, one component at a time"
        )
        if one.begins > now + 60:
            yield Finding(
                "KF-CRT-FUTURE",
                ERROR,
                (patient.name,),
                f"{one.where} is valid only from {time.strftime('%Y-%m-%d %H:%M', time.gmtime(one.begins))} UTC",
                "some clock was ahead when it was made; see KF-TIME-SKEW",
            )
        elif left <= 0:
            yield Finding("KF-CRT-EXPIRED", ERROR, (patient.name,), f"{one.where} expired on {when}", remedy)
        elif left < CERTIFICATE_WARNING and not (kubelet and left > 30 * DAY):
            severity = ERROR if left < CERTIFICATE_ERROR else WARNING
            yield Finding(
                "KF-CRT-EXPIRES",
                severity,
                (patient.name,),
                f"{one.where} expires on {when}, in {left / DAY:.0f} days",
                remedy,
            )


_NO_AUTHORITY = "kubeadm does not renew a CA: kubernetes.io, Manual Rotation of CA Certificates, has the steps"


def _kubelets(chart: Chart, patient: Patient, *, lapsed: bool) -> str:
    if not lapsed:
        return "it renews itself while kubelet and API talk: `journalctl -u kubelet | grep -i certificate`"
    return f"{renewal(chart.environment)} gives it another one; its Node and its pods stay"


def _names(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """The API's certificate must be for the address that the operator dials."""
    if lacking := unnamed(chart.recipe, patient.facts):
        yield Finding("KF-CRT-NAME", ERROR, (patient.name,), *lacking)


def _tokens(chart: Chart, patient: Patient) -> Iterator[Finding]:
    now = chart.now or time.time()
    for token in patient.answers.tokens if patient.answers else ():
        if token.ends == 0:
            yield Finding(
                "KF-TOK-FOREVER",
                WARNING,
                (patient.name,),
                f"bootstrap token {token.id} never expires: a person who has it can add nodes",
                f"`kubeadm token delete {quote(token.id)}`",
            )
        elif token.ends - now > 25 * 3600:
            yield Finding(
                "KF-TOK-LONG",
                NOTE,
                (patient.name,),
                f"bootstrap token {token.id} is valid for {(token.ends - now) / DAY:.0f} days more",
                f"`kubeadm token delete {quote(token.id)}` if no node is to join with it",
            )


def _strangers(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """Nodes in the API that are not in the inventory. Reported only if all of its nodes were examined: it does not contain host names."""
    control = patient.facts
    if not control.initialised or {p.name for p in chart.patients} != {n.name for n in chart.environment.nodes}:
        return
    hosts = {p.facts.hostname for p in chart.patients}
    # a node that was renamed after it joined is known by its address
    addresses = {n.address for n in chart.environment.nodes}
    for node in control.nodes:
        name = node["metadata"]["name"]
        held = {one.get("address") for one in node.get("status", {}).get("addresses") or ()}
        if name not in hosts and not held & addresses:
            yield Finding(
                "KF-API-STRANGER",
                NOTE,
                (patient.name,),
                f"the cluster has a node {name} that hosts.env does not name",
                f"`inv cluster.status {chart.environment.option}` has its line for hosts.env, and how it is removed",
            )


def _backup(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """The last backup that was taken from here: none is worth a note, as another machine may take them."""
    environment = chart.environment
    if chart.latest is None or not patient.facts.initialised or not environment.settings.release.configured:
        return
    seen, old = overdue(chart.latest, patient.facts, chart.now or time.time())
    if old is not False:
        remedy = f"`inv cluster.backup {environment.option}`; with --timer it prints what takes one each night"
        yield Finding("KF-BAK-OLD", WARNING if old else NOTE, (patient.name,), seen, remedy)
