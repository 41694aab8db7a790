"""The known name that was probably meant: the one place for every "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one, whatever their case; empty if none is like it."""
    import difflib  # here: only a mistake needs it, and the shell's completion waits for what imports this

    small = {name.lower(): name for name in known}
    return next((small[name] for name in difflib.get_close_matches(word.lower(), small, n=1)), "")


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """`did you mean w1? `, with a blank at its end, to begin a remedy with; empty if nothing is like it.

    `form` is how the name is typed, like `--from {}`.
    """
    found = nearest(word, known)
    return f"did you mean {form.format(found)}? " if found else ""
