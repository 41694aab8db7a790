"""The only place that removes what a terminal would act on: escape sequences, control characters, invisible and direction marks.

Masking calls it, so that everything reported, journalled or stored is clean; screen.py calls it again for what is printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# C0 except newline and tab, DEL, C1; soft hyphen, zero-width marks, line and paragraph separators, marks that change the text's
# direction (Unicode TR 9 and 36: "trojan source"), interlinear marks, tags; halves of a surrogate pair, which no stream can encode.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    """The text with such characters as visible escapes like `\\x1b`; newlines and tabs stay, a carriage return becomes a newline."""
    if not _ACTING.search(text):
        return text
    return _ACTING.sub(_written, text.replace("\r\n", "\n").replace("\r", "\n"))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def line(text: str, limit: int = 300) -> str:
    """The text as one clean line of at most `limit` characters, so that no part of it can look like a line of ours."""
    shown = " ".join(clean(text[: limit * 4]).split())
    return shown if len(shown) <= limit and len(text) <= limit * 4 else f"{shown[: limit - 1]}…"


# klog's header (k8s.io/klog: "Lmmdd hh:mm:ss.uuuuuu"), and a warning that the API sends with its answer (kubectl prints both to standard error)
_LOGGED = re.compile(r"^(?:[IWEF][0-9]{4} [0-9:.]{8,15} |Warning: ).*(?:\n|\Z)", re.M)


def without_log(text: str) -> str:
    """What a program of Kubernetes answered, less the lines that it logged beside it."""
    return _LOGGED.sub("", text)


def listed(words: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` words, and how many more there are: `w1, w2 and 3 more`."""
    left = len(words) - most
    return separator.join(words[:most]) + (
        f"{separator.rstrip().removesuffix(',')} and {left} more" if left > 0 else ""
    )


def spans(names: Sequence[str], most: int = 8) -> str:
    """The names, of which three or more that count up are one span, `cp1, w1–w20, w23`; at most so many, and how many names more."""
    runs: list[list[str]] = []
    for name in names:
        stem, digits = _counted(name)
        if (
            runs and digits and (stem, str(int(digits) - 1)) == _counted(runs[-1][-1])
        ):  # w09 and w10 do not: names are whole
            runs[-1].append(name)
        else:
            runs.append([name])
    parts = [part for run in runs for part in ([run] if len(run) > 2 else [[name] for name in run])]
    left = sum(map(len, parts[most:]))
    shown = ", ".join(part[0] if len(part) == 1 else f"{part[0]}–{part[-1]}" for part in parts[:most])
    return f"{shown} and {left} more" if left else shown


def _counted(name: str) -> tuple[str, str]:
    """A name as its stem and the number at its end: ("w", "12")."""
    stem = name.rstrip("0123456789")
    return stem, name[len(stem) :]
