"""Files that a node sends: the script in a real bash, and what reads them, in pieces of any size."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.nodes import script
from fabfile.nodes.connection import Connection
from fabfile.nodes.incoming import FILES, Incoming
from fabfile.text.forms import FormError


@dataclass
class Kept:
    """A sink that keeps everything; `begun` counts how often the files began to come."""

    files: dict[str, bytes] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    name: str = ""
    begun: int = 0

    def begin(self) -> None:
        self.begun += 1

    def start(self, path: str, size: int) -> None:
        self.name, self.files[path] = path, b""

    def write(self, data: bytes) -> None:
        self.files[self.name] += data

    def finish(self, sha256: str) -> None:
        self.whole[self.name] = sha256


def answer(files: dict[str, bytes], before: bytes = b"") -> bytes:
    sent = b"".join(
        f"##file {len(data)} {hashlib.sha256(data).hexdigest()} {path}\n".encode() + data + b"\n"
        for path, data in files.items()
    )
    return before + b"##kubefab 3 0\n" + sent + f"##sent {len(files)}\n".encode()


def fed(data: bytes, cuts: list[int]) -> tuple[Incoming, Kept]:
    kept = Kept()
    incoming = Incoming(kept)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(places):
        incoming.feed(data[begin:end])
    return incoming, kept


CONTENTS = st.dictionaries(
    st.sampled_from(["/a", "/b/c.key", "/d.db"]), st.binary(max_size=300) | st.just(b"##sent 0\n##kubefab 1 1\n")
)


@given(
    CONTENTS,
    st.lists(st.integers(0, 2000), max_size=12),
    st.sampled_from([b"", b"Welcome!\n", b"sudo: unable to resolve host\n"]),
)
def test_what_is_sent_comes_however_it_is_cut(files: dict[str, bytes], cuts: list[int], before: bytes) -> None:
    incoming, kept = fed(answer(files, before), cuts)
    assert incoming.whole and incoming.outcome(0).code == 0 and kept.begun == 1
    assert kept.files == files and set(kept.whole) == set(files)


@given(st.binary(min_size=1, max_size=60), st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_of_a_file_is_taken_for_whole(data: bytes, at: int, other: int) -> None:
    good = answer({"/x": data})
    begin = good.index(b" /x\n") + len(b" /x\n")
    bad = bytearray(good)
    bad[begin + at % len(data)] ^= other
    with pytest.raises(FormError):
        fed(bytes(bad), [])


@given(CONTENTS, st.integers(0, 10_000))
def test_no_answer_that_is_cut_short_is_whole(files: dict[str, bytes], at: int) -> None:
    sent = answer(files)
    incoming, _ = fed(sent[: at % len(sent)], [])
    assert not incoming.whole


@pytest.mark.parametrize("line", [
    "##file 1 " + "0" * 64 + " relative", "##file 1 " + "0" * 64 + " /a b", "##file 1 " + "0" * 64 + " /a\x1b[2J", "##file -1 " + "0" * 64 + " /a",
    "##file 999999999999999 " + "0" * 64 + " /a", "##file 1 abc /a", "##sent 1", "rm -rf /", "x" * 5000,
])  # fmt: skip
def test_what_has_not_the_form_is_refused(line: str) -> None:
    with pytest.raises(FormError):
        fed(f"##kubefab 1 0\n{line}\n".encode(), [])


def test_the_number_of_files_is_bounded() -> None:
    with pytest.raises(FormError):
        fed(answer({f"/{n}": b"" for n in range(FILES + 1)}), [])


# --- the script


def sending(folder: Path, *commands: str, sends: tuple[str, ...] = ()) -> str:
    (folder / "run").mkdir(exist_ok=True)
    text = script.sending("test.step", commands, sends, (f"{folder}/scratch", f"{folder}/second"), wait=5)
    return text.replace("/run/kubefab", f"{folder}/run/kubefab")


def bash(folder: Path, text: str) -> subprocess.CompletedProcess[bytes]:
    (folder / "sent").write_text(text)
    return subprocess.run(
        ["bash", folder / "sent"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )


def test_the_script_sends_what_its_commands_made_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/ca.key").write_bytes(os.urandom(70_000))
    (tmp_path / "keys/link").symlink_to("ca.key")
    (tmp_path / "keys/folder").mkdir()
    done = bash(tmp_path, sending(
        tmp_path, f"mkdir -m 700 {tmp_path}/scratch", f"printf db >{tmp_path}/scratch/db", "echo not shown",
        sends=(f"{tmp_path}/scratch/*", f"{tmp_path}/keys/*", f"{tmp_path}/none/*", f"{tmp_path}/gone"),
    ))  # fmt: skip
    incoming, kept = fed(done.stdout, [1000, 5])
    assert done.returncode == 0 and incoming.whole and b"not shown" not in done.stdout
    data = (tmp_path / "keys/ca.key").read_bytes()
    assert kept.files == {
        f"{tmp_path}/scratch/db": b"db",
        f"{tmp_path}/keys/ca.key": data,
        f"{tmp_path}/keys/link": data,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys", "run"] and [
        p.name for p in (tmp_path / "run").iterdir()
    ] == ["kubefab.lock"]


def test_a_command_that_fails_sends_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    done = bash(tmp_path, sending(
        tmp_path, f"mkdir {tmp_path}/scratch", f"echo half >{tmp_path}/scratch/db; echo no space; false", "echo never", sends=(f"{tmp_path}/scratch/*",)
    ))  # fmt: skip
    incoming, kept = fed(done.stdout, [])
    assert incoming.outcome(done.returncode) == script.Outcome(1, 2, "no space\n")
    assert not incoming.whole and not kept.files and not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("by", [signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE], ids=lambda s: s.name)
def test_a_script_that_is_ended_leaves_nothing(tmp_path: Path, by: signal.Signals) -> None:
    """As by sshd when the link is gone: the command in hand ends, and nothing of the scratch folders stays."""
    os.mkfifo(tmp_path / "ready")
    os.mkfifo(tmp_path / "go")
    text = sending(
        tmp_path,
        f"mkdir {tmp_path}/scratch {tmp_path}/second",
        f"echo secret >{tmp_path}/scratch/db",
        f"echo >{tmp_path}/ready; read -r x <{tmp_path}/go",
    )
    (tmp_path / "sent").write_text(text)
    with subprocess.Popen(["bash", tmp_path / "sent"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        (tmp_path / "ready").read_text()
        process.send_signal(by)
        (tmp_path / "go").write_text("\n")
        process.communicate(timeout=60)
    assert process.returncode == 1 and not (tmp_path / "scratch").exists() and not (tmp_path / "second").exists()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["kubefab.lock"]


# --- the other way: a file that goes to a node


def sent(path: Path, pieces: list[bytes], *, cut: int = 0) -> subprocess.CompletedProcess[bytes]:
    """What `Connection.send` gives to a node, run by a real shell; the last `cut` bytes do not arrive."""
    given: list[tuple[str, bytes]] = []

    def run(command: str, stdin: Iterable[bytes], *_: object) -> tuple[int, bytes]:
        given.append((command, b"".join(stdin)))
        return 0, b""

    ours = SimpleNamespace(sudo_password=None)
    Connection.send(
        cast(Connection, SimpleNamespace(open=lambda: None, user="root", _ours=ours, _exec=run)), str(path), pieces, 10
    )
    ((command, data),) = given
    return subprocess.run(
        ["sh", "-c", command], input=data[: len(data) - cut], capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("data", [b"", b"x", b"\n@@kubefab end", bytes(range(256)) * 900, b"no newline\n\n"], ids=len)
def test_a_file_arrives_as_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "etcd-snapshot.db"
    assert sent(path, [data[:100], data[100:]]).returncode == 0
    assert path.read_bytes() == data and path.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("cut", [1, 5, 13, 14, 15, 100])
def test_a_file_whose_stream_was_cut_is_not_there(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "etcd-snapshot.db"
    path.write_bytes(b"of before")
    assert sent(path, [b"content" * 100], cut=cut).returncode != 0
    assert path.read_bytes() == b"of before"
