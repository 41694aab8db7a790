"""`inv cluster.doctor`: what is wrong with the machines, the network between them, and the cluster on them. It only reads.

chart.py holds what was observed; machine, fleet, sources, cluster and node_pairs are pure checks over it; questions, between_nodes and
clocks are the scripts that nodes run and their parsers; examine.py is the only part that talks to nodes.
"""

from __future__ import annotations

from .examine import Doctor, Report, at_a_glance
from .finding import ERROR, NOTE, WARNING, Finding
from .show import show, show_findings

__all__ = ["ERROR", "NOTE", "WARNING", "Doctor", "Finding", "Report", "at_a_glance", "show", "show_findings"]
