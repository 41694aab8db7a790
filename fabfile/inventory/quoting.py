"""How dotenv reads a value, and where that may not be what was meant.

dotenv's rules (python-dotenv, parser.py): an unquoted value ends before ` #`, between double quotes `\n` and the like become control
characters, between single quotes `\'` and `\\` become one character.  Nothing is replaced: `${USER}` stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field

from ..records import dataclass

_QUOTED = {"'": re.compile(r"'((?:\\.|[^'\\])*)'", re.S), '"': re.compile(r'"((?:\\.|[^"\\])*)"', re.S)}
_CONTROL = re.compile(r"(?<!\\)(?:\\\\)*(\\[abfnrtv])")
_VARIABLE = re.compile(r"\$\{\w+\}|\$[A-Za-z_]\w*")
_NEXT_KEY = re.compile(r"[\r\n][^\S\r\n]*(?:export[^\S\r\n]+)?([A-Za-z][\w-]*)[^\S\r\n]*=")


@dataclass(frozen=True)
class Doubt:
    """Where a value may have been cut or changed: `what` happened, and the text that may have been meant.

    `certain`: the value is taken as it is in any case, only without what a shell would do with it.
    """

    what: str
    meant: str = field(repr=False)  # it may be a secret
    certain: bool = False

    def sentence(self, key: str, *, secret: bool) -> str:
        """The doubt and the line that works; a secret is not shown."""
        line = f"{key}='…' (write \\' for ' and \\\\ for \\ in it)" if secret else f"{key}={single(self.meant)}"
        return f"{key} {self.what}: write {line}"


def single(text: str) -> str:
    """The text in single quotes, so that dotenv reads it as it is."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def doubts(raw: str) -> Iterator[Doubt]:
    """Where a value may not be what was meant; `raw` is what follows the `=`, blanks included."""
    written = raw.strip()
    quote = written[:1]
    found = _QUOTED[quote].match(written) if quote in _QUOTED else None
    text = found[1] if found else re.sub(r"\s+#.*", "", raw).strip()
    if not found and text != written:
        yield Doubt("ends before #, which begins a comment. If # belongs to the value", written)
    changed = _CONTROL.search(text) if quote == '"' and found else None
    if changed:
        yield Doubt(
            f"has {changed[1]} between double quotes, which is a control character. If it is meant as it is", text
        )
    if quote == "'" and found and "\\\\" in text:
        yield Doubt("has two backslashes between single quotes, which are one. If two are meant", text)
    variable = _VARIABLE.search(text) if quote != "'" else None
    if variable:
        yield Doubt(
            f"has {variable[0]}, which is taken as it is and not replaced. If that is meant", text, certain=True
        )


def swallowed(raw: str) -> str:
    """The key of a later line that the quotes of this value took in, because they are not closed; empty if none."""
    written = raw.strip()
    found = _QUOTED[written[:1]].match(written) if written[:1] in _QUOTED else None
    later = _NEXT_KEY.search(found[1]) if found else None
    return later[1] if later else ""
