"""ShellCheck over every shell script that we have: `python -m tools.shellcheck`, part of `make lint`.

What a node gets is checked as it gets it, from the golden files (tests/unit/test_sent.py).  A plan's file holds many scripts, and most of them
are the same in each OS family and in reset and purge: each is checked once, by itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
SENT = ROOT / "tests/unit/golden/sent"
OTHERS = ("fabfile/**/scripts/*.sh", "lab/files/*.sh", ".ci/run")
HEADING = "#### "  # of a script in a plan's file: node, step, title
# what a plan leaves open in place of a token, which a shell would take for a redirection
OPEN = re.compile(r"<[a-z ]+>")


def sent(folder: Path = SENT) -> dict[str, str]:
    """Every script in the golden files, once: {"bootstrap-debian.sh 12 w1 · join.token": its text}."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.sh")):
        for number, part in enumerate(re.split(f"^(?={HEADING})", path.read_text(encoding="utf-8"), flags=re.M)):
            heading, _, rest = part.partition("\n")
            name, text = (heading.removeprefix(HEADING), rest) if part.startswith(HEADING) else ("", part)
            if text.strip():
                found.setdefault(OPEN.sub("later", text), f"{path.name} {number} {name.rpartition(' · ')[0]}".strip())
    return {name: text for text, name in found.items()}


def check(texts: dict[str, str], paths: Iterable[Path] = ()) -> subprocess.CompletedProcess[str]:
    """ShellCheck's verdict on these texts and files, warnings and worse: exit code 1 if it has any."""
    program = Path(sys.executable).with_name("shellcheck")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        command = [str(program), "--severity=warning", "--shell=bash", *texts, *map(str, paths)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    done = check(sent(), sorted(path for pattern in OTHERS for path in ROOT.glob(pattern)))
    print(done.stdout + done.stderr, end="")
    sys.exit(done.returncode)
