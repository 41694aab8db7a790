"""A folder of fabfile/ is a floor, and imports go down only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.inventory import PROJECT
from reading import tree

PRODUCT = PROJECT / "fabfile"
# From the ground up. A module may import from its own floor and from the floors before it in this list.
FLOORS = (
    "records", "text", "errors", "inventory", "steps", "nodes", "recipes", "backups", "identity", "context", "lasting", "manifests", "legacy", "phases", "run", "tables", "views", "cli",
)  # fmt: skip
OUTSIDE = {
    "rehearsal": ("cli/session.py", "cli/plan.py")
}  # the only files of the product that may import the rehearsal


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Each name that a file imports, as the parts of its dotted path: ("fabfile", "text", "masking", "mask")."""
    here = path.relative_to(PROJECT).parts[:-1]
    for node in ast.walk(tree(path)):
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


def test_imports_go_down_only() -> None:
    for path in sources():
        mine = FLOORS.index(floor(path))
        for module in imported(path):
            if module[0] == "fabfile":
                assert FLOORS.index(module[1]) <= mine, f"{path}: imports {'.'.join(module[1:])}, which is above it"
            assert module[0] not in ("tasks", "lab", "tools", "tests"), (path, module)
            assert module[0] not in OUTSIDE or str(path.relative_to(PRODUCT)) in OUTSIDE[module[0]], (path, module)


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
        """The file that defines what is imported: the longest prefix that is a module."""
        return next((name for n in range(len(module), 0, -1) if (name := ".".join(module[:n])) in files), "")

    left = {name: {named(module) for module in imported(path)} - {"", name} for name, path in files.items()}
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    assert not left, "these import each other"


# --- who may ask for a name

ASKED = {"phases", "legacy"}  # where a phase and a release may be named: their lists, and the ids of their steps


def _is_name(node: ast.expr) -> bool:
    """`phase.name`, `p.name`, `release.name`: the name of a phase or of a release."""
    if not (isinstance(node, ast.Attribute) and node.attr == "name"):
        return False
    whose = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    return whose in ("phase", "p", "release", "chapter")


def asked_for_a_name(file: ast.Module) -> list[str]:
    """Each comparison of a phase's or a release's name with a word, and each look for such a word in names."""
    found = []
    phases = {"prep", "install", "registry", "master", "network", "join", "addons", "reset", "legacy", "kubeadm"}
    for node in ast.walk(file):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {w.value for side in sides for w in ast.walk(side) if isinstance(w, ast.Constant)}
            if (any(_is_name(side) for side in sides) and words & phases) or (
                words & phases and any(ast.unparse(side) in ("names", "phases") for side in sides)
            ):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("line", [
    'phase.name == "join"', 'phase.name in ("network", "addons")', '"join" in names', 'settings.release.name != "legacy"', '"reset" == p.name',
])  # fmt: skip
def test_a_question_for_a_name_is_found(line: str) -> None:
    assert asked_for_a_name(ast.parse(f"if {line}: pass"))


def test_no_interpreter_asks_a_phase_or_a_release_for_its_name() -> None:
    """What differs is a field of Phase or a trait of Release, so that a new one touches its own file and its list."""
    asked = {str(p.relative_to(PRODUCT)): asked_for_a_name(tree(p)) for p in sources() if floor(p) not in ASKED}
    assert {name: lines for name, lines in asked.items() if lines} == {}


def test_the_release_is_asked_for_in_one_place() -> None:
    known = [
        str(p.relative_to(PRODUCT)) for p in sources() if re.search(r'"1[", ]+5"|== "1\.5|release_of\(', p.read_text())
    ]
    assert known == ["inventory/release.py", "inventory/settings.py"]
