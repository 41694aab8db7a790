"""Changes only the necessary parts of a YAML file: comments, order and quoting of the rest stay as their owner wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import dropwhile
from typing import Any

import yaml

Edit = tuple[int, int, str]  # from, to, and the new text


class _Unusual(Exception):
    """Raised for a layout that cannot be edited in place."""


def rewritten(text: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Change `text`, which means `before`, into a text that means `after`.

    Lists of objects with a `name` are changed entry by entry. If the layout is unusual (a flow mapping, anchors), the whole
    text is rewritten: it then has the same meaning, but no comments.
    """
    text += "\n" * bool(text and not text.endswith("\n"))
    try:
        fresh = _spliced(text, before, after)
        if yaml.safe_load(fresh) == after:
            return fresh
    except (_Unusual, yaml.YAMLError):
        pass
    return yaml.safe_dump(dict(after), sort_keys=False)


def _spliced(text: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style or set(before) - set(after):
        raise _Unusual
    values = {key.value: value for key, value in root.value}
    edits: list[Edit] = []
    for key, value in after.items():
        if key not in before:
            edits.append((len(text), len(text), yaml.safe_dump({key: value}, sort_keys=False)))
        elif before[key] != value:
            edits += _change(text, values[key], before[key], value)
    for start, end, put in sorted(edits, reverse=True):
        text = text[:start] + put + text[end:]
    return text


def _change(text: str, node: yaml.Node, before: Any, after: Any) -> list[Edit]:
    if isinstance(after, str):
        end = node.end_mark.index
        return [(node.start_mark.index, end, " " * text[:end].endswith(":") + yaml.safe_dump(after).splitlines()[0])]
    if not isinstance(node, yaml.SequenceNode) or node.flow_style or not before:
        if before:
            raise _Unusual
        end = node.end_mark.index
        return [(node.start_mark.index, end, "\n" + _items(after, 0).removesuffix("\n"))]
    return _entries(text, node, before, after)


def _entries(text: str, node: yaml.SequenceNode, before: Sequence[Any], after: Sequence[Any]) -> list[Edit]:
    column = node.start_mark.column
    regions = [_region(text, item) for item in node.value]
    wanted = {item["name"]: item for item in after}
    if not after:  # the list's own key stays
        start = text.rindex(":", 0, regions[0][0]) + 1
        return [(start, start, " []"), *((begin, end, "") for begin, end in regions)]
    edits = []
    for item, (start, end) in zip(before, regions, strict=True):
        new = wanted.pop(item["name"], None)
        if new != item:
            edits.append((start, end, _items([new], column) if new else ""))
    if wanted:
        edits.append((regions[-1][1], regions[-1][1], _items(list(wanted.values()), column)))
    return edits


def _region(text: str, item: yaml.Node) -> tuple[int, int]:
    """The complete lines of a list's entry, from its dash to its last line that is not blank or a comment."""
    dash = len(text[: item.start_mark.index].rstrip()) - 1
    start = text.rfind("\n", 0, dash) + 1
    if text[dash] != "-" or text[start:dash].strip():
        raise _Unusual
    end = text.find("\n", max(item.start_mark.index, item.end_mark.index - 1)) + 1
    lines = text[start:end].splitlines(keepends=True)
    empty = [*dropwhile(lambda line: not line.strip() or line.lstrip().startswith("#"), reversed(lines))]
    return start, start + sum(map(len, empty))


def _items(items: Sequence[Any], column: int) -> str:
    text = yaml.safe_dump(list(items), sort_keys=False, width=float("inf"))
    return "".join(f"{' ' * column}{line}" for line in text.splitlines(keepends=True))
