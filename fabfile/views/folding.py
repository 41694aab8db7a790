"""What is the same on many nodes is said once: texts that differ in nothing but the node's own name and addresses are the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Generic, TypeVar

from ..inventory import Node
from ..records import dataclass
from ..text.cleaning import spans

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
_HERE = "\0"  # in a key: a node's own name or address; no text that is shown has it
_BETWEEN = "\n\1\n"  # in a key: between two texts
_BEFORE, _AFTER = re.compile(r"[\w.-]"), re.compile(r"[\w-]|\.\w")  # what makes a word a part of a longer one
_NAMING = re.compile(r"(?<![\w-])(-H|--(?:on|limit|foreign|force-drain))([ =])([\w.-]+)(?![\w,]|\.\w)")


@dataclass(frozen=True)
class Fold(Generic[T]):
    """Nodes that are alike: `names` in their order, `first` what the first of them has, `exact` whether it reads the same for all."""

    names: tuple[str, ...]
    first: T
    exact: bool = True

    @property
    def title(self) -> str:
        """The nodes, like `w1–w20`; and whose words follow, where the others have their own name or address in them."""
        names = spans(self.names)
        return names if self.exact else f"{names} (as on {self.names[0]})"

    def remedy(self, text: str) -> str:
        """The first node's remedy for all: an option that names that node names them all, `fab -H w1,w2 reset`."""

        def named(match: re.Match[str]) -> str:
            mine = match[3] == self.names[0]
            return f"{match[1]}{match[2]}{','.join(self.names)}" if mine else match[0]

        return _NAMING.sub(named, text)


def own_words(nodes: Iterable[Node]) -> dict[str, tuple[str, ...]]:
    """By name, the words that say which node it is: name, addresses, and where SSH finds it."""
    return {node.name: (f"{node.host}:{node.port}", node.name, node.host, node.address) for node in nodes}


def anonymous(text: str, words: Iterable[str]) -> str:
    """The text with a mark in place of each of these words, whole words only; of two that begin at one place, the longer."""
    # without an expression of each node's words: to compile it takes longer than all that is searched with it
    there = sorted({word for word in words if word and word in text}, key=len, reverse=True)
    parts, kept, at = [], 0, {word: text.find(word) for word in there}
    while at:
        word = min(at, key=at.__getitem__)
        begin, end = at[word], at[word] + len(word)
        whole = begin >= kept and not (begin and _BEFORE.match(text[begin - 1])) and not _AFTER.match(text, end)
        if whole:
            parts += [text[kept:begin], _HERE]
            kept = end
        at[word] = text.find(word, end if whole else begin + 1)
        if at[word] < 0:
            del at[word]
    return "".join((*parts, text[kept:]))


def _for_any(text: str, name: str) -> str:
    """The text without the name of its node where `Fold` and those who print it say it for all: at the head, and in `fab -H w1`."""
    if name not in text:
        return text
    aimed = _NAMING.sub(lambda match: f"{match[1]}{match[2]}{_HERE}" if match[3] == name else match[0], text)
    return aimed.removeprefix(f"{name}: ")


def folded(
    items: Iterable[tuple[str, T]], texts: Callable[[T], Sequence[str]], own: Mapping[str, Sequence[str]]
) -> list[Fold[T]]:
    """Items of nodes by their `texts`, in the order of the first of each.

    `own` are own_words; without them only what is the same to the letter is.
    """
    together: dict[str, _Alike[T]] = {}
    for name, item in items:
        own_texts = texts(item)
        key = anonymous(_BETWEEN.join(own_texts), own.get(name, ()))
        alike = together.setdefault(key, _Alike(item))
        alike.names.append(name)
        if alike.exact:
            said = [_for_any(text, name) for text in own_texts]
            alike.said = alike.said or said
            alike.exact = alike.said == said
    return [Fold(tuple(alike.names), alike.first, alike.exact) for alike in together.values()]


@dataclass
class _Alike(Generic[T]):
    """A fold in the making; `said` is what the first of its nodes has, as it is printed for all."""

    first: T
    names: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    exact: bool = True
