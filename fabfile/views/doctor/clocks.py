"""Clock skew between nodes, with the time that asking takes taken out.

A node's clock is read between two readings of ours: its offset is known to within half of that interval (Cristian's
method).  The best of several readings counts, and nodes are held against their median, not against the operator's clock.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...nodes import script
from ...text import forms

SCRIPT = script.reading("doctor.clock", "date +%s.%N\n")
# kubeadm sets a certificate's beginning five minutes back (constants.CertificateBackdate): beyond that, TLS fails.
BROKEN = 240.0
# etcd warns about peers above one second; tokens, leases and metrics are judged by these clocks.
NOTICEABLE = 1.0


@dataclass(frozen=True)
class Reading:
    """A node's clock less ours, in seconds, give or take `error`."""

    offset: float
    error: float


def reading(before: float, after: float, theirs: float) -> Reading:
    """One exchange: our clock before and after, theirs in between."""
    return Reading(theirs - (before + after) / 2, (after - before) / 2)


def best(readings: Iterable[Reading]) -> Reading | None:
    """The reading with the smallest error."""
    return min(readings, key=lambda r: r.error, default=None)


def skews(readings: Mapping[str, Reading]) -> dict[str, float]:
    """Each node's clock less the median of all; what lies within the reading's own error is taken for none.

    The median of two would hide half of a skew in each: with two nodes, both are told.
    """
    if len(readings) < 2:
        return dict.fromkeys(readings, 0.0)
    middle = statistics.median(r.offset for r in readings.values())
    return {name: 0.0 if abs(r.offset - middle) <= r.error else r.offset - middle for name, r in readings.items()}


def parse_clock(output: str) -> float:
    """Seconds since 1970. Raises ValueError when the node printed something else."""
    return forms.seconds((output.strip().split("\n") or [""])[-1].strip(), "clock")
