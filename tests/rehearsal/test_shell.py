"""`inv cluster.shell` and `inv cluster.logs`: on a simulated node, over real SSH; the shell in a real terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import termios
from pathlib import Path

from cli import BIN, PROJECT, run


class Terminal:
    """A command in a terminal of its own: what is typed there and what it shows."""

    def __init__(self, home: Path, *argv: str) -> None:
        self._near, self.far = os.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.far)
        variables = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [str(BIN / argv[0]), *argv[1:]], cwd=PROJECT, env=variables,
            stdin=self.far, stdout=self.far, stderr=self.far, start_new_session=True,
        )  # fmt: skip

    def resize(self, lines: int, columns: int) -> None:
        termios.tcsetwinsize(self.far, (lines, columns))

    def type(self, keys: str) -> None:
        os.write(self._near, keys.encode())

    def until(self, words: str) -> str:
        """What is shown up to these words, which must come within a minute."""
        shown = b""
        while not shown.endswith(words.encode()):
            assert select.select([self._near], [], [], 60)[0], (
                f"no {words!r}: {shown!r}, exit code {self.process.poll()}"
            )
            shown += os.read(self._near, 1)
        return shown.decode()

    def ended(self) -> int:
        """The exit code; the terminal must be as it was."""
        code = self.process.wait(timeout=60)
        assert termios.tcgetattr(self.far) == self.before
        os.close(self.far)
        os.close(self._near)
        return code


def test_a_shell_in_the_operators_terminal_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "inv", "cluster.shell", "w1")
    terminal.until("ops$ ")
    terminal.type("hostname\recho 한글\r")
    assert terminal.until("한글\r\nops$ ").splitlines() == ["hostname", "w1", "ops$ echo 한글", "한글", "ops$ "]
    terminal.resize(30, 100)
    terminal.process.send_signal(signal.SIGWINCH)
    size = ""
    while size != "30 100":
        assert size in ("", "24 80")
        terminal.type("stty size\r")
        size = terminal.until("\r\nops$ ").splitlines()[1]
    terminal.type("exit 7\r")
    terminal.until("logout\r\n")
    assert terminal.ended() == 7


def test_a_signal_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "inv", "cluster.shell", "w1")
    terminal.until("ops$ ")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.ended() == 128 + signal.SIGTERM


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
