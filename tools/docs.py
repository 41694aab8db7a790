"""The generated parts of the documentation: `python -m tools.docs` writes them, `--check` only compares.

A part is between `<!-- name:begin -->` and `<!-- name:end -->`; its text comes from the code that it describes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import report
from fabfile.inventory import PROJECT
from fabfile.inventory.settings import KEYS
from fabfile.legacy import commands as manual
from fabfile.legacy import coverage
from fabfile.tables import ports
from tools import korean

_BEGIN = re.compile(r"<!-- ([\w-]+):begin -->")


def files(project: Path = PROJECT) -> list[str]:
    """Every page that people read, from the project's folder: those at its top and those in docs/."""
    return [
        str(path.relative_to(project))
        for path in (*sorted(project.glob("*.md")), *sorted((project / "docs").rglob("*.md")))
    ]


def settings_table() -> str:
    """Every key of hosts.env: meaning, default, and what an edit does to a cluster that lives."""
    rows = ["| key | meaning | default | edited later |", "|---|---|---|---|"]
    for key, spec in KEYS.items():
        about = f"{spec.metadata['about']}{' (secret)' if spec.metadata['secret'] else ''}".replace("|", "\\|")
        rows.append(f"| `{key}` | {about} | {_default(spec.default)} | {spec.metadata['later']} |")
    return "\n".join(rows)


def _default(value: Any) -> str:
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, str | int) or hasattr(value, "prefixlen"):
        return f"`{value}`" if str(value) else ""
    return ""  # None, no words, a factory: nothing set


BLOCKS: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "ports": ports.table,
    "coverage": coverage.table,
    "differences": manual.differences_table,
    "measured": report.page,
    "speed": report.short,
}


def _korean(make: Callable[[], str]) -> Callable[[], str]:
    return lambda: korean.translated(make())


BLOCKS |= {f"{name}-ko": _korean(make) for name, make in tuple(BLOCKS.items())}


def rendered(text: str) -> str:
    """The text with every generated part made again. Raises ValueError for a begin without its end, or a part that does not exist."""
    for name in _BEGIN.findall(text):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if name not in BLOCKS:
            raise ValueError(f"{begin}: there is no such part; there are {', '.join(BLOCKS)}")
        if text.count(begin) != text.count(end):
            raise ValueError(f"{begin} and {end} do not match")
        whole = f"{begin}\n{BLOCKS[name]()}\n{end}".replace("\\", "\\\\")  # for re.sub, which reads backslashes
        text = re.sub(f"{begin}.*?{end}", whole, text, flags=re.S)
    return text


def stale(*, write: bool = False, project: Path = PROJECT) -> list[str]:
    """The pages whose generated parts differ from the code; with `write` they are brought up to date. Raises ValueError, see `rendered`."""
    found = []
    for name in files(project):
        path = project / name
        if (text := path.read_text(encoding="utf-8")) != (fresh := rendered(text)):
            found.append(name)
            if write:
                path.write_text(fresh, encoding="utf-8")
    return found


def main(arguments: list[str]) -> int:
    """0, or with `--check` 1 when something is stale."""
    check = "--check" in arguments
    names = stale(write=not check)
    for name in names:
        print(f"{name}: {'stale: run `python -m tools.docs`' if check else 'written'}")
    return 1 if check and names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
