"""Image names and the lock file that pins them: one `image:tag sha256:…` a line, as `inv cluster.digests` writes it.

Names are upstream's, whichever mirror serves them: the same image has the same digest in every registry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

_LINE = re.compile(r"(\S+)\s+(sha256:[0-9a-f]{64})")
# Characters that image references are made of (distribution's grammar, loosely): such a name can stand in a command.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:/-]*")
HEAD = "# image:tag and digest, one a line; `inv cluster.digests` writes this file\n"


class Mistake(NamedTuple):
    """What is wrong in a line of the lock file, and what to do."""

    line: int
    what: str
    remedy: str


@lru_cache(1024)  # a plan asks for the same few for each of thousands of nodes
def full(image: str) -> str:
    """The name as containerd lists it: `busybox` is docker.io/library/busybox:latest."""
    name, at, digest = image.partition("@")
    first, slash, _ = name.partition("/")
    if not slash or not (re.search("[.:]", first) or first == "localhost"):
        name = f"docker.io/{name}" if slash else f"docker.io/library/{name}"
    tagged = ":" in name.rsplit("/", 1)[1]
    return f"{name}{'' if tagged or at else ':latest'}{at}{digest}"


@lru_cache(1024)
def repository(image: str) -> str:
    """The full name without tag and digest."""
    name = full(image).partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def parse(text: str) -> tuple[dict[str, str], list[Mistake]]:
    """Digests by full name, like {"docker.io/library/busybox:1.37": "sha256:9ae9…"}, and the mistakes in the text."""
    pins: dict[str, str] = {}
    wrong: list[Mistake] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        match = _LINE.fullmatch(words)
        name = full(match[1]) if match and _NAME.fullmatch(match[1]) else ""
        if not match or not name:
            wrong.append(
                Mistake(
                    number,
                    f"{words[:60]!r} is not `image:tag sha256:…`",
                    "write the image with its tag, then its digest of 64 hex digits",
                )
            )
        elif name in pins:
            wrong.append(Mistake(number, f"{name} is named twice", "take one out"))
        else:
            pins[name] = match[2]
    if not pins and not wrong:
        wrong.append(
            Mistake(
                1,
                "lists no image",
                "fill it from a healthy cluster: `inv cluster.digests --file images.lock`; or remove IMAGE_DIGESTS",
            )
        )
    return pins, wrong


def render(pins: Mapping[str, str]) -> str:
    """The lock file's text."""
    return HEAD + "".join(f"{image} {digest}\n" for image, digest in sorted(pins.items()))
