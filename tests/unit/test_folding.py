"""The same thing once: errors of many nodes that differ in nothing but the node's own name and addresses are one block."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.cli.progress import print_failures
from fabfile.errors import KubefabError, StepFailed, Unreachable
from fabfile.inventory import Node
from fabfile.run.result import NodeResult, RunResult
from fabfile.text.cleaning import spans
from fabfile.text.screen import Screen
from fabfile.views.folding import Fold, anonymous, folded, own_words

WORKERS = [Node(f"w{n}", f"203.0.113.{n}", f"10.0.0.{n}", False, port=2200 + n) for n in range(1, 21)]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], ""),
        (["w1"], "w1"),
        (["cp1", "w1", "w2"], "cp1, w1, w2"),
        (["cp1", "w1", "w2", "w3"], "cp1, w1–w3"),
        (["w1", "w2", "w3", "w5", "x6", "x7", "x8"], "w1–w3, w5, x6–x8"),
        (["w8", "w9", "w10"], "w8–w10"),
        (["w08", "w09", "w10"], "w08, w09, w10"),  # no name is made up: w8 is not there
        (["w3", "w2", "w1"], "w3, w2, w1"),
        (["a", "b", "c"], "a, b, c"),
        ([f"w{n}" for n in range(1, 40, 2)], "w1, w3, w5, w7, w9, w11, w13, w15 and 12 more"),
        ([*(f"w{n}" for n in range(1, 21)), *(f"x{n}" for n in range(1, 21, 2))], "w1–w20, x1, x3, x5, x7, x9, x11, x13 and 3 more"),
    ],
)  # fmt: skip
def test_names_that_count_up_are_a_span(names: list[str], shown: str) -> None:
    assert spans(names) == shown


TEMPLATES = st.lists(
    st.sampled_from(["{name}: lost", "ssh to {host}:{port} refused", "({address})", "{name}", "http://{address}/", "disk", "{host}.", "-H {name}"]),
    min_size=1,
)  # fmt: skip


def text_of(node: Node, pieces: list[str]) -> str:
    return " ".join(pieces).format(name=node.name, host=node.host, address=node.address, port=node.port)


@given(TEMPLATES, st.lists(st.sampled_from(WORKERS), min_size=2, unique_by=lambda node: node.name))
def test_what_differs_in_the_node_itself_is_the_same(pieces: list[str], nodes: list[Node]) -> None:
    items = [(node.name, text_of(node, pieces)) for node in nodes]
    (one,) = folded(items, lambda text: [text], own_words(WORKERS))
    assert one.names == tuple(node.name for node in nodes) and one.first == items[0][1]
    named = [piece.removeprefix("{name}: ") if number == 0 else piece for number, piece in enumerate(pieces)]
    alike = not any("{" in piece for piece in named if piece != "-H {name}")
    assert one.exact == alike, "said so, where the others' words are not these"


@given(TEMPLATES, st.sampled_from(WORKERS), st.sampled_from(WORKERS))
def test_another_nodes_name_is_another_error(pieces: list[str], node: Node, other: Node) -> None:
    """`w1` is not the `w1` in w10, and what w1 says of w2 is not what w3 says of itself."""
    third = (
        WORKERS[0] if WORKERS[0] not in (node, other) else WORKERS[1] if WORKERS[1] not in (node, other) else WORKERS[2]
    )
    items = [(node.name, text_of(node, pieces)), (third.name, text_of(other, pieces))]
    found = folded(items, lambda text: [text], own_words(WORKERS))
    assert len(found) == (1 if items[0][1] == items[1][1] == " ".join(pieces) else 2)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("w1: lost", "_: lost"), ("w10, xw1, w1-b, w1.local, my.w1", "w10, xw1, w1-b, w1.local, my.w1"), ("(w1)", "(_)"),
        ("10.0.0.1.", "_."), ("10.0.0.1:22 10.0.0.1", "_ _"), ("10.0.0.12 110.0.0.1 10.0.0.1.5", "10.0.0.12 110.0.0.1 10.0.0.1.5"),
    ],
)  # fmt: skip
def test_whole_words_only_are_the_nodes_own(text: str, left: str) -> None:
    assert anonymous(text, ("w1", "10.0.0.1", "10.0.0.1:22", "")).replace("\0", "_") == left


def test_a_remedy_for_one_names_all() -> None:
    all_of_them = Fold(("w1", "w2", "w10"), "")
    said = "look at w1: `fab -H w1 reset`, then `inv cluster.bootstrap --limit w1 --env a`; not `fab -H w10 reset`, `-H w1,w3`"
    assert all_of_them.remedy(said) == (
        "look at w1: `fab -H w1,w2,w10 reset`, then `inv cluster.bootstrap --limit w1,w2,w10 --env a`; not `fab -H w10 reset`, `-H w1,w3`"
    )


def test_twenty_dead_and_twenty_broken_nodes_are_two_blocks() -> None:
    def lost(node: Node) -> KubefabError:
        return Unreachable(f"{node.name} ({node.host}:{node.port}): connection refused", "is sshd running there?")

    def broken(node: Node) -> KubefabError:
        return StepFailed(f"{node.name}: install.packages failed", f"`fab -H {node.name} install`", "E: no space left")

    errors = {node.name: (lost if number % 2 else broken)(node) for number, node in enumerate(WORKERS)}
    nodes = {name: NodeResult(name, "failed", "install", "install.packages", error) for name, error in errors.items()}
    console = Screen(file=io.StringIO(), width=200)
    print_failures(console, RunResult(nodes), "inv cluster.bootstrap", WORKERS)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.count("connection refused") == said.count("E: no space left") == 1
    assert "w1, w3, w5, w7, w9, w11, w13, w15 and 2 more · install.packages\ninstall.packages failed\n" in said
    assert "w2, w4, w6, w8, w10, w12, w14, w16 and 2 more (as on w2) · install.packages\nw2 (203.0.113.2:2202)" in said
    assert "→ `fab -H w1,w3,w5,w7,w9,w11,w13,w15,w17,w19 install`" in said


@given(
    st.lists(st.sampled_from(["w1", "w", "10.0.0.1", "10.0.0.1:22", "-", ".", ":", " ", "x", "1", "w1-b"]), max_size=12).map("".join),
    st.lists(st.sampled_from(["w1", "w", "10.0.0.1", "10.0.0.1:22", "w1-b", "0.1", ""]), max_size=4),
)  # fmt: skip
def test_whole_words_are_those_that_an_expression_finds(text: str, words: list[str]) -> None:
    """The meaning: an expression of all words, the longer ones first."""
    alternatives = "|".join(re.escape(word) for word in sorted(set(filter(None, words)), key=len, reverse=True))
    found = re.sub(rf"(?<![\w.-])(?:{alternatives})(?![\w-]|\.\w)", "\0", text) if alternatives else text
    assert anonymous(text, words) == found
