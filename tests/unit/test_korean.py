"""Each Korean page says the same as the English one: code blocks, commands, figures, chapters, tables."""

from __future__ import annotations

import re

import pytest

from benchmarks import report
from fabfile.inventory import PROJECT
from tools import docs, korean

SUMMARY = re.compile(r"^## In short\n.*?(?=^## )", re.M | re.S)  # all of SECURITY.md that there is in Korean
TABLES = [name for name in docs.BLOCKS if not name.endswith("-ko")]


def english_of(name: str) -> str:
    """The English page that belongs to a Korean one."""
    if name == "docs/README.ko.md":
        return "README.md"
    return "SECURITY.md" if name == "docs/ko/security.md" else name.replace("docs/ko/", "docs/")


FOR_CONTRIBUTORS = {"docs/field-cases.md"}  # of the pages in docs/, these are in English only, as CONTRIBUTING.md is
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
    english = {name for name in docs.files() if name.startswith("docs/") and name not in KOREAN} - FOR_CONTRIBUTORS
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


def generated(name: str) -> str:
    """A generated table; of what is measured all rows, also those that the last run left out."""
    if name != "measured":
        return docs.BLOCKS[name]()
    keys = {row.key for table in report.TABLES for row in table.rows}
    spread = {"median": 1.0, "least": 1.0, "most": 1.0}
    found = {key: dict.fromkeys(("wall", "cpu", "peak"), spread) for key in keys}
    return report.page({"machine": {}, "versions": {}, "found": found})


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_translated_cell_by_cell(name: str) -> None:
    table = generated(name)
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
    cells = {cell for name in TABLES for cell in korean.cells(generated(name))}
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


# Word for word from the English, and not Korean: what was written instead.
INSTEAD = {
    "침묵": "연결이 끊긴 실행은 1분 안에 잠금이 풀립니다",
    "초보다 비율": "걸린 시간(초) 자체보다 비율이 중요합니다",
    "잃는 것은 시험": "기록(fsync)되지 않은 데이터의 손실은 시험하지 않았습니다",
    "기다리면 됩니다": "그대로 두면 됩니다. kubefab이 최대 10분까지 기다립니다",
    "사람의 손": "대시보드를 조작할 사람이 없으므로",
    "아무것도 남기지": "kubefab 자체는 노드에 설치하지 않습니다",
    "노드의 줄에는": "노드를 적는 줄에는 주소 다음에",
    "고유한 태그": "버전 태그를 명시합니다",
    "반쪽 파일": "일부만 기록된 파일",
}


def test_no_phrase_is_a_calque_and_the_screens_words_are_beside_their_translation() -> None:
    pages = "\n".join((PROJECT / name).read_text(encoding="utf-8") for name in KOREAN)
    assert [phrase for phrase in INSTEAD if phrase in pages] == []
    assert [phrase for phrase in INSTEAD.values() if phrase not in pages] == []
    for name in ("docs/README.ko.md", "docs/ko/commands.md"):
        text = (PROJECT / name).read_text(encoding="utf-8")
        assert all(f"{word}(" in text for word in ("done", "to do", "broken", "unreachable")), name


def test_the_korean_readme_leads_to_korean_pages_or_says_that_one_is_english() -> None:
    for line in (PROJECT / "docs/README.ko.md").read_text(encoding="utf-8").splitlines():
        for link in re.findall(r"\]\(([^)#]+\.md)", line):
            assert link.startswith("ko/") or "영어" in line or line.startswith("English:"), f"{link}: {line}"
