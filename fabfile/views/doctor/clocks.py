"""Clock skew between nodes, without the time that the question takes.

A node's clock is read between two readings of ours: its offset is known to within half of that interval (Cristian's
method).  The best of several readings counts, and nodes are held against their median, not against the operator's clock.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from ...nodes import script
from ...records import dataclass
from ...text import forms

SCRIPT = script.reading("doctor.clock", "date +%s.%N\n")
# kubeadm sets a certificate's beginning five minutes back (constants.CertificateBackdate): beyond that, TLS fails.
BROKEN = 240.0
# etcd warns about peers above one second; tokens, leases and metrics are judged by these clocks.
NOTICEABLE = 1.0


@dataclass(frozen=True)
class Reading:
    """A node's clock minus ours, in seconds, with an uncertainty of `error` seconds."""

    offset: float
    error: float


def reading(before: float, after: float, theirs: float) -> Reading:
    """One exchange: our clock before and after, theirs in between."""
    return Reading(theirs - (before + after) / 2, (after - before) / 2)


def best(readings: Iterable[Reading]) -> Reading | None:
    """The reading with the smallest error."""
    return min(readings, key=lambda r: r.error, default=None)


def skews(readings: Mapping[str, Reading]) -> dict[str, float]:
    """Each node's clock minus the median of all, in seconds: {"w1": -600.2}; a skew within the reading's own error counts as 0.

    With two nodes, each shows half of the skew, and both are reported.
    """
    if len(readings) < 2:
        return dict.fromkeys(readings, 0.0)
    middle = statistics.median(r.offset for r in readings.values())
    return {name: 0.0 if abs(r.offset - middle) <= r.error else r.offset - middle for name, r in readings.items()}


def parse_clock(output: str) -> float:
    """Seconds since 1970. Raises ValueError when the node printed something else."""
    return forms.seconds((output.strip().split("\n") or [""])[-1].strip(), "clock")
