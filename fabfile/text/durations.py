"""Durations for people."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1e-9,
    "u": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}  # InfluxQL's
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def roughly(seconds: float) -> str:
    """In the largest unit of which there are at least two: "4.2 s", "10 min", "5.3 h", "60 days"."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.1f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} days"


def ago(seconds: float) -> str:
    """An age, in whole units: "40 min", "5 h", "3 days"."""
    if seconds < 1.5 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} days"


def hours(duration: str) -> float:
    """A duration of InfluxDB or of hosts.env ("30d", "720h0m0s") in hours; 0 and INF both keep for ever."""
    return sum(float(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)(ns|ms|u|s|m|h|d|w)", duration)) / HOUR
