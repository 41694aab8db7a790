"""What a run does without: a name of the user, a home folder, room or rights where journal, lock, host keys and record are kept."""

from __future__ import annotations

import errno
import io
import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import BIN, LOCALE, PROJECT, Done, run
from fabfile.cli import home as home_of
from fabfile.cli.progress import Progress
from fabfile.cli.session import _lock
from fabfile.identity import RECORD, Record, recall, remember
from fabfile.nodes import hostkeys
from fabfile.nodes.hostkeys import KnownHosts
from fabfile.text import whole
from fabfile.text.screen import Screen
from fabfile.text.whole import write_whole
from making import environment


def no_name(number: int) -> Any:
    raise KeyError(f"getpwuid(): uid not found: {number}")


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a name and a home; returns the system's temporary folder."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", no_name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_user_without_a_home_has_the_same_private_folder_each_time(homeless: Path) -> None:
    mine = homeless / f"kubefab-{os.getuid()}"
    assert home_of.settle() == str(mine) == os.environ["HOME"]
    assert mine.stat().st_mode & 0o777 == 0o700
    assert home_of.settle() == "", "HOME is set by now"
    del os.environ["HOME"]
    assert home_of.settle() == str(mine)


@pytest.mark.parametrize("made", ["open", "link", "file", "another's"])
def test_a_folder_that_others_can_write_is_not_used(homeless: Path, made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = homeless / f"kubefab-{os.getuid()}"
    if made == "open":
        place.mkdir()
        place.chmod(0o777)
    elif made == "link":
        (homeless / "theirs").mkdir(mode=0o700)
        place.symlink_to(homeless / "theirs")
    elif made == "file":
        place.write_text("")
    else:
        place.mkdir(mode=0o700)
        another = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: another)
        place.rename(homeless / f"kubefab-{os.getuid()}")
    chosen = Path(home_of.settle())
    assert chosen != homeless / f"kubefab-{os.getuid()}" and chosen.parent == homeless
    assert chosen.stat().st_mode & 0o777 == 0o700


def test_without_any_folder_there_is_a_name_and_no_traceback(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(homeless / "absent"))
    assert home_of.settle() == home_of.NOWHERE == os.environ["HOME"]


def test_an_empty_home_is_none_and_the_users_entry_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    assert home_of.settle() == "" and "HOME" not in os.environ


class Broken:
    """A call that fails as on such a disk, from the `after`th one on."""

    def __init__(self, number: int, call: Callable[..., Any], after: int = 0) -> None:
        self.number, self.call, self.left = number, call, after

    def __call__(self, *given: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        return self.call(*given, **options)


REASONS = [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT]


@pytest.mark.parametrize("reason", REASONS, ids=os.strerror)
def test_a_run_goes_on_without_its_local_lock(
    reason: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = environment()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", Broken(reason, os.open))
        with _lock(env):
            pass
    said = capsys.readouterr().err
    assert said == f"! {env.state / 'lock'} cannot be written ({os.strerror(reason)}); the run goes on without it\n"


@pytest.mark.parametrize("reason", REASONS, ids=os.strerror)
def test_a_host_key_that_cannot_be_kept_is_known_to_this_run(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import paramiko

    key, other, said = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate(), list[str]()
    known = KnownHosts(tmp_path / "known_hosts", warn=said.append)
    with monkeypatch.context() as patch:
        patch.setattr(hostkeys.os, "open", Broken(reason, os.open))
        known.check("10.0.0.1", key)
        known.check("10.0.0.1", key)
        with pytest.raises(hostkeys.KeyRefused):
            known.check("10.0.0.1", other)
    assert said == [
        f"{tmp_path / 'known_hosts'} cannot be written ({os.strerror(reason)}); the key of 10.0.0.1 is known to this run only"
    ]


def test_half_a_host_key_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for some bytes only: the line before stays, and the file can be read."""
    import paramiko

    path, said = tmp_path / "known_hosts", list[str]()
    KnownHosts(path).check("10.0.0.1", paramiko.ECDSAKey.generate())
    before, write = path.read_bytes(), os.write
    with monkeypatch.context() as patch:
        patch.setattr(hostkeys.os, "write", lambda descriptor, data: write(descriptor, data[:20]))
        KnownHosts(path, warn=said.append).check("10.0.0.2", paramiko.ECDSAKey.generate())
    assert path.read_bytes() == before and "No space left" in said[0]
    KnownHosts(path)


@pytest.mark.parametrize("after", [0, 1])
def test_a_file_is_written_whole_or_stays(tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr(whole.os, "fsync" if after else "fdopen", Broken(errno.ENOSPC, os.fsync if after else os.fdopen))
        with pytest.raises(OSError) as raised:
            write_whole(path, "after")
    assert raised.value.filename == str(path), "the message names it"
    assert [one.name for one in tmp_path.iterdir()] == ["file"] and path.read_text() == "before"
    write_whole(path, "after", 0o644)
    assert path.read_text() == "after" and path.stat().st_mode & 0o777 == 0o644


def test_a_record_that_cannot_be_kept_names_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    env = environment()
    (env.state / RECORD).mkdir(parents=True)  # a folder is in its place: the kind of error does not matter
    with pytest.raises(OSError) as raised:
        remember(env, Record("11111111-2222-3333-4444-555555555555"))
    assert raised.value.filename == str(env.state / RECORD) and not recall(env).uid


def test_a_log_on_a_full_disk_ends_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    full = io.StringIO()
    monkeypatch.setattr(full, "write", Broken(errno.ENOSPC, full.write))
    progress = Progress(["w1"], console=Screen(file=full))
    progress.phase_done("w1", "prep", 3, 1.0)
    progress.note("a note")


def named(done: Done, code: int) -> None:
    assert done.returncode == code, done.stderr
    assert ("standard output: No space left on device" if code == 1 else "no environment 'moon'") in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("cluster.list", 1), ("cluster.list --json", 1), ("cluster.manifests --env aws", 1), ("cluster.plan --env moon --json", 2),
    ],
)  # fmt: skip
def test_a_full_standard_output_is_named_beside_it(line: str, code: int, home: Path) -> None:
    named(run("inv", *line.split(), out=Path("/dev/full"), HOME=str(home)), code)


def test_an_interpreter_that_ends_names_a_full_standard_output_too(home: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [BIN / "inv", "cluster.plan", "--env", "aws", "--json"], cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "HOME": str(home), **LOCALE},
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    named(done, 1)
