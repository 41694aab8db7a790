"""The host's own packet filter: which rules surely drop pods' packets, in nftables and iptables; what is not understood is no finding."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.filters import MOST_LINES, Chain, Condition, Rule, dropping, forwarded, parse, to_kubelet
from fabfile.phases import EVERY
from fabfile.steps import Stop
from making import bare, context, environment, fresh, member

PODS = ipaddress.ip_network("10.44.0.0/16")
NODE = "10.2.0.11"


def nft(hook: str, policy: str, *rules: list[Any], others: dict[str, list[list[Any]]] | None = None) -> str:
    """A line of the observing script: table inet fw with one base chain and other chains."""
    chain = {"family": "inet", "table": "fw", "name": hook, "type": "filter", "hook": hook, "policy": policy}
    items: list[dict[str, Any]] = [{"chain": chain}]
    for name, inside in (others or {}).items():
        items.append({"chain": {"family": "inet", "table": "fw", "name": name}})
        items += [{"rule": {"chain": name, "expr": expr}} for expr in inside]
    items += [{"rule": {"chain": hook, "expr": expr}} for expr in rules]
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *items]})


def match(left: str, field: str, right: Any, op: str = "==") -> dict[str, Any]:
    key = {"meta": {"key": field}} if left == "meta" else {"ct": {"key": field}} if left == "ct" else None
    return {"match": {"op": op, "left": key or {"payload": {"protocol": left, "field": field}}, "right": right}}


ACCEPT, DROP, REJECT = {"accept": None}, {"drop": None}, {"reject": {"type": "icmpx"}}
KNOWN = match("ct", "state", ["established", "related"], "in")
OURS = match("ip", "saddr", {"prefix": {"addr": "10.44.0.0", "len": 16}})
VMAP = {
    "vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", {"drop": None}], ["established", ACCEPT]]}}
}
DOCKER = (
    ":INPUT ACCEPT [0:0]|:FORWARD DROP [0:0]|:DOCKER-USER - [0:0]|-A FORWARD -j DOCKER-USER|-A DOCKER-USER -j RETURN"
)
KUBE = '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'
FLANNEL = ":FLANNEL-FWD - [0:0]|-A FORWARD -j FLANNEL-FWD|-A FLANNEL-FWD -s 10.44.0.0/16 -j ACCEPT|-A FLANNEL-FWD -d 10.44.0.0/16 -j ACCEPT"
# iptables-save of ufw 0.36 with `ufw default deny incoming`, and what `ufw allow` adds
REAL_UFW = """:INPUT DROP [0:0]|:FORWARD DROP [0:0]|:OUTPUT ACCEPT [0:0]|:ufw-before-logging-input - [0:0]|:ufw-before-input - [0:0]|:ufw-after-input - [0:0]
:ufw-after-logging-input - [0:0]|:ufw-reject-input - [0:0]|:ufw-track-input - [0:0]|:ufw-before-forward - [0:0]|:ufw-user-forward - [0:0]
:ufw-logging-deny - [0:0]|:ufw-not-local - [0:0]|:ufw-user-input - [0:0]|:ufw-skip-to-policy-input - [0:0]
-A INPUT -j ufw-before-logging-input|-A INPUT -j ufw-before-input|-A INPUT -j ufw-after-input|-A INPUT -j ufw-after-logging-input|-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input|-A FORWARD -j ufw-before-forward|-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 3 -j ACCEPT|-A ufw-before-forward -j ufw-user-forward
-A ufw-before-input -i lo -j ACCEPT|-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny|-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT|-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local|-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT|-A ufw-before-input -j ufw-user-input
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input|-A ufw-after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN|-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny|-A ufw-not-local -j DROP|-A ufw-skip-to-policy-input -j DROP""".replace(
    "\n", "|"
)
UFW = ":INPUT DROP [0:0]|:FORWARD ACCEPT [0:0]|:ufw-user-input - [0:0]|-A INPUT -j ufw-user-input|"


def old(rules: str) -> list[str]:
    return [f"iptables {line}" for line in rules.split("|")]


TABLE: list[tuple[str, list[str], str]] = [
    ("nothing", [], ""),
    ("a policy that drops", [nft("forward", "drop")], "forward: its policy"),
    ("a policy that accepts", [nft("forward", "accept")], ""),
    ("answers only are let through", [nft("forward", "drop", [KNOWN, ACCEPT], [VMAP])], "forward: its policy"),
    ("pods are let through", [nft("forward", "drop", [VMAP], [OURS, {"counter": {}}, ACCEPT])], ""),
    ("a rule drops everything first", [nft("forward", "accept", [{"log": {}}, DROP], [ACCEPT])], "forward: a rule of it"),
    ("a rule rejects everything last", [nft("forward", "accept", [KNOWN, ACCEPT], [REJECT])], "forward: a rule of it"),
    ("other interfaces are let through", [nft("forward", "drop", [match("meta", "iifname", "eth0"), ACCEPT])], "forward: its policy"),
    ("cni and flannel are let through", [nft("forward", "drop", [match("meta", "iifname", {"set": ["cni*", "flannel.1"]}), ACCEPT])], ""),
    ("only what comes from pods' bridge", [nft("forward", "drop", [match("meta", "iifname", "cni0"), ACCEPT])], "forward: its policy"),
    ("everything but SSH is dropped", [nft("forward", "accept", [match("tcp", "dport", 22, "!="), DROP])], "forward: a rule of it"),
    ("SSH is dropped", [nft("forward", "accept", [match("tcp", "dport", {"set": [22, {"range": [2200, 2300]}]}), DROP])], ""),
    ("IPv6 and UDP are let through", [nft("forward", "drop", [match("meta", "nfproto", "ipv6"), ACCEPT], [match("udp", "dport", 8472, "!="), ACCEPT])], "forward: its policy"),
    ("an inner chain lets pods through", [nft("forward", "drop", [{"jump": {"target": "pods"}}], others={"pods": [[OURS, ACCEPT]]})], ""),
    ("an inner chain lets others through", [nft("forward", "drop", [{"jump": {"target": "pods"}}], others={"pods": [[match("tcp", "dport", 443), ACCEPT]]})], "forward: its policy"),
    # not known: no finding
    ("a named set", [nft("forward", "drop", [match("ip", "saddr", "@friends"), ACCEPT])], ""),
    ("a part of the pods", [nft("forward", "drop", [match("ip", "saddr", {"prefix": {"addr": "10.44.1.0", "len": 24}}), ACCEPT])], ""),
    ("a chain that was not listed", [nft("forward", "drop", [{"jump": {"target": "elsewhere"}}])], ""),
    ("an extension of iptables", [nft("forward", "drop", [{"xt": None}])], ""),
    ("a limit before a drop", [nft("forward", "accept", [{"limit": {"rate": 5}}, DROP])], ""),
    ("a text that was cut", [nft("forward", "drop")[:-9]], ""),
    ("a table whose name could be a command", [nft("forward", "drop").replace('"fw"', '"fw; reboot"')], ""),
    # iptables
    ("Docker's policy, which flannel opens", old(DOCKER), ""),
    ("Docker and a cluster", old(f"{DOCKER}|{KUBE}|{FLANNEL}"), ""),
    ("a reject before flannel's rule", old(f"{DOCKER}|-A FORWARD -j REJECT --reject-with icmp-host-prohibited|{KUBE}|{FLANNEL}"), "FORWARD: a rule of it"),
    ("a reject behind flannel's rule", old(f"{DOCKER}|{KUBE}|{FLANNEL}|-A FORWARD -j REJECT"), ""),
    ("a first drop", old(":FORWARD ACCEPT [0:0]|-A FORWARD -j DROP"), "FORWARD: a rule of it"),
    ("a drop of another bridge", old(":FORWARD ACCEPT [0:0]|-A FORWARD -i docker0 ! -o docker0 -j DROP"), ""),
    ("all but another bridge", old(":FORWARD ACCEPT [0:0]|-A FORWARD ! -i docker+ -j DROP"), "FORWARD: a rule of it"),
    ("a drop of an owner's packets", old(":FORWARD ACCEPT [0:0]|-A FORWARD -m owner --uid-owner 1000 -j DROP"), ""),
    # INPUT: the kubelet of the own node
    ("a drop of the kubelet's port", old(":INPUT ACCEPT [0:0]|-A INPUT -i cni0 -p tcp -m tcp --dport 10250 -j DROP"), "INPUT: a rule of it"),
    ("a drop of it from elsewhere", old(":INPUT ACCEPT [0:0]|-A INPUT -i eth0 -p tcp -m tcp --dport 10250 -j DROP"), ""),
    ("an input policy that drops", [nft("input", "drop", [match("meta", "iif", "lo"), ACCEPT], [KNOWN, ACCEPT], [match("tcp", "dport", 22), ACCEPT])], "input: its policy"),
    ("an input that lets private addresses in", [nft("input", "drop", [match("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}), ACCEPT])], ""),
    ("ufw with the kubelet's port", old(f"{UFW}-A ufw-user-input -p tcp -m multiport --dports 22,10250:10259 -j ACCEPT"), ""),
    ("ufw without", old(f"{UFW}-A ufw-user-input -p tcp -m tcp --dport 22 -m comment --comment \"it's\" -j ACCEPT"), "INPUT: its policy"),
    ("a list that was cut", [*old(":INPUT DROP [0:0]"), *(MOST_LINES * old("-A INPUT -p udp -j ACCEPT"))], ""),
    ("ufw as it is installed", old(REAL_UFW), "INPUT: its policy"),
    ("ufw with SSH and the nodes' addresses", old(f"{REAL_UFW}|-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT|-A ufw-user-input -s 10.2.0.0/16 -j ACCEPT"), "INPUT: its policy"),
    ("ufw with the pods' addresses", old(f"{REAL_UFW}|-A ufw-user-input -s 10.44.0.0/16 -j ACCEPT"), ""),
    ("ufw with the kubelet's port for all", old(f"{REAL_UFW}|-A ufw-user-input -p tcp -m tcp --dport 10250 -j ACCEPT"), ""),
    ("a line with half a quotation", old(":INPUT DROP [0:0]|-A INPUT -m comment --comment \"it"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_only_what_surely_drops_pods_packets_is_named(lines: list[str], wanted: str) -> None:
    chains = parse(lines)
    found = (*dropping(chains, "forward", forwarded(PODS)), *dropping(chains, "input", [to_kubelet(PODS, NODE)]))
    assert ", ".join(f"{one.chain.name}: {one.why}" for one in found) == wanted


@pytest.mark.parametrize("name", [row[0] for row in TABLE if row[2]])
def test_prep_stops_before_anything_and_the_doctor_says_the_same_of_a_member(name: str) -> None:
    lines = next(row[1] for row in TABLE if row[0] == name)
    env = environment()
    facts = replace(fresh("w1"), filters=parse(lines))
    (stop,) = list(bare(EVERY["prep"])(context(env, facts)))
    assert isinstance(stop, Stop) and stop.id == "prep.filter"
    tool = "iptables -I " if lines[0].startswith("iptables") else "nft 'insert rule inet fw "
    tool = "ufw allow from " if name.startswith("ufw") else tool
    assert f"`{tool}" in stop.remedy and "10.44.0.0/16" in stop.remedy and "changes no firewall" in stop.remedy
    living = replace(member(env), filters=parse(lines))
    assert not [a for a in bare(EVERY["prep"])(context(env, living)) if isinstance(a, Stop)], "the doctor says it there"


WORDS = st.sampled_from(
    ["iif", "oif", "saddr", "daddr", "proto", "dport", "state", "family", "", "cni0", "flannel.1", "10.44.0.0/16", "tcp", "1-20000", "new", "x"]
)  # fmt: skip
RULES = st.builds(
    Rule,
    st.lists(st.builds(Condition, WORDS, st.tuples(WORDS), st.booleans()), max_size=3).map(tuple),
    st.sampled_from(["accept", "drop", "reject", "return", "jump forward", "goto x", "?", "", "jump inner"]),
)


@given(
    st.lists(RULES, max_size=6),
    st.lists(RULES, max_size=3),
    st.sampled_from(["accept", "drop"]),
    st.sampled_from(["nft", "iptables"]),
)
def test_what_the_remedy_adds_lets_the_packet_through_whatever_else_is_there(
    rules: list[Rule], inner: list[Rule], policy: str, tool: str
) -> None:
    below = Chain(tool, "inet", "fw", "inner", rules=tuple(inner))
    for hook, packets in (("forward", forwarded(PODS)), ("input", (to_kubelet(PODS, NODE),))):
        chain = Chain(tool, "inet", "fw", hook, hook, policy, tuple(rules))
        first = tuple(Rule((Condition(way, (str(PODS),)),), "accept") for way in ("saddr", "daddr"))
        dropping([chain, below], hook, packets)  # it ends, whatever jumps where
        assert dropping([replace(chain, rules=(*first, *rules)), below], hook, packets) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["match", "vmap", "chain", "rule"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["match", "left", "right", "op", "vmap", "key", "data", "set", "meta", "ct", "jump", "prefix", "elem", "val", "payload"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(JSON, max_size=4), st.text(max_size=80))
def test_any_answer_is_read_or_left_out(expressions: list[Any], text: str) -> None:
    lines = [
        nft("forward", "drop", expressions),
        f"iptables {text}",
        f"iptables -A FORWARD {text}",
        text,
        "iptables :FORWARD DROP",
    ]
    for chain in (found := parse(lines)):
        dropping(found, chain.hook, forwarded(PODS))


def test_a_machine_without_any_filter_has_none() -> None:
    assert NodeFacts().filters == ()
