"""Reads what our scripts and command lines contain: `name='value'` lines, options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable


def assigned(script: str, name: str) -> str:
    """The value, unquoted and possibly of several lines, that the script's head assigns to `name`; "" if it assigns none."""
    match = re.search(rf"^{re.escape(name)}=", script, flags=re.M)
    if not match:
        return ""
    reader = shlex.shlex(script[match.end() :], posix=True, punctuation_chars=False)
    reader.whitespace_split = True
    reader.whitespace = "\n"
    reader.commenters = ""
    if script[match.end() : match.end() + 1] in ("", "\n"):
        return ""
    return reader.get_token() or ""


def split_options(words: Iterable[str], valued: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """A command's positional words, and its options with their values: `--name=value`, or the next word for `valued` ones."""
    rest: list[str] = []
    options: dict[str, str] = {}
    given = iter(words)
    for word in given:
        if word.startswith("--") and "=" in word:
            name, _, value = word.partition("=")
            options[name] = value
        elif word in valued:
            options[word] = next(given)
        elif word.startswith("-") and len(word) > 1:
            options[word] = ""
        else:
            rest.append(word)
    return rest, options
