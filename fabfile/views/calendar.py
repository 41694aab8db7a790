"""The calendar for `inv cluster.status`: which certificate and which join token ends when.

A script of its own, sent beside the observing one: certificates change once a year, and observing is on every run's way.
Source: kubernetes.io "Certificate Management with kubeadm" (one year, the CA ten; the kubelet renews its own).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import KubefabError
from ..inventory import Node
from ..nodes.group import NodeGroup
from ..nodes.script import program, reading
from ..records import dataclass
from ..text import forms
from ..text.advice import complete
from ..text.durations import roughly
from .dated import CERTIFICATES, certificate, seconds_of

TIMEOUT = 20.0  # seconds
DAY = 86400.0
SOON = 60 * DAY


@dataclass(frozen=True)
class Date:
    """A certificate's file, or a token's public half, and its end in seconds since 1970 (0: never, or unreadable)."""

    kind: str
    name: str
    ends: float


def script() -> str:
    """What a node is asked."""
    return reading("status.calendar", CERTIFICATES + program(__file__, "calendar.sh"))


def parse(output: str) -> tuple[Date, ...]:
    """The node's answer; other lines are ignored."""
    found = []
    for kind, _, rest in (line.partition(" ") for line in output.split("\n")):
        name, _, ends = rest.partition(" ")
        if kind == "cert" and forms.has(name, forms.PATH):
            found.append(Date(kind, name, certificate(rest).ends))
        elif kind == "token" and forms.has(name, "[a-z0-9]{6}"):
            found.append(Date(kind, name, seconds_of(ends)))
    return tuple(found)


def begin(group: NodeGroup, nodes: Iterable[Node]) -> Callable[[], dict[str, tuple[Date, ...]]]:
    """Begin to ask for the calendar of each node. What is returned waits for the answers.

    They are like {"cp1": (Date("cert", "/etc/…/ca.crt", 1795000000.0),)}; empty for a node that does not answer.
    """

    def one(node: Node) -> tuple[Date, ...]:
        return parse(group.of(node).root(script(), TIMEOUT)[1].decode("utf-8", "replace"))

    answers = group.begin(nodes, one)
    return lambda: {name: () if isinstance(seen, KubefabError) else seen for name, seen in answers().items()}


def lines(calendar: Mapping[str, Sequence[Date]], now: float) -> list[str]:
    """For people: the first certificate to end, all that end soon, the tokens."""
    certificates = sorted(
        (date.ends, node, date.name)
        for node, dates in calendar.items()
        for date in dates
        if date.kind == "cert" and date.ends
    )
    soon = [item for item in certificates if item[0] - now < SOON]
    found = [f"certificate {name} on {node} {_until(ends, now)}" for ends, node, name in soon]
    found += [complete("`inv cluster.renew` renews all but a CA, and all but a kubelet's that renews itself")] * bool(
        soon
    )
    if certificates and not soon:
        ends, node, name = certificates[0]
        found.append(f"certificates: the first to end is {name} on {node}, {_until(ends, now)}")
    tokens = [date for dates in calendar.values() for date in dates if date.kind == "token"]
    found += [f"join token {date.name} {_until(date.ends, now) if date.ends else 'never ends'}" for date in tokens]
    return found


def data(dates: Sequence[Date]) -> dict[str, list[dict[str, Any]]]:
    """JSON values of one node."""
    return {
        key: [{"name": d.name, "ends": d.ends or None} for d in dates if d.kind == kind]
        for key, kind in (("certificates", "cert"), ("tokens", "token"))
    }


def _until(ends: float, now: float) -> str:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ends))
    left = ends - now
    if left <= 0:
        return f"ENDED on {when}"
    return f"ends on {when}, in {roughly(left)}"
