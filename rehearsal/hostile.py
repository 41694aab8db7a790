"""A node that lies: it changes its answers before it sends them, as an attacker with root there would.

In: the faults in force, and the model's honest answer.  Out: the answer that is sent.  CANARY is part of every planted
word that a shell would run: a script that contains it was made from a node's words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from threading import Event

from .login import enter
from .server import Exchange

CANARY = "kubefab-canary"
SHELL = f"w1$(touch /tmp/{CANARY});`{CANARY}`|{CANARY}&&{CANARY}>'{CANARY}\""
LINES = f"10.44.1.0\ntouch /tmp/{CANARY}\n{CANARY} #"
ESCAPES = "\x1b]52;c;Y2FuYXJ5\x07\x1b]0;canary\x07\x1b[2J\x1b[1;1H\x9b2J\x08\x7f\u202e\u2066\u200b\u2028✓ cluster done"
MARKUP = "[/bin/httpd] [red]x[/red] [link=file:///etc]y :warning: ${x} {{ 7*7 }} %s %(x)s"
NUMBERS = "9" * 10_000
BYTES = "\x00\ufffd\udcff"
DEEP = "[" * 200_000
TYPES: tuple[object, ...] = (None, [], {}, 7, -1e300, True, [[None]], {"": None})
HUGE = 5 << 20  # bytes; a connection brings back four

PLANTED: Mapping[str, str] = {
    "hostile-shell": SHELL,
    "hostile-lines": LINES,
    "hostile-escapes": ESCAPES,
    "hostile-markup": MARKUP,
    "hostile-numbers": NUMBERS,
    "hostile-bytes": BYTES,
}
KINDS = (*PLANTED, "hostile-types", "hostile-deep", "hostile-huge", "hostile-endless", "hostile-silent")


def changed(own: Mapping[str, str], code: int, output: bytes) -> tuple[int, bytes]:
    """The answer of a node with these faults. A fault's value limits the change to sections, `section.key` or `output`."""
    for kind in (kind for kind in KINDS if kind in own):
        output = _changed(kind, own[kind], output.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogatepass")
    return code, output


def _changed(kind: str, where: str, text: str) -> str:
    keys = {name: key for name, _, key in (place.partition(".") for place in where.split("+"))} if where else {}
    parts = re.split(r"^(@@ [\w.-]+\n)", text, flags=re.M)
    if len(parts) < 3:  # no sections: a step, a probe, a listing
        return _whole(kind, text) if not keys or "output" in keys else text
    out = [parts[0]]
    for head, body in zip(parts[1::2], parts[2::2], strict=True):
        name = head[3:-1]
        meant = name in keys or (not keys and name != "end" and (kind != "hostile-huge" or len(out) == 1))
        out += [head, _section(kind, keys.get(name, ""), body) if meant else body]
    return "".join(out)


def _whole(kind: str, text: str) -> str:
    trailer = re.match(r"##kubefab \d+ \d+\n", text)
    head = trailer[0] if trailer else ""
    rest = text[len(head) :]
    if kind in PLANTED:
        return f"{head}{PLANTED[kind]}\n{_lines(rest, '', lambda word: PLANTED[kind])}{PLANTED[kind]}\n"
    if kind == "hostile-huge":
        return head + rest + "x" * HUGE + "\n"
    return head + (DEEP if kind == "hostile-deep" else json.dumps(list(TYPES))) + "\n"


def _section(kind: str, key: str, body: str) -> str:
    if kind == "hostile-huge":
        return body + "x" * HUGE + "\n"
    if kind == "hostile-deep":
        return DEEP + "\n"
    turn = _turns()
    plant: Callable[[object], object] = (lambda old: PLANTED[kind]) if kind in PLANTED else lambda old: next(turn)
    if body.lstrip()[:1] in ("[", "{"):
        try:
            return json.dumps(_json(json.loads(body), key, plant)) + "\n"
        except ValueError:
            pass
    return _lines(body, key, lambda word: str(plant(word)))


def _turns() -> Iterator[object]:
    while True:
        yield from TYPES


def _json(value: object, key: str, plant: Callable[[object], object], under: str = "") -> object:
    """Change every leaf; with `key`, change only the values under that key."""
    if key and under == key:
        return plant(value)
    if isinstance(value, dict):
        return {name: _json(item, key, plant, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_json(item, key, plant, under) for item in value]
    return value if key else plant(value)


def _lines(body: str, key: str, plant: Callable[[str], str]) -> str:
    """Change the value of each KEY=value line and the last word of any other line; with `key`, only in that key's lines."""
    out = []
    for line in body.split("\n"):
        name, sign, value = line.partition("=")
        if sign and name.replace("_", "").replace(".", "").replace("-", "").isalnum():
            out.append(f"{name}={plant(value)}" if not key or key == name else line)
        elif line.strip() and (not key or line.startswith(key)):
            out.append(f"{line.rpartition(' ')[0]} {plant(line)}".lstrip() if " " in line.strip() else plant(line))
        else:
            out.append(line)
    return "\n".join(out)


def stalls(own: Mapping[str, str], exchange: Exchange, closing: Event) -> None:
    """The two faults that never end: output for ever, or none. Returns when the client has gone or the servers close."""
    enter(exchange)
    exchange.read()
    endless = "hostile-endless" in own
    while not exchange.gone and not closing.wait(0 if endless else 0.05):
        if endless:
            exchange.write(b"@@ nothing\n" * 4000)
