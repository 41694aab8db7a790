"""`inv cluster.shell` and `inv cluster.logs`: on a simulated node, over real SSH; the shell in a real terminal."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from cli import BIN, PROJECT, run


def typed(home: Path, *argv: str, keys: bytes, columns: int = 80) -> tuple[int, str]:
    """Run a command in a terminal of its own and type `keys` when its shell has asked; returns its exit code and what was shown."""
    near, far = os.openpty()
    import termios

    termios.tcsetwinsize(far, (24, columns))
    before = termios.tcgetattr(far)
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [str(BIN / argv[0]), *argv[1:]],
        cwd=PROJECT,
        env=variables,
        stdin=far,
        stdout=far,
        stderr=far,
        start_new_session=True,
    )
    shown, sent = bytearray(), False
    with suppress(OSError):  # EIO: the other side is closed
        while process.poll() is None or not shown:
            chunk = os.read(near, 4096)
            shown += chunk
            if not sent and b"$ " in shown:
                os.write(near, keys)
                sent = True
            if sent and b"logout" in shown:
                break
    code = process.wait(timeout=60)
    assert termios.tcgetattr(far) == before, "the terminal is as it was"
    os.close(far)
    os.close(near)
    return code, shown.decode()


def test_a_shell_in_the_operators_terminal_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    code, shown = typed(tmp_path, "inv", "cluster.shell", "w1", keys="hostname\recho 한글\rexit 7\r".encode())
    assert code == 7
    assert shown.splitlines() == ["ops$ hostname", "w1", "ops$ echo 한글", "한글", "ops$ exit 7", "logout"]


def test_without_a_terminal_it_names_the_command_that_needs_none(tmp_path: Path) -> None:
    done = run("inv", "cluster.shell", "w1", HOME=str(tmp_path))
    assert done.returncode == 2 and "standard input is none; nothing was touched" in done.stderr
    assert "`inv cluster.run COMMAND --on w1 --env rehearsal`" in done.stderr


def test_a_units_journal_or_the_unit_that_was_meant(tmp_path: Path) -> None:
    done = run("inv", "cluster.logs", "w1", "--unit", "ssh", "--since", "10m", HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "2026-11-24T12:00:00+00:00 w1 systemd[1]: Started ssh.service.\n")
    done = run("inv", "cluster.logs", "w1", "--unit", "sshh", HOME=str(tmp_path))
    assert done.returncode == 2 and "✗ w1 has no unit sshh\n→ did you mean --unit ssh? " in done.stderr
    assert run("inv", "cluster.logs", "workers", HOME=str(tmp_path)).returncode == 2
