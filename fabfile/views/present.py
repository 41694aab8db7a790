"""What files hold on nodes at present, for `plan --diff`. It only reads."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from ..errors import KubefabError
from ..inventory import Node
from ..nodes.group import NodeGroup

LIMIT = 256 << 10  # bytes of one file: kubefab's own are some ten KiB
TIMEOUT = 30.0  # seconds for one file


def present(
    group: NodeGroup, wanted: Iterable[tuple[Node, str]]
) -> tuple[dict[tuple[str, str], str | None], dict[str, KubefabError]]:
    """What these files hold, by node and path, None where there is none; and by name the nodes that could not be asked."""
    paths: dict[Node, list[str]] = {}
    for node, path in dict.fromkeys(wanted):
        paths.setdefault(node, []).append(path)
    said = group.each(paths, lambda node: {path: _read(group, node, path) for path in paths[node]})
    found = {
        (name, path): text for name, texts in said.items() if isinstance(texts, dict) for path, text in texts.items()
    }
    return found, {name: error for name, error in said.items() if isinstance(error, KubefabError)}


def _read(group: NodeGroup, node: Node, path: str) -> str | None:
    """One file's text. Raises KubefabError for one that is too long to compare."""
    code, content = group.of(node).root(f"head -c {LIMIT + 1} -- {shlex.quote(path)}", TIMEOUT)
    if len(content) > LIMIT:
        raise KubefabError(
            f"{node.name}: {path} is longer than {LIMIT >> 10} KiB: it is not compared", "leave --diff out"
        )
    return content.decode("utf-8", "replace") if code == 0 else None
