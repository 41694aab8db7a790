"""The one place that takes out of a text what a terminal would act on: escape sequences, control characters, hidden and turning marks.

Masking calls it, so that all that is told, journalled or kept is clean; screen.py calls it once more for what is printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# C0 but newline and tab, DEL, C1; soft hyphen, marks of zero width, line and paragraph separators, whatever turns the direction of
# text (Unicode TR 9 and 36: "trojan source"), interlinear marks, tags; halves of a surrogate pair, which no stream can encode.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    """The text with such characters written out, like `\\x1b`; newlines and tabs stay, a carriage return becomes a newline."""
    if not _ACTING.search(text):
        return text
    return _ACTING.sub(_written, text.replace("\r\n", "\n").replace("\r", "\n"))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def line(text: str, limit: int = 300) -> str:
    """The text on one clean line of at most `limit` characters: so that no part of it can pass for a line of ours."""
    told = " ".join(clean(text[: limit * 4]).split())
    return told if len(told) <= limit and len(text) <= limit * 4 else f"{told[: limit - 1]}…"


def listed(words: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` words, and how many more there are: `w1, w2 and 3 more`."""
    left = len(words) - most
    return separator.join(words[:most]) + (
        f"{separator.rstrip().removesuffix(',')} and {left} more" if left > 0 else ""
    )
