"""`inv cluster.logs`: what may be asked for has a form, and what follows a journal ends with its reader."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.views import logs

SAFE = re.compile(r"[A-Za-z0-9 ._+:@~=-]*")


@given(
    st.text(max_size=12) | st.sampled_from(["kubelet", "ssh.service", "a;b", "$(id)", "-f", "a b"]),
    st.text(max_size=12),
    st.integers(0, 200_000),
)
def test_whatever_is_asked_for_no_character_reaches_the_shell_that_it_acts_on(
    unit: str, since: str, lines: int
) -> None:
    try:
        words = shlex.split(logs.arguments(unit, since, lines))
    except UsageError:
        return
    assert all(SAFE.fullmatch(word) for word in words)
    assert words[5:8] == ["-u", unit, "-n"] or words[4:6] == ["-u", unit]
    assert not unit.startswith("-") and lines <= logs.MOST


@pytest.mark.parametrize(
    ("since", "word"),
    [("90s", "--since=-90s"), ("10m", "--since=-600s"), ("2h", "--since=-7200s"), ("3d", "--since=-259200s"),
     ("2026-11-29", "--since=2026-11-29"), ("2026-11-29 14:05", "--since=2026-11-29 14:05")],
)  # fmt: skip
def test_a_time_as_people_write_it(since: str, word: str) -> None:
    assert shlex.split(logs.arguments("kubelet", since, 5))[-1] == word


@pytest.mark.parametrize("since", ["10", "m", "10 m", "-10m", "yesterday", "2026-11-29T14:05", "9999999s", "١m"])
def test_another_time_is_refused_with_the_forms(since: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        logs.arguments("kubelet", since, 5)


@pytest.fixture
def follower(tmp_path: Path) -> subprocess.Popen[bytes]:
    """The script on a machine whose journalctl prints one line and is then silent."""
    tool = tmp_path / "journalctl"
    tool.write_text(f'#!/bin/bash\necho "line of $*"\necho $$ >{tmp_path}/pid\nexec sleep 300\n')
    tool.chmod(0o755)
    path = tmp_path / "script"
    path.write_text(logs.following(logs.arguments("kubelet", "", 5)).replace("sleep 5", "sleep 0.05"))
    return subprocess.Popen(
        ["bash", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}
    )


def test_a_follower_of_a_silent_unit_ends_when_its_reader_is_gone(
    follower: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert follower.stdout
    said = [follower.stdout.readline().decode() for _ in range(3)]
    assert f"line of -f {logs.arguments('kubelet', '', 5)}\n" in said and f"{logs.ALIVE}\n" in said
    pid = int((tmp_path / "pid").read_text())
    follower.stdout.close()
    follower.wait(timeout=60)
    until = time.monotonic() + 60
    while (
        Path(f"/proc/{pid}").exists() and "sleep" in Path(f"/proc/{pid}/comm").read_text() and time.monotonic() < until
    ):
        time.sleep(0.01)
    assert not (Path(f"/proc/{pid}").exists() and "sleep" in Path(f"/proc/{pid}/comm").read_text()), (
        "journalctl is still there"
    )
