"""The one place that knows secrets and takes them out of text.

A secret that we read or make is a :class:`Secret`, which is registered here when it is made; everything that a person or
a file gets to see (progress, errors, journal, plan, evidence) goes through :func:`mask` first.
"""

from __future__ import annotations

import base64
import codecs
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any
from urllib.parse import quote, quote_plus

from .cleaning import clean

MASKED = "[secret]"
SHORTEST = 4  # a shorter string would blot out ordinary words: such a password is refused where it is read

# Secrets that a command may print without our having made them: kubeadm's token form, certificate keys, age's and PEM private keys, base64 key
# data in a kubeconfig, Authorization headers, logins in URLs.  What is masked comes from machines, so each pattern must be linear in
# its input: every repetition is bounded, or possessive, or ends at a character that cannot begin the next match.
_PATTERNS = (
    re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"),
    re.compile(r"(?<=--certificate-key[ =])\S+"),
    re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{1,200}"),
    re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.S),
    re.compile(r"(?<=client-key-data)[\"']{0,2}\s{0,8}[:=]\s{0,8}[\"']?[A-Za-z0-9+/=_-]+"),
    re.compile(r"(?i)(?<=authorization)[\"']?\s{0,8}[:=]\s{0,8}[\[\"']{0,3}(basic|bearer|token)\s{1,8}[^\s\"']+"),
    re.compile(r"(?i)(?<=://)[^\s/?#\"'<>]+(?=@)"),
)
_DOTTED = re.compile(r"(?<![\w-])[\w-]++(?:\.[\w-]++){2,}+")
_JWT = re.compile(r"(?<![A-Za-z0-9])eyJ[\w-]")


def _without_jwt(match: re.Match[str]) -> str:
    """Words joined by dots, less the JSON Web Token at their end: from its "eyJ" on, if two dots follow."""
    words = match[0]
    begin = _JWT.search(words)
    return words[: begin.start()] + MASKED if begin and words.count(".", begin.start()) >= 2 else words


def _forms(secret: str) -> set[str]:
    """A secret as it is and as it may be printed: base64, JSON, URL, shell and hex; and each long line of it."""
    data = secret.encode("utf-8", "surrogateescape")
    encoded = base64.b64encode(data).decode().rstrip("=")
    urls = {form for safe in ("", "/") for form in (quote(data, safe=safe), quote_plus(data, safe=safe))}
    return {
        secret,
        encoded,
        encoded.translate(str.maketrans("+/", "-_")),
        *(json.dumps(secret, ensure_ascii=ascii)[1:-1] for ascii in (True, False)),
        *urls,
        *(re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in urls),
        shlex.quote(secret),
        shlex.quote(secret)[1:-1] if shlex.quote(secret) != secret else secret,
        secret.replace("'", "'\\''"),
        re.sub(r"([^\w@%+=:,./-])", r"\\\1", secret),  # bash's printf %q
        data.hex(),
        data.hex().upper(),
        *(line for line in secret.splitlines() if len(line) > 16),
    }


class Masker:
    """A set of secrets and the text filter for them; safe to use from several threads."""

    def __init__(self) -> None:
        self._added: set[str] = set()
        self._secrets: set[str] = set()  # in all their forms
        self._known: re.Pattern[str] | None = None
        self._lock = Lock()

    def add(self, secret: str) -> str:
        """Register a secret in all the forms that it may be printed in; returns it, so that it can be used in place."""
        if len(secret) >= SHORTEST and secret not in self._added:
            forms = {form for form in _forms(secret) if len(form) >= SHORTEST}
            with self._lock:
                if not forms <= self._secrets:
                    self._secrets |= forms
                    self._known = None
                self._added.add(secret)
        return secret

    def mask(self, text: str) -> str:
        """The text with every known secret, and whatever has a secret's form, replaced. And clean: a terminal acts on none
        of it. In time linear in the text."""
        text = (self._known or self._compiled()).sub(MASKED, text)
        for pattern in _PATTERNS:
            text = pattern.sub(MASKED, text)
        return clean(_DOTTED.sub(_without_jwt, text))

    def tail(self, text: str, limit: int = 160) -> str:
        """The last `limit` characters, without blanks at the ends; masked while secrets are whole: half a token is its secret half."""
        return self.mask(text).strip()[-limit:]

    def _compiled(self) -> re.Pattern[str]:
        """The pattern of all secrets, made when it is first needed after one was added."""
        with self._lock:
            if self._known is None:
                longest_first = sorted(self._secrets, key=len, reverse=True)
                self._known = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
            return self._known

    def masked(self, value: Any) -> Any:
        """The value as JSON can hold it, every text in it masked; to be called before json.dumps, which changes quotes in a secret."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self.mask(str(key)): self.masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.masked(item) for item in value]
        return self.mask(str(value))


_masker = Masker()
register = _masker.add
mask = _masker.mask
masked_tail = _masker.tail
masked = _masker.masked


LONGEST_LINE = 1 << 16  # characters


class Lines:
    """What arrives in pieces, as masked lines: a secret may be cut anywhere between two pieces, so only whole lines are shown.

    With a `mark`, only the lines that begin with it are shown, without it.  A private key has several lines: none of them is shown. Of a
    line longer than LONGEST_LINE nothing is shown but that it came: half of it may be half a secret.
    """

    def __init__(self, mark: str = "") -> None:
        self._mark, self._rest, self._in_key, self._too_long = mark, "", False, False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[str]:
        """The lines that end in this piece; with `last` also the one that has no end."""
        text = self._rest + self._decoder.decode(data, last)
        held = text.endswith("\r") and not last  # half of a line's end
        *whole, self._rest = re.split(r"\r\n|\r|\n", text[: len(text) - held])
        self._rest += "\r" * held
        if last and self._rest:
            whole.append(self._rest)
            self._rest = ""
        for line in whole:
            long, self._too_long = self._too_long or len(line) > LONGEST_LINE, False
            if line.startswith(self._mark):
                yield self._masked("" if long else line.removeprefix(self._mark), long)
        if len(self._rest) > LONGEST_LINE:
            self._rest, self._too_long = self._rest[: len(self._mark)], True

    def _masked(self, line: str, long: bool) -> str:
        if long:
            return f"[a line of more than {LONGEST_LINE} characters]"
        inside, self._in_key = self._in_key, _KEY_ENDS.search(line) is None if self._in_key else _key_is_open(line)
        return MASKED if inside else mask(line)


_KEY_BEGINS, _KEY_ENDS = (re.compile(rf"-----{word} [A-Z ]{{0,40}}PRIVATE KEY-----") for word in ("BEGIN", "END"))


def _key_is_open(line: str) -> bool:
    """Whether a private key begins in this line and does not end in it."""
    begun = [match.end() for match in _KEY_BEGINS.finditer(line)]
    return bool(begun) and _KEY_ENDS.search(line, begun[-1]) is None


class Secret:
    """A secret text, like a password. str, repr and f-strings show `[secret]`, or nothing where it is empty; `reveal()` gives the text.

    The masker knows it, in every encoding, as soon as it exists. It equals another secret of the same text, and never a str.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = register(text)

    def reveal(self) -> str:
        """The text itself, for code that sends it to where it belongs. What is derived from it, like base64, has to be a Secret again."""
        return self._text

    def __str__(self) -> str:
        return MASKED if self._text else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


class Token(Secret):
    """A bootstrap token, like `abcdef.0123456789abcdef`. Its first half is its name and no secret; the second is one by itself."""

    __slots__ = ()

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        register(self.half)

    @classmethod
    def later(cls, text: str) -> Token:
        """A plan's words in place of a token that only a run will make: not a secret, shown as they are."""
        made = cls()
        made._text = text
        return made

    @property
    def id(self) -> str:
        """The first half, by which kubeadm names the token in lists and in its Secret."""
        return self._text.partition(".")[0]

    @property
    def half(self) -> str:
        """The second half: in Kubernetes 1.5, this half alone is a bearer token."""
        return self._text.partition(".")[2]
