"""Records the host's forwarding state before an engine changes it, and restores it.

When dockerd stops, it leaves its iptables chains, a DROP policy and IP forwarding behind.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from .shell import run

SAVED = "network-before.json"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_TABLES = ("filter", "nat", "raw")


def _rules(table: str) -> str:
    return run(["iptables-save", "-t", table], check=False).stdout if shutil.which("iptables-save") else ""


def save(folder: Path) -> None:
    """Record in `folder` which chains exist, the FORWARD policy and whether the host forwards."""
    state = {
        "forward": _FORWARD.read_text().strip() if _FORWARD.exists() else "",
        "policy": policy(_rules("filter")),
        "chains": {t: chains(_rules(t)) for t in _TABLES},
    }
    (folder / SAVED).write_text(json.dumps(state))


def policy(saved: str) -> str:
    """The policy of the FORWARD chain in `iptables-save` output; ACCEPT if the table does not exist yet."""
    match = re.search(r"^:FORWARD (\S+)", saved, re.MULTILINE)
    return match[1] if match else "ACCEPT"


def chains(saved: str) -> list[str]:
    """The names of the user-defined chains in `iptables-save` output."""
    return re.findall(r"^:(\S+) - ", saved, re.MULTILINE)


def removal(saved: str, known: list[str]) -> list[list[str]]:
    """The iptables arguments that remove Docker's chains that are not `known`, and the rules that jump to them."""
    ours = [c for c in chains(saved) if c.startswith("DOCKER") and c not in known]
    steps = []
    for line in saved.splitlines():
        words = line.split()
        if line.startswith("-A ") and words[1] not in ours and any(w in ours for w in words[2:]):
            steps.append(["-D", *words[1:]])
    steps += [["-F", c] for c in ours]
    steps += [["-X", c] for c in ours]
    return steps


def restore(folder: Path) -> None:
    """Undo what the engine left, by the record in `folder`; rules of others stay."""
    state = json.loads((folder / SAVED).read_text())
    for table in _TABLES:
        for step in removal(_rules(table), state["chains"].get(table, [])):
            run(["iptables", "--wait", "-t", table, *step], check=False)
    if state["policy"] == "ACCEPT" and policy(_rules("filter")) == "DROP":
        run(["iptables", "--wait", "-P", "FORWARD", "ACCEPT"], check=False)
    if state["forward"] == "0":
        _FORWARD.write_text("0\n")
    (folder / SAVED).unlink()
