"""The house: a folder is a floor, and an import goes down only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.inventory import PROJECT

PRODUCT = PROJECT / "fabfile"
# From the ground up. A module may import from its own floor and from those before it.
FLOORS = (
    "text", "errors", "inventory", "steps", "nodes", "recipes", "identity", "context", "lasting", "manifests", "legacy", "phases", "run", "tables", "views", "cli",
)  # fmt: skip
OUTSIDE = {"rehearsal": "cli/session.py"}  # where alone the product may import what it is tried with


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Each module that a file imports, as the parts of its name, with what it takes from it: ("fabfile", "text", "masking", "mask")."""
    here = path.relative_to(PROJECT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            before = here[: len(here) - node.level + 1] if node.level else ()
            for alias in node.names:
                yield (*before, *(node.module or "").split("."), alias.name) if node.module else (*before, alias.name)
        elif isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)


def sources() -> list[Path]:
    return sorted(path for path in PRODUCT.rglob("*.py") if path != PRODUCT / "__init__.py")


def floor(path: Path) -> str:
    return path.relative_to(PRODUCT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PRODUCT)))
def test_imports_go_down_only(path: Path) -> None:
    mine = FLOORS.index(floor(path))
    for module in imported(path):
        if module[0] == "fabfile":
            assert FLOORS.index(module[1]) <= mine, f"{floor(path)} imports {'.'.join(module[1:])}, which is above it"
        assert module[0] not in ("tasks", "lab", "tools", "tests"), module
        assert module[0] not in OUTSIDE or str(path.relative_to(PRODUCT)) == OUTSIDE[module[0]]


def test_every_floor_is_in_the_list_and_in_the_map() -> None:
    text = (PROJECT / "ARCHITECTURE.md").read_text()
    assert {floor(path) for path in sources()} == set(FLOORS)
    for name in FLOORS:
        assert f"`fabfile/{name}" in text or f"`{name}" in text, name


def test_no_file_imports_itself_through_others() -> None:
    files = {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path for path in sources()
    }

    def named(module: tuple[str, ...]) -> str:
        """The file that has what is imported: the longest name that is one."""
        return next((name for n in range(len(module), 0, -1) if (name := ".".join(module[:n])) in files), "")

    left = {name: {named(module) for module in imported(path)} - {"", name} for name, path in files.items()}
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    assert not left, "these import each other"
