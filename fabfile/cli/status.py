"""`inv cluster.status`: how each node is, phase by phase, and what ends when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .common import Options, command, exit_unless, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..views.remarks import Remark
    from ..views.status import Row


@command("env", "kubernetes", "recipe", "json", "ask_sudo_pass")
def status(*, options: Options) -> None:
    """How each node is, phase by phase."""
    from .session import opened

    with opened(options, ahead=True) as session:
        environment = session.environment
        survey = session.observer(tokens=not session.simulation).begin(environment.nodes)
        from .. import manifests
        from ..nodes.facts import facts_of
        from ..recipes.kubeadm import recipe_for
        from ..views import calendar
        from ..views.doctor import at_a_glance, show_findings
        from ..views.remarks import cordons, remarks
        from ..views.saved import saved
        from ..views.status import status as rows_of

        manifests.load(recipe_for(environment))
        observed = survey()
        rows, found = rows_of(environment, observed), at_a_glance(environment, observed)
        # a simulated node's certificates are of this machine's time, and its clock is not
        ends = {} if session.simulation else {name: calendar.of(seen) for name, seen in facts_of(observed).items()}
        said, owners = list(remarks(environment, observed)), cordons(environment, observed)
        if options.json:
            data = [
                {
                    **_row_data(row),
                    "cordoned": owners.get(row.node.name),
                    "reboot_required": getattr(observed[row.node.name], "reboot_needed", None),
                    "remarks": [one.text for one in said if one.node == row.node.name and one.listed],
                    "findings": [one.data() for one in found if row.node.name in one.nodes],
                    **calendar.data(ends.get(row.node.name, ())),
                }
                for row in rows
            ]
            print_json([*data, *(_stray_data(one) for one in said if not one.listed)])
        else:
            _print_rows(session.console, rows)
            for one in said:
                session.console.print(f"{one.node}: {one.text}", soft_wrap=True)
            show_findings(session.console, environment, found)
            for line in (*calendar.lines(ends, time.time()), *saved(environment, observed, time.time())):
                session.console.print(line, style="dim", soft_wrap=True)
    exit_unless(not found and all(row.healthy for row in rows))


def _row_data(row: Row) -> dict[str, Any]:
    return {
        "node": row.node.name,
        "listed": True,
        "role": row.node.role,
        "reachable": bool(row.cells),
        "ready": row.ready,
        "reason": row.reason,
        "phases": {cell.phase: {"state": cell.state, "reason": cell.reason} for cell in row.cells},
    }


def _stray_data(remark: Remark) -> dict[str, Any]:
    """A node of the cluster that hosts.env lacks, with the same keys; nothing looked at its machine."""
    nothing: dict[str, Any] = {
        "phases": {},
        "findings": [],
        "certificates": [],
        "tokens": [],
        "cordoned": None,
        "reboot_required": None,
    }
    return {
        "node": remark.node, "listed": False, "role": "worker", "reachable": False, "ready": remark.ready, "reason": "not in hosts.env",
        "remarks": [remark.text], **nothing,
    }  # fmt: skip


def _print_rows(console: Console, rows: Sequence[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..phases import BOOTSTRAP
    from ..views.status import reasons
    from .progress import print_table

    styles = {"done": "green", "to do": "yellow", "broken": "red", "waiting": "dim"}
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "Ready", *(p.name for p in BOOTSTRAP)):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        cells = {cell.phase: cell for cell in row.cells}
        ready = "-" if row.ready is None else Text("yes", "green") if row.ready else Text("no", "red")
        if not row.cells:
            table.add_row(row.node.name, Text("unreachable", "red"))
            continue
        states = [cells[p.name].state if p.name in cells else "" for p in BOOTSTRAP]
        table.add_row(row.node.name, ready, *(Text(s, styles.get(s, "dim")) for s in states))
    print_table(console, table)
    for line in reasons(rows):
        console.print(line, soft_wrap=True)
