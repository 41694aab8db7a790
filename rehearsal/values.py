"""The `name='value'` lines at the head of our longer scripts."""

from __future__ import annotations

import re
import shlex


def assigned(script: str, name: str) -> str:
    """What the script's head gives to `name`, quoting undone, over several lines if need be; "" when it does not."""
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
