"""`inv cluster.history`: earlier runs."""

from __future__ import annotations

import time

from .common import Options, command, described, print_json


@command("env", "json", help={"count": "how many, newest last; 0: all"})
def history(*, count: int = 15, options: Options) -> None:
    """Earlier runs, from their journals."""
    from rich.text import Text

    from ..run.journal import journals, read
    from ..text.cleaning import spans
    from ..text.screen import Screen
    from ..views.timing import alive, data, read_run
    from .progress import seconds

    environment = described(options)
    numbered = list(enumerate(journals(environment.state / "journal"), 1))[-count:]
    runs = [(number, read_run(read(path)), path) for number, path in numbered]
    if options.json:
        rows = [{"run": number, "journal": str(path), **data(timing)} for number, timing, path in runs]
        print_json(rows)
        return
    console = Screen()
    if not runs:
        console.print(f"{environment.name}: no runs yet")
    for number, timing, _ in runs:
        outcome = "goes on" if timing.outcome == "cut off" and alive(timing.pid) else timing.outcome
        style = {"done": "green", "failed": "red"}.get(outcome, "yellow")
        when = time.strftime("%m-%d %H:%M:%S", time.localtime(timing.began))
        lost = spans(timing.unfinished) if timing.exit else ""
        tail = f" ({lost})" if lost else ""
        words = f"{number:>4}  {when}  "
        line = Text.assemble(words, (f"{outcome:<12}", style), f"{seconds(timing.seconds):>12}  {timing.command}{tail}")
        console.print(
            line,
            overflow="ellipsis" if console.is_terminal else "ignore",
            no_wrap=True,
            soft_wrap=not console.is_terminal,
        )
