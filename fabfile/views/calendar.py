"""The calendar for `inv cluster.status`: which certificate and which join token ends when.

Source: kubernetes.io "Certificate Management with kubeadm" (one year, the CA ten; the kubelet renews its own).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..nodes.facts import NodeFacts
from ..records import dataclass
from ..text.advice import complete
from ..text.durations import roughly
from .dated import seconds_of

DAY = 86400.0
SOON = 60 * DAY


@dataclass(frozen=True)
class Date:
    """A certificate's file, or a token's public half, and its end in seconds since 1970 (0: a token without one)."""

    kind: str
    name: str
    ends: float


def of(facts: NodeFacts) -> tuple[Date, ...]:
    """What ends on a node, as it was observed: (Date("cert", "/etc/…/ca.crt", 1795000000.0), Date("token", "abcdef", 0.0))."""
    certificates = [Date("cert", path, one.ends) for path, one in facts.certificates.items()]
    return (*certificates, *(Date("token", name, seconds_of(end)) for name, end in facts.tokens.items()))


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
