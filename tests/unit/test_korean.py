"""README.md and docs/README.ko.md say the same: code blocks, commands, chapters, generated tables."""

from __future__ import annotations

import re

import pytest

from fabfile.inventory import PROJECT
from tools import docs, korean

ENGLISH = (PROJECT / "README.md").read_text(encoding="utf-8")
KOREAN = (PROJECT / "docs/README.ko.md").read_text(encoding="utf-8")
TABLES = [name for name in docs.BLOCKS if not name.endswith("-ko")]
MAPPED = "## 매뉴얼\n"  # the chapter that maps the manual's order to commands has more of them than the English one


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """Fenced code, comments and indentation left out: those are translated."""
    found = re.findall(r"^ *```(\w+)\n(.*?)^ *```", text, flags=re.M | re.S)
    return [(language, [re.sub(r"\s*#.*", "", line).strip() for line in body.splitlines()]) for language, body in found]


def written(text: str) -> str:
    """What is not generated."""
    return re.sub(r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", "", text, flags=re.S)


def spans(text: str) -> set[str]:
    prose = re.sub(r"^ *```.*?^ *```", "", written(text), flags=re.M | re.S)
    return set(re.findall(r"`([^`\n]+)`", prose))


def test_code_blocks_are_in_step() -> None:
    assert blocks(ENGLISH)
    assert blocks(KOREAN) == blocks(ENGLISH)


def test_every_command_setting_and_message_is_in_both() -> None:
    assert spans(ENGLISH) - spans(KOREAN) == set()
    more = spans(KOREAN.split(MAPPED)[0]) - spans(ENGLISH)
    assert more == set()


def test_figures_are_the_same() -> None:
    """Each table's, row by row; elsewhere as a whole. Korean may have more: English writes small numbers as words."""

    def rows(text: str) -> list[set[str]]:
        lines = [line for line in written(text.split(MAPPED)[0]).splitlines() if line.startswith("|")]
        return [set(re.findall(r"\d+(?:\.\d+)*", line)) for line in lines]

    for one, other in zip(rows(ENGLISH.split("## The manual\n")[0]), rows(KOREAN), strict=True):
        assert one <= other
    english, translated = (set(re.findall(r"\d+(?:\.\d+)*", written(text))) for text in (ENGLISH, KOREAN))
    assert english - translated == set()


def test_the_chapters_are_the_same() -> None:
    levels = [
        re.findall(r"^(#+) ", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S), flags=re.M)
        for text in (ENGLISH, KOREAN)
    ]
    assert levels[0] == levels[1]


def test_tables_have_the_same_rows() -> None:
    def rows(text: str) -> list[int]:
        return [table.count("\n") for table in re.findall(r"(?:^\|.*\n)+", written(text), flags=re.M)]

    *same, mapping = rows(KOREAN)
    assert same == rows(ENGLISH)
    assert mapping > 10, "the manual's chapters"


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_translated_cell_by_cell(name: str) -> None:
    table = docs.BLOCKS[name]()
    assert korean.untranslated(table) == [], "give these a line in tools/korean.py"
    made = korean.translated(table)
    assert [line.count("|") for line in made.splitlines()] == [line.count("|") for line in table.splitlines()]
    assert sorted(re.findall(r"`[^`]*`", made)) == sorted(re.findall(r"`[^`]*`", table))


def test_each_block_stands_in_its_language() -> None:
    for name in TABLES:
        assert f"<!-- {name}:begin -->" in ENGLISH and f"<!-- {name}-ko:begin -->" in KOREAN


def test_links_to_chapters_lead_to_chapters() -> None:
    for text in (ENGLISH, KOREAN):
        headings = {
            re.sub(r"[^\w가-힣 -]", "", h).strip().lower().replace(" ", "-")
            for h in re.findall(r"^#+ (.*)$", text, flags=re.M)
        }
        for anchor in re.findall(r"\]\(#([^)]+)\)", text):
            assert anchor in headings, anchor


def test_the_manuals_chapters_are_mapped_in_their_order() -> None:
    chapter = KOREAN.split(MAPPED)[1]
    order = [
        "Sizing",
        "사전 준비",
        "Apt Key",
        "Registry",
        "Initializing",
        "Flannel",
        "Slave Node에 Master",
        "연결 여부",
        "Web UI",
        "초기화 |",
    ]
    places = [chapter.index(word) for word in order]
    assert places == sorted(places)
