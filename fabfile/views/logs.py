"""What a unit on a node wrote into its journal: the commands that ask, and the forms of what a person may ask for."""

from __future__ import annotations

import re
import shlex

from ..errors import KubefabError, UsageError
from ..inventory import Node
from ..nodes import script
from ..nodes.connection import Connection, outcome
from ..text.forms import PLAIN
from ..text.masking import mask
from ..text.nearest import did_you_mean

MOST = 100_000  # lines
LIMIT = 2 << 20  # bytes of them that come back, the newest
TIMEOUT = 60.0  # seconds
ALIVE = "##kubefab alive"  # a line of the follower's own: writing it fails when the reader is gone
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def arguments(unit: str, since: str, lines: int) -> str:
    """The words after `journalctl` for the last `lines` lines of a unit; `since` is like 10m, 2h, 2026-11-29 or 2026-11-29 14:05.

    Each has a form without a character that a shell acts on. Raises UsageError for another.
    """
    if not re.fullmatch(PLAIN, unit) or len(unit) > 255:
        raise UsageError(f"--unit {unit!r} is no unit's name", "write it like kubelet, containerd or ssh.service")
    if lines > MOST:
        raise UsageError(f"--lines {lines} are too many", f"at most {MOST}; --since chooses the time")
    words = ["-q", "--no-pager", "-o", "short-iso", "-u", unit, "-n", str(lines)]
    if ago := re.fullmatch(r"([0-9]{1,6})([smhd])", since):
        words.append(f"--since=-{int(ago[1]) * _SECONDS[ago[2]]}s")
    elif re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}(:[0-9]{2})?)?", since):
        words.append(f"--since={since}")
    elif since:
        raise UsageError(
            f"--since {since!r} is no time",
            "write it like 90s, 10m, 2h or 3d, or like '2026-11-29 14:05' by the node's clock",
        )
    return shlex.join(words)


def read(connection: Connection, unit: str, words: str) -> list[str]:
    """The lines, masked. Raises KubefabError if the node has no such unit, or no journal."""
    name = f"logs.{connection.node.name}"
    text = script.render(name, (f"journalctl {words}",), lock=False, limit=LIMIT)
    done = outcome(connection, name, text, TIMEOUT)
    if done.code and done.output.strip():  # with nothing to show, some releases of journalctl end with 1
        raise KubefabError(
            f"{connection.node.name}: journalctl failed (exit code {done.code})",
            "does systemd keep a journal there?",
            done.output,
        )
    lines = mask(done.output).splitlines()
    if not lines:
        check(connection, unit)
    return lines


def check(connection: Connection, unit: str) -> None:
    """Raises UsageError, with the nearest name, if the node has no such unit."""
    name = f"units.{connection.node.name}"
    asked = (
        "systemctl list-unit-files --type=service --no-legend --no-pager",
        f"systemctl show -p LoadState --value {unit}",
    )
    done = outcome(connection, name, script.render(name, asked, lock=False), TIMEOUT)
    *units, state = done.output.split("\n")[:-1] or [""]
    if state == "not-found":
        named = (line.partition(" ")[0].removesuffix(".service") for line in units)
        known = [name for name in named if re.fullmatch(PLAIN, name)]
        raise UsageError(
            f"{connection.node.name} has no unit {unit}",
            f"{did_you_mean(unit, known, '--unit {}')}`systemctl list-unit-files` there lists them",
        )


def following(words: str) -> str:
    """The script that goes on printing new lines until nothing reads them any more.

    A closed SSH channel ends no process: without the line that it tries to write, `journalctl -f` of a silent unit would stay on the node.
    """
    return "\n".join(
        (
            'rm -f -- "$0"',
            f"journalctl -f {words} &",
            "pid=$!",
            "trap 'kill $pid 2>/dev/null' EXIT",
            "trap 'exit 1' PIPE HUP TERM",
            f"while sleep 5 && kill -0 $pid 2>/dev/null; do echo '{ALIVE}' || exit; done",
            "wait $pid",
            "",
        )
    )


def about(node: Node, unit: str, since: str) -> str:
    """The sentence where there is no line."""
    return f"{node.name}: {unit} wrote nothing{f' since {since}' if since else ''}"
