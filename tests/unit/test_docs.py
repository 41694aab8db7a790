"""The documentation is true: each link has a target; each named command, option, file and test exists; each message is printed."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from copy import copy
from functools import cache
from pathlib import Path

import pytest

import fabfile
import tasks
from fabfile.inventory import PROJECT, load
from fabfile.inventory.beside import HOOK
from fabfile.inventory.settings import KEYS
from fabfile.phases.hooks import VARIABLES
from fabfile.recipes.kubeadm import RELEASES
from lab.versions import DEFAULT_KUBERNETES, KNOWN_PATCHES
from printed import wrong
from reading import tree
from tools import docs

PAGES = docs.files()
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+)`")
FOREIGN = {"--no-remove"}  # options of other programs: apt, pytest …
# examples that the newcomer's guide adds
EXAMPLES = {
    "fabfile/phases/smoke.py",
    "fabfile/cli/uptime.py",
    "fab -H all smoke",
}


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    return FENCE.sub("", text)


def typed(text: str) -> list[str]:
    """The code in a page: spans, and each line of a block that a person types, without its comment."""
    lines = [line for _, body in FENCE.findall(text) for line in body.splitlines() if line.lstrip().startswith("$ ")]
    spans = [span.replace("\\|", "|") for span in SPAN.findall(prose(text))]  # in a table
    return spans + [re.sub(r"\s+#.*", "", line.strip().removeprefix("$ ")) for line in lines]


def slugs(text: str) -> set[str]:
    """The anchors of a page's headings, in GitHub's form."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", prose(text), flags=re.M):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
        found[f"{slug}-{found[slug]}" if slug in found else slug] = 0
        found[slug] += 1
    return set(found)


def test_the_pages_are_found() -> None:
    assert {"README.md", "ARCHITECTURE.md", "docs/README.ko.md", "docs/settings.md", "docs/ko/settings.md"} <= set(
        PAGES
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    """Links are relative, so that they work in a checkout, on GitHub and in a fork."""
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(text_of(name)))):
        assert "://" not in link, f"{name} links to {link}, which is not in this repository"
        path, _, anchor = link.partition("#")
        target = (PROJECT / name).parent / path if path else PROJECT / name
        assert target.is_file(), f"{name} links to {link}"
        if anchor:
            assert anchor in slugs(target.read_text(encoding="utf-8")), f"{name} links to {link}: no such heading"


def test_every_page_is_linked_from_the_readme_of_its_language() -> None:
    def reached(name: str, seen: set[str]) -> set[str]:
        if name.endswith(".md") and name not in seen:
            seen.add(name)
            for link in re.findall(r"\]\(([^)#\s]+)", prose(text_of(name))):
                reached(str(((PROJECT / name).parent / link).resolve().relative_to(PROJECT)), seen)
        return seen

    assert reached("README.md", {"docs/README.ko.md"}) >= {n for n in PAGES if not n.startswith("docs/ko/")}
    assert reached("docs/README.ko.md", {"README.md"}) >= {n for n in PAGES if n.startswith("docs/ko/")}


# --- commands and options


def _options(task: object) -> set[str]:
    one = copy(task)
    one.help = dict(task.help)  # type: ignore[attr-defined]  # get_arguments empties it
    return {flag for argument in one.get_arguments() for flag in _flags(argument)}  # type: ignore[attr-defined]


def _flags(argument: object) -> Iterator[str]:
    name = argument.name.rstrip("_").replace("_", "-")  # type: ignore[attr-defined]
    yield f"--{name}"
    if argument.default is True:  # type: ignore[attr-defined]
        yield f"--no-{name}"


def _named(collection: object) -> dict[str, set[str]]:
    known = {name: _options(collection[name]) for name in collection.task_names}  # type: ignore[attr-defined, index]
    for name, aliases in collection.task_names.items():  # type: ignore[attr-defined]
        known |= dict.fromkeys(aliases, known[name])
    return known


TASKS = {"inv": _named(tasks.ns), "fab": _named(fabfile.ns)}
EVERY_OPTION = {option for program in TASKS.values() for options in program.values() for option in options}


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_option_that_a_page_names_exists(name: str) -> None:
    make = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), flags=re.M))
    for code in typed(text_of(name)):
        words = code.split()
        if words[0] in TASKS and len(words) > 1 and code not in EXAMPLES:
            line = re.split(r" (?:&&|\||;) ", code)[0]
            assert line == "fab -H" or not wrong(line), f"{name}: `{code}`: {wrong(line)}"
        elif words[0] == "make" and len(words) == 2:
            assert words[1] in make, f"{name}: `{code}`"
        elif words[0].startswith("--") and len(words[0]) > 2:
            assert words[0].partition("=")[0] in EVERY_OPTION | FOREIGN, f"{name}: `{code}`"


def test_every_command_is_in_the_page_of_commands() -> None:
    text = text_of("docs/commands.md")
    assert [
        name for name in sorted(TASKS["inv"]) if not re.search(rf"`(?:inv|fab)[^`\n]* {re.escape(name)}\b", text)
    ] == []


# --- files, tests, settings, messages


@cache
def _tests() -> tuple[str, frozenset[str]]:
    paths = sorted((PROJECT / "tests").rglob("*.py"))
    defined = re.findall(r"^(?:async )?def (test_\w+)\(", "\n".join(p.read_text(encoding="utf-8") for p in paths), re.M)
    return " ".join(p.name for p in paths), frozenset(defined)


@pytest.mark.parametrize("name", PAGES)
def test_every_file_and_every_test_that_a_page_names_exists(name: str) -> None:
    roots = (PROJECT, PROJECT / "fabfile", PROJECT / "tests", PROJECT / "tests/unit", PROJECT / "tests/rehearsal")
    files, functions = _tests()
    for code in SPAN.findall(prose(text_of(name))):
        for word in code.replace(",", " ").split():
            if re.fullmatch(r"test_\w+", word):
                assert word in functions, f"{name} names the test {word}"
            elif re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)*(\.py|\.sh|\.j2|\.md)|[\w-]+(/[\w-]+)*/", word):
                there = any((root / word).exists() for root in roots) or word in files.split()
                assert there or word in EXAMPLES or HOOK.fullmatch(word), f"{name} names {word}"


def test_the_map_names_modules_that_are_in_their_folder() -> None:
    rows = re.findall(r"^\| `(fabfile/\w+/)` \| (.*?) \|", text_of("ARCHITECTURE.md"), flags=re.M)
    assert len(rows) >= 10
    for folder, what in rows:
        for module in re.findall(r"`([a-z_]+)`", what):
            there = [(PROJECT / folder / module).with_suffix(suffix) for suffix in (".py", "")]
            assert any(path.exists() for path in there), f"{folder} has no {module}"


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_that_a_page_names_exists(name: str) -> None:
    environments = "AWS|DATACENTER|STAGING|LAB|REHEARSAL|<ENV>"
    for _, key in re.findall(rf"\b(KUBEFAB|{environments})_([A-Z_]+[A-Z])(?==|`)", text_of(name)):
        assert (
            key in KEYS
            or key in ("ENV", "HOSTS", "KEY")
            or f"KUBEFAB_{key}" in VARIABLES
            or key.startswith(("CONTROL_PLANE", "WORKER"))
        ), f"{name} names {key}"


@pytest.mark.parametrize("name", [name for name in PAGES if "```sh\n" in text_of(name)])
def test_the_inventory_of_a_page_is_a_good_one(name: str, tmp_path: Path) -> None:
    """As it is printed there, all of it in a hosts.env of its own."""
    samples = [body for language, body in FENCE.findall(text_of(name)) if language == "sh"]
    (tmp_path / "hosts.env").write_text("".join(samples))
    (tmp_path / "hosts.env").chmod(0o600)
    environment = load("staging", hosts_file=str(tmp_path / "hosts.env"), variables={})
    assert [node.name for node in environment.nodes] == ["cp1", "w1", "w2", "w3"][
        : 4 if "labels=" in samples[-1] else 3
    ]
    assert environment.remarks == (), "what the page prints gives no cause for doubt"
    if len(samples) > 1:
        assert environment.settings.registry_password.reveal() == "it's #1 of $5"
        assert environment.settings.kubelet_config == {"maxPods": 50}


def test_a_release_is_on_the_page_and_known_to_the_lab_and_make() -> None:
    """What a new release needs besides its line in recipes/kubeadm.py."""
    line = next(line for line in text_of("docs/machines.md").splitlines() if "`KUBERNETES=" in line)
    assert [minor for minor in RELEASES if minor not in line] == []
    assert list(KNOWN_PATCHES) == list(RELEASES)
    asked = re.search(r"KUBEFAB_RELEASES='([\d. ]+)'", text_of("Makefile"))
    assert asked and asked[1].split() == list(RELEASES)
    built = re.search(r"lab\.build --specs --kubernetes ([\d.,]+)", text_of("Makefile"))
    first = list(RELEASES).index(DEFAULT_KUBERNETES.rpartition(".")[0])
    assert built and built[1].split(",") == list(RELEASES)[first : first + 2], (
        "tests/lab upgrades from the one to the other"
    )


VALUE = "\0"
AROUND = "'\"`():;,.→"


@cache  # not when the module is read: each process of pytest reads every module
def _printed() -> tuple[list[str], ...]:
    """Each text in the product as words, with VALUE in place of an inserted value."""
    files = sorted((PROJECT / "fabfile").rglob("*.py"))
    return tuple(words for path in files for node in ast.walk(tree(path)) if (words := _words(node)))


@cache
def _with(word: str) -> frozenset[int]:
    """The texts, by their number in `_printed`, that have this word as their own."""
    return _index().get(word.strip(AROUND), frozenset())


@cache
def _index() -> dict[str, frozenset[int]]:
    found: defaultdict[str, set[int]] = defaultdict(set)
    for number, text in enumerate(_printed()):
        for word in text:
            if VALUE not in word:
                found[word.strip(AROUND)].add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}


def is_printed(words: list[str]) -> bool:
    """Whether a text of ours says this. Read are those only that have half of the words, which `_says` demands, as their own."""
    numbers = Counter(number for word in words for number in _with(word))
    return any(_says(_printed()[number], words) for number, own in numbers.items() if own * 2 >= len(words))


def _words(node: ast.AST) -> list[str]:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else VALUE for p in node.values).split()
    return node.value.split() if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _fits(source: str, word: str) -> bool:
    source, word = source.strip(AROUND), word.strip(AROUND)
    return source == word or (
        VALUE in source and bool(re.fullmatch(".*".join(map(re.escape, source.split(VALUE))), word))
    )


def _says(source: list[str], words: list[str]) -> bool:
    """Whether the text contains these words in a row; at least half of them must be its own words, not inserted values."""
    for at in range(len(source)):
        part = source[at : at + len(words)]
        own = sum(VALUE not in word for word in part)
        ends = len(part) == len(words) or VALUE in part[-1]  # the last value may be several words
        if ends and own * 2 >= len(words) and all(map(_fits, part, words)):
            return True
    return False


MESSAGES = [
    (span, piece.split())
    for row in re.findall(r"^\| (.*?) \|", text_of("docs/troubleshooting.md").split("## Messages")[1], flags=re.M)
    for span in SPAN.findall(row)
    for piece in re.split(r"…|\(pid|,|sha256:", span)
    if re.search(r"\w\w", piece)
]


def test_every_explained_message_is_printed_by_some_line() -> None:
    missing = [(span, " ".join(words)) for span, words in MESSAGES if not is_printed(words)]
    assert len(MESSAGES) > 20 and missing == []


@pytest.mark.parametrize("text", ["belongs to another clutser", "host key has changed", "no room for flannel.1"])
def test_a_message_that_no_line_prints_is_found(text: str) -> None:
    assert not is_printed(text.split())


def test_no_text_is_left_out_that_says_it() -> None:
    """The search by words finds what a search through all texts finds."""
    for _, words in MESSAGES[::9]:
        assert is_printed(words) == any(_says(text, words) for text in _printed())


# --- generated parts


def test_generated_parts_of_the_documentation_are_fresh() -> None:
    assert docs.stale() == [], "run `python -m tools.docs`"


def test_every_generated_part_is_in_one_page() -> None:
    pages = [text_of(name) for name in PAGES]
    for part in docs.BLOCKS:
        assert sum(page.count(f"<!-- {part}:begin -->") for page in pages) == 1, part


def test_an_unknown_or_unclosed_part_is_refused() -> None:
    for text in ("<!-- setings:begin -->\n<!-- setings:end -->", "<!-- settings:begin -->\n"):
        with pytest.raises(ValueError):
            docs.rendered(text)


def test_a_stale_part_is_found_and_written(tmp_path: Path) -> None:
    (tmp_path / "docs/ko").mkdir(parents=True)
    page = tmp_path / "docs/ko/ports.md"
    page.write_text("# p\n\n<!-- ports-ko:begin -->\nold\n<!-- ports-ko:end -->\n")
    assert docs.stale(project=tmp_path) == ["docs/ko/ports.md"]
    assert docs.stale(project=tmp_path, write=True) == ["docs/ko/ports.md"]
    assert docs.stale(project=tmp_path) == [] and "31447" in page.read_text()
