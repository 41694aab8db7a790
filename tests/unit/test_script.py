"""Rendered scripts, run by a real bash: with harmless commands, in a temporary folder, with its own lock."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.nodes import script
from fabfile.nodes.script import LOCKED, OUTPUT_LIMIT, Outcome, assignments, parse, render
from fabfile.steps import File, command
from fabfile.text.masking import Lines


class Shell:
    """Runs scripts as a node does: from a file of their own, with empty standard input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_folder = folder / "run"
        self.run_folder.mkdir()

    def text(self, *commands: str, files: tuple[File, ...] = (), lock: bool = True) -> str:
        """The script that is sent, with the lock and log of /run in our folder."""
        return self.local(render("test.step", commands, files, lock=lock))

    def local(self, text: str) -> str:
        return text.replace("/run/kubefab", f"{self.run_folder}/kubefab").replace(
            f"flock -w {script.LOCK_WAIT}", "flock -w 0"
        )

    def send(self, text: str | bytes) -> Outcome:
        path = self.folder / "sent"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        done = subprocess.run(
            ["bash", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        return parse(done.returncode, done.stdout)

    def run(self, *commands: str, files: tuple[File, ...] = (), lock: bool = True) -> Outcome:
        return self.send(self.text(*commands, files=files, lock=lock))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_commands_run_in_order_and_return_their_output(shell: Shell) -> None:
    assert shell.run("echo one", "echo two >&2", "echo 삼") == Outcome(0, 3, "one\ntwo\n삼\n")


FAILURES = [
    (("false", "echo no"), 1, 1, ""),
    (("echo a", "exit 7", "echo no"), 7, 2, "a\n"),
    (("true", "true", "false | cat"), 1, 3, ""),
    (("true", "no-such-command-here"), 127, 2, "no-such-command-here"),
    (("x=$(false)", "echo no"), 1, 1, ""),
    (("echo a || false", "test -e /no/such"), 1, 2, "a\n"),
    (("kill -9 $BASHPID",), 137, 0, ""),
    (("if then",), 2, 0, "syntax error"),
]


@pytest.mark.parametrize(
    ("commands", "code", "number", "output"),
    [*FAILURES[:6], (("echo '##kubefab 9 9'", "printf end"), 0, 2, "##kubefab 9 9\nend")],
)
def test_a_script_whose_output_is_followed_ends_as_any_other(
    shell: Shell, commands: tuple[str, ...], code: int, number: int, output: str
) -> None:
    done = shell.send(shell.local(render("test.step", commands, live=True)))
    assert (done.code, done.command) == (code, number) and output in done.output
    assert script.LIVE not in done.output and "##kubefab 0" not in done.output


def test_output_is_followed_while_the_command_runs(shell: Shell, tmp_path: Path) -> None:
    """The command ends when its first words have been heard, and not before."""
    go, path = tmp_path / "go", tmp_path / "sent"
    path.write_text(
        shell.local(render("test.step", (f"echo one; until test -e {go}; do sleep 0.05; done; printf two",), live=True))
    )
    heard: list[str] = []
    lines = Lines(script.LIVE)
    with subprocess.Popen(["bash", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        while chunk := os.read(process.stdout.fileno(), 4096):
            heard += lines.feed(chunk)
            if "one" in heard:
                go.touch()
    assert (process.returncode, heard) == (0, ["one", "two"])


@pytest.mark.parametrize(("commands", "code", "number", "output"), FAILURES)
def test_a_failure_reports_exit_code_and_command_number(
    shell: Shell, commands: tuple[str, ...], code: int, number: int, output: str
) -> None:
    done = shell.run(*commands)
    assert (done.code, done.command) == (code, number)
    assert output in done.output
    assert "no\n" not in done.output


def test_variables_carry_over_from_one_command_to_the_next(shell: Shell) -> None:
    assert shell.run("x=5", "echo $((x + 1))").output == "6\n"


def test_the_shell_of_a_step_is_the_same_everywhere(shell: Shell) -> None:
    done = shell.run("echo $PWD $LC_ALL $DEBIAN_FRONTEND $KUBECONFIG", "umask", "cat", "echo ${PATH%%:*}")
    assert done.output == "/ C.UTF-8 noninteractive /etc/kubernetes/admin.conf\n0022\n/usr/local/sbin\n"


def test_a_script_deletes_itself_first(shell: Shell) -> None:
    assert shell.run(f"ls {shell.folder}").output == "run\n"


def test_no_log_file_is_left(shell: Shell) -> None:
    shell.run("echo x", "false")
    assert {p.name for p in shell.run_folder.iterdir()} == {"kubefab.lock"}


def test_only_the_end_of_long_output_is_returned(shell: Shell) -> None:
    done = shell.run("seq 1 400000", "echo the end")
    assert len(done.output) == OUTPUT_LIMIT
    assert done.output.endswith("400000\nthe end\n")


def test_a_background_process_does_not_block_the_script(shell: Shell) -> None:
    assert shell.run("sleep 30 & echo $!", "echo started").command == 2
    # the child keeps the log open, not our output: otherwise run() above would have timed out


CONTENTS = st.text(max_size=300).map(lambda text: text.replace("\x00", "").replace("\r", "") + "\n")


@settings(max_examples=30, deadline=None)
@given(content=CONTENTS, mode=st.sampled_from(["0600", "0644", "0755", "0700"]))
def test_a_file_is_written_with_exactly_its_bytes_and_mode(
    tmp_path_factory: pytest.TempPathFactory, content: str, mode: str
) -> None:
    shell = Shell(tmp_path_factory.mktemp("files"))
    content = content.encode("utf-8", "replace").decode()
    path = shell.folder / "deep" / "it's here"
    done = shell.run("true", files=(File(str(path), content, mode=mode),))
    assert (done.code, done.command) == (0, 1)
    assert path.read_bytes() == content.encode()
    assert path.stat().st_mode & 0o7777 == int(mode, 8)
    shutil.rmtree(shell.folder)


@pytest.mark.parametrize(
    "content", ["$HOME `id` \\n ${x}\n", "EOF\n", "#--8<-- command 1\n", "##kubefab 1 0\n", "'\"\n", "\n", "\n\n"]
)
def test_nothing_in_a_file_is_expanded_or_ends_it(shell: Shell, content: str) -> None:
    path = shell.folder / "file"
    shell.run(files=(File(str(path), content),))
    assert path.read_text() == content


def test_a_file_is_replaced_atomically(shell: Shell) -> None:
    path = shell.folder / "file"
    path.write_text("old\n")
    before = path.open()
    shell.run(files=(File(str(path), "new\n"),))
    assert before.read() == "old\n", "a reader of the old file is not disturbed"
    assert path.read_text() == "new\n"
    assert list(shell.folder.glob(".file*")) == []


def test_a_file_that_cannot_be_written_fails_before_any_command(shell: Shell) -> None:
    (shell.folder / "plain").write_text("")
    done = shell.run("echo no", files=(File(f"{shell.folder}/plain/file", "x\n"),))
    assert done.code != 0
    assert done.command == 0
    assert "no\n" not in done.output


@pytest.mark.parametrize("content", ["no newline", "a\nKUBEFAB-END\nb\n"])
def test_content_that_a_heredoc_cannot_hold_is_refused(content: str) -> None:
    with pytest.raises(ValueError):
        render("x", (), (File("/x", content),))


def test_a_secret_file_must_be_private() -> None:
    with pytest.raises(ValueError, match="0600"):
        File("/x", "y\n", secret=True)


# --- truncated scripts


def _victims(shell: Shell) -> bytes:
    marks = [shell.folder / name for name in ("ran-1", "ran-2", "written")]
    return shell.text(
        f"touch {marks[0]}", f"touch {marks[1]}", files=(File(str(marks[2]), "line one\nline two\n"),)
    ).encode()


def test_a_script_cut_at_any_byte_runs_nothing(tmp_path: Path) -> None:
    """If the connection breaks while the script is sent, no command may run."""
    shell = Shell(tmp_path)
    whole = _victims(shell)
    last = whole.rindex(b"main")
    for cut in [*range(0, last, 37), *range(max(0, last - 20), last + 4)]:
        if whole[:cut].endswith(b"\nmain"):  # complete except for the last newline
            continue
        shell.send(whole[:cut])
        assert not any((tmp_path / name).exists() for name in ("ran-1", "ran-2", "written")), (
            f"cut at byte {cut} of {len(whole)}"
        )
    shell.send(whole)
    assert all((tmp_path / name).exists() for name in ("ran-1", "ran-2", "written"))


def test_an_incomplete_heredoc_writes_nothing(shell: Shell) -> None:
    whole = _victims(shell)
    shell.send(whole[: whole.index(b"line two")])
    assert {p.name for p in shell.folder.iterdir()} == {"run", "sent"}


# --- the lock


def test_a_busy_node_answers_75_and_runs_nothing(shell: Shell) -> None:
    with open(shell.run_folder / "kubefab.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = shell.run("echo no")
    assert (done.code, done.command, done.output) == (LOCKED, 0, "")
    assert shell.run("echo yes").output == "yes\n"


def test_a_probe_needs_no_lock(shell: Shell) -> None:
    with open(shell.run_folder / "kubefab.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert shell.run("echo seen", lock=False).output == "seen\n"


def test_exit_code_75_of_a_command_does_not_mean_locked(shell: Shell) -> None:
    assert shell.run("exit 75").command == 1


# --- parsing the answer


@given(st.binary(max_size=200), st.integers(0, 99), st.integers(0, 255))
def test_any_output_is_parsed(output: bytes, number: int, code: int) -> None:
    trailer = f"##kubefab {number} {code}\n".encode()
    if b"##kubefab" not in output:
        found = parse(code, b"sudo: unable to resolve host ip-10-2-0-1: Name or service not known\n" + trailer + output)
        assert (found.code, found.command) == (code, number)
        assert found.output == output.decode("utf-8", "replace"), "sudo's output is not the script's"
    assert parse(code, output).code == code


def test_without_a_trailer_no_command_is_named() -> None:
    assert parse(255, b"bash: line 1: oops\n") == Outcome(255, 0, "bash: line 1: oops\n")


@given(
    st.lists(
        st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), min_size=1, max_size=4
    )
)
@settings(max_examples=25, deadline=None)
def test_quoted_words_reach_a_command_unchanged(words: list[str]) -> None:
    line = command("printf", "%s\\0", *words)
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.decode().split("\0")[:-1] == words


def test_assignments_can_be_sourced() -> None:
    text = assignments({"A": "plain", "B": "two words", "C": "it's"})
    done = subprocess.run(
        ["bash", "-c", f'{text}\nprintf \'%s|\' "$A" "$B" "$C"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == "plain|two words|it's|"
