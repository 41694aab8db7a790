"""Makes docs/demo.svg: a rehearsal bootstrap with one fault, and its recovery, as a terminal shows them.

    python -m tools.demo

The commands are run for real, each in its own process, with a state folder of their own.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PROJECT = Path(__file__).resolve().parent.parent
WIDTH = 104
CARD = "\n\x1b[2msimulated nodes:"  # how the info card begins there
COMMANDS = ("inv cluster.bootstrap --fault w2:dies-in-join", "inv cluster.status", "inv cluster.bootstrap")


def captured(command: str, state: str) -> str:
    """A command's output with its colours, without the live lines that a terminal would have wiped out again, and without the info card."""
    environment = {
        **os.environ,
        "XDG_STATE_HOME": state,
        "TTY_COMPATIBLE": "1",
        "TTY_INTERACTIVE": "0",
        "COLORTERM": "truecolor",
        "COLUMNS": str(WIDTH),
    }
    program, *arguments = command.split()
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    text, card, _ = done.stdout.replace(state, "~/.local/state").partition(CARD)
    return text.rstrip() + ("\n…" if card else "")


def main() -> None:
    """Run the commands and write the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as state:
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            for line in captured(command, state).splitlines():
                console.print(Text.from_ansi(line))
            console.print()
    picture = console.export_svg(title="kubefab: a bootstrap with one fault, and its recovery")
    # rich's template asks a web server for a font: the picture must show the same without a network
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S)
    picture = picture.replace("Fira Code, monospace", "monospace").replace("Fira Code", "monospace")
    target = PROJECT / "docs" / "demo.svg"
    target.write_text(picture, encoding="utf-8")
    print(f"{target.relative_to(PROJECT)}: {len(picture) // 1024} KiB")


if __name__ == "__main__":
    main()
