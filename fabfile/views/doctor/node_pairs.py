"""The tests between nodes as findings and as a table: which port is closed from where to where, and which rule is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from ...inventory import Environment, Node
from ...records import dataclass
from ...tables import ports
from ...text.cleaning import listed
from .between_nodes import OVERLAY_PORT, Listening, Member, Test, Tried
from .finding import ERROR, NOTE, WARNING, Finding

ALL_PAIRS = 20  # nodes; above, every node is tested in both directions with some peers
State = Literal["open", "closed", "not tested"]
OPEN: State = "open"
CLOSED: State = "closed"
UNTESTED: State = "not tested"
YOU = "you"


@dataclass(frozen=True)
class Result:
    """One thing tried between two places: `state` is open, closed or not tested; `detail` is what was seen.

    `at` is the node because of which it was not tested.
    """

    source: str
    target: str
    what: str
    state: State
    detail: str = ""
    test: Test | None = None
    at: str = ""


def pairs(nodes: Sequence[Node]) -> list[tuple[Node, Node]]:
    """All ordered pairs; of many nodes each with the control plane, and with peers at distances 1, 2, 4 … in a ring."""
    if len(nodes) <= ALL_PAIRS:
        return [(a, b) for a in nodes for b in nodes if a != b]
    chosen: dict[tuple[str, str], tuple[Node, Node]] = {}
    control = [n for n in nodes if n.control_plane]
    for index, node in enumerate(nodes):
        for hub in control:
            if hub != node:
                chosen[node.name, hub.name], chosen[hub.name, node.name] = (node, hub), (hub, node)
        for step in (1, 2, 4, 8):
            peer = nodes[(index + step) % len(nodes)]
            chosen[node.name, peer.name] = (node, peer)
            chosen[peer.name, node.name] = (peer, node)
    return list(chosen.values())


def tests(environment: Environment, members: Mapping[str, Member]) -> list[Test]:
    """What to try: every required port between the nodes, and the path MTU of nodes' addresses and of the overlay."""
    rules = [r for r in ports.required(environment) if ports.ADMIN not in (r.source, r.target)]
    found = []
    for a, b in pairs([m.node for m in members.values()]):
        source, target = members[a.name], members[b.name]
        for rule in rules:
            if not rule.concerns(a, b):
                continue
            if rule.protocol == ports.TCP:
                found.append(Test(a.name, b.name, "tcp", rule.first))
            elif source.overlay and target.overlay:
                found.append(Test(a.name, b.name, "overlay", rule.first))
            else:
                found.append(Test(a.name, b.name, "udp", rule.first))
        found.append(Test(a.name, b.name, "mtu", medium="nic"))
        if source.overlay and target.overlay:
            found.append(Test(a.name, b.name, "mtu", medium="overlay"))
    return found


def judge(
    test: Test,
    members: Mapping[str, Member],
    listening: Mapping[str, Listening],
    tried: Mapping[str, Tried],
    arrived: Mapping[str, frozenset[tuple[str, int]]],
) -> Result:
    """One test's result from the answers of the three rounds. An unknown result is `not tested`, with the reason."""
    there, sent = listening.get(test.target, Listening()), tried.get(test.source)
    what = {
        "tcp": f"TCP {test.port}",
        "udp": f"UDP {test.port}",
        "overlay": f"UDP {test.port}",
        "mtu": f"MTU {test.medium}",
    }[test.kind]

    def result(state: State, detail: str = "", at: str = test.target) -> Result:
        return Result(test.source, test.target, what, state, detail, test, at if state == UNTESTED else "")

    if sent is None or not sent.whole:
        return result(UNTESTED, f"{test.source} did not answer", test.source)
    if test.kind == "mtu":
        return result(*_mtu(test, members, sent))
    reason = there.refused or (
        f"nothing listens on {test.target}" if there.tool else f"no listener tool on {test.target}"
    )
    if test.kind == "tcp":
        seen = sent.tcp.get((test.target, test.port), "")
        if seen == "open":
            return result(OPEN)
        if seen == "dropped":
            return result(CLOSED, "no answer: dropped on the way")
        if seen == "refused":
            rejected = there.offers("tcp", test.port)
            return (
                result(CLOSED, "refused, although something listens: rejected by a firewall")
                if rejected
                else result(UNTESTED, reason)
            )
        return result(CLOSED, seen.removeprefix("failed ")) if seen else result(UNTESTED, "not tried")
    port = OVERLAY_PORT if test.kind == "overlay" else test.port
    if (test.source, port) in arrived.get(test.target, frozenset()):
        return result(OPEN)
    if ("udp", port) in there.up:
        if test.kind == "overlay" and sent.mtu.get((test.target, "overlay"), "").isdigit():
            # its ping came back, in UDP 8472; the datagram itself ended at a firewall of the machine behind that
            return result(OPEN)
        if test.target not in arrived:
            return result(UNTESTED, f"{test.target} did not say what arrived")
        return result(
            CLOSED, "the datagrams did not arrive" + (", sent through the overlay" if test.kind == "overlay" else "")
        )
    if ("udp", port) in there.busy or (test.kind == "udp" and port in members[test.target].held):
        return result(UNTESTED, f"UDP {port} is held on {test.target}, and {test.source} has no flannel.1 yet")
    return result(UNTESTED, reason)


def _mtu(test: Test, members: Mapping[str, Member], sent: Tried) -> tuple[State, str, str]:
    seen = sent.mtu.get((test.target, test.medium), "")
    member = members[test.source]
    full = member.overlay_mtu if test.medium == "overlay" else member.mtu
    if not seen.isdigit():
        why = {"no-ping": f"no ping on {test.source}", "no-answer": "ping is not answered"}.get(seen, "not tried")
        return UNTESTED, why, test.target if seen == "no-answer" else test.source
    return (OPEN, seen, "") if int(seen) >= full else (CLOSED, f"{seen} of {full} bytes get through", "")


def findings(environment: Environment, results: Iterable[Result], firewalls: Mapping[str, str]) -> Iterator[Finding]:
    """What is wrong, grouped by port and receiving node: that is where a rule is missing."""
    results = list(results)
    closed: dict[tuple[str, str], list[Result]] = defaultdict(list)
    untested: dict[str, list[Result]] = defaultdict(list)
    for r in results:
        if r.state == CLOSED:
            closed[r.what, r.target].append(r)
        elif r.state == UNTESTED:
            untested[r.detail].append(r)
    for (what, target), those in closed.items():
        yield _closed(environment, what, target, those, results, firewalls.get(target, ""))
    for detail, those in untested.items():
        shown = ", ".join(dict.fromkeys(f"{r.what} {r.source}→{r.target}" for r in those[:3])) + (
            f" and {len(those) - 3} more" if len(those) > 3 else ""
        )
        yield Finding(
            "KF-NET-UNTESTED",
            NOTE,
            tuple(dict.fromkeys(r.at or r.target for r in those)),
            f"not tested: {detail} ({shown})",
        )


def _closed(
    environment: Environment, what: str, target: str, those: list[Result], results: list[Result], firewall: str
) -> Finding:
    sources = [r.source for r in those]
    if what.startswith("MTU"):
        medium = "between the nodes' addresses" if what == "MTU nic" else "in flannel's overlay"
        return Finding(
            "KF-NET-PMTU",
            ERROR,
            (target,),
            f"from {_listed(sources)}: {those[0].detail} {medium}: large packets vanish, TLS and image pulls hang",
            "set the interfaces' MTU to what the path carries (VPN, peering, jumbo frames); flannel takes 50 bytes of it. Just fixed? "
            "The kernel remembers a small path for ten minutes: `ip route flush cache`",
        )
    protocol, port = what.split()
    others = [r for r in results if r.what == what and r.target == target and r.state == OPEN]
    back = [r for r in results if r.what == what and r.source == target and r.target in sources and r.state == OPEN]
    detail = those[0].detail
    if protocol == ports.UDP and back:
        detail += "; the other way is open"
    if others:
        detail += f"; from {_listed([r.source for r in others])} it is open"
    severity = WARNING if sources == [YOU] else ERROR
    return Finding(
        f"KF-NET-{protocol}{port}",
        severity,
        (target,),
        f"{protocol} {port} from {_listed(sources)}: {detail}",
        _rule(environment, protocol, port, target, sources, firewall),
    )


def _listed(names: Sequence[str]) -> str:
    return listed(names, 6)


def _rule(
    environment: Environment, protocol: str, port: str, target: str, sources: Sequence[str], firewall: str
) -> str:
    """The missing line, for a cloud's security group and for the node's own firewall."""
    by_name = {n.name: n for n in environment.nodes}
    network = environment.settings.node_cidr
    outside = list(sources) == [YOU]
    place = (
        "your address/32"
        if outside
        else str(network)
        if network
        else ", ".join(f"{by_name[s].address}/32" for s in sources[:4] if s in by_name)
    )
    lower = protocol.lower()
    each = ["any"] if outside else str(place).split(", ")
    line = {
        "firewalld": f"firewall-cmd --permanent --add-port={port}/{lower} && firewall-cmd --reload",
        "ufw": " && ".join(f"ufw allow proto {lower} from {one} to any port {port}" for one in each),
    }.get(
        firewall,
        " && ".join(
            f"iptables -I INPUT -p {lower} --dport {port}{'' if outside else f' -s {one}'} -j ACCEPT" for one in each
        ),
    )
    return f"AWS: security group of {target}, inbound {protocol} {port} from {place}. On the node: `{line}`"


# --- the table


def grid(names: Sequence[str], results: Sequence[Result]) -> list[list[str]]:
    """Rows from, columns to. A cell is "ok", what is closed (`8472`), `?` for what is not tested, or "" for untried pairs."""
    cells: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for r in results:
        cells[r.source, r.target].append(r)
    return [[_cell(cells.get((source, target), [])) for target in names if target != YOU] for source in names]


def _cell(results: Sequence[Result]) -> str:
    if not results:
        return ""
    wrong = [_short(r) for r in results if r.state == CLOSED]
    unknown = [r for r in results if r.state == UNTESTED]
    return " ".join(dict.fromkeys(wrong)) or ("?" if unknown else "ok")


def _short(result: Result) -> str:
    kind, rest = result.what.split()
    return "MTU" if kind == "MTU" else rest
