"""Reads the `name='value'` lines at the head of our longer scripts."""

from __future__ import annotations

import re
import shlex


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
