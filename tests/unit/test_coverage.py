"""The coverage table: it has each ID of the manual's digest once, and everything that it names exists."""

from __future__ import annotations

import re

import pytest

import fabfile
import tasks
from fabfile.inventory import PROJECT
from fabfile.legacy.commands import Manual
from fabfile.legacy.coverage import ROWS, Row, table
from making import environment

IDS = re.findall(
    r"\S+",
    "E1 E2 E3 E4 E5 P1 P2 I1 I2 I3 I4 I5 R1 R2 M1 M2 N1 N2 N3 N4 J1 J2 J3 J4 A1 A2 A3 A4 A5 X1 X2",
)


def test_every_id_of_the_digest_appears_once_in_order() -> None:
    assert [row.id for row in ROWS] == IDS


def test_every_line_of_the_recipe_has_a_row() -> None:
    lines = Manual(environment(kubernetes="1.5", token="abcdef.0123456789abcdef")).lines()
    assert {line.id for line in lines} <= {row.id for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_modules_tests_and_commands_exist(row: Row) -> None:
    for name in row.modules:
        assert (PROJECT / "fabfile" / name).is_file(), name
    for test in row.tests:
        path, _, function = test.partition("::")
        assert re.search(rf"^def {function}\(", (PROJECT / "tests" / path).read_text(), re.M), test
    fab = re.fullmatch(r"fab -H \w+ (\w+)", row.types)
    known = fabfile.ns.task_names if fab else tasks.ns.task_names
    assert (fab[1] if fab else row.types.split()[1]) in known


def test_the_table_lists_every_id() -> None:
    assert table().count("\n") == len(ROWS) + 1
