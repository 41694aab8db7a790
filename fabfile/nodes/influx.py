"""What InfluxDB answers in the cluster: its retention policy, and which nodes sent metrics lately."""

from __future__ import annotations

import re

from ..records import dataclass
from ..text.durations import hours

# In namespace monitoring: a Secret with a password by user, the admin's and telegraf's, who may only write; and that admin.
SECRET, ADMIN = "influxdb-login", "kubefab"
# One question for both.
METRICS_QUERY = (
    "SHOW RETENTION POLICIES; "
    'SELECT last("cpu_usage_nanocores") FROM "kubernetes_node" WHERE time > now() - 1m GROUP BY "node_name"'
)
_PART = r"(\d{1,9})(ns|ms|u|s|m|h|d|w)"


@dataclass(frozen=True)
class Retention:
    """The policy `default`: how long metrics are kept, as InfluxDB writes it ("720h0m0s"; empty: there is no such policy).

    `default`: it is the database's default policy too. `answered`: InfluxDB said something.
    """

    answered: bool = False
    duration: str = ""
    default: bool = False

    @property
    def hours(self) -> float:
        """The duration in hours; 0: for ever."""
        return hours(self.duration)


def lasting(duration: str) -> str:
    """A policy's properties in InfluxQL, for a duration of hosts.env: "DURATION 30d REPLICATION 1 SHARD DURATION 1d".

    The shards' is InfluxDB's own choice, said aloud: ALTER keeps the old one, and refuses a shorter policy for it.
    """
    kept = hours(duration)
    return f"DURATION {duration} REPLICATION 1 SHARD DURATION {'1h' if 0 < kept < 48 else '1d' if 0 < kept < 180 * 24 else '7d'}"


def parse_retention(answer: str) -> Retention:
    """The answer (csv) to SHOW RETENTION POLICIES; its columns are name, duration, shards' duration, replicas, whether it is the default.

    InfluxDB's port says before them the series' name and tags, which are empty here. A row with a malformed duration is left out.
    """
    rows = (line.strip().removeprefix(",,").split(",") for line in answer.splitlines())
    policy = next((cells for cells in rows if len(cells) >= 5 and cells[0] == "default"), None)
    if policy is None or not re.fullmatch(f"({_PART}){{1,8}}|INF|0", policy[1]):
        return Retention(bool(answer.strip()))
    return Retention(True, policy[1], policy[-1] == "true")


def reported(answer: str) -> dict[str, float]:
    """When each node measured its newest metrics in the answer (csv) to METRICS_QUERY: seconds since 1970, by the node's own clock."""
    found: dict[str, float] = {}
    for node, when in re.findall(r"^kubernetes_node,node_name=([a-z0-9.-]{1,253}),([0-9]{1,19}),", answer, flags=re.M):
        found[node] = max(found.get(node, 0.0), int(when) / 1e9)
    return found


def nodes_reporting(answer: str) -> frozenset[str]:
    """The nodes whose metrics are in the answer (csv) to METRICS_QUERY."""
    return frozenset(re.findall(r"^kubernetes_node,node_name=([a-z0-9.-]{1,253}),", answer, flags=re.M))
