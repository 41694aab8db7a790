"""The bash scripts that nodes run, and what comes back from them: steps, and reading scripts, which only look.

A script is sent over the SSH channel's standard input, never on a command line, into a 0600 file that
deletes itself first.  Its body is a function that the last line calls, so that an incomplete script (the
connection broke while sending) does nothing.  A lock on each node keeps us from running beside a step of an
earlier run whose operator's process ended while, say, `kubeadm init` continued.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import dataclass
from ..text.forms import FormError, pairs
from .keeping import before_writing

if TYPE_CHECKING:  # a connection is opened before steps are loaded
    from ..steps import File

LOCK_WAIT = 900  # seconds; the longest step of an earlier run
LOCKED = 75  # EX_TEMPFAIL: that earlier run's step has not ended
OUTPUT_LIMIT = 65536  # bytes of output that come back; the end is what explains a failure
MARK = "#--8<--"
LIVE = "##live "  # begins each line of output that is shown while the step runs
PROXY_FILE = "/etc/kubefab/proxy.env"  # of PROXY; a machine's own variables hold where it is not
_DELIMITER = "KUBEFAB-END"
_TRAILER = re.compile(rb"^##kubefab ([0-9]{1,9}) ([0-9]{1,9})\n", re.M)

_WORDS = "LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What sudo, PAM or a login shell left: kubectl and kubeadm would ask a proxy for the API, and kubeadm writes them into static pods.
_DIRECT = "unset " + " ".join(f"{name}_proxy {name.upper()}_PROXY" for name in ("all", "http", "https", "no"))
PROXIED = f"if [ -e {PROXY_FILE} ]; then set -a; . {PROXY_FILE}; set +a; fi"
_KUBECONFIG = "KUBECONFIG=/etc/kubernetes/admin.conf"


@dataclass(frozen=True)
class Outcome:
    """What a script did: the exit code, the number of the command it ended in (from 1), its output's end."""

    code: int
    command: int
    output: str


def render(
    name: str,
    commands: tuple[str, ...],
    files: tuple[File, ...] = (),
    *,
    lock: bool = True,
    wait: int = LOCK_WAIT,
    limit: int = OUTPUT_LIMIT,
    live: bool = False,
    fetches: bool = False,
) -> str:
    """The script for a step; `lock=False` is for probes, which may run beside anything. The last `limit` bytes of output come back.

    With `live` the output also comes while the commands run, each line behind LIVE. Only with `fetches` it may go through a proxy.

    Waits up to `wait` seconds for the node's lock. The caller's timeout must be longer, or the script may run after the caller gave up.
    """
    lines = [
        *_begun(name, lock, wait, fetches=fetches),
        *_body(commands, files),
        *(_FOLLOWED if live else (') </dev/null >"$log" 2>&1', "rc=$?")),
    ]
    lines += [
        'cat -- "$log.end" 2>/dev/null',
        f'tail -c {limit} -- "$log"',
        'rm -f -- "$log" "$log.end"',
        "return $rc",
        "}",
        "main",
    ]
    return "\n".join(lines) + "\n"


def _begun(name: str, lock: bool, wait: int, leaving: str = "", fetches: bool = False) -> list[str]:
    """The frame before a step's commands; `leaving` is a line that has to be in force before the log is made."""
    lines = [
        f"# kubefab: {name}",
        "main() {",
        'rm -f -- "$0"',
        f"export {_WORDS}",
        f"export DEBIAN_FRONTEND=noninteractive {_KUBECONFIG}",
        PROXIED if fetches else _DIRECT,
        "cd /",
    ]
    if lock:
        lines += [
            "umask 077",  # for root only: any user who can open it can hold it
            "exec 9>>/run/kubefab.lock",
            "chmod 600 /run/kubefab.lock",
            f"flock -w {wait} 9 || {{ echo '##kubefab 0 {LOCKED}'; return {LOCKED}; }}",
        ]
    return [
        *lines,
        "umask 077",
        *([leaving] if leaving else []),
        "log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }",
        "umask 022",
        "(",
        "set -eo pipefail",
        "K=0",
        # through a file: a process that a command leaves running would keep our output open, and with it the SSH channel
        """trap 'echo "##kubefab $K $?" >"$log.end"' EXIT""",
    ]


def _body(commands: tuple[str, ...], files: tuple[File, ...]) -> list[str]:
    lines = []
    for file in files:
        lines += _write(file)
    for number, line in enumerate(commands, 1):
        lines += [f"{MARK} command {number}", f"K={number}", line]
    return [*lines, f"{MARK} end"]


def sending(
    name: str, commands: tuple[str, ...], sends: tuple[str, ...], scratch: tuple[str, ...], *, wait: int
) -> str:
    """The script of a step that sends files after its commands; `Incoming` (nodes/incoming.py) reads what it prints.

    It prints the trailer of the commands. If they succeeded, each file follows behind a line with its size, digest and path, and at the
    end a line that counts them. The folders `scratch` are removed when the script ends, also by a broken link.
    """
    leaving = (
        f"""trap 'rm -rf -- ${{log:+"$log" "$log.end"}} {shlex.join(scratch)}' EXIT; trap 'exit 1' HUP INT PIPE TERM"""
    )
    lines = [
        *_begun(name, True, wait, leaving),
        *_body(commands, ()),
        ') </dev/null >"$log" 2>&1',
        "rc=$?",
        'cat -- "$log.end" 2>/dev/null',
        f'[ $rc = 0 ] || {{ tail -c {OUTPUT_LIMIT} -- "$log"; return $rc; }}',
        "n=0",
        f"for f in {' '.join(sends)}; do",
        '[ -f "$f" ] || continue',
        """echo "##file $(stat -Lc %s -- "$f") $(sha256sum <"$f" | cut -d' ' -f1) $f" && cat -- "$f" && echo || return 1""",
        "n=$((n + 1))",
        "done 2>/dev/null",
        'echo "##sent $n"',
        "}",
        "main",
    ]
    return "\n".join(lines) + "\n"


# A line without an end gets one, so that the trailer begins a line. When the reader is gone, only what follows the log ends.
_FOLLOWED = (
    ') </dev/null >"$log" 2>&1 &',
    "pid=$!",
    f"""tail -n +1 -s 0.2 -f --pid=$pid -- "$log" | sed -u 's/^/{LIVE}/'; echo""",
    "wait $pid",
    "rc=$?",
)


def _write(file: File) -> list[str]:
    if not file.content.endswith("\n"):
        raise ValueError(f"{file.path}: content must end with a newline")
    if f"\n{_DELIMITER}\n" in f"\n{file.content}":
        raise ValueError(f"{file.path}: content holds the delimiter {_DELIMITER}")
    folder, name = file.path.rsplit("/", 1)
    target, beside = shlex.quote(file.path), shlex.quote(f"{folder}/.{name}.kubefab")
    kept = [f"{MARK} keep {file.path}", before_writing(file.path, file.sha256)] if file.keep else []
    return [
        *kept,
        f"{MARK} file {file.mode} {file.path}",
        f"mkdir -p {shlex.quote(folder or '/')}",
        f"(umask 077; cat > {beside} <<'{_DELIMITER}'",
        file.content.removesuffix("\n"),
        _DELIMITER,
        ")",
        f"chmod {file.mode} {beside}",
        f"mv -f {beside} {target}",
    ]


def parse(code: int, output: bytes) -> Outcome:
    """Split what a rendered script printed into its outcome; `code` is the channel's exit code.

    Text before the trailer is not the script's: sudo's "unable to resolve host", a login shell's greeting.
    """
    trailer = _TRAILER.search(output)
    text = output[trailer.end() :] if trailer else output
    return Outcome(
        code=code,
        command=int(trailer[1]) if trailer else 0,
        output=text.decode("utf-8", "replace"),
    )


# --- scripts that only look


@functools.cache
def program(module: str, name: str, **lines: str) -> str:
    """The program in the file `scripts/NAME` beside a module (its `__file__`), with shell lines in place of their @names@.

    The comments at the file's top, up to the first blank line, are for people, editors and ShellCheck; they are left out.
    """
    text = (Path(module).parent / "scripts" / name).read_text(encoding="utf-8").partition("\n\n")[2]
    for word, line in lines.items():
        text = text.replace(f"@{word}@", line)
    return text


def assignments(values: Mapping[str, str]) -> str:
    """Lines that set shell variables, whatever the values contain."""
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def reading(name: str, body: str, values: Mapping[str, str] | None = None, *, fetches: bool = False) -> str:
    """The script of that name that only looks: `values` as shell variables, then `body`.

    It takes no lock, and what it prints comes back as it is; see `sections`. Only with `fetches` it may go through a proxy.
    """
    head = f'# kubefab: {name}\nmain() {{\nrm -f -- "$0"\n{assignments(values or {})}'
    lines = [head, f"export {_WORDS} {_KUBECONFIG}", *(() if fetches else (_DIRECT,)), "cd /"]
    return "\n".join([*lines, f"{body}}}", "main"]) + "\n"


def ended(output: str) -> bool:
    """Whether a reading script came to its end."""
    return re.search(r"^@@ end$", output, flags=re.M) is not None


def split(output: str, names: str = r"\w+") -> list[tuple[str, str]]:
    """The sections that a reading script printed, each headed `@@ name`, in their order; `names` is a regular expression."""
    parts = re.split(rf"^@@ ({names}|end)\n", output.replace("\r\n", "\n"), flags=re.M)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def sections(output: str) -> Sections:
    """A reading script's whole answer.

    Raises ValueError when it is cut short, FormError for a section that is there twice: a file's content must not pass for another
    section.
    """
    found = split(output)
    if not found or found[-1][0] != "end":
        raise ValueError("the node's answer is cut short")
    names = [name for name, _ in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise FormError("section", twice, "there once")
    return Sections(dict(found))


@dataclass(frozen=True)
class Sections:
    """The sections of an answer. Every method raises FormError for a section that is not there."""

    found: Mapping[str, str]

    def whole(self, name: str, default: str | None = None) -> str:
        """A section as it came; `default` where it may be absent."""
        found = self.found.get(name, default)
        if found is None:
            raise FormError("section", name, "there")
        return found

    def lines(self, name: str, default: str | None = None) -> list[str]:
        """Its lines that are not blank."""
        return [line for line in self.whole(name, default).split("\n") if line.strip()]

    def words(self, name: str, least: int = 1) -> list[list[str]]:
        """The words of each line that has at least so many."""
        return [words for line in self.lines(name) if len(words := line.split()) >= least]

    def pairs(self, name: str) -> dict[str, str]:
        """KEY=value lines; quotes around a value are left out."""
        return pairs(self.lines(name))
