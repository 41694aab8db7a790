"""`inv cluster.evidence`: an archive of logs and state for a closer look."""

from __future__ import annotations

import time
from pathlib import Path

from .common import Options, command, print_json


@command(
    "env",
    "on",
    "workers",
    "fault",
    "json",
    "ask_sudo_pass",
    help={"out": "the file; default: kubefab-evidence-ENV-TIME.tar.gz here"},
)
def evidence(*, out: str = "", options: Options) -> None:
    """Logs and state of a failure, secrets taken out."""
    from rich.text import Text

    from ..views.evidence import INDEX, clues, collect, write
    from .session import opened

    with opened(options) as session:
        environment = session.environment
        nodes = environment.select(options.on or ["all"])
        if session.simulation:
            nodes = ()
            session.console.print("simulated nodes have no logs: journals only", style="dim")
        path = Path(out or f"kubefab-evidence-{environment.name}-{time.strftime('%Y%m%dT%H%M%S')}.tar.gz").expanduser()
        with session.console.status(f"asking {len(nodes)} nodes"):
            files, unreachable = collect(environment, session.group, nodes)
        write(path, environment, files, unreachable)
        for name, why in unreachable.items():
            session.console.print(Text.assemble(("not asked ", "yellow"), f"{name}: {why}"), soft_wrap=True)
        found = [clue for clue in clues(files) if not clue.earlier][:5]
        for clue in found:
            session.console.print(Text.assemble(("likely: ", "bold"), f"{clue.cause} ({clue.place})"), soft_wrap=True)
        session.console.print(f"written: {path} ({len(files)} files; begin with {INDEX})", soft_wrap=True)
        if options.json:
            asked = [{"node": name, "why": why} for name, why in unreachable.items()]
            causes = [{"cause": clue.cause, "place": clue.place} for clue in found]
            print_json({"file": str(path), "files": len(files), "not_asked": asked, "likely": causes})
