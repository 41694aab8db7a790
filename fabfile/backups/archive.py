"""The one file of a backup: a tar, encrypted with age as it is written. Neither memory nor disk ever holds a clear copy of it."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import IO, Any

from ..errors import KubefabError, UsageError
from .contents import LARGE, RECORD, SMALL, Record, parse_record

_BLOCK = 512
_PIECE = 1 << 16
MEMBERS = 500
_SAFE = re.compile(r"(?!.*(^|/)\.\.?(/|$))[A-Za-z0-9][\w.@:+/-]*")
AGAIN = "take another backup (`inv cluster.backups --check` verifies each); a file that fails is not to be trusted"


def recipient(text: str) -> Any:
    """The age recipient (public key). Raises ValueError."""
    import pyrage  # here: a third of a listing's time

    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ValueError(f"{text!r} is not an age recipient, like age1… that `age-keygen` prints: {error}") from None


def identities(path: Path) -> list[Any]:
    """The keys in an identity file as `age-keygen` writes it. Raises UsageError where there are none."""
    import pyrage

    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise UsageError(f"--identity {path}: no age identity is in it", "name the file that age-keygen wrote")
    return found


class Writer:
    """Writes one backup into `folder`, first into a hidden file there, both with mode 0600. It is a Sink of a node's files.

    The hidden file is the one of `environment`: what a killed run left goes with the next one.
    `named` gives the name in the archive for a file's path on the node. Without a recipient it is not encrypted.
    """

    def __init__(self, folder: Path, environment: str, to: str, named: Callable[[str], str]) -> None:
        self._to, self._named = to, named
        self._part = folder / f".{environment}.backup.part"
        self._disk: IO[bytes] | None = None
        self._out: IO[bytes] | None = None
        self._thread: Thread | None = None
        self._fault: BaseException | None = None
        self._restart()

    def _restart(self) -> None:
        self.files: dict[str, str] = {}
        self.texts: dict[str, bytes] = {}
        self._name, self._size, self._kept = "", 0, bytearray()

    def begin(self) -> None:
        """Begin with an empty file. Raises KubefabError where it cannot be written."""
        self.abandon()
        self._restart()
        with self._errors():
            self._part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._part.unlink(missing_ok=True)
            self._disk = os.fdopen(
                os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb"
            )
            if not self._to:
                self._out = self._disk
                return
            reading, writing = os.pipe()
            self._out = os.fdopen(writing, "wb")
            self._thread = Thread(target=self._encrypt, args=(os.fdopen(reading, "rb"), self._disk), daemon=True)
            self._thread.start()

    def _encrypt(self, clear: IO[bytes], disk: IO[bytes]) -> None:
        import pyrage

        try:
            with clear:  # closed early it ends the other side
                pyrage.encrypt_io(clear, disk, [recipient(self._to)])
        except BaseException as error:
            self._fault = error

    def start(self, path: str, size: int) -> None:
        """A file of the node's comes."""
        self._head(self._named(path), size)

    def _head(self, name: str, size: int) -> None:
        if name in self.files:
            raise KubefabError(f"{name} comes twice: this is no whole backup")
        if name not in LARGE and size > SMALL:
            raise KubefabError(f"{name} has {size} bytes: a file of a control plane has at most {SMALL}")
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o700 if name in LARGE else 0o600
        self._name, self._size, self._kept = name, size, bytearray()
        self._put(info.tobuf(tarfile.GNU_FORMAT))

    def write(self, data: bytes) -> None:
        """A piece of it."""
        if self._name not in LARGE:
            self._kept += data
        self._put(data)

    def finish(self, sha256: str) -> None:
        """It has come whole."""
        self._put(b"\0" * (-self._size % _BLOCK))
        self.files[self._name] = sha256
        if self._name not in LARGE:
            self.texts[self._name] = bytes(self._kept)

    def add(self, name: str, text: str) -> None:
        """Add a file of the operator's side."""
        data = text.encode()
        self._head(name, len(data))
        self.write(data)
        self.finish(hashlib.sha256(data).hexdigest())

    def _put(self, data: bytes) -> None:
        with self._errors():
            if self._out is None:
                raise KubefabError("nothing of the backup has come", "run this again")
            self._out.write(data)

    def close(self, name: str) -> tuple[Path, int]:
        """End the file, and give it its name; returns its path and its size in bytes. Raises KubefabError, and leaves nothing then."""
        self._put(b"\0" * (_BLOCK * 2))
        try:
            with self._errors():
                if self._out is not None and self._out is not self._disk:
                    self._out.close()
                if self._thread:
                    self._thread.join()
                if self._fault:
                    raise self._fault
                assert self._disk is not None
                self._disk.flush()
                os.fsync(self._disk.fileno())
                self._disk.close()
                path = self._part.with_name(name)
                if path.exists():
                    raise KubefabError(f"{path} exists already, and is not replaced", "run this again")
                self._part.replace(path)
                folder = os.open(path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
                return path, path.stat().st_size
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Remove what is not finished."""
        for stream in (self._out, self._disk):
            with suppress(OSError, ValueError):
                if stream:
                    stream.close()
        if self._thread:
            self._thread.join()
        self._out = self._disk = self._thread = self._fault = None
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What the disk or age says, as KubefabError: the connection takes an OSError for its own."""
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, BrokenPipeError) and self._thread:
                self._thread.join()  # it ends with the reason
            why = self._fault if isinstance(error, BrokenPipeError) and self._fault else error
            text = getattr(why, "strerror", None) or str(why)
            raise KubefabError(
                f"{self._part} cannot be written: {text}", "make room there, or name another folder with --to"
            ) from None


class Reader:
    """Reads a backup, from its beginning each time. `keys` are what `identities` returned."""

    def __init__(self, path: Path, keys: list[Any]) -> None:
        self.path, self._keys = path, keys

    def whole(self) -> tuple[Record, dict[str, bytes]]:
        """Read all of it and compare every digest; returns its record, and the files that are not LARGE. Raises KubefabError for damage."""
        digests: dict[str, str] = {}
        texts: dict[str, bytes] = {}
        with self._tar() as tar:
            for info, stream in self._members(tar):
                digest, kept = hashlib.sha256(), bytearray()
                while piece := stream.read(_PIECE):
                    digest.update(piece)
                    if info.name not in LARGE:
                        kept += piece
                digests[info.name] = digest.hexdigest()
                if info.name not in LARGE:
                    texts[info.name] = bytes(kept)
        try:
            record = parse_record(texts.get(RECORD, b"").decode())
        except (ValueError, LookupError, TypeError) as error:
            raise KubefabError(f"{self.path}: it has no {RECORD} that can be read ({error})", AGAIN) from None
        differs = sorted(
            name for name in {*digests, *record.files} - {RECORD} if digests.get(name) != record.files.get(name)
        )
        if differs:
            raise KubefabError(
                f"{self.path} is damaged: {', '.join(differs[:5])} {'are' if differs[1:] else 'is'} not what was written",
                AGAIN,
            )
        return record, texts

    def pieces(self, name: str) -> Iterator[bytes]:
        """The content of one file, in pieces. Raises KubefabError."""
        with self._tar() as tar:
            for info, stream in self._members(tar):
                if info.name == name:
                    while piece := stream.read(_PIECE):
                        yield piece
                    return
        raise KubefabError(f"{self.path} has no {name}", AGAIN)

    def _members(self, tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
        seen: set[str] = set()
        for info in tar:
            stream = tar.extractfile(info) if info.isreg() else None
            small = info.name in LARGE or info.size <= SMALL
            if (
                stream is None
                or not small
                or not _SAFE.fullmatch(info.name)
                or info.name in seen
                or len(seen) >= MEMBERS
            ):
                raise KubefabError(f"{self.path} is not a backup of kubefab's: {info.name[:80]!r} is in it", AGAIN)
            seen.add(info.name)
            yield info, stream

    @contextmanager
    def _tar(self) -> Iterator[tarfile.TarFile]:
        fault: list[BaseException] = []
        try:
            with self._clear(fault) as clear, tarfile.open(fileobj=clear, mode="r|") as tar:
                yield tar
                while clear.read(_PIECE):  # age knows only at its end whether all of it is whole
                    pass
            if fault:
                raise fault[0]
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            if fault or isinstance(error, OSError):
                raise self._refused(fault[0] if fault else error) from None
            raise KubefabError(f"{self.path} is damaged: {error}", AGAIN) from None
        except KubefabError:
            raise
        except Exception as error:
            raise self._refused(error) from None

    def _refused(self, error: BaseException) -> KubefabError:
        if isinstance(error, OSError):
            return KubefabError(f"{self.path} cannot be read: {error.strerror or error}")
        wrong = "No matching keys" in str(error)
        what = (
            "is encrypted to another key than the one in --identity"
            if wrong
            else f"cannot be decrypted: it is damaged ({error})"
        )
        return KubefabError(
            f"{self.path} {what}", "name the identity file of its recipient with --identity" if wrong else AGAIN
        )

    @contextmanager
    def _clear(self, fault: list[BaseException]) -> Iterator[IO[bytes]]:
        """The decrypted stream. What goes wrong while it is decrypted is put into `fault`."""
        import pyrage

        disk = self.path.open("rb")
        with disk:
            if not self.path.name.endswith(".age"):
                yield disk
                return
            if not self._keys:
                raise UsageError(f"{self.path} is encrypted", "name the file with the key: --identity FILE")
            reading, writing = os.pipe()

            def decrypt() -> None:
                try:
                    with os.fdopen(writing, "wb") as clear:
                        pyrage.decrypt_io(disk, clear, self._keys)
                except BrokenPipeError:  # the reader has what it wanted
                    pass
                except BaseException as error:
                    fault.append(error)

            thread = Thread(target=decrypt, daemon=True)
            with os.fdopen(reading, "rb") as stream:
                thread.start()
                try:
                    yield stream
                finally:
                    stream.close()
                    thread.join()
