"""What of a machine would get in a cluster's way, seen before anything is done to it: prep stops for it, and the doctor says the same.

Each check is a pure function of the facts: a `Stop`, or None.  Sources: kubeadm 1390 (an address that no interface has); k0s 823,
kubeadm 2400 (another network's CNI file); flannel 799, kubernetes 72370 (FORWARD); kURL 4294, kubespray 7096 (disks of their own);
sysctl.d(5) (which file wins); kubernetes 86760, 115824 (flags); kubeadm's constants.CertificateBackdate.
"""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from shlex import quote

from ..context import Context
from ..inventory import Environment
from ..nodes.facts import FLANNEL_FILE, KUBELET_FLAGS_FILE, Link, link_with
from ..nodes.filters import dropping, forwarded, to_kubelet
from ..recipes.kubeadm import BACKDATE
from ..recipes.kubelet import unsuited
from ..recipes.packages import Apt, family
from ..recipes.proxies import found
from ..steps import Stop
from ..text import forms
from ..text.cleaning import listed
from ..text.durations import roughly

CNI_FOLDER = "/etc/cni/net.d"
GIB = 1 << 20  # KiB
SET_CLOCK = "set the clock that is wrong: `timedatectl set-ntp true` on that machine, or `chronyc makestep` where chrony runs; then run this again"


def refusal(ctx: Context, sysctl_file: str) -> Stop | None:
    """The first reason not to begin on this machine; `sysctl_file` is the file that prep writes."""
    return next(filter(None, _checks(ctx, sysctl_file)), None)


def _checks(ctx: Context, sysctl_file: str) -> Iterator[Stop | None]:
    yield room(ctx)
    yield _address(ctx)
    yield _overlapping(ctx)
    yield clocks(ctx, "prep")
    yield filtered(ctx)
    yield proxied(ctx)
    yield overridden(ctx, sysctl_file)
    yield _cni(ctx)
    yield kubelet(ctx)


def needs(environment: Environment, *, control_plane: bool = True) -> Mapping[str, int]:
    """The folders that a node fills, each with the KiB that it must have free for images, packages and a first day of pods."""
    root = environment.settings.containerd_config.get("root")
    images = root if isinstance(root, str) and forms.has(root, forms.PATH) else "/var/lib/containerd"
    etcd = {"/var/lib/etcd": GIB // 4} if control_plane else {}
    return {images: 3 * GIB, "/var/lib/kubelet": GIB // 2, **etcd, "/var/log": GIB // 8, "/usr": GIB // 8}


def room(ctx: Context) -> Stop | None:
    """A file system with too little space for those folders that are on it; each folder's own counts."""
    wanted: dict[str, list[str]] = defaultdict(list)
    sizes = needs(ctx.environment, control_plane=ctx.node.control_plane)
    for folder in sizes:
        if folder in ctx.facts.disks:
            wanted[ctx.facts.disks[folder].mount].append(folder)
    for folders in wanted.values():
        free, size = ctx.facts.disks[folders[0]].free_kib, sum(sizes[folder] for folder in folders)
        if free < size:
            what = f"{free / GIB:.1f} GiB free for {listed(folders, 5)}: at least {size / GIB:.1f} GiB are needed there"
            return Stop("prep.disk", what, "make room or enlarge that disk")
    return None


def _address(ctx: Context) -> Stop | None:
    node, links = ctx.node, ctx.facts.links
    if not any(link.ips for link in links.values()) or link_with(links, node.address):
        return None
    usable = _usable(links, ctx)
    return Stop(
        "prep.address",
        f"no interface has the address {node.address}; this machine has {', '.join(usable) or 'none'}",
        f"write its line in hosts.env with the right one: `{node.host} private={usable[0] if usable else 'ADDRESS'}`",
    )


_OURS = re.compile(r"lo|cni0|flannel\.\d+|kube-ipvs0|veth.*")


_FREE = ("10.244.0.0/16", "10.44.0.0/16", "172.28.0.0/16", "192.168.0.0/16")  # for pods, in the order of what is usual


def _overlapping(ctx: Context) -> Stop | None:
    """An interface whose network is POD_CIDR, or a part of it: docker0 has 172.17.0.0/16. What is sent to pods there would go to it.

    A wider network loses only its hosts with these addresses, as the kernel takes the narrower route: the doctor's KF-NET-ROUTE says so.
    """
    pods = ctx.settings.pod_cidr
    others = [link for link in ctx.facts.links.values() if not _OURS.fullmatch(link.name)]
    networks = {address: ipaddress.ip_interface(address).network for link in others for address in link.addresses}
    for link in others:
        for address in link.addresses:
            found = networks[address]
            if found.version == pods.version and found.subnet_of(pods):  # type: ignore[arg-type]
                free = [
                    one
                    for one in _FREE
                    if not any(ipaddress.ip_network(one).overlaps(net) for net in networks.values())
                ]
                return Stop(
                    "prep.overlap",
                    f"{link.name} on this machine has {address}, and POD_CIDR is {pods}: what is sent to pods with such addresses would go there",
                    f"write a range into hosts.env that no machine of yours has{f', like POD_CIDR={free[0]}' * bool(free)}; or, if nothing here "
                    f"needs that interface, take it off (`ip link delete {quote(link.name)}`) with what makes it; then run this again",
                )
    return None


def _usable(links: Mapping[str, Link], ctx: Context) -> list[str]:
    """The IPv4 addresses of a machine that are neither its own alone nor a pod network's."""
    ips = [ip for link in links.values() for ip in link.ips if ":" not in ip and not ip.startswith("127.")]
    return [ip for ip in ips if ipaddress.ip_address(ip) not in ctx.settings.pod_cidr]


def gone(ctx: Context, phase: str) -> Stop | None:
    """A member whose address no interface has any more: etcd and the kubelet cannot bind to it."""
    node, links = ctx.node, ctx.facts.links
    usable = _usable(links, ctx)
    if not usable or link_with(links, node.address):
        return None
    made = "this control plane was made for" if node.control_plane else "this worker joined with"
    back = f"give it {node.address} back (a fixed address, or a reservation in DHCP), then run this again"
    again = (
        "kubeadm cannot change it; otherwise" if node.control_plane else "or write the new address in hosts.env, then"
    )
    return Stop(
        f"{phase}.address",
        f"{made} the address {node.address}, and no interface has it any more; this machine has {', '.join(usable)}",
        f"{back}; {again} {ctx.renew()}",
    )


def clocks(ctx: Context, phase: str) -> Stop | None:
    """A clock by which certificates that are made now would not be valid yet: the operator's, or this worker's.

    Only what is sure counts: how far apart the clocks are at least, with the time that looking took.
    """
    own, control = ctx.facts.ahead, ctx.control
    if ctx.node.control_plane and own[0] > BACKDATE:
        what = f"its clock is {roughly(own[0])} ahead of yours: the cluster's certificates would not be valid for you until then"
        return Stop(f"{phase}.clock", what, SET_CLOCK)
    if not ctx.node.control_plane and control and control.ahead[0] - own[1] > BACKDATE:
        odd = control.ahead[0] > BACKDATE
        if odd and not control.initialised:  # the control plane's own row names the cause
            return None
        behind = (
            f"{roughly(control.ahead[0] - own[1])} behind the control plane's{', which is ahead of yours too' * odd}"
        )
        what = f"its clock is {behind}: the cluster's certificates would not be valid here until then"
        return Stop(f"{phase}.clock", what, SET_CLOCK)
    return None


def filtered(ctx: Context) -> Stop | None:
    """Rules of the host that drop what pods send: to other nodes' pods (FORWARD), or to the kubelet of their own node (INPUT)."""
    pods, filters = ctx.settings.pod_cidr, ctx.facts.filters
    forward = dropping(filters, "forward", forwarded(pods))
    own = dropping(filters, "input", (to_kubelet(pods, ctx.node.address),))
    said = [
        f"{one.chain.title} (hook forward) drops packets between pods of two nodes, by {one.why}" for one in forward
    ]
    said += [f"{one.chain.title} (hook input) drops what pods send to their own node, by {one.why}" for one in own]
    if not said:
        return None
    lines = [one.chain.accepting(pods, "saddr", "daddr") for one in forward]
    ufw = any(chain.name.startswith("ufw-") for chain in filters)
    lines += [
        f"ufw allow from {pods}" if ufw and one.chain.tool == "iptables" else one.chain.accepting(pods, "saddr")
        for one in own
    ]
    return Stop(
        "prep.filter",
        f"{'; '.join(said[:3])}: metrics and services would not work",
        f"kubefab changes no firewall. Let pods through on this machine: {' and '.join(f'`{line}`' for line in lines[:3])}; and "
        "write the same into the file that loads these rules, or the next boot drops them again",
    )


def proxied(ctx: Context) -> Stop | None:
    """A proxy of the operator's that containerd would ask for the private registry, or the kubelet for the API (metalk8s 2071, kubeadm 687)."""
    one = next((one for one in found(ctx.environment, ctx.facts) if one.reader), None)
    if one is None:
        return None
    what = "pull from the private registry" if one.reader == "containerd" else "ask for the API"
    reason = f"{one.says}: {one.reader} would {what} through it"
    return Stop("prep.proxy", reason, f"{one.remedy}; or take the proxy out there, and set PROXY in hosts.env")


def overridden(ctx: Context, ours: str) -> Stop | None:
    """Lines of sysctl files that are read after ours at the next boot, and switch off what pods need.

    systemd-sysctl sorts files by their names, whatever folder they are in; the last line of a key counts.
    """
    last = {}
    for one in sorted(ctx.facts.sysctl_lines, key=lambda line: (line.name, line.number)):
        last[one.key] = one
    lost = [one for one in last.values() if one.name > ours.rpartition("/")[2] and one.value != "1"]
    if not lost:
        return None
    places = ", ".join(f"{one.path}:{one.number} sets {one.key} to {one.value}" for one in lost)
    edits = " && ".join(f"sed -i '{one.number}s/^/#/' {quote(one.path)}" for one in lost)
    what = f"{places}, and is read after {ours} when the machine boots: pods would lose their network then"
    return Stop("prep.boot", what, f"take that out: `{edits}`; then run this again")


# Words in the usual names of those files, and whose they are; of two that fit, the first.
_CNI_OWNERS = {
    "calico": "Calico's", "canal": "Canal's", "cilium": "Cilium's", "weave": "Weave Net's", "antrea": "Antrea's", "kube-ovn": "Kube-OVN's",
    "kuberouter": "kube-router's", "kube-router": "kube-router's", "kindnet": "kind's", "multus": "Multus's", "aws": "the AWS VPC CNI's",
    "azure": "the Azure CNI's", "podman": "podman's", "crio": "CRI-O's", "nerdctl": "nerdctl's", "containerd-net": "containerd's example",
}  # fmt: skip


def _owned(name: str) -> str:
    """A file of /etc/cni/net.d with whose it is, as far as its name says: "10-calico.conflist (Calico's)"."""
    whose = next((owner for word, owner in _CNI_OWNERS.items() if word in name.lower()), "")
    return f"{name} ({whose})" if whose else name


def _cni(ctx: Context) -> Stop | None:
    names = ctx.facts.cni_files
    if not names:
        return None
    first = min(*names, FLANNEL_FILE)
    until = "until flannel's file is there" if first == FLANNEL_FILE else f"as {first} comes before {FLANNEL_FILE}"
    paths = " ".join(quote(f"{CNI_FOLDER}/{name}") for name in names)
    return Stop(
        "prep.cni",
        f"{CNI_FOLDER} has {', '.join(map(_owned, names))} of another network: pods would get that one, {until}",
        f"if nothing on this machine needs it: `mkdir -p /etc/cni/aside && mv {paths} /etc/cni/aside`",
    )


def kubelet(ctx: Context) -> Stop | None:
    """Flags and drop-ins of an earlier life, with which a kubelet that does not run would not start, or not as this node's."""
    minor, debian = ctx.recipe.minor, isinstance(family(ctx.facts), Apt)
    found = unsuited(ctx.node, ctx.facts, ctx.settings, minor=minor, member=ctx.facts.cluster_files, debian=debian)
    if not found:
        return None
    files = list(dict.fromkeys(file for file, _ in found))
    moves = " && ".join(f"mv {quote(file)} {quote(file)}.aside" for file in files if file != KUBELET_FLAGS_FILE)
    what = f"if nothing on this machine needs it: `{moves} && systemctl daemon-reload`"
    if not moves:
        what = f"take it out of {KUBELET_FLAGS_FILE}, then `systemctl restart kubelet`"
    return Stop("prep.kubelet", "; ".join(sentence for _, sentence in found[:4]), f"{what}, then run this again")


def lasting_faults(ctx: Context, ours: str) -> Iterator[Stop]:
    """Of these, what breaks a member of a cluster as well."""
    yield from filter(None, (filtered(ctx), overridden(ctx, ours)))
