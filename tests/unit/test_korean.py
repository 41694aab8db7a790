"""Each Korean page says the same as the English one: code blocks, commands, figures, chapters, tables."""

from __future__ import annotations

import re

import pytest

from fabfile.inventory import PROJECT
from tools import docs, korean

SUMMARY = re.compile(r"^## In short\n.*?(?=^## )", re.M | re.S)  # all of SECURITY.md that there is in Korean
TABLES = [name for name in docs.BLOCKS if not name.endswith("-ko")]


def english_of(name: str) -> str:
    """The English page that belongs to a Korean one."""
    if name == "docs/README.ko.md":
        return "README.md"
    return "SECURITY.md" if name == "docs/ko/security.md" else name.replace("docs/ko/", "docs/")


KOREAN = ["docs/README.ko.md", *(name for name in docs.files() if name.startswith("docs/ko/"))]
each_page = pytest.mark.parametrize("name", KOREAN)


def both(name: str) -> tuple[str, str]:
    """The English text and the Korean text."""
    english = (PROJECT / english_of(name)).read_text(encoding="utf-8")
    if name == "docs/ko/security.md":
        english = SUMMARY.findall(english)[0]
    return english, (PROJECT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """Fenced code without comments and indentation, which are translated."""
    found = re.findall(r"^ *```(\w+)\n(.*?)^ *```", text, flags=re.M | re.S)
    return [(language, [re.sub(r"\s*#.*", "", line).strip() for line in body.splitlines()]) for language, body in found]


def written(text: str) -> str:
    """The text without its generated parts and the targets of links."""
    text = re.sub(r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", "", text, flags=re.S)
    return re.sub(r"\]\([^)\s]+\)", "]", text)


def prose(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", written(text), flags=re.M | re.S)


def spans(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", prose(text)))


def figures(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)*", text))


def test_every_page_is_there_in_korean() -> None:
    english = {name for name in docs.files() if name.startswith("docs/") and name not in KOREAN}
    assert {english_of(name) for name in KOREAN} == english | {"README.md", "SECURITY.md"}


@each_page
def test_code_blocks_are_in_step(name: str) -> None:
    english, translated = both(name)
    assert blocks(translated) == blocks(english)


@each_page
def test_every_command_setting_and_message_is_in_both(name: str) -> None:
    english, translated = both(name)
    assert spans(english) == spans(translated)


@each_page
def test_figures_are_the_same(name: str) -> None:
    """Compared row by row in tables, elsewhere as a whole. Korean may have more: English writes small numbers as words."""

    def rows(text: str) -> list[set[str]]:
        return [figures(line) for line in written(text).splitlines() if line.startswith("|")]

    english, translated = both(name)
    for one, other in zip(rows(english), rows(translated), strict=True):
        assert one <= other
    assert figures(written(english)) - figures(written(translated)) == set()


@each_page
def test_the_chapters_are_the_same(name: str) -> None:
    english, translated = (re.findall(r"^(#+) ", prose(text), flags=re.M) for text in both(name))
    assert english == translated or name == "docs/ko/security.md"


@each_page
def test_tables_and_lists_have_the_same_rows(name: str) -> None:
    english, translated = (
        [
            re.sub(r"(?m)^([|-]).*", r"\1", part).count("\n")
            for part in re.findall(r"(?:^\|.*\n)+|(?:^- .*\n(?:^  .*\n)*)+", written(text), re.M)
        ]
        for text in both(name)
    )
    assert english == translated


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_translated_cell_by_cell(name: str) -> None:
    table = docs.BLOCKS[name]()
    assert korean.untranslated(table) == [], "give these a line in tools/korean.py"
    made = korean.translated(table)
    assert [line.count("|") for line in made.splitlines()] == [line.count("|") for line in table.splitlines()]
    assert sorted(re.findall(r"`[^`]*`", made)) == sorted(re.findall(r"`[^`]*`", table))


def test_each_generated_part_is_in_its_language() -> None:
    for name in KOREAN:
        parts = [re.findall(r"<!-- ([\w-]+):begin -->", text) for text in both(name)]
        assert parts[1] == [f"{part}-ko" for part in parts[0]]


def test_every_translation_is_used() -> None:
    """A line of tools/korean.py is outdated if its English text is no longer used."""
    cells = {cell for name in TABLES for cell in korean.cells(docs.BLOCKS[name]())}
    assert [english for english in korean.WORDS if english not in cells] == []


def test_the_manuals_chapters_are_mapped_in_their_order() -> None:
    chapter = (PROJECT / "docs/ko/manual.md").read_text(encoding="utf-8")
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
