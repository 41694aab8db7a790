"""Package sources that a machine has already: apt's one-line lists and deb822 files, dnf's .repo files, and the keys that they name.

Two entries of one apt source (URI and suite) with different keys make every list of that machine unreadable.  So what is there is
read before a list of ours is written.  Sources: sources.list(5); apt-pkg/deb/debmetaindex.cc (http and https are the same source to it);
dnf.conf(5); RFC 9580 (packets, fingerprints).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from ..records import dataclass
from ..text import forms

UNKNOWN_KEY = "?"  # in a keyring: a key, or a whole file, that could not be read


@dataclass(frozen=True)
class Source:
    """One source as one entry has it: a URI with one suite (apt), or a section with its baseurl (dnf, whose id is `name`).

    `signed_by` is the value of Signed-By or gpgkey: a path, paths, fingerprints, or a whole armored key. `off` is the line that
    switches the entry off with sed: "3s/^/# /".
    """

    file: str
    line: int
    kind: Literal["deb", "deb-src", "rpm"]
    uri: str
    suite: str = ""
    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    signed_by: str = ""
    trusted: str = ""
    name: str = ""
    off: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def same(self, uri: str, suite: str = "") -> bool:
        """Whether apt (dnf) takes it for the source with this URI and suite."""
        return (_plain(self.uri), self.suite) == (_plain(uri), suite)


def _plain(uri: str) -> str:
    """A URI without what apt ignores when it compares: http or https, one slash at the end."""
    return re.sub(r"^https?:", "", uri).removesuffix("/")


def parse_sources(lines: Iterable[str]) -> tuple[Source, ...]:
    """The enabled entries, from `file TAB line number TAB text` of each line; what has not the form of an entry is left out."""
    files: dict[str, list[tuple[int, str]]] = {}
    for line in lines:
        file, _, rest = line.partition("\t")
        number, tab, text = rest.partition("\t")
        if tab and forms.has(file, forms.PATH) and forms.has(number, "[1-9][0-9]{0,5}"):
            files.setdefault(file, []).append((int(number), text))
    found: list[Source] = []
    for file, rows in files.items():
        form = _repo if file.endswith(".repo") else _deb822 if file.endswith(".sources") else _one_line
        found += form(file, rows)
    return tuple(found)


_ONE_LINE = re.compile(r"\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+\S+)*)\s*")


def _one_line(file: str, rows: Sequence[tuple[int, str]]) -> Iterator[Source]:
    for number, text in rows:
        match = _ONE_LINE.fullmatch(text.partition("#")[0].replace('"', ""))
        if match:
            options = dict(word.split("=", 1) for word in (match[2] or "").split() if "=" in word)
            options = {key.lower(): value for key, value in options.items()}
            yield Source(
                file,
                number,
                "deb" if match[1] == "deb" else "deb-src",
                match[3],
                match[4],
                tuple(match[5].split()),
                tuple(filter(None, options.get("arch", "").split(","))),
                options.get("signed-by", ""),
                options.get("trusted", ""),
                off=f"{number}s/^/# /",
            )


def _deb822(file: str, rows: Sequence[tuple[int, str]]) -> Iterator[Source]:
    stanza: list[tuple[int, str]] = []
    for number, text in [*rows, (0, "")]:
        if text.strip():
            if not text.startswith("#"):
                stanza.append((number, text))
            continue
        yield from _stanza(file, stanza)
        stanza = []


def _stanza(file: str, rows: Sequence[tuple[int, str]]) -> Iterator[Source]:
    fields: dict[str, str] = {}
    at: dict[str, int] = {}
    last = ""
    for number, text in rows:
        if text[0] in " \t":
            fields[last] = f"{fields.get(last, '')}\n{text[1:]}"
        else:
            last, _, value = text.partition(":")
            last = last.strip().lower()
            fields[last], at[last] = value.strip(), number
    if fields.get("enabled", "yes").lower() in ("no", "false", "without", "off", "disable", "0"):
        return
    off = f"{at['enabled']}s/.*/Enabled: no/" if "enabled" in at else f"{rows[0][0]}i Enabled: no" if rows else ""
    for kind in fields.get("types", "").split():
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(
                    file,
                    rows[0][0],
                    "deb" if kind == "deb" else "deb-src",
                    uri,
                    suite,
                    tuple(fields.get("components", "").split()),
                    tuple(fields.get("architectures", "").split()),
                    fields.get("signed-by", "").strip(),
                    fields.get("trusted", ""),
                    off=off,
                )


def _repo(file: str, rows: Sequence[tuple[int, str]]) -> Iterator[Source]:
    sections: list[tuple[int, str, dict[str, tuple[int, str]]]] = []
    for number, text in rows:
        if match := re.fullmatch(r"\s*\[([A-Za-z0-9._:-]{1,200})\]\s*", text):
            sections.append((number, match[1], {}))
        elif sections and (match := re.fullmatch(r"\s*(\w+)\s*=\s*(.*?)\s*", text)):
            sections[-1][2][match[1]] = number, match[2]
    for number, name, fields in sections:
        at, enabled = fields.get("enabled", (0, "1"))
        off = f"{at}s/.*/enabled=0/" if at else f"{number}a enabled=0"
        if enabled.lower() not in ("0", "no", "false"):
            for uri in fields.get("baseurl", (0, ""))[1].replace(",", " ").split():
                yield Source(file, number, "rpm", uri, signed_by=fields.get("gpgkey", (0, ""))[1], name=name, off=off)


# --- keys


def parse_keyrings(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The fingerprints in each keyring, from `base64 path` lines."""
    words = [line.split(" ", 1) for line in lines]
    return {w[1]: fingerprints(_unpacked(w[0])) for w in words if len(w) == 2 and forms.has(w[1], forms.PATH)}


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def fingerprints(keyring: bytes) -> tuple[str, ...]:
    """The fingerprints of the primary keys in a keyring, binary or armored, upper-case hex; UNKNOWN_KEY for what cannot be read."""
    blocks = _ARMOR.findall(keyring)
    try:
        parts = [base64.b64decode(_body(block), validate=True) for block in blocks] if blocks else [keyring]
        found = [one for part in parts for one in _primary(part)]
    except (binascii.Error, ValueError, IndexError):
        return (UNKNOWN_KEY,)
    return tuple(dict.fromkeys(found)) or (UNKNOWN_KEY,)


_ARMOR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.S)


def _body(block: bytes) -> bytes:
    """The base64 of an armored block, without its headers and its checksum; deb822 writes an empty line as a dot."""
    lines = [line.strip() for line in block.splitlines()]
    return b"".join(
        line for line in lines if line not in (b"", b".") and b":" not in line and not line.startswith(b"=")
    )


def _primary(data: bytes) -> Iterator[str]:
    """The fingerprints of public-key packets (tag 6). Raises IndexError or ValueError for what is no series of packets."""
    at = 0
    while at < len(data):
        first = data[at]
        if not first & 0x80:
            raise ValueError
        if first & 0x40:
            tag, begin = first & 0x3F, at + 2
            size = data[at + 1]
            if 192 <= size < 224:
                size, begin = ((size - 192) << 8) + data[at + 2] + 192, at + 3
            elif size == 255:
                size, begin = int.from_bytes(data[at + 2 : at + 6]), at + 6
            elif size >= 224:  # a partial length, which no key has
                raise ValueError
        else:
            tag, width = first >> 2 & 0x0F, (1, 2, 4, 0)[first & 3]
            if not width:
                raise ValueError
            size, begin = int.from_bytes(data[at + 1 : at + 1 + width]), at + 1 + width
        body = data[begin : begin + size]
        if len(body) != size or not size:
            raise ValueError
        if tag == 6:
            packet = b"\x99" + len(body).to_bytes(2) + body
            yield hashlib.sha1(packet, usedforsecurity=False).hexdigest().upper() if body[0] == 4 else UNKNOWN_KEY
        at = begin + size
