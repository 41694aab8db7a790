"""Backups as files: their names, the archive that is written and read, what is deleted, and what is refused."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile import identity
from fabfile.backups import names
from fabfile.backups.archive import Reader, Writer, identities
from fabfile.backups.contents import CURRENT, RECORD, SMALL, SNAPSHOT, Record, name_of, parse_record, snapshot_status
from fabfile.backups.guide import added, guide, restoring
from fabfile.cli.restore import _fits
from fabfile.errors import KubefabError, UsageError
from fabfile.identity import remember
from fabfile.text.masking import mask
from making import CA, OTHER_UID, UID, environment

KEY = pyrage.x25519.Identity.generate()
PUBLIC = str(KEY.to_public())
SECRET = b"-----the cluster's private key-----" * 9
AT = 1795929612.0  # 2026-11-29 05:20:12 UTC
MADE = Record(
    "lab", "cp1", "cp1", "172.30.44.10", "172.30.44.10:6443", UID, CA, "1.36.3", "3.6.8", AT, "0.1.0", 7, 41, 300, 20480
)


def written(
    folder: Path, to: str = PUBLIC, snapshot: bytes = b"snapshot", more: dict[str, bytes] | None = None
) -> Path:
    """A whole backup of these files."""
    writer = archive(folder, to)
    fill(writer, {f"/s/{SNAPSHOT}": snapshot, "/etc/kubernetes/pki/ca.key": SECRET, **(more or {})})
    writer.add(RECORD, replace(MADE, files=dict(writer.files)).text())
    name = names.name_of("lab", AT, "1.36.3", UID, encrypted=bool(to))
    (folder / name).unlink(missing_ok=True)
    path, size = writer.close(name)
    assert path.stat().st_size == size
    return path


def archive(folder: Path, to: str = PUBLIC) -> Writer:
    return Writer(folder, "lab", to, lambda path: name_of(path, "/s"))


def fill(writer: Writer, files: dict[str, bytes]) -> None:
    writer.begin()
    for path, data in files.items():
        writer.start(path, len(data))
        for at in range(0, len(data), 5000):
            writer.write(data[at : at + 5000])
        writer.finish(hashlib.sha256(data).hexdigest())


# --- names


@given(st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True), st.integers(0, 4_000_000_000), st.booleans())
def test_a_name_says_what_it_was_made_of(environment: str, made: int, encrypted: bool) -> None:
    name = names.name_of(environment, float(made), "1.36.3", UID, encrypted=encrypted)
    read = names.read_name(Path(name))
    assert read and (read.environment, read.made, read.kubernetes, read.uid, read.encrypted) == (
        environment,
        made,
        "1.36.3",
        UID[:8],
        encrypted,
    )


@pytest.mark.parametrize("name", [
    "hosts.env", "lab_20261129T052012Z_v1.36.3_11111111.tar.age.part", ".lab_20261129T052012Z_v1.36.3_11111111.tar", "lab_20261329T052012Z_v1.36.3_11111111.tar",
    "lab_20261129T052012Z_v1.36.3_11111111.tgz", "../lab_20261129T052012Z_v1.36.3_11111111.tar.gz",
])  # fmt: skip
def test_another_file_is_no_backup(name: str) -> None:
    assert names.read_name(Path(name)) is None


BACKUPS = st.lists(st.builds(
    names.Backup, path=st.builds(Path, st.text("abc", min_size=1, max_size=6)), environment=st.sampled_from(["lab", "aws"]), made=st.floats(0, 1e9),
    kubernetes=st.just("1.36.3"), uid=st.sampled_from(["11111111", "99999999", "unknown"]), encrypted=st.booleans(),
), max_size=12, unique_by=lambda one: one.path)  # fmt: skip


@given(BACKUPS, st.integers(0, 5))
def test_only_older_backups_of_the_same_cluster_are_superfluous(backups: list[names.Backup], keep: int) -> None:
    for newest in backups:
        gone = names.superfluous(backups, newest, keep)
        same = [one for one in backups if (one.environment, one.uid) == (newest.environment, newest.uid)]
        assert all(one.environment == newest.environment and one.uid == newest.uid != "unknown" for one in gone)
        kept = [one for one in same if one not in gone]
        assert newest.uid == "unknown" or len(same) == 0 or len(kept) >= min(len(same), max(1, keep))
        assert newest not in gone and all(old.made <= one.made for old in gone for one in kept if one != newest)


# --- the archive


@pytest.mark.parametrize("to", ["", PUBLIC], ids=["plain", "encrypted"])
def test_what_is_written_is_read(tmp_path: Path, to: str) -> None:
    snapshot = os.urandom(300_001)
    path = written(tmp_path, to, snapshot, {CURRENT: b"pem", "/var/lib/kubefab/initialised": b""})
    assert [one.name for one in tmp_path.iterdir()] == [path.name] and path.stat().st_mode & 0o777 == 0o600
    reader = Reader(path, [KEY] if to else [])
    record, texts = reader.whole()
    assert record == replace(MADE, files=record.files) and b"".join(reader.pieces(SNAPSHOT)) == snapshot
    assert texts["files/etc/kubernetes/pki/ca.key"] == SECRET and texts["files/var/lib/kubefab/initialised"] == b""
    assert texts["files/var/lib/kubelet/pki/kubelet-client-restored.pem"] == b"pem"
    if not to:  # a person needs nothing but tar
        with tarfile.open(path) as tar:
            assert all(member.isreg() and member.mode & 0o077 == 0 for member in tar)


def test_a_backup_never_takes_the_place_of_another(tmp_path: Path) -> None:
    """Several within one second have names of their own; and a name that is in use is refused, not replaced."""
    found = []
    for release in ("1.36.3", "1.36.3", "1.37.2"):
        made = names.free_second(tmp_path, "lab", AT + 0.9)
        name = names.name_of("lab", made, release, UID, encrypted=True)
        (tmp_path / name).write_text(name)
        found.append(name)
        assert (backup := names.read_name(tmp_path / name)) and int(backup.made) == AT + len(found) - 1
    assert names.free_second(tmp_path, "prod", AT + 0.9) == AT + 0.9
    assert [one.path.name for one in names.found_in(tmp_path)] == found[::-1]

    writer = archive(tmp_path)
    fill(writer, {f"/s/{SNAPSHOT}": b"other"})
    with pytest.raises(KubefabError, match="not replaced"):
        writer.close(found[0])
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(found)
    assert (tmp_path / found[0]).read_text() == found[0]


def test_nothing_in_clear_is_ever_on_the_disk(tmp_path: Path) -> None:
    writer = archive(tmp_path)
    fill(writer, {f"/s/{SNAPSHOT}": SECRET * 4000})

    def clear() -> list[str]:
        return [one.name for one in tmp_path.iterdir() if SECRET[:30] in one.read_bytes()]

    assert [one.name for one in tmp_path.iterdir()] == [".lab.backup.part"] and not clear()
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in tmp_path.iterdir())
    writer.add(RECORD, "{}")
    writer.close("b.tar.age")
    assert [one.name for one in tmp_path.iterdir()] == ["b.tar.age"] and not clear()


@pytest.mark.parametrize("to", ["", PUBLIC], ids=["plain", "encrypted"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(at=st.integers(0, 1 << 30), other=st.integers(0, 255), cut=st.booleans())
def test_damage_is_found_or_does_no_harm(tmp_path: Path, to: str, at: int, other: int, cut: bool) -> None:
    good = written(tmp_path / "good", to, b"snapshot" * 500)
    whole = Reader(good, [KEY]).whole()
    data = bytearray(good.read_bytes())
    bad = tmp_path / good.name
    if cut:
        bad.write_bytes(data[: at % len(data)])
    else:
        data[at % len(data)] = other
        bad.write_bytes(data)
    try:
        assert Reader(bad, [KEY]).whole() == whole
    except KubefabError as error:
        assert str(bad) in error.message


def test_another_key_is_named_as_that(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(KubefabError, match="encrypted to another key"):
        Reader(path, [pyrage.x25519.Identity.generate()]).whole()
    with pytest.raises(UsageError, match="is encrypted"):
        Reader(path, []).whole()
    (tmp_path / "key").write_text(f"# created: 2026\n# public key: {PUBLIC}\n{KEY}\n")
    assert Reader(path, identities(tmp_path / "key")).whole()[0].uid == UID
    assert str(KEY)[:30] not in mask(f"read {KEY}; again {KEY}")
    (tmp_path / "key").write_text(PUBLIC)
    with pytest.raises(UsageError, match="no age identity"):
        identities(tmp_path / "key")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "files/../../x", "files/./x"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / names.name_of("lab", AT, "1.36.3", UID, encrypted=False)
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(KubefabError, match="not a backup of kubefab's"):
        Reader(path, []).whole()


def test_a_link_that_broke_begins_the_file_again(tmp_path: Path) -> None:
    writer = archive(tmp_path)
    writer.begin()
    writer.start(f"/s/{SNAPSHOT}", 100)
    writer.write(b"half")
    fill(writer, {f"/s/{SNAPSHOT}": b"whole"})
    writer.add(RECORD, replace(MADE, files=dict(writer.files)).text())
    path, _ = writer.close("b.tar.age")
    assert b"".join(Reader(path, [KEY]).pieces(SNAPSHOT)) == b"whole"


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Files of this process end at `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("to", ["", PUBLIC], ids=["plain", "encrypted"])
def test_a_full_disk_here_is_named_and_leaves_nothing(tmp_path: Path, to: str) -> None:
    with pytest.raises(KubefabError, match=r"cannot be written: .*(large|space)"), small_disk(50_000):
        written(tmp_path, to, os.urandom(400_000))
    assert [one.name for one in tmp_path.iterdir() if one.name != ".lab.backup.part"] == []
    assert written(tmp_path, to).parent == tmp_path and len(list(tmp_path.iterdir())) == 1, "what that left is gone"


def test_a_file_that_is_larger_than_any_of_ours_is_refused(tmp_path: Path) -> None:
    writer = archive(tmp_path, "")
    writer.begin()
    with pytest.raises(KubefabError, match=r"x\.log has"):
        writer.start("/etc/kubernetes/x.log", SMALL + 1)
    writer.abandon()


# --- what is in it


def test_the_record_is_read_as_it_was_written() -> None:
    assert parse_record(MADE.text()) == MADE


@pytest.mark.parametrize(("field", "value"), [
    ("hostname", "cp1; reboot"), ("address", "$(id)"), ("kubernetes", "1.36"), ("uid", "x"), ("format", 2), ("etcd", "3"), ("environment", "../x"), ("files", {"a": "b"}),
])  # fmt: skip
def test_a_record_without_the_form_is_refused(field: str, value: object) -> None:
    import json

    with pytest.raises(ValueError):
        parse_record(json.dumps({**json.loads(MADE.text()), field: value}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"hash": 1, "revision": 2, "totalKey": 0, "totalSize": 4}',
        '{"hash": "1", "revision": 2, "totalKey": 3, "totalSize": 4}',
    ],
)
def test_a_snapshot_without_keys_is_none(text: str) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        snapshot_status(text)


def test_the_guide_has_the_command_that_is_run() -> None:
    """Revisions are bumped and the past is compacted; the member is named as its manifest names it."""
    text = guide(MADE)
    line = restoring(MADE, SNAPSHOT, "./etcdutl", "/var/lib/etcd.restored")
    assert f"    {line}\n" in text and '--bump-revision "$(date +%s)000" --mark-compacted' in line
    assert "--name cp1 --initial-cluster cp1=https://172.30.44.10:2380" in line
    assert "rm " not in "".join(row for row in text.splitlines() if row.startswith("    "))


def test_the_guide_has_the_chapter_of_the_metrics_only_where_they_are_in_it() -> None:
    """An older point than the database keeps would be refused, and the rest of the points with it."""
    assert "influxd" not in guide(MADE) and "    rm " not in guide(MADE, 0.0)
    for kept, words in ((0.0, "./.*/ GROUP BY"), (720.0, "./.*/ WHERE time > now() - 43190m GROUP BY")):
        text = guide(MADE, kept)
        assert words in text and all(f"    {line}\n" in text for line in added("/var/lib/influxdb/.restore", kept))


# --- whose it is, by what this machine knows


@pytest.mark.parametrize(("environment_name", "known", "changes", "words"), [
    ("lab", "", {}, ""), ("lab", UID, {}, ""), ("lab", OTHER_UID, {}, "had 99999999"), ("prod", "", {}, "is of environment lab"),
    ("lab", "", {"kubernetes": "1.35.4"}, "set KUBERNETES=1.35.4"),
])  # fmt: skip
def test_a_backup_of_something_else_is_refused_before_any_connection(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment_name: str,
    known: str,
    changes: dict[str, str],
    words: str,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    env = environment(1, environment_name)
    if known:
        remember(env, identity.Record(known))
    record = replace(MADE, **changes)  # type: ignore[arg-type]
    if not words:
        _fits(env, record, False)
        return
    with pytest.raises(KubefabError) as caught:
        _fits(env, record, False)
    assert words in f"{caught.value.message} {caught.value.remedy}" and "nothing was touched" in caught.value.message
    if not changes:  # what only this machine remembers, a person may overrule
        _fits(env, record, True)


def test_what_the_guide_unpacks_changes_nothing_that_is_there(tmp_path: Path) -> None:
    """In a real shell: neither files nor the modes of folders; what is missing comes with its own mode."""
    root, files = tmp_path / "root", tmp_path / "files"
    (root / "etc").mkdir(parents=True, mode=0o755)
    (root / "etc/mine").write_text("mine")
    (files / "etc/kubernetes/pki").mkdir(parents=True)
    for name, text in (("etc/mine", "theirs"), ("etc/kubernetes/pki/ca.key", "key")):
        (files / name).write_text(text)
        (files / name).chmod(0o600)
    for folder in (files, files / "etc"):
        folder.chmod(0o700)
    (line,) = [row.strip() for row in guide(MADE).splitlines() if "| tar -C / " in row]
    done = subprocess.run(
        ["sh", "-ec", line.replace("-C / ", f"-C {root} ")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (root / "etc/mine").read_text() == "mine" and {
        path.stat().st_mode & 0o777 for path in (root, root / "etc")
    } == {0o755}
    assert (root / "etc/kubernetes/pki/ca.key").read_text() == "key" and (
        root / "etc/kubernetes/pki/ca.key"
    ).stat().st_mode & 0o777 == 0o600
