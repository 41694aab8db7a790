"""What a host's own packet filter does with pods' packets: its rules as data, and one packet followed through them.

In: what `nft -j list table` and `iptables-save` print (observe.sh asks for the tables with base chains of the hooks forward and input).
Out: the base chain that surely drops a packet.  "Surely" leaves out what is not understood: a rule that may or may not match, a jump that
leads out of what was listed, another program's extension.  No rule of the host is ever changed.

Sources: nft(8), libnftables-json(5), iptables-extensions(8); flannel 2116 (flannel and kube-proxy append their rules, so that a drop
before them wins), kubernetes 72370 (policy drop).
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..records import dataclass
from ..text import forms
from ..text.forms import FormError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MOST_LINES = 400  # of iptables-save that observe.sh lists
_LONGEST = 2000  # characters of a line of iptables-save
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,60}"
_DEPTH = 16  # chains in chains; the kernel's own bound
_ENDS = {"accept", "drop", "reject", "return", "continue"}
_UNSURE = "?"  # a verdict that is not known


@dataclass(frozen=True)
class Condition:
    """One condition of a rule: `field` of the packet is (or, with `negated`, is not) one of `values`. An unknown field never decides."""

    field: str
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True)
class Rule:
    """Conditions and what follows: accept, drop, reject, return, `jump CHAIN`, `goto CHAIN`, "?"; "" for what only counts or logs."""

    tests: tuple[Condition, ...]
    verdict: str


@dataclass(frozen=True)
class Chain:
    """A chain, of the table that `tool` (nft or iptables) names by family and name; a base chain has a hook and a policy."""

    tool: str
    family: str
    table: str
    name: str
    hook: str = ""
    policy: str = ""
    rules: tuple[Rule, ...] = ()

    @property
    def title(self) -> str:
        """For people: `table inet fw, chain forward`, `iptables' chain FORWARD`."""
        return f"iptables' chain {self.name}" if self.tool == "iptables" else f"{self._place}, chain {self.name}"

    @property
    def _place(self) -> str:
        return f"table {self.family} {self.table}"

    def accepting(self, network: Network, *directions: str) -> str:
        """The command line that lets packets of the network through, before all other rules of the chain; directions: "saddr", "daddr"."""
        if self.tool == "iptables":
            flags = {"saddr": "-s", "daddr": "-d"}
            return "; ".join(f"iptables -I {self.name} 1 {flags[one]} {network} -j ACCEPT" for one in directions)
        rules = (f"insert rule {self.family} {self.table} {self.name} ip {one} {network} accept" for one in directions)
        return f"nft '{'; '.join(rules)}'"


_NEW = {"family": "ipv4", "proto": "tcp", "state": "new"}
Packet = Mapping[
    str, str
]  # of TCP over IPv4: iif, oif, saddr, daddr (a network: any address of it), proto, dport, state


@dataclass(frozen=True)
class Dropped:
    """Where a packet ends: the base chain, and whether its policy or a rule ends it."""

    chain: Chain
    why: str


def forwarded(pods: Network) -> tuple[Packet, ...]:
    """What pods of this node send to InfluxDB on another, and what such a node's pods send here."""
    between = {**_NEW, "type": "unicast", "saddr": str(pods), "daddr": str(pods), "dport": "8086"}
    return {**between, "iif": "cni0", "oif": "flannel.1"}, {**between, "iif": "flannel.1", "oif": "cni0"}


def to_kubelet(pods: Network, address: str) -> Packet:
    """What Telegraf asks the kubelet of its own node."""
    return {**_NEW, "type": "local", "iif": "cni0", "oif": "", "saddr": str(pods), "daddr": address, "dport": "10250"}


def dropping(chains: Sequence[Chain], hook: str, packets: Iterable[Packet]) -> tuple[Dropped, ...]:
    """The base chains of that hook that surely drop one of the packets.

    iptables' FORWARD counts only for its rules: flannel accepts pods there itself, at the chain's end, before a policy applies.
    """
    packets = tuple(packets)
    found = []
    for base in chains:
        if base.hook != hook:
            continue
        inside = {c.name: c for c in chains if (c.tool, c.family, c.table) == (base.tool, base.family, base.table)}
        verdicts = {_through(base, packet, inside, _DEPTH) for packet in packets}
        if "drop" in verdicts:
            found.append(Dropped(base, "a rule of it"))
        elif "" in verdicts and base.policy == "drop" and (base.tool, hook) != ("iptables", "forward"):
            found.append(Dropped(base, "its policy"))
    return tuple(found)


def _through(chain: Chain, packet: Packet, inside: Mapping[str, Chain], depth: int) -> str:
    """accept, drop, "?" for what is not known, "" at the end of the chain."""
    for rule in chain.rules:
        answers = [_holds(test, packet) for test in rule.tests]
        if False in answers or not rule.verdict or rule.verdict == "continue":
            continue
        verb, _, target = rule.verdict.partition(" ")
        if verb == "return":
            end = ""
        elif target:
            below = inside.get(target)
            end = _through(below, packet, inside, depth - 1) if below and depth else _UNSURE
            if not end and verb == "jump":
                continue
        else:
            end = "drop" if verb == "reject" else verb
        if None not in answers:
            return end
        if end != "drop":  # it may be let through here, or go another way
            return _UNSURE
    return ""


def _holds(test: Condition, packet: Packet) -> bool | None:
    seen = packet.get(test.field)
    if seen is None:
        return None
    answers = {_matches(test.field, seen, value) for value in test.values}
    found = True if True in answers else None if None in answers else False
    return found if found is None else found != test.negated


def _matches(field: str, seen: str, value: str) -> bool | None:
    if field in ("iif", "oif"):
        return seen.startswith(value[:-1]) if value.endswith(("*", "+")) else seen == value
    if field in ("saddr", "daddr"):
        try:
            own, wanted = ipaddress.ip_network(seen), ipaddress.ip_network(value, strict=False)
        except ValueError:
            return None
        if own.version != wanted.version or not own.overlaps(wanted):
            return False
        return True if own.prefixlen >= wanted.prefixlen else None
    if field == "dport":
        low, _, high = value.partition("-")
        if not (forms.has(low, "[0-9]{1,5}") and forms.has(high or low, "[0-9]{1,5}")):
            return None  # a service's name
        return int(low) <= int(seen) <= int(high or low)
    return value.lower() in ({seen, "6"} if field == "proto" else {seen})


# --- what the tools print


def parse(lines: Iterable[str]) -> tuple[Chain, ...]:
    """The chains in the lines of the observing script: `iptables LINE`, or a table as nft's JSON. What has not that form is left out."""
    old: list[str] = []
    found: list[Chain] = []
    for line in lines:
        if line.startswith("iptables "):
            old.append(line.removeprefix("iptables ")[:_LONGEST])
        elif line.startswith("{"):
            with suppress(FormError):
                found += _nft(_RULESET(forms.data(line, "nftables"), "nftables")["nftables"])
    return (*_iptables(old), *found)


def _iptables(lines: Sequence[str]) -> Iterator[Chain]:
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    for line in lines:
        try:
            words = shlex.split(line)
        except ValueError:
            words = [*line.split()[:2], "-j", _UNSURE]
        if len(words) > 1 and words[0].startswith(":") and forms.has(words[0][1:], _NAME):
            policies[words[0][1:]] = words[1].lower().strip("-")
        elif len(words) > 1 and words[0] == "-A":
            rules.setdefault(words[1], []).append(_iptables_rule(words[2:]))
    for name, policy in policies.items():
        known = tuple(_landing(rule, policies) for rule in rules.get(name, ()))
        known += (Rule((), _UNSURE),) if len(lines) >= MOST_LINES else ()  # the rest was not listed
        yield Chain("iptables", "ip", "filter", name, name.lower() if policy else "", policy, known)


def _landing(rule: Rule, chains: Mapping[str, str]) -> Rule:
    """A jump to what is no chain is an extension, which goes on (LOG, MARK); kube-proxy's chains, which are not listed, end no packet of ours."""
    target = rule.verdict.partition(" ")[2]
    return Rule(rule.tests, "") if target and target not in chains and target != "NFQUEUE" else rule


_FIELDS = {
    "-s": "saddr", "-d": "daddr", "-i": "iif", "-o": "oif", "-p": "proto", "--dport": "dport", "--dports": "dport", "--ctstate": "state",
    "--state": "state", "--dst-type": "type",
}  # fmt: skip
_SILENT = {"-m", "--comment", "--reject-with", "--log-prefix", "--log-level", "--set-xmark", "--to-ports"}


def _iptables_rule(words: list[str]) -> Rule:
    tests: list[Condition] = []
    verdict, negated, at = "", False, 0
    while at < len(words):
        option, values = words[at], []
        at += 1
        if option == "!":
            negated = True
            continue
        while at < len(words) and not words[at].startswith("-") and words[at] != "!":
            values.append(words[at])
            at += 1
        if option in ("-j", "-g"):
            word = values[0] if values else _UNSURE
            jump = "goto" if option == "-g" else "jump"
            verdict = word.lower() if word.lower() in _ENDS or word == _UNSURE else f"{jump} {word}"
        elif option in _FIELDS and len(values) == 1:
            tests.append(Condition(_FIELDS[option], tuple(v.replace(":", "-") for v in values[0].split(",")), negated))
        elif option not in _SILENT:
            tests.append(Condition("", ()))
        negated = False
    return Rule(tuple(tests), verdict)


_CHAIN = forms.record(
    {"family!": forms.string, "table!": forms.string, "name!": forms.string, "hook": forms.string, "policy": forms.string}
)  # fmt: skip
_RULE = forms.record({"chain!": forms.string, "expr!": lambda value, field: value if isinstance(value, list) else []})
_RULESET = forms.record({"nftables!": forms.many(forms.record({"chain": _CHAIN, "rule": _RULE}))})


def _nft(items: Sequence[Mapping[str, Any]]) -> Iterator[Chain]:
    rules: dict[str, list[Rule]] = {}
    for item in items:
        if "rule" in item:
            rules.setdefault(item["rule"]["chain"], []).extend(_nft_rules(item["rule"]["expr"]))
    for item in items:
        chain = item.get("chain")
        if chain and all(forms.has(chain[key], _NAME) for key in ("family", "table", "name")):
            known = tuple(rules.get(chain["name"], ()))
            places = chain["family"], chain["table"], chain["name"], chain.get("hook", ""), chain.get("policy", "")
            yield Chain("nft", *places, known)


_QUIET = {"counter", "log", "comment", "mangle", "notrack"}  # statements that go on to the next one


def _nft_rules(expressions: Sequence[object]) -> Iterator[Rule]:
    """One rule, or one for each entry of its verdict map (`ct state vmap { established : accept, invalid : drop }`)."""
    tests: list[Condition] = []
    verdict = ""
    for one in expressions:
        kind, value = next(iter(one.items())) if isinstance(one, dict) and len(one) == 1 else ("", None)
        if kind == "match":
            tests.append(_nft_test(value))
        elif kind == "vmap":
            yield from _mapped(tests, value)
            return
        elif kind == "limit":
            tests.append(Condition("", ()))
        elif kind not in _QUIET:
            verdict = _nft_verdict(one)
    yield Rule(tuple(tests), verdict)


def _nft_verdict(one: object) -> str:
    kind, value = next(iter(one.items())) if isinstance(one, dict) and len(one) == 1 else ("", None)
    if kind in ("jump", "goto") and isinstance(value, dict):
        return f"{kind} {value.get('target', '')}"
    return kind if kind in _ENDS else _UNSURE


def _mapped(tests: Sequence[Condition], value: object) -> Iterator[Rule]:
    data = value.get("data") if isinstance(value, dict) else None
    entries = data.get("set") if isinstance(data, dict) else None
    if not isinstance(value, dict) or not isinstance(entries, list):  # a named map
        yield Rule((*tests, Condition("", ())), _UNSURE)
        return
    for entry in entries:
        pair = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        held = _nft_test({"op": "==", "left": value.get("key"), "right": pair[0]})
        yield Rule((*tests, held), _nft_verdict(pair[1]))


_META = {"iifname": "iif", "iif": "iif", "oifname": "oif", "oif": "oif", "l4proto": "proto", "nfproto": "family"}
_PAYLOADS = {
    ("ip", "saddr"): "saddr", ("ip", "daddr"): "daddr", ("ip", "protocol"): "proto", ("tcp", "dport"): "dport", ("th", "dport"): "dport",
}  # fmt: skip
_NEVER = Condition("proto", ())  # no value fits: another protocol's packet


def _nft_test(match: object) -> Condition:
    """A match; one of another protocol than the packets' (TCP over IPv4) never holds, whatever its operator."""
    unknown = Condition("", ())
    if not isinstance(match, dict) or not isinstance(left := match.get("left"), dict):
        return unknown
    meta, payload, tracked = left.get("meta"), left.get("payload"), left.get("ct")
    field = ""
    if isinstance(meta, dict):
        field = _META.get(str(meta.get("key")), "")
    elif isinstance(payload, dict):
        place = str(payload.get("protocol")), str(payload.get("field"))
        if place[0] in ("ip6", "udp", "icmp", "icmpv6", "sctp", "dccp", "arp"):
            return _NEVER
        field = _PAYLOADS.get(place, "")
    elif isinstance(tracked, dict) and tracked.get("key") == "state":
        field = "state"
    values = _values(match.get("right"))
    if not field or values is None or match.get("op", "==") not in ("==", "in", "!="):
        return unknown
    return Condition(field, values, match.get("op") == "!=")


def _values(right: object) -> tuple[str, ...] | None:
    """The words, networks and ranges of a match's right side; None for what is not known, like a named set."""
    if isinstance(right, dict) and len(right) == 1:
        (kind, value) = next(iter(right.items()))
        if kind == "set":
            return _values(value)
        if kind == "elem" and isinstance(value, dict):
            return _values(value.get("val"))
        if kind == "prefix" and isinstance(value, dict):
            return (f"{value.get('addr')}/{value.get('len')}",)
        if kind == "range" and isinstance(value, list) and len(value) == 2:
            return (f"{value[0]}-{value[1]}",)
        return None
    if isinstance(right, list):
        parts = [_values(one) for one in right]
        return None if None in parts else tuple(word for part in parts if part for word in part)
    if isinstance(right, str | int) and not str(right).startswith("@"):
        return (str(right),)
    return None
