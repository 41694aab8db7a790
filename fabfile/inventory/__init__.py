"""hosts.env and its overlays, read and checked as a whole: names in, a frozen `Environment` out. Connects to nothing."""

from __future__ import annotations

from .find import PROJECT
from .load import DEFAULT_ENVIRONMENT, load, names
from .model import (
    Environment,
    Node,
    Role,
    bracketed,
    private_folder,
    state_folder,
    with_nodes,
    with_release,
)

__all__ = [
    "DEFAULT_ENVIRONMENT",
    "PROJECT",
    "Environment",
    "Node",
    "Role",
    "bracketed",
    "load",
    "names",
    "private_folder",
    "state_folder",
    "with_nodes",
    "with_release",
]
