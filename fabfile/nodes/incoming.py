"""Reads what a script that sends files prints (script.sending), piece by piece as it comes: a snapshot may be larger than the memory."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from ..text import forms
from ..text.forms import FormError
from .script import OUTPUT_LIMIT, Outcome

FILES = 400  # in one answer; a control plane has about 40
LARGEST = 64 << 30  # bytes of one file; etcd's own limit is 8 GiB
_LINE = 4096
_TRAILER = re.compile(r"##kubefab ([0-9]{1,9}) ([0-9]{1,9})")
_FILE = re.compile(r"##file ([0-9]{1,15}) ([0-9a-f]{64}) (/.*)")


class Sink(Protocol):
    """Takes files as they come. Raises KubefabError where it cannot."""

    def begin(self) -> None:
        """The files come, from the first one: what came before, over a link that broke, does not count."""

    def start(self, path: str, size: int) -> None:
        """A file of so many bytes comes."""

    def write(self, data: bytes) -> None:
        """A piece of it."""

    def finish(self, sha256: str) -> None:
        """It has come whole: its digest is the one that the node computed."""


class Incoming:
    """One answer. `feed` raises FormError for what has not its form, and what the sink raises.

    `outcome` is what the commands before the files did, None until that is known; `whole` says that everything has come.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink, self._line, self._tail = sink, b"", b""
        self._code = self._command = -1
        self._left = self._count = 0
        self._digest, self._wanted = hashlib.sha256(), ""
        self._open = self.whole = False

    def outcome(self, code: int) -> Outcome:
        """What the commands did; `code` is the channel's exit code."""
        return Outcome(code or self._code, max(0, self._command), self._tail.decode("utf-8", "replace"))

    def feed(self, data: bytes) -> None:
        """The next piece of the answer."""
        while data:
            if self._open:
                data = self._content(data)
            elif self._code > 0:
                self._tail, data = (self._tail + data)[-OUTPUT_LIMIT:], b""
            else:
                line, newline, data = data.partition(b"\n")
                self._line += line
                if len(self._line) > _LINE and self._code == 0:
                    raise FormError("line of the answer", self._line[:80], "a line of at most 4096 bytes")
                if newline:
                    line, self._line = self._line, b""
                    self._read(line.decode("utf-8", "replace"))

    def _read(self, line: str) -> None:
        if self._code < 0:  # what comes before the trailer is not the script's: a login shell's greeting
            if match := _TRAILER.fullmatch(line):
                self._command, self._code = int(match[1]), int(match[2])
                if self._code == 0:
                    self._sink.begin()
        elif match := _FILE.fullmatch(line):
            size, self._count = int(match[1]), self._count + 1
            if self.whole or self._count > FILES or size > LARGEST:
                raise FormError("file", line, f"one of at most {FILES} files of at most {LARGEST >> 30} GiB")
            self._left, self._wanted, self._digest, self._open = size, match[2], hashlib.sha256(), True
            self._sink.start(forms.word(match[3], "file", forms.PATH, "a plain path"), size)
        elif line == f"##sent {self._count}":
            self.whole = True
        else:
            raise FormError("answer", line, "a file, or the number of files")

    def _content(self, data: bytes) -> bytes:
        """Take what belongs to the present file, and the newline behind it; return the rest."""
        mine, rest = data[: self._left], data[self._left :]
        if mine:
            self._left -= len(mine)
            self._digest.update(mine)
            self._sink.write(mine)
        if self._left or not rest:
            return rest
        if rest[:1] != b"\n" or self._digest.hexdigest() != self._wanted:
            raise FormError(
                "file", self._wanted, "the digest of what came: the file was changed while it was read, or cut short"
            )
        self._open = False
        self._sink.finish(self._wanted)
        return rest[1:]
