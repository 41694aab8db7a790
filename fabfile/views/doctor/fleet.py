"""Checks between machines: identities that must differ, clocks that must agree, addresses that must be real.

Sources: kubernetes.io "Installing kubeadm" (unique hostname, MAC address and product_uuid); kubeadm 1390 (an address that no interface
has); flannel docs/configuration.md (the interface is chosen by the default route unless told otherwise).
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ...errors import Malformed, Unreachable
from ...nodes.facts import link_with
from ...phases.prep import NEW_HOSTNAME, NEW_MACHINE_ID
from ...text.durations import roughly
from ...text.forms import Hostname
from .chart import Chart, Patient
from .clocks import BROKEN, NOTICEABLE, skews
from .finding import ERROR, NOTE, WARNING, Finding, Severity, guarded

_UUID = "the hypervisor gives it: let it give each virtual machine its own"


def _hostname(patient: Patient) -> str:
    return patient.facts.hostname


def _machine_id(patient: Patient) -> str:
    return patient.facts.machine_id


def _groups(patients: Sequence[Patient], value: Callable[[Patient], str]) -> list[list[Patient]]:
    groups: dict[str, list[Patient]] = defaultdict(list)
    for patient in patients:
        if value(patient):
            groups[value(patient)].append(patient)
    return [group for group in groups.values() if len(group) > 1]


def fleet(chart: Chart) -> Iterator[Finding]:
    """All checks of this topic."""
    yield from _unreachable(chart)
    yield from guarded(partial(_duplicates, chart), "identities that two nodes share", ())
    yield from guarded(partial(_clock, chart), "clocks", ())
    for patient in chart.patients:
        yield from guarded(partial(_address, chart, patient), "addresses and routes", (patient.name,))
    yield from guarded(partial(_mtus, chart), "MTUs", ())


def _unreachable(chart: Chart) -> Iterator[Finding]:
    for name, error in chart.unreachable.items():
        named = isinstance(error, Malformed) and error.field == Hostname.FIELD
        code = (
            "KF-SSH-UNREACHABLE" if isinstance(error, Unreachable) else "KF-ID-NAME" if named else "KF-DOC-UNOBSERVED"
        )
        yield Finding(code, ERROR, (name,), error.message.removeprefix(f"{name}: "), error.remedy)
    for patient in chart.patients:
        for what in patient.unexamined:
            yield Finding("KF-DOC-PARTIAL", NOTE, (patient.name,), f"not examined: {what}")


def _duplicates(chart: Chart) -> Iterator[Finding]:
    kinds: tuple[tuple[str, Severity, str, Callable[[Patient], str], str], ...] = (
        ("KF-ID-HOSTNAME", ERROR, "hostname", _hostname, f"on all but one: {NEW_HOSTNAME}"),
        ("KF-ID-MACHINE", ERROR, "machine-id", _machine_id, f"on all but one: {NEW_MACHINE_ID}"),
        ("KF-ID-UUID", WARNING, "product_uuid", _uuid(chart), _UUID),
    )
    for code, severity, what, value, remedy in kinds:
        for group in _groups(chart.patients, value):
            yield Finding(
                code,
                severity,
                tuple(p.name for p in group),
                f"the same {what} {value(group[0])}: cloned images",
                remedy,
            )
    owners: dict[str, list[str]] = defaultdict(list)
    for patient in chart.patients:
        for name, mac in (patient.answers.macs if patient.answers else {}).items():
            owners[mac].append(f"{patient.name}/{name}")
    for mac, places in owners.items():
        names = tuple(dict.fromkeys(place.split("/")[0] for place in places))
        if len(names) > 1:
            yield Finding(
                "KF-ID-MAC",
                ERROR,
                names,
                f"the same MAC address {mac} ({', '.join(places)})",
                "give each virtual machine its own",
            )


def _uuid(chart: Chart) -> Callable[[Patient], str]:
    """Containers on one machine all see that machine's product_uuid: if it is the same on all nodes, it proves nothing."""
    values = {p.facts.product_uuid for p in chart.patients}
    boots = {p.facts.boot_id for p in chart.patients}
    one_machine = len(chart.patients) > 1 and len(values) == 1 and len(boots) == 1
    return (lambda p: "") if one_machine else (lambda p: p.facts.product_uuid)


def _clock(chart: Chart) -> Iterator[Finding]:
    for name, skew in skews(chart.clocks).items():
        if abs(skew) < NOTICEABLE:
            continue
        behind = "behind" if skew < 0 else "ahead of"
        error = abs(skew) >= BROKEN
        text = f"its clock is {roughly(abs(skew))} {behind} the other nodes' (measured to within {chart.clocks[name].error * 1000:.0f} ms)"
        yield Finding(
            "KF-TIME-SKEW",
            ERROR if error else WARNING,
            (name,),
            text + (": certificates look expired or not yet valid" if error else ""),
            "`timedatectl set-ntp true`; `chronyc makestep` where chrony runs",
        )
    offsets = sorted(r.offset for r in chart.clocks.values())
    if offsets and abs(offsets[len(offsets) // 2]) >= 60 and not chart.environment.settings.simulated:
        yield Finding(
            "KF-TIME-YOURS",
            NOTE,
            (),
            f"your own clock differs by {roughly(abs(offsets[len(offsets) // 2]))} from the nodes'",
            "look which of them is right",
        )


def _address(chart: Chart, patient: Patient) -> Iterator[Finding]:
    node, facts, answers = patient.node, patient.facts, patient.answers
    settings = chart.environment.settings
    if not facts.links:
        return
    name, link = (node.name,), link_with(facts.links, node.address)
    if not link:
        own = [
            ip
            for one in facts.links.values()
            if one.name.startswith(("en", "eth", "bond", "wl"))
            for ip in one.ips
            if ":" not in ip
        ]
        kind = "NAT address" if not node.behind_nat else "private= address"
        yield Finding(
            "KF-NET-ADDRESS",
            ERROR,
            name,
            f"{kind} {node.address} is on no interface of this machine (it has {', '.join(own) or 'none'}): etcd and the kubelet "
            "could not bind to it",
            f"write the line as `{node.host} private={own[0] if own else '<its own address>'}` in hosts.env",
        )
    if answers is None:
        return
    ranges = {"POD_CIDR": settings.pod_cidr, "SERVICE_CIDR": settings.service_cidr}
    for line in answers.routes:
        words = line.split()
        device = words[words.index("dev") + 1] if "dev" in words[:-1] else ""
        if not words or words[0] == "default" or device in ("cni0", "flannel.1", "lo"):
            continue
        try:
            there = ipaddress.ip_network(words[0])
        except ValueError:
            continue
        for key, network in ranges.items():
            if there.version != network.version or not there.overlaps(network):
                continue
            wider = there != network and there.supernet_of(network)  # type: ignore[arg-type]
            yield Finding(
                "KF-NET-ROUTE",
                NOTE if wider else ERROR,
                name,
                f"the route {words[0]} dev {device} {'holds' if wider else 'lies in'} {key} {network}",
                "flannel's own routes are more specific and win; only hosts behind that route with these addresses cannot be reached"
                if wider
                else f"choose another {key}, or remove what makes that route",
            )
    if link and " dev " in answers.toward and not node.control_plane:
        words = answers.toward.split()
        used = words[words.index("dev") + 1]
        source = words[words.index("src") + 1] if "src" in words else node.address
        if source != node.address:
            yield Finding(
                "KF-NET-NIC",
                WARNING,
                name,
                f"reaches the control plane from {source} ({used}), but is known as {node.address} ({link.name})",
                f"write private={source} in hosts.env, or route {chart.environment.control_plane.address} through {link.name}",
            )


def _mtus(chart: Chart) -> Iterator[Finding]:
    sizes: dict[int, list[str]] = defaultdict(list)
    for patient in chart.patients:
        link = link_with(patient.facts.links, patient.node.address)
        if link and link.mtu:
            sizes[link.mtu].append(patient.name)
    if len(sizes) < 2:
        return
    sizes_text = "; ".join(
        f"{', '.join(names[:4])}{' …' * (len(names) > 4)}: {size}" for size, names in sorted(sizes.items())
    )
    odd = min(sizes.values(), key=len)
    yield Finding(
        "KF-NET-MTU",
        WARNING,
        tuple(odd),
        f"the nodes' interfaces differ in MTU ({sizes_text}): flannel takes each node's own",
        "set the same MTU everywhere; then restart flannel's pods",
    )
