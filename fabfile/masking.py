"""The one place that knows secrets and takes them out of text.

A secret is registered when it is read or made; everything that a person or a file gets to see
(progress, errors, journal, plan, evidence) goes through :func:`mask` first.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from threading import Lock
from typing import Any

from .cleaning import clean

MASKED = "[secret]"
SHORTEST = 4  # a shorter string would blot out ordinary words

# Secrets that a command may print without our having made them: kubeadm's token form, bearer
# tokens (JWT), certificate keys, PEM private keys and base64 key data in a kubeconfig.
_PATTERNS = (
    re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"),
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"),
    re.compile(r"(?<=--certificate-key )\S+"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S),
    re.compile(r"(?<=client-key-data: )\S+"),
    re.compile(r"(?i)(?<=authorization: )(basic|bearer) \S+"),
)


class Masker:
    """A set of secrets and the text filter for them; safe to use from several threads."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self._lock = Lock()

    def add(self, secret: str) -> str:
        """Register a secret, in clear and base64; returns it, so that it can be used in place."""
        forms = {secret, base64.b64encode(secret.encode()).decode()}
        forms |= {line for line in secret.splitlines() if len(line) > 16}
        forms = {form for form in forms if len(form) >= SHORTEST}
        with self._lock:
            if not forms <= self._secrets:
                self._secrets |= forms
                self._known = None
        return secret

    def mask(self, text: str) -> str:
        """The text with every known secret, and whatever has a secret's form, replaced, and clean: a terminal acts on none of it."""
        text = (self._known or self._compiled()).sub(MASKED, text)
        for pattern in _PATTERNS:
            text = pattern.sub(MASKED, text)
        return clean(text)

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
masked = _masker.masked
