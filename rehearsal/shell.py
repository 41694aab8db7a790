"""Runs our rendered scripts on the model, as the node's bash would.

In: a script made by `fabfile.nodes.script.render` or `observe_script`.  Out: exit code and output, trailer included.
A script of another form, a program that is in no table, or shell syntax that no step uses ends with exit code 127 and
"not modelled: …", even if the line itself ignores exit codes.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import dataclass, field
from io import StringIO

from fabfile.nodes.script import LIVE, MARK, OUTPUT_LIMIT

from . import doctor, observe, upgrading, verifying
from .bash import Exit, Shell, Streams, Unmodelled
from .commands import dispatch
from .machine import Halted, Machine

NOT_MODELLED = 127
_DELIMITER = "KUBEFAB-END"


@dataclass(frozen=True)
class Script:
    """A rendered script, split into its parts."""

    name: str
    files: tuple[tuple[str, str, str], ...] = ()  # mode, path, text
    commands: tuple[str, ...] = ()
    keeps: tuple[tuple[str, str], ...] = ()  # path of a file, and the line that must run before it is written


@dataclass
class _Parts:
    files: list[tuple[str, str, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    keeps: list[tuple[str, str]] = field(default_factory=list)


def take_apart(text: str) -> Script:
    """Split a rendered script into its parts. Raises Unmodelled if it is not one of our scripts."""
    head = re.match(r"# kubefab: (\S+)\n", text)
    if not head:
        raise Unmodelled(f"a script that is not ours: {text[:60]!r}")
    blocks = re.split(rf"^{re.escape(MARK)} ", text, flags=re.M)[1:]
    if not blocks or not blocks[-1].startswith("end\n"):
        raise Unmodelled(f"script {head[1]} without its marks")
    parts = _Parts()
    for block in blocks[:-1]:
        first, _, rest = block.partition("\n")
        if match := re.fullmatch(r"file (\d+) (\S+)", first):
            opened = rest.index(f"<<'{_DELIMITER}'\n") + len(f"<<'{_DELIMITER}'\n")
            body = rest[opened : rest.index(f"\n{_DELIMITER}\n", opened - 1) + 1]
            parts.files.append((match[1], match[2], body))
        elif match := re.fullmatch(r"keep (\S+)", first):
            parts.keeps.append((match[1], rest.removesuffix("\n")))
        elif match := re.fullmatch(r"command (\d+)", first):
            number, _, line = rest.partition("\n")
            if number != f"K={match[1]}":
                raise Unmodelled(f"script {head[1]}: {number!r}")
            parts.commands.append(line.removesuffix("\n"))
        else:
            raise Unmodelled(f"script {head[1]}: mark {first!r}")
    return Script(head[1], tuple(parts.files), tuple(parts.commands), tuple(parts.keeps))


def run(machine: Machine, text: str) -> tuple[int, bytes]:
    """Run one script; returns exit code and output. Raises Halted if the machine goes down meanwhile."""
    try:
        if text.startswith("# kubefab: observe\n"):
            return observe.answer(machine, text)
        name = text.split("\n", 1)[0].removeprefix("# kubefab: ")
        if name in doctor.NAMES:
            return doctor.answer(machine, name, text)
        if name in upgrading.NAMES:
            return upgrading.answer(machine, name, text)
        if name in verifying.NAMES:
            return verifying.answer(machine, name, text)
        if not text.startswith("# kubefab: "):
            return _plain(machine, text)
        if (sent := _SENT.search(text)) and (scratch := _SCRATCH.search(text)):
            return _send(machine, take_apart(text), sent[1].split(), scratch[1].split())
        return _run(machine, take_apart(text), live=_FOLLOWED in text)
    except Unmodelled as error:
        frame = (
            f"##kubefab 0 {NOT_MODELLED}\n" if text.startswith("# kubefab: ") else ""
        )  # none for a line that a person typed
        return NOT_MODELLED, f"{frame}not modelled: {error}\n".encode()
    except Halted:
        raise
    except Exception:  # a bug in the model must show as a bug instead of hanging its client
        return NOT_MODELLED, f"##kubefab 0 {NOT_MODELLED}\nnot modelled: {traceback.format_exc()}\n".encode()


def _plain(machine: Machine, text: str) -> tuple[int, bytes]:
    """Run a script without our frame: a few lines whose output is the answer."""
    out = StringIO()
    shell = Shell(lambda call: dispatch(machine, call), machine, {"0": "/tmp/.kubefab-script"}, errexit=False)
    try:
        code = shell.line(text, Streams(StringIO(), {1: out, 2: out}))
    except Exit as ended:
        code = ended.code
    return code, out.getvalue().encode()


_FOLLOWED = f"\ntail -n +1 -s 0.2 -f --pid=$pid -- \"$log\" | sed -u 's/^/{LIVE}/'; echo\n"  # output comes twice then


_SENT = re.compile(r"^for f in (/.+); do$", re.M)
_SCRATCH = re.compile(
    r"""^trap 'rm -rf -- \$\{log:\+"\$log" "\$log\.end"\} (/.+)' EXIT; trap 'exit 1' HUP INT PIPE TERM$""", re.M
)


def _send(machine: Machine, script: Script, patterns: list[str], scratch: list[str]) -> tuple[int, bytes]:
    """Run a framed script that sends files when its commands have succeeded, and removes its folders in any case."""
    code, output = _run(machine, script)  # a machine that goes down meanwhile keeps the folder
    trailer, sent = output[: output.index(b"\n") + 1], b""
    paths = [path for pattern in patterns for path in (machine.glob(pattern) if "*" in pattern else [pattern])]
    paths = [path for path in paths if path in machine.host.files]
    for path in paths:
        data = (machine.host.read(path) or "").encode()
        sent += f"##file {len(data)} {hashlib.sha256(data).hexdigest()} {path}\n".encode() + data + b"\n"
    for folder in scratch:
        machine.host.remove(folder)
    return (code, output) if code else (0, trailer + sent + f"##sent {len(paths)}\n".encode())


def _run(machine: Machine, script: Script, *, live: bool = False) -> tuple[int, bytes]:
    """Run a framed script; `live` output comes before the trailer, all at once: the model's commands take no real time."""
    log = StringIO()
    code, output = _framed(machine, script, log)
    before = "".join(f"{LIVE}{line}\n" for line in log.getvalue().splitlines()) + "\n" if live else ""
    return code, before.encode() + output


def _framed(machine: Machine, script: Script, log: StringIO) -> tuple[int, bytes]:
    streams = Streams(StringIO(), {1: log, 2: log})
    shell = Shell(lambda call: dispatch(machine, call), machine, {"KUBECONFIG": "/etc/kubernetes/admin.conf"})
    machine.spend(0.1, script.name)
    code, keeps = 0, dict(script.keeps)
    for mode, path, body in script.files:
        if machine.fault("disk-full") is not None and not path.startswith("/run/") and machine.host.packages:
            return _result(0, 1, "cat: write error: No space left on device\n")
        if path in keeps:
            try:
                shell.line(keeps[path], streams)
            except Exit as ended:
                return _result(0, ended.code, log.getvalue())
        machine.host.write(path, body, mode.lstrip("0"))
    machine.settling.look(machine.host, machine.now)
    number = 0
    for line in script.commands:
        number += 1
        try:
            code = shell.line(line, streams)
        except Exit as ended:
            code = ended.code
            break
        except Unmodelled as error:
            raise Unmodelled(f"{error} (in: {line})") from None
        if code:
            break
    return _result(number, code, log.getvalue())


def _result(number: int, code: int, log: str) -> tuple[int, bytes]:
    return code, f"##kubefab {number} {code}\n".encode() + log.encode()[-OUTPUT_LIMIT:]
