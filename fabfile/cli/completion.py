"""Names of environments and nodes for the shell's completion, where an option takes them.

Invoke completes names of tasks and options, and no values (invoke/completion/complete.py).  The scripts that `inv` and `fab`
print for a shell run `inv --complete -- <words>`, which loads our table of contents; this answers before Invoke does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

ENVIRONMENT = ("--env", "-e")
HOSTS_FILE = ("--hosts-file",)
NODES = ("--on", "--limit", "--hosts", "-H")
GROUPS = ("all", "master", "workers", "slaves")


def answer(argv: Sequence[str]) -> None:
    """Print the values that may be typed where the cursor is, then end the process; return where Invoke is to answer.

    `argv` is the process's own, like `inv --complete -- inv cluster.status --env a`.  The scripts leave out an empty last word,
    so a whole name may be one that is still typed, or done: both answer then.
    """
    if "--complete" not in argv or "--" not in argv:
        return
    words = argv[argv.index("--") + 1 :]
    found = values(words)
    print("".join(f"{value}\n" for value in found), end="")
    if found and words[-1] not in found:
        raise SystemExit


def values(words: Sequence[str]) -> list[str]:
    """What the last of a command line's words may become, if it is the value of an option that names environments or nodes."""
    *before, word = [word for word in words if word != "="] or [""]  # bash makes three words of --env=a
    begin = ""
    if word in (*ENVIRONMENT, *NODES):
        before, word = [*before, word], ""
    elif word.startswith("--") and "=" in word:
        option, _, word = word.partition("=")
        before, begin = [*before, option], f"{option}="
    option = before[-1] if before else ""
    if option == "--env" or (option == "-e" and any(not earlier.startswith("-") for earlier in before[1:-1])):
        return [f"{begin}{name}" for name in _environments(before) if name.startswith(word)]
    if option in NODES:
        others, comma, last = word.rpartition(",")
        return [f"{begin}{others}{comma}{name}" for name in _nodes(before) if name.startswith(last)]
    return []


def _value(words: Sequence[str], options: Sequence[str]) -> str:
    """The value of the last of these options in the words; empty without one."""
    parts = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    return next((value for option, value in reversed([*pairwise(parts)]) if option in options), "")


def _environments(words: Sequence[str]) -> Iterable[str]:
    """The environments of the hosts.env that the words name, or that is found; none of one that cannot be read."""
    from .. import inventory
    from ..errors import UsageError

    try:
        return inventory.names(_value(words, HOSTS_FILE))
    except (UsageError, OSError):
        return ()


def _nodes(words: Sequence[str]) -> Iterable[str]:
    """The groups and nodes of the environment that the words name; none of one that cannot be read."""
    from .. import inventory
    from ..errors import UsageError

    try:
        environment = inventory.load(_value(words, ENVIRONMENT) or None, hosts_file=_value(words, HOSTS_FILE))
    except (UsageError, OSError):
        return ()
    return (*GROUPS, *(node.name for node in environment.nodes))
