"""Our dataclasses are made faster than dataclasses' own, and behave like them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import records
from fabfile.inventory import PROJECT

KINDS: list[dict[str, bool]] = [
    {"frozen": frozen, "eq": eq, "repr": shown, "order": order}
    for frozen in (False, True)
    for eq in (False, True)
    for shown in (False, True)
    for order in ((False, True) if eq else (False,))
]
VALUES = st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.integers(0, 1))


def made(decorator: Callable[..., Any], kind: dict[str, bool], *, own: bool = False) -> Any:
    """A class of three fields, of which one does not count when two are compared; `own` has methods of its own."""

    class Value:
        number: int
        word: str = dataclasses.field(repr=False, default="a")
        beside: int = dataclasses.field(compare=False, default=0)
        values: list[int] = dataclasses.field(compare=False, default_factory=list)

        if own:

            def __repr__(self) -> str:
                return "mine"

            def __hash__(self) -> int:
                return 7

    Value.__annotations__ = {"number": int, "word": str, "beside": int, "values": list}
    return decorator(**kind)(Value)


@given(st.sampled_from(KINDS), st.lists(VALUES, min_size=2, max_size=2), st.booleans())
def test_values_compare_show_and_hash_as_those_of_dataclasses(
    kind: dict[str, bool], rows: list[tuple[int, str, int]], own: bool
) -> None:
    theirs, ours = (
        [cls(*row) for row in rows]
        for cls in (made(d, kind, own=own) for d in (dataclasses.dataclass, records.dataclass))
    )
    assert (ours[0] == ours[1]) == (theirs[0] == theirs[1]) and ours[0] != theirs[0]
    assert (ours[0] == ours[0]) and dataclasses.astuple(ours[0]) == (*rows[0], [])
    assert ours[0].values is not ours[1].values
    assert dataclasses.astuple(type(ours[0])(1, values=[2])) == (1, "a", 0, [2])
    with pytest.raises(TypeError):
        type(ours[0])()
    if kind["repr"]:
        assert repr(ours[0]) == repr(theirs[0])
    if kind["order"]:
        assert (ours[0] < ours[1]) == (theirs[0] < theirs[1])
    if type(theirs[0]).__hash__ is None:
        assert type(ours[0]).__hash__ is None
    else:
        assert (hash(ours[0]) == hash(ours[1])) == (hash(theirs[0]) == hash(theirs[1]))
    if kind["frozen"]:
        with pytest.raises(dataclasses.FrozenInstanceError, match="'word'"):
            ours[0].word = "c"
        with pytest.raises(dataclasses.FrozenInstanceError, match="'word'"):
            del ours[0].word
        assert ours[0].word == rows[0][1]
    changed = dataclasses.replace(ours[0], number=5)
    assert changed.number == 5 and changed.word == rows[0][1] and type(changed) is type(ours[0])


def test_a_class_alone_is_decorated_too() -> None:
    @records.dataclass
    class Counted:
        number: int = 0

    assert Counted(3) == Counted(3) != Counted(4) and repr(Counted(1)).endswith("Counted(number=1)")
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counted())


LOADED = """
import sys
sys.path.insert(0, {project!r})
{before}
from fabfile.nodes.libraries import paramiko
import importlib.metadata, importlib
print(paramiko.__version__ == importlib.metadata.version("paramiko"), hasattr(importlib.metadata, "PackageNotFoundError"), {after})
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "'zipfile' in sys.modules and paramiko.metadata.distribution('paramiko').name"),
        ("import importlib.metadata", "paramiko.metadata is importlib.metadata and 'paramiko'"),
        ("sys.path.insert(0, '/nowhere')", "'paramiko'"),
    ],
    ids=["as our commands do", "after another module", "with a folder that is not there"],
)
def test_paramiko_knows_its_version_and_importlib_metadata_is_whole_afterwards(before: str, after: str) -> None:
    text = LOADED.format(project=str(PROJECT), before=before, after=after)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "paramiko"]


def test_our_commands_load_no_importlib_metadata() -> None:
    text = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import fabfile.cli.session; print([m for m in ('importlib.metadata', 'zipfile', 'csv') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_value_of_ours_is_made_by_it() -> None:
    for path in (PROJECT / "fabfile").rglob("*.py"):
        if path.name != "records.py":
            names = [
                name
                for line in path.read_text().splitlines()
                if line.startswith("from dataclasses import")
                for name in line.split()
            ]
            assert "dataclass" not in [name.strip(",") for name in names], path
