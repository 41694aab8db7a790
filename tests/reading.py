"""Our source files as Python reads them, for the tests that hold each of them to a rule: parsed once in a process."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree, which no test changes."""
    return ast.parse(path.read_text(encoding="utf-8"))
