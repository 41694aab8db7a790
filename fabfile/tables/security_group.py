"""The firewall rules that one cluster needs, for the person who opens them: AWS commands, Terraform, nftables (digest E4).

Made from ports.py: only what this cluster uses, each source as narrow as the inventory allows.  Nothing is applied here.
Sources: AWS CLI reference "authorize-security-group-ingress"; Terraform AWS provider "aws_vpc_security_group_ingress_rule";
nft(8); the order of netfilter's hooks, which puts kube-proxy's DNAT before every input chain.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator

from ..errors import UsageError
from ..inventory import Environment, Node
from ..inventory.settings import Network, bastion
from ..records import dataclass
from ..text.forms import is_address
from ..text.nearest import did_you_mean
from .ports import ADMIN, CONTROL, NODES, WORKERS, Rule, required

MANY = 8  # more nodes than this are named by NODE_CIDR, where it is set: AWS allows 60 rules a group
FORMATS = ("aws", "terraform", "nftables")
_TARGETS = {CONTROL: (CONTROL,), WORKERS: (WORKERS,), NODES: (CONTROL, WORKERS)}


@dataclass(frozen=True)
class Opening:
    """One rule, with real addresses: `sources` may reach these ports of every node of role `target`."""

    rule: Rule
    target: str
    sources: tuple[Network, ...]

    @property
    def description(self) -> str:
        """With only those characters that AWS accepts."""
        return re.sub(r"[^a-zA-Z0-9 ._:/()#,@+=;-]", "", f"kubefab: {self.rule.purpose}".replace("'s ", " "))


def admins(text: str) -> tuple[Network, ...]:
    """The networks of `--admin`, several with commas. Raises UsageError for a word that is no network."""
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in re.split(r"[,\s]+", text) if word)
    except ValueError as error:
        raise UsageError(
            f"--admin: {error}", "name your own network, like --admin 198.51.100.7/32; several with commas"
        ) from None


def openings(environment: Environment, admin: tuple[Network, ...]) -> list[Opening]:
    """What must be open on which nodes and for whom. Without `admin` only what nodes need of each other."""
    found = []
    for rule in required(environment):
        for target in _TARGETS[rule.target]:
            if target == WORKERS and not environment.workers:
                continue
            sources = (
                _outside(environment, rule, target, admin)
                if rule.source == ADMIN
                else _narrowed(environment, rule, target)
            )
            if sources:
                found.append(Opening(rule, target, sources))
    return found


def _outside(environment: Environment, rule: Rule, target: str, admin: tuple[Network, ...]) -> tuple[Network, ...]:
    """The sources outside the cluster: `admin`, and for SSH also the bastions."""
    if not admin or rule.setting != "SSH_PORT":
        return admin
    hosts = [
        host for node in environment.nodes if node.control_plane == (target == CONTROL) for host in _bastions(node)
    ]
    return tuple(dict.fromkeys((*admin, *(ipaddress.ip_network(host) for host in hosts))))


def _bastions(node: Node) -> tuple[str, ...]:
    """The address of a node's bastion; empty where the bastion is a host name."""
    host = bastion(node.jump)[1] if node.jump else ""
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return ()


def _narrowed(environment: Environment, rule: Rule, target: str) -> tuple[Network, ...]:
    """The nodes that must reach these ports: one by one, or NODE_CIDR where there are more than MANY."""
    settings = environment.settings
    targets = [node for node in environment.nodes if node.control_plane == (target == CONTROL)]
    nodes = [node for node in environment.nodes if any(rule.concerns(node, other) for other in targets)]
    if not nodes:
        return ()
    # the manual's init and join dial the public address (M1, J1)
    public = settings.release.public_join and rule.source == WORKERS
    if public:
        nodes = [environment.control_plane, *(node for node in nodes if not node.control_plane)]
    addresses = dict.fromkeys(address for node in nodes for address in _addresses(node, public=public))
    if len(nodes) > MANY and settings.node_cidr is not None:
        inside = settings.node_cidr
        outside = [a for a in addresses if ipaddress.ip_address(a) not in inside]
        return (inside, *(ipaddress.ip_network(address) for address in outside))
    return tuple(ipaddress.ip_network(address) for address in addresses)


def _addresses(node: Node, *, public: bool) -> tuple[str, ...]:
    return (node.address, *([node.host] if public and is_address(node.host) else []))


def remarks(environment: Environment, admin: tuple[Network, ...]) -> list[str]:
    """What the person who uses the rules must know: rules that are left out, and ports that are open to everybody."""
    more = ["the manual (E4): more ports may be needed; where something is not reached, look at them again"]
    more = more if environment.settings.release.token_in_inventory else []
    jumps = ", ".join(dict.fromkeys(node.jump for node in environment.nodes if node.jump))
    outside = [rule for rule in required(environment) if rule.source == ADMIN]
    if not admin:
        ports = ", ".join(dict.fromkeys(f"{rule.protocol} {rule.ports} ({rule.purpose})" for rule in outside))
        left_out = f"left out, because --admin CIDR does not say who may: {ports}"
        return [
            left_out,
            *(
                [f"SSH goes through {jumps}: the address by which that reaches the nodes must be let in too"]
                if jumps
                else []
            ),
            *more,
        ]
    through = f"WARNING: SSH goes through {jumps}: if the nodes see it come from another address than that (a private one), name that in --admin too"
    everybody = [
        f"WARNING: {network} is everybody; the dashboard and InfluxDB are plain HTTP"
        for network in admin
        if network.prefixlen == 0
    ]
    return [through] * bool(jumps) + everybody + more


# --- the three forms


def aws(environment: Environment, admin: tuple[Network, ...]) -> Iterator[str]:
    """Commands for a shell; the two groups come from variables."""
    found = openings(environment, admin)
    for target in dict.fromkeys(opening.target for opening in found):
        yield f': "${{{_variable(target)}:?the security group of the {target}, like sg-0123456789abcdef0}}"'
    for opening in found:
        rule = opening.rule
        permission: dict[str, object] = {
            "IpProtocol": rule.protocol.lower(),
            "FromPort": rule.first,
            "ToPort": rule.last,
        }
        for key, cidr, version in (("IpRanges", "CidrIp", 4), ("Ipv6Ranges", "CidrIpv6", 6)):
            ranges = [
                {cidr: str(n), "Description": opening.description} for n in opening.sources if n.version == version
            ]
            if ranges:
                permission[key] = ranges
        group = f'--group-id "${_variable(opening.target)}"'
        yield f"aws ec2 authorize-security-group-ingress {group} --ip-permissions '{json.dumps([permission])}'"


def _variable(target: str) -> str:
    return f"{target.upper().replace(' ', '_')}_SG"


def terraform(environment: Environment, admin: tuple[Network, ...]) -> Iterator[str]:
    """A file of resources, one a source."""
    found = openings(environment, admin)
    for target in dict.fromkeys(opening.target for opening in found):
        name = _variable(target).lower()
        yield f'variable "{name}" {{\n  type        = string\n  description = "security group of the {target}"\n}}\n'
    for opening in found:
        rule = opening.rule
        for network in opening.sources:
            source = re.sub(r"\W", "_", str(network))
            name = f"{_variable(opening.target)[:-3].lower()}_{rule.protocol.lower()}_{rule.ports.replace('-', '_')}_from_{source}"
            pairs = (
                ("security_group_id", f"var.{_variable(opening.target).lower()}"),
                ("description", json.dumps(opening.description)),
                ("ip_protocol", json.dumps(rule.protocol.lower())),
                ("from_port", str(rule.first)),
                ("to_port", str(rule.last)),
                (f"cidr_ipv{network.version}", json.dumps(str(network))),
            )
            body = "\n".join(f"  {key:<17} = {value}" for key, value in pairs)
            yield f'resource "aws_vpc_security_group_ingress_rule" "{name}" {{\n{body}\n}}\n'


def nftables(environment: Environment, admin: tuple[Network, ...]) -> Iterator[str]:
    """One ruleset a role, for bare metal. Raises UsageError without `admin`: it would lock you out.

    The chain comes before DNAT, else traffic to NodePorts would bypass it; it filters only traffic to the machine itself.
    """
    if not admin:
        raise UsageError(
            "rules for nftables need --admin: they drop everything that is not named, your SSH too",
            "--admin YOUR.NETWORK/32",
        )
    found = openings(environment, admin)
    for target in dict.fromkeys(opening.target for opening in found):
        yield f"# --- {target}: /etc/nftables.d/kubefab.nft there, `nft -f` it (nothing else is flushed)"
        yield _NFT_HEAD
        for opening in found:
            if opening.target != target:
                continue
            for version, family in ((4, "ip"), (6, "ip6")):
                sources = ", ".join(str(n) for n in opening.sources if n.version == version)
                if sources:
                    what = f"{opening.rule.protocol.lower()} dport {opening.rule.ports}"
                    yield f'    {family} saddr {{ {sources} }} {what} accept comment "{opening.description}"'
        yield '    counter drop comment "kubefab: everything else"\n  }\n}'


_NFT_HEAD = """\
table inet kubefab_ports
delete table inet kubefab_ports
table inet kubefab_ports {
  chain incoming {
    type filter hook prerouting priority mangle; policy accept;
    fib daddr type != local accept comment "kubefab: between pods"
    iifname { "lo", "cni0", "flannel.1", "docker0" } accept comment "kubefab: the node and its pods"
    ct state established,related accept
    meta l4proto { icmp, ipv6-icmp } accept"""

_FORMS: dict[str, Callable[[Environment, tuple[Network, ...]], Iterator[str]]] = {
    "aws": aws, "terraform": terraform, "nftables": nftables,
}  # fmt: skip


def as_data(environment: Environment, admin: tuple[Network, ...]) -> dict[str, object]:
    """For --json."""
    return {
        "environment": environment.name,
        "remarks": remarks(environment, admin),
        "rules": [
            {
                "on": opening.target, "from": [str(n) for n in opening.sources], "protocol": opening.rule.protocol,
                "first": opening.rule.first, "last": opening.rule.last, "for": opening.rule.purpose,
            }
            for opening in openings(environment, admin)
        ],
    }  # fmt: skip


def render(environment: Environment, form: str, admin: tuple[Network, ...]) -> str:
    """The rules in one form, remarks first as comments. Raises UsageError for an unknown form."""
    if form not in _FORMS:
        raise UsageError(
            f"--format {form} is not known", f"{did_you_mean(form, FORMATS, '--format {}')}one of {', '.join(FORMATS)}"
        )
    head = [f"# {environment.name}: what this cluster needs open, and nothing else"]
    head += [f"# {remark}" for remark in remarks(environment, admin)]
    return "\n".join([*head, *_FORMS[form](environment, admin)]) + "\n"
